//! A slow line between an agent and its manager: so many bytes a second each way, counted, and little in between. All connections share it,
//! a piece of each in turn: the session, and those that files have of their own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes that the kernel may keep for us, and that pass at once.
const PIECE: u32 = 16 * 1024;

/// The line.
#[derive(Debug)]
pub struct Slow {
    address: SocketAddr,
    passed: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Slow {
    /// Listens for an agent, and lets `per_second` bytes through to `manager` and as many back.
    ///
    /// # Panics
    /// When there is no port.
    pub fn listen(manager: SocketAddr, per_second: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(PIECE).expect("a small buffer");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let listener = socket.listen(8).expect("a port");
        let address = listener.local_addr().expect("an address");
        let passed = Arc::new(AtomicU64::new(0));
        let (mut serving, count) = (JoinSet::new(), passed.clone());
        serving.spawn(async move {
            let mut lines = JoinSet::new();
            let (up, down) = (Arc::new(Way::new(per_second)), Arc::new(Way::new(per_second)));
            while let Ok((agent, _)) = listener.accept().await {
                let Ok(above) = dial(manager).await else { continue };
                for end in [&agent, &above] {
                    end.set_nodelay(true).expect("an open connection");
                }
                let ((from_agent, to_agent), (from_manager, to_manager)) =
                    (agent.into_split(), above.into_split());
                lines.spawn(carry(from_agent, to_manager, up.clone(), count.clone()));
                lines.spawn(carry(from_manager, to_agent, down.clone(), count.clone()));
            }
        });
        Self { address, passed, _serving: serving }
    }

    /// The setting of an agent that shall come here.
    pub fn setting(&self) -> String {
        format!("manager.addresses={}", self.address)
    }

    /// Bytes that have passed, both ways together.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

async fn dial(manager: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(PIECE)?;
    socket.connect(manager).await
}

/// One way of the line: when the next piece may pass, whosever it is.
#[derive(Debug)]
struct Way {
    per_second: u32,
    free: Mutex<Instant>,
}

impl Way {
    fn new(per_second: u32) -> Self {
        Self { per_second, free: Mutex::new(Instant::now()) }
    }

    /// Takes the line for so many bytes, and gives when they have passed.
    fn take(&self, len: u32) -> Instant {
        let mut free = self.free.lock().expect("nobody panics with it");
        *free = (*free).max(Instant::now()) + Duration::from_secs(1) * len / self.per_second;
        *free
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Arc<Way>, passed: Arc<AtomicU64>) {
    let mut piece = vec![0; usize::try_from(PIECE).expect("a small number")];
    while let Ok(len @ 1..) = from.read(&mut piece).await {
        let bytes = u32::try_from(len).expect("a small number");
        tokio::time::sleep_until(way.take(bytes)).await;
        if to.write_all(piece.get(..len).expect("what was read")).await.is_err() {
            return;
        }
        passed.fetch_add(bytes.into(), Ordering::Relaxed);
    }
}
