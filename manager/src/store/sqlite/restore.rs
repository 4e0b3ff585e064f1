//! Puts a copy into the place of the store, and keeps what was there.
//!
//! The log of the old database must never be applied to the copy, whatever happens in between. So the copy is made whole and looked at
//! beside the store, and then gets the name [`READY`], which is the one step that counts: whoever locks the folder after that
//! moves the old database and its log aside first, and gives the copy its place.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use redpoll_manager_core::revoked::Denied;

use super::files::{self, Files, Lock};
use super::forgotten::{self, Forgotten};
use super::whole::{
    self, Extent, MARGIN, beside, file, folder_of, free, log_of, remove_draft, size, sync_folder,
};
use super::{OpenError, opening};

/// The copy until it is whole, behind the name of the database.
const DRAFT: &str = ".restore";
/// The copy once it shall take its place.
const READY: &str = ".restored";
/// Before the milliseconds since 1970 in the name of what was there.
const BEFORE: &str = ".before-";
/// What SQLite keeps beside a database and would apply to another one of its name.
const LOGS: [&str; 2] = ["-wal", "-journal"];

/// Why a copy was not put into the place of the store, which is as it was unless [`RestoreError::Begun`].
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The folder or the files cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The copy.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The copy is something else.
    #[error("{} is no copy of a store of jobs", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// A later build wrote it.
    #[error(
        "{} has version {found}, this build knows versions up to {known}\nhelp: run the build that wrote it",
        path.display()
    )]
    Newer {
        /// The copy.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version of this build.
        known: usize,
    },
    /// The copy is damaged.
    #[error("{} is damaged: {said}\nhelp: use another copy", path.display())]
    Damaged {
        /// The copy.
        path: PathBuf,
        /// What the database said.
        said: String,
    },
    /// The disk has no room for it beside what is there.
    #[error("{} needs {needed} bytes for the copy, and {free} are free\nhelp: make space", folder.display())]
    NoSpace {
        /// The folder of the store.
        folder: PathBuf,
        /// Bytes that must be free.
        needed: u64,
        /// Bytes that are.
        free: u64,
    },
    /// The step that counts is done, and one of those behind it failed: the next start goes on.
    #[error("{said}\nhelp: {help}")]
    Begun {
        /// How far it came.
        said: &'static str,
        /// What can be done.
        help: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// A restore came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What was there and is kept, if there was anything.
    pub kept: Option<PathBuf>,
    /// Whom that shuts out, and the copy does not.
    pub forgotten: Forgotten,
}

/// A copy that is whole, on disk and beside a store that nobody has open. Dropped, it is removed.
#[derive(Debug)]
#[must_use = "the store is as it was until it is put in place"]
pub struct Ready {
    files: Files,
    draft: PathBuf,
    extent: Extent,
    forgotten: Forgotten,
    _lock: Lock,
}

impl Ready {
    /// Looks at a copy, as it is or with the log beside it, and brings it into the folder of a store. Blocks for as long as the disk takes
    /// to copy and to read it.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn prepare(folder: &Path, copy: &Path) -> Result<Self, RestoreError> {
        Self::after(folder, copy, |_finished| {})
    }

    /// The same, and tells of an earlier one that was broken off and is finished first: it counts, whatever becomes of this one.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn after(folder: &Path, copy: &Path, tell: impl FnOnce(&Finished)) -> Result<Self, RestoreError> {
        let (files, lock) = Files::lock(folder)?;
        let database = &files.database;
        let folder = folder_of(database);
        let earlier = finish(database).map_err(|source| RestoreError::Begun {
            said: "an earlier copy is to be put in place first, and that cannot be finished",
            help: "mend that; the next start goes on with it, and so does this command".to_owned(),
            source,
        })?;
        if let Some(earlier) = &earlier {
            tell(earlier);
        }
        clear(database);
        let draft = beside(database, DRAFT);
        match bring(folder, copy, &draft).and_then(|()| look(copy, &draft)) {
            Ok((extent, known)) => {
                // whom the store before the earlier copy shut out, nobody has let in since
                let kept = earlier.as_ref().and_then(|earlier| earlier.kept.as_deref());
                let forgotten = forgotten::forgotten(kept.into_iter().chain([database.as_path()]), &known);
                Ok(Self { files, draft, extent, forgotten, _lock: lock })
            }
            Err(error) => {
                remove_draft(&draft);
                Err(error)
            }
        }
    }

    /// What is in the copy.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Whom the store that is there shuts out, and the copy does not.
    pub fn forgotten(&self) -> &Forgotten {
        &self.forgotten
    }

    /// Puts it in place. Gives what was there and is kept, if there was anything.
    ///
    /// # Errors
    /// [`RestoreError::Open`]; or [`RestoreError::Begun`], after which the next start goes on.
    pub fn put(self) -> Result<Option<PathBuf>, RestoreError> {
        let database = &self.files.database;
        let ready = beside(database, READY);
        let before = present(database);
        fs::rename(&self.draft, &ready).map_err(|source| file(&ready, source))?;
        let put = sync_folder(folder_of(database)).and_then(|()| finish(database));
        let finished = put.map_err(|source| begun(database, &before, source))?;
        Ok(finished.and_then(|finished| finished.kept))
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // has another name once it counts
        remove_draft(&self.draft);
    }
}

/// Whether a copy waits to take the place of a database.
pub(super) fn is_broken_off(database: &Path) -> bool {
    beside(database, READY).exists()
}

/// Removes what a restore left that was ended before it counted. For whoever holds the lock.
pub(super) fn clear(database: &Path) {
    remove_draft(&beside(database, DRAFT));
}

