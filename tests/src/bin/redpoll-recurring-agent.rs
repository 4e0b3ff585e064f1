//! `redpoll-recurring-agent`: the agent with procedures of its own that run by themselves, as its environment says.
//!
//! `REDPOLL_TEST_EVERY_MS` is the interval; `REDPOLL_TEST_GATE` a file: a run says that it began by adding a line to the file with
//! `.began` at its end, and ends once the file is there. `test.ask` asks the manager whatever its caller wants, and says what it
//! was told; `test.steps` says how far it is, `test.whom` who asks. The rest of it is `redpoll-agent`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use redpoll_agent::manager::AskError;
use redpoll_agent::sdk::{Agent, Context, Failure, JsonSchema, Procedure, ProcedureSchedule};
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::Raw;
use redpoll_net::CallError;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// How often a run looks whether it may end.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const STEPS: u64 = 5;

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

#[derive(Deserialize, JsonSchema)]
struct Ask {
    method: String,
    kwargs: serde_json::Value,
    within_ms: u64,
    tries: usize,
}

#[derive(Serialize)]
struct Told {
    /// A word for each try: `answered`, `lost` with the session, `late`, or the fault.
    tries: Vec<String>,
    /// The answer, if it can be shown.
    answer: serde_json::Value,
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

/// Asks until it is answered, over as many sessions as it takes.
async fn ask(asked: Ask, context: Context) -> Result<Told, Failure> {
    let manager = context.manager().within(Duration::from_millis(asked.within_ms));
    let kwargs = Raw::encode(&asked.kwargs)?;
    let mut told = Told { tries: Vec::new(), answer: serde_json::Value::Null };
    while told.tries.len() < asked.tries {
        manager.connected().await;
        match manager.call(&asked.method, kwargs.clone()).await {
            Ok(answer) => {
                told.tries.push("answered".to_owned());
                told.answer = answer.decode().unwrap_or_default();
                break;
            }
            // it went away in this moment
            Err(AskError::NoSession) => {}
            Err(AskError::Call(CallError::Closed(_))) => told.tries.push("lost".to_owned()),
            Err(AskError::Call(CallError::TimedOut(_))) => told.tries.push("late".to_owned()),
            Err(error) => told.tries.push(error.to_string()),
        }
    }
    Ok(told)
}

async fn steps(_: Nothing, context: Context) -> Result<u64, Failure> {
    for step in 1..=STEPS {
        context.progress(step, Some(STEPS));
        context.value(&step).await?;
        sleep(LOOK_EVERY).await;
    }
    Ok(STEPS)
}

/// Who asks, and what that is.
async fn whom(_: Nothing, context: Context) -> Result<(Option<String>, Option<Vec<String>>), Failure> {
    Ok((context.operator().map(str::to_owned), context.roles().map(<[String]>::to_vec)))
}

/// Fails with all that a failure can say.
async fn fail(_: Nothing, _context: Context) -> Result<(), Failure> {
    let state = std::collections::BTreeMap::from([("free", 0)]);
    let failure = Failure::new("full").class("DiskFull").module("disks").args(&["/var"]).state(&state);
    Err(failure.trace("first, then second").data(&7))
}

fn main() -> ExitCode {
    let every = std::env::var("REDPOLL_TEST_EVERY_MS").ok().and_then(|ms| ms.parse().ok());
    let schedule =
        |ms| ProcedureSchedule { at_start: true, ..ProcedureSchedule::every(Duration::from_millis(ms)) };
    let agent = Agent::new("redpoll-recurring-agent", env!("CARGO_PKG_VERSION"))
        .procedure(Procedure::new("test.wait", "Waits for a file."), wait)
        .procedure(Procedure::new("test.emit", "Says something."), emit)
        .procedure(Procedure::new("test.submit", "Submits a job."), submit)
        .procedure(Procedure::new("test.ask", "Asks the manager."), ask)
        .procedure(Procedure::new("test.whom", "Tells who asks."), whom)
        .procedure(Procedure::new("test.fail", "Fails.").deprecated("use nothing").idempotent().admin(), fail)
        .procedure(Procedure::new("test.steps", "Says how far it is."), steps);
    match every {
        Some(ms) => agent.recurring("test.wait", schedule(ms)).run(),
        None => agent.run(),
    }
}
