//! What happens when the disk is full: a reserve is given up, so that what is under way can still be recorded, and is taken
//! again when there is space.
//!
//! The reserve is two things. *A file* with space really allocated to it: removing it gives the space back to the file system
//! at once, without writing anything. And, where the size of the database is limited, *a margin* of pages below the limit.
//! It is taken again only when there is a quarter more than it needs, so that the store does not go back and forth.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, retry_on_intr};

use super::Options;
use super::files::private;
use super::log;
use super::trouble::{Trouble, is_no_room};
use super::whole::folder_of;
use crate::store::Room;

/// Pages given back to the disk at one time, while space is scarce: 8 MiB.
const VACUUM_PAGES: i64 = 2048;
/// The same where there is no room to move so many: they are written to the log first.
const FEW_PAGES: i64 = 64;

/// The unit in which files say what they hold of the disk.
const BLOCK: u64 = 512;

/// Whether an error is one of the moment: want of descriptors or memory, or a signal.
fn passes(error: &io::Error) -> bool {
    let moment = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|errno| moment.contains(&errno))
}

/// Shows how much room there is, to everybody.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauge(Arc<AtomicU8>);

impl Gauge {
    pub(super) fn room(&self) -> Room {
        match self.0.load(Ordering::SeqCst) {
            0 => Room::Plenty,
            1 => Room::Reserve,
            _ => Room::Nothing,
        }
    }

    fn set(&self, room: Room) {
        let number = match room {
            Room::Plenty => 0,
            Room::Reserve => 1,
            Room::Nothing => 2,
        };
        self.0.store(number, Ordering::SeqCst);
    }
}

/// The writer's view.
#[derive(Debug)]
pub(super) struct Space {
    gauge: Gauge,
    file: PathBuf,
    file_bytes: u64,
    limit: Option<Limit>,
    checked: Instant,
}

/// A limit for the database, in pages.
#[derive(Debug, Clone, Copy)]
struct Limit {
    pages: i64,
    margin: i64,
}

impl Space {
    /// Takes the reserve; without space for it the store begins as one whose disk is full, and says so.
    pub(super) fn new(
        connection: &Connection,
        file: PathBuf,
        options: &Options,
        gauge: Gauge,
    ) -> rusqlite::Result<Self> {
        let page = page_size(connection)?;
        let pages = |bytes: u64| i64::try_from(bytes / page).unwrap_or(i64::MAX);
        let limit = options
            .max_bytes
            .map(|bytes| Limit { pages: pages(bytes), margin: pages(options.reserve_bytes) });
        let mut space =
            Self { gauge, file, file_bytes: options.reserve_bytes, limit, checked: Instant::now() };
        if let Some(limit) = space.limit {
            set_limit(connection, limit.pages)?;
        }
        space.gauge.set(Room::Reserve);
        match space.restore(connection) {
            Ok(()) | Err(Trouble::Full | Trouble::Hole { .. } | Trouble::Gone(_)) => {}
            Err(Trouble::Broken(_, error)) => return Err(error),
        }
        if space.room() != Room::Plenty {
            no_new_jobs();
        }
        Ok(space)
    }

    pub(super) fn room(&self) -> Room {
        self.gauge.room()
    }

