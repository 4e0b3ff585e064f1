//! `rp.job.report` and `rp.job.resume`: what agents tell of their runs. The agent is the session's, never what a message says, and so is
//! the connection: what comes over an older one of the same agent does not count. So the sessions serve both themselves, beside the registry.

use redpoll_common::api::method;
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Report, Resume};
use redpoll_common::wire::{DecodeError, Fault, FaultCode, Raw};
use redpoll_net::CallContext;

use crate::engine::Engine;

/// Serves `rp.job.report`. What is not in the future happens before the next request of the session is begun.
pub(crate) fn report(
    engine: &Engine,
    connection: ConnectionId,
    call: &CallContext,
) -> impl Future<Output = Result<Raw, Fault>> + Send + use<> {
    let report = Report::read(&call.kwargs).map_err(|error| wrong(method::JOB_REPORT, &error));
    let answer = report.map(|report| engine.report(&call.caller.identity.id, connection, report));
    async move { Ok(answer?.await?.write()) }
}

/// Serves `rp.job.resume`.
pub(crate) async fn resume(
    engine: Engine,
    connection: ConnectionId,
    call: CallContext,
) -> Result<Raw, Fault> {
    let resume = Resume::read(&call.kwargs).map_err(|error| wrong(method::JOB_RESUME, &error))?;
    Ok(engine.resume(&call.caller.identity.id, connection, resume).await?.write())
}

fn wrong(method: &str, error: &DecodeError) -> Fault {
    Fault::new(FaultCode::BadArguments, format!("{method}: {error}"))
}
