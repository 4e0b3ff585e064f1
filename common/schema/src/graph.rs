//! A schema as a graph: which schemas apply to the same value, and which to the values within.

use std::collections::BTreeMap;

use redpoll_common::wire::MAX_DEPTH;
use serde_json::Value;

use crate::SchemaError;
use crate::keywords::{Beneath, Each, Here, Step, beneath, parts};
use crate::limits::{MAX_SCHEMA_PLACES, limit, take, wrong};
use crate::plain::values;
use crate::references::written;

/// Levels of a value, from the map of arguments down: those of the wire, and one for the list of positional arguments.
pub(crate) const LEVELS: usize = MAX_DEPTH + 2;
/// How many schemas may follow each other at one place of a value.
pub const MAX_SCHEMA_CHAIN: usize = 64;
/// How many schemas may follow each other from the root of a value to its deepest place.
pub const MAX_SCHEMA_STEPS: usize = 256;
/// A schema, and what it leads to, by numbers.
pub(crate) struct Node {
    at: String,
    /// Its keywords and their values, parts aside.
    pub(crate) own: u64,
    /// What applies to the same value.
    pub(crate) here: Vec<(Here, usize)>,
    /// What applies to the value of a name.
    pub(crate) properties: BTreeMap<String, usize>,
    /// What applies to elements by their place.
    pub(crate) prefix: Vec<usize>,
    /// What may apply to names and elements besides.
    pub(crate) rest: Vec<(Each, usize)>,
    /// It asks its parts again what they looked at.
    pub(crate) asks_again: bool,
}

pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
}

impl Graph {
    pub(crate) fn of(schema: &Value) -> Result<Self, SchemaError> {
        let mut numbers = BTreeMap::new();
        let mut schemas = Vec::new();
        // copies have places of their own
        collect(schema, String::new(), &mut { MAX_SCHEMA_PLACES }, &mut numbers, &mut schemas)?;
        let nodes = schemas.into_iter().map(|(at, schema)| Node::of(at, schema, &numbers));
        Ok(Self { nodes: nodes.collect::<Result<_, _>>()? })
    }

    /// The schemas in an order in which each comes before what applies to the same value because of it.
    pub(crate) fn order(&self) -> Result<Vec<usize>, SchemaError> {
        let mut sort = Sort { graph: self, heights: vec![None; self.nodes.len()], done: Vec::new() };
        for number in 0..self.nodes.len() {
            sort.visit(number, 0)?;
        }
        sort.done.reverse();
        Ok(sort.done)
    }

    /// How many schemas follow each other, down to the deepest value.
    pub(crate) fn steps(&self, order: &[usize]) -> usize {
        let mut below = vec![0; self.nodes.len()];
        for _ in 0..LEVELS {
            let mut longest = vec![0; self.nodes.len()];
            for &number in order.iter().rev() {
                let Some(node) = self.nodes.get(number) else { continue };
                let most = |numbers: &mut dyn Iterator<Item = usize>, table: &[usize]| {
                    numbers.filter_map(|n| table.get(n)).max().copied().unwrap_or(0)
                };
                let here = most(&mut node.here.iter().map(|(_, n)| *n), &longest);
                let most = 1 + here.max(most(&mut node.children(), &below));
                if let Some(entry) = longest.get_mut(number) {
                    *entry = most;
                }
            }
            below = longest;
        }
        below.first().copied().unwrap_or(0)
    }
}

/// Gives each schema a number; the root is the first.
fn collect<'s>(
    schema: &'s Value,
    at: String,
    left: &mut usize,
    numbers: &mut BTreeMap<String, usize>,
    schemas: &mut Vec<(String, &'s Value)>,
) -> Result<(), SchemaError> {
    take(left, &at)?;
    // as references are written
    numbers.insert(written(&at), schemas.len());
    schemas.push((at.clone(), schema));
    for part in schema.as_object().map(parts).unwrap_or_default() {
        collect(part.schema, format!("{at}{}", part.at), left, numbers, schemas)?;
    }
    Ok(())
}

