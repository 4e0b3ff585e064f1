//! A file on its way here: a temporary one beside its target, without gaps from its first byte, and its digest.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, fsync, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Cancelled;
use super::error::FileError;
use super::hex;
use super::look::Looks;
use super::names::Name;
use super::open::{Guard, Spot, is_same, kind, only_a_file, walk};
use super::path::Place;
use super::uploads::Note;

/// Bytes that are read at once for a digest.
const BLOCK: usize = 256 * 1024;
/// What a new file may have as mode when nothing else is said.
const NEW_FILE: u32 = 0o644;

/// What the finished file shall be.
#[derive(Debug, Clone, Default)]
pub(super) struct Finish {
    pub(super) size: u64,
    /// In hexadecimal digits.
    pub(super) sha256: Option<String>,
    pub(super) mode: Option<u32>,
    /// Instead of that, when nothing is replaced.
    pub(super) new_mode: Option<u32>,
    pub(super) owner: Option<Name>,
    pub(super) group: Option<Name>,
}

/// The temporary file and its digest.
pub(super) struct Part {
    target: Spot,
    temporary: OsString,
    file: File,
    note: Note,
    pub(super) hash: Context,
    pub(super) written: u64,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("target", &self.target)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl Part {
    /// Opens what is there of an upload, and takes it into the digest; `None` when nothing is.
    pub(super) fn reopen(
        target: Spot,
        temporary: OsString,
        note: Note,
        cancelled: &Cancelled,
    ) -> Result<Result<Self, (Spot, OsString, Note)>, FileError> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&target.folder, &temporary, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Err((target, temporary, note))),
            // given the mode or the owner it was to have
            Err(Errno::ACCESS) => None,
            opened => Some(opened.map_err(|errno| FileError::os("open the upload of", &target.path, errno))?),
        };
        let stat = match &file {
            Some(file) => fstat(file),
            None => statat(&target.folder, &temporary, AtFlags::SYMLINK_NOFOLLOW),
        };
        let stat = stat.map_err(|errno| FileError::os("look at", &target.path, errno))?;
        let Some(file) = file.filter(|_| is_ours(&stat)) else {
            if !(is_plain(&stat) && note.0.exists()) {
                let text =
                    format!("what lies beside {:?} as its upload is not what this agent made", target.path);
                return Err(FileError::Refused(text));
            }
            // it broke off after it was given away: it has its note, and nobody else can tell its name before
            unlinkat(&target.folder, &temporary, AtFlags::empty())
                .map_err(|errno| FileError::os("remove the upload of", &target.path, errno))?;
            return Ok(Err((target, temporary, note)));
        };
        note.keep(&target.path);
        let mut part = Self::new(target, temporary, note, file);
        part.take_in(cancelled)?;
        Ok(Ok(part))
    }

    /// Begins one.
    pub(super) fn create(target: Spot, temporary: OsString, note: Note) -> Result<Self, FileError> {
        // on a full disk of the state folder a name without a content is there
        note.write(&target.path).inspect_err(|_| note.forget())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&target.folder, &temporary, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self::new(target, temporary, note, file)),
            Err(errno) => {
                note.forget();
                Err(FileError::os("write beside", &target.path, errno))
            }
        }
    }

    fn new(target: Spot, temporary: OsString, note: Note, file: OwnedFd) -> Self {
        Self { target, temporary, note, file: file.into(), hash: Context::new(&SHA256), written: 0 }
    }

    fn take_in(&mut self, cancelled: &Cancelled) -> Result<(), FileError> {
        let mut block = vec![0; BLOCK];
        loop {
            cancelled.check()?;
            let read = self.file.read(&mut block);
            let len = read.map_err(|error| FileError::io("read the upload of", &self.target.path, &error))?;
            let Some(read) = block.get(..len).filter(|read| !read.is_empty()) else { return Ok(()) };
            self.hash.update(read);
            self.written += u64::try_from(len).unwrap_or(0);
        }
    }

    /// Adds the next bytes.
    pub(super) fn add(&mut self, data: &[u8]) -> Result<(), FileError> {
        let written = self.file.write_all_at(data, self.written);
        // some of it may be there
        written.map_err(|error| FileError::io("write", &self.target.path, &error).for_good())?;
        self.hash.update(data);
        self.written += u64::try_from(data.len()).unwrap_or(0);
        Ok(())
    }

    /// The digest of what is there, in hexadecimal digits.
    pub(super) fn sha256(&self) -> String {
        hex(self.hash.clone().finish().as_ref())
    }

    /// Whether it lies where the path to its target leads now. Its folder may have been moved, with another in its place, and it may have
    /// been removed.
    pub(super) fn is_at(&self, place: &Place, guard: &Guard<'_>) -> Result<bool, FileError> {
        let failed = |errno| FileError::os("look at", &self.target.path, errno);
        let spot = match walk(place, guard) {
            Err(FileError::Refused(_)) => return Ok(false),
            Err(error) if error.is("NotFound") || error.is("NotAFolder") => return Ok(false),
            spot => spot?,
        };
        let (folder, here) = (fstat(&self.target.folder), fstat(&spot.folder));
        if !is_same(&folder.map_err(failed)?, &here.map_err(failed)?) {
            return Ok(false);
        }
        match statat(&spot.folder, &self.temporary, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(false),
            found => Ok(is_same(&found.map_err(failed)?, &fstat(&self.file).map_err(failed)?)),
        }
    }

    /// Puts the file in the place of its target: on disk first, then under its name, and that on disk too.
    pub(super) fn finish(
        &self,
        place: &Place,
        finish: &Finish,
        guard: &Guard<'_>,
    ) -> Result<Looks, FileError> {
        let path = &self.target.path;
        if finish.size != self.written {
            let text = format!("{} bytes came of the {} of {path:?}", self.written, finish.size);
            return Err(FileError::failed("Incomplete", text));
        }
        if finish.sha256.as_ref().is_some_and(|wanted| *wanted != self.sha256()) {
            let text = format!("what came is not what was sent: the sha256 of {path:?} is another");
            return Err(FileError::failed("Checksum", text));
        }
        let old = target(&self.target, guard)?;
        let owner =
            number(finish.owner.as_ref(), "user", "/etc/passwd")?.or_else(|| old.map(|old| old.st_uid));
        let group =
            number(finish.group.as_ref(), "group", "/etc/group")?.or_else(|| old.map(|old| old.st_gid));
        // what runs as somebody else does so because somebody said it, for this content
        let mode = finish.mode.unwrap_or_else(|| {
            old.map_or_else(|| finish.new_mode.unwrap_or(NEW_FILE), |old| old.st_mode & 0o777)
        });
        let now = fstat(&self.file).map_err(|errno| FileError::os("look at", path, errno))?;
        let names = Names::open(&self.target)?;
        // what it takes descriptors to look at afterwards, it takes as many to look at now; what is seen counts then
        let _seen = self.is_at(place, guard)?;
        // from here on it is not this agent's alone: what fails now is not gone on with
        self.hand_over(place, (owner, group, mode), &now, guard).map_err(FileError::for_good).and_then(
            |looks| {
                names.sync()?;
                Ok(looks)
            },
        )
    }

    /// Gives it the owner, group and mode that it is to have, and its name.
    fn hand_over(
        &self,
        place: &Place,
        (owner, group, mode): (Option<u32>, Option<u32>, u32),
        now: &Stat,
        guard: &Guard<'_>,
    ) -> Result<Looks, FileError> {
        let path = &self.target.path;
        let owner = owner.filter(|owner| *owner != now.st_uid).map(Uid::from_raw);
        let group = group.filter(|group| *group != now.st_gid).map(Gid::from_raw);
        if owner.is_some() || group.is_some() {
            // the content goes first, which may take long: what is given away cannot be gone on with after a crash
            fsync(&self.file).map_err(|errno| FileError::os("write", path, errno))?;
            // before the mode: a change of owner takes bits away
            fchown(&self.file, owner, group).map_err(|errno| FileError::os("give away", path, errno))?;
        }
        let mode = Mode::from_raw_mode(mode);
        fchmod(&self.file, mode).map_err(|errno| FileError::os("set the mode of", path, errno))?;
        fsync(&self.file).map_err(|errno| FileError::os("write", path, errno))?;
        // before anybody else can change it
        let stat = fstat(&self.file).map_err(|errno| FileError::os("look at", path, errno))?;
        // a large file takes its time on the way to the disk, and the folder may have become another
        if !self.is_at(place, guard)? {
            let text =
                format!("the folder of {path:?} was moved or replaced; what came of the file is removed");
            return Err(FileError::failed("Changed", text));
        }
        let folder = &self.target.folder;
        renameat(folder, &self.temporary, folder, &self.target.name)
            .map_err(|errno| FileError::os("replace", path, errno))?;
        self.note.forget();
        Ok(Looks::from(&stat))
    }

    /// Removes what came.
    pub(super) fn discard(&self) {
        // when that fails, the note stays, and the next sweep tries again
        if matches!(
            unlinkat(&self.target.folder, &self.temporary, AtFlags::empty()),
            Ok(()) | Err(Errno::NOENT)
        ) {
            self.note.forget();
        }
    }
}

