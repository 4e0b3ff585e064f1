//! Whether a value fits a part of a schema, as far as a few plain keywords say: which of several choices is meant, and with it which
//! defaults hold. The check of a call is another matter, and exact; what these keywords leave open is told as open.

use serde_json::{Map, Value};

use crate::graph::MAX_SCHEMA_STEPS;
use crate::same::same;

/// How many parts of a schema are looked at for one judgement, each as often as it is.
const MAX_LOOKS: u64 = 4_000_000;

/// Keywords of which no value needs to be anything.
const NOTES: [&str; 14] = [
    "$comment",
    "$defs",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "format",
    "readOnly",
    "title",
];

/// What is known of a value and a part. What has to fit several is as good as the worst of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    No,
    Maybe,
    Yes,
}

impl Fit {
    fn of(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

/// Looks at parts of a schema with plain references.
pub(crate) struct Judge<'s> {
    root: &'s Value,
    /// How often it may still look.
    left: u64,
}

impl<'s> Judge<'s> {
    pub(crate) fn new(root: &'s Value) -> Self {
        Self { root, left: MAX_LOOKS }
    }

    /// Takes one look, or so many. `false`: there was too much to look at, and what it said since is not to be used.
    pub(crate) fn look(&mut self, times: usize) -> bool {
        self.left = self.left.saturating_sub(u64::try_from(times).unwrap_or(u64::MAX));
        self.left > 0
    }

    /// What a reference within the schema leads to.
    pub(crate) fn target(&self, keywords: &'s Map<String, Value>) -> Option<&'s Value> {
        self.root.pointer(keywords.get("$ref")?.as_str()?.strip_prefix('#')?)
    }

    /// Whether a value fits.
    pub(crate) fn fit(&mut self, schema: &'s Value, value: &Value) -> Fit {
        self.part(schema, value, MAX_SCHEMA_STEPS)
    }

    fn part(&mut self, schema: &'s Value, value: &Value, deepest: usize) -> Fit {
        let Some(deeper) = deepest.checked_sub(1) else { return Fit::Maybe };
        let keywords = match schema {
            Value::Object(keywords) if self.look(1) => keywords,
            Value::Bool(any) => return Fit::of(*any),
            Value::Object(_) | Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Fit::Maybe;
            }
        };
        let mut fit = Fit::Yes;
        for keyword in keywords.keys() {
            fit = fit.min(self.keyword(keywords, keyword, value, deeper));
            if fit == Fit::No {
                break;
            }
        }
        fit
    }

