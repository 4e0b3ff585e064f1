//! Somebody between a peer and the manager who has certificates of both, reads every message, and loses one.
//!
//! To the agent or operator below it is the manager, to the manager the one below. Each message has one or more names (see `names`); the
//! first one of the name that a [`Plan`] says is not passed on. What comes after it is, or the connection is cut.

pub mod known;
mod names;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redpoll_certs::testing::TestCertificate;
use redpoll_common::job::JobId;
use redpoll_common::wire::frame::Splitter;
use redpoll_common::wire::{MAX_FRAME_LIMIT, codec};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::names::{Asked, names, reported};
use crate::eventually;
use crate::line::{FakeManager, Line, RP1, frame};

/// How long the rest of what one side said may take to get to the other when a connection ends.
const LAST: Duration = Duration::from_secs(1);

/// What is lost, and what then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The name of the message. The first one of it is lost, no other.
    pub name: String,
    /// The connection is cut right after it; else it stays, as if nothing had been.
    pub cut: bool,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// The agent or operator.
    Below,
    Manager,
}

/// Somebody in the middle.
#[derive(Debug)]
pub struct Middle {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    /// What the one below is called in names.
    below: &'static str,
    plan: Option<Plan>,
    lost: Option<String>,
    seen: BTreeSet<String>,
    /// How many runs stood in each page that the agent has shown of its spool, and was answered.
    spool: Vec<usize>,
    /// The items that came by, and how many of them came by again.
    items: BTreeSet<(JobId, u64)>,
    repeated: usize,
    present: CancellationToken,
}

impl Middle {
    /// Listens for an agent whose certificate is `agent`, with one of a manager, and dials `above` in its name.
    pub async fn listen(
        manager: &TestCertificate,
        agent: TestCertificate,
        above: SocketAddr,
        plan: Option<Plan>,
    ) -> Self {
        Self::of("agent", manager, agent, above, plan).await
    }

    /// The same for an operator.
    pub async fn of_operator(
        manager: &TestCertificate,
        operator: TestCertificate,
        above: SocketAddr,
        plan: Option<Plan>,
    ) -> Self {
        Self::of("operator", manager, operator, above, plan).await
    }

