//! A schema without names and addresses: each reference is a `$ref` to a place, `#/$defs/NAME`.
//!
//! Which place a `$dynamicRef` leads to depends on the way that led to it. A part that is reached on ways with different
//! ends is copied for each, and the copies count, so that what is compiled and walked is as plain as it is bounded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::SchemaError;
use crate::keywords::{Beneath, beneath, escaped};
use crate::limits::{MAX_SCHEMA_DYNAMIC, MAX_SCHEMA_NODES, MAX_SCHEMA_PLACES, limit, take, wrong};
use crate::references::{Index, NAMES, REFERENCES, written};

/// What dynamic names mean on a way through the document: the place of the first that was met. Names that stand once are not in it.
type Meanings = BTreeMap<String, String>;

/// The schema with its references plain. It is as large as is allowed at most.
pub(crate) fn plain(root: &Value) -> Result<Value, SchemaError> {
    let index = Index::of(root)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    index.dynamic().for_each(|name| *counts.entry(name).or_default() += 1);
    let ambiguous = counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.to_owned());
    let ambiguous: BTreeSet<String> = ambiguous.collect();
    if ambiguous.len() > MAX_SCHEMA_DYNAMIC {
        return Err(limit("names of $dynamicAnchor that stand more than once", MAX_SCHEMA_DYNAMIC));
    }
    let mut writer = Writer {
        ambiguous,
        index: &index,
        places: BTreeMap::new(),
        waiting: Vec::new(),
        values: 0,
        copies: 0,
        left: MAX_SCHEMA_PLACES,
    };
    let meanings = writer.entered(&Meanings::new(), 0);
    let mut out = writer.resource(0, &meanings, "")?;
    while let Some((resource, meanings, name)) = writer.waiting.pop() {
        let copy = writer.resource(resource, &meanings, &format!("/$defs/{name}"))?;
        let Some(keywords) = out.as_object_mut() else { break };
        let defs = keywords.entry("$defs").or_insert_with(|| Value::Object(Map::new()));
        let Some(defs) = defs.as_object_mut() else { break };
        defs.insert(name, copy);
    }
    Ok(out)
}

struct Writer<'i, 's> {
    index: &'i Index<'s>,
    /// Dynamic names that stand more than once.
    ambiguous: BTreeSet<String>,
    /// Where a resource stands in what is written, for each set of meanings it was met with.
    places: BTreeMap<(usize, Meanings), String>,
    /// Copies still to be written, with their names in `$defs`.
    waiting: Vec<(usize, Meanings, String)>,
    values: u64,
    copies: usize,
    /// Bytes left for places that references are written with.
    left: usize,
}

impl Writer<'_, '_> {
    /// What names mean within a resource that is entered.
    fn entered(&self, meanings: &Meanings, resource: usize) -> Meanings {
        let mut within = meanings.clone();
        for name in &self.ambiguous {
            if let Some(at) = self.index.dynamic_in(resource, name) {
                within.entry(name.clone()).or_insert_with(|| at.to_owned());
            }
        }
        within
    }

    /// Writes a resource; what it embeds stands at its own places.
    fn resource(&mut self, resource: usize, meanings: &Meanings, out: &str) -> Result<Value, SchemaError> {
        let from = self.index.resources.get(resource).map(|one| one.at.clone()).unwrap_or_default();
        // references may lead ahead, so the places of all that it embeds are known first
        let embedded: Vec<(usize, String)> =
            self.index.resources.iter().enumerate().map(|(n, one)| (n, one.at.clone())).collect();
        let mut ways: BTreeMap<String, Meanings> = BTreeMap::new();
        for (number, at) in embedded {
            let Some(below) = at.strip_prefix(from.as_str()) else { continue };
            if number != resource && !below.starts_with('/') {
                continue;
            }
            // those around it come first in the list
            let around = ways.iter().filter(|(other, _)| at.starts_with(&format!("{other}/")));
            let meant = around.max_by_key(|(other, _)| other.len()).map_or(meanings, |(_, meant)| meant);
            let meant = self.entered(meant, number);
            self.places.entry((number, meant.clone())).or_insert_with(|| format!("{out}{below}"));
            ways.insert(at, meant);
        }
        let Some((schema, _)) = self.index.schema(&from) else { return Ok(Value::Bool(true)) };
        self.schema(schema, &from, &ways, meanings)
    }

