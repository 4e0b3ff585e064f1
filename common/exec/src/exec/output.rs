//! Moves a program's output from a pipe into the channel, within the output limit.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{BATCH, CHUNK, Chunk, StreamName, Tail};

/// How long the begin of a character waits for the rest of it: what a full pipe or a full chunk cut in two comes at once.
const HOLD: Duration = Duration::from_millis(200);

/// How long output is waited for, and how long for whoever takes it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// The program runs: wait for both as long as it takes.
    Running,
    /// It has ended. What is in the pipe is delivered, however slow the taker; whoever else holds the pipe has until then.
    Ended {
        /// When the pipe is closed.
        until: Instant,
    },
    /// It was stopped and has ended: nothing is waited for beyond this moment.
    Abandoned {
        /// When the pipe is closed and what is undelivered is thrown away.
        until: Instant,
    },
}

/// Where both streams go: the channel and what is left of the limit.
pub(super) struct Outlet {
    chunks: mpsc::Sender<Chunk>,
    left: AtomicU64,
}

/// What became of a stream.
#[derive(Debug, Default)]
pub(super) struct Pumped {
    pub(super) bytes: u64,
    pub(super) dropped: u64,
    pub(super) held: bool,
    /// The last bytes of a standard error.
    pub(super) tail: Tail,
}

impl Outlet {
    pub(super) fn new(chunks: mpsc::Sender<Chunk>, limit: u64) -> Self {
        Self { chunks, left: AtomicU64::new(limit) }
    }

    /// Takes up to `wanted` bytes of the limit and says how many.
    fn take(&self, wanted: usize) -> usize {
        let mut taken = 0;
        let wanted = wanted as u64;
        let take = |left: u64| {
            taken = left.min(wanted);
            Some(left - taken)
        };
        // both streams are polled by one task, so this never competes
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok();
        usize::try_from(taken).unwrap_or(usize::MAX)
    }

    /// Waits until the channel takes the chunk. False if it never will.
    async fn deliver(&self, chunk: Chunk, phase: &mut watch::Receiver<Phase>) -> bool {
        tokio::select! {
            biased; // what can be delivered is delivered, also at the last moment
            sent = self.chunks.send(chunk) => sent.is_ok(),
            () = abandoned(phase) => false,
        }
    }
}

/// Completes at the end of [`Phase::Abandoned`].
async fn abandoned(phase: &mut watch::Receiver<Phase>) {
    loop {
        let now = *phase.borrow_and_update();
        match now {
            Phase::Abandoned { until } => return sleep_until(until).await,
            Phase::Running | Phase::Ended { .. } => {}
        }
        if phase.changed().await.is_err() {
            return; // nobody watches over the program any more
        }
    }
}

/// Moves one stream until its end, and closes it with [`Chunk::Truncated`] if bytes were thrown away. A chunk of a text is a text: it does
/// not end within a character, unless the rest of that does not come, or has no room within the limit.
pub(super) async fn pump<P: AsyncRead + AsFd + Unpin>(
    pipe: Option<P>,
    stream: StreamName,
    outlet: &Outlet,
    mut phase: watch::Receiver<Phase>,
) -> Pumped {
    let mut pumped = Pumped::default();
    let Some(pipe) = pipe else { return pumped };
    let mut reader = Reader { pipe, buffer: Vec::new(), residue: None };
    loop {
        let filled = reader.fill(&mut phase).await;
        let read = match filled {
            Filled::Data => reader.buffer.len() - unfinished(&reader.buffer),
            Filled::Waited | Filled::End | Filled::Held => reader.buffer.len(),
        };
        let kept = outlet.take(read);
        let mut lost = read - kept;
        if let Some(data) = reader.buffer.get(..kept).filter(|data| !data.is_empty()) {
            // a copy of its own: a few bytes do not keep a whole buffer alive in the channel
            let chunk = Chunk::Data { stream, data: Bytes::copy_from_slice(data) };
            if !outlet.deliver(chunk, &mut phase).await {
                lost = read;
            }
        }
        let read = reader.buffer.drain(..read);
        if stream == StreamName::Stderr {
            pumped.tail.push(read.as_slice());
        }
        pumped.bytes += read.len() as u64;
        pumped.dropped += lost as u64;
        drop(read);
        match filled {
            Filled::Data | Filled::Waited => {}
            Filled::End => break,
            Filled::Held => {
                pumped.held = true;
                break;
            }
        }
    }
    if pumped.dropped > 0 {
        outlet.deliver(Chunk::Truncated { stream, dropped: pumped.dropped }, &mut phase).await;
    }
    pumped
}

