//! What compacting, copying and restoring share: a look at a database as a whole, its files, and the room for another one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redpoll_manager_core::chain::Point;
use rusqlite::{Connection, OpenFlags};

use super::{OpenError, chain, migrations, opening, writer};

/// Bytes that must be free beyond the size of a new database.
pub(super) const MARGIN: u64 = 16 * 1024 * 1024;
/// The version from which on the history has a head.
const CHAINED: usize = 6;

/// What is in a database, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of the file.
    pub bytes: u64,
    /// Its version.
    pub version: usize,
    /// The head of its history; `None` for one from before there were hashes.
    pub head: Option<Point>,
}

impl Extent {
    /// Reads it from an open database of a version that this build knows.
    pub(super) fn of(connection: &Connection, path: &Path, version: usize) -> rusqlite::Result<Self> {
        let head = if version < CHAINED { None } else { Some(chain::load(connection)?.head()) };
        Ok(Self { bytes: size(path), version, head })
    }
}

/// Opens a database as it is, for one that knows what it does.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(writer::BUSY)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// The version of a database. Refuses what is no store, and what a later build wrote.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<usize, OpenError> {
    let at = |error| opening(path, error);
    let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = read("application_id").map_err(at)?;
    if application != writer::APPLICATION && application != i64::from(super::files::COPY) {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    }
    let (found, known) = (read("user_version").map_err(at)?, migrations::VERSION);
    match usize::try_from(found) {
        Ok(version) if version <= known => Ok(version),
        Ok(_) | Err(_) => Err(OpenError::Newer { path: path.to_owned(), found, known }),
    }
}

/// What `integrity_check` or `quick_check` finds wrong first.
pub(super) fn flaw(connection: &Connection, check: &str) -> rusqlite::Result<Option<String>> {
    let said: String = connection.query_row(&format!("PRAGMA {check}(1)"), [], |row| row.get(0))?;
    Ok((said != "ok").then_some(said))
}

/// The file that SQLite keeps beside a database under its name and a suffix.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The log of a database.
pub(super) fn log_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

/// Removes a new database that does not count, and what belongs to it.
pub(super) fn remove_draft(draft: &Path) {
    for suffix in ["-wal", "-journal", "-shm", ""] {
        let _gone = fs::remove_file(beside(draft, suffix));
    }
}

/// Bytes of a file, 0 if it is not there.
pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// Bytes that this user may still write on the disk of a folder.
pub(super) fn free(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that a path is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

/// A path in which SQLite sees nothing but a path: one that begins with `file:` is a URI to it, and an absolute one never does.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    std::path::absolute(path).map_err(|source| file(path, source))
}

/// What is wrong with a file.
pub(super) fn file(path: &Path, source: io::Error) -> OpenError {
    OpenError::File { path: path.to_owned(), source }
}
