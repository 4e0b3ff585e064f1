//! What an agent says of rules that may not mean what they say.

#![expect(clippy::unwrap_used, reason = "test code")]

mod gate_support;

use gate_support::{rule, tester};
use redpoll_agent::gate::{Gate, Own};
use redpoll_schema::policy::{Effect, Policy, Rule};

fn root() -> Own {
    Own { name: "root".to_owned(), is_root: true }
}

#[test]
fn a_rule_that_lets_any_program_run_as_root_without_saying_so_is_told() {
    let allow = |name| rule(name, Effect::Allow, "exec.run");
    let rules = vec![
        allow("open"),
        Rule { run_as: Some("nobody".to_owned()), ..allow("confined") },
        Rule { users: Some(vec!["root".to_owned()]), ..allow("meant") },
        Rule { run_as: Some("no-such-account".to_owned()), ..allow("ghost") },
    ];
    let offered = [("exec.run".to_owned(), 1)];
    let doubts =
        |own: Own, known: &[(String, u32)]| Gate::fixed(Policy::new(rules.clone()), own).doubts(known);
    let said = doubts(root(), &offered);
    let [ghost, open] = &said[..] else { unreachable!("{said:?}") };
    assert!(ghost.contains("rule \"ghost\"") && ghost.contains("so what it allows is refused"), "{ghost}");
    assert!(open.contains("rule \"open\" allows exec.run") && open.contains("runs as root"), "{open}");
    assert_eq!(doubts(root(), &[]).len(), 1, "it is not offered");
    // who is not root cannot be anybody else, and needs no warning of root
    let said = doubts(tester(), &offered);
    assert!(said.len() == 2 && said.iter().all(|said| said.contains("refused")), "{said:?}");
}
