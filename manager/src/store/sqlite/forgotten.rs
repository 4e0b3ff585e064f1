//! Who is shut out in the store that is there, and would be let in again by a copy that does not know it.

use std::collections::BTreeSet;
use std::path::Path;

use redpoll_manager_core::revoked::Denied;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::whole::{self, log_of, size};
use super::{files, read};

/// Revocations of a store that a copy does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Them, in order.
    pub denied: Vec<Denied>,
    /// Whether what was there cannot be read, so that there may be more.
    pub is_unknown: bool,
}

/// Compares what databases know with what a copy knows. Those that are not there know nothing.
pub(super) fn forgotten<'a>(
    databases: impl IntoIterator<Item = &'a Path>,
    known: &BTreeSet<Denied>,
) -> Forgotten {
    let mut forgotten = Forgotten::default();
    let mut all = BTreeSet::new();
    let is_there = |database: &&Path| database.exists() || size(&log_of(database)) > 0;
    for database in databases.into_iter().filter(is_there) {
        match of(database) {
            Some(denied) => all.extend(denied),
            None => forgotten.is_unknown = true,
        }
    }
    forgotten.denied = all.difference(known).cloned().collect();
    forgotten
}

/// Whom a store that was put in place of another lets in again.
pub(super) fn since(before: Option<&Path>, database: &Path) -> Forgotten {
    match of(database) {
        Some(known) => forgotten(before, &known),
        None => Forgotten { is_unknown: true, ..Forgotten::default() },
    }
}

/// Whom an open database shuts out, of whatever version it is; `None` if that cannot be read.
pub(super) fn denied(connection: &Connection) -> Option<BTreeSet<Denied>> {
    let table = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'denied'";
    let has_table: i64 = connection.query_row(table, [], |row| row.get(0)).ok()?;
    if has_table == 0 {
        return Some(BTreeSet::new());
    }
    Some(read::denials(connection).ok()?.into_iter().map(|denial| denial.denied).collect())
}

/// Whom a database shuts out that nobody has open, with what its log says. It stays as it is.
fn of(database: &Path) -> Option<BTreeSet<Denied>> {
    // a copy with a log that is not its own, or a log alone: together they say nothing
    files::refuse_lone_log(database).ok()?;
    // nothing at all, as a disk that was full leaves it
    if size(database) == 0 && size(&log_of(database)) == 0 {
        return Some(BTreeSet::new());
    }
    let has_log = size(&log_of(database)) > 0;
    let connection = whole::connect(database).ok()?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log).ok()?;
    denied(&connection)
}
