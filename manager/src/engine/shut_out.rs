//! Who is revoked: into the store, and out of it.

use redpoll_common::identity::Identity;
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::Submitter;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::{Answer, Input};
use redpoll_manager_core::revoked::{Denial, Denied};

use super::Engine;
use super::refusal::wrong_answer;

impl Engine {
    /// Shuts somebody out; its time is set here. When this returns it is on disk, and the door has been told. Gives whether they were
    /// shut out before.
    ///
    /// # Errors
    /// A fault that says why not; then nothing was changed.
    pub async fn revoke(&self, denial: Denial) -> Result<bool, Fault> {
        let denial = Box::new(denial);
        let Answer::Revoked { existing } = self.operate(|token| Input::Revoke { token, denial }).await?
        else {
            return Err(wrong_answer());
        };
        Ok(existing)
    }

    /// Lets them in again. Returns when that is on disk.
    ///
    /// # Errors
    /// `wrong_state` when they are not revoked.
    pub async fn restore(&self, denied: Denied, by: Submitter) -> Result<(), Fault> {
        let Answer::Restored = self.operate(|token| Input::Restore { token, denied, by }).await? else {
            return Err(wrong_answer());
        };
        Ok(())
    }

    /// Takes nothing more of somebody's connections up to this one, which are closed: all, or those with a certificate. When this returns,
    /// whatever came of them before is on disk, and nothing will come.
    ///
    /// # Errors
    /// `unsettled` when the manager stops, or its disk is full: they are shut out all the same.
    pub async fn cut(&self, who: Identity, connection: ConnectionId, whole: bool) -> Result<(), Fault> {
        match self.operate(|token| Input::Cut { token, who, connection, whole }).await {
            Ok(Answer::Cut) => Ok(()),
            Ok(_other) => Err(unsettled(&wrong_answer())),
            Err(fault) => Err(unsettled(&fault)),
        }
    }
}

/// The fault for a revocation that is on disk and whose effects are not known to be.
fn unsettled(fault: &Fault) -> Fault {
    let text = "it is revoked, on disk, and let in no more; whether everything that came before is settled is not known: ask again";
    let mut told = Fault::new(FaultCode::Unsettled, text);
    told.retry_after_ms = fault.retry_after_ms;
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{not_stored, stopped};

    #[test]
    fn a_revocation_that_is_on_disk_is_never_said_to_have_changed_nothing() {
        for fault in [not_stored(), stopped(), wrong_answer()] {
            let told = unsettled(&fault);
            assert_eq!(told.code, FaultCode::Unsettled);
            assert!(!told.message.contains("nothing was changed") && told.message.contains("is revoked"));
            assert_eq!(told.retry_after_ms, fault.retry_after_ms);
        }
    }
}
