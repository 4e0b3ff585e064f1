//! Files over connections of their own: a thread reads, hashes and sends, or receives, hashes and writes. What went over the connection is
//! compared over it, at its end: the manager is told neither the bytes nor their digest.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use redpoll_common::wire::RawMap;
use redpoll_net::tls::{DataEnd, DataError, Receipt, Stopped};
use rustix::fs::Stat;

use super::Copy;
use super::download::strange;
use super::local::{failed, fill, hex, unchanged};
use super::meter::Counter;
use super::remote::{Failure, Looks, ReadEnd};
use super::stream::{Connected, Way};

/// What went over a connection; or the file is to go in calls, with what is worth knowing about that.
pub(super) type Streamed<T> = Result<T, Vec<String>>;

/// Takes in what passes.
#[derive(Clone)]
struct Tally {
    /// The whole file.
    whole: Context,
    /// What passes; where that is all of it, the whole file is the same.
    rest: Option<Context>,
    len: u64,
}

impl Tally {
    fn new(whole: &Context, from: u64) -> Self {
        let rest = (from > 0).then(|| Context::new(&SHA256));
        Self { whole: whole.clone(), rest, len: 0 }
    }

    fn add(&mut self, bytes: &[u8]) -> u64 {
        self.whole.update(bytes);
        if let Some(rest) = &mut self.rest {
            rest.update(bytes);
        }
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.len = self.len.saturating_add(len);
        len
    }

    fn receipt(&self) -> Receipt {
        Receipt::of(self.len, self.rest.as_ref().unwrap_or(&self.whole))
    }
}

impl Copy<'_> {
    /// Sends what is left of a file after its first `from` bytes, `left` as it seems, and gives how many went.
    ///
    /// # Errors
    /// A [`Failure`]; what came there can be gone on with.
    pub(super) async fn upload_streamed(
        &self,
        (file, path, stat): (&File, &Path, &Stat),
        hash: &mut Context,
        (from, left): (u64, u64),
        fill: impl FnOnce(RawMap) -> RawMap,
    ) -> Result<Streamed<u64>, Failure> {
        let Connected { end, cutter, call } = match self.connect("file.write", left, fill).await? {
            Way::Stream(connected) => *connected,
            Way::Calls(notes) => return Ok(Err(notes)),
        };
        let file = file.try_clone().map_err(|error| failed("read", path, error))?;
        let source = Source { file, path: path.to_owned(), stat: *stat, counter: self.meter.counter() };
        let tally = Tally::new(hash, from);
        let moving = tokio::task::spawn_blocking(move || source.send(end, tally));
        let (tally, answer) = self.both("file.write", call, cutter, moving).await?;
        let _looks: Looks = self.remote.read("file.write", &answer)?;
        *hash = tally.whole;
        Ok(Ok(tally.len))
    }

    /// Takes what is left of a file.
    ///
    /// # Errors
    /// A [`Failure`]
    pub(super) async fn download_streamed(
        &self,
        (source, looks, from): (&Path, &Looks, u64),
        hash: &mut Context,
        (file, path): (&File, &Path),
    ) -> Result<Streamed<ReadEnd>, Failure> {
        let left = looks.size - from;
        if from > 0 && self.wants_stream(left) {
            // what is here of it is compared before anybody dials: a long file takes its time
            let there: ReadEnd = self.remote.call("file.hash", looks.hashing(source, from)).await?;
            if there.sha256.as_deref() != Some(hex(hash).as_str()) {
                return Err(strange(&self.remote.agent, "the sha256 of what came is not that of the file"));
            }
        }
        let connected = self.connect("file.read", left, looks.reading(source, from, false)).await?;
        let Connected { end, cutter, call } = match connected {
            Way::Stream(connected) => *connected,
            Way::Calls(notes) => return Ok(Err(notes)),
        };
        let file = file.try_clone().map_err(|error| failed("write", path, error))?;
        let (agent, path, counter) = (self.remote.agent.clone(), path.to_owned(), self.meter.counter());
        let target = Target { agent, path, file, left, counter };
        let tally = Tally::new(hash, from);
        let moving = tokio::task::spawn_blocking(move || target.receive(end, tally));
        let (tally, answer) = self.both("file.read", call, cutter, moving).await?;
        *hash = tally.whole;
        Ok(Ok(self.remote.read("file.read", &answer)?))
    }
}

/// A file that is sent from where it stands to its end.
struct Source {
    file: File,
    path: PathBuf,
    stat: Stat,
    counter: Counter,
}

impl Source {
    fn send(mut self, end: DataEnd, mut tally: Tally) -> Result<Tally, Stopped<Failure>> {
        let mut end = end.send(|block| {
            let read = fill(&mut self.file, block).map_err(|error| failed("read", &self.path, error))?;
            if read == 0 {
                // with this it would be put in its place
                unchanged(&self.file, &self.path, &self.stat)?;
            }
            self.counter.copied(tally.add(block.get(..read).unwrap_or_default()));
            Ok(read)
        })?;
        end.hear_receipt(tally.receipt()).map_err(not_heard)?;
        Ok(tally)
    }
}

/// A file that is taken.
struct Target {
    agent: String,
    path: PathBuf,
    file: File,
    left: u64,
    counter: Counter,
}

impl Target {
    fn receive(mut self, end: DataEnd, mut tally: Tally) -> Result<Tally, Stopped<Failure>> {
        let received = end.receive(|bytes| {
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > self.left {
                return Err(strange(&self.agent, "more bytes came than the file has"));
            }
            self.file.write_all(bytes).map_err(|error| failed("write", &self.path, error))?;
            let len = tally.add(bytes);
            self.left -= len;
            self.counter.copied(len);
            Ok(())
        });
        let mut end = received?;
        if self.left > 0 {
            return Err(Stopped::Here(strange(&self.agent, "fewer bytes came than the file has")));
        }
        end.say_receipt(tally.receipt()).map_err(not_heard)?;
        Ok(tally)
    }
}

fn not_heard(error: DataError) -> Stopped<Failure> {
    Stopped::Connection(io::Error::other(crate::report::chain(&error)))
}
