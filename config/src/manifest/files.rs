//! Files that decide what runs here: only root and this program's own user may change them.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
/// above can put the whole of it aside. What is reached through a link is where it leads as well. What is not there yet must not be
/// anybody's to make.
///
/// # Errors
/// What is wrong and what to do.
pub(crate) fn refuse_replaceable(path: &Path) -> Result<(), PermissionError> {
    refuse_foreign(path)?;
    refuse_folders_of(path, path)?;
    // of one that is not there, the way to where it would be
    match path.ancestors().find_map(|step| fs::canonicalize(step).ok()) {
        Some(real) if real != path => refuse_folders_of(&real, path),
        Some(_) | None => Ok(()),
    }
}

/// Every folder above a path that leads to `wanted`.
fn refuse_folders_of(path: &Path, wanted: &Path) -> Result<(), PermissionError> {
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
        } else if step != path && us != 0 && owner == us {
            // on many systems a user's folders are open to a group that is his alone
            GROUP_WRITE
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
    // of one that is not there, the way to where it would be
    let real = path.ancestors().find_map(|step| fs::canonicalize(step).ok());
    let ways = [Some(path), real.as_deref()];
    let mut steps =
        ways.into_iter().flatten().flat_map(Path::ancestors).filter(|step| !step.as_os_str().is_empty());
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
