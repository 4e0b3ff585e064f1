//! `rp.agents.*`: what the manager knows of its agents.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_common::api::{
    AgentArguments, AgentList, AgentListArguments, AgentState, AgentSummary, PingAnswer, PingArguments,
    method,
};
use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::glob;
use redpoll_manager_core::roster::{Row, State};
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Peer, Registry};
use tokio::time::timeout;

use super::arguments::page_size;
use super::revoke::revocation;
use super::room::Room;
use super::{info, read, write};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::state::{Manager, parse_agent, unknown_agent};

/// Agents in one answer, unless asked for fewer or more.
const PAGE: u32 = 500;
/// The most agents in one answer, if a frame holds as many.
const MAX_PAGE: u32 = 1000;
/// The most bytes of a glob over names: twice what a name may have.
const MAX_GLOB: usize = 128;
/// Agents looked at under one lock of the roster, and before others have their turn.
const CHUNK: usize = 1000;
/// The most pings of one request.
const MAX_PINGS: u32 = 100;
/// How long one pong is waited for, also by a caller that names no limit and with a session that has no keep-alive.
const PONG_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn register(
    registry: Registry,
    manager: &Arc<Manager>,
    engine: &Engine,
) -> Result<Registry, Duplicate> {
    let (lister, shower, pinger) = (manager.clone(), manager.clone(), manager.clone());
    let (listed, shown) = (engine.store().clone(), engine.store().clone());
    super::agents_procedures::register(registry, manager)?
        .with(info(method::AGENTS_LIST), move |call| {
            let (manager, store) = (lister.clone(), listed.clone());
            async move { list((&manager, store.clock()), &call).await }
        })?
        .with(info(method::AGENTS_SHOW), move |call| {
            let (manager, store) = (shower.clone(), shown.clone());
            async move { show((&manager, store.clock()), &call) }
        })?
        .with(info(method::AGENTS_PING), move |call| ping(pinger.clone(), call))
}

async fn list((manager, clock): (&Manager, &Clock), call: &CallContext) -> Result<Raw, Fault> {
    let arguments: AgentListArguments = read(&call.kwargs)?;
    let wanted = arguments.id.as_deref().map(parse_glob).transpose()?;
    let limit = page_size(arguments.limit, PAGE, MAX_PAGE)?;
    let mut after = arguments.after.as_deref().map(parse_agent).transpose()?;
    let now = redpoll_net::clock::awake_or_not();
    let (mut room, mut agents) = (Room::of(call), Vec::new());
    loop {
        let page = manager.with_roster(|roster| roster.page(after.as_ref(), CHUNK));
        let whole = page.len() == CHUNK;
        for row in page {
            if wanted.as_deref().is_some_and(|glob| !glob::matches(glob, row.agent.as_str())) {
                after = Some(row.agent);
                continue;
            }
            let more = agents.len() == limit || {
                let summary = summary((manager, clock), &row, now);
                !room.push(&mut agents, summary, &format!("what is told of the agent {}", row.agent))?
            };
            if more {
                let next = after.map(|id: PeerId| id.to_string());
                return write(&AgentList { agents, next });
            }
            after = Some(row.agent);
        }
        if !whole {
            return write(&AgentList { agents, next: None });
        }
        tokio::task::yield_now().await;
    }
}

/// A glob over the names of agents, as it is matched with each of them.
fn parse_glob(glob: &str) -> Result<Cow<'_, str>, Fault> {
    match glob.len() {
        ..=MAX_GLOB => Ok(glob::collapsed(glob)),
        long => {
            let text = format!("id has {long} bytes; the limit is {MAX_GLOB}");
            Err(Fault::new(FaultCode::BadArguments, text))
        }
    }
}

fn show((manager, clock): (&Manager, &Clock), call: &CallContext) -> Result<Raw, Fault> {
    let arguments: AgentArguments = read(&call.kwargs)?;
    let id = parse_agent(&arguments.agent)?;
    let row = manager.with_roster(|roster| roster.row(&id)).ok_or_else(|| unknown_agent(&id))?;
    write(&summary((manager, clock), &row, redpoll_net::clock::awake_or_not()))
}

async fn ping(manager: Arc<Manager>, call: CallContext) -> Result<Raw, Fault> {
    let arguments: PingArguments = read(&call.kwargs)?;
    if !(1..=MAX_PINGS).contains(&arguments.count) {
        let text = format!("count is {}; it must be 1 to {MAX_PINGS}", arguments.count);
        return Err(Fault::new(FaultCode::BadArguments, text));
    }
    let peer = manager.agent(&arguments.agent)?;
    let mut round_trips_us = Vec::new();
    for _ in 0..arguments.count {
        let pong = timeout(PONG_WITHIN, peer.ping()).await;
        let after = pong.map_err(|_elapsed| late_pong(&arguments.agent))?;
        let after = after.ok_or_else(|| no_pong(&arguments.agent, &peer))?;
        round_trips_us.push(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
    }
    write(&PingAnswer { round_trips_us })
}

fn late_pong(agent: &str) -> Fault {
    Fault::new(FaultCode::TimedOut, format!("no pong from {agent} within {} s", PONG_WITHIN.as_secs()))
}

fn no_pong(agent: &str, peer: &Peer) -> Fault {
    if peer.is_closed() {
        Fault::new(FaultCode::AgentGone, format!("the session of {agent} ended before the pong"))
    } else {
        Fault::new(FaultCode::Overloaded, format!("too many pings of {agent} are on the way already"))
    }
}

fn summary((manager, clock): (&Manager, &Clock), row: &Row, now: Instant) -> AgentSummary {
    let ms = |since: Instant| {
        let elapsed: Duration = now.saturating_duration_since(since);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    };
    let (state, since_ms, reason) = match &row.state {
        State::Connected { since } => (AgentState::Connected, ms(*since), None),
        State::Draining { since } => (AgentState::Draining, ms(*since), None),
        State::Away { last_seen, reason } => (AgentState::Away, ms(*last_seen), Some(reason.to_string())),
    };
    AgentSummary {
        id: row.agent.to_string(),
        state,
        address: row.entry.address().to_owned(),
        version: row.entry.version().to_owned(),
        protocol: row.entry.protocol(),
        policy: row.entry.policy().map(str::to_owned),
        since_ms,
        reason,
        revoked: manager.door.revoked(Role::Agent, &row.agent).map(|denial| revocation(&denial, clock)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_over_names_is_short_and_has_no_runs_of_stars() {
        assert_eq!(parse_glob("web-*"), Ok("web-*".into()));
        assert_eq!(parse_glob(&format!("web-{}1", "*".repeat(100))), Ok("web-*1".into()));
        assert!(parse_glob(&"x".repeat(MAX_GLOB)).is_ok());
        let fault = parse_glob(&"*".repeat(MAX_GLOB + 1)).unwrap_err();
        assert_eq!(fault.code, FaultCode::BadArguments);
        assert!(fault.message.contains("id has 129 bytes; the limit is 128"), "{fault}");
    }
}
