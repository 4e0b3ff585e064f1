//! Every state of a run and everything that can happen to it: what it is afterwards, and what is asked for.
//!
//! Cells: the new state (`ended` as its outcome, with `/no` `/yes` `/?` for whether it started), then what goes out:
//! `offer` `offer*` (same number), `cancel`, `close`, `ok` and `no` for an answer, `ack` `done` `stop`, `continue` `from0` `kill` `drop`.

#![expect(clippy::panic, clippy::wildcard_enum_match_arm, reason = "test code")]

mod jobs_support;

use jobs_support::{Plan, agent, job, store::Store};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Act, ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, Outcome, RunState};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::{Effect, Input, Jobs, OfferAnswer, ResumePage, Scope, Settings};

const SPOOL: [u8; 16] = [1; 16];

struct Bench {
    jobs: Jobs<()>,
    store: Store,
    now: u64,
    connection: u64,
    /// The number of the dispatch that the test is about.
    dno: Dno,
}

impl Bench {
    fn new(plan: &Plan) -> Self {
        let settings = Settings {
            unknown_after_ms: Some(60_000),
            retry_first_ms: 1_000,
            retry_max_ms: 1_000,
            prune_every_ms: 10_000_000,
            ..Settings::default()
        };
        let jobs = Jobs::new(settings, 1_000);
        let mut bench = Self { jobs, store: Store::default(), now: 1_000, connection: 0, dno: Dno(1) };
        bench.feed(Input::Submit(plan.submit((), job(1), &[("a", true)])));
        bench
    }

    /// Hands an input over, stores what follows, and gives what goes out.
    fn feed(&mut self, input: Input<()>) -> Vec<String> {
        self.jobs.handle(input, self.now);
        self.take()
    }

    fn take(&mut self) -> Vec<String> {
        let Some(turn) = self.jobs.poll_turn() else { return Vec::new() };
        self.store.apply(&turn.changes);
        turn.effects.iter().flat_map(|effect| self.words(effect)).collect()
    }

    fn words(&self, effect: &Effect<()>) -> Vec<String> {
        let word = |word: &str| vec![word.to_owned()];
        match effect {
            Effect::Offer(offer) if offer.run.dno == self.dno => word("offer*"),
            Effect::Offer(_) => word("offer"),
            Effect::CancelOnAgent { .. } => word("cancel"),
            Effect::Disconnect { .. } => word("close"),
            Effect::Answer((), answer) => word(if answer.is_ok() { "ok" } else { "no" }),
            Effect::AckReport((), acks) => acks
                .iter()
                .flat_map(|ack| {
                    let words = [("ack", !ack.done), ("done", ack.done), ("stop", ack.stop)];
                    words.into_iter().filter(|(_, said)| *said).map(|(word, _)| word.to_owned())
                })
                .collect(),
            Effect::ResumeAnswer((), answer) => answer
                .jobs
                .iter()
                .map(|act| match act.act {
                    Act::Continue => "continue".to_owned(),
                    Act::SendFrom(n) => format!("from{n}"),
                    Act::Kill => "kill".to_owned(),
                    Act::Drop => "drop".to_owned(),
                })
                .collect(),
            Effect::Publish(_) => Vec::new(),
            Effect::Deliver { .. } | Effect::FindKey { .. } | Effect::FindOldest { .. } => word("?"),
        }
    }

    fn up(&mut self, spool: [u8; 16], max_dno: u64, state: Option<SpoolState>) -> Vec<String> {
        self.connection += 1;
        let run = self.about();
        let rows = state.into_iter().map(|state| ResumeRow { run, state, next_n: 0, acked_n: 0 }).collect();
        self.feed(Input::Resume(ResumePage {
            token: (),
            agent: agent("a"),
            connection: ConnectionId(self.connection),
            spool,
            max_dno: Dno(max_dno),
            last: true,
            rows,
        }))
    }

