//! The types of a schema that help tells of beside its arguments: `$defs` that describe objects, each once and by its name, also where it
//! contains itself; and objects that are described where they stand, by their place.

use serde_json::{Map, Value};

use crate::sanitize::line;

/// How many types of one procedure are told.
const MOST_TYPES: usize = 20;
/// How many values are listed before another choice is looked at: each may lead to the same long list.
const MOST_VALUES: usize = 100;
/// How many values one list may have to be told: many arguments may refer to the same long one.
const MOST_LISTED: usize = 1000;
/// What a schema refers to that refers to the whole of itself.
const WHOLE: &str = "these arguments";

/// The name of the type that a schema stands for, and what describes it.
pub(crate) fn named<'s>(root: &'s Value, schema: &'s Value) -> Option<(String, &'s Value)> {
    let reference = match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        // a description beside a reference is often written so
        Some([one]) if schema.get("$ref").is_none() => one.get("$ref"),
        _ => schema.get("$ref"),
    };
    let pointer = reference?.as_str()?.strip_prefix('#')?;
    if pointer.is_empty() {
        return Some((WHOLE.to_owned(), root));
    }
    let target = root.pointer(pointer)?;
    target.get("properties").filter(|properties| properties.is_object())?;
    let name = pointer.rsplit('/').next()?.replace("~1", "/").replace("~0", "~");
    Some((line(&name), target))
}

/// The choices of a schema.
pub(crate) fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    let of = |word: &str| schema.get(word).and_then(Value::as_array).into_iter().flatten();
    of("anyOf").chain(of("oneOf"))
}

/// The values that a schema lists: its own, or those of its choices where each lists some or is null.
pub(crate) fn values(root: &Value, schema: &Value, words: &Map<String, Value>) -> Vec<Value> {
    let own = listed(words);
    if !own.is_empty() {
        return own;
    }
    let (mut all, mut is_listed) = (Vec::new(), false);
    for choice in choices(schema) {
        let reference = choice.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|text| root.pointer(text.strip_prefix('#')?));
        let of_choice = target.unwrap_or(choice).as_object().map(listed).unwrap_or_default();
        let is_null = choice.get("type") == Some(&Value::from("null"));
        if all.len() > MOST_VALUES || of_choice.is_empty() && !is_null {
            return Vec::new();
        }
        is_listed |= !of_choice.is_empty();
        all.extend(if of_choice.is_empty() { vec![Value::Null] } else { of_choice });
    }
    if is_listed { all } else { Vec::new() }
}

/// None where there are too many.
fn listed(words: &Map<String, Value>) -> Vec<Value> {
    let several = words.get("enum").and_then(Value::as_array);
    let several = several.filter(|several| several.len() <= MOST_LISTED);
    several.into_iter().flatten().chain(words.get("const")).cloned().collect()
}

/// The types of a value: by name, of the keyword, or of its choices.
pub(crate) fn kinds(root: &Value, schema: &Value, words: &Map<String, Value>) -> Vec<String> {
    if let Some((name, _)) = named(root, schema) {
        return vec![name];
    }
    let own = types(words);
    if !own.is_empty() {
        return own.into_iter().map(str::to_owned).collect();
    }
    let each = choices(schema).map(|choice| match (named(root, choice), choice.as_object()) {
        (Some((name, _)), _) => vec![name],
        (None, Some(words)) => types(words).into_iter().map(str::to_owned).collect(),
        (None, None) => Vec::new(),
    });
    let each: Vec<Vec<String>> = each.collect();
    // of a choice that says nothing of its type nothing is known
    if each.iter().any(Vec::is_empty) { Vec::new() } else { each.concat() }
}

pub(crate) fn types(words: &Map<String, Value>) -> Vec<&str> {
    match words.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
    }
}

