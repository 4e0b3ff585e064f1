//! How many uploads there may be, and what becomes of what nobody ends: uploads that are too old, and files in one call whose agent died.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Stat, statat, unlinkat};

use super::Files;
use super::error::FileError;
use super::open::walk;
use super::path::Need;
use super::upload::is_plain;
use super::uploads::{Note, UPLOAD, WHOLE};

/// A note without a file is forgotten after this long: until then its file may be about to be made.
const NOTE_ALONE: Duration = Duration::from_secs(60);
/// When there is no more room, uploads with no more than so many bytes give way that nobody has added to for so long: they are begun again
/// at once, and whoever begins them without end keeps nobody else out for a day.
const SMALL: u64 = 64 * 1024;
const SMALL_WAITS: Duration = Duration::from_secs(60);

/// Makes sure that there is room for one more.
pub(super) fn admit(files: &Files) -> Result<(), FileError> {
    let uploads = &files.uploads;
    if uploads.notes(UPLOAD).len() < uploads.max {
        return Ok(());
    }
    sweep(files);
    if uploads.notes(UPLOAD).len() >= uploads.max {
        give_way(files);
    }
    if uploads.notes(UPLOAD).len() < uploads.max {
        return Ok(());
    }
    let text = format!(
        "{} uploads are unfinished here, files.uploads of the agent; end them, or wait until they are old",
        uploads.max
    );
    Err(FileError::failed("TooManyUploads", text))
}

/// Removes small uploads that wait for more, and that nobody works on.
fn give_way(files: &Files) {
    for note in files.uploads.notes(UPLOAD) {
        let Some(name) = note.file_stem().map(OsStr::to_owned) else { continue };
        if !is_small(files, &note, &name) {
            continue;
        }
        let slot = files.uploads.slot(&name);
        let text = "the upload was removed: others wanted its place, and it had hardly begun";
        if slot.end_idle(FileError::failed("NoUpload", text)) {
            files.uploads.forget(&name, &slot);
            remove(files, note, &name, SMALL_WAITS);
        }
    }
}

fn is_small(files: &Files, note: &Path, name: &OsStr) -> bool {
    let Ok(path) = fs::read(note) else { return false };
    let path = PathBuf::from(OsString::from_vec(path));
    let guard = files.protected.now();
    let place = files.roots.place(&path, Need::Write).map_err(FileError::from);
    let Ok(spot) = place.and_then(|place| walk(&place, &guard)) else { return false };
    let Ok(stat) = statat(&spot.folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    is_plain(&stat)
        && u64::try_from(stat.st_size).is_ok_and(|size| size <= SMALL)
        && idle(files, name, &stat) >= SMALL_WAITS
}

/// Removes what is left of uploads that nobody has added to for long.
pub(super) fn sweep(files: &Files) {
    for note in files.uploads.notes(UPLOAD) {
        let Some(name) = note.file_stem().map(OsStr::to_owned) else { continue };
        if remove(files, note, &name, files.uploads.age) {
            let slot = files.uploads.slot(&name);
            let why = FileError::failed("NoUpload", "the upload was too old, and is removed");
            if slot.end_idle(why) {
                files.uploads.forget(&name, &slot);
            }
        }
    }
}

/// Removes, beside everything else, what the agent before left: of files in one call, and of uploads that are too old. A disk that hangs
/// keeps nobody from starting, and holds one of the threads.
pub(super) fn sweep_at_start(files: &Files) {
    // now: what is noted later is being written
    let broken = broken(files);
    let files = files.clone();
    let place = files.places.clone().try_acquire_owned().ok();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        sweep_broken(&files, broken);
        sweep(&files);
    });
}

/// The notes of files in one call.
pub(super) fn broken(files: &Files) -> Vec<PathBuf> {
    files.uploads.notes(WHOLE)
}

/// Removes what an agent that died left of files in one call, by these notes.
pub(super) fn sweep_broken(files: &Files, notes: Vec<PathBuf>) {
    for note in notes {
        if let Some(name) = note.file_stem().map(OsStr::to_owned) {
            remove(files, note, &name, Duration::ZERO);
        }
    }
}

/// Removes a temporary file that is so old, and its note; true when they are gone.
fn remove(files: &Files, note: PathBuf, name: &OsStr, age: Duration) -> bool {
    let Ok(path) = fs::read(&note) else { return false };
    let path = PathBuf::from(OsString::from_vec(path));
    let noted = since(files, fs::metadata(&note).and_then(|found| found.modified()).ok());
    match left(files, &path, name, age) {
        Left::Young => return false,
        Left::Nothing if noted < NOTE_ALONE.min(age) => return false,
        Left::Unreachable if noted < files.uploads.age => return false,
        Left::Nothing | Left::Removed | Left::Unreachable => {}
    }
    tracing::info!(?path, "an upload that nobody ended is forgotten");
    Note(note).forget();
    true
}

/// What a sweep found.
enum Left {
    Young,
    Removed,
    Nothing,
    Unreachable,
}

fn left(files: &Files, path: &Path, name: &OsStr, age: Duration) -> Left {
    if path.as_os_str().is_empty() {
        // an agent that died while it wrote the note; an upload that is gone on with has its note written again
        return Left::Nothing;
    }
    let guard = files.protected.now();
    let place = files.roots.place(path, Need::Write).map_err(FileError::from);
    let Ok(spot) = place.and_then(|place| walk(&place, &guard)) else { return Left::Unreachable };
    match statat(&spot.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => Left::Nothing,
        // its note says that it is an upload's, also when it was given away already
        Ok(stat) if is_plain(&stat) => {
            if idle(files, name, &stat) < age {
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

/// How long nobody has added to an upload. A clock that was set makes none old that somebody works on.
fn idle(files: &Files, name: &OsStr, stat: &Stat) -> Duration {
    let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    let by_clock = || since(files, SystemTime::UNIX_EPOCH.checked_add(written));
    files.uploads.idle(name).unwrap_or_else(by_clock)
}

/// How long ago that was, by the wall clock; what has not come by it is as old as the agent, or it would never be old.
fn since(files: &Files, moment: Option<SystemTime>) -> Duration {
    let passed = moment.and_then(|since| SystemTime::now().duration_since(since).ok());
    passed.unwrap_or_else(|| files.uploads.there_for())
}
