//! `rp.call` and `rp.notify`: from an operator to an agent and back, without a store, an engine task or a lock
//! across an await.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::{CallArguments, NotifyArguments, method};
use redpoll_common::job::Submitter;
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::peer::{Call, CallError, CallEvent, CallStream};
use redpoll_net::registry::Duplicate;
use redpoll_net::service::{OutputError, stop_fault};
use redpoll_net::{CallContext, Registry};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::info as describe;
use crate::catalogue;
use crate::state::{Manager, parse_agent};

/// How long a call may take whose caller names no limit.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a cancelled call's own answer is waited for, so that its caller learns how it ended.
const CANCEL_GRACE: Duration = Duration::from_secs(30);

pub(super) fn register(registry: Registry, manager: &Arc<Manager>) -> Result<Registry, Duplicate> {
    let (caller, notifier) = (manager.clone(), manager.clone());
    registry
        .with_graceful(describe(method::CALL), move |call| run(caller.clone(), call))?
        .with(describe(method::NOTIFY), move |call| notify(notifier.clone(), call))
}

async fn run(manager: Arc<Manager>, mut call: CallContext) -> Result<Raw, Fault> {
    let result = route(&manager, &mut call).await;
    manager.counters.call_ended(result.as_ref().err().map(|fault| &fault.code));
    result
}

async fn route(manager: &Manager, call: &mut CallContext) -> Result<Raw, Fault> {
    let arguments = CallArguments::read(&call.kwargs)
        .map_err(|error| Fault::new(FaultCode::BadArguments, format!("rp.call: {error}")))?;
    if arguments.procedure.starts_with(redpoll_manager_core::access::RESERVED_PREFIX) {
        let text = format!("{} is not a procedure: names with rp. are reserved", arguments.procedure);
        return Err(Fault::new(FaultCode::UnknownProcedure, text));
    }
    let peer = manager.agent(&arguments.agent)?;
    let what = (&arguments.args, &arguments.kwargs);
    catalogue::check_call(manager, &parse_agent(&arguments.agent)?, &arguments.procedure, what).await?;
    manager.counters.calls_routed.up();
    let now = Instant::now();
    let deadline = call.deadline.unwrap_or(now + DEFAULT_TIMEOUT);
    let outgoing = Call {
        method: arguments.procedure,
        args: arguments.args,
        kwargs: arguments.kwargs,
        timeout: deadline.saturating_duration_since(now),
        trace: call.trace.clone(),
        // what the caller itself says about operators and roles is of no interest: its certificate names it
        operator: Some(call.caller.identity.id.to_string()),
        roles: manager.roles_of(&Submitter::of(&call.caller.identity)),
    };
    let begun = tokio::select! {
        biased;
        begun = peer.start(outgoing) => begun,
        // nothing was sent yet: dropping the attempt withdraws it
        reason = call.stop.stopped() => return Err(stop_fault(reason)),
    };
    let stream = begun.map_err(CallError::into_fault)?;
    call.release_arguments();
    let result = forward(call, stream).await;
    if let Err(fault) = &result {
        debug!(agent = %arguments.agent, code = ?fault.code.as_str(), "call ended with a fault");
    }
    result
}

/// Passes on what comes until the answer. A cancel is passed on too, and the agent's own answer to it waited for.
async fn forward(call: &CallContext, mut stream: CallStream) -> Result<Raw, Fault> {
    let reason = tokio::select! {
        biased;
        result = drain(call, &mut stream) => return result,
        reason = call.stop.stopped() => reason,
    };
    let fault = stop_fault(reason);
    match reason {
        StopReason::Cancelled => {
            stream.cancel();
            let until = Instant::now() + CANCEL_GRACE;
            tokio::select! {
                biased;
                result = timeout_at(until, drain(call, &mut stream)) => result.unwrap_or(Err(fault)),
                // whoever is revoked, or lost, is not inside for as long as an agent does not answer
                () = call.stop.gone() => Err(fault),
            }
        }
        // nobody waits for the answer; dropping the stream tells the agent
        StopReason::TimedOut | StopReason::Closed => Err(fault),
    }
}

async fn drain(call: &CallContext, stream: &mut CallStream) -> Result<Raw, Fault> {
    while let Some(event) = stream.next().await {
        match event {
            CallEvent::Value(value) => {
                call.output.value(value).await.map_err(|error| undelivered(call, error))?;
            }
            CallEvent::Progress(progress) => call.output.forward_progress(progress),
            CallEvent::End(result) => return result.map_err(CallError::into_fault),
        }
    }
    Err(Fault::new(FaultCode::Internal, "the call ended without an answer"))
}

/// Why a call ends whose value cannot be passed on. A caller that stopped is no reason to blame the value: its stop ends
/// the waiting for credit, and may be seen here first.
pub(super) fn undelivered(call: &CallContext, error: OutputError) -> Fault {
    match error {
        OutputError::TooDeep | OutputError::TooLarge { .. } => {
            Fault::new(FaultCode::TooLarge, format!("a value does not fit: {error}"))
        }
        OutputError::Ended => stop_fault(call.stop.reason().unwrap_or(StopReason::Closed)),
    }
}

async fn notify(manager: Arc<Manager>, call: CallContext) -> Result<Raw, Fault> {
    let arguments = NotifyArguments::read(&call.kwargs)
        .map_err(|error| Fault::new(FaultCode::BadArguments, format!("rp.notify: {error}")))?;
    if arguments.kind.is_empty() {
        return Err(Fault::new(FaultCode::BadArguments, "the type of a notification has at least one byte"));
    }
    if arguments.kind.starts_with(redpoll_manager_core::access::RESERVED_PREFIX) {
        let text = format!("{} cannot be sent: names with rp. are reserved", arguments.kind);
        return Err(Fault::new(FaultCode::BadArguments, text));
    }
    let peer = manager.agent(&arguments.agent)?;
    peer.notify(arguments.kind, arguments.data)
        .await
        .map_err(|refusal| CallError::Refused(refusal).into_fault())?;
    manager.counters.notifications_routed.up();
    Ok(Raw::nil())
}
