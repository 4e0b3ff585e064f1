//! Bytes from one connection to the other and back, as they come. With one that does not take them, the other is not read.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

/// Bytes that are moved at once, and held in each direction in which something moves.
const BLOCK: usize = 256 * 1024;

/// What moved, and how it ended.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) bytes: u64,
    pub(super) ended: Ended,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Both sides said that it was all.
    Whole,
    /// One side broke off.
    Broken(io::Error),
    /// Nothing moved for too long.
    Silent(Duration),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("both were done"),
            Self::Broken(error) => write!(f, "it broke off: {error}"),
            Self::Silent(after) => write!(f, "nothing moved for {after:?}"),
        }
    }
}

/// Moves until both are done, one breaks, or nothing has moved for `idle`.
pub(super) async fn between(one: TcpStream, other: TcpStream, idle: Duration) -> Moved {
    let moved = AtomicU64::new(0);
    let ((mut from_one, mut to_one), (mut from_other, mut to_other)) = (one.into_split(), other.into_split());
    let ended = {
        let there = pump(&mut from_one, &mut to_other, &moved);
        let back = pump(&mut from_other, &mut to_one, &moved);
        let both = async { tokio::try_join!(there, back) };
        tokio::select! {
            biased;
            done = both => done.map_or_else(Ended::Broken, |_| Ended::Whole),
            () = silence(&moved, idle) => Ended::Silent(idle),
        }
    };
    Moved { bytes: moved.load(Ordering::Relaxed), ended }
}

async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, moved: &AtomicU64) -> io::Result<()> {
    // a direction in which nothing moves holds nothing
    from.readable().await?;
    let mut block = vec![0; BLOCK];
    loop {
        let len = from.read(&mut block).await?;
        let Some(mut bytes) = block.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
        while !bytes.is_empty() {
            // each counts: on a slow line a block takes long, and is no silence
            let written = to.write(bytes).await?;
            moved.fetch_add(u64::try_from(written).unwrap_or(0), Ordering::Relaxed);
            bytes = bytes.get(written..).filter(|_| written > 0).ok_or(io::ErrorKind::WriteZero)?;
        }
    }
    drop(block);
    to.shutdown().await
}

/// Ends when nothing has moved for `idle`; looks twice in that time.
async fn silence(moved: &AtomicU64, idle: Duration) {
    let (mut seen, mut still) = (moved.load(Ordering::Relaxed), 0);
    while still < 2 {
        sleep(idle / 2).await;
        let now = moved.load(Ordering::Relaxed);
        still = if now == seen { still + 1 } else { 0 };
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (dialled.unwrap(), accepted.unwrap().0)
    }

    const IDLE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn bytes_go_both_ways_and_an_end_is_passed_on() {
        let ((mut ada, one), (mut web, other)) = (pair().await, pair().await);
        let speaking = async {
            ada.write_all(&vec![7; 1_000_000]).await.unwrap();
            ada.shutdown().await.unwrap();
            let mut answer = Vec::new();
            ada.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answering = async {
            let mut heard = Vec::new();
            web.read_to_end(&mut heard).await.unwrap();
            web.write_all(b"thanks").await.unwrap();
            web.shutdown().await.unwrap();
            heard
        };
        let (moved, answer, heard) = tokio::join!(between(one, other, IDLE), speaking, answering);
        assert_eq!((heard.len(), answer.as_slice()), (1_000_000, &b"thanks"[..]));
        assert!(heard.iter().all(|byte| *byte == 7));
        assert_eq!(moved.bytes, 1_000_006);
        assert!(matches!(moved.ended, Ended::Whole), "{moved:?}");
    }

    #[tokio::test]
    async fn one_who_breaks_off_ends_it_for_both() {
        let ((ada, one), (mut web, other)) = (pair().await, pair().await);
        ada.set_zero_linger().unwrap();
        drop(ada);
        let moved = between(one, other, IDLE).await;
        assert!(matches!(moved.ended, Ended::Broken(_)), "{moved:?}");
        assert_eq!(web.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_say_nothing_are_given_up() {
        let ((_ada, one), (_web, other)) = (pair().await, pair().await);
        let moved = between(one, other, IDLE).await;
        assert!(matches!(moved.ended, Ended::Silent(IDLE)), "{moved:?}");
    }
}