    /// A write found no space: gives up the reserve, if it is still there.
    pub(super) fn release(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.checked = Instant::now();
        if self.gauge.room() == Room::Plenty {
            no_new_jobs();
            self.gauge.set(Room::Reserve);
        }
        if let Err(error) = std::fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the reserve cannot be given up");
        }
        match self.limit {
            Some(limit) => set_limit(connection, limit.pages),
            None => Ok(()),
        }
    }

    /// A write found no space, and there is no reserve.
    pub(super) fn exhausted(&self) {
        if self.gauge.room() != Room::Nothing {
            tracing::error!(
                "the disk is full, also the reserve: changes wait for space. help: make space, or let store.max_size be more"
            );
            self.gauge.set(Room::Nothing);
        }
    }

    /// A write succeeded.
    pub(super) fn found(&self) {
        if self.gauge.room() == Room::Nothing {
            self.gauge.set(Room::Reserve);
        }
    }

    /// Whether the reserve is missing, and nobody looked for that long.
    pub(super) fn is_due(&self, interval: Duration) -> bool {
        self.gauge.room() != Room::Plenty && self.checked.elapsed() >= interval
    }

    /// Takes the reserve again if there is space, or gives back to the disk what deleted jobs left.
    pub(super) fn restore(&mut self, connection: &Connection) -> Result<(), Trouble> {
        self.checked = Instant::now();
        if let Some(limit) = self.limit {
            let (pages, free) = pages(connection)?;
            let wanted = limit.pages - limit.margin;
            if pages - free + limit.margin / 4 > wanted {
                return Ok(());
            }
            // no limit holds below what is there already: there would be no margin
            if pages > wanted {
                return give_back(connection, pages - wanted);
            }
            set_limit(connection, wanted)?;
        }
        match take(&self.file, self.file_bytes) {
            Ok(()) => {
                tracing::info!(bytes = self.file_bytes, "the store has its reserve");
                self.gauge.set(Room::Plenty);
                Ok(())
            }
            // whatever else it is, neither more room nor another try would change it
            Err(error) if !is_no_room(&error) && !passes(&error) && has_room(&self.file, self.file_bytes) => {
                tracing::warn!(
                    %error,
                    file = %self.file.display(),
                    "the store has no reserve: on a full disk what is under way would wait for space, too. \
                     help: let the manager make this file, or set store.reserve to 0B"
                );
                self.gauge.set(Room::Plenty);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "no space for the reserve yet");
                give_back(connection, VACUUM_PAGES)
            }
        }
    }
}

fn no_new_jobs() {
    tracing::error!(
        "the disk is full: no new jobs are taken. help: make space, delete jobs, or let store.max_size be more"
    );
}

/// Gives back to the disk what deleted jobs left: at most so many pages, and not more than a second of writing.
fn give_back(connection: &Connection, pages: i64) -> Result<(), Trouble> {
    let on = |error| Trouble::from(error).on(connection);
    match vacuum(connection, pages.min(VACUUM_PAGES)).map_err(on) {
        Err(Trouble::Full) => {
            vacuum(connection, pages.min(FEW_PAGES)).map_err(on).or_else(Trouble::only_broken)?
        }
        given => given?,
    }
    // the writer waits for nobody who reads: it looks again soon
    log::cut(connection)?;
    Ok(())
}

/// Each page is a row: who stops at the first has given back one.
fn vacuum(connection: &Connection, pages: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut given = statement.query([])?;
    while given.next()?.is_some() {}
    Ok(())
}

/// Makes the reserve if it is not there: first a quarter more, so that not the very last space is taken.
fn take(path: &Path, bytes: u64) -> io::Result<()> {
    let found = std::fs::metadata(path).ok().filter(|found| found.len() == bytes);
    let is_held = |found: &Metadata| found.blocks().saturating_mul(BLOCK) >= bytes;
    if bytes == 0 || found.as_ref().is_some_and(is_held) {
        return Ok(());
    }
    let file = private(path)?;
    let taken = match keep(&file, bytes + bytes / 4) {
        // one that was written: how much of it is held the file system may not tell
        Err(Errno::OPNOTSUPP | Errno::NOSYS) if found.is_some() => return Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(path, &file, bytes + bytes / 4),
        kept => kept.map_err(io::Error::from),
    };
    let taken = taken.and_then(|()| file.set_len(bytes));
    if taken.is_err() {
        let _half = std::fs::remove_file(path);
    }
    taken
}

/// Gives a file its place on the disk.
fn keep(file: &File, bytes: u64) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes))
}

/// The same by writing it, where the file system cannot.
fn fill(path: &Path, mut file: &File, bytes: u64) -> io::Result<()> {
    // looked at first, as nobody wants to write it in vain each second
    if !has_room(path, bytes) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    io::copy(&mut io::repeat(0).take(bytes), &mut file).map(|_bytes| ())
}

/// Whether the disk of a file has that much room, as far as it says.
fn has_room(path: &Path, bytes: u64) -> bool {
    // some do not count what they have
    let room = |disk: rustix::fs::StatVfs| {
        disk.f_blocks == 0 || disk.f_bavail.saturating_mul(disk.f_frsize) >= bytes
    };
    rustix::fs::statvfs(folder_of(path)).is_ok_and(room)
}

pub(super) fn page_size(connection: &Connection) -> rusqlite::Result<u64> {
    let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(u64::try_from(size).unwrap_or(0).max(1))
}

/// All pages of the database, and the unused among them.
fn pages(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let read = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((read("page_count")?, read("freelist_count")?))
}

fn set_limit(connection: &Connection, pages: i64) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_row| Ok(()))
}