    async fn of(
        below: &'static str,
        manager: &TestCertificate,
        own: TestCertificate,
        above: SocketAddr,
        plan: Option<Plan>,
    ) -> Self {
        let listener = FakeManager::listen(manager).await;
        let address = listener.address();
        let state = Arc::new(Mutex::new(State { below, plan, ..State::default() }));
        let shared = state.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let (listener, own) = (Arc::new(listener), Arc::new(own));
            let mut connections = JoinSet::new();
            while let Ok(tcp) = listener.dialled().await {
                let (listener, own, shared) = (listener.clone(), own.clone(), shared.clone());
                connections.spawn(async move {
                    // whoever waits for it sees the connection end
                    let _ended = pass_on(tcp, &listener, &own, above, &shared).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, state, _serving: serving }
    }

    /// The setting of an agent that shall come here.
    pub fn setting(&self) -> String {
        format!("manager.addresses={}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses another message, from now on.
    pub fn lose(&self, plan: Plan) {
        let mut state = lock(&self.state);
        (state.plan, state.lost) = (Some(plan), None);
    }

    /// How many sessions have begun: each tells first what the agent's spool holds, and is answered.
    pub fn sessions(&self) -> usize {
        lock(&self.state).spool.len()
    }

    /// Cuts the present connection.
    pub fn cut(&self) {
        lock(&self.state).present.cancel();
    }

    /// The names of everything that came by.
    pub fn seen(&self) -> BTreeSet<String> {
        lock(&self.state).seen.clone()
    }

    /// How many items came by, and how many of them more than once.
    pub fn items(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.items.len(), state.repeated)
    }

    /// Waits until something of each of these names came by.
    ///
    /// # Panics
    /// When it does not.
    pub async fn saw(&self, names: &[&str]) {
        let missing = || {
            let state = lock(&self.state);
            names.iter().filter(|name| !state.seen.contains(**name)).copied().collect::<Vec<_>>()
        };
        eventually(&format!("messages of all of {names:?}"), async || missing().is_empty().then_some(()))
            .await;
    }

    /// Waits until what the plan says was lost.
    ///
    /// # Panics
    /// When it was not.
    pub async fn lost(&self) {
        let what = format!("{:?} happens", lock(&self.state).plan);
        eventually(&what, async || lock(&self.state).lost.clone()).await;
    }

    /// Waits until the agent's spool holds nothing any more, which it tells in each new session.
    ///
    /// # Panics
    /// When it goes on to hold something.
    pub async fn drained(&self) {
        eventually("the spool is empty", async || {
            let before = lock(&self.state).spool.len();
            lock(&self.state).present.cancel();
            eventually("a new session", async || (lock(&self.state).spool.len() > before).then_some(()))
                .await;
            lock(&self.state).spool.last().is_some_and(|rows| *rows == 0).then_some(())
        })
        .await;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, to its end.
async fn pass_on(
    tcp: TcpStream,
    listener: &FakeManager,
    own: &TestCertificate,
    above: SocketAddr,
    state: &Arc<Mutex<State>>,
) -> io::Result<()> {
    let below = listener.secure(tcp).await?.into_stream();
    let above = Line::dial(above, Some(own), RP1).await?.into_stream();
    let cut = CancellationToken::new();
    lock(state).present = cut.clone();
    let (mut from_below, mut to_below) = tokio::io::split(below);
    let (mut from_manager, mut to_manager) = tokio::io::split(above);
    let asked = Asked::default();
    let up = Way { from: From::Below, state, asked: &asked };
    let down = Way { from: From::Manager, state, asked: &asked };
    let both = async {
        let up = up.carry(&mut from_below, &mut to_manager);
        let down = down.carry(&mut from_manager, &mut to_below);
        tokio::pin!(up, down);
        // when one has said its last, the other may have something on its way yet
        tokio::select! {
            _ended = &mut up => drop(tokio::time::timeout(LAST, down).await),
            _ended = &mut down => drop(tokio::time::timeout(LAST, up).await),
        }
    };
    tokio::select! {
        biased;
        () = cut.cancelled() => {}
        () = both => {}
    }
    Ok(())
}

/// One direction of a connection.
struct Way<'a> {
    from: From,
    state: &'a Mutex<State>,
    asked: &'a Asked,
}

impl Way<'_> {
    /// Passes on what is said until nothing more is, and says that, too.
    async fn carry(
        &self,
        input: &mut (impl AsyncRead + Unpin),
        output: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let (mut splitter, mut bytes) = (Splitter::new(MAX_FRAME_LIMIT), BytesMut::new());
        while input.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            while let Some(payload) = splitter.split(&mut bytes).expect("frames") {
                if self.passes(&payload) {
                    output.write_all(&frame(&payload)).await?;
                }
            }
            output.flush().await?;
        }
        output.shutdown().await
    }

    /// Notes a message. Gives whether it is passed on.
    fn passes(&self, payload: &Bytes) -> bool {
        let message = codec::decode(payload).expect("a message");
        let mut state = lock(self.state);
        let who = if self.from == From::Below { state.below } else { "manager" };
        let names = names(who, self.from, &message, self.asked);
        if let Some(rows) = self.asked.settled(self.from, &message) {
            state.spool.push(rows);
        }
        state.seen.extend(names.iter().cloned());
        for item in reported(&message) {
            let is_new = state.items.insert(item);
            state.repeated += usize::from(!is_new);
        }
        if state.present.is_cancelled() {
            return false;
        }
        let Some(plan) = state.plan.clone().filter(|_| state.lost.is_none()) else { return true };
        if !names.contains(&plan.name) {
            return true;
        }
        state.lost = Some(plan.name);
        if plan.cut {
            state.present.cancel();
        }
        false
    }
}
