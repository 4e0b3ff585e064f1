//! What was acknowledged is there, once, and as it was asked for; what readers were told stays true.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::wire::{Raw, RawMap};

use super::super::evidence::{Evidence, Job};
use super::super::ledger::Acknowledged;
use super::{Finding, program};

pub(super) fn check(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for submit in &evidence.told.submits {
        match evidence.jobs.get(&submit.job) {
            None => findings.push(Finding::of(&submit.job, "I1: it was acknowledged and is not there")),
            Some(job) => as_asked(submit, job, findings),
        }
    }
    keys(evidence, findings);
    readers(evidence, findings);
}

fn as_asked(submit: &Acknowledged, job: &Job, findings: &mut Vec<Finding>) {
    let mut wrong = |text: String| findings.push(Finding::of(&submit.job, text));
    let detail = &job.detail;
    let agents: BTreeSet<&String> = detail.runs.iter().map(|run| &run.agent).collect();
    if agents != submit.order.agents.iter().collect() {
        wrong(format!("I1: asked for {:?}", submit.order.agents));
    }
    if program(job).as_ref() != Some(&submit.order.program) {
        wrong(format!("I1: asked for {:?}", submit.order.program));
    }
    if detail.job.info != number(submit.number) || detail.job.submitter != submit.submitter {
        wrong(format!("I1: {} submitted number {}", submit.submitter, submit.number));
    }
    if detail.job.key != submit.key {
        wrong(format!("I2: the key was {:?}", submit.key));
    }
    if submit.released && detail.job.released_ms.is_none() {
        wrong("a release was acknowledged, and it is not released".to_owned());
    }
    if let Some((ended, 0)) = submit.cancelled
        && u64::from(ended) == detail.job.runs
    {
        // what was tried before and waited to be tried again had run
        for run in detail.runs.iter().filter(|run| run.earlier.is_empty()) {
            let unstarted = |end: &redpoll_common::api::jobs::EndSummary| {
                end.outcome == "cancelled" && end.started == Some(false)
            };
            if !run.end.as_ref().is_some_and(unstarted) {
                wrong(format!("I12: cancelled before it started on {}, and it ended otherwise", run.agent));
            }
        }
    }
}

fn number(number: u64) -> Raw {
    RawMap::new().uint("number", number).finish()
}

/// One job for each key, also where no answer came.
fn keys(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let mut jobs: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (id, job) in &evidence.jobs {
        let Some(key) = &job.detail.job.key else { continue };
        if let Some(other) = jobs.insert((&job.detail.job.submitter, key), id) {
            findings.push(Finding::of(id, format!("I2: its key is also that of {other}")));
        }
    }
}

fn readers(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let told = &evidence.told;
    for (key, items) in &told.items {
        let (id, agent, attempt) = key;
        let stored = evidence.jobs.get(id).and_then(|job| job.items.get(&(agent.clone(), *attempt)));
        let there: BTreeMap<u64, _> = stored.into_iter().flatten().map(|item| (item.n, item)).collect();
        if let Some(n) = items.iter().find(|(n, item)| there.get(n) != Some(item)).map(|(n, _)| n) {
            let text = format!("I7: a reader had item {n} of {agent}, attempt {attempt}; it is not there");
            findings.push(Finding::of(id, text));
        }
    }
    for ((id, agent, attempt), end) in &told.ends {
        let run =
            evidence.jobs.get(id).and_then(|job| job.detail.runs.iter().find(|run| run.agent == *agent));
        let Some(run) = run else { continue };
        let corrected = run.corrected && end.outcome == "unknown";
        let same = run.attempt == *attempt
            && run.end.as_ref().is_some_and(|now| (&now.outcome, now.started) == (&end.outcome, end.started));
        if !same && !corrected {
            let text = format!("I5: attempt {attempt} on {agent} had ended as {end:?}");
            findings.push(Finding::of(id, text));
        }
    }
}
