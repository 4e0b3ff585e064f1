//! Brings a database to the version of this build, one numbered step at a time, and refuses those of later builds.

use rusqlite::{Connection, TransactionBehavior};

/// The steps: the first makes version 1 of an empty database, and so on. Steps that were released never change.
pub(super) const STEPS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
];

/// The version that this build reads and writes.
pub const VERSION: usize = STEPS.len();

/// Finds the oldest jobs of operators and of agents each, for retention. It is no step: a build that does not know of it reads the
/// database as well, and keeps it.
pub(super) const INDEX: &str = "CREATE INDEX IF NOT EXISTS job_ended_by \
    ON job (substr(submitter, 1, 6) = 'agent:', ended_ms, id) WHERE ended_ms IS NOT NULL";

/// Why a database is not at the version of this build.
#[derive(Debug)]
pub(super) enum MigrationError {
    /// A later build wrote it.
    Newer(i64),
    /// A step failed; the database is as it was before it.
    Step(usize, rusqlite::Error),
}

/// Applies the steps that a database has not seen, each in a transaction with its number. Gives the version found.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<usize, MigrationError> {
    let found = version(connection).map_err(|error| MigrationError::Step(0, error))?;
    let found = usize::try_from(found).map_err(|_negative| MigrationError::Newer(found))?;
    if found > steps.len() {
        return Err(MigrationError::Newer(i64::try_from(found).unwrap_or(i64::MAX)));
    }
    for (number, sql) in (1..).zip(steps).skip(found) {
        step(connection, number, sql).map_err(|error| MigrationError::Step(number, error))?;
    }
    Ok(found)
}

fn step(connection: &mut Connection, number: usize, sql: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "user_version", i64::try_from(number).unwrap_or(i64::MAX))?;
    transaction.commit()
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "CREATE TABLE a (x INTEGER NOT NULL) STRICT; INSERT INTO a VALUES (1);";
    const TWO: &str = "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 2;";

    fn row(connection: &Connection) -> (i64, i64) {
        connection.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    #[test]
    fn steps_are_applied_once_and_in_order_whatever_the_start() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(migrate(&mut connection, &[ONE]).unwrap(), 0);
        assert_eq!(migrate(&mut connection, &[ONE, TWO]).unwrap(), 1);
        assert_eq!(migrate(&mut connection, &[ONE, TWO]).unwrap(), 2);
        assert_eq!((row(&connection), version(&connection).unwrap()), ((1, 2), 2));
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = "CREATE TABLE b (x INTEGER) STRICT; SELECT nonsense;";
        assert!(matches!(migrate(&mut connection, &[ONE, broken]), Err(MigrationError::Step(2, _))));
        assert_eq!(version(&connection).unwrap(), 1);
        connection.execute("CREATE TABLE b (x INTEGER) STRICT", []).unwrap();
    }

    #[test]
    fn a_database_of_a_later_build_is_refused_untouched() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &[ONE, TWO]).unwrap();
        assert!(matches!(migrate(&mut connection, &[ONE]), Err(MigrationError::Newer(2))));
        assert_eq!(row(&connection), (1, 2));
    }
}
