//! The folder and the files of a store: who may read them, and that only one process writes them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redpoll_config::{check_private, check_state_dir};
use rustix::fs::FlockOperation;

use super::OpenError;

/// The database, in the store's folder. SQLite keeps `jobs.db-wal` and `jobs.db-shm` beside it, with the same mode.
pub const DATABASE: &str = "jobs.db";
/// Locked for as long as the store is open.
const LOCK: &str = "jobs.lock";
/// Space kept for the day the disk is full.
const RESERVE: &str = "jobs.reserve";

const PRIVATE_FILE: u32 = 0o600;

/// Where things are.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) database: PathBuf,
    pub(super) reserve: PathBuf,
}

/// Keeps other processes out until it is dropped; the system drops it for one that was killed.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Files {
    /// Makes what is missing, refuses what others could read, and locks the folder.
    pub(super) fn prepare(folder: &Path) -> Result<(Self, Lock), OpenError> {
        check_state_dir(folder)?;
        let files = Self { database: folder.join(DATABASE), reserve: folder.join(RESERVE) };
        let lock = lock(folder)?;
        // made here, because SQLite would make it as the umask says
        private(&files.database)
            .map_err(|source| OpenError::File { path: files.database.clone(), source })?;
        check_private(&files.database)?;
        // a new name is durable only when its folder is
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| OpenError::File { path: folder.to_owned(), source })?;
        Ok((files, lock))
    }
}

fn lock(folder: &Path) -> Result<Lock, OpenError> {
    let path = folder.join(LOCK);
    let file = private(&path).map_err(|source| OpenError::File { path: path.clone(), source })?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { folder: folder.to_owned() }),
        Err(error) => Err(OpenError::File { path, source: error.into() }),
    }
}

/// Opens or makes a file that only its owner may read.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(path)
}