/// How many bytes at the end are the begin of a character in UTF-8, whose rest is missing.
fn unfinished(bytes: &[u8]) -> usize {
    let is_begin = |back: &usize| {
        let end = bytes.get(bytes.len().saturating_sub(*back)..).unwrap_or_default();
        std::str::from_utf8(end).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(is_begin).unwrap_or(0)
}

enum Filled {
    /// At least one byte more.
    Data,
    /// What was left of a character has waited for long enough.
    Waited,
    /// Everybody closed the pipe.
    End,
    /// Somebody has not, and the time for that is over.
    Held,
}

struct Reader<P> {
    pipe: P,
    /// What was read and not yet taken out: between two reads the begin of a character at most.
    buffer: Vec<u8>,
    /// After the program's end: how many bytes of its own may still be in the pipe.
    residue: Option<u64>,
}

impl<P: AsyncRead + AsFd + Unpin> Reader<P> {
    /// Reads more into the buffer, up to [`CHUNK`] bytes with what is there.
    async fn fill(&mut self, phase: &mut watch::Receiver<Phase>) -> Filled {
        let hold_until = (!self.buffer.is_empty()).then(|| Instant::now() + HOLD);
        loop {
            let now = *phase.borrow_and_update();
            let until = match now {
                Phase::Running => {
                    tokio::select! {
                        biased; // output first: the phase is looked at before every read anyway
                        read = read_some(&mut self.pipe, &mut self.buffer) => match read {
                            Some(_) => self.fill_up().await,
                            None => return Filled::End,
                        },
                        _ = phase.changed() => continue,
                        () = waited(hold_until) => return Filled::Waited,
                    }
                    return Filled::Data;
                }
                Phase::Ended { until } | Phase::Abandoned { until } => until,
            };
            return self.fill_rest(until).await;
        }
    }

    /// Waits a moment for more, so that a program that writes single bytes does not make single-byte chunks.
    async fn fill_up(&mut self) {
        let until = Instant::now() + BATCH;
        while self.buffer.len() < CHUNK {
            match timeout_at(until, read_some(&mut self.pipe, &mut self.buffer)).await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return, // an end is found again by the next read
            }
        }
    }

    /// Reads after the program's end: all of its own output, and other holders' until `until`.
    async fn fill_rest(&mut self, until: Instant) -> Filled {
        let pipe = &self.pipe;
        let residue = *self.residue.get_or_insert_with(|| rustix::io::ioctl_fionread(pipe).unwrap_or(0));
        let over = residue == 0 && Instant::now() >= until;
        let held = self.buffer.len();
        // a timeout polls the read first: what is in the pipe is read even when the time is over
        match timeout_at(until, read_some(&mut self.pipe, &mut self.buffer)).await {
            Ok(None) => Filled::End,
            Ok(Some(_)) if over => {
                self.buffer.truncate(held);
                Filled::Held
            }
            Ok(Some(read)) => {
                self.residue = Some(residue.saturating_sub(read));
                Filled::Data
            }
            Err(_) => Filled::Held,
        }
    }
}

/// Completes at that time, if there is one.
async fn waited(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Appends what is there to the buffer, up to [`CHUNK`] in all. `None`: there will be no more.
async fn read_some<P: AsyncRead + Unpin>(pipe: &mut P, buffer: &mut Vec<u8>) -> Option<u64> {
    buffer.reserve_exact(CHUNK.saturating_sub(buffer.len()));
    let room = CHUNK.saturating_sub(buffer.len());
    match pipe.read_buf(&mut buffer.limit(room)).await {
        Ok(0) => None,
        Ok(read) => Some(read as u64),
        Err(error) => {
            tracing::debug!(%error, "a program's output cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unfinished;

    #[test]
    fn the_begin_of_a_character_at_the_end_is_seen_and_nothing_else_is() {
        for text in ["a", "ä", "€", "😀", "\u{10ffff}"] {
            for end in 0..=text.len() {
                let cut = [b"xx", text.as_bytes().get(..end).unwrap_or_default()].concat();
                let expected = if end == text.len() { 0 } else { end };
                assert_eq!(unfinished(&cut), expected, "{text} {end}");
            }
        }
        // never part of a text: alone, overlong, half of a pair, beyond the last
        for end in
            [&[0x80][..], &[0xc0], &[0xc1], &[0xf5], &[0xff], &[0xe0, 0x80], &[0xed, 0xa0], &[0xf4, 0x90]]
        {
            assert_eq!(unfinished(end), 0, "{end:x?}");
        }
        assert_eq!((unfinished(b""), unfinished(&[0xff, 0xc3]), unfinished(&[0xc3, 0xc3])), (0, 1, 1));
    }
}
