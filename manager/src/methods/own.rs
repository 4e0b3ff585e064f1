//! What the manager says of itself.

use std::sync::Arc;

use redpoll_common::api::{MethodList, MethodSummary, Status, Time, method};
use redpoll_common::wire::{Fault, Raw, RawMap};
use redpoll_manager_core::access::methods_of;
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};

use super::{info, write};
use crate::engine::Engine;
use crate::state::Manager;
use crate::store::Room;

pub(super) fn register(
    registry: Registry,
    manager: &Arc<Manager>,
    engine: &Engine,
) -> Result<Registry, Duplicate> {
    let (asked, clock, store) = (manager.clone(), manager.clone(), engine.store().clone());
    registry
        .with(info(method::STATUS), move |_call| {
            let (manager, room) = (asked.clone(), store.room());
            async move { write(&status(&manager, room)) }
        })?
        .with(info(method::MANAGER_TIME), move |_call| {
            let uptime_ms = uptime_ms(&clock);
            async move { write(&Time { wall_ms: redpoll_net::clock::wall_ms(), uptime_ms }) }
        })?
        .with(info(method::MANAGER_ECHO), |call| async move { Ok(echo(&call)) })?
        .with(info(method::MANAGER_METHODS), |call| async move { methods(&call) })
}

fn uptime_ms(manager: &Manager) -> u64 {
    u64::try_from(manager.uptime().as_millis()).unwrap_or(u64::MAX)
}

fn status(manager: &Manager, room: Room) -> Status {
    let counts = manager.with_roster(|roster| roster.counts());
    let operators = manager.with_operators(|operators| operators.len());
    let counters = manager.counters.snapshot();
    Status {
        manager: manager.identity.id.to_string(),
        cluster: manager.identity.cluster.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: uptime_ms(manager),
        agents_connected: counts.connected as u64,
        agents_away: counts.away as u64,
        operators_connected: operators as u64,
        draining: manager.is_draining(),
        disk: match room {
            Room::Plenty => "plenty",
            Room::Reserve => "reserve",
            Room::Nothing => "none",
        }
        .to_owned(),
        counters: counters.rows().into_iter().map(|(name, n, _)| (name.to_owned(), n)).collect(),
    }
}

fn echo(call: &CallContext) -> Raw {
    RawMap::new().raw("args", &call.args).raw("kwargs", &call.kwargs).finish()
}

fn methods(call: &CallContext) -> Result<Raw, Fault> {
    let methods = methods_of(call.caller.identity.role)
        .map(|method| MethodSummary { name: method.name.to_owned(), summary: method.summary.to_owned() })
        .collect();
    write(&MethodList { methods })
}
