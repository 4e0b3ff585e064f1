//! Dialling again and again: how often, how loud, and until when.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redpoll_common::session::CloseReason;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::session::handshake::SPOKEN;
use redpoll_common::session::terms::{Liveness, Offer};
use redpoll_common::wire::{AgentHello, Bye, ByeCode, Limits, Raw};
use redpoll_net::dial::{DialOptions, Link, connect_once, keep_connected};
use redpoll_net::driver::DriverOptions;
use redpoll_net::transport::{BoxConnection, Transport, TransportError, close};
use redpoll_net::{Peer, greet, memory};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Level;

use crate::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the manager does with a dial.
#[derive(Debug, Clone)]
enum Act {
    /// Nobody listens.
    Refuse,
    /// The connection never comes about.
    Hang,
    /// It accepts the connection and never says a word.
    Silence,
    /// It says goodbye in place of its hello.
    TurnAway(Bye),
    /// It lets the dialler in, and after a while says goodbye or just closes.
    Session(Duration, Option<Bye>),
}

/// A way to a manager that does as it is told: the first acts once each, then the last one for ever.
struct Scripted {
    first: Mutex<VecDeque<Act>>,
    then: Act,
    attempts: Mutex<Vec<Instant>>,
    tracker: TaskTracker,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    fn new(first: impl IntoIterator<Item = Act>, then: Act) -> Self {
        let first = Mutex::new(first.into_iter().collect());
        Self { first, then, attempts: Mutex::default(), tracker: TaskTracker::new() }
    }

    fn attempts(&self) -> Vec<Instant> {
        self.attempts.lock().unwrap().clone()
    }

    /// The waits between attempts.
    fn gaps(&self) -> Vec<Duration> {
        self.attempts().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

impl Transport for Scripted {
    fn connect(&self) -> BoxFuture<'_, Result<BoxConnection, TransportError>> {
        self.attempts.lock().unwrap().push(Instant::now());
        let act = self.first.lock().unwrap().pop_front().unwrap_or_else(|| self.then.clone());
        let (ours, theirs) = memory::pair(agent(), manager());
        match act {
            Act::Hang => Box::pin(std::future::pending()),
            Act::Refuse => Box::pin(async {
                let source = Arc::new(io::ErrorKind::ConnectionRefused.into());
                Err(TransportError::Unreachable { address: "manager:7051".into(), source })
            }),
            act => {
                self.tracker.spawn(play(theirs, act));
                Box::pin(async move { Ok(ours) })
            }
        }
    }

    fn describe(&self) -> String {
        "manager:7051".into()
    }
}

async fn play(connection: BoxConnection, act: Act) {
    if let Act::Silence = act {
        sleep(DAY).await;
        return drop(connection);
    }
    let Ok((connection, admission)) = greet::expect_hello(connection, SECOND).await else { return };
    let (time, bye) = match act {
        Act::TurnAway(bye) => return greet::refuse(connection, admission, bye).await,
        Act::Session(time, bye) => (time, bye),
        other => panic!("{other:?}"),
    };
    let (connection, terms) = greet::accept(connection, admission, &offer(), SECOND).await.unwrap();
    if let Some(bye) = bye {
        let end = End::new(connection, &terms, options(9));
        sleep(time).await;
        end.peer.close(bye);
        end.driver.await.unwrap();
    } else {
        sleep(time).await;
        close(connection, SECOND).await;
    }
}

pub(crate) fn offer() -> Offer {
    Offer {
        version: "1".into(),
        manager: "m-1".into(),
        cluster: "home".into(),
        limits: Limits::default(),
        liveness: Liveness::default(),
        wall_ms: 0,
    }
}

pub(crate) fn hello() -> AgentHello {
    AgentHello { id: "web-1".into(), version: "1".into(), protocol: Some(SPOKEN), ..AgentHello::default() }
}

pub(crate) fn dial_options() -> DialOptions {
    DialOptions {
        hello_timeout: 5 * SECOND,
        liveness: None,
        driver: DriverOptions { seed: 42, ..DriverOptions::default() },
        backoff: BackoffOptions::default(),
    }
}

/// Notes what a link hears.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    hellos: Mutex<usize>,
    pub(crate) peers: Mutex<Vec<Peer>>,
    pub(crate) reasons: Mutex<Vec<CloseReason>>,
}

