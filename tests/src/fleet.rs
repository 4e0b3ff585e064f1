//! Many agents in one process: each keeps its own session, and everything it does is noted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redpoll_certs::testing::TestAuthority;
use redpoll_common::session::CloseReason;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::wire::AgentHello;
use redpoll_net::dial::{DialOptions, Link, keep_connected};
use redpoll_net::{DriverOptions, Peer, random};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::PATIENCE;
use crate::operator::{Nothing, hello, transport};

/// What an agent did, and when.
#[derive(Debug, Clone)]
pub enum Deed {
    /// It dialled.
    Dialled,
    /// It was let in.
    Arrived,
    /// Its session ended.
    Left(CloseReason),
}

/// The agents.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Arc<Member>>,
    stop: CancellationToken,
}

/// One of them.
#[derive(Debug)]
pub struct Member {
    id: String,
    deeds: Mutex<Vec<(Instant, Deed)>>,
}

impl Member {
    fn did(&self, deed: Deed) {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), deed));
    }

    /// What it did so far.
    pub fn deeds(&self) -> Vec<(Instant, Deed)> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Link for Member {
    fn hello(&self) -> AgentHello {
        self.did(Deed::Dialled);
        hello(&self.id)
    }

    fn connected(&self, _peer: &Peer) {
        self.did(Deed::Arrived);
    }

    fn disconnected(&self, reason: &CloseReason) {
        self.did(Deed::Left(reason.clone()));
    }
}

impl Fleet {
    /// Starts `count` agents that dial `address`.
    pub fn start(
        count: usize,
        address: SocketAddr,
        authority: &TestAuthority,
        backoff: BackoffOptions,
    ) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let member = |number| {
            let id = format!("fleet-{number:03}");
            let member = Arc::new(Member { id: id.clone(), deeds: Mutex::default() });
            let transport = transport(address, &authority.agent(&id));
            let options = DialOptions {
                hello_timeout: PATIENCE,
                liveness: None,
                driver: DriverOptions { seed: random::number(), ..DriverOptions::default() },
                backoff,
            };
            let (link, sessions, stop) = (member.clone(), tracker.clone(), stop.clone());
            tracker.spawn(async move {
                keep_connected(&transport, &*link, Nothing::new(), options, &sessions, stop).await;
            });
            member
        };
        Self { members: (0..count).map(member).collect(), stop }
    }

    /// The agents.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// How many agents did something since `since`.
    pub fn count(&self, since: Instant, what: impl Fn(&Deed) -> bool) -> usize {
        let did = |member: &&Arc<Member>| member.deeds().iter().any(|(at, deed)| *at >= since && what(deed));
        self.members.iter().filter(did).count()
    }

    /// How many times something was done in each `width` since `since`.
    pub fn histogram(&self, since: Instant, width: Duration, what: impl Fn(&Deed) -> bool) -> Vec<usize> {
        let mut buckets = Vec::new();
        for (at, deed) in self.members.iter().flat_map(|member| member.deeds()) {
            let Some(after) = at.checked_duration_since(since).filter(|_| what(&deed)) else { continue };
            let bucket = usize::try_from(after.as_millis() / width.as_millis()).unwrap_or(usize::MAX);
            if buckets.len() <= bucket {
                buckets.resize(bucket + 1, 0);
            }
            if let Some(count) = buckets.get_mut(bucket) {
                *count += 1;
            }
        }
        buckets
    }

    /// Stops dialling. Sessions that are open end with the test.
    pub fn stop(self) {
        self.stop.cancel();
    }
}
