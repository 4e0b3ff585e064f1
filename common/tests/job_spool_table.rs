//! Every state of a run in the spool × everything that can happen to it: `golden/job_spool.txt` is the table.

mod job_support;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use job_support::{Bench, INPUTS, limits, offer, run};
use redpoll_common::job::spool::{Exit, Input, NotSpawned, SMALL_ENDING};
use redpoll_common::job::wire::{Act, RunRef};
use redpoll_common::job::{Attempt, Dno};
use redpoll_common::wire::Raw;

const TABLE: &str = include_str!("golden/job_spool.txt");

type Make = fn() -> Bench;
type Event = fn(&mut Bench) -> String;

/// Run 5 in each state, with a session whose pages are answered, or with one whose page waits.
const STATES: &[(&str, Make)] = &[
    ("never seen", || connected(Bench::new())),
    ("refused", || {
        let mut bench = connected(Bench::new());
        bench.refuse(5);
        bench
    }),
    ("cancelled before it was seen", || {
        let mut bench = connected(Bench::new());
        bench.cancel(5);
        bench
    }),
    ("starting", starting),
    ("running", running),
    ("being ended", || {
        let mut bench = running();
        bench.cancel(5);
        bench
    }),
    ("being killed", || {
        let mut bench = running();
        bench.cancel(5);
        bench.pass(100);
        bench
    }),
    ("being ended after its time", || {
        let mut bench = running();
        bench.pass(3_500);
        bench
    }),
    ("running, disk full", || full(running())),
    ("running, paused", || {
        let mut bench = running();
        bench.item(5, &"x".repeat(60_000));
        bench.item(5, &"x".repeat(60_000));
        bench.pass(5);
        bench
    }),
    ("done, reported", done),
    ("exited, disk too full to record it", || {
        let mut bench = full(running());
        bench.put(Input::Exited(Dno(5), Exit::Succeeded(Raw::text(&"r".repeat(SMALL_ENDING)))));
        bench
    }),
    ("acknowledged", || {
        let mut bench = done();
        bench.ack(run(5), 1, true, false);
        bench.pass(5);
        bench
    }),
    ("done, its items being read back", || {
        let mut bench = running();
        bench.succeed(5);
        let mut bench = resuming(bench.restarted());
        bench.answer(&[(run(5), Act::SendFrom(0))], 0);
        bench
    }),
    ("resume: received", || {
        let mut bench = Bench::new();
        bench.offer(5);
        bench.disk.truncate(1);
        resuming(bench.restarted())
    }),
    ("resume: died at the start", || {
        let mut bench = Bench::new();
        bench.offer(5);
        resuming(bench.restarted())
    }),
    ("resume: died while running", || resuming(running().restarted())),
    ("resume: running", || resuming(running())),
    ("resume: being ended", || {
        let mut bench = running();
        bench.cancel(5);
        resuming(bench)
    }),
    ("resume: done", || resuming(done())),
    ("resume: refused", || {
        let mut bench = connected(Bench::new());
        bench.refuse(5);
        resuming(bench)
    }),
];

