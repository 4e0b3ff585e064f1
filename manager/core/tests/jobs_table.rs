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

use jobs_support::bench::{Bench, SPOOL, ending, item};
use jobs_support::{Plan, job};
use redpoll_common::job::wire::SpoolState;
use redpoll_common::job::{Attempt, Dno, Ending, Outcome};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::{Input, Jobs, OfferAnswer, Settings};

type Make = fn() -> Bench;
type Event = fn(&mut Bench);

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

const EVENTS: &[(&str, Event)] = &[
    ("release", |bench| {
        bench.feed(Input::Release { token: (), job: job(1), away: BTreeSet::new(), by: None })
    }),
    ("cancel", |bench| bench.cancel(false)),
    ("preview of a cancel", |bench| bench.cancel(true)),
    ("delete", |bench| bench.feed(Input::Delete { token: (), job: job(1), by: None })),
    ("down", |bench| bench.down()),
    ("cut", |bench| bench.cut()),
    ("its agent is revoked", |bench| bench.revoke()),
    ("its agent is restored", |bench| bench.restore()),
    ("cut, and told late that it ran", |bench| {
        bench.cut();
        bench.report(|report| report.started_ms_ago = Some(0));
    }),
    ("cut, and told late that it succeeded", |bench| {
        bench.cut();
        bench.ended(ending(Outcome::Succeeded));
    }),
    ("cut, and told late that it was accepted", |bench| {
        bench.cut();
        bench.offer_answered(OfferAnswer::Accepted);
    }),
    ("up, nothing told yet", |bench| bench.begin()),
    ("up, a page without it, and more to come", |bench| {
        bench.begin();
        bench.page(SPOOL, bench.about.1.0, None, false);
    }),
    ("up, a page with it running, and more to come", |bench| {
        bench.begin();
        bench.page(SPOOL, bench.about.1.0, Some(SpoolState::Running), false);
    }),
    ("up, has it received", |bench| bench.up(SPOOL, true, Some(SpoolState::Received))),
    ("up, has it starting", |bench| bench.up(SPOOL, true, Some(SpoolState::Starting))),
    ("up, has it running", |bench| bench.up(SPOOL, true, Some(SpoolState::Running))),
    ("up, has it done", |bench| bench.up(SPOOL, true, Some(SpoolState::Done))),
    ("up, never saw it", |bench| bench.up(SPOOL, false, None)),
    ("up, saw it and has it not", |bench| bench.up(SPOOL, true, None)),
    ("up, another spool", |bench| bench.up([2; 16], false, None)),
    ("up, another spool, has it received", |bench| bench.up([2; 16], true, Some(SpoolState::Received))),
    ("up, another spool, has it running", |bench| bench.up([2; 16], true, Some(SpoolState::Running))),
    ("up, another spool, has it done", |bench| bench.up([2; 16], true, Some(SpoolState::Done))),
    ("tells again, without it", |bench| bench.page(SPOOL, bench.about.1.0, None, true)),
    ("tells again, has it running", |bench| {
        bench.page(SPOOL, bench.about.1.0, Some(SpoolState::Running), true);
    }),
    ("accepted", |bench| bench.offer_answered(OfferAnswer::Accepted)),
    ("refused", |bench| bench.refused(FaultCode::Rejected)),
    ("refused for now", |bench| bench.refused(FaultCode::Overloaded)),
    ("refused, for it stops", |bench| bench.refused(FaultCode::ShuttingDown)),
    ("refused oddly", |bench| bench.refused(FaultCode::Internal)),
    ("known as received", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Received))),
    ("known as starting", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Starting))),
    ("known as running", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Running))),
    ("known as done", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Done))),
    ("known as absent", |bench| bench.offer_answered(OfferAnswer::Known(SpoolState::Absent))),
    ("unsendable", |bench| {
        bench.offer_answered(OfferAnswer::Unsendable(Fault::new(FaultCode::TooLarge, "too large")));
    }),
    ("offer lost", |bench| bench.offer_answered(OfferAnswer::Lost)),
    ("cancel said received", |bench| bench.cancel_answered(SpoolState::Received)),
    ("cancel said starting", |bench| bench.cancel_answered(SpoolState::Starting)),
    ("cancel said running", |bench| bench.cancel_answered(SpoolState::Running)),
    ("cancel said done", |bench| bench.cancel_answered(SpoolState::Done)),
    ("cancel said absent", |bench| bench.cancel_answered(SpoolState::Absent)),
    ("reported started", |bench| bench.report(|report| report.started_ms_ago = Some(0))),
    ("reported progress", |bench| {
        let progress = Progress { completed: 1, total: None, details: Raw::nil() };
        bench.report(|report| report.progress = Some(progress));
    }),
    ("reported item 0", |bench| bench.report(|report| report.items = vec![item(0)])),
    ("reported item 1", |bench| bench.report(|report| report.items = vec![item(1)])),
    ("reported succeeded", |bench| bench.ended(ending(Outcome::Succeeded))),
    ("reported failed", |bench| bench.ended(ending(Outcome::Failed))),
    ("reported failed before its start", |bench| {
        bench.ended(Ending { started: Some(false), ..ending(Outcome::Failed) });
    }),
    ("reported timed out", |bench| bench.ended(ending(Outcome::TimedOut))),
    ("reported cancelled", |bench| bench.ended(ending(Outcome::Cancelled))),
    ("reported cancelled before its start", |bench| {
        bench.ended(Ending { started: Some(false), ..ending(Outcome::Cancelled) });
    }),
    ("reported expired", |bench| bench.ended(ending(Outcome::Expired))),
    ("reported rejected", |bench| bench.ended(ending(Outcome::Rejected))),
    ("reported rejected for now", |bench| {
        let fault = Some(Fault::new(FaultCode::ShuttingDown, "it stops"));
        bench.ended(Ending { fault, ..ending(Outcome::Rejected) });
    }),
    ("reported unknown", |bench| bench.ended(ending(Outcome::Unknown))),
    ("reported too early", |bench| bench.ended(Ending { items: 1, ..ending(Outcome::Succeeded) })),
    ("another number reported", |bench| {
        bench.report(|report| (report.run.dno, report.done) = (Dno(7), Some(ending(Outcome::Succeeded))));
    }),
    ("another attempt reported", |bench| {
        bench.report(|report| (report.run.attempt, report.items) = (Attempt(9), vec![item(0)]));
    }),
    ("the wait is over", |bench| bench.later(1_500)),
    ("start_within passes", |bench| bench.later(30_000)),
    ("unknown_after passes", |bench| bench.later(60_000)),
];

const TABLE: &str = include_str!("jobs_support/table.txt");

/// What becomes of it, in one line.
fn cell(state: &str, make: Make, event: &str, happen: Event) -> String {
    let mut bench = make();
    let before = bench.state();
    let _told = bench.look();
    happen(&mut bench);
    let (after, (out, told)) = (bench.state(), bench.look());
    // and whatever it was, a machine goes on from what was stored
    let again = Jobs::<()>::recover(Settings::default(), bench.store.records(), bench.now);
    assert_eq!(again.open_runs(), bench.jobs.open_runs(), "{state} × {event}");
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
