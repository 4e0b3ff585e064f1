//! Runs that the manager does not know yet, on disk: one file each, whole or not there.
//!
//! ```text
//! 00000000000000000007.run    it runs; what is told of it should the agent die: that nobody knows how it ended
//! 00000000000000000008.end    it ended; goes when the manager has it
//! dropped                     how many went untold for want of room
//! ```
//!
//! A file is written beside its place, made durable, and renamed. Numbers only grow, and are the order. All of this blocks:
//! `Shared` does it where that harms nobody.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use redpoll_common::wire::Raw;
use redpoll_config::{PermissionError, check_state_dir};
use tokio::sync::Notify;
use tracing::{error, warn};

use super::record::Kept;
use crate::exec::is_no_room;

/// How many untold runs there may be, and how many bytes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxOptions {
    /// Runs that ended.
    pub max_records: usize,
    /// Bytes of their files.
    pub max_bytes: u64,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self { max_records: 1_000, max_bytes: 16 * 1024 * 1024 }
    }
}

/// Why an outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Others can reach its folder.
    #[error(transparent)]
    Permissions(#[from] PermissionError),
    /// It cannot be read, or nothing can be written to it.
    #[error("the outbox of recurring procedures in {} cannot be used", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

const RUN: &str = "run";
const END: &str = "end";
const PART: &str = "part";
const DROPPED: &str = "dropped";
/// The largest file that is read: a frame is no larger.
const MAX_FILE: u64 = 17 * 1024 * 1024;

/// The files of one agent.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    handle: File,
    options: OutboxOptions,
    /// The runs that ended, with the bytes of their files.
    ended: BTreeMap<u64, u64>,
    next: u64,
    dropped: u64,
    /// The one that is on its way to the manager: it is not dropped meanwhile.
    telling: Option<u64>,
}

impl Outbox {
    /// Opens the folder, or makes it. What ran when the agent ended has ended now: nobody knows how.
    ///
    /// # Errors
    /// [`OutboxError`]. A file that holds something else is no error: it is dropped when its turn comes, and counted.
    pub fn open(folder: &Path, options: OutboxOptions) -> Result<Self, OutboxError> {
        check_state_dir(folder)?;
        let failed = |source| OutboxError::Io { path: folder.to_owned(), source };
        let handle = File::open(folder).map_err(failed)?;
        let dropped = fs::read_to_string(folder.join(DROPPED)).ok();
        let dropped = dropped.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let (folder, ended) = (folder.to_owned(), BTreeMap::new());
        let mut outbox = Self { folder, handle, options, ended, next: 1, dropped, telling: None };
        outbox.take_in().map_err(failed)?;
        Ok(outbox)
    }

