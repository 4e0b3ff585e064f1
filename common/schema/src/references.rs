//! What a schema's references lead to. Nothing is fetched: all of it stands in the same document.

use std::collections::BTreeMap;

use jsonschema::Uri;
use serde_json::Value;

use crate::SchemaError;
use crate::keywords::parts;
use crate::limits::{MAX_SCHEMA_EMBEDDED, MAX_SCHEMA_PLACES, limit, take, wrong};

/// What refers to another place.
pub(crate) const REFERENCES: [&str; 2] = ["$ref", "$dynamicRef"];
/// What names a place. In a schema without references by name it says nothing.
pub(crate) const NAMES: [&str; 3] = ["$id", "$anchor", "$dynamicAnchor"];

/// A part of the document with an address of its own: the whole, and each part with `$id`.
#[derive(Debug)]
pub(crate) struct Resource {
    address: Uri<String>,
    /// Where it is, as a JSON pointer from the root.
    pub(crate) at: String,
}

/// What a reference leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where it is, as a JSON pointer from the root.
    pub(crate) at: String,
    /// The name by which a `$dynamicRef` finds another place, if it is one.
    pub(crate) dynamic: Option<String>,
}

/// All places of a document that references can lead to.
#[derive(Debug)]
pub(crate) struct Index<'s> {
    pub(crate) resources: Vec<Resource>,
    /// The schemas by their JSON pointers, each with the number of its resource.
    schemas: BTreeMap<String, (&'s Value, usize)>,
    /// Named places by resource and name.
    anchors: BTreeMap<(usize, String), Target>,
    /// Bytes left for the places.
    left: usize,
}

impl<'s> Index<'s> {
    /// Of a schema that is not deeper than is allowed.
    pub(crate) fn of(root: &'s Value) -> Result<Self, SchemaError> {
        let mut index = Self {
            resources: Vec::new(),
            schemas: BTreeMap::new(),
            anchors: BTreeMap::new(),
            left: MAX_SCHEMA_PLACES,
        };
        let base = address(None, root.get("$id")).map_err(|what| wrong("/$id", what))?;
        index.resources.push(Resource { address: base, at: String::new() });
        index.add(root, String::new(), 0)?;
        Ok(index)
    }

    fn add(&mut self, schema: &'s Value, at: String, within: usize) -> Result<(), SchemaError> {
        take(&mut self.left, &at)?;
        let mut resource = within;
        if let Value::Object(keywords) = schema {
            if !at.is_empty() && keywords.contains_key("$id") {
                resource = self.embed(keywords.get("$id"), &at, within)?;
            }
            for word in ["$anchor", "$dynamicAnchor"] {
                let Some(value) = keywords.get(word) else { continue };
                let place = format!("{at}/{word}");
                let Some(name) = value.as_str().filter(|name| is_name(name)) else {
                    return Err(wrong(&place, "a name begins with a letter or _, and has no # in it"));
                };
                let dynamic = (word == "$dynamicAnchor").then(|| name.to_owned());
                let target = Target { at: at.clone(), dynamic };
                let twice = self.anchors.insert((resource, name.to_owned()), target);
                if twice.is_some_and(|other| other.at != at) {
                    return Err(wrong(&place, format!("the name {name:?} stands twice")));
                }
            }
            for part in parts(keywords) {
                self.add(part.schema, format!("{at}{}", part.at), resource)?;
            }
        }
        self.schemas.insert(at, (schema, resource));
        Ok(())
    }

    /// A part with an address of its own.
    fn embed(&mut self, id: Option<&Value>, at: &str, within: usize) -> Result<usize, SchemaError> {
        let place = format!("{at}/$id");
        let base = self.resources.get(within).map(|resource| &resource.address);
        let address = address(base, id).map_err(|what| wrong(&place, what))?;
        if self.resources.iter().any(|other| other.address == address) {
            return Err(wrong(&place, format!("the address {address} stands twice")));
        }
        if self.resources.len() > MAX_SCHEMA_EMBEDDED {
            return Err(limit("parts with $id", MAX_SCHEMA_EMBEDDED));
        }
        self.resources.push(Resource { address, at: at.to_owned() });
        Ok(self.resources.len() - 1)
    }

    /// The schema at a place, and the number of its resource.
    pub(crate) fn schema(&self, at: &str) -> Option<(&'s Value, usize)> {
        self.schemas.get(at).copied()
    }

    /// The names of `$dynamicAnchor`, once for each place.
    pub(crate) fn dynamic(&self) -> impl Iterator<Item = &str> {
        self.anchors.values().filter_map(|target| target.dynamic.as_deref())
    }

    /// The place that a `$dynamicAnchor` names in a resource.
    pub(crate) fn dynamic_in(&self, resource: usize, name: &str) -> Option<&str> {
        let target = self.anchors.get(&(resource, name.to_owned()))?;
        target.dynamic.as_ref().map(|_| target.at.as_str())
    }

    /// Follows a reference that stands in a resource; the error says what is wrong with it.
    pub(crate) fn resolve(&self, within: usize, reference: &str) -> Result<Target, String> {
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let resource = if address.is_empty() { Some(within) } else { self.find(within, address)? };
        let Some((number, resource)) = resource.and_then(|n| Some((n, self.resources.get(n)?))) else {
            return Err(format!(
                "{reference:?} is somewhere else, and nothing is fetched; put it into $defs here"
            ));
        };
        let missing = || format!("{reference:?} is not in this schema");
        let fragment = decoded(fragment).ok_or_else(missing)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            let at = format!("{}{fragment}", resource.at);
            return match self.schemas.contains_key(&at) {
                true => Ok(Target { at, dynamic: None }),
                false if self.is_something(&at) => Err(format!(
                    "{reference:?} does not lead to a schema; put what it is to lead to into $defs"
                )),
                false => Err(missing()),
            };
        }
        self.anchors.get(&(number, fragment)).cloned().ok_or_else(missing)
    }

    fn find(&self, within: usize, address: &str) -> Result<Option<usize>, String> {
        let base = self.resources.get(within).map(|resource| resource.address.borrow());
        let Some(base) = base else { return Ok(None) };
        let address = jsonschema::uri::resolve_against(&base, address).map_err(|error| error.to_string())?;
        Ok(self.resources.iter().position(|resource| resource.address == address))
    }

    fn is_something(&self, at: &str) -> bool {
        self.schema("").is_some_and(|(root, _)| root.pointer(at).is_some())
    }
}

/// The address that an `$id` gives.
fn address(base: Option<&Uri<String>>, id: Option<&Value>) -> Result<Uri<String>, String> {
    let text = match id {
        None => "",
        Some(id) => id.as_str().ok_or("it is not an address")?,
    };
    let text = text.strip_suffix('#').unwrap_or(text);
    if text.contains('#') {
        return Err("it has a part behind #; use $anchor for that".to_owned());
    }
    let address = match base {
        None => jsonschema::uri::from_str(text),
        Some(base) => jsonschema::uri::resolve_against(&base.borrow(), text),
    };
    address.map_err(|error| error.to_string())
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Without `%`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (high, low) = (digit()?, digit()?);
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).ok()
}

/// A reference to a place by its JSON pointer, as it stands in a schema.
pub(crate) fn written(at: &str) -> String {
    let mut text = "#".to_owned();
    for byte in at.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(byte)),
            _ if b"-._~!$&'()*+,;=:@/?".contains(&byte) => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
