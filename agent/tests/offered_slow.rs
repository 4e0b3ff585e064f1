//! What a manager that reads slowly is told of what is offered.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod gate_support;
mod procedures_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate_support::open_gate;
use procedures_support::{caller, json_shell, setting};
use redpoll_agent::offered::{Described, Offered};
use redpoll_common::api::notice;
use redpoll_common::identity::Identity;
use redpoll_common::session::Terms;
use redpoll_common::session::terms::Liveness;
use redpoll_common::wire::{Limits, Message, Notification, Raw, codec};
use redpoll_net::driver::{DriverOptions, drive};
use redpoll_net::service::{Running, Service};
use redpoll_net::transport::{BoxConnection, PeerInfo, receive};
use redpoll_net::{CallContext, Registry, memory};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// Serves nothing.
#[derive(Debug)]
struct Nothing;

impl Service for Nothing {
    fn start(&self, call: CallContext) -> Running {
        Running { answer: Box::pin(async move { Ok(call.args) }), graceful: false }
    }

    fn notified(&self, _from: &PeerInfo, _notification: Notification) {}
}

/// What the next notification is.
async fn heard(manager: &mut BoxConnection) -> String {
    let received = tokio::time::timeout(Duration::from_secs(60), receive(&mut **manager)).await.unwrap();
    let message = codec::decode(&received.unwrap().unwrap()).unwrap();
    let Message::Notification(notification) = message else { panic!("{message:?}") };
    notification.kind
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_takes_long_to_read_is_told_of_a_change_in_the_same_session() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = Arc::new(Mutex::new(Vec::new()));
    let source = {
        let manifests = manifests.clone();
        move || Described { manifests: manifests.lock().unwrap().clone(), problems: vec![], unread: vec![] }
    };
    let offered = Offered::new(
        Registry::new(),
        (false, false),
        setting().0,
        Box::new(source),
        folder.path(),
        open_gate(),
    )
    .unwrap();
    offered.reload();

    let own = memory::peer(Identity::parse("spiffe://home/agent/web-1").unwrap());
    let (connection, mut manager) = memory::framed_pair(own, caller(), 1024);
    let terms = Terms {
        protocol: 1,
        limits: Limits::default(),
        liveness: Liveness { ping: None, dead: None },
        peer_version: "test".into(),
        peer_caps: Vec::new(),
    };
    manager.set_payload_limit(terms.frame_limit());
    let options = DriverOptions {
        write_timeout: Duration::from_secs(3600),
        queue_limit: 1,
        ..DriverOptions::default()
    };
    let (peer, driver) = drive(connection, terms, Arc::new(Nothing), options, TaskTracker::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(driver.await) });
    let (_present, sessions) = watch::channel(Some(peer.clone()));
    tasks.spawn(offered.announce(sessions));
    assert_eq!(heard(&mut manager).await, notice::AGENT_PROCEDURES);

    // more than may wait for the line
    let many = 100;
    for _ in 0..many {
        let peer = peer.clone();
        tasks.spawn(async move { drop(peer.notify("x", Raw::text(&"x".repeat(10_000))).await) });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    manifests.lock().unwrap().push(json_shell("exit 0"));
    offered.reload();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut kinds = Vec::new();
    for _ in 0..=many {
        kinds.push(heard(&mut manager).await);
    }
    assert_eq!(kinds.iter().filter(|kind| *kind == notice::AGENT_PROCEDURES).count(), 1, "{kinds:?}");
}