    fn down(&mut self) -> Vec<String> {
        let (agent, connection) = (agent("a"), ConnectionId(self.connection));
        self.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() })
    }

    fn about(&self) -> RunRef {
        RunRef { job: job(1), attempt: Attempt(1), dno: self.dno }
    }

    fn offer_answered(&mut self, answer: OfferAnswer) -> Vec<String> {
        let dno = self.dno;
        self.feed(Input::OfferAnswered { agent: agent("a"), job: job(1), dno, answer })
    }

    fn cancel_answered(&mut self, state: SpoolState) -> Vec<String> {
        let dno = self.dno;
        self.feed(Input::CancelAnswered { agent: agent("a"), job: job(1), dno, state })
    }

    fn cancel(&mut self) -> Vec<String> {
        self.feed(Input::Cancel { token: (), scope: Scope::Job(job(1)), grace_ms: None, preview: false })
    }

    fn report(&mut self, change: impl FnOnce(&mut RunReport)) -> Vec<String> {
        let mut report = RunReport::about(self.about());
        change(&mut report);
        self.feed(Input::Report { token: (), agent: agent("a"), reports: vec![report] })
    }

    fn later(&mut self, ms: u64) -> Vec<String> {
        self.now += ms;
        self.jobs.handle_timeout(self.now);
        self.take()
    }

    fn state(&self) -> String {
        let Some(run) = self.store.run_of(job(1), &agent("a")) else { return "deleted".to_owned() };
        match &run.state {
            RunState::Ended(ending) => {
                let started = match ending.started {
                    None => "?",
                    Some(true) => "yes",
                    Some(false) => "no",
                };
                format!("{}/{started}", ending.outcome)
            }
            state => state.word().to_owned(),
        }
    }
}

fn plan() -> Plan {
    Plan { start_within_ms: Some(30_000), attempts: 2, ..Plan::queued("q", 1) }
}

/// A run in each state, by the name of the column.
fn prepare(state: &str) -> Bench {
    let mut bench = Bench::new(&Plan { held: state == "held", idempotent: state == "put_off", ..plan() });
    if matches!(state, "held" | "queued") {
        return bench;
    }
    bench.up(SPOOL, 0, None);
    if matches!(state, "offered" | "stopping") {
        if state == "stopping" {
            bench.cancel();
        }
        return bench;
    }
    bench.offer_answered(OfferAnswer::Accepted);
    if state == "accepted" {
        return bench;
    }
    bench.report(|report| report.started_ms_ago = Some(0));
    match state {
        "running" => {}
        "cancelling" => _ = bench.cancel(),
        "in_doubt" => _ = bench.down(),
        "unsure" => {
            // offered, and the session ended before an answer
            bench = Bench::new(&plan());
            bench.up(SPOOL, 0, None);
            bench.down();
        }
        "put_off" => _ = bench.report(|report| report.done = Some(ending(Outcome::Failed))),
        "ended" => _ = bench.report(|report| report.done = Some(ending(Outcome::Succeeded))),
        "unknown" => {
            bench.down();
            bench.later(60_000);
        }
        other => panic!("no way to {other}"),
    }
    assert!(bench.dno == Dno(1));
    bench
}

fn ending(outcome: Outcome) -> Ending {
    let fault = (outcome != Outcome::Succeeded).then(|| Fault::new(FaultCode::Failed, "it failed"));
    Ending { outcome, started: Some(true), result: None, fault, items: 0, duration_ms: None }
}

