//! Copies the store into one file, while a manager runs or not: what is committed when it begins, and nothing of later.
//!
//! It is one read transaction, so that commits in between do not make it begin anew, as they do `.backup` of the sqlite3 shell. The
//! copy says that it is one: put into the place of a database whose log is still there, it is refused instead of being destroyed.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use rustix::fs::{Gid, RenameFlags, Uid};

use super::files::{self, Files};
use super::whole::{self, Extent, MARGIN, beside, file, folder_of, free, log_of, size, sync_folder};
use super::{OpenError, opening, restore};

/// What is behind the name of a copy until it is whole.
const DRAFT: &str = ".part";

/// Why no copy was made. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read, or the copy cannot be written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no store.
    #[error("there is no {}\nhelp: is this the folder of the manager's store?", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A restore was broken off.
    #[error("a restore was broken off in {}\nhelp: start the manager, which finishes it", folder.display())]
    Restoring {
        /// The folder of the store.
        folder: PathBuf,
    },
    /// There is something already.
    #[error("{} is there already\nhelp: name a new file; nothing is overwritten", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else writes the same copy, or was ended while writing.
    #[error("{} is there already\nhelp: remove it, unless another backup is writing it just now", path.display())]
    Unfinished {
        /// The half copy.
        path: PathBuf,
    },
    /// The name is one of the store's own files.
    #[error("{} would be taken for a file of the store itself\nhelp: name another file", path.display())]
    OwnName {
        /// The path.
        path: PathBuf,
    },
    /// The disk has no room for it.
    #[error("{} needs {needed} bytes for the copy, and {free} are free\nhelp: make space, or name a file on another disk", folder.display())]
    NoSpace {
        /// Where it would be.
        folder: PathBuf,
        /// Bytes that must be free.
        needed: u64,
        /// Bytes that are.
        free: u64,
    },
    /// The copy is not what it should be.
    #[error(
        "the copy is damaged, most likely because the store is: {0}\n\
         help: look at the disk, and keep the backups that there are"
    )]
    Damaged(String),
}

/// Copies the store of a folder into a new file, which only the owner of the store may read. Blocks, for as long as the disk takes to read the store
/// once, to write the copy once and to read it once.
///
/// # Errors
/// [`BackupError`]; then there is no copy.
pub fn backup(folder: &Path, copy: &Path) -> Result<Extent, BackupError> {
    let (folder, copy) = (&*whole::absolute(folder)?, &*whole::absolute(copy)?);
    let database = folder.join(super::DATABASE);
    if restore::is_broken_off(&database) {
        return Err(BackupError::Restoring { folder: folder.to_owned() });
    }
    if !database.exists() {
        return Err(BackupError::Missing { path: database });
    }
    // opening it would destroy it
    files::refuse_lone_log(&database)?;
    is_free(folder, copy)?;
    let draft = beside(copy, DRAFT);
    let made = match files::new_private(&draft) {
        Ok(made) => made,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Unfinished { path: draft });
        }
        Err(error) => return Err(file(&draft, error).into()),
    };
    let done = write(&database, &draft, folder_of(copy)).and_then(|extent| {
        // only now: in a folder like /tmp not even root may open for writing what another user owns
        hand_over(&made, &database);
        name(&draft, copy)?;
        Ok(extent)
    });
    if done.is_err() {
        let _half = fs::remove_file(&draft);
    }
    done
}

/// Gives what root makes to the user of the store, who could not restore it otherwise; root may not.
fn hand_over(draft: &File, database: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let Ok(owner) = fs::metadata(database) {
        let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
        // some file systems have no owners: the copy is as good, and `restore` says what is in the way
        let _as_made = rustix::fs::fchown(draft, Some(user), Some(group));
    }
}

