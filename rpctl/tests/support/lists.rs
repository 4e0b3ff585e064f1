//! The script's lists: in pages, so that whoever asks has to go on.

use std::collections::BTreeMap;

use redpoll_common::api::events::{
    EventFlaw, EventList, EventListArguments, EventPoint, EventSummary, EventVerified, EventVerifyArguments,
};
use redpoll_common::api::jobs::{
    AttemptSummary, EndSummary, JobDetail, JobList, JobListArguments, JobResult, ResultArguments, RunResult,
    RunSummary,
};
use redpoll_common::api::queues::{QueueList, QueueListArguments, QueueSummary};
use redpoll_common::api::submit::{Preview, PreviewAgent, PreviewArguments, SubmitArguments};
use redpoll_common::api::trial::{Deprecated, Judge, Refusal, TrialArguments, Verdict};
use redpoll_common::wire::{Fault, FaultCode, Raw};

use super::jobs::{agents, end, outcome_of, summary};
use super::raw;

/// Three agents, one a page, the second one away. With a procedure there are verdicts: each agent does what its procedure is called.
pub(super) fn preview(kwargs: &Raw) -> Preview {
    let trial = TrialArguments::read(kwargs).unwrap();
    let asked: PreviewArguments = kwargs.decode().unwrap();
    let all: Vec<_> = agents(&SubmitArguments::new(asked.agents.clone(), ""));
    let (total, connected) = (all.len() as u64, all.len() as u64 - 1);
    let mut left = all.into_iter().filter(|id| asked.after.as_ref().is_none_or(|after| id > after));
    let id = left.next().unwrap();
    let next = left.next().map(|_| id.clone());
    let agent = PreviewAgent { connected: id != "web-1", id, ..PreviewAgent::default() };
    let mut preview = Preview {
        agents: vec![agent.clone()],
        total,
        connected,
        next,
        refusal: None,
        deprecated: Vec::new(),
    };
    let Some(trial) = trial else { return preview };
    let procedure = trial.submit.spec.procedure.as_str();
    if procedure == "try.older" {
        return preview;
    }
    preview.agents = vec![judged(agent, procedure)];
    if asked.after.is_none() && procedure == "try.whole" {
        let (code, message) = ("bad_arguments".into(), "n: is no\u{1b}[2J number".into());
        preview.refusal = Some(Refusal { code, message });
    }
    if asked.after.is_none() && procedure == "try.deprecated" {
        preview.deprecated = deprecated();
    }
    preview
}

/// What a newer manager might say of a job.
pub(super) const NEWER: &str = r#"{"agents":[{"id":"new-1","connected":true,"verdict":"would_refuse","code":"rejected",
    "why":"no","by":"council","mood":"new"}],"total":1,"connected":1}"#;

/// Whether it is tried.
pub(super) fn is_newer(kwargs: &Raw) -> bool {
    TrialArguments::read(kwargs).unwrap().is_some_and(|trial| trial.submit.spec.procedure == "try.newer")
}

pub(super) fn deprecated() -> Vec<Deprecated> {
    vec![Deprecated { procedure: "try.deprecated@1".into(), why: "use\u{1b}[2J 2".into(), agents: 1 }]
}

fn judged(agent: PreviewAgent, procedure: &str) -> PreviewAgent {
    let text = |text: &str| Some(text.to_owned());
    if !agent.connected && procedure != "try.all" {
        let (verdict, why) = (Some(Verdict::Away), text("it cannot be asked"));
        return PreviewAgent { verdict, why, ..agent };
    }
    match (procedure, agent.id.as_str()) {
        ("try.refused", "db-1") => PreviewAgent {
            verdict: Some(Verdict::WouldRefuse),
            rule: text("no\u{1b}[2J dbs"),
            code: text("rejected"),
            why: text("rule \"no dbs\" denies it"),
            by: Some(Judge::Agent),
            ..agent
        },
        ("try.unknown", "db-1") => {
            PreviewAgent { verdict: Some(Verdict::Unknown), why: text("it is older"), ..agent }
        }
        _ => PreviewAgent { verdict: Some(Verdict::WouldRun), rule: text("all"), user: text("www"), ..agent },
    }
}

pub(super) fn list(asked: &JobListArguments) -> JobList {
    if asked.state.as_deref() == Some("expired") && asked.before.is_none() {
        // nothing of what it looked at
        return JobList { jobs: Vec::new(), next: Some("6".repeat(32)) };
    }
    let all = ["5", "4", "3", "2", "1"].map(|n| n.repeat(32));
    let mut left = all.into_iter().filter(|id| asked.before.as_ref().is_none_or(|before| id < before));
    let submit = SubmitArguments::new(vec!["web-1".into()], "sys.echo");
    let room = asked.limit.unwrap().min(2) as usize;
    let jobs: Vec<_> = left.by_ref().take(room).map(|id| summary(&id, &submit, Some("failed"))).collect();
    let next = left.next().and_then(|_| jobs.last()).map(|job| job.job.clone());
    JobList { jobs, next }
}

