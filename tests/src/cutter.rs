//! Somebody between an agent and its manager who understands nothing, and cuts a connection after a byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Which of the two directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the agent says.
    ToManager,
    /// What the manager says.
    ToAgent,
}

/// Where to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The direction whose bytes count.
    pub way: Way,
    /// So many of them pass; before the next one both directions end.
    pub after: u64,
}

/// What became of the connection that was to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// Bytes that passed to the manager.
    pub to_manager: u64,
    /// Bytes that passed to the agent.
    pub to_agent: u64,
    /// It was cut where it should be.
    pub cut: bool,
}

/// Somebody in the middle.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    manager: SocketAddr,
    /// Whoever dials while this is false waits.
    open: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For the next connection.
    cut: Option<Cut>,
    /// Connections since the last order: the first one is the one that is cut.
    connections: u64,
    fate: Arc<Mutex<Fate>>,
    present: CancellationToken,
}

impl Cutter {
    /// Listens for an agent, and lets all through to `manager`.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn listen(manager: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { manager, open: watch::Sender::new(true), state: Mutex::default() });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, shared.clone()));
        Self { address, shared, _serving: serving }
    }

    /// The setting of an agent that shall come here.
    pub fn setting(&self) -> String {
        format!("manager.addresses={}", self.address)
    }

    /// Ends the present connection, and lets nobody through until [`release`](Self::release). The next connection is
    /// cut as `cut` says.
    pub fn hold(&self, cut: Option<Cut>) {
        let mut state = self.shared.state();
        self.shared.open.send_replace(false);
        state.present.cancel();
        *state = State { cut, ..State::default() };
    }

    /// Lets everybody through.
    pub fn release(&self) {
        self.shared.open.send_replace(true);
    }

    /// What became of the first connection since the last [`hold`](Self::hold), up to now.
    pub fn fate(&self) -> Fate {
        *lock(&self.shared.state().fate)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let (mut open, mut carriers) = (shared.open.subscribe(), JoinSet::new());
    while let Ok((agent, _from)) = listener.accept().await {
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        let Ok(manager) = TcpStream::connect(shared.manager).await else { continue };
        let present = CancellationToken::new();
        let (fate, cut) = {
            let mut state = shared.state();
            if !*open.borrow() {
                // it was on its way when the others were stopped
                continue;
            }
            state.connections += 1;
            state.present = present.clone();
            // what becomes of later ones is of no interest
            let fate = if state.connections == 1 { state.fate.clone() } else { Arc::default() };
            (fate, state.cut.take())
        };
        for end in [&agent, &manager] {
            end.set_nodelay(true).expect("an open connection");
        }
        let (from_agent, to_agent) = agent.into_split();
        let (from_manager, to_manager) = manager.into_split();
        let mut carry = |way, input, output| {
            let left = cut.filter(|cut| cut.way == way).map(|cut| cut.after);
            let carrier = Carrier { fate: fate.clone(), way, left, end: present.clone() };
            carriers.spawn(carrier.carry(input, output));
        };
        carry(Way::ToManager, from_agent, to_manager);
        carry(Way::ToAgent, from_manager, to_agent);
        while carriers.try_join_next().is_some() {}
    }
}

/// One direction of a connection.
struct Carrier {
    fate: Arc<Mutex<Fate>>,
    way: Way,
    /// Bytes that may pass yet.
    left: Option<u64>,
    end: CancellationToken,
}

impl Carrier {
    async fn carry(mut self, mut input: OwnedReadHalf, mut output: OwnedWriteHalf) {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            if self.left == Some(0) {
                lock(&self.fate).cut = true;
                break;
            }
            let read = tokio::select! {
                biased;
                () = self.end.cancelled() => break,
                read = input.read(&mut bytes) => read.unwrap_or(0),
            };
            if read == 0 {
                break;
            }
            let passing = self.left.map_or(read, |left| read.min(usize::try_from(left).unwrap_or(read)));
            if output.write_all(bytes.get(..passing).expect("what was read")).await.is_err() {
                break;
            }
            self.count(u64::try_from(passing).expect("a small number"));
        }
        self.end.cancel();
    }

    fn count(&mut self, passed: u64) {
        self.left = self.left.map(|left| left - passed);
        let mut fate = lock(&self.fate);
        match self.way {
            Way::ToManager => fate.to_manager += passed,
            Way::ToAgent => fate.to_agent += passed,
        }
    }
}
