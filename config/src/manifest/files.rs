//! Files that decide what runs here: only root and this program's own user may change them.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::permissions::{PermissionError, refuse_foreign_metadata};

/// Bytes of a manifest.
pub(super) const MAX_MANIFEST_FILE: u64 = 256 * 1024;
/// Bytes of a file with a schema.
pub(super) const MAX_SCHEMA_FILE: u64 = 64 * 1024;

/// Others may add names to a folder, and not touch those that are there.
const STICKY: u32 = 0o1000;
/// Write access by group or others.
const OTHERS_WRITE: u32 = 0o022;
/// Write access by the group.
const GROUP_WRITE: u32 = 0o020;

/// The most links that the kernel follows on a way.
const MAX_LINKS: usize = 40;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) struct Unread {
    /// What is wrong and what to do, for a person.
    pub(crate) what: String,
    /// Nothing may be wrong with the file, see [`is_passing`].
    pub(crate) passes: bool,
}

impl From<String> for Unread {
    fn from(what: String) -> Self {
        Self { what, passes: false }
    }
}

impl From<PermissionError> for Unread {
    fn from(error: PermissionError) -> Self {
        error.to_string().into()
    }
}

/// Whether something could not be read at this moment, for want of a descriptor or memory, or because a disk does not answer: it says
/// nothing of what is there.
pub fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno as E;
    let passing = [
        E::MFILE,
        E::NFILE,
        E::NOMEM,
        E::AGAIN,
        E::INTR,
        E::IO,
        E::STALE,
        E::TIMEDOUT,
        E::HOSTDOWN,
        E::HOSTUNREACH,
    ];
    E::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

/// Reads a text file of at most `max` bytes that nobody else may change.
///
/// # Errors
/// [`Unread`]
pub(crate) fn read(path: &Path, max: u64) -> Result<String, Unread> {
    let cannot = |error: io::Error| Unread {
        passes: is_passing(&error),
        what: format!("cannot read {}: {error}", path.display()),
    };
    // looked at first: opening a pipe would wait for somebody to write into it
    let before = fs::metadata(path).map_err(cannot)?;
    if !before.is_file() {
        return Err(PermissionError::NotAFile { path: path.to_owned() }.into());
    }
    refuse_replaceable(path)?;
    let file = File::open(path).map_err(cannot)?;
    refuse(path, &file.metadata().map_err(cannot)?)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > max) {
        return Err(format!("{} has more than {max} bytes", path.display()).into());
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()).into())
}

/// Refuses what is there and can be changed by others.
///
/// # Errors
/// What is wrong and what to do.
pub(crate) fn refuse_foreign(path: &Path) -> Result<(), PermissionError> {
    match fs::metadata(path) {
        Ok(metadata) => refuse(path, &metadata),
        Err(_) => Ok(()),
    }
}

/// Refuses what others can change, or could put something else in the place of: a folder's writers own its names, and those of a folder
/// above can put the whole of it aside. The folders of each link on the way count as much. What is not there yet must not be anybody's
/// to make.
///
/// # Errors
/// What is wrong and what to do.
pub(crate) fn refuse_replaceable(path: &Path) -> Result<(), PermissionError> {
    refuse_by_any_way(path, 0)
}

/// The same of a folder whose files are looked at one by one: what it is in itself is further up for them.
///
/// # Errors
/// What is wrong and what to do.
pub(super) fn refuse_replaceable_folder(path: &Path) -> Result<(), PermissionError> {
    refuse_by_any_way(path, GROUP_WRITE)
}

/// With what may be set, of a user's own folder, right above.
fn refuse_by_any_way(path: &Path, beside: u32) -> Result<(), PermissionError> {
    refuse_foreign(path)?;
    refuse_folders_of(path, path, beside)?;
    hops(path).iter().try_for_each(|hop| {
        refuse_folders_of(&hop.place, path, if hop.is_last { beside } else { GROUP_WRITE })
    })
}

/// Where one comes by on the way to a file.
struct Hop {
    /// A link, a folder that is gone back from, or what is or would be there in the end; without links above it.
    place: PathBuf,
    /// Whether it stands for the file itself, not for a folder above.
    is_last: bool,
}

