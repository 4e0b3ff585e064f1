//! Whether the manager may switch a procedure: the agent's own policy has the last word.

use redpoll_common::wire::Fault;

/// Decides it. `operator` is who wants it, as the manager says.
///
/// # Errors
/// The fault `rejected`, with the rule that forbids it.
#[expect(clippy::unnecessary_wraps, reason = "there is no policy yet that forbids it")]
pub(super) fn may_switch(_operator: Option<&str>, _procedure: &str, _on: bool) -> Result<(), Fault> {
    Ok(())
}
