//! `redpoll-recurring-agent`: the agent with procedures of its own that run by themselves, as its environment says.
//!
//! `REDPOLL_TEST_EVERY_MS` is the interval; `REDPOLL_TEST_GATE` a file: a run says that it began by adding a line to the file with
//! `.began` at its end, and ends once the file is there. The rest of it is `redpoll-agent`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use redpoll_agent::sdk::{Agent, Context, Failure, JsonSchema, Procedure, ProcedureSchedule};
use redpoll_common::api::submit::SubmitArguments;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// How often a run looks whether it may end.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Deserialize, JsonSchema)]
struct Emit {
    kind: String,
}

#[derive(Deserialize, JsonSchema)]
struct Submit {
    agent: String,
    procedure: String,
}

#[derive(Serialize)]
struct Ran {
    gate: String,
}

fn gate() -> PathBuf {
    std::env::var_os("REDPOLL_TEST_GATE").map(PathBuf::from).unwrap_or_default()
}

async fn wait(_: Nothing, context: Context) -> Result<Ran, Failure> {
    use std::io::Write as _;
    let gate = gate();
    let began = gate.with_extension("began");
    writeln!(std::fs::File::options().append(true).create(true).open(began)?, "began")?;
    context.value("began").await?;
    while !gate.exists() {
        sleep(LOOK_EVERY).await;
    }
    Ok(Ran { gate: gate.display().to_string() })
}

async fn emit(asked: Emit, context: Context) -> Result<u64, Failure> {
    Ok(context.manager().emit(&asked.kind, &["said", "so"]).await?)
}

async fn submit(asked: Submit, context: Context) -> Result<String, Failure> {
    let job = SubmitArguments::new(vec![asked.agent], asked.procedure);
    Ok(context.manager().submit(&job).await?.job)
}

fn main() -> ExitCode {
    let every = std::env::var("REDPOLL_TEST_EVERY_MS").ok().and_then(|ms| ms.parse().ok());
    let schedule =
        |ms| ProcedureSchedule { at_start: true, ..ProcedureSchedule::every(Duration::from_millis(ms)) };
    let agent = Agent::new("redpoll-recurring-agent", env!("CARGO_PKG_VERSION"))
        .procedure(Procedure::new("test.wait", "Waits for a file."), wait)
        .procedure(Procedure::new("test.emit", "Says something."), emit)
        .procedure(Procedure::new("test.submit", "Submits a job."), submit);
    match every {
        Some(ms) => agent.recurring("test.wait", schedule(ms)).run(),
        None => agent.run(),
    }
}
