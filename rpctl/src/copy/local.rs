//! Files on this machine: a source that must not change meanwhile, and a target that is replaced whole.
//!
//! A target is written beside its place and renamed. What is beneath a folder is reached name by name through its descriptor,
//! without following links: whatever an agent calls its files, nothing outside of the folder is written.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::digest::{Context, SHA256, digest};
use data_encoding::HEXLOWER;
use redpoll_net::random;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, flock, fstat, fsync,
    mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::parts;
use super::remote::Failure;
use crate::exit::Exit;
use crate::report::Report;

/// Bytes that are read at once.
pub const BLOCK: usize = 256 * 1024;

/// A local failure in words.
pub fn failed(doing: &str, path: &Path, error: impl Into<io::Error>) -> Failure {
    let what = format!("cannot {doing} {}", path.display());
    let why = error.into().to_string();
    Box::new(Report::usage(what, why, "look at the file, its folder and the room on the disk"))
}

/// Digits of a digest.
pub fn hex(hash: &Context) -> String {
    HEXLOWER.encode(hash.clone().finish().as_ref())
}

/// A name for what belongs together: 32 digits.
pub fn id_of(parts: &[&[u8]]) -> String {
    let mut whole = Vec::new();
    for part in parts {
        whole.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        whole.extend_from_slice(part);
    }
    let mut id = HEXLOWER.encode(digest(&SHA256, &whole).as_ref());
    id.truncate(32);
    id
}

/// Reads until the buffer is full or nothing is left.
///
/// # Errors
/// What the source fails with.
pub fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Takes the next `len` bytes of a file into a digest.
///
/// # Errors
/// When there are fewer.
pub fn hash_next(file: &mut File, len: u64, hash: &mut Context) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut left = len;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let buffer = block.get_mut(..want).unwrap_or_default();
        file.read_exact(buffer)?;
        hash.update(buffer);
        left -= u64::try_from(want).unwrap_or(left);
    }
    Ok(())
}

/// The same on another thread, for as long as it takes: what else is under way goes on.
///
/// # Errors
/// As [`hash_next`].
pub async fn hash_aside(file: &File, len: u64, mut hash: Context) -> io::Result<Context> {
    if len == 0 {
        return Ok(hash);
    }
    // it shares its place in the file with this one
    let mut file = file.try_clone()?;
    let hashing = tokio::task::spawn_blocking(move || hash_next(&mut file, len, &mut hash).map(|()| hash));
    hashing.await.map_err(io::Error::other)?
}

/// What tells that a file is still the same.
pub fn version(stat: &Stat) -> (i64, i64, u64, u64) {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ino)
}

/// Whether a file that is copied is what it was at the beginning.
///
/// # Errors
/// A [`Failure`] when it is another.
pub fn unchanged(file: &File, path: &Path, stat: &Stat) -> Result<(), Failure> {
    let now = fstat(file).map_err(|errno| failed("look at", path, errno))?;
    if version(&now) == version(stat) {
        return Ok(());
    }
    let what = format!("{} was changed while it was copied", path.display());
    let help = "the old file on the agent is as it was; run the same command again";
    Err(Box::new(Report::new(Exit::Failed, what, "nothing half old and half new is written", help)))
}

/// Opens a source: a regular file.
///
/// # Errors
/// A [`Failure`]
pub fn open_source(path: &Path) -> Result<(File, Stat), Failure> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed("open", path, errno))?;
    let stat = fstat(&file).map_err(|errno| failed("look at", path, errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file.into(), stat)),
        FileType::Directory => {
            let what = format!("{} is a folder", path.display());
            Err(Box::new(Report::usage(what, "only files are copied without -r", "add -r")))
        }
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => {
            let what = format!("{} is no regular file", path.display());
            Err(Box::new(Report::usage(
                what,
                "its size and content are nothing fixed",
                "pipe it: … | rpctl cp - AGENT:/PATH",
            )))
        }
    }
}

/// A folder on this machine, open.
#[derive(Debug)]
pub struct Folder {
    pub(super) fd: OwnedFd,
    path: PathBuf,
    /// What lay there of copies when it was first looked for.
    pub(super) parts: OnceLock<Vec<OsString>>,
}

