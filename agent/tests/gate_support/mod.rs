//! Gates for tests.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;

use redpoll_agent::gate::{Gate, Own};
use redpoll_schema::policy::{Effect, Pattern, Policy, Rule};

/// A rule for a procedure that fits every call.
pub(crate) fn rule(name: &str, effect: Effect, procedure: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        effect,
        procedures: vec![Pattern::new(procedure).unwrap()],
        args: std::collections::BTreeMap::new(),
        operators: None,
        roles: None,
        hours: None,
        users: None,
        run_as: None,
        rate: None,
    }
}

/// Somebody who is not root, whoever runs the tests.
pub(crate) fn tester() -> Own {
    Own { name: "tester".to_owned(), is_root: false }
}

/// Lets everything pass but what runs as root by a manifest.
pub(crate) fn open_gate() -> Arc<Gate> {
    gate(vec![rule("tests", Effect::Allow, "*")])
}

/// A gate of these rules.
pub(crate) fn gate(rules: Vec<Rule>) -> Arc<Gate> {
    Arc::new(Gate::fixed(Policy::new(rules), tester()))
}
