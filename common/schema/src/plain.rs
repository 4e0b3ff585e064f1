//! A schema without names and addresses: each reference is a `$ref` to a place, `#/$defs/NAME`.
//!
//! Which place a `$dynamicRef` leads to depends on the way that led to it. A part that is reached on ways with different
//! ends is copied for each, and the copies count, so that what is compiled and walked is as plain as it is bounded.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::SchemaError;
use crate::keywords::{Beneath, beneath, escaped};
use crate::limits::{
    MAX_SCHEMA_COPIED, MAX_SCHEMA_DYNAMIC, MAX_SCHEMA_NODES, MAX_SCHEMA_PLACES, limit, take, wrong,
};
use crate::references::{Index, NAMES, REFERENCES, written};

/// What dynamic names mean on a way through the document, name by name: the resource that was met first. Numbers alone, because
/// there is one of these for each copy and names may be long.
type Meanings = [Option<usize>; MAX_SCHEMA_DYNAMIC];

/// The schema with its references plain. It is as large as is allowed at most.
pub(crate) fn plain(root: &Value) -> Result<Value, SchemaError> {
    Writer::of(&Index::of(root)?)?.all()
}

/// A resource that is written, for one set of meanings.
struct Copied {
    resource: usize,
    meanings: Meanings,
    /// Its name in `$defs`; none of the whole.
    name: Option<String>,
}

impl Copied {
    fn place(&self) -> String {
        self.name.as_ref().map(|name| format!("/$defs/{name}")).unwrap_or_default()
    }
}

struct Writer<'i, 's> {
    index: &'i Index<'s>,
    /// Dynamic names that stand more than once.
    ambiguous: Vec<&'i str>,
    /// What each resource gives a meaning to.
    own: Vec<Meanings>,
    /// What is written or will be; the whole first.
    copies: Vec<Copied>,
    /// In which copy a resource stands, for each set of meanings it was met with.
    places: BTreeMap<(usize, Meanings), usize>,
    /// Copies still to be written.
    waiting: Vec<usize>,
    values: u64,
    /// Bytes left for texts and names: one of them is one value, however long.
    text: usize,
    /// The last number in the name of a copy.
    last: usize,
    /// Bytes left for places that references are written with.
    left: usize,
    /// Bytes left for the places that parts are copied from.
    from: usize,
}

