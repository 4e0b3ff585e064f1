//! What the engine reaches around it: agents, and those who are told of the ends of jobs.

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::{JobId, Submitter};
use redpoll_manager_core::jobs::NotTaken;
use redpoll_manager_core::revoked::{Denial, Denied};

/// Reaches agents for the engine: the roster, in a manager.
pub trait Agents: Send + Sync + std::fmt::Debug {
    /// The agent's session, if this connection is the one in place.
    fn peer(&self, agent: &PeerId, connection: ConnectionId) -> Option<redpoll_net::Peer>;
    /// Whether the agent has a session and takes new work.
    fn is_connected(&self, agent: &PeerId) -> bool;
    /// Paths into a procedure's arguments that the agent wants masked.
    fn redact(&self, _agent: &PeerId, _procedure: &str) -> Vec<String> {
        Vec::new()
    }
    /// The agents whose lists say of something that nobody may see it.
    fn secretive(&self) -> Vec<PeerId> {
        Vec::new()
    }
    /// What whoever submitted a job is, for the policy of the agent that it is offered to; `None`: nothing is said of that.
    fn roles(&self, _submitter: &Submitter) -> Option<Vec<String>> {
        None
    }
    /// From the start on, before anybody can come in, these are not let in.
    fn load(&self, _denied: &[Denial]) {}
    /// From here on this one is not let in, and what it has is being closed.
    fn deny(&self, _denial: &Denial) {}
    /// This one is let in again.
    fn allow(&self, _denied: &Denied) {}
    /// Closes a connection: only the agent's next session can tell what became of what was sent.
    fn disconnect(&self, agent: &PeerId, connection: ConnectionId, why: &str);
    /// Closes all agents' connections, which come back and tell what they have.
    fn disconnect_all(&self, why: &str);
}

/// Tells of the ends of jobs for the engine.
pub trait Callbacks: Send + Sync + std::fmt::Debug {
    /// Tries once to tell the receiver.
    ///
    /// # Errors
    /// Why it was not taken, in short.
    fn deliver(
        &self,
        job: JobId,
        serial: u32,
        target: redpoll_common::job::Callback,
    ) -> futures_util::future::BoxFuture<'static, Result<(), NotTaken>>;
}
