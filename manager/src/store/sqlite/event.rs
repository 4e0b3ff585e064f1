//! Rows of the history as events. One that cannot be read whole hides none of those around it.

use std::fmt::Write as _;

use redpoll_common::api::events::CUSTOM_PREFIX;
use redpoll_common::job::{Attempt, JobId, Outcome, QueueKey};
use redpoll_common::wire::Raw;
use redpoll_manager_core::jobs::record::{CustomEvent, EventKind, EventRecord};
use rusqlite::Row;
use rusqlite::types::FromSql;

use super::rows::{peer, uint, value};
use crate::store::{ReadError, StoredEvent, Unread};

/// What [`event`] reads, in its order.
pub(super) const EVENT: &str = "n, at_ms, kind, job, agent, queue, attempt, outcome, detail, name, data";

pub(super) fn event(row: &Row<'_>) -> Result<StoredEvent, ReadError> {
    let n = uint(row.get(0)?)?;
    let mut parts = Parts { row, unread: Vec::new() };
    let at_ms = parts.read("at_ms", 1, uint)?.unwrap_or(0);
    let kind: Option<String> = parts.read("kind", 2, Ok)?;
    let job = parts.read("job", 3, |id: [u8; 16]| Ok(JobId::from_bytes(id)))?;
    let agent = parts.read("agent", 4, |name: String| peer(&name))?;
    let queue = parts.read("queue", 5, |name: Vec<u8>| Ok(QueueKey::from_stored(&name)))?;
    let attempt = parts.read("attempt", 6, |attempt: u16| Ok(Attempt(attempt)))?;
    let ended: Option<String> = parts.read("outcome", 7, Ok)?;
    let detail: Option<String> = parts.read("detail", 8, Ok)?;
    let name: Option<String> = parts.read("name", 9, Ok)?;
    let data = parts.read("data", 10, value)?;
    let outcome = ended.as_deref().and_then(Outcome::from_wire);
    let known = kind.as_deref().and_then(EventKind::from_wire);
    if let Some(kind) = known
        && outcome.is_some() == ended.is_some()
        && parts.unread.is_empty()
    {
        let custom = name.map(|name| Box::new(CustomEvent { name, data: data.unwrap_or_else(Raw::nil) }));
        let event = EventRecord { n, at_ms, kind, job, agent, queue, attempt, outcome, detail, custom };
        return Ok(event.into());
    }
    let kind = match name {
        Some(name) => format!("{CUSTOM_PREFIX}{name}"),
        None => kind.unwrap_or_else(|| UNREADABLE.to_owned()),
    };
    let detail = parts.told_with(detail);
    Ok(StoredEvent {
        n,
        record: Err(Unread { at_ms, kind, job, agent, queue, attempt, outcome: ended, detail }),
    })
}

/// The kind of an event whose kind cannot be read.
const UNREADABLE: &str = "unreadable";

/// A row, and what of it could not be read.
struct Parts<'r, 's> {
    row: &'r Row<'s>,
    unread: Vec<&'static str>,
}

impl Parts<'_, '_> {
    /// A column; `None` when there is nothing in it, or nothing that can be read.
    fn read<T, U: FromSql>(
        &mut self,
        name: &'static str,
        column: usize,
        read: impl FnOnce(U) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let found: Result<Option<U>, ReadError> = self.row.get(column).map_err(ReadError::from);
        match found.and_then(|found| found.map(read).transpose()) {
            Err(ReadError::Damaged { .. }) => {
                self.unread.push(name);
                Ok(None)
            }
            other => other,
        }
    }

    /// A detail that says what else there is.
    fn told_with(&self, detail: Option<String>) -> Option<String> {
        if self.unread.is_empty() {
            return detail;
        }
        let mut told = format!("this manager cannot read its {}", self.unread.join(", "));
        if let Some(detail) = detail {
            let _never_fails = write!(told, "; {detail}");
        }
        Some(told)
    }
}
