//! One file to an agent.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use redpoll_common::wire::RawMap;
use redpoll_net::random;
use rustix::fs::Stat;
use tokio::time::Instant;

use super::input::{Input, filled};
use super::local::{failed, hash_aside, hex, id_of, open_source, unchanged, version};
use super::pace::{AT_ONCE, Pace};
use super::remote::{Failure, Looks, NotTaken, There, at};
use super::streamed::Streamed;
use super::{Copy, Done};
use crate::cli::Via;
use crate::exit::Exit;
use crate::report::Report;

/// A file up to this size goes in one call.
const SMALL: usize = 64 * 1024;
/// Bytes of arguments beside path and data, about.
const AROUND: usize = 256;
const WRITE: &str = "file.write";

/// What is uploaded.
enum Source<'s> {
    File { file: File, path: &'s Path, stat: Stat },
    Stream(Input),
}

impl Copy<'_> {
    /// Copies a local file. One that takes longer than the agent lets a call take goes on where it was.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn upload(&self, path: &Path, target: &Path) -> Result<Done, Failure> {
        let size = u64::try_from(open_source(path)?.1.st_size).unwrap_or(0);
        self.meter.expect(size);
        let (begin, mut had) = (self.meter.position(), 0);
        loop {
            let failure = match self.upload_once(path, target).await {
                Err(failure) if failure.exit == Exit::TimedOut && self.wishes.resume => failure,
                ended => return ended,
            };
            let is_over = self.remote.deadline().is_some_and(|deadline| deadline <= Instant::now());
            if is_over || !self.wants_stream(size) {
                return Err(failure);
            }
            // what counts is what came, and not what was sent
            let there = self.there(path, target).await?;
            if there <= had {
                return Err(failure);
            }
            had = there;
            self.meter.back_to(begin);
        }
    }

    /// How much of a file's upload is there.
    async fn there(&self, path: &Path, target: &Path) -> Result<u64, Failure> {
        let (file, stat) = open_source(path)?;
        let id = self.id(&Source::File { file, path, stat }, target);
        let query = |map| at(target)(map).text("upload", &id).bool("query", true);
        Ok(self.remote.call::<There>(WRITE, query).await?.size)
    }

    async fn upload_once(&self, path: &Path, target: &Path) -> Result<Done, Failure> {
        let (file, stat) = open_source(path)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let small = usize::try_from(size).is_ok_and(|size| size <= SMALL.min(self.remote.chunk_limit()));
        let source = Source::File { file, path, stat };
        let in_one = small && self.wishes.via != Via::Stream;
        if in_one { self.in_one_call(source, target).await } else { self.in_chunks(source, target).await }
    }

    /// Copies what standard input gives.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn upload_stream(
        &self,
        input: impl Read + Send + 'static,
        target: &Path,
    ) -> Result<Done, Failure> {
        self.in_chunks(Source::Stream(Input::new(input, self.remote.deadline())), target).await
    }

    /// Mode and owner of what is written.
    fn manners(&self, map: RawMap, source: &Source<'_>) -> RawMap {
        let map = match (self.wishes.mode, source) {
            (Some(mode), _) => map.uint("mode", mode.into()),
            // what only its owner may read here is nobody else's there; and nobody else writes
            (None, Source::File { stat, .. }) => map.uint("new_mode", (stat.st_mode & 0o755).into()),
            (None, Source::Stream(_)) => map,
        };
        map.opt_text("owner", self.wishes.owner.as_deref()).opt_text("group", self.wishes.group.as_deref())
    }

    async fn in_one_call(&self, mut source: Source<'_>, target: &Path) -> Result<Done, Failure> {
        let (data, _ended) = source.read(SMALL).await?;
        let len = data.len();
        source.unchanged()?;
        let mut hash = Context::new(&SHA256);
        hash.update(&data);
        let sha256 = hex(&hash);
        let whole = |map| self.manners(at(target)(map).bin("data", &data).text("sha256", &sha256), &source);
        let arguments = self.remote.arguments(WRITE, target.as_os_str().len() + len + AROUND, whole);
        let _looks: Looks = self.remote.call_with(WRITE, arguments).await?;
        let bytes = u64::try_from(len).unwrap_or(0);
        self.meter.copied(bytes);
        self.verified(target, &sha256).await?;
        Ok(Done { files: 1, bytes, ..Done::default() })
    }

    async fn in_chunks(&self, mut source: Source<'_>, target: &Path) -> Result<Done, Failure> {
        let id = self.id(&source, target);
        let upload = |map| at(target)(map).text("upload", &id);
        let mut hash = Context::new(&SHA256);
        let resumed = match &mut source {
            Source::File { file, path, stat } if self.wishes.resume => {
                let there: There = self.remote.call(WRITE, |map| upload(map).bool("query", true)).await?;
                let known = there.size > 0 && there.size <= u64::try_from(stat.st_size).unwrap_or(0);
                if known {
                    let hashed = hash_aside(file, there.size, hash).await;
                    hash = hashed.map_err(|error| failed("read", path, error))?;
                }
                if known && there.sha256.as_deref() == Some(hex(&hash).as_str()) {
                    there.size
                } else {
                    if there.size > 0 {
                        let _: There = self.remote.call(WRITE, |map| upload(map).bool("abort", true)).await?;
                    }
                    hash = Context::new(&SHA256);
                    source.rewind()?;
                    0
                }
            }
            Source::File { .. } | Source::Stream(_) => 0,
        };
        self.meter.copied(resumed);
        let notes = match self.streamed(&source, target, &id, (&mut hash, resumed)).await? {
            Ok(done) => return Ok(done),
            Err(notes) => notes,
        };
        let bytes = self.send(&mut source, target, &id, (&mut hash, resumed)).await?;
        source.unchanged_or_abort(self, target, &id).await?;
        let sha256 = hex(&hash);
        let commit = |map| upload(map).bool("commit", true).uint("size", bytes).text("sha256", &sha256);
        let _looks: Looks = self.remote.call(WRITE, |map| self.manners(commit(map), &source)).await?;
        self.verified(target, &sha256).await?;
        Ok(Done { files: 1, bytes, resumed, streamed: 0, notes, untold: 0 })
    }

    /// The name of the upload: of the same file to the same place it is the same, so that it can be gone on with.
    fn id(&self, source: &Source<'_>, target: &Path) -> String {
        match source {
            Source::File { path, stat, .. } if self.wishes.resume => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
                let found = format!("{:?} {}", version(stat), stat.st_dev);
                let (path, target) = (path.as_os_str().as_bytes(), target.as_os_str().as_bytes());
                id_of(&[self.remote.agent.as_bytes(), target, path, found.as_bytes()])
            }
            Source::File { .. } | Source::Stream(_) => id_of(&[&random::bytes16(), &random::bytes16()]),
        }
    }

    /// Sends the rest of the source over a connection of its own, and has it put in its place.
    async fn streamed(
        &self,
        source: &Source<'_>,
        target: &Path,
        id: &str,
        (hash, from): (&mut Context, u64),
    ) -> Result<Streamed<Done>, Failure> {
        let Source::File { file, path, stat } = source else { return Ok(Err(Vec::new())) };
        let left = u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(from);
        if left == 0 && from > 0 {
            // all of it is there, perhaps in its place already: nothing is left but to say so
            return Ok(Err(Vec::new()));
        }
        let rest = |map| at(target)(map).text("upload", id).uint("offset", from).bool("commit", true);
        let fill = |map| self.manners(rest(map), source);
        let sent = match self.upload_streamed((file, path, stat), hash, (from, left), fill).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(notes)) => return Ok(Err(notes)),
            Err(failure) => {
                source.unchanged_or_abort(self, target, id).await?;
                return Err(failure);
            }
        };
        self.verified(target, &hex(hash)).await?;
        let (bytes, resumed, streamed) = (from + sent, from, sent);
        Ok(Ok(Done { files: 1, bytes, resumed, streamed, ..Done::default() }))
    }

    /// Sends the rest of the source, several chunks at a time, and gives the size of the whole.
    async fn send(
        &self,
        source: &mut Source<'_>,
        target: &Path,
        id: &str,
        (hash, from): (&mut Context, u64),
    ) -> Result<u64, Failure> {
        let mut pace = Pace::new(self.remote.chunk_limit());
        let (mut on_the_way, mut offset, mut over) = (FuturesUnordered::new(), from, false);
        // the first chunk begins the upload: it goes alone
        let mut at_once = if from == 0 { 1 } else { AT_ONCE };
        loop {
            let wants = pace.chunk();
            let reads = !over && on_the_way.len() < at_once;
            // what was read leaves while more is waited for
            let answered = tokio::select! {
                biased;
                Some(answered) = on_the_way.next() => answered,
                data = source.read(wants), if reads => {
                    let (data, ended) = data?;
                    over = ended;
                    if data.is_empty() && offset > 0 {
                        continue;
                    }
                    hash.update(&data);
                    let chunk =
                        |map| at(target)(map).text("upload", id).uint("offset", offset).bin("data", &data);
                    let bytes = target.as_os_str().len() + data.len() + AROUND;
                    let chunk = self.remote.arguments(WRITE, bytes, chunk);
                    let (remote, len) = (self.remote, u64::try_from(data.len()).unwrap_or(0));
                    on_the_way.push(async move {
                        let sent = Instant::now();
                        remote.chunk(WRITE, chunk).await.map(|()| (len, sent.elapsed()))
                    });
                    offset += len;
                    continue;
                }
                else => return Ok(offset),
            };
            let (len, after) = match answered {
                Ok(taken) => taken,
                Err(NotTaken { failure, follows }) => {
                    let cause = if follows { cause(on_the_way).await } else { None };
                    return Err(cause.unwrap_or(failure));
                }
            };
            pace.answered(after);
            self.meter.copied(len);
            at_once = AT_ONCE;
        }
    }

    async fn verified(&self, target: &Path, sha256: &str) -> Result<(), Failure> {
        if !self.wishes.verify || self.remote.sha256(target).await?.as_deref() == Some(sha256) {
            return Ok(());
        }
        let what = format!("{}: {} is not what was copied", self.remote.agent, target.display());
        let help = "somebody else may have written it; run the same command again";
        Err(Box::new(Report::new(Exit::Failed, what, "its sha256 is another", help)))
    }
}