    fn keyword(
        &mut self,
        keywords: &'s Map<String, Value>,
        keyword: &str,
        value: &Value,
        deeper: usize,
    ) -> Fit {
        let Some(rule) = keywords.get(keyword) else { return Fit::Yes };
        match (keyword, rule) {
            ("$ref", _) => match self.target(keywords) {
                Some(target) => self.part(target, value, deeper),
                None => Fit::Maybe,
            },
            ("type", Value::String(name)) => is_of(name, value),
            ("type", Value::Array(names)) => {
                let each =
                    names.iter().map(|name| name.as_str().map_or(Fit::Maybe, |name| is_of(name, value)));
                each.max().unwrap_or(Fit::Maybe)
            }
            ("const", wanted) => Fit::of(same(wanted, value)),
            ("enum", Value::Array(wanted)) => Fit::of(wanted.iter().any(|wanted| same(wanted, value))),
            ("required", Value::Array(names)) => {
                let given = |entries: &Map<String, Value>| {
                    names.iter().all(|name| name.as_str().is_some_and(|name| entries.contains_key(name)))
                };
                Fit::of(value.as_object().is_none_or(given))
            }
            ("allOf", Value::Array(parts)) => {
                parts.iter().map(|part| self.part(part, value, deeper)).min().unwrap_or(Fit::Maybe)
            }
            ("anyOf", Value::Array(parts)) => {
                parts.iter().map(|part| self.part(part, value, deeper)).max().unwrap_or(Fit::Maybe)
            }
            ("oneOf", Value::Array(parts)) => one(parts.iter().map(|part| self.part(part, value, deeper))),
            ("not", part) => match self.part(part, value, deeper) {
                Fit::No => Fit::Yes,
                Fit::Maybe => Fit::Maybe,
                Fit::Yes => Fit::No,
            },
            ("if", condition) => {
                let mut branch =
                    |name| keywords.get(name).map_or(Fit::Yes, |part| self.part(part, value, deeper));
                let (then, otherwise) = (branch("then"), branch("else"));
                match self.part(condition, value, deeper) {
                    Fit::Yes => then,
                    Fit::No => otherwise,
                    Fit::Maybe if then == otherwise => then,
                    Fit::Maybe => Fit::Maybe,
                }
            }
            // said by `if`
            ("then" | "else", _) => Fit::Yes,
            ("properties" | "additionalProperties", _) => match value {
                Value::Object(entries) => self.entries(keywords, keyword, entries, deeper),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Fit::Yes
                }
            },
            ("prefixItems" | "items", _) => match value {
                Value::Array(items) => self.elements(keywords, keyword, items, deeper),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                    Fit::Yes
                }
            },
            _ if NOTES.contains(&keyword) => Fit::Yes,
            _ => Fit::Maybe,
        }
    }

    fn entries(
        &mut self,
        keywords: &'s Map<String, Value>,
        keyword: &str,
        entries: &Map<String, Value>,
        deeper: usize,
    ) -> Fit {
        let properties = keywords.get("properties").and_then(Value::as_object);
        let own = |name: &str| properties.and_then(|properties| properties.get(name));
        let others = keywords.get("additionalProperties");
        let has_patterns = keywords.contains_key("patternProperties");
        let mut fit = Fit::Yes;
        for (name, value) in entries {
            let one = match (own(name), others) {
                (Some(property), _) if keyword == "properties" => self.part(property, value, deeper),
                (None, Some(others)) if keyword == "additionalProperties" => {
                    match self.part(others, value, deeper) {
                        // it may be a name that a pattern fits
                        Fit::No if has_patterns => Fit::Maybe,
                        fit @ (Fit::No | Fit::Maybe | Fit::Yes) => fit,
                    }
                }
                (Some(_) | None, _) => Fit::Yes,
            };
            fit = fit.min(one);
            if fit == Fit::No {
                break;
            }
        }
        fit
    }

    fn elements(
        &mut self,
        keywords: &'s Map<String, Value>,
        keyword: &str,
        items: &[Value],
        deeper: usize,
    ) -> Fit {
        let first = keywords.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut fit = Fit::Yes;
        for (place, value) in items.iter().enumerate() {
            let one = match (first.get(place), keywords.get("items")) {
                (Some(part), _) if keyword == "prefixItems" => self.part(part, value, deeper),
                (None, Some(others)) if keyword == "items" => self.part(others, value, deeper),
                (Some(_) | None, _) => Fit::Yes,
            };
            fit = fit.min(one);
            if fit == Fit::No {
                break;
            }
        }
        fit
    }
}

/// Of several of which exactly one has to fit.
fn one(fits: impl Iterator<Item = Fit>) -> Fit {
    let (mut sure, mut open) = (0_usize, 0_usize);
    for fit in fits {
        match fit {
            Fit::Yes => sure += 1,
            Fit::Maybe => open += 1,
            Fit::No => {}
        }
    }
    match (sure, open) {
        (0, 0) | (2.., _) => Fit::No,
        (1, 0) => Fit::Yes,
        (0 | 1, 1..) => Fit::Maybe,
    }
}