/// What the arguments mention, and what that mentions, each once and in this order; the whole is not among it. A type goes by its name,
/// an object that is described where it stands by its place: `user`, `users.*` of the elements, `user, choice 2`.
pub(crate) fn mentioned(root: &Value) -> Vec<(String, &Value)> {
    let mut found: Vec<(String, &Value)> = Vec::new();
    let mut next = 0;
    let (mut place, mut from) = (String::new(), root);
    loop {
        let whole = if place.is_empty() { WHOLE } else { &place };
        let mut here = inline_choices(root, whole, from);
        let properties = from.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let dot = if place.is_empty() { "" } else { "." };
            here.extend(within(root, &format!("{place}{dot}{}", line(name)), property));
        }
        for (name, target) in here {
            let is_known =
                std::ptr::eq(target, root) || found.iter().any(|(_, known)| std::ptr::eq(*known, target));
            if !is_known && found.len() < MOST_TYPES {
                found.push((name, target));
            }
        }
        let Some((name, target)) = found.get(next) else { return found };
        (place, from) = (name.clone(), target);
        next += 1;
    }
}

/// The types of a property: its own, those of its elements and of its other values, and those of its choices.
fn within<'s>(root: &'s Value, place: &str, property: &'s Value) -> Vec<(String, &'s Value)> {
    let parts = |place: &str, schema: &'s Value| {
        let inner = [schema.get("items"), schema.get("additionalProperties")].into_iter().flatten();
        let inner = inner.map(|part| (format!("{place}.*"), part));
        std::iter::once((place.to_owned(), schema)).chain(inner).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for (place, part) in parts(place, property) {
        all.extend(described(root, &place, part));
        for choice in choices(part) {
            for (inner, part) in parts(&place, choice) {
                all.extend(
                    named(root, part)
                        .or_else(|| (inner != place).then(|| described(root, &inner, part)).flatten()),
                );
            }
        }
        all.extend(inline_choices(root, &place, part));
    }
    all
}

/// A type by its name, or an object that is described where it stands.
fn described<'s>(root: &'s Value, place: &str, schema: &'s Value) -> Option<(String, &'s Value)> {
    let is_object =
        schema.get("properties").and_then(Value::as_object).is_some_and(|names| !names.is_empty());
    named(root, schema).or_else(|| is_object.then(|| (place.to_owned(), schema)))
}

/// The choices of a schema that describe objects where they stand, numbered if there is more than one choice.
fn inline_choices<'s>(root: &'s Value, place: &str, schema: &'s Value) -> Vec<(String, &'s Value)> {
    let is_value = |choice: &&Value| choice.get("type") != Some(&Value::from("null"));
    let all: Vec<&Value> = choices(schema).filter(is_value).collect();
    let inline = (1..).zip(&all).filter(|(_, choice)| named(root, choice).is_none());
    let of = |(n, choice): (usize, &&'s Value)| {
        let place = if all.len() == 1 { place.to_owned() } else { format!("{place}, choice {n}") };
        described(root, &place, choice)
    };
    inline.filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_values_of_choices_are_listed_where_there_is_nothing_else_to_choose() {
        let listed = json!({"enum": ["p", "q"]});
        let root = json!({"$defs": {"many": {"enum": (0..1000).collect::<Vec<u32>>()}, "few": listed}});
        let of = |choices: Value| values(&root, &json!({"anyOf": choices}), &Map::new());
        let nothing = json!({"type": "null"});
        assert_eq!(of(json!([listed, nothing])), [json!("p"), json!("q"), Value::Null]);
        assert_eq!(of(json!([{"$ref": "#/$defs/few"}, {"const": 1}])), [json!("p"), json!("q"), json!(1)]);
        assert!(of(json!([listed, {"type": "integer"}])).is_empty());
        assert!(of(json!([nothing])).is_empty() && of(json!([{"$ref": "#/none"}, nothing])).is_empty());
        let many = json!({"$ref": "#/$defs/many"});
        assert!(of(json!([many, many])).is_empty());
        let too_many = json!({"enum": (0..=MOST_LISTED).collect::<Vec<usize>>()});
        assert!(of(json!([too_many])).is_empty());
    }
}
