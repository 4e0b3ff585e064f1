//! What the manager does with the requests and notifications of one session: rights first, then the registry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use redpoll_common::api::{method, notice};
use redpoll_common::bucket::TokenBucket;
use redpoll_common::job::Submitter;
use redpoll_common::session::machine::Counters as SessionCounters;
use redpoll_common::wire::{Fault, FaultCode, Notification};
use redpoll_manager_core::access::{decide, decide_notification};
use redpoll_net::service::{Running, Service};
use redpoll_net::transport::PeerInfo;
use redpoll_net::{CallContext, Registry};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::catalogue::Announcements;
use crate::door::Guest;
use crate::engine::Engine;
use crate::methods::{keep_pace, reports};
use crate::state::Manager;

/// Characters of a note that are logged.
const MAX_NOTE: usize = 1024;
/// Notes of one session that are logged: per second in the long run, and at once. Further ones are counted.
const NOTES: (u32, u32) = (1, 20);

/// Serves one session of a manager.
#[derive(Debug)]
pub struct ManagerService {
    manager: Arc<Manager>,
    registry: Arc<Registry>,
    engine: Engine,
    guest: Arc<Guest>,
    notes: Mutex<TokenBucket>,
    announcements: Arc<Announcements>,
    /// Where what lasts is a task.
    tracker: TaskTracker,
}

impl ManagerService {
    /// Serves the session with this number.
    pub fn new(
        manager: Arc<Manager>,
        registry: Arc<Registry>,
        engine: Engine,
        guest: Arc<Guest>,
        tracker: TaskTracker,
    ) -> Self {
        let (rate, burst) = NOTES;
        let notes = Mutex::new(TokenBucket::new(rate, burst));
        let announcements = Arc::default();
        Self { manager, registry, engine, guest, notes, announcements, tracker }
    }
}

impl ManagerService {
    fn serve(&self, call: CallContext) -> Running {
        // agents and operators speak for themselves alone: what one says of operators and roles reaches nobody
        let call = CallContext { operator: None, roles: None, ..call };
        if self.manager.is_draining() {
            return Running::refused(Fault::new(
                FaultCode::ShuttingDown,
                "the manager is stopping; nothing ran",
            ));
        }
        if self.manager.procedures.serves(call.caller.identity.role, &call.method) {
            // what the caller is says the configuration, as agents are told it
            let roles = self.manager.roles_of(&Submitter::of(&call.caller.identity));
            return self.procedure(CallContext { roles, ..call });
        }
        let decision = decide(call.caller.identity.role, &call.method).map(|allowed| allowed.method().name);
        match decision {
            Ok(method::JOB_REPORT) => {
                let answer = reports::report(&self.engine, self.guest.connection(), &call);
                Running { answer: Box::pin(answer), graceful: false }
            }
            Ok(method::JOB_RESUME) => {
                let answer = reports::resume(self.engine.clone(), self.guest.connection(), call);
                Running { answer: Box::pin(answer), graceful: false }
            }
            Ok(_name) => self.registry.start(call),
            Err(denied) => {
                self.manager.counters.denied(denied);
                if let Some(left_out) = self.manager.log_due(call.caller.ip, "denied") {
                    warn!(reason = %denied, left_out, "request denied");
                }
                let mut fault = Fault::from(denied);
                if fault.code == FaultCode::UnknownProcedure
                    && let Some(meant) = self.manager.procedures.meant(&call.caller.identity, &call.method)
                {
                    fault.message.push_str(&format!("; is {meant:?} meant?"));
                }
                Running::refused(fault)
            }
        }
    }

    /// A procedure of the manager itself. What is refused shows in the log, as other requests that are denied do.
    fn procedure(&self, call: CallContext) -> Running {
        let (ip, method) = (call.caller.ip, call.method.clone());
        let begun = keep_pace(&self.manager, &call).and_then(|()| self.manager.procedures.start(call));
        begun.unwrap_or_else(|fault| {
            if fault.code == FaultCode::Forbidden {
                self.manager.counters.requests_forbidden.up();
                if let Some(left_out) = self.manager.log_due(ip, "denied") {
                    warn!(procedure = ?method, reason = %fault, left_out, "request denied");
                }
            }
            Running::refused(fault)
        })
    }

    fn note(&self, text: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.take(Instant::now()).is_err() {
            return self.manager.counters.notes_left_out.up();
        }
        drop(notes);
        let text: String = text.chars().take(MAX_NOTE).flat_map(char::escape_debug).collect();
        info!(note = %text, "the agent says");
    }
}

impl Service for ManagerService {
    fn start(&self, call: CallContext) -> Running {
        self.manager.counters.requests.up();
        if let Err(fault) = self.guest.may_ask() {
            return Running::refused(fault);
        }
        let Running { answer, graceful } = self.serve(call);
        // whoever shuts the guest out waits for it
        Running { answer: Box::pin(self.guest.requests().track_future(answer)), graceful }
    }

    fn notified(&self, from: &PeerInfo, notification: Notification) {
        let counters = &self.manager.counters;
        if self.guest.may_ask().is_err() {
            return;
        }
        match decide_notification(from.identity.role, &notification.kind) {
            Err(why) => {
                counters.ignored(why);
                if let Some(left_out) = self.manager.log_due(from.ip, "notification") {
                    warn!(r#type = ?notification.kind, reason = %why, left_out, "notification ignored");
                }
            }
            Ok(accepted) => {
                counters.notifications_taken.up();
                match accepted.kind().name {
                    notice::AGENT_DRAINING => {
                        let (agent, connection) = (&from.identity.id, self.guest.connection());
                        if self.manager.with_roster(|roster| roster.drain(agent, connection)) {
                            info!("the agent is stopping");
                        }
                    }
                    notice::AGENT_PROCEDURES => {
                        let (agent, whom) =
                            ((&from.identity.id, self.guest.connection()), (&self.manager, &self.engine));
                        let taken = self.announcements.take(whom, agent, &notification.data, &self.tracker);
                        if let Err(error) = taken
                            && let Some(left_out) = self.manager.log_due(from.ip, "announcement")
                        {
                            warn!(%error, left_out, "an announcement of procedures that cannot be read");
                        }
                    }
                    notice::MANAGER_NOTE => {
                        self.note(notification.data.as_text().unwrap_or_default());
                    }
                    other => warn!(r#type = other, "a notification in the table that nobody handles"),
                }
            }
        }
    }

    fn counted(&self, more: SessionCounters) {
        let counters = &self.manager.counters;
        counters.answers_late.add(more.late_answers);
        counters.messages_unknown.add(more.unknown_kinds);
        counters.flights_late.add(more.late_flights);
        counters.requests_refused.add(more.refused_requests);
    }
}
