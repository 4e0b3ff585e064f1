mod breaks;

use std::path::Path;

use redpoll_common::api::events::{EventFlaw, EventPoint, EventSummary, EventVerified};
use redpoll_common::api::jobs::{AttemptSummary, CallbackSummary, JobDetail, JobSummary};
use redpoll_common::job::{Item, ItemKind, Offline};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};

use super::super::ledger::Acknowledged;
use super::super::oracle::Mark;
use super::super::order::{Order, Program};
use super::super::site::Death;
use super::*;

const JOB: &str = "job-1";
const AGENT: &str = "agent-1";
/// The agent's process.
const PID: u32 = 77;

fn program() -> Program {
    Program { lines: 2, each_ms: 0, wait_ms: 0, exit: 0 }
}

fn order() -> Order {
    Order {
        program: program(),
        agents: vec![AGENT.into()],
        queue: Some(1),
        keyed: true,
        held: false,
        idempotent: false,
        max_attempts: 1,
        start_within_ms: None,
        run_timeout_ms: None,
        idle_timeout_ms: None,
        output: None,
        offline: Offline::Wait,
        callback: false,
        cancel_after: None,
        repeat: false,
    }
}

fn mark(job: &str) -> Mark {
    Mark { job: job.into(), agent: AGENT.into(), attempt: 1, dno: 5 }
}

fn start(job: &str) -> Line {
    Line::Start { mark: mark(job), parent: PID, at_ms: 1010, age_ms: 5 }
}

fn end() -> EndSummary {
    EndSummary {
        outcome: "succeeded".into(),
        started: Some(true),
        result: None,
        fault: None,
        items: 2,
        duration_ms: Some(1),
    }
}

fn item(n: u64) -> Item {
    Item { n, kind: ItemKind::Stdout, data: Raw::bin(format!("line {n}\n").as_bytes()) }
}

fn run() -> RunSummary {
    RunSummary {
        agent: AGENT.into(),
        state: "ended".into(),
        attempt: 1,
        dno: 5,
        queued_ms: None,
        offered_ms: Some(1000),
        accepted_ms: None,
        started_ms: None,
        doubt_ms: None,
        ended_ms: Some(2000),
        corrected_ms: None,
        items: 2,
        item_bytes: None,
        cancelling: false,
        corrected: false,
        progress: None,
        end: Some(end()),
        earlier: Vec::new(),
    }
}

fn job(id: &str) -> Job {
    let summary = JobSummary {
        job: id.into(),
        procedure: "exec.run".into(),
        submitter: "ada".into(),
        state: "ended".into(),
        outcome: Some("succeeded".into()),
        runs: 1,
        open: 0,
        outcomes: BTreeMap::new(),
        queue: Some(Raw::text("queue-1")),
        key: Some(format!("key of {id}")),
        info: RawMap::new().uint("number", 3).finish(),
        submitted_ms: 1000,
        released_ms: None,
        ended_ms: Some(2000),
    };
    let detail = JobDetail {
        job: summary,
        args: Raw::encode(&[vec!["redpoll-oracle".to_owned(), "/oracle".into()], words()].concat()).unwrap(),
        kwargs: Raw::empty_map(),
        options: BTreeMap::from([("concurrency".to_owned(), Raw::encode(&1).unwrap())]),
        queue_concurrency: None,
        runs: vec![run()],
        callbacks: Vec::new(),
        next: None,
    };
    let result = RawMap::new().uint("exit", 0).uint("stdout_bytes", 14).uint("stderr_bytes", 0).finish();
    Job {
        detail,
        items: BTreeMap::from([((AGENT.to_owned(), 1), vec![item(0), item(1)])]),
        ends: BTreeMap::from([(AGENT.to_owned(), EndSummary { result: Some(result), ..end() })]),
    }
}

fn words() -> Vec<String> {
    ["2", "0", "0", "0"].map(str::to_owned).to_vec()
}

fn fair() -> Evidence {
    let mut evidence = Evidence { living: vec![PID], ..Evidence::default() };
    evidence.jobs.insert(JOB.into(), job(JOB));
    evidence.oracle = vec![start(JOB), Line::End(mark(JOB))];
    evidence.told.submits.push(Acknowledged {
        number: 3,
        submitter: "ada".into(),
        key: Some("key of job-1".into()),
        order: order(),
        job: JOB.into(),
        cancelled: None,
        cancel_asked_ms: None,
        released: false,
    });
    let key = (JOB.to_owned(), AGENT.to_owned(), 1);
    evidence.told.items.insert(key.clone(), BTreeMap::from([(0, item(0))]));
    evidence.told.ends.push((key, end()));
    (evidence.events, evidence.verified) = (events(), Some(verified()));
    evidence
}