fn happen(bench: &mut Bench, event: &str) -> Vec<String> {
    let refused = |code| OfferAnswer::Refused(Fault::new(code, "refused"));
    match event {
        "release" => bench.feed(Input::Release { token: (), job: job(1) }),
        "cancel" => bench.cancel(),
        "delete" => bench.feed(Input::Delete { token: (), job: job(1) }),
        "down" => bench.down(),
        "up, has it received" => bench.up(SPOOL, 1, Some(SpoolState::Received)),
        "up, has it starting" => bench.up(SPOOL, 1, Some(SpoolState::Starting)),
        "up, has it running" => bench.up(SPOOL, 1, Some(SpoolState::Running)),
        "up, has it done" => bench.up(SPOOL, 1, Some(SpoolState::Done)),
        "up, never saw it" => bench.up(SPOOL, 0, None),
        "up, saw and has it not" => bench.up(SPOOL, 1, None),
        "up, another spool" => bench.up([2; 16], 0, None),
        "up, another spool, has it done" => bench.up([2; 16], 1, Some(SpoolState::Done)),
        "accepted" => bench.offer_answered(OfferAnswer::Accepted),
        "refused" => bench.offer_answered(refused(FaultCode::Rejected)),
        "refused for now" => bench.offer_answered(refused(FaultCode::Overloaded)),
        "refused oddly" => bench.offer_answered(refused(FaultCode::Internal)),
        "known as running" => bench.offer_answered(OfferAnswer::Known(SpoolState::Running)),
        "known as done" => bench.offer_answered(OfferAnswer::Known(SpoolState::Done)),
        "known as absent" => bench.offer_answered(OfferAnswer::Known(SpoolState::Absent)),
        "unsendable" => {
            bench.offer_answered(OfferAnswer::Unsendable(Fault::new(FaultCode::TooLarge, "too large")))
        }
        "offer lost" => bench.offer_answered(OfferAnswer::Lost),
        "cancel said absent" => bench.cancel_answered(SpoolState::Absent),
        "cancel said done" => bench.cancel_answered(SpoolState::Done),
        "reported started" => bench.report(|report| report.started_ms_ago = Some(0)),
        "reported item 0" => bench.report(|report| report.items = vec![item(0)]),
        "reported item 1" => bench.report(|report| report.items = vec![item(1)]),
        "reported succeeded" => bench.report(|report| report.done = Some(ending(Outcome::Succeeded))),
        "reported failed" => bench.report(|report| report.done = Some(ending(Outcome::Failed))),
        "reported unknown" => {
            bench.report(|report| report.done = Some(Ending { started: None, ..ending(Outcome::Unknown) }))
        }
        "reported too early" => {
            bench.report(|report| report.done = Some(Ending { items: 1, ..ending(Outcome::Succeeded) }))
        }
        "another number reported" => bench.report(|report| {
            report.run.dno = Dno(7);
            report.done = Some(ending(Outcome::Succeeded));
        }),
        "another attempt reported" => bench.report(|report| {
            report.run.attempt = Attempt(2);
            report.items = vec![item(0)];
        }),
        "start_within passes" => bench.later(30_000),
        "unknown_after passes" => bench.later(60_000),
        other => panic!("no such event as {other}"),
    }
}

fn item(n: u64) -> Item {
    Item { n, kind: ItemKind::Value, data: Raw::nil() }
}

const TABLE: &str = include_str!("jobs_support/table.txt");

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let mut lines = TABLE.lines();
    let states: Vec<&str> = lines.next().unwrap().split('|').skip(1).map(str::trim).collect();
    let mut wrong = String::new();
    let mut found = TABLE.lines().next().unwrap().to_owned();
    for line in lines {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let event = cells[0];
        found += &format!("\n{event:31}");
        for (place, state) in states.iter().enumerate() {
            let mut bench = prepare(state);
            let mut words = happen(&mut bench, event);
            words.insert(0, bench.state());
            let got = words.join(" ");
            found += &format!("| {got:22}");
            if cells.get(place + 1) != Some(&got.as_str()) {
                wrong += &format!("\n{state} × {event}: {got}, not {:?}", cells.get(place + 1));
            }
            // and whatever it was, a machine goes on from what was stored
            let again = Jobs::<()>::recover(Settings::default(), bench.store.records(), bench.now);
            assert_eq!(again.open_runs(), bench.jobs.open_runs(), "{state} × {event}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n{found}");
}
