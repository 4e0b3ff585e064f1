//! What a manager counts, each number under one name, for `rp.status` and later for metrics.
//!
//! The numbers are counted where things happen, from any task, without a lock; they only grow. What is the case now
//! (sessions, handshakes in progress, agents) is not here but asked of its owner.

use std::sync::atomic::{AtomicU64, Ordering};

use redpoll_common::wire::FaultCode;

use crate::access::{Denied, Ignored};
use crate::admission::Refusal;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        // Relaxed: each number stands alone, nothing is concluded from the order of two.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $help:literal])* $name:ident,)*) => {
        /// The counters of a manager, all 0 at its start.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $help])* pub $name: Counter,)*
        }

        /// What the counters were at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct CountersSnapshot {
            $($(#[doc = $help])* pub $name: u64,)*
        }

        impl Counters {
            /// Reads all of them.
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.read(),)* }
            }
        }

        impl CountersSnapshot {
            /// Every name with its number and what it counts, in a fixed order.
            ///
            /// The first two are what `rp.status` shows; all three make a metric.
            pub fn rows(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($name), self.$name, concat!($($help),*).trim_ascii()),)*]
            }
        }
    };
}

counters! {
    /// connections accepted by a listener
    accepted,
    /// connections closed before TLS: every session was taken
    refused_sessions_full,
    /// connections closed before TLS: every handshake slot was taken
    refused_no_slot,
    /// connections closed before TLS: every handshake slot of the address was taken
    refused_address_full,
    /// connections closed before TLS: too many per second
    refused_rate,
    /// TLS handshakes that failed, wrong certificates included
    tls_failed,
    /// TLS handshakes that were not done in time
    tls_timed_out,
    /// hellos that did not come in time
    hellos_timed_out,
    /// first messages that were not an acceptable hello
    hellos_malformed,
    /// hellos refused: the name in it is not that of the certificate, or the role may not connect
    hellos_unauthorized,
    /// hellos refused: no protocol version in common
    hellos_version,
    /// connections refused after TLS: the peer is revoked, or its certificate
    hellos_revoked,
    /// hellos refused: every session was taken
    hellos_overloaded,
    /// hellos refused: the agent began sessions too often
    hellos_hasty,
    /// sessions that began
    sessions_opened,
    /// sessions that ended, for whatever reason
    sessions_closed,
    /// sessions ended because a newer connection of the same agent took over
    sessions_replaced,
    /// sessions refused because a newer connection of the same agent was in place, or had been
    sessions_superseded,
    /// sessions ended because nothing was heard in time
    sessions_silent,
    /// sessions ended because the peer read nothing in time
    sessions_stalled,
    /// sessions ended because the peer broke the protocol
    sessions_violated,
    /// times an agent was replaced so often that two machines must share its identity
    agents_flapping,
    /// pairs of legs that were joined
    relays_begun,
    /// legs that were refused
    relays_refused,
    /// bytes that went over joined legs, both ways, as far as they have ended
    relayed_bytes,
    /// requests to the manager, those for agents included
    requests,
    /// requests for a reserved method that the manager does not have
    requests_unknown_method,
    /// requests for a procedure sent to the manager itself
    requests_unknown_procedure,
    /// requests that the peer's role may not make
    requests_forbidden,
    /// calls passed on to an agent
    calls_routed,
    /// calls that ended with a value
    calls_succeeded,
    /// calls that ended with a fault, timed out and cancelled ones and those below included
    calls_failed,
    /// calls that were not answered in time
    calls_timed_out,
    /// calls given up by their caller or by the end of its connection
    calls_cancelled,
    /// calls for an agent that is unknown or away: nothing was sent
    calls_unreachable,
    /// calls whose agent's connection ended before the answer
    calls_agent_gone,
    /// answers dropped because nobody waited for them any more
    answers_late,
    /// notifications passed on to an agent
    notifications_routed,
    /// notifications from peers that the manager acted on
    notifications_taken,
    /// notifications of a type that the manager does not know
    notifications_unknown,
    /// notifications that the peer's role may not send
    notifications_forbidden,
    /// notes of agents that were not logged because there were too many
    notes_left_out,
    /// messages of a kind that this build does not know
    messages_unknown,
    /// values, progress, cancels and credit for requests that had ended
    flights_late,
    /// requests answered with overloaded because too many of the peer were in flight
    requests_refused,
}

impl Counters {
    /// Counts a connection closed before TLS.
    pub fn refused(&self, why: Refusal) {
        match why {
            Refusal::SessionsFull => self.refused_sessions_full.up(),
            Refusal::NoSlot => self.refused_no_slot.up(),
            Refusal::AddressFull => self.refused_address_full.up(),
            Refusal::Rate => self.refused_rate.up(),
        }
    }