/// The database and its logs, those that are there.
fn present(database: &Path) -> Vec<PathBuf> {
    let all = LOGS.iter().chain(&[""]).map(|suffix| beside(database, suffix));
    all.filter(|path| path.exists()).collect()
}

/// How far one came that failed after the step that counts; `before` are the files that were there.
fn begun(database: &Path, before: &[PathBuf], source: io::Error) -> RestoreError {
    let ready = beside(database, READY);
    let (said, help) = if !ready.exists() {
        ("the copy is the store, but the disk did not confirm it", "look at the disk".to_owned())
    } else if before.iter().all(|path| path.exists()) {
        let help = format!("to prevent that, remove {}", ready.display());
        ("the copy is whole, and will be put in place at the next start", help)
    } else {
        let kept = beside(database, BEFORE);
        let help =
            format!("leave {} there; what was there is kept as {}TIME", ready.display(), kept.display());
        ("the copy is whole, a part of the old store is moved aside, and the next start finishes it", help)
    };
    RestoreError::Begun { said, help, source }
}

/// Gives a copy that is ready its place, also where an earlier try ended in the middle. For whoever holds the lock.
pub(super) fn finish(database: &Path) -> io::Result<Option<Finished>> {
    let (ready, folder) = (beside(database, READY), folder_of(database));
    let found = match fs::metadata(&ready) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // the same in each try
    let at = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let kept = beside(database, &format!("{BEFORE}{at}"));
    for suffix in LOGS.iter().chain(&[""]) {
        aside(&beside(database, suffix), &beside(&kept, suffix))?;
    }
    let _index = fs::remove_file(beside(database, "-shm"));
    // the old log is gone for good before the copy has the name that it belongs to
    sync_folder(folder)?;
    fs::rename(&ready, database)?;
    sync_folder(folder)?;
    let kept = (kept.exists() || log_of(&kept).exists()).then_some(kept);
    let forgotten = forgotten::since(kept.as_deref(), database);
    Ok(Some(Finished { kept, forgotten }))
}

/// Moves a file away, if it is there, over nothing.
fn aside(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    if to.exists() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is there already", to.display()),
        ));
    }
    fs::rename(from, to)
}

/// Copies a database and its log, if it has one of its own, byte by byte: reading it where it is could change it.
fn bring(folder: &Path, copy: &Path, draft: &Path) -> Result<(), RestoreError> {
    let unreadable = |source| RestoreError::Unreadable { path: copy.to_owned(), source };
    let mut from = files::open(copy).map_err(unreadable)?;
    if !from.metadata().map_err(unreadable)?.is_file() {
        return Err(RestoreError::NotAStore { path: copy.to_owned() });
    }
    let log = log_of(copy);
    // what `backup` makes has none: it is that of another database
    let has_log = size(&log) > 0 && !files::is_copy(&from).map_err(unreadable)?;
    let needed = size(copy) + if has_log { size(&log) } else { 0 } + MARGIN;
    let free = free(folder).map_err(|source| file(folder, source))?;
    if free < needed {
        return Err(RestoreError::NoSpace { folder: folder.to_owned(), needed, free });
    }
    let write = |from: &mut File, to: &Path| {
        let copied = files::new_private(to).and_then(|mut to| io::copy(from, &mut to));
        copied.map(drop).map_err(|source| RestoreError::from(file(to, source)))
    };
    write(&mut from, draft)?;
    if has_log {
        let mut from =
            File::open(&log).map_err(|source| RestoreError::Unreadable { path: log.clone(), source })?;
        write(&mut from, &log_of(draft))?;
    }
    Ok(())
}

/// Looks at a copy of a copy, and makes one file of it, that is on disk.
fn look(copy: &Path, draft: &Path) -> Result<(Extent, BTreeSet<Denied>), RestoreError> {
    let path = copy.to_owned();
    let at = |error| of_copy(opening(draft, error), copy);
    let connection = whole::connect(draft).map_err(at)?;
    let version = whole::version(&connection, draft).map_err(|error| of_copy(error, copy))?;
    if let Some(said) = whole::flaw(&connection, "quick_check").map_err(at)? {
        return Err(RestoreError::Damaged { path, said });
    }
    // moves its log into it, and removes that
    connection.pragma_update_and_check(None, "journal_mode", "delete", |_row| Ok(())).map_err(at)?;
    let extent = Extent::of(&connection, draft, version).map_err(at)?;
    // a list that cannot be read shuts out nobody for sure
    let known = forgotten::denied(&connection).unwrap_or_default();
    connection.close().map_err(|(_connection, error)| at(error))?;
    let whole = || {
        let log = log_of(draft);
        if size(&log) > 0 {
            return Err(io::Error::other("its log was not moved into it"));
        }
        File::open(draft)?.sync_all()
    };
    whole().map_err(|source| file(draft, source))?;
    Ok((Extent { bytes: size(draft), ..extent }, known))
}

/// What is wrong with a copy, said of the copy itself.
fn of_copy(error: OpenError, copy: &Path) -> RestoreError {
    let path = copy.to_owned();
    match error {
        OpenError::NotAStore { .. } => RestoreError::NotAStore { path },
        OpenError::Newer { found, known, .. } => RestoreError::Newer { path, found, known },
        OpenError::Damaged { source, .. } => RestoreError::Damaged { path, said: source.to_string() },
        other @ (OpenError::Permissions(_)
        | OpenError::File { .. }
        | OpenError::InUse { .. }
        | OpenError::Migration { .. }
        | OpenError::ForeignLog { .. }
        | OpenError::LogAlone { .. }
        | OpenError::Refused { .. }) => other.into(),
    }
}