    /// Writes a schema that stands at a place.
    fn schema(
        &mut self,
        schema: &Value,
        at: &str,
        ways: &BTreeMap<String, Meanings>,
        meanings: &Meanings,
    ) -> Result<Value, SchemaError> {
        let Value::Object(keywords) = schema else {
            // a list of names beneath `dependencies` has many
            self.count(values(schema))?;
            return Ok(schema.clone());
        };
        self.count(1)?;
        let meanings = ways.get(at).unwrap_or(meanings);
        let mut out = Map::new();
        for (keyword, value) in keywords {
            let here = format!("{at}/{keyword}");
            let written = match (beneath(keyword), value) {
                (_, Value::String(reference)) if REFERENCES.contains(&keyword.as_str()) => {
                    if keywords.contains_key("$ref") && keyword != "$ref" {
                        self.beside(&mut out, reference, at, &here, meanings)?;
                        continue;
                    }
                    out.insert("$ref".to_owned(), self.reference(keyword, reference, at, &here, meanings)?);
                    continue;
                }
                _ if NAMES.contains(&keyword.as_str()) => continue,
                (Beneath::One(_), inner) => self.schema(inner, &here, ways, meanings)?,
                (Beneath::List(_), Value::Array(list)) => {
                    let each = list.iter().enumerate();
                    let each =
                        each.map(|(n, inner)| self.schema(inner, &format!("{here}/{n}"), ways, meanings));
                    Value::Array(each.collect::<Result<_, _>>()?)
                }
                (Beneath::Named(_), Value::Object(named)) => {
                    let each = named.iter().map(|(name, inner)| {
                        let place = format!("{here}/{}", escaped(name));
                        Ok((name.clone(), self.schema(inner, &place, ways, meanings)?))
                    });
                    Value::Object(each.collect::<Result<_, SchemaError>>()?)
                }
                (Beneath::Data | Beneath::List(_) | Beneath::Named(_), data) => {
                    self.count(values(data))?;
                    data.clone()
                }
            };
            merge(&mut out, keyword, written);
        }
        Ok(Value::Object(out))
    }

    /// A `$dynamicRef` beside a `$ref`, as a part of `allOf`.
    fn beside(
        &mut self,
        out: &mut Map<String, Value>,
        reference: &str,
        at: &str,
        here: &str,
        meanings: &Meanings,
    ) -> Result<(), SchemaError> {
        let target = self.reference("$dynamicRef", reference, at, here, meanings)?;
        self.count(2)?;
        merge(out, "allOf", serde_json::json!([{"$ref": target}]));
        Ok(())
    }

    /// The plain form of a reference.
    fn reference(
        &mut self,
        keyword: &str,
        reference: &str,
        at: &str,
        here: &str,
        meanings: &Meanings,
    ) -> Result<Value, SchemaError> {
        let within = self.index.schema(at).map_or(0, |(_, resource)| resource);
        let target = self.index.resolve(within, reference).map_err(|what| wrong(here, what))?;
        let meant = target.dynamic.filter(|_| keyword == "$dynamicRef").and_then(|name| meanings.get(&name));
        let to = meant.cloned().unwrap_or(target.at);
        let resource = self.index.schema(&to).map_or(0, |(_, resource)| resource);
        let inside = self.index.resources.get(resource).and_then(|one| to.strip_prefix(one.at.as_str()));
        let inside = inside.unwrap_or_default().to_owned();
        let place = self.place(resource, self.entered(meanings, resource));
        self.count(1)?;
        let written = written(&format!("{place}{inside}"));
        take(&mut self.left, &written)?;
        Ok(Value::String(written))
    }

    /// Where a resource stands with these meanings; a copy is made of one that does not yet.
    fn place(&mut self, resource: usize, meanings: Meanings) -> String {
        let key = (resource, meanings);
        if let Some(place) = self.places.get(&key) {
            return place.clone();
        }
        let name = loop {
            self.copies += 1;
            let name = format!("copy-{}", self.copies);
            if self.index.schema(&format!("/$defs/{name}")).is_none() {
                break name;
            }
        };
        let place = format!("/$defs/{name}");
        self.waiting.push((key.0, key.1.clone(), name));
        self.places.insert(key, place.clone());
        place
    }

    fn count(&mut self, more: u64) -> Result<(), SchemaError> {
        self.values = self.values.saturating_add(more);
        if self.values > MAX_SCHEMA_NODES {
            return Err(limit("values", usize::try_from(MAX_SCHEMA_NODES).unwrap_or(usize::MAX)));
        }
        Ok(())
    }
}

/// Sets a keyword; lists of one that is there already grow together.
fn merge(out: &mut Map<String, Value>, keyword: &str, value: Value) {
    match (out.get_mut(keyword), value) {
        (Some(Value::Array(there)), Value::Array(more)) => there.extend(more),
        (_, value) => _ = out.insert(keyword.to_owned(), value),
    }
}

/// How many values a value has.
pub(crate) fn values(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(values).fold(1, u64::saturating_add),
        Value::Object(entries) => entries.values().map(values).fold(1, u64::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}
