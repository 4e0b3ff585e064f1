//! All uploads of an agent, and who adds to which.
//!
//! Beside the temporary file there is a note of it in the agent's state folder. By the notes the uploads are counted, and
//! found again when they are old, also after a restart. A file in one call has a note of another kind: nobody can go on with it, so it does not
//! count, and the next start removes what a dead agent left of it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use redpoll_config::FilesConfig;
use redpoll_net::random;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::error::FileError;
use super::hex;
use super::placed::Placed;
use super::upload::Part;
use crate::clock::boot_ms;

/// What the names of the notes end with: of uploads, and of files in one call.
pub(super) const UPLOAD: &str = "note";
pub(super) const WHOLE: &str = "whole";
/// How long chunks wait for those before them, and whoever comes for the work of others on the same upload.
const PATIENCE: Duration = Duration::from_secs(60);
/// Digits of an upload's name.
pub(super) const ID_LEN: usize = 32;

/// All uploads.
#[derive(Debug)]
pub(super) struct Uploads {
    folder: PathBuf,
    secret: OnceLock<[u8; 32]>,
    pub(super) max: usize,
    pub(super) age: Duration,
    /// When the agent began, by the boot-time clock in milliseconds.
    began_ms: u64,
    slots: Mutex<HashMap<OsString, Arc<Slot>>>,
    /// Those that are in their place, and nobody was told.
    pub(super) placed: Placed,
}

/// A note in the state folder that there is an upload.
#[derive(Debug)]
pub(super) struct Note(pub(super) PathBuf);

impl Note {
    /// Notes that an upload to `path` begins: on disk when it returns, so that no temporary file outlives its note when the power goes.
    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        let write = || {
            let mut file = fs::OpenOptions::new();
            let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&self.0)?;
            file.write_all(path.as_os_str().as_bytes())?;
            file.sync_all()?;
            self.0.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
        };
        write().map_err(|error| FileError::io("note an upload in", &self.0, &error))
    }

    /// Notes it once more when the note was lost: the power may go before it is on the disk.
    pub(super) fn keep(&self, path: &Path) {
        let is_lost = match fs::read(&self.0) {
            Ok(noted) => noted != path.as_os_str().as_bytes(),
            // one that cannot be read for the moment, for want of a descriptor say, may be as it was
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_lost && self.write(path).is_err() {
            self.forget();
        }
    }

    /// There is none any more.
    pub(super) fn forget(&self) {
        // what cannot be removed is found by the next sweep
        let _left = fs::remove_file(&self.0);
    }
}

/// An upload, and who works on it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    /// When somebody added to it last, by the boot-time clock in milliseconds; 0: nobody has since the agent began.
    added_ms: AtomicU64,
    changed: Notify,
}

#[derive(Debug, Default)]
enum State {
    /// Nobody has looked whether it is there.
    #[default]
    Unknown,
    /// Somebody works on it.
    Busy,
    /// It waits for more.
    Idle(Box<Part>),
    /// It is finished, removed or broken.
    Over(FileError),
    /// It is no upload's any more: look for the one of this name again.
    Stale,
}

/// Whose turn it is. Dropping it puts back what is there; where nothing is, it is forgotten, and whoever waits looks again.
#[derive(Debug)]
pub(super) struct Held {
    uploads: Arc<Uploads>,
    name: OsString,
    slot: Arc<Slot>,
    /// What is there; `None`: it has to be opened or begun.
    pub(super) part: Option<Box<Part>>,
    over: Option<FileError>,
    /// The bytes that were there before.
    before: Option<u64>,
}

impl Held {
    /// It is over; whoever comes later is told why.
    pub(super) fn end(mut self, why: FileError) {
        self.over = Some(why);
    }

