//! All uploads of an agent: who adds to which, how many there are, and what becomes of those that nobody ends.
//!
//! Beside the temporary file there is a note of it in the agent's state folder. By the notes the uploads are counted, and
//! found again when they are old, also after a restart.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use redpoll_config::FilesConfig;
use redpoll_net::random;
use rustix::fs::{AtFlags, statat, unlinkat};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::error::FileError;
use super::open::walk;
use super::path::Need;
use super::placed::Placed;
use super::upload::{Part, is_ours};
use super::{Files, hex};

/// How long chunks wait for those before them, and whoever comes for the work of others on the same upload.
const PATIENCE: Duration = Duration::from_secs(60);
/// Digits of an upload's name.
pub(super) const ID_LEN: usize = 32;
/// A note without a file is forgotten after this long: until then its file may be about to be made.
const NOTE_ALONE: Duration = Duration::from_secs(60);

/// All uploads.
#[derive(Debug)]
pub(super) struct Uploads {
    folder: PathBuf,
    secret: OnceLock<[u8; 32]>,
    max: usize,
    age: Duration,
    slots: Mutex<HashMap<OsString, Arc<Slot>>>,
    /// Those that are in their place, and nobody was told.
    pub(super) placed: Placed,
}

/// A note in the state folder that there is an upload.
#[derive(Debug)]
pub(super) struct Note(PathBuf);

impl Note {
    /// Notes that an upload to `path` begins.
    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        let failed = |error| FileError::io("note an upload in", &self.0, &error);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.0);
        file.and_then(|mut file| file.write_all(path.as_os_str().as_bytes())).map_err(failed)
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

/// Whose turn it is. Dropping it puts back what is there.
#[derive(Debug)]
pub(super) struct Held {
    slot: Arc<Slot>,
    /// What is there; `None`: it has to be opened or begun.
    pub(super) part: Option<Box<Part>>,
    over: Option<State>,
}

impl Held {
    /// It is over; whoever comes later is told why.
    pub(super) fn end(mut self, why: FileError) {
        self.over = Some(State::Over(why));
    }

    /// It was opened, or begun: it is there for the next.
    pub(super) fn found(mut self, part: Part) {
        self.part = Some(Box::new(part));
    }

    /// There is no such upload; whoever waits here looks again.
    pub(super) fn leave(mut self) {
        self.over = Some(State::Stale);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let back = self.part.take().map_or(State::Unknown, State::Idle);
        *self.slot.state() = self.over.take().unwrap_or(back);
        self.slot.changed.notify_waiters();
    }
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        // nothing panics while it holds the lock
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one's turn: nobody else works on it, and `ready` says of the bytes that are there that it is time. `None`:
    /// look for the slot again.
    pub(super) async fn take(
        self: Arc<Self>,
        ready: impl Fn(u64) -> bool,
    ) -> Result<Option<Held>, FileError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let changed = self.changed.notified();
            match self.try_take(&ready)? {
                Taken::Stale => return Ok(None),
                Taken::Turn(part) => return Ok(Some(Held { slot: self.clone(), part, over: None })),
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

    /// Ends what nobody works on; false when somebody does.
    fn end_idle(&self, why: FileError) -> bool {
        let mut state = self.state();
        if matches!(*state, State::Busy) {
            return false;
        }
        *state = State::Over(why);
        self.changed.notify_waiters();
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
        let failed = |error: &std::io::Error| FileError::io("use", &path, error);
        fs::create_dir_all(&self.folder).map_err(|error| failed(&error))?;
        let read = || fs::read(&path).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let secret = match read() {
            Some(secret) => secret,
            None => {
                let bytes = [random::bytes16(), random::bytes16()].concat();
                let mut file = fs::OpenOptions::new();
                let file = file.write(true).create(true).truncate(true).mode(0o600).open(&path);
                file.and_then(|mut file| file.write_all(&bytes)).map_err(|error| failed(&error))?;
                read().ok_or_else(|| failed(&std::io::Error::other("it is not what was written")))?
            }
        };
        Ok(*self.secret.get_or_init(|| secret))
    }

    /// The note of an upload whose temporary file has this name.
    pub(super) fn note(&self, temporary: &OsStr) -> Note {
        Note(self.folder.join(Path::new(temporary).with_extension("note")))
    }

    /// The upload whose temporary file has this name.
    pub(super) fn slot(&self, temporary: &OsStr) -> Arc<Slot> {
        self.slots().entry(temporary.to_owned()).or_default().clone()
    }

    /// Forgets an upload that is over.
    pub(super) fn forget(&self, temporary: &OsStr) {
        self.slots().remove(temporary);
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<OsString, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "note")).collect()
    }
}

