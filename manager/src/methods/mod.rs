//! The manager's own methods. Each is registered once; who may use it says `redpoll_manager_core::access`.

mod agents;
mod agents_orders;
mod agents_procedures;
mod arguments;
mod asks;
mod call;
mod depth;
mod events;
mod events_verify;
mod follow;
mod follow_runs;
mod follow_tell;
mod jobs;
mod jobs_cancel;
mod jobs_list;
mod jobs_result;
mod jobs_routes;
mod jobs_rows;
mod own;
mod queues;
mod read;
pub(crate) mod reports;
mod revoke;
mod room;
mod submit;
mod submit_agents;
mod submit_trial;

pub(crate) use self::asks::keep_pace;
pub use self::follow::PAGE as FOLLOW_PAGE;
pub use self::follow_tell::BATCH as FOLLOW_BATCH;

use std::sync::Arc;

use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::access::METHODS;
use redpoll_net::registry::Duplicate;
use redpoll_net::{ProcedureInfo, Registry};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::Engine;
use crate::state::Manager;

/// Registers every method.
///
/// # Errors
/// A name twice, which a test excludes.
pub fn registry(manager: &Arc<Manager>, engine: &Engine) -> Result<Registry, Duplicate> {
    let registry = call::register(Registry::new(), manager)?;
    let registry = agents::register(registry, manager, engine)?;
    let registry = revoke::register(registry, manager, engine)?;
    let registry = agents_orders::register(registry, manager, engine)?;
    let registry = jobs_routes::register(registry, manager, engine)?;
    let registry = queues::register(registry, engine)?;
    let registry = events::register(registry, manager, engine)?;
    let registry = events_verify::register(registry, engine)?;
    let registry = asks::register(registry, manager, engine)?;
    own::register(registry, manager, engine)
}

/// The description of a method, from the table of rights.
fn info(name: &'static str) -> ProcedureInfo {
    let summary = METHODS.iter().find(|method| method.name == name).map_or("", |method| method.summary);
    ProcedureInfo::new(name, summary, serde_json::json!({ "type": "object" }))
}

/// Reads the named arguments of a request.
fn read<T: DeserializeOwned>(kwargs: &Raw) -> Result<T, Fault> {
    kwargs.decode().map_err(|error| Fault::new(FaultCode::BadArguments, error.to_string()))
}

/// Writes an answer.
fn write<T: Serialize>(answer: &T) -> Result<Raw, Fault> {
    Raw::encode(answer).map_err(|error| Fault::new(FaultCode::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redpoll_common::api::method;
    use redpoll_common::identity::Identity;
    use redpoll_config::ManagerConfig;

    #[tokio::test]
    async fn every_route_has_its_row_in_the_table_of_rights_and_the_reverse() {
        let identity = Identity::parse("spiffe://home/manager/m1").unwrap();
        let manager = Arc::new(Manager::new(identity, ManagerConfig::default()));
        let engine = crate::engine::testing::engine().await;
        let registry = registry(&manager, &engine).unwrap();
        let names = registry.procedures().map(|info| info.name.as_str());
        // those that the sessions serve themselves
        let names = names.chain([method::JOB_REPORT, method::JOB_RESUME]);
        redpoll_manager_core::access::check_routes(names).unwrap();
    }
}