fn event(n: u64, kind: &str, agent: Option<&str>, outcome: Option<&str>) -> EventSummary {
    EventSummary {
        n,
        at_ms: 1500,
        kind: kind.into(),
        job: Some(JOB.into()),
        agent: agent.map(str::to_owned),
        queue: None,
        attempt: agent.map(|_| 1),
        outcome: outcome.map(str::to_owned),
        detail: None,
        data: None,
        lost: None,
    }
}

fn events() -> Vec<EventSummary> {
    vec![
        event(1, "job.submitted", None, None),
        event(2, "run.started", Some(AGENT), None),
        event(3, "run.ended", Some(AGENT), Some("succeeded")),
        event(4, "job.ended", None, Some("succeeded")),
    ]
}

fn verified() -> EventVerified {
    let point = |n| EventPoint { n, hash: String::new() };
    let (from, last) = (point(0), point(4));
    EventVerified {
        from,
        last: last.clone(),
        checked: 4,
        more: false,
        head: Some(last),
        begun: 0,
        flaw: None,
    }
}

/// It was ended at its limit, and cancelled by nobody.
fn timed_out(evidence: &mut Evidence, limit: u64, took: u64) {
    evidence.told.ends.clear();
    evidence.oracle[1] = Line::Stop { mark: mark(JOB), at_ms: 1005 + took };
    (the_end(evidence).outcome, the_end(evidence).duration_ms) = ("timed_out".into(), Some(took));
    tell_end(evidence, "timed_out");
    the_job(evidence).detail.options.insert("run_timeout_ms".into(), Raw::encode(&limit).unwrap());
}

fn tell_end(evidence: &mut Evidence, outcome: &str) {
    for event in evidence.events.iter_mut().filter(|event| event.kind.ends_with(".ended")) {
        event.outcome = Some(outcome.into());
    }
    the_job(evidence).detail.job.outcome = Some(outcome.into());
}

fn called_back(evidence: &mut Evidence) {
    let callback =
        CallbackSummary { serial: 1, state: "delivered".into(), tries: 1, error: None, due_ms: None };
    the_job(evidence).detail.callbacks = vec![callback];
    the_job(evidence).detail.options.insert("callback".into(), Raw::text("tell"));
    evidence.events.push(event(5, "callback.delivered", None, None));
    evidence.verified.as_mut().unwrap().last.n = 5;
    evidence.taken = vec![format!("{JOB}-1")];
}

fn the_job(evidence: &mut Evidence) -> &mut Job {
    evidence.jobs.get_mut(JOB).unwrap()
}

fn the_run(evidence: &mut Evidence) -> &mut RunSummary {
    &mut the_job(evidence).detail.runs[0]
}

fn the_end(evidence: &mut Evidence) -> &mut EndSummary {
    the_run(evidence).end.as_mut().unwrap()
}

fn unknown(evidence: &mut Evidence) {
    evidence.told.ends.clear();
    the_end(evidence).outcome = "unknown".into();
    the_end(evidence).started = None;
    the_end(evidence).fault = Some(Fault::new(FaultCode::AgentGone, "it stopped"));
    tell_end(evidence, "unknown");
}

fn died(evidence: &mut Evidence, at_ms: u64) {
    let point = Some("A4");
    evidence.living.clear();
    evidence.deaths.push(Death { who: AGENT.into(), point, at_ms, pid: PID });
}

#[test]
fn what_is_fair_is_found_fair() {
    assert_eq!(judge(&fair()), []);
    let (_, parsed) = Program::parse(&program().argv(Path::new("/oracle"))[1..]).unwrap();
    assert_eq!(parsed, program());
}

#[test]
fn an_unknown_end_is_fair_when_the_agent_died_meanwhile_and_only_then() {
    let mut evidence = fair();
    unknown(&mut evidence);
    assert!(judge(&evidence)[0].text.contains("did not die"));
    died(&mut evidence, 1500);
    assert_eq!(judge(&evidence), []);
    evidence.deaths[0].at_ms = 2500;
    assert!(judge(&evidence)[0].text.contains("did not die"));
}

#[test]
fn what_reached_its_limit_or_was_cancelled_by_somebody_is_fair() {
    let mut evidence = fair();
    timed_out(&mut evidence, 200, 210);
    assert_eq!(judge(&evidence), []);
    let mut evidence = fair();
    called_back(&mut evidence);
    evidence.taken.push(format!("{JOB}-1"));
    assert_eq!(judge(&evidence), []);
    let mut evidence = fair();
    evidence.told.ends.clear();
    (the_end(&mut evidence).outcome, evidence.told.submits[0].cancel_asked_ms) =
        ("cancelled".into(), Some(1_200));
    tell_end(&mut evidence, "cancelled");
    assert_eq!(judge(&evidence), []);
}