/// What went wrong first, among the chunks that are still on the way: answers come in any order.
async fn cause<T>(mut on_the_way: impl Stream<Item = Result<T, NotTaken>> + Unpin) -> Option<Failure> {
    while let Some(answered) = on_the_way.next().await {
        if let Err(NotTaken { failure, follows: false }) = answered {
            return Some(failure);
        }
    }
    None
}

impl Source<'_> {
    /// The next bytes: so many, or what is left, and whether it ends with them. Cancel-safe.
    async fn read(&mut self, wants: usize) -> Result<(Vec<u8>, bool), Failure> {
        match self {
            Self::File { file, path, .. } => filled(file, wants).map_err(|error| failed("read", path, error)),
            Self::Stream(input) => input.read(wants).await,
        }
    }

    fn rewind(&mut self) -> Result<(), Failure> {
        match self {
            Self::File { file, path, .. } => {
                io::Seek::rewind(file).map_err(|error| failed("read", path, error))
            }
            Self::Stream(_) => Ok(()),
        }
    }

    /// Removes the upload when the file is not what it was at the beginning any more.
    async fn unchanged_or_abort(&self, copy: &Copy<'_>, target: &Path, id: &str) -> Result<(), Failure> {
        if let Err(changed) = self.unchanged() {
            let abort = |map| at(target)(map).text("upload", id).bool("abort", true);
            let _: There = copy.remote.call(WRITE, abort).await?;
            return Err(changed);
        }
        Ok(())
    }

    /// Whether the file is what it was at the beginning.
    fn unchanged(&self) -> Result<(), Failure> {
        let Self::File { file, path, stat } = self else { return Ok(()) };
        unchanged(file, path, stat)
    }
}
