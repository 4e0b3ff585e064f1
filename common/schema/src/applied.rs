//! Which parts of a schema apply to one place of a value, and what they say of what is left out there.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::fit::{Fit, Judge};
use crate::same::same;

/// A name within an object, or a place within a list.
#[derive(Clone, Copy)]
pub(crate) enum Key<'k> {
    Name(&'k str),
    Place(usize),
}

/// What is there in place of what is left out.
#[derive(Clone, Copy)]
pub(crate) enum Absent<'s> {
    Nothing,
    Default(&'s Value),
    /// One thing or another.
    Unknown,
}

/// The parts that apply to one place.
#[derive(Default)]
pub(crate) struct Applied<'s> {
    /// Those that do, what refers to others before them.
    sure: Vec<&'s Map<String, Value>>,
    /// Of each of these one does, and nobody can say which.
    choices: Vec<Vec<Self>>,
}

impl<'s> Applied<'s> {
    pub(crate) fn is_empty(&self) -> bool {
        self.sure.is_empty() && self.choices.is_empty()
    }

    /// Adds a part, and what applies because of it.
    pub(crate) fn add(&mut self, judge: &mut Judge<'s>, schema: &'s Value, seen: &Value) {
        let Value::Object(keywords) = schema else { return };
        // a schema that was compiled leads nowhere without an end
        if !judge.look(1) {
            return;
        }
        self.sure.push(keywords);
        if let Some(target) = judge.target(keywords) {
            self.add(judge, target, seen);
        }
        list(keywords, "allOf").iter().for_each(|part| self.add(judge, part, seen));
        for keyword in ["anyOf", "oneOf"] {
            let all = list(keywords, keyword);
            let fitting: Vec<&Value> = all.iter().filter(|part| judge.fit(part, seen) != Fit::No).collect();
            match fitting[..] {
                [] => {}
                [one] => self.add(judge, one, seen),
                [..] => {
                    let ways = fitting.iter().map(|&part| vec![part]).collect();
                    self.choose(judge, ways, seen);
                }
            }
        }
        if let Some(condition) = keywords.get("if") {
            let then = [Some(condition), keywords.get("then")].into_iter().flatten().collect::<Vec<_>>();
            let otherwise = keywords.get("else").into_iter().collect::<Vec<_>>();
            match judge.fit(condition, seen) {
                Fit::Yes => then.iter().for_each(|part| self.add(judge, part, seen)),
                Fit::No => otherwise.iter().for_each(|part| self.add(judge, part, seen)),
                Fit::Maybe => self.choose(judge, vec![then, otherwise], seen),
            }
        }
        for keyword in ["dependentSchemas", "dependencies"] {
            let named = keywords.get(keyword).and_then(Value::as_object).into_iter().flatten();
            named
                .filter(|(name, _)| seen.get(name).is_some())
                .for_each(|(_, part)| self.add(judge, part, seen));
        }
    }

    /// Adds ways of which one holds.
    fn choose(&mut self, judge: &mut Judge<'s>, ways: Vec<Vec<&'s Value>>, seen: &Value) {
        let ways = ways.into_iter().map(|parts| {
            let mut way = Self::default();
            parts.into_iter().for_each(|part| way.add(judge, part, seen));
            way
        });
        let ways: Vec<Self> = ways.collect();
        if ways.iter().any(|way| !way.is_empty()) {
            self.choices.push(ways);
        }
    }

    /// What applies to what is there by this key.
    pub(crate) fn within(&self, judge: &mut Judge<'s>, key: Key<'_>, seen: &Value) -> Self {
        let mut within = Self::default();
        for keywords in &self.sure {
            let (sure, open) = beneath(keywords, key);
            if !judge.look(1 + open.len()) {
                break;
            }
            sure.into_iter().for_each(|part| within.add(judge, part, seen));
            open.into_iter().for_each(|part| within.choose(judge, vec![vec![part], Vec::new()], seen));
        }
        for ways in &self.choices {
            let ways: Vec<Self> = ways.iter().map(|way| way.within(judge, key, seen)).collect();
            if ways.iter().any(|way| !way.is_empty()) {
                within.choices.push(ways);
            }
        }
        within
    }

