//! `rp.events.*`: pages of the public history, and the history as it goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::events::{EventListArguments, EventSummary};
use redpoll_common::api::method;
use redpoll_common::wire::{Fault, FaultCode, MAX_METHOD_LEN, Raw, RawMap};
use redpoll_manager_core::glob;
use redpoll_manager_core::jobs::event::{EventRecord, shortened};
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};
use tokio::sync::watch;
use tokio::time::timeout;

use super::arguments::{bad, page_size, stopping, unread};
use super::call::undelivered;
use super::depth::queue_name;
use super::room::Room;
use super::{info, read, write};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::state::Manager;
use crate::store::{Store, StoredEvent, Unread};

/// Events in one answer, unless asked for fewer or more.
const PAGE: u32 = 500;
/// The most events in one answer.
const MAX_PAGE: u32 = 1000;
/// Events read at a time.
const CHUNK: usize = 1000;
/// Events read at a time for a follower, which may take none: each may have some 20 KiB.
const FOLLOWED: usize = 64;
/// As many as are read at a time, as a distance of numbers.
const CHUNK_NUMBERS: u64 = 1000;
/// Events that one list looks at, at most: a type that is rare must not keep it for ever. Its answer says how far it came.
const MAX_LOOKED_AT: usize = 100_000;
/// Bytes of an event that fits any answer.
const SMALL: usize = 4096;
/// How often a follower looks by itself, if nobody tells it that there is more.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) fn register(
    registry: Registry,
    manager: &Arc<Manager>,
    engine: &Engine,
) -> Result<Registry, Duplicate> {
    let (manager, lister, follower) = (manager.clone(), engine.clone(), engine.clone());
    registry
        .with(info(method::EVENTS_LIST), move |call| {
            let (store, newest) = (lister.store().clone(), *lister.last_event().borrow());
            async move { list(&*store, newest, &call).await }
        })?
        .with(info(method::EVENTS_FOLLOW), move |call| {
            let (manager, last) = (manager.clone(), follower.last_event());
            let store = follower.store().clone();
            async move { follow(&manager, &*store, last, call).await }
        })
}

async fn list(store: &dyn Store, newest_number: u64, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: EventListArguments = read(&call.kwargs)?;
    let limit = page_size(arguments.limit, PAGE, MAX_PAGE)?;
    let wanted = Wanted::parse(arguments.kind)?;
    if let Some(recent) = arguments.recent {
        if arguments.since.is_some() {
            return Err(bad("since and recent exclude each other"));
        }
        let limit = page_size(Some(recent), PAGE, MAX_PAGE)?;
        return newest(store, newest_number, &wanted, limit, call).await;
    }
    let (mut room, mut events) = (Room::of(call), Vec::new());
    let (mut last, mut looked_at) = (arguments.since.unwrap_or(0), 0);
    is_known(store, newest_number, last).await?;
    let mut lost = Lost::after(last);
    loop {
        let page = store.events(last, CHUNK).await.map_err(unread)?;
        if page.is_empty() {
            return Ok(ended(&events, last, false, lost.take()));
        }
        looked_at += page.len();
        for event in page {
            let number = event.n;
            lost.see(number);
            if wanted.has(&event) {
                let event = told(event, lost.take(), store.clock(), call)?;
                if events.len() == limit || !room.take(&event) {
                    return Ok(answer(&events, last, true));
                }
                events.push(event);
            }
            last = number;
        }
        if looked_at >= MAX_LOOKED_AT {
            return Ok(ended(&events, last, true, lost.take()));
        }
    }
}

/// The newest that are wanted, found from the end: pages are read backwards, which numbers without gaps allow.
async fn newest(
    store: &dyn Store,
    last: u64,
    wanted: &Wanted,
    limit: usize,
    call: &CallContext,
) -> Result<Raw, Fault> {
    let (mut room, mut found) = (Room::of(call), VecDeque::new());
    let (mut below, mut looked_at) = (last, 0);
    while below > 0 && looked_at < MAX_LOOKED_AT {
        let after = below.saturating_sub(CHUNK_NUMBERS);
        let mut page = store.events(after, CHUNK).await.map_err(unread)?;
        page.retain(|event| event.n <= below);
        if page.is_empty() {
            // older ones are not kept any more
            return Ok(answer(found.make_contiguous(), last, false));
        }
        looked_at += page.len();
        for event in page.into_iter().rev().filter(|event| wanted.has(event)) {
            let event = told(event, None, store.clock(), call)?;
            if found.len() == limit || !room.take(&event) {
                return Ok(answer(found.make_contiguous(), last, true));
            }
            found.push_front(event);
        }
        below = after;
    }
    Ok(answer(found.make_contiguous(), last, below > 0))
}

fn answer(events: &[Raw], last: u64, more: bool) -> Raw {
    ended(events, last, more, None)
}

/// The same with what was lost behind the last that is told.
fn ended(events: &[Raw], last: u64, more: bool, lost: Option<u64>) -> Raw {
    let map = RawMap::new().raws("events", events).uint("last", last).uint("next", last).bool("more", more);
    map.opt_uint("lost", lost).finish()
}

/// Ends when its caller ends it, or the manager stops. `newest` is the number of the last event that is stored.
async fn follow(
    manager: &Manager,
    store: &dyn Store,
    newest: watch::Receiver<u64>,
    mut call: CallContext,
) -> Result<Raw, Fault> {
    let arguments: EventListArguments = read(&call.kwargs)?;
    call.release_arguments();
    let wanted = Wanted::parse(arguments.kind)?;
    // now is when the request came, not when the store was first asked
    let now = *newest.borrow();
    let since = arguments.since.unwrap_or(now);
    is_known(store, now, since).await?;
    tokio::select! {
        biased;
        () = manager.draining() => Err(stopping()),
        fault = tell(store, newest, &call, wanted, since) => Err(fault),
    }
}

