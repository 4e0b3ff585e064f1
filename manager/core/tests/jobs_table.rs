//! Every state of a run and everything that can happen to it: what it is afterwards, what is asked for, and what is told.
//!
//! `jobs_support/table.txt` has a block for each event. A line of it: the states, the new state (`=` for the old one; an
//! outcome with `/no`, `/yes`, `/?` for whether it started), what goes out, and which events are written. What goes out: `offer` (`offer*`
//! under the same number, `offer+` another attempt), `cancel`, `close`, `ok` and `no` for an answer; of a report `ack`, `done`, `stop`;
//! of a resume `continue`, `from0`, `kill`, `drop`; `deny` and `allow` for the door, `refused` for a report that does not count.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jobs_support::Plan;
use jobs_support::bench::{Bench, SPOOL, ending};
use jobs_support::model_bench::INPUTS;
use jobs_support::table_events::{EVENTS, Event};
use redpoll_common::job::{Attempt, Dno, Outcome};
use redpoll_common::wire::FaultCode;
use redpoll_manager_core::jobs::OfferAnswer;

type Make = fn() -> Bench;

const STATES: &[(&str, Make)] = &[
    ("held", || Bench::new(&Plan { held: true, ..plan() })),
    ("queued", || Bench::new(&plan())),
    ("offered", offered),
    ("offered asked", || asked(offered())),
    ("accepted", accepted),
    ("accepted asked", || asked(accepted())),
    ("running", running),
    ("running asked", || asked(running())),
    // offered, and the session ended before an answer
    ("doubt: offered", || cut(offered())),
    ("doubt: offered asked", || cut(asked(offered()))),
    ("doubt: accepted", || cut(accepted())),
    ("doubt: running", || cut(running())),
    ("doubt: running asked", || asked(cut(running()))),
    ("put off", put_off),
    ("put back", || {
        let mut bench = offered();
        bench.refused(FaultCode::Overloaded);
        bench
    }),
    ("put back, for it stops", || {
        let mut bench = offered();
        bench.refused(FaultCode::ShuttingDown);
        bench
    }),
    // the first of two attempts, by unknown_after, while it ran
    ("given up", || {
        lost(run(accept(connected(&Plan { idempotent: true, start_within_ms: None, ..plan() }))))
    }),
    ("offered again", || {
        let mut bench = put_off();
        bench.later(1_000);
        bench.about = (Attempt(2), Dno(2));
        bench
    }),
    ("succeeded", || ended(running(), Outcome::Succeeded)),
    ("failed", || ended(running(), Outcome::Failed)),
    ("timed_out", || ended(running(), Outcome::TimedOut)),
    ("cancelled", || ended(asked(running()), Outcome::Cancelled)),
    ("rejected", || {
        let mut bench = offered();
        bench.refused(FaultCode::Rejected);
        bench
    }),
    ("expired", || ended(accepted(), Outcome::Expired)),
    // by unknown_after, while it ran
    ("unknown", || lost(running())),
    ("unknown, accepted", || lost(accepted())),
    ("unknown, offered", || lost(offered())),
    ("unknown asked", || lost(asked(running()))),
    ("corrected", || ended(lost(running()), Outcome::Succeeded)),
];

fn plan() -> Plan {
    Plan { start_within_ms: Some(30_000), attempts: 2, ..Plan::queued("q", 1) }
}

fn connected(plan: &Plan) -> Bench {
    let mut bench = Bench::new(plan);
    bench.up(SPOOL, false, None);
    bench
}

fn offered() -> Bench {
    connected(&plan())
}

fn accept(mut bench: Bench) -> Bench {
    bench.offer_answered(OfferAnswer::Accepted);
    bench
}

fn accepted() -> Bench {
    accept(offered())
}

fn run(mut bench: Bench) -> Bench {
    bench.report(|report| report.started_ms_ago = Some(0));
    bench
}

fn running() -> Bench {
    run(accepted())
}

fn asked(mut bench: Bench) -> Bench {
    bench.cancel(false);
    bench
}

fn cut(mut bench: Bench) -> Bench {
    bench.down();
    bench
}

fn lost(bench: Bench) -> Bench {
    let mut bench = cut(bench);
    bench.later(60_000);
    bench
}

fn ended(mut bench: Bench, outcome: Outcome) -> Bench {
    bench.ended(ending(outcome));
    bench
}

/// The first of two attempts failed.
fn put_off() -> Bench {
    ended(run(accept(connected(&Plan { idempotent: true, ..plan() }))), Outcome::Failed)
}

const TABLE: &str = include_str!("jobs_support/table.txt");

/// What becomes of it, in one line.
fn cell(state: &str, make: Make, event: &str, happen: Event) -> String {
    let mut bench = make();
    let before = bench.state();
    let _told = bench.look();
    happen(&mut bench);
    let (after, (out, told)) = (bench.state(), bench.look());
    // and whatever it was, a machine goes on from what was stored
    assert_eq!(bench.recovered().open_runs(), bench.jobs.open_runs(), "{state} × {event}");
    let after = if after == before { "=".to_owned() } else { after };
    let words = [after, out, told].map(|part| if part.is_empty() { "-".to_owned() } else { part });
    words.join(" | ")
}

/// The cells of an event, the states with the same one together.
fn block(event: &str, happen: Event) -> String {
    let mut cells: Vec<(String, Vec<&str>)> = Vec::new();
    for (state, make) in STATES {
        let cell = cell(state, *make, event, happen);
        match cells.iter_mut().find(|(other, _)| *other == cell) {
            Some((_, states)) => states.push(state),
            None => cells.push((cell, vec![state])),
        }
    }
    let mut text = format!("{event}\n");
    for (cell, states) in cells {
        writeln!(text, "    {cell}\n        {}", states.join("; ")).unwrap();
    }
    text
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let text: Vec<String> = EVENTS.iter().map(|(event, happen)| block(event, *happen)).collect();
    let text = text.join("\n");
    assert!(text == TABLE, "the rules changed; if that is intended, jobs_support/table.txt becomes:\n{text}");
}

#[test]
fn every_input_is_an_event_of_the_table() {
    let heard: BTreeSet<&str> = EVENTS
        .iter()
        .flat_map(|(_, happen)| {
            let mut bench = running();
            bench.heard.clear();
            happen(&mut bench);
            bench.heard
        })
        .collect();
    assert_eq!(heard, INPUTS.iter().copied().collect());
}

#[test]
fn the_states_are_what_they_are_called() {
    for (name, make) in STATES {
        let state = make().state();
        let first = name.split([' ', ':', ',']).next().unwrap();
        let word = match first {
            "doubt" => "in_doubt",
            "put" | "given" => "queued",
            "corrected" => "succeeded",
            other => other,
        };
        assert!(state.starts_with(word), "{name} is {state}");
        assert_eq!(
            name.ends_with("asked") && !name.starts_with("unknown"),
            state.ends_with("asked"),
            "{name}"
        );
    }
    let names: BTreeSet<&str> = EVENTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), EVENTS.len(), "two events have one name");
}