    /// It was opened, or begun: it is there for the next.
    pub(super) fn found(mut self, part: Part) {
        self.before = Some(part.written);
        self.part = Some(Box::new(part));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let state = match (self.over.take(), self.part.take()) {
            (Some(why), _) => State::Over(why),
            (None, Some(part)) => State::Idle(part),
            (None, None) => State::Stale,
        };
        if !matches!(state, State::Idle(_)) {
            self.uploads.forget(&self.name, &self.slot);
        }
        if let State::Idle(part) = &state
            && self.before != Some(part.written)
        {
            self.slot.added_ms.store(boot_ms(), Ordering::Relaxed);
        }
        *self.slot.state() = state;
        self.slot.changed.notify_waiters();
    }
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        // nothing panics while it holds the lock
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one's turn, and takes what is there. `None`: look for the slot again.
    async fn take(&self, ready: impl Fn(u64) -> bool) -> Result<Option<Option<Box<Part>>>, FileError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let changed = self.changed.notified();
            match self.try_take(&ready)? {
                Taken::Stale => return Ok(None),
                Taken::Turn(part) => return Ok(Some(part)),
                Taken::Wait => {}
            }
            if timeout_at(deadline, changed).await.is_err() {
                if matches!(*self.state(), State::Busy) {
                    let text = "another copy of the same file is adding to this upload";
                    return Err(FileError::failed("Busy", text));
                }
                let text =
                    "the chunks before it did not come; ask with query what is there, and go on from that";
                return Err(FileError::failed("Gap", text));
            }
        }
    }

    fn try_take(&self, ready: &impl Fn(u64) -> bool) -> Result<Taken, FileError> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Busy) {
            State::Unknown => Ok(Taken::Turn(None)),
            State::Idle(part) if ready(part.written) => Ok(Taken::Turn(Some(part))),
            State::Busy => Ok(Taken::Wait),
            waiting @ State::Idle(_) => {
                *state = waiting;
                Ok(Taken::Wait)
            }
            State::Over(why) => {
                *state = State::Over(why.clone());
                Err(why)
            }
            State::Stale => {
                *state = State::Stale;
                Ok(Taken::Stale)
            }
        }
    }

    /// Ends what nobody works on; false when somebody does. What came is removed where it is: its folder may not be where it was.
    pub(super) fn end_idle(&self, why: FileError) -> bool {
        let before = {
            let mut state = self.state();
            if matches!(*state, State::Busy) {
                return false;
            }
            std::mem::replace(&mut *state, State::Over(why))
        };
        self.changed.notify_waiters();
        if let State::Idle(part) = before {
            part.discard();
        }
        true
    }
}

enum Taken {
    Turn(Option<Box<Part>>),
    Wait,
    Stale,
}

impl Uploads {
    pub(super) fn new(state: &Path, config: &FilesConfig) -> Self {
        Self {
            folder: state.join("uploads"),
            secret: OnceLock::new(),
            max: config.uploads,
            age: config.upload_age,
            began_ms: boot_ms(),
            slots: Mutex::default(),
            placed: Placed::default(),
        }
    }

    /// The name of the temporary file of an upload to `path`: nobody who does not know this agent's secret can say it
    /// before.
    pub(super) fn temporary(&self, upload: &str, path: &Path) -> Result<OsString, FileError> {
        let mut whole = self.secret()?.to_vec();
        whole.extend_from_slice(upload.as_bytes());
        whole.push(b'/');
        whole.extend_from_slice(path.as_os_str().as_bytes());
        let name = hex(digest(&SHA256, &whole).as_ref());
        Ok(format!(".redpoll-{}", name.get(..ID_LEN).unwrap_or_default()).into())
    }

    /// What makes the names of temporary files this agent's own; read from the state folder, or made, the first time.
    pub(super) fn secret(&self) -> Result<[u8; 32], FileError> {
        if let Some(secret) = self.secret.get() {
            return Ok(*secret);
        }
        let path = self.folder.join("secret");
        let failed = |error: &io::Error| FileError::io("use", &path, error);
        fs::create_dir_all(&self.folder).map_err(|error| failed(&error))?;
        let read = || fs::read(&path).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let secret = match read() {
            Some(secret) => secret,
            None => {
                let bytes = [random::bytes16(), random::bytes16()].concat();
                let mut file = fs::OpenOptions::new();
                let file = file.write(true).create(true).truncate(true).mode(0o600).open(&path);
                file.and_then(|mut file| file.write_all(&bytes)).map_err(|error| failed(&error))?;
                read().ok_or_else(|| failed(&io::Error::other("it is not what was written")))?
            }
        };
        Ok(*self.secret.get_or_init(|| secret))
    }

