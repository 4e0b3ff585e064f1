//! What `file.write` does in one call: a whole file, or a folder. On one thread, without a wait in between: so a call that is broken off
//! leaves nothing that is half done.

use std::ffi::OsString;
use std::path::Path;

use bytes::Bytes;
use redpoll_net::random;
use rustix::fs::{FileType, Gid, Mode, Uid, fchmod, fchown, fstat, mkdirat};
use rustix::io::Errno;

use super::error::FileError;
use super::look::Looks;
use super::open::{kind, walk};
use super::path::Place;
use super::upload::{Finish, Names, Part, number, target};
use super::{Cancelled, Files, hex};

/// What is to be written.
pub(super) enum AtOnce {
    Whole { data: Bytes, finish: Finish },
    Folder { mode: Option<u32>, owner: Finish },
}

impl AtOnce {
    /// Writes it, and tells what is there now.
    pub(super) fn write(
        &self,
        files: &Files,
        place: &Place,
        cancelled: &Cancelled,
    ) -> Result<Looks, FileError> {
        match self {
            Self::Whole { data, finish } => whole(files, place, data, finish, cancelled),
            Self::Folder { mode, owner } => folder(files, place, *mode, owner),
        }
    }
}

/// Writes a file. Nobody can go on with it under a name that is made here, so what fails or is broken off is removed.
fn whole(
    files: &Files,
    place: &Place,
    data: &[u8],
    finish: &Finish,
    cancelled: &Cancelled,
) -> Result<Looks, FileError> {
    let guard = files.protected.now();
    let spot = walk(place, &guard)?;
    target(&spot, &guard)?;
    let name: OsString = files.uploads.temporary(&hex(&random::bytes16()), &spot.path)?;
    let note = files.uploads.note_of_whole(&name);
    let mut part = Part::create(spot, name, note)?;
    let added = part.add(data).and_then(|()| cancelled.check());
    let placed = added.and_then(|()| part.finish(place, finish, &guard));
    if placed.is_err() {
        part.discard();
    }
    placed
}

/// Makes a folder, unless there is one.
fn folder(files: &Files, place: &Place, mode: Option<u32>, owner: &Finish) -> Result<Looks, FileError> {
    let guard = files.protected.now();
    let spot = walk(place, &guard)?;
    let path: &Path = &spot.path;
    let failed = |doing: &str, errno| FileError::os(doing, path, errno);
    // what can be wanting is had before there is a folder
    let uid = number(owner.owner.as_ref(), "user", "/etc/passwd")?.map(Uid::from_raw);
    let gid = number(owner.group.as_ref(), "group", "/etc/group")?.map(Gid::from_raw);
    let names = Names::open(&spot)?;
    let made = match mkdirat(&spot.folder, &spot.name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(failed("make the folder", errno)),
    };
    let stat = spot.stat(&guard)?;
    if kind(&stat) != FileType::Directory {
        return Err(failed("make the folder", Errno::EXIST));
    }
    let mode = if made { mode.or(owner.new_mode) } else { mode };
    let stat = if uid.is_some() || gid.is_some() || mode.is_some() {
        // by its descriptor alone: the name may stand for something else by now
        let (folder, _) = spot.open_folder(&guard)?;
        if uid.is_some() || gid.is_some() {
            fchown(&folder, uid, gid).map_err(|errno| failed("give away", errno))?;
        }
        if let Some(mode) = mode {
            fchmod(&folder, Mode::from_raw_mode(mode)).map_err(|errno| failed("set the mode of", errno))?;
        }
        fstat(&folder).map_err(|errno| failed("look at", errno))?
    } else {
        stat
    };
    if made {
        names.sync()?;
    }
    Ok(Looks::from(&stat))
}