/// Each link on the way to a path, each folder that is gone back from, and where it ends: whoever owns a folder above any of them chooses
/// what the path leads to.
fn hops(path: &Path) -> Vec<Hop> {
    let mut hops = Vec::new();
    let mut way = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // of more nothing can be reached
    for _ in 0..=MAX_LINKS {
        let (hop, next) = hop(&way, &mut hops);
        hops.push(hop);
        let Some(next) = next else { break };
        way = next;
    }
    hops
}

/// As far as the first link, and how it goes on from there.
fn hop(way: &Path, passed: &mut Vec<Hop>) -> (Hop, Option<PathBuf>) {
    let mut place = PathBuf::new();
    let mut rest = way.components();
    while let Some(step) = rest.next() {
        if step == Component::ParentDir && place.file_name().is_some() {
            // what it goes back from is no link now, and must not become one
            passed.push(Hop { place: place.clone(), is_last: false });
            place.pop();
        } else {
            place.push(step);
        }
        let Ok(target) = fs::read_link(&place) else { continue };
        let is_last = rest.as_path().as_os_str().is_empty();
        let mut next = place.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
        if !is_last {
            next.push(rest.as_path());
        }
        return (Hop { place, is_last }, Some(next));
    }
    (Hop { place, is_last: true }, None)
}

/// Every folder above a path that leads to `wanted`; `beside` may be set of the first, where that is a user's own.
fn refuse_folders_of(path: &Path, wanted: &Path, beside: u32) -> Result<(), PermissionError> {
    let mut steps = path.ancestors().filter_map(|step| Some((step, step.parent()?)));
    steps.try_for_each(|(step, folder)| {
        let Ok(metadata) = fs::metadata(folder) else { return Ok(()) };
        let us = rustix::process::geteuid().as_raw();
        let (owner, mode) = (metadata.uid(), metadata.mode());
        // where names are their owners' alone, as in /tmp, what is there and ours stays ours
        let is_ours = || {
            // a link has no mode of its own
            fs::symlink_metadata(step).is_ok_and(|own| refuse_foreign_metadata(step, 0, own.uid()).is_ok())
        };
        let passes = if mode & STICKY != 0 && is_ours() {
            OTHERS_WRITE
        } else if us != 0 && owner == us {
            // on many systems a user's folders are open to a group that is his alone
            if step == path { beside } else { GROUP_WRITE }
        } else {
            0
        };
        match refuse_foreign_metadata(folder, mode & !passes, owner) {
            Err(PermissionError::Owner { path: folder, owner, us }) => {
                Err(PermissionError::Above { folder, owner, us, path: wanted.to_owned() })
            }
            other => other,
        }
    })
}

/// Why somebody other than root may put another file in the place of this one, or make it: whom something of the way to it belongs to,
/// or that others may write there.
pub(crate) fn replaceable_beside_root(path: &Path) -> Option<String> {
    let hops = hops(path);
    let ways = std::iter::once(path).chain(hops.iter().map(|hop| hop.place.as_path()));
    let mut steps = ways.flat_map(Path::ancestors).filter(|step| !step.as_os_str().is_empty());
    steps.find_map(|step| {
        let of = |metadata: Metadata| (metadata.uid(), metadata.mode(), metadata.is_dir());
        // a link, and where it leads: whoever owns either chooses
        let own = [fs::symlink_metadata(step), fs::metadata(step)];
        own.into_iter().flatten().map(of).find_map(|(owner, mode, is_folder)| {
            let is_link = mode & 0o170_000 == 0o120_000;
            // in a sticky folder what is root's stays root's
            let is_open = mode & OTHERS_WRITE != 0 && !is_link && !(is_folder && mode & STICKY != 0);
            match owner {
                0 if is_open => Some(format!("{} can be changed by others", step.display())),
                0 => None,
                owner => Some(format!("{} belongs to user {owner}", step.display())),
            }
        })
    })
}

fn refuse(path: &Path, metadata: &Metadata) -> Result<(), PermissionError> {
    refuse_foreign_metadata(path, metadata.mode(), metadata.uid())
}
