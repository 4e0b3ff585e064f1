//! What it may cost to check a value by a schema, before anything is compiled.
//!
//! A schema that refers to itself applies to values of any depth. Three things are bounded here, for every value that the wire
//! lets through: how many schemas follow each other at one place of a value, which is what a cycle without descent has no end of;
//! how many follow each other from the root to the deepest place, which is stack; and how many apply to one place at all, each as
//! often as it does, which is time. The last is counted on all ways through the schema, with what the library looks at twice: the
//! choices of `anyOf`, first whether one fits and then why none does, and what `unevaluatedProperties` asks again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::SchemaError;
use crate::graph::{Graph, LEVELS, MAX_SCHEMA_STEPS, Node};
use crate::keywords::{Each, Here};
use crate::limits::{MAX_SCHEMA_NODES, limit};

/// How much may be looked at to find the most that applies to one place.
const MAX_SEARCH: usize = 100_000;

/// Checks what is bounded, of a plain schema, and gives the most that applies to one place.
pub(crate) fn check(schema: &Value) -> Result<u64, SchemaError> {
    let graph = Graph::of(schema)?;
    let order = graph.order()?;
    let steps = graph.steps(&order);
    if steps > MAX_SCHEMA_STEPS {
        return Err(limit("schemas that follow each other down to the deepest value", MAX_SCHEMA_STEPS));
    }
    Search::new(&graph, &order).run()
}

/// How often a schema is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Times {
    /// To know whether the value fits.
    fits: u64,
    /// To know why it does not.
    why: u64,
    /// To know what of the value it looked at.
    asked: u64,
}

impl Times {
    fn add(&mut self, more: Self) {
        self.fits = self.fits.saturating_add(more.fits);
        self.why = self.why.saturating_add(more.why);
        self.asked = self.asked.saturating_add(more.asked);
    }

    fn both(self) -> u64 {
        self.fits.saturating_add(self.why)
    }

    /// Of a part that is looked at also to know what it looked at.
    fn again(self) -> Self {
        Self { fits: self.both().saturating_add(self.asked), why: self.why, asked: 0 }
    }
}

/// How often each schema is applied to one place of a value by those above it.
type Applied = BTreeMap<usize, Times>;
/// The same of all that apply there.
type Everything = BTreeMap<usize, Times>;

/// Follows all ways down into values.
struct Search<'g> {
    graph: &'g Graph,
    /// The place of each schema in the order.
    ranks: Vec<usize>,
    order: &'g [usize],
    seen: BTreeSet<Applied>,
    left: usize,
    /// The most that applies to one place so far.
    most: u64,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph, order: &'g [usize]) -> Self {
        let mut ranks = vec![0; order.len()];
        for (rank, number) in order.iter().enumerate() {
            if let Some(entry) = ranks.get_mut(*number) {
                *entry = rank;
            }
        }
        Self { graph, ranks, order, seen: BTreeSet::new(), left: MAX_SEARCH, most: 0 }
    }

    fn run(mut self) -> Result<u64, SchemaError> {
        let root = Applied::from([(0, Times { fits: 1, why: 1, asked: 0 })]);
        let mut level = BTreeSet::from([root]);
        // what was met at a higher place has more below it, and need not be followed again
        for _ in 0..LEVELS {
            let mut next = BTreeSet::new();
            for applied in level {
                if !self.seen.contains(&applied) {
                    self.below(&applied, &mut next)?;
                    self.seen.insert(applied);
                }
            }
            level = next;
        }
        Ok(self.most)
    }

    /// What is applied to values one level deeper, for each name and place that makes a difference.
    fn below(&mut self, applied: &Applied, next: &mut BTreeSet<Applied>) -> Result<(), SchemaError> {
        let all = self.everything(applied)?;
        let mut names: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        let (mut rest, mut places) = (BTreeSet::new(), 0);
        for &number in all.keys() {
            let Some(node) = self.graph.nodes.get(number) else { continue };
            self.spend(1 + node.properties.len() + node.prefix.len())?;
            for name in node.properties.keys() {
                names.entry(name).or_default().insert(number);
            }
            places = places.max(node.prefix.len());
            if !node.rest.is_empty() || !node.prefix.is_empty() {
                rest.insert(number);
            }
        }
        let child = |node: &'g Node, name: &str| node.properties.get(name).copied();
        for (name, owners) in &names {
            let involved = owners.union(&rest).copied();
            next.extend(self.child(&all, involved, |node| child(node, name), at_name)?);
        }
        next.extend(self.child(&all, rest.iter().copied(), |_| None, at_name)?);
        for place in 0..=places {
            let child = |node: &'g Node| node.prefix.get(place).copied();
            next.extend(self.child(&all, rest.iter().copied(), child, at_element)?);
        }
        Ok(())
    }

    /// What is applied to one name or element: the parts for it alone, and those for all.
    fn child(
        &mut self,
        all: &Everything,
        involved: impl Iterator<Item = usize>,
        own: impl Fn(&'g Node) -> Option<usize>,
        rest: impl Fn(Each, bool, Times) -> Option<Times>,
    ) -> Result<Option<Applied>, SchemaError> {
        let mut below = Applied::new();
        for number in involved {
            let Some(node) = self.graph.nodes.get(number) else { continue };
            self.spend(1 + node.rest.len())?;
            let times = all.get(&number).copied().unwrap_or_default();
            let own = own(node);
            if let Some(own) = own {
                below.entry(own).or_default().add(Times { asked: 0, ..times });
            }
            for (step, part) in &node.rest {
                if let Some(times) = rest(*step, own.is_some(), times) {
                    below.entry(*part).or_default().add(times);
                }
            }
        }
        Ok(Some(below).filter(|below| !below.is_empty()))
    }

    /// How often each schema is applied to a value to which these are, those behind references and in parts too.
    fn everything(&mut self, applied: &Applied) -> Result<Everything, SchemaError> {
        let rank = |number: usize| self.ranks.get(number).copied().unwrap_or(usize::MAX);
        let mut open: BTreeMap<usize, Times> =
            applied.iter().map(|(number, times)| (rank(*number), *times)).collect();
        let (mut all, mut cost, mut spent) = (Everything::new(), 0_u64, 0);
        // what follows has a higher rank
        while let Some((place, mut times)) = open.pop_first() {
            let Some(&number) = self.order.get(place) else { continue };
            let Some(node) = self.graph.nodes.get(number) else { continue };
            if node.asks_again {
                times.asked = times.asked.saturating_add(times.both());
            }
            cost = cost.saturating_add(times.both().saturating_add(times.asked).saturating_mul(node.own));
            spent += 1 + node.here.len();
            for (step, part) in &node.here {
                open.entry(rank(*part)).or_default().add(at_same(*step, times));
            }
            all.insert(number, times);
        }
        self.spend(spent)?;
        self.most = self.most.max(cost);
        if cost > MAX_SCHEMA_NODES {
            let what = "values that apply to one place of the arguments, references followed; let no two parts of one \
                        schema refer back to it for the same argument";
            return Err(limit(what, usize::try_from(MAX_SCHEMA_NODES).unwrap_or(usize::MAX)));
        }
        Ok(all)
    }

    fn spend(&mut self, much: usize) -> Result<(), SchemaError> {
        let what = "ways through its references, each with other schemas that apply";
        self.left = self.left.checked_sub(much).ok_or_else(|| limit(what, MAX_SEARCH))?;
        Ok(())
    }
}

