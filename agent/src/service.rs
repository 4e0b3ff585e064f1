//! What an agent does with the manager's requests: as many calls at a time as configured, none while it stops. Jobs have
//! limits of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redpoll_common::wire::{Fault, FaultCode, Notification};
use redpoll_net::service::{Running, Service};
use redpoll_net::transport::PeerInfo;
use redpoll_net::{CallContext, Registry};
use tokio::sync::Semaphore;

use crate::jobs::Jobs;

/// Serves the manager.
#[derive(Debug)]
pub struct AgentService {
    registry: Arc<Registry>,
    jobs: Jobs,
    places: Arc<Semaphore>,
    limit: usize,
    run_timeout: Option<Duration>,
    draining: AtomicBool,
}

impl AgentService {
    /// Serves what the registry offers, at most `limit` calls at a time, none longer than `run_timeout`.
    pub fn new(registry: Arc<Registry>, jobs: Jobs, limit: usize, run_timeout: Option<Duration>) -> Self {
        let places = Arc::new(Semaphore::new(limit));
        Self { registry, jobs, places, limit, run_timeout, draining: AtomicBool::new(false) }
    }

    /// From now on no new call is run.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The places of calls, for those who run something beside them.
    pub fn places(&self) -> Arc<Semaphore> {
        self.places.clone()
    }

    /// How many calls are running.
    pub fn running(&self) -> usize {
        self.limit.saturating_sub(self.places.available_permits())
    }
}

impl Service for AgentService {
    fn start(&self, call: CallContext) -> Running {
        if Jobs::serves(&call.method) {
            return self.jobs.start(call);
        }
        if self.draining.load(Ordering::Acquire) {
            return Running::refused(Fault::new(
                FaultCode::ShuttingDown,
                "the agent is stopping; nothing ran",
            ));
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let text =
                format!("{} calls are running already, limits.calls of the agent; nothing ran", self.limit);
            return Running::refused(Fault::new(FaultCode::Overloaded, text));
        };
        let Running { answer, graceful } = self.registry.start(call);
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
        if !self.registry.notified(from, &notification) {
            tracing::debug!(r#type = ?notification.kind, "a notification nobody handles");
        }
    }
}