const EVENTS: &[(&str, Event)] = &[
    ("offer again", |bench| bench.offer(5)),
    ("offer under 9", |bench| {
        let again = RunRef { dno: Dno(9), ..run(5) };
        bench.put(Input::Offer { token: "o", offer: offer(again, limits()), admin: false, verdict: Ok(()) })
    }),
    ("offer attempt 2 under 5", |bench| {
        let other = RunRef { attempt: Attempt(2), ..run(5) };
        bench.put(Input::Offer { token: "o", offer: offer(other, limits()), admin: false, verdict: Ok(()) })
    }),
    ("cancel", |bench| bench.cancel(5)),
    ("spawned", |bench| bench.put(Input::Spawned(Dno(5))) + " … " + &bench.pass(5)),
    ("not spawned", |bench| bench.not_spawned(5)),
    ("too late to spawn", |bench| bench.put(Input::NotSpawned(Dno(5), NotSpawned::Late))),
    ("item", |bench| bench.item(5, "more") + " … " + &bench.pass(5)),
    ("progress", |bench| bench.progress(5) + " … " + &bench.pass(5)),
    ("exit: succeeded", |bench| bench.succeed(5)),
    ("exit: failed", |bench| bench.put(Input::Exited(Dno(5), Exit::Failed(job_support::fault("no"))))),
    ("exit: timed out", |bench| bench.put(Input::Exited(Dno(5), Exit::TimedOut(job_support::fault("late"))))),
    ("disk full, and an item", |bench| {
        bench.put(Input::Full(true)) + " … " + &bench.item(5, "more") + " … " + &bench.pass(5)
    }),
    ("disk full, and exit", |bench| bench.put(Input::Full(true)) + " … " + &bench.succeed(5)),
    ("disk has room", |bench| bench.put(Input::Full(false)) + " … " + &bench.pass(5)),
    ("disk full, offer of 9", |bench| bench.put(Input::Full(true)) + " … " + &bench.offer(9)),
    ("draining, offer again", |bench| bench.put(Input::Draining) + " … " + &bench.offer(5)),
    ("draining, offer of 9", |bench| bench.put(Input::Draining) + " … " + &bench.offer(9)),
    ("cancel of 9", |bench| bench.cancel(9)),
    ("offer of 9, refused", |bench| bench.refuse(9)),
    ("1 s passes", |bench| bench.pass(1_000)),
    ("11 s pass", |bench| bench.pass(11_000)),
    ("continue", |bench| bench.answer(&[(run(5), Act::Continue)], 0)),
    ("send from 0", |bench| bench.answer(&[(run(5), Act::SendFrom(0))], 0)),
    ("send from 1", |bench| bench.answer(&[(run(5), Act::SendFrom(1))], 0) + " … " + &bench.pass(5)),
    ("kill", |bench| bench.answer(&[(run(5), Act::Kill { grace_ms: None })], 0)),
    ("kill within 7 ms", |bench| {
        bench.answer(&[(run(5), Act::Kill { grace_ms: Some(7) })], 0) + " … " + &bench.pass(7)
    }),
    ("drop", |bench| bench.answer(&[(run(5), Act::Drop)], 0) + " … " + &bench.pass(5)),
    ("silence about it", |bench| bench.answer(&[], 0)),
    ("purge below 6", |bench| bench.answer(&[(run(5), Act::Continue)], 6)),
    ("ack of nothing", |bench| bench.ack(run(5), 0, false, false)),
    ("ack of all", |bench| bench.ack(run(5), 1, true, false)),
    ("acks of all it gave", |bench| {
        let mut acked = |n| {
            let words = [bench.ack(run(5), n, false, false), bench.pass(5), bench.load(5), bench.pass(5)];
            words.join(" ").trim().to_owned()
        };
        [acked(1), acked(2), acked(3)].join(" … ")
    }),
    ("ack: stop", |bench| bench.ack(run(5), 1, false, true)),
    ("report not taken", |bench| {
        let id = bench.last_id;
        bench.put(Input::Reported(id, Err(None))) + " … " + &bench.pass(999) + " … " + &bench.pass(1)
    }),
    ("page not taken", |bench| {
        let id = bench.last_id;
        bench.put(Input::Resumed(id, Err(None))) + " … " + &bench.pass(999) + " … " + &bench.pass(1)
    }),
    ("read back", |bench| bench.load(5) + " … " + &bench.pass(5)),
    ("nothing was read back", |bench| bench.put(Input::Loaded(Dno(5), Vec::new())) + " … " + &bench.pass(5)),
    ("disconnected", |bench| bench.put(Input::Disconnected)),
    ("connected", |bench| bench.put(Input::Connected)),
    ("restart", |bench| {
        let again = std::mem::replace(bench, Bench::new()).restarted();
        *bench = again;
        bench.words()
    }),
];

fn connected(mut bench: Bench) -> Bench {
    bench.words();
    bench.connect();
    bench
}

fn resuming(mut bench: Bench) -> Bench {
    bench.words();
    bench.put(Input::Connected);
    bench
}

fn starting() -> Bench {
    let mut bench = connected(Bench::new());
    bench.offer(5);
    bench
}

fn full(mut bench: Bench) -> Bench {
    bench.put(Input::Full(true));
    bench
}

/// With one item, reported and not answered.
fn running() -> Bench {
    let mut bench = starting();
    bench.put(Input::Spawned(Dno(5)));
    bench.item(5, "first");
    bench.pass(5);
    bench
}

fn done() -> Bench {
    let mut bench = running();
    bench.ack(run(5), 1, false, false);
    bench.succeed(5);
    bench
}

#[test]
fn every_state_meets_every_event_as_the_table_says() {
    let mut text = String::from("# What the spool does. Compared by `job_spool_table.rs`.\n");
    for (state, make) in STATES {
        writeln!(text, "\n{state}").unwrap();
        for (event, happen) in EVENTS {
            let mut bench = make();
            let words = happen(&mut bench);
            let words = words.trim().trim_end_matches('…').trim();
            writeln!(text, "    {event:24}{}", if words.is_empty() { "-" } else { words }).unwrap();
        }
    }
    assert!(text == TABLE, "the rules changed; if that is intended, golden/job_spool.txt becomes:\n{text}");
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