/// Whether a file can be what `create` made.
pub(super) fn is_ours(stat: &Stat) -> bool {
    // until it is finished it is nobody else's; what broke off between mode and rename is not gone on with
    is_plain(stat) && stat.st_uid == geteuid().as_raw()
}

/// Whether a file can be what `create` made and `finish` gave away.
pub(super) fn is_plain(stat: &Stat) -> bool {
    kind(stat) == FileType::RegularFile && stat.st_nlink == 1
}

/// What is at the target now: nothing, or a regular file that may be replaced.
pub(super) fn target(target: &Spot, guard: &Guard<'_>) -> Result<Option<Stat>, FileError> {
    let found = target.stat_if_any(guard)?;
    if let Some(found) = &found {
        only_a_file(found, &target.path)?;
    }
    Ok(found)
}

pub(super) fn number(name: Option<&Name>, what: &str, table: &str) -> Result<Option<u32>, FileError> {
    let Some(name) = name else { return Ok(None) };
    // other lines may be in another encoding
    let lines = || std::fs::read(table).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let number = name.number(lines).map_err(|error| FileError::io("read", Path::new(table), &error))?;
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(FileError::failed("UnknownName", format!("there is no {what} {name} in {table}"))),
    }
}

/// The folder of a target, open for putting the names in it on disk. To be had before anything changes: afterwards a descriptor may be wanting.
#[derive(Debug)]
pub(super) struct Names<'t> {
    target: &'t Spot,
    /// `None`: it may be written to and not be read, and its names cannot be synced, only everything.
    folder: Option<OwnedFd>,
}

impl<'t> Names<'t> {
    pub(super) fn open(target: &'t Spot) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match openat(&target.folder, ".", flags, Mode::empty()) {
            Err(Errno::ACCESS) => None,
            folder => Some(folder.map_err(|errno| FileError::os("open the folder of", &target.path, errno))?),
        };
        Ok(Self { target, folder })
    }

    /// Puts them on disk.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        let synced = self.folder.as_ref().map_or(Ok(()), fsync);
        synced.map_err(|errno| {
            let path = &self.target.path;
            let text = format!("{path:?} is in its place, but its folder cannot be written: {errno}");
            FileError::failed("NotSynced", text)
        })
    }
}