impl Link for Linked {
    fn hello(&self) -> AgentHello {
        *self.hellos.lock().unwrap() += 1;
        hello()
    }

    fn connected(&self, peer: &Peer) {
        self.peers.lock().unwrap().push(peer.clone());
    }

    fn disconnected(&self, reason: &CloseReason) {
        self.reasons.lock().unwrap().push(reason.clone());
    }
}

/// Keeps connected for so long, then stops; it must return at once.
async fn dial_for(transport: &Scripted, time: Duration) -> Linked {
    let link = Linked::default();
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let service = Arc::new(Probe::default());
    let end = Instant::now() + time;
    let stopping = async {
        sleep(time).await;
        stop.cancel();
    };
    let keeping = keep_connected(transport, &link, service, dial_options(), &tracker, stop.clone());
    tokio::join!(keeping, stopping);
    assert_eq!(Instant::now(), end, "it did not return when it was told to");
    link
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_is_away_for_a_week_is_dialled_in_bounds_and_logged_now_and_then() {
    let log = log();
    let transport = Scripted::new([], Act::Refuse);
    let link = dial_for(&transport, 7 * DAY).await;
    let gaps = transport.gaps();
    // half of five minutes on the average
    assert!((3600..4500).contains(&gaps.len()), "{} attempts", gaps.len());
    for (n, gap) in gaps.iter().enumerate() {
        let bound = Duration::from_secs(1 << n.min(9)).min(Duration::from_secs(300));
        assert!(*gap <= bound + SECOND / 100, "attempt {n} after {gap:?}");
    }
    let attempts = gaps.len() + 1;
    let warnings = log.lines(Level::WARN);
    assert_eq!(warnings.len(), attempts.div_ceil(10));
    assert!(warnings.iter().all(|line| line.contains("delay=") && line.contains("help=")), "{}", warnings[0]);
    assert_eq!((log.count(Level::ERROR), log.count(Level::INFO)), (0, 0));
    assert_eq!(*link.hellos.lock().unwrap(), attempts, "each attempt says a hello of its own");
}

#[tokio::test(start_paused = true)]
async fn the_managers_hint_is_a_floor_for_the_next_attempt() {
    let bye = Bye::new(ByeCode::Overloaded, "later").retry_after(77 * SECOND);
    for act in [Act::TurnAway(bye.clone()), Act::Session(SECOND, Some(bye))] {
        let transport = Scripted::new([act], Act::Hang);
        dial_for(&transport, 300 * SECOND).await;
        let gaps = transport.gaps();
        assert!(gaps.len() == 1 && gaps[0] >= 77 * SECOND && gaps[0] < 82 * SECOND, "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_closes_at_once_is_not_hammered() {
    for bye in [None, Some(Bye::new(ByeCode::Replaced, "another one is newer"))] {
        let transport = Scripted::new([], Act::Session(Duration::ZERO, bye));
        let link = dial_for(&transport, DAY).await;
        let attempts = transport.attempts().len();
        assert!((400..800).contains(&attempts), "{attempts} attempts in a day");
        let (connected, lost) = (link.peers.lock().unwrap().len(), link.reasons.lock().unwrap().len());
        assert!(connected == lost || connected == lost + 1, "{connected} sessions, {lost} ends");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_needs_a_person_is_retried_slowly_and_loud() {
    let bye = Bye::new(ByeCode::Unauthorized, "who are you?");
    for act in [Act::TurnAway(bye.clone()), Act::Session(Duration::ZERO, Some(bye))] {
        let log = log();
        let transport = Scripted::new([], act);
        dial_for(&transport, DAY).await;
        let gaps = transport.gaps();
        assert!((270..600).contains(&gaps.len()), "{} attempts", gaps.len());
        assert!(gaps.iter().all(|gap| *gap >= 150 * SECOND), "one came too early");
        assert!(log.count(Level::ERROR) >= gaps.len() / 10, "{} lines", log.count(Level::ERROR));
        assert_eq!(log.count(Level::WARN), 0);
        assert!(log.lines(Level::ERROR).iter().all(|line| line.contains("a person must act")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_after_a_session_is_logged_again() {
    let log = log();
    let session = Act::Session(100 * SECOND, None);
    let refused = || std::iter::repeat_n(Act::Refuse, 5);
    let script = refused().chain([session.clone()]).chain(refused()).chain([session]).chain(refused());
    let transport = Scripted::new(script, Act::Hang);
    dial_for(&transport, 3600 * SECOND).await;
    assert_eq!(transport.attempts().len(), 18);
    assert_eq!(log.count(Level::WARN), 3);
    assert_eq!(log.count(Level::INFO), 4, "connected and disconnected");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_obeyed_at_once_in_every_state() {
    // `dial_for` checks it: while dialling, waiting for the hello, in a session, and while backing off
    dial_for(&Scripted::new([], Act::Hang), SECOND).await;
    dial_for(&Scripted::new([], Act::Silence), SECOND).await;
    let link =
        dial_for(&Scripted::new([], Act::Session(DAY, Some(Bye::new(ByeCode::Idle, "x")))), SECOND).await;
    let peer = link.peers.lock().unwrap()[0].clone();
    assert!(!peer.is_closed(), "the session is left to whoever holds its peer");
    assert_eq!(link.reasons.lock().unwrap().len(), 0);
    let away = Bye::new(ByeCode::ShuttingDown, "x").retry_after(3600 * SECOND);
    dial_for(&Scripted::new([], Act::TurnAway(away)), SECOND).await;
    let link = Linked::default();
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    stop.cancel();
    let transport = Scripted::new([], Act::Refuse);
    keep_connected(&transport, &link, Arc::new(Probe::default()), dial_options(), &tracker, stop).await;
    assert_eq!(transport.attempts().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_says_nothing_is_given_up_at_the_deadline() {
    let transport = Scripted::new([], Act::Silence);
    let tracker = TaskTracker::new();
    let begin = Instant::now();
    let service = Arc::new(Probe::default());
    let error = connect_once(&transport, hello(), service, &dial_options(), &tracker).await.unwrap_err();
    assert_eq!(begin.elapsed().as_secs(), 6, "the hello's five seconds, and one to say goodbye");
    assert_eq!(error.to_string(), "no session with manager:7051");
    assert_eq!(error.help(), "does a Redpoll manager listen at this address?");
    assert!(!error.needs_a_person());
    assert!(tracker.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dialled_session_serves_and_calls() {
    let transport = Scripted::new([], Act::Session(10 * SECOND, Some(Bye::new(ByeCode::Idle, "x"))));
    let tracker = TaskTracker::new();
    let service = Arc::new(Probe::default());
    let notes = service.notes.clone();
    let peer = connect_once(&transport, hello(), service, &dial_options(), &tracker).await.unwrap();
    assert_eq!(peer.info().identity.role, redpoll_common::identity::Role::Manager);
    assert_eq!(peer.terms().protocol, 1);
    assert_eq!(peer.call(call("echo")).await, Ok(Raw::empty_array()));
    assert_eq!(notes.notified.load(Ordering::SeqCst), 0);
    assert!(matches!(peer.closed().await, CloseReason::Theirs(_)));
    tracker.close();
    tokio::time::timeout(3 * SECOND, tracker.wait()).await.expect("the driver is over");
}
