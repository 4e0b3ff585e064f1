//! An agent with two procedures of its own, beside everything that `redpoll-agent` does.
//!
//! ```sh
//! cargo run -p redpoll-agent --example greeter -- --config agent.toml
//! rpctl call web-1 demo.greet name=Ada times:=3
//! rpctl run web-1 demo.count upto:=10
//! ```

use std::process::ExitCode;
use std::time::Duration;

use redpoll_agent::sdk::{Agent, Context, Failure, JsonSchema, Procedure};
use serde::{Deserialize, Serialize};

/// Whom to greet, and how often.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Greet {
    /// A name.
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// How often.
    #[serde(default = "once")]
    #[schemars(range(min = 1, max = 1000))]
    times: u64,
}

fn once() -> u64 {
    1
}

/// What came of it.
#[derive(Serialize)]
struct Greeted {
    greetings: u64,
}

/// Gives one value per greeting.
async fn greet(asked: Greet, context: Context) -> Result<Greeted, Failure> {
    for n in 0..asked.times {
        context.value(&format!("hello {}", asked.name)).await?;
        context.progress(n + 1, Some(asked.times));
    }
    Ok(Greeted { greetings: asked.times })
}

/// How far to count.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Count {
    /// The last number.
    upto: u64,
}

/// Counts, a number a second; a cancel ends it with the number that it had reached.
async fn count(asked: Count, context: Context) -> Result<u64, Failure> {
    for n in 1..=asked.upto {
        tokio::select! {
            biased;
            () = context.cancelled() => {
                return Err(Failure::new("cancelled while counting").class("Interrupted").data(&n));
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => context.value(&n).await?,
        }
    }
    Ok(asked.upto)
}

fn main() -> ExitCode {
    Agent::new("greeter", env!("CARGO_PKG_VERSION"))
        .procedure(Procedure::new("demo.greet", "Greets somebody, once or more often."), greet)
        .graceful(Procedure::new("demo.count", "Counts, a number a second."), count)
        .run()
}
