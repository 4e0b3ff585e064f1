//! An engine without agents, for tests of what is around it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::{Callback, JobId};
use redpoll_manager_core::jobs::record::Summary;
use redpoll_manager_core::jobs::{NotTaken, Settings};
use redpoll_net::Peer;
use tokio::sync::mpsc;

use super::open::Ask;
use super::task::Message;
use super::{Agents, Callbacks, Engine, EngineOptions};
use crate::store::{AbortHook, Faults, Memory};

#[derive(Debug)]
struct Nobody;

impl Agents for Nobody {
    fn peer(&self, _agent: &PeerId, _connection: ConnectionId) -> Option<Peer> {
        None
    }

    fn is_connected(&self, _agent: &PeerId) -> bool {
        false
    }

    fn disconnect(&self, _agent: &PeerId, _connection: ConnectionId, _why: &str) {}

    fn disconnect_all(&self, _why: &str) {}
}

impl Callbacks for Nobody {
    fn deliver(&self, _: JobId, _: u32, _: Callback) -> BoxFuture<'static, Result<(), NotTaken>> {
        Box::pin(std::future::ready(Err("nobody is there".into())))
    }
}

/// An engine with a store in memory.
pub(crate) async fn engine() -> Engine {
    let store = Arc::new(Memory::new(Faults::default(), AbortHook::default()));
    let options = EngineOptions { settings: Settings::default(), offer_timeout: Duration::from_secs(1) };
    let (engine, _running, _known) =
        Engine::start(store, Arc::new(Nobody), Arc::new(Nobody), options).await.unwrap();
    engine
}

/// The same store behind a machine that counts so the runs of each job that it is asked for; without a count it stands.
pub(crate) fn ahead(engine: &Engine, said: Option<Summary>) -> Engine {
    let (inbox, mut messages) = mpsc::channel(1);
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(message) = messages.recv().await {
            match (message, said) {
                (Message::Ask(Ask::Summaries { jobs, told }), Some(said)) => {
                    let _gone = told.send(jobs.iter().map(|_| Some(said)).collect());
                }
                (message, _) => unanswered.push(message),
            }
        }
    });
    Engine { inbox, ..engine.clone() }
}
