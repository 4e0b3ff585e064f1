//! The documents have the manager's table of rights and its counters, as they are in the code.

use redpoll_common::identity::Role;
use redpoll_manager_core::access::{METHODS, NOTIFICATIONS};
use redpoll_manager_core::counters::CountersSnapshot;

const PROTOCOL: &str = include_str!("../../../docs/protocol.md");
const SECURITY: &str = include_str!("../../../docs/security.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

#[test]
fn every_method_has_its_roles_and_its_summary_in_the_protocol() {
    for method in METHODS {
        let roles: Vec<&str> = method.roles.iter().map(|role| role.as_str()).collect();
        let row = format!("| `{}` | {} | {} |", method.name, roles.join(", "), method.summary);
        assert!(PROTOCOL.contains(&row), "{row}");
    }
}

#[test]
fn the_rights_in_the_page_on_security_are_those_of_the_table() {
    for method in METHODS {
        let may = |role| if method.roles.contains(&role) { "yes" } else { "no" };
        let row = format!("| `{}` | {} | {} |", method.name, may(Role::Operator), may(Role::Agent));
        assert!(SECURITY.contains(&row), "{row}");
    }
    for kind in NOTIFICATIONS {
        let may = |role| if kind.roles.contains(&role) { "yes" } else { "no" };
        let row =
            format!("| `{}` (notification) | {} | {} |", kind.name, may(Role::Operator), may(Role::Agent));
        assert!(SECURITY.contains(&row), "{row}");
    }
}

#[test]
fn every_counter_is_explained_in_the_page_on_operations() {
    for (name, _, help) in CountersSnapshot::default().rows() {
        let row = format!("| `{name}` | {help} |");
        assert!(OPERATIONS.contains(&row), "{row}");
    }
}
