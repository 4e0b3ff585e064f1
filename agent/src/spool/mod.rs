//! The agent's spool on disk: what [the rules](redpoll_common::job::spool) tell it to write down, durable before anything that
//! relies on it happens.
//!
//! A folder (0700) with numbered journal files (0600), each a head and checksummed blocks (`block.rs` has the bytes). One
//! thread writes: it takes what is queued, writes it as one block, syncs, and only then says so. Files are begun anew when
//! they are long, and deleted oldest first once nothing in them matters; what still does is copied on.
//!
//! At the start everything is read and checked. An incomplete last block is what a crash leaves: it was never
//! acknowledged, and goes. Any other damage is an error that names the file; nothing is guessed.
//!
//! When the disk is full, [`Spool::full`] says so while there is still a reserve, allocated ahead, for the endings of the runs
//! that are there. Should even that be used up, what is to be written waits for room. When writing fails otherwise, or syncing,
//! the spool calls the hook it was opened with and does nothing any more: after a failed sync nobody knows what is on disk, so
//! that the process should end and start anew.

mod block;
mod crc;
mod error;
mod index;
mod journal;
mod open;
mod secrets;
mod space;
mod writer;

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use redpoll_common::job::spool::{Image, Record};
use redpoll_common::job::{Dno, Item};
use tokio::sync::{mpsc, oneshot, watch};

pub use error::{OpenError, SpoolError};
pub use space::allocate;
use writer::Command;

/// Commands that may wait for the writer; who has more waits, which slows down its run and nobody else.
pub const QUEUE: usize = 256;

/// How a spool is kept.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// A journal file that is longer is followed by a new one, in bytes.
    pub file_bytes: u64,
    /// What is kept free beyond what is written, in bytes; more is kept for each run that may have to be ended.
    pub reserve: u64,
    /// How a file is synced. Tests make it fail.
    pub sync: fn(&File) -> io::Result<()>,
    /// How the time between two looks is passed: at a lock that somebody else has, at a disk without any room. Tests see by it that
    /// it is waited for.
    pub pause: fn(Duration),
    /// How room is reserved from an offset on. Tests make it fail.
    pub allocate: fn(&File, u64, u64) -> io::Result<()>,
}

/// More than a runner has yet to write when it hears that the disk is full: output that it took already, and what waits in the
/// channel of all runs.
const RESERVE: u64 = 8 * 1024 * 1024;

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            file_bytes: 8 * 1024 * 1024,
            reserve: RESERVE,
            sync: File::sync_data,
            pause: std::thread::sleep,
            allocate,
        }
    }
}

/// A handle on the spool. Cheap to clone; the last one that goes ends the writer.
#[derive(Debug, Clone)]
pub struct Spool {
    commands: mpsc::Sender<Command>,
    full: watch::Receiver<bool>,
}

/// A spool as it was found.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub spool: Spool,
    /// Which spool it is: random, made with its folder. Another id than last time means that the older spool is lost.
    pub id: [u8; 16],
    /// What it says.
    pub image: Image,
}

impl Spool {
    /// Opens the spool in a folder, or begins one. Reads all of it: call it where blocking is allowed.
    ///
    /// `on_failure` is called at most once, on the writer's thread, when something cannot be written or synced any
    /// more; it should say so and abort the process.
    ///
    /// # Errors
    /// [`OpenError`], with a help for the person who has to look into it.
    pub fn open(
        folder: &Path,
        options: OpenOptions,
        on_failure: impl FnOnce(&SpoolError) + Send + 'static,
    ) -> Result<Opened, OpenError> {
        let (journal, image) = open::open(folder, options)?;
        let id = journal.spool;
        let (commands, queue) = mpsc::channel(QUEUE);
        let (full_sender, full) = watch::channel(journal.space.is_full());
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer::run(journal, queue, &full_sender, on_failure))
            .map_err(OpenError::io("start the thread that writes", folder))?;
        Ok(Opened { spool: Self { commands, full }, id, image })
    }

    /// Refuses a spool that others may use, without opening it. One that is not there is good.
    ///
    /// # Errors
    /// [`OpenError::Loose`], or that it cannot be looked at.
    pub fn look(folder: &Path) -> Result<(), OpenError> {
        open::look(folder)
    }

    /// Queues records, to be written together, all or none, after what was queued before. Waits only for room in the queue.
    ///
    /// # Errors
    /// [`SpoolError::Closed`].
    pub async fn append(&self, records: Vec<Record>) -> Result<Durable, SpoolError> {
        let (done, durable) = oneshot::channel();
        self.commands.send(Command::Append { records, done }).await.map_err(|_closed| SpoolError::Closed)?;
        Ok(Durable(durable))
    }

    /// Says that the arguments of a run must not be kept longer than the run: once it is gone, the files that hold them go soon.
    ///
    /// # Errors
    /// [`SpoolError::Closed`].
    pub async fn has_secrets(&self, dno: Dno) -> Result<(), SpoolError> {
        self.commands.send(Command::HasSecrets(dno)).await.map_err(|_closed| SpoolError::Closed)
    }

    /// Reads items of a run back, from number `from` on: about `bytes` bytes, at least one item if it is there and not
    /// acknowledged.
    ///
    /// # Errors
    /// [`SpoolError`] when the disk cannot be read, or holds something else than was written. Ask again when it
    /// [passes](SpoolError::passes).
    pub async fn load(&self, dno: Dno, from: u64, bytes: u64) -> Result<Vec<Item>, SpoolError> {
        let (done, loaded) = oneshot::channel();
        let command = Command::Load { dno, from, bytes, done };
        self.commands.send(command).await.map_err(|_closed| SpoolError::Closed)?;
        loaded.await.unwrap_or(Err(SpoolError::Closed))
    }

    /// Whether the disk is full down to the reserve: to be passed on to the rules as it changes.
    pub fn full(&self) -> watch::Receiver<bool> {
        self.full.clone()
    }

    /// Looks again whether the disk has room. Call it every second while it is full: nobody tells when others make room.
    ///
    /// # Errors
    /// [`SpoolError::Closed`].
    pub async fn check_space(&self) -> Result<(), SpoolError> {
        self.commands.send(Command::CheckSpace).await.map_err(|_closed| SpoolError::Closed)
    }

    /// Writes what is queued and ends the writer; returns when the folder is free for another process.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close { done }).await.is_ok() {
            // an error means that it ended before
            let _ended = closed.await;
        }
    }
}

/// Tells when queued records are on disk.
#[derive(Debug)]
#[must_use = "nothing that relies on the records may happen before this says that they are on disk"]
pub struct Durable(oneshot::Receiver<Result<(), SpoolError>>);

impl Durable {
    /// Waits until the records are on disk.
    ///
    /// # Errors
    /// [`SpoolError`]: they may be on disk or not, and nothing will be any more.
    pub async fn wait(self) -> Result<(), SpoolError> {
        self.0.await.unwrap_or(Err(SpoolError::Closed))
    }

    /// The same for threads that may block.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn blocking_wait(self) -> Result<(), SpoolError> {
        self.0.blocking_recv().unwrap_or(Err(SpoolError::Closed))
    }
}

/// The name of a journal file.
fn file_name(number: u64) -> String {
    format!("journal-{number:016x}")
}
