//! How much of a list fits one answer: pages are cut here, before the session would refuse them whole.

use redpoll_common::wire::{Fault, FaultCode, MAX_NODES, Raw, scan};
use redpoll_net::CallContext;
use serde::Serialize;

use super::write;

/// Bytes kept for what stands around the parts: keys, counts, cursors.
const AROUND_BYTES: usize = 512;
/// Values kept for the same.
const AROUND_NODES: usize = 64;

/// What is left of an answer.
#[derive(Debug, Clone)]
pub(super) struct Room {
    limit: usize,
    bytes: usize,
    nodes: usize,
}

impl Room {
    /// An empty answer to this call.
    pub(super) fn of(call: &CallContext) -> Self {
        let limit = call.output.value_limit();
        Self { limit, bytes: limit.saturating_sub(AROUND_BYTES), nodes: MAX_NODES - AROUND_NODES }
    }

    /// Takes the place of a part, unless there is none left.
    pub(super) fn take(&mut self, part: &Raw) -> bool {
        self.take_with(part, (0, 0))
    }

    /// Takes the place of a part with bytes and values around it, unless there is none left.
    pub(super) fn take_with(&mut self, part: &Raw, (bytes, values): (usize, usize)) -> bool {
        let (bytes, nodes) = (part.len().saturating_add(bytes), nodes(part).saturating_add(values));
        let fits = bytes <= self.bytes && nodes <= self.nodes;
        if fits {
            self.bytes -= bytes;
            self.nodes -= nodes;
        }
        fits
    }

    /// Puts a row at the end of a list, unless there is no place left for it.
    ///
    /// # Errors
    /// `too_large`, with what it is, for one that does not even fit alone.
    pub(super) fn push<T: Serialize>(
        &mut self,
        rows: &mut Vec<T>,
        row: T,
        what: &str,
    ) -> Result<bool, Fault> {
        let part = write(&row)?;
        if self.take(&part) {
            rows.push(row);
            return Ok(true);
        }
        if rows.is_empty() { Err(self.too_large(what, &part)) } else { Ok(false) }
    }

    /// Bytes that are left.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The fault for a part that does not even fit alone.
    pub(super) fn too_large(&self, what: &str, part: &Raw) -> Fault {
        too_large(what, part, self.limit)
    }
}

/// How many values a value has.
pub(super) fn nodes(value: &Raw) -> usize {
    // what is no value fits nowhere
    scan::measure(value.as_bytes()).map_or(usize::MAX, |cost| cost.nodes)
}

/// The fault for something that fits no frame.
pub(super) fn too_large(what: &str, part: &Raw, limit: usize) -> Fault {
    let text = format!(
        "{what} has {} bytes and {} values; with what stands around it that does not fit the frames of this session, \
         which hold {limit} bytes and {MAX_NODES} values",
        part.len(),
        nodes(part)
    );
    Fault::new(FaultCode::TooLarge, text)
}