    /// The note of an upload whose temporary file has this name.
    pub(super) fn note(&self, temporary: &OsStr) -> Note {
        Note(self.folder.join(Path::new(temporary).with_extension(UPLOAD)))
    }

    /// The note of a file in one call.
    pub(super) fn note_of_whole(&self, temporary: &OsStr) -> Note {
        Note(self.folder.join(Path::new(temporary).with_extension(WHOLE)))
    }

    /// Waits for one's turn on the upload whose temporary file has this name: nobody else works on it, and `ready` says of the bytes that
    /// are there that it is time.
    pub(super) async fn take(
        self: &Arc<Self>,
        temporary: &OsStr,
        ready: impl Fn(u64) -> bool,
    ) -> Result<Held, FileError> {
        loop {
            let slot = self.slot(temporary);
            // between its answer and `Held` there is no wait at which it could be lost
            if let Some(part) = slot.take(&ready).await? {
                let (uploads, name) = (self.clone(), temporary.to_owned());
                let before = part.as_ref().map(|part| part.written);
                return Ok(Held { uploads, name, slot, part, over: None, before });
            }
        }
    }

    /// The upload whose temporary file has this name.
    pub(super) fn slot(&self, temporary: &OsStr) -> Arc<Slot> {
        self.slots().entry(temporary.to_owned()).or_default().clone()
    }

    /// For how long nobody has added to an upload, by a clock that nobody sets; zero while somebody works on it, and `None` where nobody has
    /// added to it since the agent began.
    pub(super) fn idle(&self, temporary: &OsStr) -> Option<Duration> {
        let slot = self.slots().get(temporary)?.clone();
        if matches!(*slot.state(), State::Busy) {
            return Some(Duration::ZERO);
        }
        let added_ms = slot.added_ms.load(Ordering::Relaxed);
        (added_ms > 0).then(|| Duration::from_millis(boot_ms().saturating_sub(added_ms)))
    }

    /// How long the agent has been there.
    pub(super) fn there_for(&self) -> Duration {
        Duration::from_millis(boot_ms().saturating_sub(self.began_ms))
    }

    /// Forgets an upload that is over, unless another of its name has begun.
    pub(super) fn forget(&self, temporary: &OsStr, slot: &Arc<Slot>) {
        let mut slots = self.slots();
        if slots.get(temporary).is_some_and(|found| Arc::ptr_eq(found, slot)) {
            slots.remove(temporary);
        }
    }

    /// How many uploads are known without a look at the disk.
    #[cfg(test)]
    pub(super) fn slots_kept(&self) -> usize {
        self.slots().len()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<OsString, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The notes of one kind.
    pub(super) fn notes(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == kind)).collect()
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::wire::{Fault, FaultCode};
    use tokio::time::sleep;

    use super::*;

    const ALWAYS: fn(u64) -> bool = |_written| true;

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_while_another_works_waits_and_is_told_at_last_that_it_is_busy() {
        let folder = tempfile::TempDir::new().unwrap();
        let uploads = Arc::new(Uploads::new(folder.path(), &FilesConfig::default()));
        let name = OsStr::new("x");
        let held = uploads.take(name, ALWAYS).await.unwrap();
        let began = Instant::now();
        let Err(busy) = uploads.take(name, ALWAYS).await else { panic!("two work on it") };
        assert_eq!(began.elapsed(), PATIENCE);
        let fault = Fault::from(busy);
        assert_eq!((fault.code, fault.class.as_deref()), (FaultCode::Failed, Some("Busy")));
        let slot = uploads.slot(name);
        assert!(!slot.end_idle(FileError::failed("Swept", "")), "nobody ends it under who works on it");
        let letting_go = async {
            sleep(PATIENCE / 2).await;
            drop(held);
        };
        let (next, ()) = tokio::join!(uploads.take(name, ALWAYS), letting_go);
        let next = next.unwrap();
        assert!(next.part.is_none(), "nothing was there, and it is to be looked for again");
        assert!(!Arc::ptr_eq(&next.slot, &slot) && slot.take(ALWAYS).await.unwrap().is_none());
        uploads.forget(name, &slot);
        assert_eq!(uploads.slots_kept(), 1, "what was forgotten before is not what is there now");
        drop(next);
        assert_eq!(uploads.slots_kept(), 0);
    }
}
