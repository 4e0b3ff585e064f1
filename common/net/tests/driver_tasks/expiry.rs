//! Sessions end with the certificate of the manager, and the log is told a week before.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use redpoll_common::session::CloseReason;
use redpoll_common::wire::{Bye, ByeCode};
use redpoll_net::dial::keep_connected;
use redpoll_net::transport::{BoxConnection, PeerCertificate, PeerInfo, Transport, TransportError};
use redpoll_net::{greet, memory};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Level;

use crate::dial::{Linked, dial_options, offer};
use crate::support::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A way to a manager whose certificate is valid for so long, once; later dials never come about.
#[derive(Debug)]
struct ToManager {
    left: Mutex<Option<Duration>>,
    tracker: TaskTracker,
    /// How the session of the manager's side ended.
    ended: Arc<Mutex<Option<CloseReason>>>,
    stop: CancellationToken,
}

impl Transport for ToManager {
    fn connect(&self) -> BoxFuture<'_, Result<BoxConnection, TransportError>> {
        let Some(left) = self.left.lock().unwrap().take() else {
            self.stop.cancel();
            return Box::pin(std::future::pending());
        };
        let not_after = SystemTime::now() + left;
        let certificate = Some(PeerCertificate { serial: "01".into(), sha256: "02".into(), not_after });
        let (ours, theirs) = memory::pair(agent(), PeerInfo { certificate, ..manager() });
        let ended = self.ended.clone();
        self.tracker.spawn(async move {
            let (connection, admission) = greet::expect_hello(theirs, PATIENCE).await.unwrap();
            let greeted = greet::accept(connection, admission, &offer(), PATIENCE).await;
            let (connection, terms) = greeted.unwrap();
            let end = End::new(connection, &terms, options(9));
            *ended.lock().unwrap() = Some(end.driver.await.unwrap());
        });
        Box::pin(async move { Ok(ours) })
    }

    fn describe(&self) -> String {
        "manager:7051".into()
    }
}

/// Keeps connected until the second dial.
async fn until_the_second_dial(left: Duration) -> (ToManager, Linked) {
    let stop = CancellationToken::new();
    let to_manager = ToManager {
        left: Mutex::new(Some(left)),
        tracker: TaskTracker::new(),
        ended: Arc::default(),
        stop: stop.clone(),
    };
    let (link, tracker, service) = (Linked::default(), TaskTracker::new(), Arc::new(Probe::default()));
    let mut options = dial_options();
    options.backoff.initial = Duration::from_millis(1);
    let keeping = keep_connected(&to_manager, &link, service, options, &tracker, stop);
    tokio::time::timeout(PATIENCE, keeping).await.expect("a second dial");
    to_manager.tracker.close();
    tokio::time::timeout(PATIENCE, to_manager.tracker.wait()).await.expect("the manager's end is over");
    (to_manager, link)
}

#[tokio::test]
async fn a_session_does_not_outlive_the_managers_certificate() {
    for left in [Duration::from_millis(300), Duration::ZERO] {
        let log = log();
        let begin = SystemTime::now();
        let (to_manager, link) = until_the_second_dial(left).await;
        assert!(SystemTime::now() >= begin + left, "it ended early");
        let bye = Bye::new(ByeCode::Unauthorized, "the certificate has expired");
        assert_eq!(*to_manager.ended.lock().unwrap(), Some(CloseReason::Theirs(bye.clone())));
        assert_eq!(*link.reasons.lock().unwrap(), [CloseReason::Ours(bye)]);
        let warnings = log.lines(Level::WARN);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("ends soon") && warnings[0].contains("days_left=0"), "{warnings:?}");
    }
}