/// Refuses a name that is taken, or that SQLite or the manager would take for their own.
fn is_free(folder: &Path, copy: &Path) -> Result<(), BackupError> {
    if fs::symlink_metadata(copy).is_ok() {
        return Err(BackupError::Exists { path: copy.to_owned() });
    }
    let same = |path: &Path| fs::canonicalize(path).ok();
    let is_in_folder = same(folder_of(copy)).is_some_and(|into| Some(into) == same(folder));
    if is_in_folder && copy.file_name().is_some_and(|name| Files::is_own(&name.to_string_lossy())) {
        return Err(BackupError::OwnName { path: copy.to_owned() });
    }
    Ok(())
}

fn write(database: &Path, draft: &Path, folder: &Path) -> Result<Extent, BackupError> {
    let at = |error| opening(database, error);
    // a log of a manager that was killed stays what it is: whoever makes a copy changes nothing
    let keep_log = size(&log_of(database)) > 0;
    let store = whole::connect(database).map_err(at)?;
    store.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep_log).map_err(at)?;
    let version = whole::version(&store, database)?;
    let read = |name| store.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = read("page_count").and_then(|all| Ok(all - read("freelist_count")?)).map_err(at)?;
    let bytes = pages.saturating_mul(read("page_size").map_err(at)?);
    let needed = u64::try_from(bytes).unwrap_or(0) + MARGIN;
    let free = free(folder).map_err(|source| file(folder, source))?;
    if free < needed {
        return Err(BackupError::NoSpace { folder: folder.to_owned(), needed, free });
    }
    let path = draft.to_str().ok_or_else(|| file(draft, std::io::ErrorKind::InvalidFilename.into()))?;
    store.execute("VACUUM INTO ?1", params![path]).map_err(at)?;
    drop(store);
    let of = |error| opening(draft, error);
    let copy = whole::connect(draft).map_err(of)?;
    if let Some(said) = whole::flaw(&copy, "integrity_check").map_err(of)? {
        return Err(BackupError::Damaged(said));
    }
    let extent = mark(&copy, draft, version).map_err(of)?;
    copy.close().map_err(|(_connection, error)| of(error))?;
    Ok(extent)
}

/// Has a copy say that it is one.
fn mark(copy: &Connection, draft: &Path, version: usize) -> rusqlite::Result<Extent> {
    copy.pragma_update(None, "application_id", files::COPY)?;
    Extent::of(copy, draft, version)
}

/// Gives a copy its name, once it is on disk.
fn name(draft: &Path, copy: &Path) -> Result<(), BackupError> {
    let synced = File::open(draft).and_then(|file| file.sync_all());
    synced.map_err(|source| file(draft, source))?;
    let here = rustix::fs::CWD;
    match rustix::fs::renameat_with(here, draft, here, copy, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Err(BackupError::Exists { path: copy.to_owned() }),
        // file systems of the network do not have it
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => link(draft, copy)?,
        Err(error) => return Err(file(copy, error.into()).into()),
    }
    let folder = folder_of(copy);
    sync_folder(folder).map_err(|source| file(folder, source))?;
    Ok(())
}

/// The same where a name cannot be changed without replacing another: two names for a moment.
fn link(draft: &Path, copy: &Path) -> Result<(), BackupError> {
    match fs::hard_link(draft, copy) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists { path: copy.to_owned() });
        }
        Err(error) => return Err(file(copy, error).into()),
    }
    fs::remove_file(draft).map_err(|source| file(draft, source).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_by_a_link_takes_nobodys_place() {
        let folder = tempfile::tempdir().unwrap();
        let (draft, copy) = (folder.path().join("a.part"), folder.path().join("a"));
        fs::write(&draft, "new").unwrap();
        fs::write(&copy, "old").unwrap();
        assert!(matches!(link(&draft, &copy).unwrap_err(), BackupError::Exists { .. }));
        assert_eq!((fs::read(&copy).unwrap(), draft.exists()), (b"old".to_vec(), true));
        fs::remove_file(&copy).unwrap();
        link(&draft, &copy).unwrap();
        assert_eq!((fs::read(&copy).unwrap(), draft.exists()), (b"new".to_vec(), false));
    }
}