async fn tell(
    store: &dyn Store,
    mut newest: watch::Receiver<u64>,
    call: &CallContext,
    wanted: Wanted,
    mut last: u64,
) -> Fault {
    let mut lost = Lost::after(last);
    loop {
        // seen before the page is read: what comes after wakes the next wait
        newest.borrow_and_update();
        let page = match store.events(last, FOLLOWED).await {
            Ok(page) => page,
            Err(error) => return unread(error),
        };
        if page.is_empty() {
            match timeout(LOOK_EVERY, newest.changed()).await {
                Ok(Ok(())) | Err(_) => continue,
                Ok(Err(_nobody_writes_any_more)) => return stopping(),
            }
        }
        for event in page {
            last = event.n;
            lost.see(last);
            if !wanted.has(&event) {
                continue;
            }
            let value = match told(event, lost.take(), store.clock(), call) {
                Ok(value) => value,
                Err(fault) => return fault,
            };
            if let Err(error) = call.output.value(value).await {
                return undelivered(call, error);
            }
        }
    }
}

/// Whether this history has come to the number that somebody has. A number is told when its event is on disk: nobody can have a later
/// one, unless an older copy of the store was put back. Waiting for it would hide all that happens until then.
async fn is_known(store: &dyn Store, newest: u64, since: u64) -> Result<(), Fault> {
    if since <= newest {
        return Ok(());
    }
    // it may have been told before it was known to be the newest
    let there = store.events(since - 1, 1).await.map_err(unread)?;
    if there.first().is_some_and(|event| event.n == since) {
        return Ok(());
    }
    let text = format!(
        "event {since} is not in this history, whose last is {newest}: was an older copy of the store put back? look at what \
         there is since 0, or go on since {newest}"
    );
    Err(Fault::new(FaultCode::WrongState, text))
}

/// Counts what is not kept any more of what somebody wanted: numbers have no gaps.
#[derive(Debug)]
struct Lost {
    /// The number before; 0 when it is of no interest with which the history begins.
    last: u64,
    count: u64,
}

impl Lost {
    fn after(since: u64) -> Self {
        Self { last: since, count: 0 }
    }

    /// Takes the next event.
    fn see(&mut self, n: u64) {
        if self.last > 0 {
            self.count += n.saturating_sub(self.last).saturating_sub(1);
        }
        self.last = n;
    }

    /// What was lost and not told yet.
    fn take(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.count)).filter(|count| *count > 0)
    }
}

/// Which types of events are wanted.
#[derive(Debug)]
struct Wanted(Option<String>);

impl Wanted {
    fn parse(glob: Option<String>) -> Result<Self, Fault> {
        match glob {
            Some(glob) if glob.is_empty() => {
                Err(bad("type is empty, which no event's is; leave it out for all"))
            }
            Some(glob) if glob.len() > MAX_METHOD_LEN => {
                Err(bad(format!("type has {} bytes; the limit is {MAX_METHOD_LEN}", glob.len())))
            }
            glob => Ok(Self(glob)),
        }
    }

    fn has(&self, event: &StoredEvent) -> bool {
        self.0.as_deref().is_none_or(|wanted| glob::matches(wanted, &event.kind_text()))
    }
}

/// An event as it is told. One that fits no answer, from an older build, is told with what it is and no more: nobody could read past it.
fn told(event: StoredEvent, lost: Option<u64>, clock: &Clock, call: &CallContext) -> Result<Raw, Fault> {
    let summary = match event.record {
        Ok(event) => summary(event, clock),
        Err(unread) => read_in_part(event.n, unread, clock),
    };
    let detail = summary.detail.map(shortened);
    let summary = EventSummary { lost, detail, ..summary };
    let whole = write(&summary)?;
    if whole.len() <= SMALL || Room::of(call).take(&whole) {
        return Ok(whole);
    }
    let (n, bytes) = (summary.n, whole.len());
    let detail =
        Some(format!("event {n} has {bytes} bytes, which no answer holds; it is in the store alone"));
    write(&EventSummary { queue: None, data: None, detail, ..summary })
}

fn summary(event: EventRecord, clock: &Clock) -> EventSummary {
    let kind = event.kind_text().into_owned();
    let EventRecord { n, at_ms, kind: _, job, agent, queue, attempt, outcome, detail, custom } = event;
    EventSummary {
        n,
        at_ms: clock.told(at_ms),
        kind,
        job: job.map(|job| job.to_string()),
        agent: agent.map(|agent| agent.to_string()),
        queue: queue.as_ref().map(queue_name),
        attempt: attempt.map(|attempt| attempt.0),
        outcome: outcome.map(|outcome| outcome.as_str().to_owned()),
        detail,
        data: custom.map(|custom| custom.data).filter(|data| !data.is_nil()),
        lost: None,
    }
}

/// The same of an event of which not all can be read.
fn read_in_part(n: u64, event: Unread, clock: &Clock) -> EventSummary {
    let Unread { at_ms, kind, job, agent, queue, attempt, outcome, detail } = event;
    EventSummary {
        n,
        // of a time that cannot be read there is nothing to count from
        at_ms: if at_ms == 0 { 0 } else { clock.told(at_ms) },
        kind: shortened(kind),
        job: job.map(|job| job.to_string()),
        agent: agent.map(|agent| agent.to_string()),
        queue: queue.as_ref().map(queue_name),
        attempt: attempt.map(|attempt| attempt.0),
        outcome: outcome.map(shortened),
        detail,
        data: None,
        lost: None,
    }
}
