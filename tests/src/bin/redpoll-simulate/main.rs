//! `redpoll-simulate`: runs the simulated system for many seeds, or one of them with everything that happens in it.
//!
//! `redpoll-simulate --seeds N [--from S]` runs seeds S to S + N - 1 on all cores and ends with 1 at the first one in which
//! something does not hold; `redpoll-simulate --seed S` prints what happens in one. `cargo xtask simulate` builds and starts it.

#![expect(clippy::print_stdout, reason = "traces and figures go to stdout")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use redpoll_tests::sim::{self, Report, Tally};

/// Simulates the whole system: manager, agents, network and disks, decided by seeds.
#[derive(Debug, Parser)]
#[command(name = "redpoll-simulate")]
struct Arguments {
    /// How many seeds.
    #[arg(long, required_unless_present = "seed", conflicts_with = "seed")]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1, conflicts_with = "seed")]
    from: u64,
    /// One seed, with its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds at a time; all cores if it is not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Print how often what happened.
    #[arg(long)]
    tally: bool,
}

/// What many runs leave behind.
#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    events: u64,
    simulated_ms: u64,
    tally: Tally,
    /// The failure with the lowest seed.
    failure: Option<(u64, String)>,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.events += report.events;
        self.simulated_ms += report.simulated_ms;
        self.tally.add(&report.tally);
        if let Some(line) = report.failure()
            && self.failure.as_ref().is_none_or(|(seed, _)| report.seed < *seed)
        {
            self.failure = Some((report.seed, line));
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => one(seed),
        None => many(&arguments),
    }
}

fn one(seed: u64) -> ExitCode {
    let report = sim::run(seed, true);
    report.lines.iter().for_each(|line| println!("{line}"));
    println!(
        "seed {seed}: {} events in {} ms, hash {:016x}",
        report.events, report.simulated_ms, report.hash
    );
    ended(report.failure())
}

/// The end of the program, after what says how to see the failure again.
fn ended(failure: Option<String>) -> ExitCode {
    match failure {
        Some(line) => {
            println!("{line}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let (from, count) = (arguments.from, arguments.seeds.unwrap_or(0));
    let threads = arguments.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    let begun = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from.saturating_add(count) {
                return;
            }
            let report = sim::run(seed, false);
            let Ok(mut sum) = sum.lock() else { return };
            sum.add(&report);
            if sum.failure.is_some() {
                // seeds under way are finished, no new one is begun
                next.store(u64::MAX / 2, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.unwrap_or(1).max(1) {
            scope.spawn(work);
        }
    });
    let Ok(sum) = sum.into_inner() else { return ExitCode::FAILURE };
    let seconds = begun.elapsed().as_secs_f64();
    if arguments.tally {
        sum.tally.iter().for_each(|(what, count)| println!("{count:>9}  {what}"));
    }
    let hours = sum.simulated_ms / 3_600_000;
    println!("{} seeds, {} events, {hours} simulated hours in {seconds:.1} s", sum.runs, sum.events);
    ended(sum.failure.map(|(_, line)| line))
}

#[cfg(test)]
mod tests {
    use redpoll_tests::sim::{Invariant, Violation};

    use super::*;

    fn report(seed: u64, detail: Option<&str>) -> Report {
        let violation = |detail: &str| Violation { invariant: Invariant::Bounded, detail: detail.to_owned() };
        let (tally, lines) = (Tally::default(), Vec::new());
        Report { seed, hash: 0, events: 1, simulated_ms: 2, violation: detail.map(violation), tally, lines }
    }

    #[test]
    fn of_many_failures_the_lowest_seed_is_told_with_a_command_that_shows_it_again() {
        let mut sum = Sum::default();
        for report in [report(8, None), report(12, Some("x")), report(9, Some("y")), report(11, Some("z"))] {
            sum.add(&report);
        }
        assert_eq!((sum.runs, sum.events, sum.simulated_ms), (4, 4, 8));
        let line = sum.failure.map(|(_, line)| line).unwrap_or_default();
        let (command, why) = line.split_once('#').unwrap_or_default();
        assert_eq!(why, " I16 bounded: y");
        let words = command.strip_prefix("cargo xtask simulate").unwrap_or_default().split_whitespace();
        let arguments = Arguments::try_parse_from(std::iter::once("redpoll-simulate").chain(words));
        assert_eq!(arguments.map(|arguments| arguments.seed).ok(), Some(Some(9)));
    }

    #[test]
    fn a_failure_is_the_exit_code_of_the_program() {
        let shown = |code: ExitCode| format!("{code:?}");
        assert_eq!(shown(ended(report(1, None).failure())), shown(ExitCode::SUCCESS));
        assert_eq!(shown(ended(report(1, Some("x")).failure())), shown(ExitCode::FAILURE));
    }
}
