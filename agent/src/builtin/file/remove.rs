//! `file.remove`: files, empty folders, and on demand folders with all that is in them.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use redpoll_common::wire::{Fault, Raw};
use redpoll_net::CallContext;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;

use super::arguments::{RemoveArguments, path, read};
use super::error::FileError;
use super::look::is_step;
use super::open::{Guard, kind, open_folder, walk};
use super::path::Need;
use super::{Cancelled, Files};
use crate::builtin::arguments::answer;

/// How deep folders in folders are removed; each level holds a descriptor.
const MAX_DEPTH: usize = 128;

#[derive(Debug, Serialize)]
struct Removed {
    /// How many files and folders are gone.
    removed: u64,
}

/// `file.remove`
pub(super) async fn remove(files: Files, call: CallContext) -> Result<Raw, Fault> {
    let asked: RemoveArguments = read(&call)?;
    let removed = files.work(move |files, cancelled| {
        let place = files.roots.place(&path(asked.path), Need::Write)?;
        let guard = files.protected.now();
        let spot = walk(&place, &guard)?;
        if spot.is_root {
            let text = format!("{:?} is a folder of files.write itself; it stays", spot.path);
            return Err(FileError::Refused(text));
        }
        let stat = spot.stat(&guard)?;
        let is_folder = kind(&stat) == FileType::Directory;
        let mut removal = Removal { guard: &guard, cancelled, device: stat.st_dev, removed: 0 };
        if is_folder && asked.recursive {
            guard.holds_none(&spot.path)?;
            removal.content(spot.folder.as_fd(), &spot.name, &spot.path, 0)?;
        }
        removal.one(spot.folder.as_fd(), &spot.name, &spot.path, is_folder)?;
        Ok(Removed { removed: removal.removed })
    });
    Ok(answer(&removed.await?)?)
}

struct Removal<'r> {
    guard: &'r Guard<'r>,
    cancelled: &'r Cancelled,
    /// The file system it began on; others are not entered.
    device: u64,
    removed: u64,
}

impl Removal<'_> {
    fn one(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        is_folder: bool,
    ) -> Result<(), FileError> {
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(folder, name, flags).map_err(|errno| FileError::os("remove", path, errno))?;
        self.removed += 1;
        Ok(())
    }

    fn content(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), FileError> {
        if depth >= MAX_DEPTH {
            let text = format!("{path:?} lies deeper than {MAX_DEPTH} folders; remove it in parts");
            return Err(FileError::failed("TooDeep", text));
        }
        let folder = self.enter(parent, name, path)?;
        let failed = |errno| FileError::os("list", path, errno);
        for entry in Dir::read_from(&folder).map_err(failed)? {
            self.cancelled.check()?;
            let entry = entry.map_err(failed)?;
            if is_step(entry.file_name()) {
                continue;
            }
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            let inner = path.join(&name);
            let stat = match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(|errno| FileError::os("look at", &inner, errno))?,
            };
            self.guard.found(&stat, &inner)?;
            let is_folder = kind(&stat) == FileType::Directory;
            if is_folder {
                self.content(folder.as_fd(), &name, &inner, depth + 1)?;
            }
            self.one(folder.as_fd(), &name, &inner, is_folder)?;
        }
        Ok(())
    }

    /// Opens a folder, unless another file system is mounted there: also the same one once more.
    fn enter(&self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<OwnedFd, FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let elsewhere =
            || FileError::Refused(format!("another file system is mounted at {path:?}; it is not entered"));
        // any other failure is told by what follows; on an old kernel the numbers of the devices have to do
        if let Err(Errno::XDEV) = openat2(parent, name.as_bytes(), flags, Mode::empty(), resolve) {
            return Err(elsewhere());
        }
        let (folder, stat) = open_folder(parent, name, path, self.guard)?;
        if stat.st_dev == self.device { Ok(folder) } else { Err(elsewhere()) }
    }
}