    /// Counts a request that is not run.
    pub fn denied(&self, why: Denied<'_>) {
        match why {
            Denied::Forbidden { .. } => self.requests_forbidden.up(),
            Denied::UnknownMethod { .. } => self.requests_unknown_method.up(),
            Denied::UnknownProcedure { .. } => self.requests_unknown_procedure.up(),
        }
    }

    /// Counts a notification that the manager does not act on.
    pub fn ignored(&self, why: Ignored) {
        match why {
            Ignored::Unknown => self.notifications_unknown.up(),
            Ignored::Forbidden => self.notifications_forbidden.up(),
        }
    }

    /// Counts the end of a call: a value, or the fault's code.
    pub fn call_ended(&self, fault: Option<&FaultCode>) {
        let Some(code) = fault else { return self.calls_succeeded.up() };
        self.calls_failed.up();
        match code {
            FaultCode::TimedOut => self.calls_timed_out.up(),
            FaultCode::Cancelled => self.calls_cancelled.up(),
            FaultCode::UnknownAgent | FaultCode::AgentAway => self.calls_unreachable.up(),
            FaultCode::AgentGone => self.calls_agent_gone.up(),
            FaultCode::Failed
            | FaultCode::Rejected
            | FaultCode::Forbidden
            | FaultCode::UnknownMethod
            | FaultCode::UnknownProcedure
            | FaultCode::BadArguments
            | FaultCode::TooLarge
            | FaultCode::Overloaded
            | FaultCode::ShuttingDown
            | FaultCode::Internal
            | FaultCode::UnknownJob
            | FaultCode::IdemConflict
            | FaultCode::WrongState
            | FaultCode::StoreFull
            | FaultCode::Unsettled
            | FaultCode::Other(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use redpoll_common::identity::Role;

    use super::*;
    use crate::access::decide;

    /// The names whose numbers are not 0.
    fn counted(count: impl FnOnce(&Counters)) -> Vec<(&'static str, u64)> {
        let counters = Counters::default();
        count(&counters);
        let rows = counters.snapshot().rows();
        rows.into_iter().filter(|(_, n, _)| *n > 0).map(|(name, n, _)| (name, n)).collect()
    }

    #[test]
    fn whatever_is_refused_has_a_number_of_its_own() {
        let cases = [
            (Role::Agent, "rp.call", "requests_forbidden"),
            (Role::Agent, "rp.x", "requests_unknown_method"),
            (Role::Agent, "x", "requests_unknown_procedure"),
        ];
        for (role, method, name) in cases {
            let denied = decide(role, method).unwrap_err();
            assert_eq!(counted(|counters| counters.denied(denied)), [(name, 1)]);
        }
        let all = counted(|counters| Refusal::ALL.into_iter().for_each(|why| counters.refused(why)));
        let names = ["sessions_full", "no_slot", "address_full", "rate"].map(|why| format!("refused_{why}"));
        assert_eq!(all, names.each_ref().map(|name| (name.as_str(), 1)));
        assert_eq!(counted(|counters| counters.ignored(Ignored::Unknown)), [("notifications_unknown", 1)]);
        assert_eq!(
            counted(|counters| counters.ignored(Ignored::Forbidden)),
            [("notifications_forbidden", 1)]
        );
    }

    #[test]
    fn a_call_ends_once_and_its_fault_says_how() {
        assert_eq!(counted(|counters| counters.call_ended(None)), [("calls_succeeded", 1)]);
        for code in FaultCode::ALL {
            let counted = counted(|counters| counters.call_ended(Some(code)));
            assert_eq!(counted.first(), Some(&("calls_failed", 1)), "{code}");
            let special = match code.as_str() {
                "timed_out" => Some("calls_timed_out"),
                "cancelled" => Some("calls_cancelled"),
                "unknown_agent" | "agent_away" => Some("calls_unreachable"),
                "agent_gone" => Some("calls_agent_gone"),
                _ => None,
            };
            assert_eq!(counted.get(1).map(|(name, _)| *name), special, "{code}");
        }
    }

    #[test]
    fn every_counter_has_a_name_of_its_own_and_says_what_it_counts() {
        let rows = CountersSnapshot::default().rows();
        let names: BTreeSet<_> = rows.iter().map(|(name, _, _)| *name).collect();
        assert_eq!(names.len(), rows.len());
        assert!(rows.iter().all(|(_, _, help)| !help.is_empty()));
    }
}
