//! The folder and the files of a store: who may read them, and that only one process writes them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redpoll_config::{check_private, check_state_dir, look_at_state_dir};
use rustix::fs::{FlockOperation, OFlags};

use super::restore::{self, Finished};
use super::whole::{self, file, folder_of, log_of, size, sync_folder};
use super::{OpenError, compact};

/// The database, in the store's folder. SQLite keeps `jobs.db-wal` and `jobs.db-shm` beside it, with the same mode.
pub const DATABASE: &str = "jobs.db";
/// Locked for as long as the store is open.
const LOCK: &str = "jobs.lock";
/// Space kept for the day the disk is full.
const RESERVE: &str = "jobs.reserve";

const PRIVATE_FILE: u32 = 0o600;
/// "RPjc": says that a database is a copy that was made by `backup`. The first start with it takes the mark away.
pub(super) const COPY: i32 = 0x5250_6a63;
/// What a database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where a database says whose it is, as a big-endian number.
const APPLICATION_AT: u64 = 68;

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
    /// Makes what is missing, refuses what others could read, and locks the folder. A restore that was broken off is finished.
    pub(super) fn prepare(folder: &Path) -> Result<(Self, Lock), OpenError> {
        let (files, lock) = Self::lock(folder)?;
        let at = |source| OpenError::File { path: files.database.clone(), source };
        if let Some(Finished { kept, forgotten }) = restore::finish(&files.database).map_err(at)? {
            let lets_in = forgotten.denied;
            let help = "revoke again whom it lets in, with rpctl agents revoke or rpctl operators revoke";
            tracing::warn!(?kept, ?lets_in, help, "a restore that was broken off is finished");
        }
        restore::clear(&files.database);
        // it has arguments in it that are masked by now
        compact::clear(&files.database);
        refuse_lone_log(&files.database)?;
        // made here, because SQLite would make it as the umask says
        private(&files.database).map_err(at)?;
        check_private(&files.database)?;
        unmark(&files.database).map_err(at)?;
        // a new name is durable only when its folder is
        let folder = folder_of(&files.database);
        sync_folder(folder).map_err(|source| file(folder, source))?;
        Ok((files, lock))
    }

    /// Locks the folder, makes it if it is missing, and touches nothing in it.
    pub(super) fn lock(folder: &Path) -> Result<(Self, Lock), OpenError> {
        let folder = &whole::absolute(folder)?;
        check_state_dir(folder)?;
        let files = Self { database: folder.join(DATABASE), reserve: folder.join(RESERVE) };
        let lock = lock(folder)?;
        Ok((files, lock))
    }

    /// Whether a name in the folder is one that a store or SQLite uses.
    pub(super) fn is_own(name: &str) -> bool {
        const SUFFIXES: [&str; 7] = ["", "-wal", "-shm", "-journal", ".compact", ".restore", ".restored"];
        [LOCK, RESERVE].contains(&name)
            || name.strip_prefix(DATABASE).is_some_and(|suffix| SUFFIXES.contains(&suffix))
    }
}

/// Refuses a folder or a database that `Files::prepare` would refuse, and touches nothing. What is not there is good.
///
/// # Errors
/// [`OpenError::Permissions`], [`OpenError::ForeignLog`] and [`OpenError::LogAlone`].
pub fn look(folder: &Path) -> Result<(), OpenError> {
    look_at_state_dir(folder)?;
    let database = folder.join(DATABASE);
    if database.exists() {
        check_private(&database)?;
    }
    // a restore that was broken off moves the log away
    if restore::is_broken_off(&database) { Ok(()) } else { refuse_lone_log(&database) }
}

/// Refuses a log without the database that it belongs to: where a copy took its place SQLite would apply one to the other, and where
/// nothing is, or an empty file, it would remove the log.
pub(super) fn refuse_lone_log(database: &Path) -> Result<(), OpenError> {
    let log = log_of(database);
    if size(&log) == 0 {
        return Ok(());
    }
    let path = database.to_owned();
    if size(database) == 0 {
        return Err(OpenError::LogAlone { path, log });
    }
    match open(database).and_then(|file| is_copy(&file)) {
        Ok(true) => Err(OpenError::ForeignLog { path, log }),
        Ok(false) => Ok(()),
        Err(source) => Err(file(database, source)),
    }
}

/// Opens a file for reading, without waiting where the path leads to a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Whether a file is a database that says it is a copy.
pub(super) fn is_copy(file: &File) -> io::Result<bool> {
    let (mut magic, mut application) = ([0; MAGIC.len()], [0; 4]);
    let read =
        file.read_exact_at(&mut magic, 0).and_then(|()| file.read_exact_at(&mut application, APPLICATION_AT));
    match read {
        Ok(()) => Ok(&magic == MAGIC && i32::from_be_bytes(application) == COPY),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a store of a copy. Not by SQLite, whose log would be one until it is moved.
fn unmark(database: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(database)?;
    if is_copy(&file)? {
        let ours = i32::try_from(super::writer::APPLICATION).unwrap_or(0);
        file.write_all_at(&ours.to_be_bytes(), APPLICATION_AT)?;
        file.sync_all()?;
    }
    Ok(())
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

/// Makes a file that only its owner may read, where there is none.
pub(super) fn new_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE).open(path)
}