fn is_of(name: &str, value: &Value) -> Fit {
    let is_whole = |value: &Value| {
        value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
    };
    Fit::of(match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => is_whole(value),
        _ => return Fit::Maybe,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fit(schema: &Value, value: &Value) -> Fit {
        Judge::new(schema).fit(schema, value)
    }

    #[test]
    fn plain_keywords_decide_and_others_leave_it_open() {
        use Fit::{Maybe, No, Yes};
        let tagged = json!({"type": "object", "required": ["kind"], "additionalProperties": false,
            "properties": {"kind": {"const": "a"}, "stage": {"type": "string", "default": "live"}}});
        for (schema, value, wanted) in [
            (tagged.clone(), json!({"kind": "a"}), Yes),
            (tagged.clone(), json!({"kind": "b"}), No),
            (tagged.clone(), json!({}), No),
            (tagged.clone(), json!({"kind": "a", "more": 1}), No),
            (tagged, json!(null), No),
            (json!({"type": ["integer", "null"]}), json!(1.0), Yes),
            (json!({"type": "integer"}), json!(1.5), No),
            (json!({"enum": [1, "x"]}), json!(1.0), Yes),
            (json!({"type": "string", "pattern": "^a"}), json!("b"), Maybe),
            (json!({"type": "string", "pattern": "^a"}), json!(1), No),
            (json!({"anyOf": [{"type": "null"}, {"minimum": 1}]}), json!(0), Maybe),
            (json!({"oneOf": [{"type": "null"}, {}, true]}), json!(0), No),
            (json!({"oneOf": [{"type": "null"}, {}]}), json!(0), Yes),
            (json!({"not": {"type": "null"}}), json!(null), No),
            (json!({"if": {"type": "null"}, "then": false, "else": {"minimum": 1}}), json!(null), No),
            (json!({"if": {"minimum": 1}, "then": true, "else": true}), json!(0), Yes),
            (json!({"patternProperties": {}, "additionalProperties": false}), json!({"a": 1}), Maybe),
            (json!({"prefixItems": [{"type": "null"}], "items": {"type": "integer"}}), json!([null, 1]), Yes),
            (
                json!({"prefixItems": [{"type": "null"}], "items": {"type": "integer"}}),
                json!([null, "x"]),
                No,
            ),
            (json!({"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a"}), json!(1), No),
            (json!({"$ref": "#/$defs/none"}), json!(1), Maybe),
        ] {
            assert_eq!(fit(&schema, &value), wanted, "{schema} {value}");
        }
    }

    /// A number below another one, from a seed.
    fn roll(seed: &mut u64, end: u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % end
    }

    fn value(seed: &mut u64, deepest: u64) -> Value {
        match roll(seed, if deepest == 0 { 5 } else { 9 }) {
            0 => json!(null),
            1 => json!(roll(seed, 3)),
            2 => json!(1.0),
            3 => json!("a"),
            4 => json!(1.5),
            5 | 6 => json!([value(seed, deepest - 1), value(seed, deepest - 1)]),
            7 => json!({"a": value(seed, deepest - 1)}),
            _ => json!({"a": value(seed, deepest - 1), "b": value(seed, deepest - 1)}),
        }
    }

    fn schema(seed: &mut u64, deepest: u64) -> Value {
        let mut words = Map::new();
        for _ in 0..=roll(seed, 3) {
            let end = if deepest == 0 { 6 } else { 19 };
            let part = |seed: &mut u64| schema(seed, deepest.saturating_sub(1));
            let (word, rule) = match roll(seed, end) {
                0 => (
                    "type",
                    json!(
                        ["null", "integer", "number", "string", "array", "object"]
                            [usize::try_from(roll(seed, 6)).unwrap()]
                    ),
                ),
                1 => ("type", json!(["null", "object"])),
                2 => ("const", value(seed, 1)),
                3 => ("enum", json!([value(seed, 1), value(seed, 0)])),
                4 => ("required", json!(["a"])),
                5 => ("minimum", json!(1)),
                6 => ("allOf", json!([part(seed), part(seed)])),
                7 => ("anyOf", json!([part(seed), part(seed)])),
                8 => ("oneOf", json!([part(seed), part(seed), part(seed)])),
                9 => ("not", part(seed)),
                10 => ("if", part(seed)),
                11 => ("then", part(seed)),
                12 => ("else", part(seed)),
                13 => ("properties", json!({"a": part(seed)})),
                14 => ("additionalProperties", part(seed)),
                15 => ("patternProperties", json!({"^b": part(seed)})),
                16 => ("prefixItems", json!([part(seed)])),
                17 => ("items", part(seed)),
                _ => ("additionalProperties", json!(false)),
            };
            words.insert(word.to_owned(), rule);
        }
        Value::Object(words)
    }

    #[test]
    fn whatever_is_sure_is_what_the_check_of_a_call_says() {
        let mut seen = [0; 3];
        for first in 0..4000 {
            let mut seed = first;
            let schema = schema(&mut seed, 3);
            let validator = jsonschema::draft202012::new(&schema).unwrap();
            for _ in 0..4 {
                let value = value(&mut seed, 3);
                let fit = fit(&schema, &value);
                seen[fit as usize] += 1;
                let is_valid = validator.is_valid(&value);
                assert!(
                    fit == Fit::Maybe || (fit == Fit::Yes) == is_valid,
                    "{first}: {fit:?} {schema} {value}"
                );
            }
        }
        assert!(seen.iter().all(|times| *times > 1000), "{seen:?}");
    }

    #[test]
    fn what_has_too_many_parts_to_look_at_is_left_open() {
        let mut judge = Judge { root: &json!(true), left: 5 };
        let schema = json!({"items": {"type": "integer"}});
        assert_eq!(judge.fit(&schema, &json!([1, 2, 3, 4, 5, 6])), Fit::Maybe);
        assert!(!judge.look(1));
    }
}
