//! What one row may become by one change.

use redpoll_common::job::{Outcome, RunState};
use redpoll_manager_core::jobs::record::RunRecord;

use super::invariant::{Check, Invariant, ensure};

/// An end is final but for `unknown`, once; an attempt never goes back.
pub(super) fn transition(before: &RunRecord, after: &RunRecord) -> Check {
    let key = &after.key;
    legal(after.attempt >= before.attempt, || format!("{key} went back to attempt {}", after.attempt))?;
    ensure(after.dno >= before.dno, Invariant::NumbersGrow, || {
        format!("{key} went back from number {} to {}", before.dno, after.dno)
    })?;
    legal(before.cancel.is_none() || after.cancel.is_some(), || {
        format!("the cancel of {key} was forgotten")
    })?;
    match (&before.state, &after.state) {
        (RunState::Ended(old), RunState::Ended(new)) => {
            let replaced = old.outcome == Outcome::Unknown && new.outcome != Outcome::Unknown;
            let once = !before.corrected && after.corrected;
            let same = (before.attempt, before.dno) == (after.attempt, after.dno);
            legal(replaced && once && same, || {
                format!("{key}: {} was replaced with {}", old.outcome, new.outcome)
            })
        }
        (RunState::Ended(_), _) => legal(false, || format!("{key} came back to life")),
        (state, RunState::Held) => legal(matches!(state, RunState::Held), || format!("{key} is held again")),
        (_, RunState::Queued) => {
            let waits = matches!(before.state, RunState::Held | RunState::Queued);
            // back into the queue only to be tried again
            legal(waits || before.attempt == after.attempt, || format!("{key} waits again"))
        }
        (RunState::Queued, state) if state.dispatch() == Some((before.attempt, before.dno)) => {
            legal(before.doubt_ms.is_some(), || format!("{key} waited, and its agent has it again"))
        }
        (RunState::Held, RunState::Accepted(..) | RunState::Running(..) | RunState::InDoubt(..)) => {
            legal(false, || format!("{key} was held and is at an agent"))
        }
        (_, _) => Ok(()),
    }
}

pub(super) fn legal(holds: bool, detail: impl FnOnce() -> String) -> Check {
    ensure(holds, Invariant::LegalTransitions, detail)
}
