//! Who is revoked: into the store, and out of it.

use redpoll_common::identity::Identity;
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::Submitter;
use redpoll_common::wire::Fault;
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

    /// Takes nothing more of somebody's connections up to this one, which are closed. When this returns, whatever came of them before is
    /// on disk, and nothing will come.
    ///
    /// # Errors
    /// A fault when the manager stops, or its disk is full.
    pub async fn cut(&self, who: Identity, connection: ConnectionId) -> Result<(), Fault> {
        let Answer::Cut = self.operate(|token| Input::Cut { token, who, connection }).await? else {
            return Err(wrong_answer());
        };
        Ok(())
    }
}
