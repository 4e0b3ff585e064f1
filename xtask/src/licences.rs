//! Decides whether a licence expression (SPDX, as in `Cargo.toml`) can be satisfied with allowed licences.
//!
//! The grammar is the usual one: `OR` binds weaker than `AND`, `AND` weaker than `WITH`; the old `MIT/Apache-2.0`
//! means `OR`. A licence with an exception is allowed when exactly that is on the list.

use std::collections::BTreeSet;
use std::iter::Peekable;

use crate::graph::Graph;

/// Nesting beyond this is not a licence but an attack on our stack.
const MAX_DEPTH: usize = 32;

/// Every package whose licence is missing, unreadable or not allowed; one line each.
pub(crate) fn problems(graph: &Graph, allowed: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for package in graph.packages() {
        let who = format!("{} {}", package.name, package.version);
        let Some(licence) = &package.licence else {
            problems.push(format!("{who} names no licence"));
            continue;
        };
        match is_allowed(licence, allowed) {
            Ok(true) => {}
            Ok(false) => problems.push(format!("{who} is under {licence:?}, which deny.toml does not allow")),
            Err(why) => problems.push(format!("{who}: {licence:?} is not a licence expression: {why}")),
        }
    }
    problems
}

/// Whether some choice that the expression leaves us consists of allowed licences only.
///
/// # Errors
/// One line that says what is wrong with the expression.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut parser = Parser { words: spaced.split_whitespace().peekable(), allowed, depth: 0 };
    let answer = parser.any()?;
    match parser.words.next() {
        None => Ok(answer),
        Some(word) => Err(format!("{word:?} is unexpected")),
    }
}

struct Parser<'s, 'a, I: Iterator<Item = &'s str>> {
    words: Peekable<I>,
    allowed: &'a BTreeSet<String>,
    depth: usize,
}

impl<'s, I: Iterator<Item = &'s str>> Parser<'s, '_, I> {
    /// `all (OR all)*`
    fn any(&mut self) -> Result<bool, String> {
        let mut answer = self.all()?;
        while self.words.next_if_eq(&"OR").is_some() {
            answer |= self.all()?;
        }
        Ok(answer)
    }

    /// `one (AND one)*`
    fn all(&mut self) -> Result<bool, String> {
        let mut answer = self.one()?;
        while self.words.next_if_eq(&"AND").is_some() {
            answer &= self.one()?;
        }
        Ok(answer)
    }

    /// `( any )` or `licence` or `licence WITH exception`
    fn one(&mut self) -> Result<bool, String> {
        match self.words.next() {
            None => Err("it ends too early".to_owned()),
            Some("(") => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(format!("it is nested deeper than {MAX_DEPTH}"));
                }
                let answer = self.any()?;
                self.depth -= 1;
                let closed = self.words.next_if_eq(&")").is_some();
                if closed { Ok(answer) } else { Err("a parenthesis is not closed".to_owned()) }
            }
            Some(word @ (")" | "AND" | "OR" | "WITH")) => Err(format!("{word:?} is unexpected")),
            Some(licence) if self.words.next_if_eq(&"WITH").is_some() => {
                let exception = self.words.next().ok_or("WITH is not followed by an exception")?;
                Ok(self.allowed.contains(&format!("{licence} WITH {exception}")))
            }
            Some(licence) => Ok(self.allowed.contains(licence)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::made_up;

    fn allowed() -> BTreeSet<String> {
        ["MIT", "Apache-2.0", "ISC", "Zlib WITH x-exception"].map(str::to_owned).into()
    }

    #[test]
    fn expressions_are_decided_by_the_choices_they_leave() {
        for (expression, answer) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0 OR MIT", true),
            ("MIT AND GPL-3.0", false),
            ("MIT/GPL-3.0", true),
            ("GPL-3.0 / MIT", true),
            ("MIT OR GPL-3.0 AND LGPL-2.1", true),
            ("(MIT OR GPL-3.0) AND LGPL-2.1", false),
            ("ISC AND (Apache-2.0 OR ISC) AND (GPL-3.0 OR (MIT AND ISC))", true),
            ("Zlib WITH x-exception", true),
            ("Zlib", false),
            ("MIT WITH x-exception", false),
            ("MIT WITH x-exception OR ISC", true),
        ] {
            assert_eq!(is_allowed(expression, &allowed()), Ok(answer), "{expression}");
        }
    }

    #[test]
    fn what_is_not_an_expression_is_an_error_and_not_a_permission() {
        for expression in
            ["", "MIT OR", "OR MIT", "MIT MIT", "(MIT", "MIT)", "()", "MIT WITH", "AND", &"(".repeat(100)]
        {
            assert!(is_allowed(expression, &allowed()).is_err(), "{expression:?} was understood");
        }
    }

    #[test]
    fn a_package_with_a_licence_not_listed_is_reported() {
        let graph = made_up::graph(&["ours"], &[("ours", &["a"]), ("a", &[])]);
        assert_eq!(problems(&graph, &allowed()), Vec::<String>::new());
        let nothing = BTreeSet::new();
        assert_eq!(problems(&graph, &nothing).len(), 2);
    }
}