impl Folder {
    /// Opens a folder as it was named; links to it are followed.
    ///
    /// # Errors
    /// A [`Failure`]
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed("open", path, errno))?;
        Ok(Self { fd, path: path.to_owned(), parts: OnceLock::new() })
    }

    /// Opens a folder in it, made with these permission bits if it is not there. A link is not followed.
    ///
    /// # Errors
    /// A [`Failure`]
    pub fn enter(&self, name: &OsStr, mode: u32) -> Result<Self, Failure> {
        let path = self.path.join(name);
        match mkdirat(&self.fd, name, Mode::from_raw_mode(folder_mode(mode))) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("make the folder", &path, errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            openat(&self.fd, name, flags, Mode::empty()).map_err(|errno| failed("enter", &path, errno))?;
        Ok(Self { fd, path, parts: OnceLock::new() })
    }

    /// Begins to write a file in it, or goes on with what is there of it under the same id. What is written without `resume` is removed
    /// unless it is [put in its place](Target::finish).
    ///
    /// # Errors
    /// A [`Failure`]
    pub fn begin(&self, name: &OsStr, id: &str, resume: bool) -> Result<Target<'_>, Failure> {
        let path = self.path.join(name);
        let temporary = parts::name(id);
        let old = self.replaced(name, &path)?;
        let file = self.beside(&temporary, &path)?;
        let stat = fstat(&file).map_err(|errno| failed("look at", &path, errno))?;
        let had = u64::try_from(stat.st_size).unwrap_or(0);
        let (name, file) = (name.to_owned(), file.into());
        Ok(Target { folder: self, name, temporary, path, old, had, file, stays: resume })
    }

    /// Opens what is written, or makes it; nobody else has it then. What somebody else has made there goes: whose it is may read and change it
    /// for ever.
    fn beside(&self, temporary: &OsStr, path: &Path) -> Result<OwnedFd, Failure> {
        let failed = |errno| failed("write beside", path, errno);
        match self.make(temporary) {
            Err(Errno::EXIST) => {}
            made => return ours_alone(made.map_err(failed)?, path),
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // what cannot even be opened is nothing of ours
        let there = openat(&self.fd, temporary, flags, Mode::empty()).ok();
        let there = there.map(|file| ours_alone(file, path)).transpose()?;
        let stat = there.as_ref().map(fstat).transpose().map_err(failed)?;
        if stat.is_some_and(|stat| !self.is_named(temporary, &stat)) {
            return Err(under_way(path)); // it was put in place just now, or replaced
        }
        let is_file = |stat: &Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
        };
        let old = there.zip(stat.filter(is_file));
        let old = match old {
            Some((file, stat)) if stat.st_uid == geteuid().as_raw() => return Ok(file),
            old => old,
        };
        // whose a file of ours is here: not every file system has the caller's files be the caller's
        let name = parts::name(&id_of(&[&random::bytes16()]));
        let new = ours_alone(self.make(&name).map_err(failed)?, path)?;
        let is_whose = |stat: &Stat| fstat(&new).is_ok_and(|new| new.st_uid == stat.st_uid);
        match old {
            Some((file, stat)) if is_whose(&stat) => {
                let _left = unlinkat(&self.fd, &name, AtFlags::empty());
                Ok(file)
            }
            // the lock on it is kept until it is gone
            _other => match renameat(&self.fd, &name, &self.fd, temporary) {
                Ok(()) => Ok(new),
                Err(errno) => {
                    let _left = unlinkat(&self.fd, &name, AtFlags::empty());
                    Err(failed(errno))
                }
            },
        }
    }

    fn make(&self, name: &OsStr) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
    }

    /// Whether a name still stands for this file.
    pub(super) fn is_named(&self, name: &OsStr, stat: &Stat) -> bool {
        let named = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        named.is_ok_and(|named| (named.st_dev, named.st_ino) == (stat.st_dev, stat.st_ino))
    }

    /// What is replaced: nothing, a file, or a link, of which nothing is kept. Anything else would be gone with it.
    fn replaced(&self, name: &OsStr, path: &Path) -> Result<Option<Stat>, Failure> {
        let old = match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(old) => old,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("look at", path, errno)),
        };
        match FileType::from_raw_mode(old.st_mode) {
            FileType::RegularFile => Ok(Some(old)),
            FileType::Symlink => Ok(None),
            FileType::Directory => Err(failed("replace", path, Errno::ISDIR)),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                let what = format!("{} is no regular file", path.display());
                let help = "name a file; to a pipe or a device: rpctl cp AGENT:/PATH - > PATH";
                Err(Box::new(Report::usage(what, "the copy would take its place", help)))
            }
        }
    }
}

