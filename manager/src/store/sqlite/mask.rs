//! Overwrites the secret arguments of a job that has ended, where they are and where they were.
//!
//! A page that holds them is written anew with zeros where they were (`secure_delete`), in the transaction that ends the job. Until
//! the log is moved into the database and cut, older images of the page are in it: the writer does that soon after.

use redpoll_common::job::JobId;
use redpoll_common::wire::Raw;
use redpoll_schema::ArgumentRedaction;
use rusqlite::{Connection, OptionalExtension as _, params};
use tracing::error;

use crate::store::spec;

/// Overwrites what of a job's arguments nobody may see. Done again it changes nothing.
pub(super) fn arguments(db: &Connection, job: JobId) -> rusqlite::Result<()> {
    let sql = "SELECT rest, args, kwargs FROM job WHERE id = ?1";
    let found = db.prepare_cached(sql)?.query_row(params![job.to_bytes()], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?))
    });
    let Some((rest, args, kwargs)) = found.optional()? else { return Ok(()) };
    let (args, kwargs) = (Raw::parse(args.into()), Raw::parse(kwargs.into()));
    let redact = Raw::parse(rest.into()).map_err(drop).and_then(|rest| spec::redact(&rest).map_err(drop));
    let (masked_args, masked_kwargs) = match (redact, args, kwargs) {
        (Ok(redact), Ok(args), Ok(kwargs)) => match spec::masked(&args, &kwargs, &redact) {
            Some(masked) if (&masked.0, &masked.1) != (&args, &kwargs) => masked,
            Some(_) | None => return Ok(()),
        },
        // an error would stop the whole store, and what was secret of it nobody can say any more
        _unreadable => {
            error!(%job, "what of a job's arguments is secret cannot be read; all of them are overwritten");
            ArgumentRedaction::everything().mask(&Raw::nil(), &Raw::nil())
        }
    };
    securely(db, || {
        let sql = "UPDATE job SET args = ?2, kwargs = ?3 WHERE id = ?1";
        let parameters = params![job.to_bytes(), masked_args.as_bytes(), masked_kwargs.as_bytes()];
        db.prepare_cached(sql)?.execute(parameters).map(|_rows| ())
    })
}

/// Has what is deleted or moved within pages overwritten with zeros from here on, as far as that writes no other pages: pages that are
/// split would keep copies of what is moved out of them, and nobody could mask those later.
pub(super) fn sparingly(db: &Connection) -> rusqlite::Result<()> {
    set_secure(db, "FAST")
}

/// Does something of which nothing is to stay in the free parts of pages.
pub(super) fn securely(db: &Connection, work: impl FnOnce() -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    set_secure(db, "ON")?;
    let done = work();
    sparingly(db)?;
    done
}

/// How far what is deleted or replaced is overwritten with zeros from here on.
fn set_secure(db: &Connection, how: &str) -> rusqlite::Result<()> {
    // not a cached statement: this takes effect when it is prepared
    db.query_row(&format!("PRAGMA secure_delete = {how}"), [], |_row| Ok(()))
}
