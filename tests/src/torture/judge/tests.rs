use std::path::Path;

use redpoll_common::api::jobs::{AttemptSummary, JobDetail, JobSummary};
use redpoll_common::job::{Item, ItemKind};
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
        cancel_after: None,
        repeat: false,
    }
}

fn mark(job: &str) -> Mark {
    Mark { job: job.into(), agent: AGENT.into(), attempt: 1, dno: 5 }
}

fn start(job: &str) -> Line {
    Line::Start { mark: mark(job), parent: PID, at_ms: 1010 }
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
        outcome: None,
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
        released: false,
    });
    let key = (JOB.to_owned(), AGENT.to_owned(), 1);
    evidence.told.items.insert(key.clone(), BTreeMap::from([(0, item(0))]));
    evidence.told.ends.push((key, end()));
    evidence
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

/// A break of what is fair, and a word of what has to be found.
type Break = (&'static str, fn(&mut Evidence));

const BREAKS: &[Break] = &[
    ("I1: it was acknowledged", |evidence| {
        evidence.jobs.clear();
        evidence.oracle.clear();
    }),
    ("the manager does not know it", |evidence| evidence.jobs.clear()),
    ("I1: asked for", |evidence| evidence.told.submits[0].order.program.lines = 3),
    ("I2: its key", |evidence| {
        let mut other = job("job-0");
        other.detail.job.key = Some("key of job-1".into());
        evidence.jobs.insert("job-0".into(), other);
    }),
    ("I3", |evidence| evidence.oracle.insert(1, start(JOB))),
    ("I4", |evidence| {
        let attempt = Mark { attempt: 2, dno: 6, ..mark(JOB) };
        evidence.oracle.push(Line::Start { mark: attempt, parent: PID, at_ms: 1500 });
        the_run(evidence).attempt = 2;
        the_run(evidence).earlier.push(AttemptSummary {
            attempt: 1,
            outcome: "unknown".into(),
            fault: None,
            ended_ms: 1400,
        });
    }),
    ("I5", |evidence| evidence.told.ends[0].1.outcome = "failed".into()),
    ("I6: started=false", |evidence| the_end(evidence).started = Some(false)),
    ("I6: succeeded", |evidence| drop(evidence.oracle.pop())),
    ("I6: succeeded", |evidence| evidence.oracle.clear()),
    ("I6: failed", |evidence| the_end(evidence).outcome = "failed".into()),
    ("I6: expired", |evidence| the_end(evidence).outcome = "expired".into()),
    ("cannot be", |evidence| the_end(evidence).outcome = "rejected".into()),
    ("I7: its stdout", |evidence| {
        the_job(evidence).items.values_mut().for_each(|items| items[1].data = Raw::bin(b"line 7\n"));
    }),
    ("I7: its items have gaps", |evidence| {
        the_job(evidence).items.values_mut().for_each(|items| items[1].n = 2);
    }),
    ("I7: its items are not as many", |evidence| {
        the_job(evidence).items.values_mut().for_each(|items| drop(items.pop()));
    }),
    ("I7: a reader had", |evidence| {
        evidence.told.items.values_mut().for_each(|items| drop(items.insert(2, item(2))));
    }),
    ("I10", |evidence| {
        evidence.jobs.insert("job-2".into(), job("job-2"));
        evidence.oracle.extend([start("job-2"), Line::End(mark("job-2"))]);
    }),
    ("I11", |evidence| {
        evidence.jobs.insert("job-2".into(), job("job-2"));
        evidence.oracle.insert(1, start("job-2"));
        evidence.oracle.push(Line::End(mark("job-2")));
    }),
    ("I12", |evidence| evidence.told.submits[0].cancelled = Some((1, 0))),
    ("I13", |evidence| {
        let within = Raw::encode(&100).unwrap();
        the_job(evidence).detail.options.insert("start_within_ms".into(), within);
        evidence.oracle[0] = Line::Start { mark: mark(JOB), parent: PID, at_ms: 2200 };
    }),
    ("I17", |evidence| the_run(evidence).state = "running".into()),
    ("spool", |evidence| {
        unknown(evidence);
        died(evidence, 1500);
        the_end(evidence).fault = Some(Fault::new(FaultCode::AgentGone, "no records (spool_lost)"));
    }),
    ("only 0 such runs are unknown", |evidence| died(evidence, 1500)),
    ("before it was released", |evidence| {
        the_job(evidence).detail.options.insert("held".into(), Raw::encode(&true).unwrap());
    }),
    ("not that of the program", |evidence| the_job(evidence).ends.clear()),
    ("dispatch number", |evidence| the_run(evidence).dno = 4),
];

#[test]
fn each_break_is_found() {
    for (wanted, break_it) in BREAKS {
        let mut evidence = fair();
        break_it(&mut evidence);
        let findings = judge(&evidence);
        assert!(findings.iter().any(|finding| finding.text.contains(wanted)), "{wanted}: {findings:?}");
        assert!(findings.iter().all(|finding| !told(finding, &evidence).is_empty()));
    }
}