    /// The names that its parts know.
    pub(crate) fn names(&self, judge: &mut Judge<'s>, names: &mut BTreeSet<&'s str>) {
        for keywords in &self.sure {
            let properties = keywords.get("properties").and_then(Value::as_object);
            let Some(properties) = properties.filter(|properties| judge.look(properties.len())) else {
                continue;
            };
            names.extend(properties.keys().map(String::as_str));
        }
        self.choices.iter().flatten().for_each(|way| way.names(judge, names));
    }

    /// What is there in place of what is left out.
    pub(crate) fn absent(&self, judge: &mut Judge<'s>, key: Key<'_>) -> Absent<'s> {
        let mut said = Absent::Nothing;
        for (number, keywords) in self.sure.iter().enumerate() {
            let own = match key {
                Key::Name(name) => keywords.get("properties").and_then(|properties| properties.get(name)),
                Key::Place(place) => list(keywords, "prefixItems").get(place),
            };
            let Some(own) = own else { continue };
            let default = default(judge, own);
            said = said.and(default);
            // what refers to others and says it anew has the last word
            if number == 0 && matches!(default, Absent::Default(_)) {
                break;
            }
        }
        self.choices.iter().fold(said, |said, ways| {
            let ways = ways.iter().map(|way| way.absent(judge, key));
            said.and(either(ways))
        })
    }
}

impl<'s> Absent<'s> {
    /// What both say.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, said) | (said, Self::Nothing) => said,
            (Self::Default(one), Self::Default(other)) if same(one, other) => self,
            (Self::Default(_) | Self::Unknown, Self::Default(_) | Self::Unknown) => Self::Unknown,
        }
    }
}

/// What one of several ways says, whichever it is.
fn either<'s>(mut ways: impl Iterator<Item = Absent<'s>>) -> Absent<'s> {
    let Some(first) = ways.next() else { return Absent::Nothing };
    ways.fold(first, |said, way| match (said, way) {
        (Absent::Nothing, Absent::Nothing) => said,
        (Absent::Default(one), Absent::Default(other)) if same(one, other) => said,
        (Absent::Nothing | Absent::Default(_) | Absent::Unknown, _) => Absent::Unknown,
    })
}

/// The default of what is not there: its own, or that of what it refers to.
fn default<'s>(judge: &mut Judge<'s>, schema: &'s Value) -> Absent<'s> {
    let Value::Object(keywords) = schema else { return Absent::Nothing };
    if !judge.look(1) {
        return Absent::Unknown;
    }
    if let Some(own) = keywords.get("default") {
        return Absent::Default(own);
    }
    let mut said = judge.target(keywords).map_or(Absent::Nothing, |target| default(judge, target));
    for part in list(keywords, "allOf") {
        said = said.and(default(judge, part));
    }
    for keyword in ["anyOf", "oneOf"] {
        said = said.and(either(list(keywords, keyword).iter().map(|part| default(judge, part))));
    }
    let branches = ["then", "else"].map(|keyword| keywords.get(keyword));
    said.and(either(
        branches.into_iter().map(|part| part.map_or(Absent::Nothing, |part| default(judge, part))),
    ))
}

/// The parts that apply to what is there by a key, and those that may.
fn beneath<'s>(keywords: &'s Map<String, Value>, key: Key<'_>) -> (Vec<&'s Value>, Vec<&'s Value>) {
    let (mut sure, mut open) = (Vec::new(), Vec::new());
    match key {
        Key::Name(name) => {
            let own = keywords.get("properties").and_then(|properties| properties.get(name));
            let patterns = keywords.get("patternProperties").and_then(Value::as_object);
            sure.extend(own);
            open.extend(patterns.into_iter().flat_map(Map::values));
            if own.is_none() {
                let others = keywords.get("additionalProperties");
                if open.is_empty() {
                    sure.extend(others)
                } else {
                    open.extend(others)
                }
                open.extend(keywords.get("unevaluatedProperties"));
            }
        }
        Key::Place(place) => {
            let first = list(keywords, "prefixItems");
            match first.get(place) {
                Some(own) => sure.push(own),
                None => {
                    sure.extend(keywords.get("items"));
                    open.extend(keywords.get("unevaluatedItems"));
                }
            }
            open.extend(keywords.get("contains"));
        }
    }
    (sure, open)
}

fn list<'s>(keywords: &'s Map<String, Value>, keyword: &str) -> &'s [Value] {
    keywords.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