impl<'i> Writer<'i, '_> {
    fn of(index: &'i Index<'_>) -> Result<Writer<'i, 'i>, SchemaError> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        index.dynamic().for_each(|name| *counts.entry(name).or_default() += 1);
        let ambiguous: Vec<&str> =
            counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
        if ambiguous.len() > MAX_SCHEMA_DYNAMIC {
            return Err(limit("names of $dynamicAnchor that stand more than once", MAX_SCHEMA_DYNAMIC));
        }
        let own = |resource| {
            let mut own = Meanings::default();
            for (meant, name) in own.iter_mut().zip(&ambiguous) {
                *meant = index.dynamic_in(resource, name).map(|_| resource);
            }
            own
        };
        Ok(Writer {
            own: (0..index.resources.len()).map(own).collect(),
            ambiguous,
            index,
            copies: Vec::new(),
            places: BTreeMap::new(),
            waiting: Vec::new(),
            values: 0,
            text: MAX_SCHEMA_COPIED,
            last: 0,
            left: MAX_SCHEMA_PLACES,
            from: MAX_SCHEMA_PLACES,
        })
    }

    /// Writes the whole, and the copies that it needs into its `$defs`.
    fn all(&mut self) -> Result<Value, SchemaError> {
        let meanings = self.entered(Meanings::default(), 0);
        self.copies.push(Copied { resource: 0, meanings, name: None });
        let mut out = self.resource(0)?;
        while let Some(number) = self.waiting.pop() {
            let copy = self.resource(number)?;
            let Some(name) = self.copies.get(number).and_then(|copied| copied.name.clone()) else { break };
            let Some(keywords) = out.as_object_mut() else { break };
            let defs = keywords.entry("$defs").or_insert_with(|| Value::Object(Map::new()));
            let Some(defs) = defs.as_object_mut() else { break };
            defs.insert(name, copy);
        }
        Ok(out)
    }

    /// What names mean within a resource that is entered.
    fn entered(&self, mut meanings: Meanings, resource: usize) -> Meanings {
        for (meant, own) in meanings.iter_mut().zip(self.own.get(resource).into_iter().flatten()) {
            *meant = meant.or(*own);
        }
        meanings
    }

    /// Writes a copy of a resource; what it embeds stands at its own places.
    fn resource(&mut self, copy: usize) -> Result<Value, SchemaError> {
        let Some((resource, meanings)) = self.copies.get(copy).map(|one| (one.resource, one.meanings)) else {
            return Ok(Value::Bool(true));
        };
        let index = self.index;
        let from = self.at(resource);
        // references may lead ahead, so the places of all that it embeds are known first
        let mut ways: BTreeMap<&str, Meanings> = BTreeMap::new();
        for (number, one) in index.resources.iter().enumerate() {
            let at = one.at.as_str();
            if number != resource && !is_beneath(at, from) {
                continue;
            }
            // those around it come first in the list
            let around = ways.iter().filter(|(other, _)| is_beneath(at, other));
            let meant = around.max_by_key(|(other, _)| other.len()).map_or(meanings, |(_, meant)| *meant);
            let meant = self.entered(meant, number);
            self.places.entry((number, meant)).or_insert(copy);
            ways.insert(at, meant);
        }
        let Some((schema, _)) = index.schema(from) else { return Ok(Value::Bool(true)) };
        self.schema(schema, from, &ways, &meanings)
    }

    /// Where a resource stands in the document.
    fn at(&self, resource: usize) -> &'i str {
        self.index.resources.get(resource).map(|one| one.at.as_str()).unwrap_or_default()
    }

    /// Writes a schema that stands at a place.
    fn schema(
        &mut self,
        schema: &Value,
        at: &str,
        ways: &BTreeMap<&str, Meanings>,
        meanings: &Meanings,
    ) -> Result<Value, SchemaError> {
        take(&mut self.from, at)?;
        let Value::Object(keywords) = schema else {
            // a list of names beneath `dependencies` has many
            return self.data(schema);
        };
        self.count(1)?;
        let meanings = ways.get(at).unwrap_or(meanings);
        let mut out = Map::new();
        let mut beside = None;
        for (keyword, value) in keywords {
            self.write(keyword.len())?;
            let here = format!("{at}/{keyword}");
            let written = match (beneath(keyword), value) {
                (_, Value::String(reference)) if REFERENCES.contains(&keyword.as_str()) => {
                    if keywords.contains_key("$ref") && keyword != "$ref" {
                        self.count(2)?;
                        beside = Some(self.reference(keyword, reference, at, &here, meanings)?);
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
                        self.write(name.len())?;
                        let place = format!("{here}/{}", escaped(name));
                        Ok((name.clone(), self.schema(inner, &place, ways, meanings)?))
                    });
                    Value::Object(each.collect::<Result<_, SchemaError>>()?)
                }
                (Beneath::Data | Beneath::List(_) | Beneath::Named(_), data) => self.data(data)?,
            };
            out.insert(keyword.clone(), written);
        }
        if let Some(target) = beside {
            also(&mut out, target);
        }
        Ok(Value::Object(out))
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
        let name = target.dynamic.filter(|_| keyword == "$dynamicRef");
        let number = name.as_ref().and_then(|name| self.ambiguous.iter().position(|other| other == name));
        let meant = number.and_then(|number| meanings.get(number).copied().flatten());
        let meant = meant.zip(name).and_then(|(resource, name)| self.index.dynamic_in(resource, &name));
        let to = meant.unwrap_or(&target.at);
        let resource = self.index.schema(to).map_or(0, |(_, resource)| resource);
        let copy = self.copy(resource, self.entered(*meanings, resource));
        let Some(copied) = self.copies.get(copy) else { return Ok(Value::Bool(true)) };
        let inside = to.strip_prefix(self.at(copied.resource)).unwrap_or_default();
        let written = written(&format!("{}{inside}", copied.place()));
        self.count(1)?;
        take(&mut self.left, &written)?;
        Ok(Value::String(written))
    }

    /// In which copy a resource stands with these meanings; one is made where there is none yet.
    fn copy(&mut self, resource: usize, meanings: Meanings) -> usize {
        if let Some(copy) = self.places.get(&(resource, meanings)) {
            return *copy;
        }
        let name = loop {
            self.last += 1;
            let name = format!("copy-{}", self.last);
            if self.index.schema(&format!("/$defs/{name}")).is_none() {
                break name;
            }
        };
        let copy = self.copies.len();
        self.copies.push(Copied { resource, meanings, name: Some(name) });
        self.waiting.push(copy);
        self.places.insert((resource, meanings), copy);
        copy
    }

    /// Writes what has no parts.
    fn data(&mut self, data: &Value) -> Result<Value, SchemaError> {
        self.count(values(data))?;
        self.write(text(data))?;
        Ok(data.clone())
    }

    fn write(&mut self, bytes: usize) -> Result<(), SchemaError> {
        let what = "bytes of texts and names, copies for the meanings of dynamic names among them";
        self.text = self.text.checked_sub(bytes).ok_or_else(|| limit(what, MAX_SCHEMA_COPIED))?;
        Ok(())
    }

    fn count(&mut self, more: u64) -> Result<(), SchemaError> {
        self.values = self.values.saturating_add(more);
        if self.values > MAX_SCHEMA_NODES {
            return Err(limit("values", usize::try_from(MAX_SCHEMA_NODES).unwrap_or(usize::MAX)));
        }
        Ok(())
    }
}

