//! `rp.agents.reload`, `rp.procedures.enable` and `rp.procedures.disable`: orders of an operator that the manager passes on.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::{AgentArguments, SwitchAnswer, SwitchArguments, SwitchOrder, agent_method, method};
use redpoll_common::ids::PeerId;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::peer::{Call, CallError};
use redpoll_net::registry::Duplicate;
use redpoll_net::{CallContext, Registry};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{info as describe, read, write};
use crate::engine::Engine;
use crate::state::Manager;

/// How long an agent may take: it reads a folder, and writes a file.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn register(
    registry: Registry,
    manager: &Arc<Manager>,
    engine: &Engine,
) -> Result<Registry, Duplicate> {
    let (enabling, disabling) = (engine.clone(), engine.clone());
    let (reloader, enabler, disabler) = (manager.clone(), manager.clone(), manager.clone());
    registry
        .with(describe(method::AGENTS_RELOAD), move |call| reload(reloader.clone(), call))?
        .with(describe(method::PROCEDURES_ENABLE), move |call| {
            switch(enabler.clone(), enabling.clone(), call, agent_method::ENABLE)
        })?
        .with(describe(method::PROCEDURES_DISABLE), move |call| {
            switch(disabler.clone(), disabling.clone(), call, agent_method::DISABLE)
        })
}

async fn reload(manager: Arc<Manager>, call: CallContext) -> Result<Raw, Fault> {
    let AgentArguments { agent } = read(&call.kwargs)?;
    let peer = manager.agent(&agent)?;
    let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = left.unwrap_or(PATIENCE).min(PATIENCE);
    log(&call, &agent, agent_method::RELOAD);
    let order = order(&call, (agent_method::RELOAD, Raw::empty_map()), timeout);
    peer.call(order).await.map_err(|error| from_agent(&agent, error))
}

/// In a task of its own, which goes on when nobody waits for it any more, however short the caller's time was: the agent may have
/// switched by then, and the history has to say who had it do so.
async fn switch(
    manager: Arc<Manager>,
    engine: Engine,
    call: CallContext,
    method: &'static str,
) -> Result<Raw, Fault> {
    let SwitchArguments { agent, procedure } = read(&call.kwargs)?;
    let peer = manager.agent(&agent)?;
    let lasting = manager.door.lasting(&call.caller)?;
    let operator = call.caller.identity.id.to_string();
    let kwargs = write(&SwitchOrder { procedure: procedure.clone(), operator: Some(operator.clone()) })?;
    let order = order(&call, (method, kwargs), PATIENCE);
    let name = agent.clone();
    let switching = async move {
        let _lasting = lasting;
        let answer = peer.call(order).await.map_err(|error| from_agent(&agent, error))?;
        let enabled = method == agent_method::ENABLE;
        // what changed nothing did not happen. Whether it did the agent alone can say, and nothing else: the rest is as the operator asked
        if let (Ok(SwitchAnswer { changed: true, .. }), Ok(id)) = (answer.decode(), agent.parse::<PeerId>())
            && let Err(error) = engine.switched(id, procedure, enabled, operator).await
        {
            warn!(agent, %error, "the agent has switched the procedure, and the history does not say so");
        }
        Ok(answer)
    };
    let switched = manager.orders.carry_out(switching)?;
    log(&call, &name, method);
    let unknown = |_panic| Err(Fault::new(FaultCode::Internal, "whether it was switched is not known"));
    switched.await.unwrap_or_else(unknown)
}

/// Not in a task of its own, whose lines do not name the request.
fn log(call: &CallContext, agent: &str, method: &str) {
    info!(agent, method, operator = %call.caller.identity, "an order for an agent");
}

/// What the agent is asked. Its answer is given unchanged.
fn order(call: &CallContext, (method, kwargs): (&'static str, Raw), timeout: Duration) -> Call {
    let order = Call::new(method, timeout).with_kwargs(kwargs);
    Call { trace: call.trace.clone(), ..order }
}

/// An agent that is older, or in another language, has no such method.
fn from_agent(agent: &str, error: CallError) -> Fault {
    let mut fault = error.into_fault();
    if fault.code == FaultCode::UnknownMethod {
        fault.message = format!("{agent} cannot do that: it is older, or of another kind");
    }
    fault
}