/// How often a part for the same value is applied.
fn at_same(step: Here, times: Times) -> Times {
    let Times { fits, why, asked } = times;
    match step {
        // to know what a part looked at, it must be known whether it fits
        Here::All => Times { fits: fits.saturating_add(asked), ..times },
        Here::Choice => Times { fits: times.both().saturating_add(asked), ..times },
        Here::If => Times { fits: times.both().saturating_add(asked), why: 0, asked },
        Here::Branch => Times { fits, why, asked },
        Here::Test => Times { fits: times.both(), why: 0, asked: 0 },
    }
}

/// How often a part for names is applied to one, which has a part of its own or not.
fn at_name(step: Each, has_own: bool, times: Times) -> Option<Times> {
    match step {
        // a pattern may fit any name
        Each::Pattern | Each::Name => Some(Times { asked: 0, ..times }),
        Each::Additional if !has_own => Some(Times { asked: 0, ..times }),
        Each::UnevaluatedProperty if !has_own => Some(times.again()),
        Each::Additional
        | Each::UnevaluatedProperty
        | Each::Items
        | Each::Contains
        | Each::UnevaluatedItem => None,
    }
}

/// How often a part for elements is applied to one, which has a part of its own or not.
fn at_element(step: Each, has_own: bool, times: Times) -> Option<Times> {
    match step {
        Each::Items if !has_own => Some(Times { asked: 0, ..times }),
        Each::UnevaluatedItem if !has_own => Some(times.again()),
        Each::Contains => Some(Times { why: 0, ..times.again() }),
        Each::Items
        | Each::UnevaluatedItem
        | Each::Pattern
        | Each::Additional
        | Each::UnevaluatedProperty
        | Each::Name => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A value is looked at to know whether it fits, and again to know why it does not.
    #[test]
    fn what_applies_to_one_place_counts_as_often_as_it_is_looked_at() {
        let leaf = || json!({"type": "string"});
        for (schema, most) in [
            (leaf(), 4),
            (json!({"properties": {"a": leaf()}}), 4),
            (json!({"allOf": [leaf(), leaf()]}), 12),
            (json!({"anyOf": [leaf(), leaf()]}), 16),
            (json!({"not": leaf()}), 8),
            (json!({"if": leaf(), "then": leaf(), "else": leaf()}), 20),
            (
                json!({"properties": {"a": {"anyOf": [leaf()]}}, "patternProperties": {"^a": {"allOf": [leaf()]}}}),
                18,
            ),
            (json!({"properties": {"a": leaf()}, "additionalProperties": {"allOf": [leaf(), leaf()]}}), 12),
            (
                json!({"allOf": [{"properties": {"a": leaf()}}], "unevaluatedProperties": {"allOf": [leaf()]}}),
                28,
            ),
            (json!({"properties": {"a": {"allOf": [leaf(), leaf()]}}, "unevaluatedProperties": leaf()}), 12),
            (json!({"anyOf": [{"anyOf": [leaf()]}], "unevaluatedProperties": false}), 46),
            (json!({"if": {"anyOf": [leaf()]}, "unevaluatedProperties": false}), 40),
            (json!({"prefixItems": [leaf(), {"allOf": [leaf(), leaf()]}], "items": leaf()}), 12),
            (json!({"prefixItems": [leaf()], "items": {"allOf": [leaf(), leaf()]}}), 12),
            (json!({"contains": {"allOf": [leaf()]}, "unevaluatedItems": {"allOf": [leaf()]}}), 36),
            (
                json!({"prefixItems": [{"allOf": [leaf()]}], "contains": {"allOf": [leaf()]}, "items": leaf()}),
                16,
            ),
        ] {
            assert_eq!(check(&schema).unwrap(), most, "{schema}");
        }
    }
}
