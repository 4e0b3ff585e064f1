//! What an agent does with the manager's requests: as many calls at a time as configured, none while it stops. Jobs have
//! limits of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redpoll_common::api::agent_method;
use redpoll_common::wire::{Fault, FaultCode, Notification};
use redpoll_exec::Places;
use redpoll_net::CallContext;
use redpoll_net::service::{Running, Service};
use redpoll_net::transport::PeerInfo;

use crate::jobs::Jobs;
use crate::offered::Offered;

/// Serves the manager.
#[derive(Debug)]
pub struct AgentService {
    offered: Arc<Offered>,
    jobs: Jobs,
    places: Places,
    run_timeout: Option<Duration>,
    draining: AtomicBool,
}

impl AgentService {
    /// Serves what is offered, at most `limit` calls at a time, none longer than `run_timeout`.
    pub fn new(offered: Arc<Offered>, jobs: Jobs, limit: usize, run_timeout: Option<Duration>) -> Self {
        let places = Places::new(limit);
        Self { offered, jobs, places, run_timeout, draining: AtomicBool::new(false) }
    }

    /// From now on no new call is run.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The places of calls, for those who run something beside them.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// How many calls are running.
    pub fn running(&self) -> usize {
        self.places.taken()
    }
}

impl Service for AgentService {
    fn start(&self, call: CallContext) -> Running {
        if Jobs::serves(&call.method) {
            return self.jobs.start(call);
        }
        if Offered::serves(&call.method) {
            return self.offered.start(call);
        }
        let draining = self.draining.load(Ordering::Acquire);
        if call.method == agent_method::POLICY_TEST {
            return self.offered.test(&call, draining);
        }
        if draining {
            return Running::refused(Fault::new(
                FaultCode::ShuttingDown,
                "the agent is stopping; nothing ran",
            ));
        }
        let offered = self.offered.now();
        let Some(place) = self.places.take(offered.claim(&call.method)) else {
            let limit = self.places.limit();
            let text = format!("{limit} calls are running already, limits.calls of the agent; nothing ran");
            return Running::refused(Fault::new(FaultCode::Overloaded, text));
        };
        let Running { answer, graceful } = offered.start(call);
        // what stops itself keeps the limit itself, so that it can end its processes in order
        let limit = self.run_timeout.filter(|_| !graceful);
        let answer = async move {
            let _place = place;
            let Some(limit) = limit else { return answer.await };
            tokio::time::timeout(limit, answer).await.unwrap_or_else(|_elapsed| {
                let text = format!("longer than {limit:?}, limits.run_timeout of the agent");
                Err(Fault::new(FaultCode::TimedOut, text))
            })
        };
        Running { answer: Box::pin(answer), graceful }
    }

    fn notified(&self, from: &PeerInfo, notification: Notification) {
        if !self.offered.now().notified(from, &notification) {
            tracing::debug!(r#type = ?notification.kind, "a notification nobody handles");
        }
    }
}