pub(super) fn queue(name: &str) -> QueueSummary {
    QueueSummary { name: Raw::text(name), concurrency: 2, opened_ms: 1_764_340_000_000, taken: 1, waiting: 0 }
}

pub(super) fn queues(asked: &QueueListArguments) -> QueueList {
    match asked.after {
        None => QueueList { queues: vec![queue("builds")], next: Some(Raw::text("builds")) },
        Some(_) => QueueList { queues: vec![queue("deploys")], next: None },
    }
}

pub(super) fn event(n: u64) -> EventSummary {
    EventSummary {
        n,
        at_ms: 1_764_340_000_000,
        kind: "run.ended".into(),
        job: Some("a".repeat(32)),
        agent: Some("web-1".into()),
        queue: None,
        attempt: Some(1),
        outcome: Some("failed".into()),
        detail: Some("as the\u{1b}[2J script says".into()),
        data: None,
        lost: None,
    }
}

/// Seven events, three a page. Of those that are rare the manager finds one less than are wanted.
pub(super) fn events(asked: &EventListArguments) -> EventList {
    if let Some(recent) = asked.recent {
        let rare = u64::from(asked.kind.as_deref() == Some("rare"));
        let first = 8 - u64::from(recent).min(7) + rare;
        return EventList {
            events: (first..=7).map(event).collect(),
            last: 7,
            next: 7,
            more: first > 1,
            lost: None,
        };
    }
    let first = asked.since.unwrap_or(0) + 1;
    let last = (first + 2).min(7).min(first - 1 + u64::from(asked.limit.unwrap()));
    EventList { events: (first..=last).map(event).collect(), last, next: last, more: last < 7, lost: None }
}

/// The hash of an event, with which nothing was computed.
pub(crate) fn point(n: u64) -> EventPoint {
    EventPoint { n, hash: format!("{n:064x}") }
}

/// Seven events, of which the first two were deleted; two a part. Whoever asks up to event 66 finds the fifth changed.
pub(super) fn verified(asked: &EventVerifyArguments) -> EventVerified {
    let from = asked.after.clone().unwrap_or_else(|| point(2));
    let changed = asked.until == Some(66);
    let end = if changed { 4 } else { 7 };
    let last = (from.n + 2).min(end).min(asked.until.unwrap_or(end).max(from.n));
    let flaw = EventFlaw { n: 5, kind: "changed".into(), message: "event 5 was changed".into() };
    let flaw = Some(flaw).filter(|_| changed && last == end);
    let (checked, more) = (last - from.n, last < end);
    EventVerified { last: point(last), from, checked, more, head: Some(point(7)), begun: 0, flaw }
}

pub(super) fn detail(id: &str, submit: &SubmitArguments) -> JobDetail {
    let run = |agent: String| RunSummary {
        agent,
        state: "ended".into(),
        attempt: 2,
        dno: 7,
        queued_ms: None,
        offered_ms: None,
        accepted_ms: None,
        started_ms: Some(1_764_340_000_000),
        doubt_ms: None,
        ended_ms: None,
        corrected_ms: Some(1_764_340_000_000),
        items: 3,
        item_bytes: Some(120),
        cancelling: false,
        corrected: true,
        progress: None,
        end: Some(EndSummary { result: None, ..end("failed") }),
        earlier: vec![AttemptSummary {
            attempt: 1,
            outcome: "timed_out".into(),
            fault: Some(Fault::new(FaultCode::TimedOut, "it was slow")),
            ended_ms: 1_764_340_000_000,
        }],
    };
    JobDetail {
        job: summary(id, submit, Some("failed")),
        args: submit.spec.args.clone(),
        kwargs: submit.spec.kwargs.clone(),
        options: BTreeMap::from([
            ("max_attempts".to_owned(), raw("2")),
            ("concurrency".to_owned(), raw("5")),
            ("output_limit".to_owned(), raw("1024")),
        ]),
        queue_concurrency: Some(2),
        runs: agents(submit).into_iter().map(run).collect(),
        callbacks: Vec::new(),
        next: None,
    }
}

/// What came of a job, if it is not `open`.
pub(super) fn result(asked: &ResultArguments, submit: &SubmitArguments, open: bool) -> JobResult {
    let outcome = outcome_of(submit);
    let mut agents = agents(submit);
    agents.retain(|id| asked.agent.as_ref().is_none_or(|agent| agent == id));
    let run = |agent| RunResult {
        agent,
        state: if open { "running" } else { "ended" }.into(),
        attempt: 1,
        end: (!open).then(|| end(outcome)),
    };
    let job = summary(&asked.job, submit, (!open).then_some(outcome));
    JobResult { job, runs: agents.into_iter().map(run).collect(), next: None }
}
