//! Where schemas stand within a schema, and to which values they apply.

use serde_json::{Map, Value};

/// To what a part of a schema applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the same value.
    Here(Here),
    /// To the value of one name.
    Property,
    /// To the element at one place.
    Prefix,
    /// To several names or elements.
    Each(Each),
    /// To nothing by itself: definitions, and notes about content.
    Aside,
}

/// How a part applies to the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Here {
    /// It has to fit.
    All,
    /// It is one of several choices.
    Choice,
    /// Only to know whether it fits.
    Test,
    /// It decides what else applies.
    If,
    /// By way of a reference, or on a condition: `then`, `else`, and what depends on a name.
    Branch,
}

/// To which names or elements a part applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Each {
    /// To the value of each name that fits a pattern.
    Pattern,
    /// To the values of all other names.
    Additional,
    /// To the values of names that nothing else looked at.
    UnevaluatedProperty,
    /// To the names themselves.
    Name,
    /// To all other elements.
    Items,
    /// To each element, only to know whether it fits.
    Contains,
    /// To elements that nothing else looked at.
    UnevaluatedItem,
}

/// What stands beneath a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beneath {
    /// No schema.
    Data,
    /// A schema.
    One(Step),
    /// A list of schemas.
    List(Step),
    /// Schemas by names of the author's choice.
    Named(Step),
}

/// What stands beneath a keyword of draft 2020-12, or of an older one that validators still know.
pub(crate) fn beneath(keyword: &str) -> Beneath {
    match keyword {
        "allOf" => Beneath::List(Step::Here(Here::All)),
        "anyOf" | "oneOf" => Beneath::List(Step::Here(Here::Choice)),
        "not" => Beneath::One(Step::Here(Here::Test)),
        "if" => Beneath::One(Step::Here(Here::If)),
        "then" | "else" => Beneath::One(Step::Here(Here::Branch)),
        "dependentSchemas" | "dependencies" => Beneath::Named(Step::Here(Here::Branch)),
        "properties" => Beneath::Named(Step::Property),
        "patternProperties" => Beneath::Named(Step::Each(Each::Pattern)),
        "additionalProperties" => Beneath::One(Step::Each(Each::Additional)),
        "unevaluatedProperties" => Beneath::One(Step::Each(Each::UnevaluatedProperty)),
        "propertyNames" => Beneath::One(Step::Each(Each::Name)),
        "prefixItems" => Beneath::List(Step::Prefix),
        "items" => Beneath::One(Step::Each(Each::Items)),
        "contains" => Beneath::One(Step::Each(Each::Contains)),
        "unevaluatedItems" => Beneath::One(Step::Each(Each::UnevaluatedItem)),
        "$defs" | "definitions" => Beneath::Named(Step::Aside),
        "contentSchema" => Beneath::One(Step::Aside),
        _ => Beneath::Data,
    }
}

/// A part of a schema that is a schema.
pub(crate) struct Part<'s> {
    pub(crate) step: Step,
    /// Its name or number beneath the keyword; empty where there is but one.
    pub(crate) name: String,
    /// Where it is, from the schema on, as a JSON pointer.
    pub(crate) at: String,
    pub(crate) schema: &'s Value,
}

/// The schemas directly within a schema, in its order.
pub(crate) fn parts(keywords: &Map<String, Value>) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (keyword, value) in keywords {
        let mut add = |step, name: &str, schema| {
            let at = if name.is_empty() { String::new() } else { format!("/{}", escaped(name)) };
            parts.push(Part { step, name: name.to_owned(), at: format!("/{keyword}{at}"), schema });
        };
        match (beneath(keyword), value) {
            (Beneath::One(step), schema) => add(step, "", schema),
            (Beneath::List(step), Value::Array(list)) => {
                list.iter().enumerate().for_each(|(n, schema)| add(step, &n.to_string(), schema));
            }
            (Beneath::Named(step), Value::Object(named)) => {
                // a name may be empty, and a list of names is not a schema
                for (name, schema) in named.iter().filter(|(_, schema)| !schema.is_array()) {
                    let at = format!("/{keyword}/{}", escaped(name));
                    parts.push(Part { step, name: name.clone(), at, schema });
                }
            }
            (Beneath::Data | Beneath::List(_) | Beneath::Named(_), _) => {}
        }
    }
    parts
}

/// A name as a word of a JSON pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
