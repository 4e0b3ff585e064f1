//! A slow line between an agent and its manager: so many bytes a second each way, counted, and little in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
            while let Ok((agent, _)) = listener.accept().await {
                let Ok(above) = dial(manager).await else { continue };
                for end in [&agent, &above] {
                    end.set_nodelay(true).expect("an open connection");
                }
                let ((from_agent, to_agent), (from_manager, to_manager)) =
                    (agent.into_split(), above.into_split());
                lines.spawn(carry(from_agent, to_manager, per_second, count.clone()));
                lines.spawn(carry(from_manager, to_agent, per_second, count.clone()));
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

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, per_second: u32, passed: Arc<AtomicU64>) {
    let mut piece = vec![0; usize::try_from(PIECE).expect("a small number")];
    let mut free = Instant::now();
    while let Ok(len @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep_until(free).await;
        if to.write_all(piece.get(..len).expect("what was read")).await.is_err() {
            return;
        }
        let len = u32::try_from(len).expect("a small number");
        passed.fetch_add(len.into(), Ordering::Relaxed);
        free = free.max(Instant::now()) + Duration::from_secs(1) * len / per_second;
    }
}