/// Makes sure that there is room for one more.
pub(super) fn admit(files: &Files) -> Result<(), FileError> {
    let uploads = &files.uploads;
    if uploads.notes().len() < uploads.max {
        return Ok(());
    }
    sweep(files);
    if uploads.notes().len() < uploads.max {
        return Ok(());
    }
    let text = format!(
        "{} uploads are unfinished here, files.uploads of the agent; end them, or wait until they are old",
        uploads.max
    );
    Err(FileError::failed("TooManyUploads", text))
}

/// Removes what is left of uploads that nobody has added to for long.
pub(super) fn sweep(files: &Files) {
    for note in files.uploads.notes() {
        let Some(name) = note.file_stem().map(OsStr::to_owned) else { continue };
        let Ok(path) = fs::read(&note) else { continue };
        let path = PathBuf::from(OsString::from_vec(path));
        let noted = age(fs::metadata(&note).and_then(|found| found.modified()).ok());
        match left(files, &path, &name) {
            Left::Young => {}
            Left::Nothing if noted < NOTE_ALONE => {}
            Left::Unreachable if noted < files.uploads.age => {}
            Left::Nothing | Left::Removed | Left::Unreachable => {
                tracing::info!(?path, "an upload that nobody ended is forgotten");
                Note(note).forget();
                let slot = files.uploads.slot(&name);
                let why = FileError::failed("NoUpload", "the upload was too old, and is removed");
                if slot.end_idle(why) {
                    files.uploads.forget(&name);
                }
            }
        }
    }
}

/// What a sweep found.
enum Left {
    Young,
    Removed,
    Nothing,
    Unreachable,
}

fn left(files: &Files, path: &Path, name: &OsStr) -> Left {
    let guard = files.protected.now();
    let place = files.roots.place(path, Need::Write).map_err(FileError::from);
    let Ok(spot) = place.and_then(|place| walk(&place, &guard)) else { return Left::Unreachable };
    match statat(&spot.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => Left::Nothing,
        Ok(stat) if is_ours(&stat) => {
            let since = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            if age(SystemTime::UNIX_EPOCH.checked_add(since)) < files.uploads.age {
                return Left::Young;
            }
            match unlinkat(&spot.folder, name, AtFlags::empty()) {
                Ok(()) => Left::Removed,
                Err(_) => Left::Unreachable,
            }
        }
        Ok(_) | Err(_) => Left::Unreachable,
    }
}

/// How long ago that was; not at all when the clock says otherwise.
fn age(since: Option<SystemTime>) -> Duration {
    since.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use redpoll_common::wire::{Fault, FaultCode};
    use tokio::time::sleep;

    use super::*;

    const ALWAYS: fn(u64) -> bool = |_written| true;

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_while_another_works_waits_and_is_told_at_last_that_it_is_busy() {
        let slot = Arc::new(Slot::default());
        let held = slot.clone().take(ALWAYS).await.unwrap().unwrap();
        let began = Instant::now();
        let Err(busy) = slot.clone().take(ALWAYS).await else { panic!("two work on it") };
        assert_eq!(began.elapsed(), PATIENCE);
        let fault = Fault::from(busy);
        assert_eq!((fault.code, fault.class.as_deref()), (FaultCode::Failed, Some("Busy")));
        assert!(!slot.end_idle(FileError::failed("Swept", "")), "nobody ends it under who works on it");
        let letting_go = async {
            sleep(PATIENCE / 2).await;
            drop(held);
        };
        let (next, ()) = tokio::join!(slot.clone().take(ALWAYS), letting_go);
        let next = next.unwrap().unwrap();
        assert!(next.part.is_none(), "nothing was there, and it is to be looked for again");
        next.leave();
        assert!(slot.take(ALWAYS).await.unwrap().is_none());
    }
}