impl Node {
    fn of(at: String, schema: &Value, numbers: &BTreeMap<String, usize>) -> Result<Self, SchemaError> {
        let mut node = Self {
            own: 1,
            here: Vec::new(),
            properties: BTreeMap::new(),
            prefix: Vec::new(),
            rest: Vec::new(),
            asks_again: false,
            at,
        };
        let Value::Object(keywords) = schema else {
            node.own = values(schema);
            return Ok(node);
        };
        for (keyword, value) in keywords {
            node.own = node.own.saturating_add(own(keyword, value));
        }
        node.asks_again = keywords.keys().any(|word| word.starts_with("unevaluated"));
        if let Some(Value::String(reference)) = keywords.get("$ref") {
            let missing = || wrong(&node.at, format!("{reference:?} is not in this schema"));
            node.here.push((Here::Branch, *numbers.get(reference).ok_or_else(missing)?));
        }
        for part in parts(keywords) {
            let number = *numbers.get(&written(&format!("{}{}", node.at, part.at))).unwrap_or(&0);
            match part.step {
                Step::Here(how) => node.here.push((how, number)),
                Step::Property => _ = node.properties.insert(part.name, number),
                Step::Prefix => node.prefix.push(number),
                Step::Each(which) => node.rest.push((which, number)),
                Step::Aside => {}
            }
        }
        Ok(node)
    }

    /// What applies to values within.
    fn children(&self) -> impl Iterator<Item = usize> {
        let rest = self.rest.iter().map(|(_, number)| *number);
        self.properties.values().copied().chain(self.prefix.iter().copied()).chain(rest)
    }
}

/// What a keyword counts for by itself: its data, and 1 where parts stand beneath it, which count for themselves.
fn own(keyword: &str, value: &Value) -> u64 {
    match (beneath(keyword), value) {
        (Beneath::One(_), _) | (Beneath::List(_), Value::Array(_)) => 1,
        (Beneath::Named(_), Value::Object(named)) => {
            // a list beneath `dependencies` is no part: each of its names is looked for
            let lists = named.values().filter(|inner| inner.is_array());
            lists.map(values).fold(1, u64::saturating_add)
        }
        (Beneath::Data | Beneath::List(_) | Beneath::Named(_), data) => values(data),
    }
}

/// Sorts schemas by what follows at the same value.
struct Sort<'g> {
    graph: &'g Graph,
    /// How many schemas follow each other from each on; none while it is being looked at.
    heights: Vec<Option<usize>>,
    done: Vec<usize>,
}

impl Sort<'_> {
    fn visit(&mut self, number: usize, above: usize) -> Result<usize, SchemaError> {
        /// Being looked at.
        const OPEN: usize = 0;
        let Some(node) = self.graph.nodes.get(number) else { return Ok(1) };
        match self.heights.get(number).copied().flatten() {
            Some(OPEN) => {
                let text = "it refers back to itself without going deeper into the value, so it says nothing";
                return Err(wrong(if node.at.is_empty() { "/" } else { &node.at }, text));
            }
            Some(height) => return Ok(height),
            None => {}
        }
        self.set(number, OPEN);
        let mut height = 1;
        // whatever is longer than the limit is found before this is called deeper than that
        if above <= MAX_SCHEMA_CHAIN {
            for (_, next) in &node.here {
                height = height.max(1 + self.visit(*next, above + 1)?);
            }
        }
        if height > MAX_SCHEMA_CHAIN || above > MAX_SCHEMA_CHAIN {
            return Err(limit("schemas that follow each other at one value", MAX_SCHEMA_CHAIN));
        }
        self.set(number, height);
        self.done.push(number);
        Ok(height)
    }

    fn set(&mut self, number: usize, height: usize) {
        if let Some(entry) = self.heights.get_mut(number) {
            *entry = Some(height);
        }
    }
}
