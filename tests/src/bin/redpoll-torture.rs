//! `redpoll-torture --kills N [--seed S]`: kills the real daemons and judges what becomes of the jobs.
//!
//! `cargo xtask torture` builds everything with the fail-points and starts it. It finds the daemons beside itself.

#![expect(clippy::print_stdout, reason = "what it finds goes to stdout")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use redpoll_tests::torture::dice::Dice;
use redpoll_tests::torture::{self, Plan};

/// Kills the real daemons at random moments and at named places, and judges what becomes of the jobs.
#[derive(Debug, Parser)]
#[command(name = "redpoll-torture")]
struct Arguments {
    /// How many kills, at least.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// What is drawn follows from it; drawn itself if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// How many worlds at a time.
    #[arg(long, default_value_t = 3)]
    at_once: u64,
    /// Where the folders of worlds stay in which something was wrong.
    #[arg(long)]
    keep: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { kills, seed, at_once, keep } = Arguments::parse();
    let seed = seed.unwrap_or_else(Dice::any_seed);
    println!("seed {seed}: {kills} kills");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(torture::run(&Plan { seed, kills, at_once, keep: Some(keep) }));
    println!("{report}");
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
