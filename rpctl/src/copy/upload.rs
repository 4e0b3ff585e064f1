//! One file to an agent.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redpoll_common::wire::RawMap;
use redpoll_net::random;
use rustix::fs::{Stat, fstat};
use tokio::time::Instant;

use super::local::{failed, fill, hash_next, hex, id_of, open_source, version};
use super::pace::{AT_ONCE, Pace};
use super::remote::{Failure, Looks, There, put};
use super::{Copy, Done};
use crate::exit::Exit;
use crate::report::Report;

/// A file up to this size goes in one call.
const SMALL: usize = 64 * 1024;
const WRITE: &str = "file.write";

/// What is uploaded.
enum Source<'s> {
    File { file: File, path: &'s Path, stat: Stat },
    Stream(Box<dyn Read + 's>),
}

impl Copy<'_> {
    /// Copies a local file.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn upload(&self, path: &Path, target: &Path) -> Result<Done, Failure> {
        let (file, stat) = open_source(path)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.meter.expect(size);
        let small = usize::try_from(size).is_ok_and(|size| size <= SMALL.min(self.remote.chunk_limit()));
        let source = Source::File { file, path, stat };
        if small { self.in_one_call(source, target).await } else { self.in_chunks(source, target).await }
    }

    /// Copies what standard input gives.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn upload_stream(&self, input: impl Read, target: &Path) -> Result<Done, Failure> {
        self.in_chunks(Source::Stream(Box::new(input)), target).await
    }

    /// With room for `bytes` of data.
    fn arguments(&self, target: &Path, bytes: usize) -> RawMap {
        put(RawMap::with_capacity(256 + target.as_os_str().len() + bytes), "path", target.as_os_str())
    }

    /// Mode and owner of what is written.
    fn manners(&self, mut map: RawMap, source: &Source<'_>) -> RawMap {
        if let Some(mode) = self.wishes.mode {
            map = map.uint("mode", mode.into());
        } else if let Source::File { stat, .. } = source {
            // what only its owner may read here is nobody else's there; and nobody else writes
            map = map.uint("new_mode", (stat.st_mode & 0o755).into());
        }
        map.opt_text("owner", self.wishes.owner.as_deref()).opt_text("group", self.wishes.group.as_deref())
    }

    async fn in_one_call(&self, mut source: Source<'_>, target: &Path) -> Result<Done, Failure> {
        let mut data = vec![0; SMALL];
        let len = source.read(&mut data)?;
        data.truncate(len);
        source.unchanged()?;
        let mut hash = Context::new(&SHA256);
        hash.update(&data);
        let sha256 = hex(&hash);
        let map = self.arguments(target, len).bin("data", &data).text("sha256", &sha256);
        let _looks: Looks = self.remote.call(WRITE, self.manners(map, &source).finish()).await?;
        let bytes = u64::try_from(len).unwrap_or(0);
        self.meter.copied(bytes);
        self.verified(target, &sha256).await?;
        Ok(Done { files: 1, bytes, ..Done::default() })
    }

    async fn in_chunks(&self, mut source: Source<'_>, target: &Path) -> Result<Done, Failure> {
        let id = self.id(&source, target);
        let with = |bytes| self.arguments(target, bytes).text("upload", &id);
        let upload = || with(0);
        let mut hash = Context::new(&SHA256);
        let resumed = match &mut source {
            Source::File { file, path, stat } if self.wishes.resume => {
                let there: There = self.remote.call(WRITE, upload().bool("query", true).finish()).await?;
                let known = there.size > 0 && there.size <= u64::try_from(stat.st_size).unwrap_or(0);
                if known {
                    hash_next(file, there.size, &mut hash).map_err(|error| failed("read", path, error))?;
                }
                if known && there.sha256.as_deref() == Some(hex(&hash).as_str()) {
                    there.size
                } else {
                    if there.size > 0 {
                        let _: There = self.remote.call(WRITE, upload().bool("abort", true).finish()).await?;
                    }
                    hash = Context::new(&SHA256);
                    source.rewind()?;
                    0
                }
            }
            Source::File { .. } | Source::Stream(_) => 0,
        };
        self.meter.copied(resumed);
        let bytes = self.send(&mut source, &with, &mut hash, resumed).await?;
        if let Err(changed) = source.unchanged() {
            let _: There = self.remote.call(WRITE, upload().bool("abort", true).finish()).await?;
            return Err(changed);
        }
        let sha256 = hex(&hash);
        let commit = upload().bool("commit", true).uint("size", bytes).text("sha256", &sha256);
        let _looks: Looks = self.remote.call(WRITE, self.manners(commit, &source).finish()).await?;
        self.verified(target, &sha256).await?;
        Ok(Done { files: 1, bytes, resumed, notes: Vec::new() })
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

    /// Sends the rest of the source, several chunks at a time, and gives the size of the whole.
    async fn send(
        &self,
        source: &mut Source<'_>,
        upload: &impl Fn(usize) -> RawMap,
        hash: &mut Context,
        from: u64,
    ) -> Result<u64, Failure> {
        let mut pace = Pace::new(self.remote.chunk_limit());
        let (mut on_the_way, mut offset, mut over) = (FuturesUnordered::new(), from, false);
        // the first chunk begins the upload: it goes alone
        let mut at_once = if from == 0 { 1 } else { AT_ONCE };
        let mut data = Vec::new();
        loop {
            while !over && on_the_way.len() < at_once {
                data.resize(pace.chunk(), 0);
                let len = source.read(&mut data)?;
                over = len < data.len();
                data.truncate(len);
                if data.is_empty() && offset > 0 {
                    break;
                }
                hash.update(&data);
                let chunk = upload(len).uint("offset", offset).bin("data", &data).finish();
                let (remote, len) = (self.remote, u64::try_from(len).unwrap_or(0));
                on_the_way.push(async move {
                    let sent = Instant::now();
                    remote.call::<There>(WRITE, chunk).await.map(|_there| (len, sent.elapsed()))
                });
                offset += len;
            }
            let Some(answered) = on_the_way.next().await else { return Ok(offset) };
            let (len, after) = answered?;
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

impl Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        match self {
            Self::File { file, path, .. } => fill(file, buffer).map_err(|error| failed("read", path, error)),
            Self::Stream(input) => {
                fill(input, buffer).map_err(|error| failed("read", Path::new("standard input"), error))
            }
        }
    }

    fn rewind(&mut self) -> Result<(), Failure> {
        match self {
            Self::File { file, path, .. } => {
                std::io::Seek::rewind(file).map_err(|error| failed("read", path, error))
            }
            Self::Stream(_) => Ok(()),
        }
    }

    /// Whether the file is what it was at the beginning.
    fn unchanged(&self) -> Result<(), Failure> {
        let Self::File { file, path, stat } = self else { return Ok(()) };
        let now = fstat(file).map_err(|errno| failed("look at", path, errno))?;
        if version(&now) == version(stat) {
            return Ok(());
        }
        let what = format!("{} was changed while it was copied", path.display());
        let help = "the old file on the agent is as it was; run the same command again";
        Err(Box::new(Report::new(Exit::Failed, what, "nothing half old and half new is written", help)))
    }
}
