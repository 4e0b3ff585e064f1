//! `rp.agents.procedures`: what an agent offers, as the manager knows it. No agent is asked.

use std::sync::Arc;

use redpoll_common::api::{ProceduresArguments, method};
use redpoll_common::wire::{Fault, Raw, RawMap};
use redpoll_manager_core::catalogue::Standing;
use redpoll_manager_core::roster::Lookup;
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};

use super::jobs_rows::count;
use super::room::Room;
use super::{info, read};
use crate::state::{Manager, parse_agent, unknown_agent};

pub(super) fn register(registry: Registry, manager: &Arc<Manager>) -> Result<Registry, Duplicate> {
    let manager = manager.clone();
    registry.with(info(method::AGENTS_PROCEDURES), move |call| {
        let manager = manager.clone();
        async move { procedures(&manager, &call) }
    })
}

/// `{known, connected, procedures, next}`: `known` says whether the agent has told it, in its present session if it is connected.
fn procedures(manager: &Manager, call: &CallContext) -> Result<Raw, Fault> {
    let arguments: ProceduresArguments = read(&call.kwargs)?;
    let agent = parse_agent(&arguments.agent)?;
    let connected = manager.with_roster(|roster| match roster.get(&agent) {
        Lookup::Connected { .. } => Ok(true),
        Lookup::Away { .. } => Ok(false),
        Lookup::Unknown => Err(unknown_agent(&agent)),
    })?;
    let list = manager.with_catalogue(|catalogue| {
        let (list, standing) = catalogue.of(&agent)?;
        (standing == Standing::Current || !connected).then(|| list.clone())
    });
    let after = usize::try_from(arguments.after.unwrap_or(0)).unwrap_or(usize::MAX);
    let (mut room, mut page, mut next) = (Room::of(call), Vec::new(), None);
    let elements = list.iter().flat_map(|list| list.elements(arguments.procedure.as_deref()));
    for (place, element) in elements.enumerate().skip(after) {
        if !room.take(element) {
            if page.is_empty() {
                return Err(room.too_large("the description of a procedure", element));
            }
            next = Some(count(place));
            break;
        }
        page.push(element.clone());
    }
    let map = RawMap::new().bool("known", list.is_some()).bool("connected", connected);
    Ok(map.raws("procedures", &page).opt_uint("next", next).finish())
}
