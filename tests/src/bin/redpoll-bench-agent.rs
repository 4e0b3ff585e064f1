//! `redpoll-bench-agent`: the agent with procedures of its own, which give as much as they are asked to.
//!
//! Used by `redpoll-bench jobs`. The rest of it is `redpoll-agent`.

use std::process::ExitCode;

use clap::Parser;
use redpoll_agent::app::App;
use redpoll_common::wire::{DecodeError, Fault, FaultCode, Fields, Raw};
use redpoll_config::ExitClass;
use redpoll_config::daemon::{DaemonArgs, Failure, Start};
use redpoll_net::shutdown::Early;
use redpoll_net::{CallContext, ProcedureInfo, Registry};
use serde_json::json;
use tokio::runtime::Builder;

/// The largest value that is given, in bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// An agent that gives values.
#[derive(Debug, Parser)]
#[command(name = "redpoll-bench-agent")]
struct Arguments {
    #[command(flatten)]
    daemon: DaemonArgs,
}

fn main() -> ExitCode {
    let daemon = Arguments::parse().daemon;
    // as many threads as the agent has
    let early = Early::new(&mut Builder::new_current_thread());
    daemon.main(
        "redpoll-bench-agent",
        redpoll_net::serving::now,
        App::check,
        |Start { loaded, sources, log }| {
            let registry = registry()
                .map_err(|error| Failure::new(ExitClass::Internal, "procedures").caused_by(error))?;
            let daemon = async |signals| {
                App::new(loaded, registry)?.run(signals, &sources, &log).await;
                Ok(())
            };
            let ended = early.and_then(|early| early.run(daemon));
            ended.map_err(|error| Failure::new(ExitClass::Internal, "cannot begin").caused_by(error))?
        },
    )
}

fn registry() -> Result<Registry, redpoll_net::registry::Duplicate> {
    let schema = json!({
        "type": "object",
        "properties": { "n": { "type": "integer" }, "size": { "type": "integer" } },
        "required": ["n", "size"],
    });
    Registry::new().with(ProcedureInfo::new("bench.values", "Gives n values of size bytes.", schema), values)
}

async fn values(call: CallContext) -> Result<Raw, Fault> {
    let (n, size) =
        read(&call.kwargs).map_err(|error| Fault::new(FaultCode::BadArguments, error.to_string()))?;
    let value = Raw::text(&"v".repeat(usize::try_from(size.min(MAX_SIZE)).unwrap_or(0)));
    for _ in 0..n {
        let given = call.output.value(value.clone()).await;
        given.map_err(|error| Fault::new(FaultCode::Failed, error.to_string()))?;
    }
    Ok(Raw::nil())
}

fn read(kwargs: &Raw) -> Result<(u64, u64), DecodeError> {
    let fields = Fields::of(kwargs)?;
    Ok((fields.u64("n")?, fields.u64("size")?))
}
