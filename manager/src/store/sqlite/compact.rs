//! Writes the database anew, so that nothing is left in it of what was deleted or replaced: builds before `secure_delete` left copies
//! of secrets in the free parts of pages.
//!
//! Nobody else may have the store open. The new file is whole and on disk before it takes the place of the old one, so that an end
//! at any moment leaves one of the two.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::params;

use super::files::{Files, private};
use super::whole::{self, MARGIN, beside, file, free, log_of, remove_draft, size, sync_folder};
use super::{OpenError, is_refusal, opening};

/// The new database until it is whole, behind the name of the old one.
const DRAFT: &str = ".compact";

/// Why a store was not compacted. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no store.
    #[error("there is no {}\nhelp: is this the folder of the manager's store?", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// The disk has no room for a second database.
    #[error("{} needs {needed} bytes for a second database, and {free} are free\nhelp: make space, or move the folder to a larger disk", folder.display())]
    NoSpace {
        /// The folder.
        folder: PathBuf,
        /// Bytes that must be free.
        needed: u64,
        /// Bytes that are.
        free: u64,
    },
    /// The new database is not what it should be.
    #[error("the new database is damaged: {0}\nhelp: look at the disk, and at the memory of the machine")]
    Damaged(String),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the database and its log before.
    pub before: u64,
    /// Bytes of the database now.
    pub after: u64,
}

/// Writes the database of a store in a folder anew. Blocks, for as long as the disk takes to read it twice and write it once.
///
/// # Errors
/// [`CompactError`]; then nothing has changed, but that the log was moved into the database.
pub fn compact(folder: &Path) -> Result<Compacted, CompactError> {
    let folder = &whole::absolute(folder)?;
    let path = folder.join(super::DATABASE);
    if !path.exists() {
        return Err(CompactError::Missing { path });
    }
    let (files, _lock) = Files::prepare(folder)?;
    let draft = beside(&files.database, DRAFT);
    let database = files.database;
    let before = size(&database) + size(&log_of(&database));
    let free = free(folder).map_err(|source| file(folder, source))?;
    let needed = before + MARGIN;
    if free < needed {
        return Err(CompactError::NoSpace { folder: folder.to_owned(), needed, free });
    }
    let done = write(&database, &draft);
    if done.is_err() {
        remove_draft(&draft);
    }
    done?;
    let replace = || {
        File::open(&draft)?.sync_all()?;
        // the log is gone for good, before there is a database to which its changes would be applied
        sync_folder(folder)?;
        fs::rename(&draft, &database)?;
        sync_folder(folder)
    };
    replace().map_err(|source| file(&database, source))?;
    Ok(Compacted { before, after: size(&database) })
}

/// Removes what one left that was ended in the middle. For whoever holds the lock.
pub(super) fn clear(database: &Path) {
    remove_draft(&beside(database, DRAFT));
}

/// Writes what counts of a database into another file, and looks at it. The log is empty and gone afterwards.
fn write(database: &Path, draft: &Path) -> Result<(), CompactError> {
    private(draft).map_err(|source| file(draft, source))?;
    let at = |error: rusqlite::Error| match is_refusal(&error) {
        true => OpenError::Refused { path: database.to_owned(), source: error.into() },
        false => opening(database, error),
    };
    let old = whole::connect(database).map_err(at)?;
    whole::version(&old, database)?;
    old.pragma_update(None, "secure_delete", true).map_err(at)?;
    old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(())).map_err(at)?;
    old.execute("VACUUM INTO ?1", params![draft.to_string_lossy()]).map_err(at)?;
    old.close().map_err(|(_connection, error)| at(error))?;
    let log = log_of(database);
    if size(&log) > 0 {
        // its changes would be applied to the new database, whose pages are others
        let source = io::Error::other("the log is not empty after the last connection was closed");
        return Err(file(&log, source).into());
    }
    let _empty = fs::remove_file(&log);
    // the index of a log that is gone
    let _index = fs::remove_file(beside(database, "-shm"));
    let new = whole::connect(draft).map_err(at)?;
    let flaw = whole::flaw(&new, "integrity_check").map_err(at)?;
    new.close().map_err(|(_connection, error)| at(error))?;
    flaw.map_or(Ok(()), |said| Err(CompactError::Damaged(said)))
}
