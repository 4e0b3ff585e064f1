//! `file.stat` and `file.list`: what is there.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use redpoll_common::wire::{Fault, Raw};
use redpoll_net::CallContext;
use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};
use rustix::io::Errno;
use serde::{Serialize, Serializer};

use super::arguments::{ListArguments, StatArguments, path, read};
use super::error::FileError;
use super::open::{Guard, kind, walk};
use super::path::Need;
use super::{Cancelled, Files};
use crate::builtin::arguments::answer;

/// Entries in one answer, unless asked for fewer or more.
const PAGE: usize = 500;
/// The most entries in one answer: far below the frame limit.
const MAX_PAGE: usize = 1000;

/// What is known of a file or a folder without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Looks {
    /// `file`, `folder`, `link`, or `other`: a device, a pipe, a socket.
    r#type: &'static str,
    /// In bytes.
    size: u64,
    /// The permission bits.
    mode: u32,
    uid: u32,
    gid: u32,
    /// When its content was changed, in nanoseconds since 1970.
    mtime_ns: i64,
    inode: u64,
}

impl From<&Stat> for Looks {
    fn from(stat: &Stat) -> Self {
        let r#type = match kind(stat) {
            FileType::RegularFile => "file",
            FileType::Directory => "folder",
            FileType::Symlink => "link",
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => "other",
        };
        Self {
            r#type,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime_ns: mtime_ns(stat),
            inode: stat.st_ino,
        }
    }
}

/// When its content was changed, in nanoseconds since 1970.
pub(super) fn mtime_ns(stat: &Stat) -> i64 {
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// A name: a text, or binary when it is not UTF-8.
#[derive(Debug)]
struct EntryName(Vec<u8>);

impl Serialize for EntryName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.serialize_bytes(&self.0),
        }
    }
}

/// A name in a folder, and what it is.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    name: EntryName,
    #[serde(flatten)]
    looks: Looks,
}

#[derive(Debug, Serialize)]
struct Page {
    entries: Vec<Entry>,
    /// Where to go on: give it as `after`.
    next: Option<EntryName>,
}

/// `file.stat`
pub(super) async fn stat(files: Files, call: CallContext) -> Result<Raw, Fault> {
    let asked: StatArguments = read(&call)?;
    let looks = files.work(move |files, _| {
        let place = files.roots.place(&path(asked.path), Need::Look)?;
        let guard = files.protected.now();
        Ok(Looks::from(&walk(&place, &guard)?.stat(&guard)?))
    });
    Ok(answer(&looks.await?)?)
}

/// `file.list`
pub(super) async fn list(files: Files, call: CallContext) -> Result<Raw, Fault> {
    let asked: ListArguments = read(&call)?;
    Ok(answer(&files.work(move |files, cancelled| page(files, asked, cancelled)).await?)?)
}

fn page(files: &Files, asked: ListArguments, cancelled: &Cancelled) -> Result<Page, FileError> {
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(FileError::Arguments(format!("limit is {limit}; it must be 1 to {MAX_PAGE}")));
    }
    let place = files.roots.place(&path(asked.path), Need::Read)?;
    let after = asked.after.map(|after| after.into_bytes().to_vec());
    let guard = files.protected.now();
    let spot = walk(&place, &guard)?;
    let (folder, _) = spot.open_folder(&guard)?;
    let failed = |errno| FileError::os("list", &spot.path, errno);
    // of a large folder the first names after `after` are kept, and no more
    let mut names: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
    for entry in Dir::read_from(&folder).map_err(failed)? {
        cancelled.check()?;
        let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
        let wanted = name != b"." && name != b".." && after.as_ref().is_none_or(|after| name > *after);
        if wanted {
            names.insert(name, ());
            if names.len() > limit + 1 {
                names.pop_last();
            }
        }
    }
    let more = names.len() > limit;
    if more {
        names.pop_last();
    }
    let next = names.last_key_value().filter(|_| more).map(|(name, ())| EntryName(name.clone()));
    Ok(Page { entries: entries(&folder, &spot.path, names.into_keys(), &guard)?, next })
}

/// Looks at what has these names in a folder. What has gone meanwhile, and what is the agent's own, is not there; but what cannot be looked
/// at makes it fail: a list without it would be taken for the whole.
pub(super) fn entries(
    folder: &OwnedFd,
    path: &Path,
    names: impl Iterator<Item = Vec<u8>>,
    guard: &Guard<'_>,
) -> Result<Vec<Entry>, FileError> {
    let mut entries = Vec::new();
    for name in names {
        let found = statat(folder, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW);
        let stat = match found {
            Err(Errno::NOENT) => continue,
            found => {
                let inner = || path.join(OsStr::from_bytes(&name));
                found.map_err(|errno| FileError::os("look at", &inner(), errno))?
            }
        };
        if guard.found(&stat, path).is_ok() {
            entries.push(Entry { name: EntryName(name), looks: Looks::from(&stat) });
        }
    }
    Ok(entries)
}

/// A name in a folder, as it is.
pub(super) fn is_step(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
