//! Which agents a job names: names or all that the manager knows; and `rp.jobs.preview`, which shows them.

use redpoll_common::api::method;
use redpoll_common::api::submit::{ALL_AGENTS, PreviewAgent, PreviewArguments};
use redpoll_common::api::trial::TrialArguments;
use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::job::spec::MAX_AGENTS;
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_manager_core::roster::{Lookup, Row, State};
use redpoll_net::CallContext;

use super::arguments::{bad, page_size};
use super::jobs_rows::count;
use super::room::Room;
use super::{read, submit_trial, write};
use crate::state::{Manager, parse_agent};

/// Agents looked up under one lock of the roster.
const CHUNK: usize = 1000;
/// Unknown names that an error lists.
const NAMED: usize = 10;
/// Agents in one answer, unless asked for fewer or more.
pub(super) const PAGE: u32 = 500;
/// The most agents in one answer.
pub(super) const MAX_PAGE: u32 = 1000;

/// What was asked for.
#[derive(Debug)]
pub(super) enum Choice {
    /// All that the manager knows.
    All,
    /// These, sorted, each once.
    Named(Vec<PeerId>),
}

impl Choice {
    /// Reads names, or `*` alone.
    pub(super) fn parse(names: &[String]) -> Result<Self, Fault> {
        match names {
            [] => Err(bad("agents is empty; name at least one agent, or \"*\" for all")),
            [all] if all == ALL_AGENTS => Ok(Self::All),
            names if names.iter().any(|name| name == ALL_AGENTS) => {
                Err(bad("\"*\" in agents stands alone: it means all of them"))
            }
            names => {
                let mut agents = names.iter().map(|name| parse_agent(name)).collect::<Result<Vec<_>, _>>()?;
                agents.sort_unstable();
                agents.dedup();
                within(agents.len())?;
                Ok(Self::Named(agents))
            }
        }
    }

    /// The agents, sorted, each with whether it is connected.
    pub(super) fn resolve(self, manager: &Manager) -> Result<Vec<(PeerId, bool)>, Fault> {
        let agents = match self {
            Self::All => all(manager),
            Self::Named(names) => known(manager, names)?,
        };
        within(agents.len())?;
        Ok(agents)
    }

    /// The same for a job, which needs at least one.
    pub(super) fn resolve_some(self, manager: &Manager) -> Result<Vec<(PeerId, bool)>, Fault> {
        let agents = self.resolve(manager)?;
        if agents.is_empty() {
            return Err(bad(
                "\"*\" means all agents that the manager knows, and it knows none yet: start an agent",
            ));
        }
        Ok(agents)
    }
}

fn within(agents: usize) -> Result<(), Fault> {
    if agents > MAX_AGENTS {
        return Err(bad(format!("agents names {agents}; one job runs on at most {MAX_AGENTS}")));
    }
    Ok(())
}

fn all(manager: &Manager) -> Vec<(PeerId, bool)> {
    let mut agents: Vec<(PeerId, bool)> = Vec::new();
    let mut after = None;
    loop {
        let page = manager.with_roster(|roster| roster.page(after.as_ref(), CHUNK));
        let whole = page.len() == CHUNK;
        // one that is shut out would not come
        let welcome = |row: &Row| manager.door.revoked(Role::Agent, &row.agent).is_none();
        after = page.last().map(|row| row.agent.clone());
        agents.extend(page.into_iter().filter(welcome).map(|row| {
            let connected = !matches!(row.state, State::Away { .. });
            (row.agent, connected)
        }));
        // one job too large is as bad as any larger one
        if !whole || agents.len() > MAX_AGENTS {
            return agents;
        }
    }
}

fn known(manager: &Manager, names: Vec<PeerId>) -> Result<Vec<(PeerId, bool)>, Fault> {
    let (mut agents, mut unknown) = (Vec::with_capacity(names.len()), Vec::new());
    for chunk in names.chunks(CHUNK) {
        manager.with_roster(|roster| {
            for name in chunk {
                match roster.get(name) {
                    Lookup::Connected { .. } => agents.push((name.clone(), true)),
                    Lookup::Away { .. } => agents.push((name.clone(), false)),
                    Lookup::Unknown => unknown.push(name.clone()),
                }
            }
        });
    }
    if unknown.is_empty() { Ok(agents) } else { Err(strangers(&unknown)) }
}

fn strangers(unknown: &[PeerId]) -> Fault {
    let names: Vec<&str> = unknown.iter().take(NAMED).map(PeerId::as_str).collect();
    let more = unknown.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text =
        format!("no agent has ever been seen with the name {}{more}; nothing was stored", names.join(", "));
    Fault::new(FaultCode::UnknownAgent, text)
}

/// Answers `rp.jobs.preview`: without a procedure by what the roster knows, and nobody is asked.
pub(super) async fn preview(manager: &Manager, call: &CallContext) -> Result<Raw, Fault> {
    let trial = TrialArguments::read(&call.kwargs)
        .map_err(|error| bad(format!("{}: {error}", method::JOBS_PREVIEW)))?;
    if let Some(trial) = trial {
        return submit_trial::preview(manager, call, trial).await;
    }
    let arguments: PreviewArguments = read(&call.kwargs)?;
    let limit = page_size(arguments.limit, PAGE, MAX_PAGE)?;
    let after = arguments.after.as_deref().map(parse_agent).transpose()?;
    let agents = Choice::parse(&arguments.agents)?.resolve(manager)?;
    let connected = agents.iter().filter(|(_, connected)| *connected).count();
    let (mut room, mut page, mut last) = (Room::of(call), Vec::new(), None);
    let mut next = None;
    for (agent, connected) in
        agents.iter().filter(|(agent, _)| after.as_ref().is_none_or(|after| agent > after))
    {
        let (id, connected) = (agent.to_string(), *connected);
        let row = write(&PreviewAgent { id, connected, ..PreviewAgent::default() })?;
        if page.len() == limit || !room.take(&row) {
            next = last;
            break;
        }
        last = Some(agent.as_str());
        page.push(row);
    }
    let map = RawMap::new().raws("agents", &page).uint("total", count(agents.len()));
    Ok(map.uint("connected", count(connected)).opt_text("next", next).finish())
}