/// Whether a place is within another one.
fn is_beneath(at: &str, other: &str) -> bool {
    at.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

/// Adds a reference beside a `$ref` as the last part of `allOf`: references to its other parts lead where they did.
fn also(out: &mut Map<String, Value>, target: Value) {
    let part = serde_json::json!({"$ref": target});
    let all = out.entry("allOf").or_insert_with(|| Value::Array(Vec::new()));
    // what is no list is refused when it is compiled
    if let Value::Array(all) = all {
        all.push(part);
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

/// How many bytes the texts and names of a value have.
pub(crate) fn text(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text).fold(0, usize::saturating_add),
        Value::Object(entries) => entries
            .iter()
            .map(|(name, inner)| name.len().saturating_add(text(inner)))
            .fold(0, usize::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Each part passes through the next in two ways, and gives another name a meaning in one of them. The places of what the names
    /// mean are long where they stand beneath a long name.
    fn ways(names: usize, long: &str) -> Value {
        let mut defs = Map::new();
        let mut binding = Map::new();
        for n in 0..names {
            let next = json!({"l": {"$ref": format!("p{}", n + 1)}, "r": {"$ref": format!("q{n}")}});
            defs.insert(format!("p{n}"), json!({"$id": format!("p{n}"), "properties": next}));
            let part = json!({"$id": format!("q{n}"), "$dynamicAnchor": format!("x{n}"), "$ref": format!("p{}", n + 1)});
            binding.insert(format!("q{n}"), part);
        }
        let last: Map<String, Value> =
            (0..names).map(|n| (format!("d{n}"), json!({"$dynamicAnchor": format!("x{n}")}))).collect();
        defs.insert(format!("p{names}"), json!({"$id": format!("p{names}"), "$defs": last}));
        defs.insert(long.to_owned(), json!({"$defs": binding}));
        json!({"$ref": "p0", "$defs": defs})
    }

    #[test]
    fn what_is_kept_for_copies_does_not_grow_with_the_names() {
        for (long, why) in [(55_000, "bytes in the places of its parts"), (1, "10000 values")] {
            let schema = ways(15, &"x".repeat(long));
            let index = Index::of(&schema).unwrap();
            let mut writer = Writer::of(&index).unwrap();
            let error = writer.all().unwrap_err().to_string();
            assert!(error.contains(why), "{long}: {error}");
            let copies = writer.copies.len();
            assert!(copies > 20 && writer.ambiguous.len() == 15, "{copies}");
            let kept = writer.places.len() * size_of::<(usize, Meanings, usize)>()
                + copies * (size_of::<Copied>() + "copy-10000".len());
            assert!(kept < 8 << 20, "{kept} bytes for {copies} copies");
        }
        let schema = ways(3, &"x".repeat(50_000));
        assert!(plain(&schema).is_ok(), "a long name with few copies");
    }
}
