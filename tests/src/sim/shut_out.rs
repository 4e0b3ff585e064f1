//! Who is shut out, and what is closed: nothing that is still said there may do anything (I14).

use redpoll_common::ids::PeerId;
use redpoll_common::session::Event as SessionEvent;
use redpoll_common::wire::ByeCode;

use super::invariant::{Check, Invariant, ensure};
use super::manager_link::Ask;
use super::network::Side;
use super::world::{Event, World};

/// How long a farewell may take, in milliseconds, as in the driver of a connection.
const FAREWELL_MS: u64 = 1_000;

impl World {
    /// Whether an agent has no valid certificate now.
    pub(super) fn is_shut_out(&self, agent: usize) -> bool {
        self.agents[agent].shut_out_until > self.calendar.now_ms()
    }

    /// The manager closes every session of an agent, as it does when a certificate ends.
    pub(super) fn shut_out(&mut self, agent: usize) {
        let id = self.agents[agent].id.clone();
        let theirs = self.manager.sessions.iter().filter(|(_, end)| end.agent == id);
        let theirs: Vec<u64> = theirs.map(|(connection, _)| *connection).collect();
        theirs.into_iter().for_each(|connection| self.end_session(connection, ByeCode::Unauthorized));
    }

    /// A session has ended. One that the manager ended hears its peer until the farewell is over.
    pub(super) fn begin_farewell(&mut self, connection: u64, ours: bool) {
        if !ours {
            self.manager.sessions.remove(&connection);
            return self.close_end(connection, Side::Manager);
        }
        if let Some(end) = self.manager.sessions.get_mut(&connection) {
            end.shut = true;
        }
        let at = self.calendar.now_ms() + self.dice.between(0, FAREWELL_MS);
        self.calendar.plan(at, Event::ManagerCloses(self.manager.life, connection));
    }

    pub(super) fn farewell_over(&mut self, life: u64, connection: u64) {
        if life == self.manager.life && self.manager.sessions.remove(&connection).is_some() {
            self.close_end(connection, Side::Manager);
        }
    }

    /// What came on a closed connection is nothing to anybody, and nothing is said there any more.
    pub(super) fn check_shut(&mut self, connection: u64) -> Check {
        let Some(session) = self.manager.sessions.get_mut(&connection).and_then(|end| end.session.as_mut())
        else {
            return Ok(());
        };
        let event = session.poll_event();
        let said = session.poll_transmit();
        ensure(event.is_none() && said.is_none(), Invariant::ShutOut, || {
            format!("connection {connection} is closed; {event:?} came from it, and {said:?} is answered")
        })
    }

    /// Something that an agent said is about to have an effect.
    pub(super) fn check_heard(&self, agent: &PeerId, event: &SessionEvent<Ask>) -> Check {
        let place = self.agents.iter().position(|host| host.id == *agent);
        let revoked = self.revocations.out.contains(agent);
        let shut = revoked || place.is_some_and(|place| self.is_shut_out(place));
        let said = match event {
            SessionEvent::Request(request) => request.method.as_str(),
            SessionEvent::Answered(..) => "an answer",
            SessionEvent::Notification(_) | SessionEvent::Value(..) | SessionEvent::Progress(..) => "a word",
            SessionEvent::Expired(_)
            | SessionEvent::Closed(..)
            | SessionEvent::Stop(..)
            | SessionEvent::Credit(..)
            | SessionEvent::Pong(..) => return Ok(()),
        };
        ensure(!shut, Invariant::ShutOut, || format!("{agent} is shut out, and {said} of it is taken"))
    }
}
