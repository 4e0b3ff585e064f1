//! Writes the database anew, so that nothing is left in it of what was deleted or replaced: builds before `secure_delete` left copies
//! of secrets in the free parts of pages.
//!
//! Nobody else may have the store open. The new file is whole and on disk before it takes the place of the old one, so that an end
//! at any moment leaves one of the two.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use super::files::{Files, private};
use super::{OpenError, is_refusal, migrations, opening, writer};

/// The new database until it is whole.
const DRAFT: &str = "jobs.db.compact";
/// Bytes that must be free beyond the size of the database and its log.
const MARGIN: u64 = 16 * 1024 * 1024;

/// Why a store was not compacted. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no store.
    #[error("there is no {}\nhelp: is this the manager's state folder?", path.display())]
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
    let path = folder.join(super::DATABASE);
    if !path.exists() {
        return Err(CompactError::Missing { path });
    }
    let (files, _lock) = Files::prepare(folder)?;
    let (database, draft) = (files.database, folder.join(DRAFT));
    let before = size(&database) + size(&log_of(&database));
    let free = free(folder).map_err(|source| file(folder, source))?;
    let needed = before + MARGIN;
    // what an end in the middle left is overwritten
    if free + size(&draft) < needed {
        return Err(CompactError::NoSpace { folder: folder.to_owned(), needed, free });
    }
    let _left = fs::remove_file(&draft);
    let done = write(&database, &draft);
    if done.is_err() {
        let _half = fs::remove_file(&draft);
    }
    done?;
    let replace = || {
        File::open(&draft)?.sync_all()?;
        // the log is gone for good, before there is a database to which its changes would be applied
        File::open(folder)?.sync_all()?;
        fs::rename(&draft, &database)?;
        File::open(folder)?.sync_all()
    };
    replace().map_err(|source| file(&database, source))?;
    Ok(Compacted { before, after: size(&database) })
}

/// Writes what counts of a database into another file, and looks at it. The log is empty and gone afterwards.
fn write(database: &Path, draft: &Path) -> Result<(), CompactError> {
    private(draft).map_err(|source| file(draft, source))?;
    let at = |error: rusqlite::Error| match is_refusal(&error) {
        true => OpenError::Refused { path: database.to_owned(), source: error.into() },
        false => opening(database, error),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let old = Connection::open_with_flags(database, flags).map_err(at)?;
    check(&old, database)?;
    old.pragma_update(None, "secure_delete", true).map_err(at)?;
    old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(())).map_err(at)?;
    old.execute("VACUUM INTO ?1", params![draft.to_string_lossy()]).map_err(at)?;
    old.close().map_err(|(_connection, error)| at(error))?;
    let log = log_of(database);
    if size(&log) > 0 {
        // its changes would be applied to the new database, whose pages are others
        let source = io::Error::other("the log is not empty after the last connection was closed");
        return Err(file(&log, source));
    }
    let _empty = fs::remove_file(&log);
    let new = Connection::open_with_flags(draft, flags).map_err(at)?;
    let said: String = new.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(at)?;
    new.close().map_err(|(_connection, error)| at(error))?;
    if said == "ok" { Ok(()) } else { Err(CompactError::Damaged(said)) }
}

/// Refuses what is no store, and what a later build wrote.
fn check(connection: &Connection, path: &Path) -> Result<(), CompactError> {
    let at = |error| opening(path, error);
    let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if read("application_id").map_err(at)? != writer::APPLICATION {
        return Err(OpenError::NotAStore { path: path.to_owned() }.into());
    }
    let (found, known) = (read("user_version").map_err(at)?, migrations::VERSION);
    match usize::try_from(found) {
        Ok(version) if version <= known => Ok(()),
        Ok(_) | Err(_) => Err(OpenError::Newer { path: path.to_owned(), found, known }.into()),
    }
}

fn log_of(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// Bytes that this user may still write on the disk of a folder.
fn free(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn file(path: &Path, source: io::Error) -> CompactError {
    OpenError::File { path: path.to_owned(), source }.into()
}
