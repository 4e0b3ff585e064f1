//! `rp.events.verify`: whether the history is as it was written.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use redpoll_common::api::events::{EventFlaw, EventPoint, EventVerified, EventVerifyArguments};
use redpoll_common::api::method;
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::chain::check::Flaw;
use redpoll_manager_core::chain::{Hash, Point};
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};

use super::arguments::{bad, page_size, unread};
use super::{info, read, write};
use crate::engine::Engine;
use crate::store::Store;
use crate::store::chain::{Begin, MAX_VERIFY, Verified};

/// Events that one request looks at, at most. They are read a part at a time, so that others who read have their turns.
const MAX_PAGE: u32 = 10_000;

pub(super) fn register(registry: Registry, engine: &Engine) -> Result<Registry, Duplicate> {
    let engine = engine.clone();
    registry.with(info(method::EVENTS_VERIFY), move |call| {
        let store = engine.store().clone();
        async move { verify(&*store, &call).await }
    })
}

async fn verify(store: &dyn Store, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: EventVerifyArguments = read(&call.kwargs)?;
    let mut left = page_size(arguments.limit, MAX_PAGE, MAX_PAGE)?;
    let mut begin = match &arguments.after {
        Some(after) => Begin::After(point(after)?),
        None => Begin::Oldest,
    };
    let mut whole: Option<Verified> = None;
    loop {
        let part = store.verify(begin, arguments.until, left.min(MAX_VERIFY)).await.map_err(unread)?;
        let before = whole.map_or(0, |whole| whole.checked);
        let from = whole.map_or(part.from, |whole| whole.from);
        let found = Verified { from, checked: before + part.checked, ..part };
        left = left.saturating_sub(usize::try_from(part.checked).unwrap_or(usize::MAX));
        let is_there = arguments.until.is_some_and(|until| found.at.n >= until);
        if !found.more || left == 0 || is_there || part.checked == 0 {
            return write(&answer(&found));
        }
        begin = Begin::After(found.at);
        whole = Some(found);
    }
}

fn answer(found: &Verified) -> EventVerified {
    let flaw =
        |flaw: Flaw| EventFlaw { n: flaw.n, kind: flaw.kind.word().to_owned(), message: flaw.to_string() };
    EventVerified {
        from: told(found.from),
        last: told(found.at),
        checked: found.checked,
        more: found.more,
        head: found.head.map(told),
        begun: found.begun,
        flaw: found.flaw.map(flaw),
    }
}

fn told(point: Point) -> EventPoint {
    EventPoint { n: point.n, hash: HEXLOWER.encode(&point.hash) }
}

fn point(told: &EventPoint) -> Result<Point, Fault> {
    let bytes = HEXLOWER_PERMISSIVE.decode(told.hash.as_bytes()).ok();
    let hash = bytes.and_then(|bytes| Hash::try_from(bytes).ok());
    let hash = hash.ok_or_else(|| bad("after.hash is not 64 hexadecimal digits"))?;
    Ok(Point { n: told.n, hash })
}
