//! `redpoll-bench`: measures the real programs beside the barest ones that do the same, and prints the ratios.
//!
//! `redpoll-bench NAME [--quick] --out FILE` runs one measurement: it prints a table and leaves one JSON object in FILE.
//! It finds `redpoll-manager` and `redpoll-agent` beside itself; `cargo xtask bench` builds them and starts it.
//! What the figures mean is told in `docs/benchmarks.md`.
//!
//! - [`call`], [`idle`], [`storm`], [`agent`], [`jobs`], [`procedures`]: the measurements.
//! - [`bare`]: what they are compared with: tokio-rustls and nothing else.
//! - [`fleet`]: many agents in one process. [`world`], [`process`]: the programs, their files and what they use.

#![expect(clippy::print_stdout, reason = "tables and the talk between its processes go to stdout")]

mod agent;
mod bare;
mod call;
mod fleet;
mod idle;
mod jobs;
mod pki;
mod procedures;
mod process;
mod stats;
mod storm;
mod table;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::bare::Spot;
use crate::fleet::Kind;

/// Measures the real programs beside the barest ones that do the same.
#[derive(Debug, Parser)]
#[command(name = "redpoll-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Few rounds and small numbers: shows that it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Where the figures go, as JSON.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Round trips and calls per second through the manager.
    Call(Common),
    /// Memory of the manager per idle agent.
    Idle(Common),
    /// How fast a fleet is back after the manager restarts.
    Storm(Common),
    /// Memory and size of an idle agent.
    Agent(Common),
    /// What jobs cost: submits, jobs and items per second, memory, start-up.
    Jobs {
        #[command(flatten)]
        common: Common,
        /// Only these parts.
        #[arg(long, value_enum)]
        part: Vec<jobs::Part>,
    },
    /// What procedures cost: calls of workers, a process for each call, files.
    Procedures {
        #[command(flatten)]
        common: Common,
        /// Only these parts.
        #[arg(long, value_enum)]
        part: Vec<procedures::Part>,
    },
    /// Used by the others: many agents in one process.
    #[command(hide = true)]
    Fleet {
        #[arg(value_enum)]
        kind: Kind,
        #[arg(long)]
        pki: PathBuf,
        #[arg(long)]
        target: SocketAddr,
        #[arg(long)]
        at_once: usize,
    },
    /// Used by the others: passes frames between a requester and a responder.
    #[command(hide = true)]
    BareRelay(Spot),
    /// Used by the others: sends frames back to a relay.
    #[command(hide = true)]
    BareResponder(Spot),
    /// Used by the others: takes streams, and answers each with its digest.
    #[command(hide = true)]
    BareSink {
        #[command(flatten)]
        spot: Spot,
        /// The file that each stream ends in; none: it ends in nothing.
        #[arg(long)]
        into: Option<PathBuf>,
    },
    /// Used by the others: passes streams on to a sink.
    #[command(hide = true)]
    BarePipe {
        #[command(flatten)]
        spot: Spot,
        #[arg(long)]
        sink: SocketAddr,
    },
    /// Used by the others: sends a file as a stream.
    #[command(hide = true)]
    BareSource {
        #[command(flatten)]
        spot: Spot,
        #[arg(long)]
        file: PathBuf,
    },
    /// Used by the others: a store that is asked over a connection.
    #[command(hide = true)]
    BareStore {
        #[command(flatten)]
        spot: Spot,
        #[arg(long)]
        folder: PathBuf,
    },
    /// Used by the others: accepts, greets, holds and echoes.
    #[command(hide = true)]
    BareServer(Spot),
    /// Used by the others: one connection that is held.
    #[command(hide = true)]
    BareAgent(Spot),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Call(common) => measure("call", &common, call::run(common.quick)),
        Command::Idle(common) => measure("idle", &common, idle::run(common.quick)),
        Command::Storm(common) => measure("storm", &common, storm::run(common.quick)),
        Command::Agent(common) => measure("agent", &common, agent::run(common.quick)),
        Command::Jobs { common, part } => measure("jobs", &common, jobs::run(common.quick, &part)),
        Command::Procedures { common, part } => {
            measure("procedures", &common, procedures::run(common.quick, &part))
        }
        Command::Fleet { kind, pki, target, at_once } => {
            one_thread()?.block_on(fleet::run(kind, &pki, target, at_once))
        }
        Command::BareRelay(spot) => one_thread()?.block_on(bare::relay::run(&spot)),
        Command::BareResponder(spot) => one_thread()?.block_on(bare::echo::respond(&spot)),
        Command::BareSink { spot, into } => {
            one_thread()?.block_on(bare::stream::sink(&spot, into.as_deref()))
        }
        Command::BarePipe { spot, sink } => one_thread()?.block_on(bare::stream::pipe(&spot, sink)),
        Command::BareSource { spot, file } => one_thread()?.block_on(bare::stream::source(&spot, &file)),
        Command::BareAgent(spot) => one_thread()?.block_on(bare::hold::dial(&spot)),
        Command::BareStore { spot, folder } => many_threads()?.block_on(bare::store::serve(&spot, &folder)),
        Command::BareServer(spot) => many_threads()?.block_on(bare::hold::serve(&spot)),
    }
}

fn one_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// As many as the manager has.
fn many_threads() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

fn measure(
    name: &str,
    common: &Common,
    work: impl Future<Output = anyhow::Result<Value>>,
) -> anyhow::Result<()> {
    // a path that cannot be written to is found out before the minutes of measuring
    let out = &common.out;
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let file = std::fs::File::options().append(true).create(true).open(out);
    drop(file.with_context(|| format!("cannot write {}", out.display()))?);
    let figures = one_thread()?.block_on(work)?;
    let machine = json!({
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    });
    let whole = json!({ "name": name, "quick": common.quick, "machine": machine, "figures": figures });
    write(&common.out, &whole)
}

fn write(path: &Path, value: &Value) -> anyhow::Result<()> {
    std::fs::write(path, format!("{value:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}
