//! What a follower is told of one run at a time, in values that are large enough to be fast and small enough for a frame.

use std::mem;

use redpoll_common::api::items::{FollowEvent, MAX_ITEMS, Missing};
use redpoll_common::api::jobs::{EndSummary, ProgressSummary};
use redpoll_common::job::{Attempt, Item};
use redpoll_common::wire::{Fault, MAX_NODES, Raw};
use redpoll_net::CallContext;

use super::call::undelivered;
use super::read::AROUND_ITEM;
use super::room::{nodes, too_large};
use super::write;

/// Bytes of items after which a value leaves; one item may exceed it.
pub const BATCH: usize = 64 * 1024;
/// Bytes that stand around the parts of a value: the agent, the state, keys.
const AROUND_BYTES: usize = 320;
/// Values that do, with those that the message puts around it.
const AROUND_NODES: usize = 48;

/// Fills values about one attempt of a run, and sends them as the follower takes them.
pub(super) struct Teller<'a> {
    call: &'a CallContext,
    event: FollowEvent,
    /// Bytes and values of the parts that are in the event.
    filled: (usize, usize),
    /// The most bytes of parts that fit a frame.
    limit: usize,
}

impl<'a> Teller<'a> {
    pub(super) fn new(call: &'a CallContext, agent: &str, attempt: Attempt) -> Self {
        let limit = call.output.value_limit().saturating_sub(AROUND_BYTES);
        Self { call, event: FollowEvent::of(agent, attempt.0), filled: (0, 0), limit }
    }

    /// A new state.
    pub(super) fn state(&mut self, word: &str) {
        self.event.state = Some(word.to_owned());
    }

    /// The next item.
    pub(super) async fn item(&mut self, item: Item) -> Result<(), Fault> {
        if !self.place(&item.data).await? {
            let of = (&self.event.attempt, &self.event.agent);
            let what = format!("the item {} of attempt {} on {}", item.n, of.0, of.1);
            return Err(too_large(&what, &item.data, self.limit));
        }
        self.event.items.push(item);
        Ok(())
    }

    /// Which items are not there, before the next one or the end.
    pub(super) async fn missing(&mut self, missing: Missing) -> Result<(), Fault> {
        if self.place(&write(&missing)?).await? {
            self.event.missing.push(missing);
        }
        Ok(())
    }

    /// How far it is. Details that do not fit a frame are left out: nothing depends on them, and newer ones come.
    pub(super) async fn progress(&mut self, progress: ProgressSummary) -> Result<(), Fault> {
        let fits = self.place(&write(&progress)?).await?;
        let details = progress.details.filter(|_| fits);
        self.event.progress = Some(ProgressSummary { details, ..progress });
        Ok(())
    }

    /// How it ended, after everything else.
    pub(super) async fn end(&mut self, end: EndSummary) -> Result<(), Fault> {
        let written = write(&end)?;
        if !self.place(&written).await? {
            return Err(too_large(
                &format!("the end of the run on {}", self.event.agent),
                &written,
                self.limit,
            ));
        }
        self.event.end = Some(end);
        Ok(())
    }

    /// Finds a place for a part: in the value that is being filled, or in the next one. `false` if no value can hold it.
    async fn place(&mut self, part: &Raw) -> Result<bool, Fault> {
        let bytes = part.len().saturating_add(AROUND_ITEM.0);
        let nodes = nodes(part).saturating_add(AROUND_ITEM.1);
        let most = MAX_NODES - AROUND_NODES;
        if bytes > self.limit || nodes > most {
            return Ok(false);
        }
        let (filled, values) = self.filled;
        let full = filled + bytes > self.limit.min(BATCH)
            || values + nodes > most
            || self.event.items.len() >= MAX_ITEMS;
        if full && filled > 0 {
            self.send().await?;
        }
        self.filled = (self.filled.0 + bytes, self.filled.1 + nodes);
        Ok(true)
    }

    /// Waits, with nothing in its hands, until what is read next can leave at once, however large it is: a follower that takes nothing
    /// must not have it kept for it.
    pub(super) async fn make_room(&mut self) -> Result<(), Fault> {
        if self.call.output.is_ready(&[self.filled.0 + AROUND_BYTES, usize::MAX]) {
            return Ok(());
        }
        self.send().await?;
        self.call.output.ready(usize::MAX).await.map_err(|error| undelivered(self.call, error))
    }

    /// Sends what is there, as soon as the follower has room for it.
    pub(super) async fn send(&mut self) -> Result<(), Fault> {
        if !self.event.is_news() {
            return Ok(());
        }
        let next = FollowEvent::of(self.event.agent.clone(), self.event.attempt);
        let event = mem::replace(&mut self.event, next);
        self.filled = (0, 0);
        self.call.output.value(event.write()).await.map_err(|error| undelivered(self.call, error))
    }
}