/// The permission bits of a folder that is made here: what its owner alone may see there is nobody else's here, and what is in it can be
/// written.
pub fn folder_mode(mode: u32) -> u32 {
    (mode & 0o755) | 0o700
}

/// Keeps others from a file for as long as it is open.
fn ours_alone(file: OwnedFd, path: &Path) -> Result<OwnedFd, Failure> {
    // another error is that of a file system without locks
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(under_way(path)),
        Ok(()) | Err(_) => Ok(file),
    }
}

fn under_way(path: &Path) -> Failure {
    let what = format!("another copy to {} is under way", path.display());
    Box::new(Report::new(Exit::Failed, what, "both would write the same file", "wait for its end"))
}

/// A file that is written beside its place.
#[derive(Debug)]
pub struct Target<'f> {
    folder: &'f Folder,
    name: OsString,
    temporary: OsString,
    /// Its place, for messages.
    pub path: PathBuf,
    /// The file that is there now.
    old: Option<Stat>,
    /// Bytes that were there.
    pub had: u64,
    /// What is written.
    pub file: File,
    /// Somebody goes on with it, or it is in its place.
    stays: bool,
}

impl Target<'_> {
    /// The permission bits of the file that is there now.
    pub fn old_mode(&self) -> Option<u32> {
        self.old.map(|old| old.st_mode & 0o777)
    }

    /// Puts it in its place, with the owner of what was there. Says what could not be kept.
    ///
    /// # Errors
    /// A [`Failure`]
    pub fn finish(mut self, mode: u32) -> Result<Vec<String>, Failure> {
        // while it can still be gone on with: with another owner and mode it cannot
        fsync(&self.file).map_err(|errno| failed("write", &self.path, errno))?;
        self.stays = false;
        let notes = self.place(mode)?;
        self.stays = true;
        Ok(notes)
    }

    fn place(&self, mode: u32) -> Result<Vec<String>, Failure> {
        let failed = |doing: &str, errno: Errno| failed(doing, &self.path, errno);
        // while it can still be gone on with
        fsync(&self.file).map_err(|errno| failed("write", errno))?;
        let stat = fstat(&self.file).map_err(|errno| failed("look at", errno))?;
        let other = self.old.filter(|old| (old.st_uid, old.st_gid) != (stat.st_uid, stat.st_gid));
        let note = other.and_then(|old| {
            let owner = (Some(Uid::from_raw(old.st_uid)), Some(Gid::from_raw(old.st_gid)));
            let not_given = fchown(&self.file, owner.0, owner.1).err()?;
            let (path, uid, gid) = (self.path.display(), old.st_uid, old.st_gid);
            Some(format!("{path} belonged to user {uid} and group {gid}, and is yours now: {not_given}"))
        });
        let other_mode = match fchmod(&self.file, Mode::from_raw_mode(mode)) {
            // a file system that has all files be somebody's, with a mode of its own
            Err(Errno::PERM) if stat.st_uid != geteuid().as_raw() => {
                let (path, has, uid) = (self.path.display(), stat.st_mode & 0o777, stat.st_uid);
                Some(format!("{path} has mode {has:o} and not {mode:o}: files belong to user {uid} there"))
            }
            set => set.map(|()| None).map_err(|errno| failed("set the mode of", errno))?,
        };
        fsync(&self.file).map_err(|errno| failed("write", errno))?;
        let folder = self.folder.fd.as_fd();
        // what goes into the place is what was compared, and nothing that came under its name
        if !self.is_named(&stat) {
            return Err(under_way(&self.path));
        }
        renameat(folder, &self.temporary, folder, &self.name).map_err(|errno| failed("replace", errno))?;
        fsync(folder).map_err(|errno| failed("write the folder of", errno))?;
        Ok(note.into_iter().chain(other_mode).collect())
    }

    /// Removes what was written, and nothing that came under its name.
    pub fn discard(&self) {
        if fstat(&self.file).is_ok_and(|stat| self.is_named(&stat)) {
            let _left = unlinkat(&self.folder.fd, &self.temporary, AtFlags::empty());
        }
    }

    fn is_named(&self, stat: &Stat) -> bool {
        self.folder.is_named(&self.temporary, stat)
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if !self.stays {
            self.discard();
        }
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