    fn take_in(&mut self) -> io::Result<()> {
        let mut running = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((number, kind)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            self.next = self.next.max(number.saturating_add(1));
            match kind {
                END => _ = self.ended.insert(number, entry.metadata()?.len()),
                RUN => running.push(number),
                // never finished, so nothing was said of it
                PART => fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        for number in running {
            if self.ended.contains_key(&number) {
                fs::remove_file(self.path(number, RUN))?;
            } else {
                fs::rename(self.path(number, RUN), self.path(number, END))?;
                self.ended.insert(number, fs::metadata(self.path(number, END))?.len());
            }
        }
        self.handle.sync_all()?;
        self.make_room();
        Ok(())
    }

    /// Notes that a run begins, with what is told of it should nothing better come. Gives its number.
    ///
    /// # Errors
    /// What the operating system said; nothing is noted then.
    pub fn begin(&mut self, run: &Kept) -> io::Result<u64> {
        let number = self.next;
        self.write(&self.path(number, RUN), number, run.write().as_bytes())?;
        self.next = self.next.saturating_add(1);
        Ok(number)
    }

    /// Keeps what is to be told of a run. What cannot be kept is counted.
    pub fn finish(&mut self, number: Option<u64>, run: &Kept) {
        let number = number.unwrap_or(self.next);
        self.next = self.next.max(number.saturating_add(1));
        let data = run.write();
        match self.write(&self.path(number, END), number, data.as_bytes()) {
            Ok(()) => _ = self.ended.insert(number, u64::try_from(data.len()).unwrap_or(u64::MAX)),
            Err(error) => {
                warn!(%error, schedule = ?run.run.schedule, "a run cannot be written down; it is counted as lost");
                self.count(1);
            }
        }
        // a note that cannot be removed is passed over at the next start, because there is an end
        let _gone = fs::remove_file(self.path(number, RUN));
        self.make_room();
    }

    /// The oldest run that ended, to be told; and how many were dropped. What makes no sense, or is gone, is dropped.
    ///
    /// # Errors
    /// What is there cannot be read now: to be tried again, nothing of it is dropped.
    pub fn oldest(&mut self) -> io::Result<Option<(u64, Kept, u64)>> {
        let numbers: Vec<u64> = self.ended.keys().copied().collect();
        let mut unread = Ok(None);
        for number in numbers {
            match self.read(number) {
                Ok(kept) => {
                    self.telling = Some(number);
                    return Ok(Some((number, kept, self.dropped)));
                }
                Err(Unread::Now(error)) if is_no_room(&error) => return Err(error),
                // a bad place of the disk does not hold up those after it
                Err(Unread::Now(error)) => {
                    let said = format!("{}: {error}", self.path(number, END).display());
                    unread = Err(io::Error::new(error.kind(), said));
                }
                Err(Unread::Ever(error)) => {
                    error!(%error, file = %self.path(number, END).display(), "a run in the outbox cannot be read; it is lost");
                    self.forget(number);
                    self.count(1);
                }
            }
        }
        unread
    }

    /// The manager has it, and knows of so many dropped ones.
    pub fn told(&mut self, number: u64, dropped: u64) {
        self.telling = None;
        self.forget(number);
        if dropped > 0 {
            self.dropped = self.dropped.saturating_sub(dropped);
            self.write_dropped();
        }
    }

    /// The manager will never take it.
    pub fn refused(&mut self, number: u64) {
        self.telling = None;
        self.forget(number);
        self.count(1);
    }

    /// How many runs wait to be told.
    pub fn len(&self) -> usize {
        self.ended.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    fn forget(&mut self, number: u64) {
        self.ended.remove(&number);
        if let Err(error) = fs::remove_file(self.path(number, END)) {
            // told again after the next start, which is harmless
            warn!(%error, "a run that was told cannot be removed from the outbox");
        }
    }

    fn make_room(&mut self) {
        let mut bytes: u64 = self.ended.values().sum();
        let mut dropped = 0;
        while self.ended.len() > self.options.max_records || bytes > self.options.max_bytes {
            let oldest = self.ended.iter().find(|(number, _)| Some(**number) != self.telling);
            let Some((number, len)) = oldest.map(|(number, len)| (*number, *len)) else { break };
            self.forget(number);
            bytes = bytes.saturating_sub(len);
            dropped += 1;
        }
        if dropped > 0 {
            warn!(dropped, "the outbox of recurring procedures is full; the oldest runs are lost");
            self.count(dropped);
        }
    }

    fn count(&mut self, dropped: u64) {
        self.dropped = self.dropped.saturating_add(dropped);
        self.write_dropped();
    }

    fn write_dropped(&self) {
        let text = format!("{}\n", self.dropped);
        if let Err(error) = self.write(&self.folder.join(DROPPED), 0, text.as_bytes()) {
            warn!(%error, "how many runs were lost cannot be written down");
        }
    }

    fn read(&self, number: u64) -> Result<Kept, Unread> {
        let path = self.path(number, END);
        let len = fs::metadata(&path)?.len();
        if len > MAX_FILE {
            return Err(Unread::Ever(format!("it has {len} bytes; the limit is {MAX_FILE}")));
        }
        let bytes = fs::read(&path)?;
        let raw = Raw::parse_own(Bytes::from(bytes)).map_err(|error| Unread::Ever(error.to_string()))?;
        Kept::read(&raw).map_err(|error| Unread::Ever(error.to_string()))
    }

    fn write(&self, path: &Path, number: u64, bytes: &[u8]) -> io::Result<()> {
        let part = self.path(number, PART);
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&part, path)?;
            self.handle.sync_all()
        })();
        if written.is_err() {
            let _gone = fs::remove_file(&part);
        }
        written
    }

    fn path(&self, number: u64, kind: &str) -> PathBuf {
        self.folder.join(format!("{number:020}.{kind}"))
    }
}

/// Why a file was not read.
enum Unread {
    /// It may be another time: there is no descriptor, or the disk does not answer.
    Now(io::Error),
    /// It is gone, or what it holds is no run.
    Ever(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        let is_gone = error.kind() == io::ErrorKind::NotFound;
        if is_gone { Self::Ever(error.to_string()) } else { Self::Now(error) }
    }
}

/// The outbox, for the tasks of an agent.
#[derive(Debug)]
pub(super) struct Shared {
    outbox: Mutex<Outbox>,
    /// Wakes the one who tells.
    more: Notify,
}

impl Shared {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self { outbox: Mutex::new(outbox), more: Notify::new() }
    }

    /// Works on the files, away from the agent's one thread. `None` when the work has panicked.
    pub(super) async fn with<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Outbox) -> R + Send + 'static,
    ) -> Option<R> {
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut shared.outbox.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.ok()
    }

    /// Keeps what is to be told of a run.
    pub(super) async fn finish(self: &Arc<Self>, number: Option<u64>, run: Kept) {
        let _done = self.with(move |outbox| outbox.finish(number, &run)).await;
        self.more.notify_one();
    }

    /// Waits for something new.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }
}
