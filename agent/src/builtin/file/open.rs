//! From a path to descriptors: name by name from the root, without following a link, past nothing that is the agent's own.
//!
//! Each name is opened beneath the descriptor of the one before it, with `O_NOFOLLOW`. So whatever is renamed or replaced
//! by a link meanwhile, what is reached lies beneath the root as it was walked; and each folder on the way can be compared
//! with what is protected. `openat2` would do the former in one step, but not the latter, and not on every kernel.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::error::FileError;
use super::path::Place;

/// What is the agent's own and never reached: files, and folders with all that is in them.
#[derive(Debug, Clone, Default)]
pub struct Protected(Vec<PathBuf>);

impl Protected {
    /// Protects these paths, whether they exist or not.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().collect())
    }

    /// What they are now: a key that was renewed is another file than before.
    pub(super) fn now(&self) -> Guard<'_> {
        let ids = self.0.iter().filter_map(|path| std::fs::metadata(path).ok());
        Guard { paths: &self.0, ids: ids.map(|found| (found.dev(), found.ino())).collect() }
    }
}

/// The same at one moment.
#[derive(Debug)]
pub(super) struct Guard<'p> {
    paths: &'p [PathBuf],
    ids: HashSet<(u64, u64)>,
}

impl Guard<'_> {
    /// Refuses what is protected by name, or lies in it.
    pub(super) fn name(&self, path: &Path) -> Result<(), FileError> {
        if self.paths.iter().any(|own| path.starts_with(own)) { Err(own_file(path)) } else { Ok(()) }
    }

    /// Refuses what is protected, whatever it is called.
    pub(super) fn found(&self, stat: &Stat, path: &Path) -> Result<(), FileError> {
        if self.ids.contains(&(stat.st_dev, stat.st_ino)) { Err(own_file(path)) } else { Ok(()) }
    }

    /// Refuses a folder that holds something protected.
    pub(super) fn holds_none(&self, path: &Path) -> Result<(), FileError> {
        if self.paths.iter().any(|own| own.starts_with(path)) { Err(own_file(path)) } else { Ok(()) }
    }
}

fn own_file(path: &Path) -> FileError {
    FileError::Refused(format!("{path:?} is the agent's own, or holds what is: state, keys, configuration"))
}

/// A folder and a name in it.
#[derive(Debug)]
pub(super) struct Spot {
    /// The folder, open for looking up names alone.
    pub(super) folder: OwnedFd,
    /// The name; `.` for the root itself.
    pub(super) name: OsString,
    /// The whole path, for messages.
    pub(super) path: PathBuf,
    /// Whether it is the root itself.
    pub(super) is_root: bool,
}

/// Walks to the folder of a place.
pub(super) fn walk(place: &Place, guard: &Guard<'_>) -> Result<Spot, FileError> {
    let path = place.path();
    guard.name(&path)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // the root is its owner's word: links in it are followed
    let root = rustix::fs::open(&place.root, flags, Mode::empty());
    let mut folder = root.map_err(|errno| FileError::os("open the root", &place.root, errno))?;
    check(&folder, &place.root, guard)?;
    let Some((last, before)) = place.names.split_last() else {
        return Ok(Spot { folder, name: ".".into(), path, is_root: true });
    };
    let mut so_far = place.root.clone();
    for name in before {
        so_far.push(name);
        folder = openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|errno| not_a_folder(&folder, name, &so_far, errno))?;
        check(&folder, &so_far, guard)?;
    }
    Ok(Spot { folder, name: last.clone(), path, is_root: false })
}

fn check(folder: &OwnedFd, path: &Path, guard: &Guard<'_>) -> Result<(), FileError> {
    let stat = fstat(folder).map_err(|errno| FileError::os("look at", path, errno))?;
    guard.found(&stat, path)
}

/// A link where a folder should be is ENOTDIR to the kernel.
fn not_a_folder(folder: &OwnedFd, name: &OsStr, path: &Path, errno: Errno) -> FileError {
    let is_link =
        || statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| kind(&stat) == FileType::Symlink);
    let errno = if errno == Errno::NOTDIR && is_link() { Errno::LOOP } else { errno };
    FileError::os("open", path, errno)
}

/// Whether both are of the same thing.
pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// What a thing is.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

impl Spot {
    /// What is there; a link is looked at, not followed.
    pub(super) fn stat(&self, guard: &Guard<'_>) -> Result<Stat, FileError> {
        let stat = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| FileError::os("look at", &self.path, errno))?;
        guard.found(&stat, &self.path)?;
        Ok(stat)
    }

    /// The same, `None` when nothing is there.
    pub(super) fn stat_if_any(&self, guard: &Guard<'_>) -> Result<Option<Stat>, FileError> {
        match self.stat(guard) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.is("NotFound") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for reading.
    pub(super) fn open_file(&self, guard: &Guard<'_>) -> Result<(OwnedFd, Stat), FileError> {
        // looked at first: opening a device may set it to work
        only_a_file(&self.stat(guard)?, &self.path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&self.folder, &self.name, flags, Mode::empty())
            .map_err(|errno| FileError::os("open", &self.path, errno))?;
        let stat = fstat(&file).map_err(|errno| FileError::os("look at", &self.path, errno))?;
        guard.found(&stat, &self.path)?;
        only_a_file(&stat, &self.path)?;
        Ok((file, stat))
    }

    /// Opens a folder to see the names in it.
    pub(super) fn open_folder(&self, guard: &Guard<'_>) -> Result<(OwnedFd, Stat), FileError> {
        open_folder(self.folder.as_fd(), &self.name, &self.path, guard)
    }
}

/// Opens a folder in a folder.
pub(super) fn open_folder(
    folder: impl AsFd,
    name: &OsStr,
    path: &Path,
    guard: &Guard<'_>,
) -> Result<(OwnedFd, Stat), FileError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened =
        openat(folder, name, flags, Mode::empty()).map_err(|errno| FileError::os("open", path, errno))?;
    let stat = fstat(&opened).map_err(|errno| FileError::os("look at", path, errno))?;
    guard.found(&stat, path)?;
    Ok((opened, stat))
}

/// Refuses everything but a regular file.
pub(super) fn only_a_file(stat: &Stat, path: &Path) -> Result<(), FileError> {
    match kind(stat) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(FileError::failed("IsAFolder", format!("{path:?} is a folder"))),
        FileType::Symlink => Err(FileError::os("open", path, Errno::LOOP)),
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => {
            let text = format!("{path:?} is no regular file: devices, pipes and sockets are not touched");
            Err(FileError::Refused(text))
        }
    }
}
