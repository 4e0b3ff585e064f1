//! The judge: holds what the manager tells against what the oracle saw and what clients were promised.
//!
//! - `promises`: what was acknowledged is there, once, and as it was asked for (I1, I2, I7, I12).
//! - `truth`: how each attempt ended is what happened (I3, I4, I6, I7, I10, I13), and `unknown` has a reason.
//! - `queues`: no queue ran more than it lets (I11).
//! - `limits`: what timed out had reached a limit, and nothing ran far beyond it.
//! - `history`: the events tell what the rows say, once and in order, and their hashes hold (I15).
//! - `callbacks`: who asked to be told was told, and it is recorded once.

mod callbacks;
mod history;
mod limits;
mod promises;
mod queues;
#[cfg(test)]
mod tests;
mod truth;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use redpoll_common::api::jobs::{EndSummary, RunSummary};

use super::evidence::{Evidence, Job};
use super::ledger::AttemptKey;
use super::oracle::Line;
use super::order::Program;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The job it is about.
    pub job: Option<String>,
    /// What.
    pub text: String,
}

impl Finding {
    fn of(job: &str, text: impl Into<String>) -> Self {
        Self { job: Some(job.to_owned()), text: text.into() }
    }

    fn general(text: impl Into<String>) -> Self {
        Self { job: None, text: text.into() }
    }
}

/// A start that the oracle saw, and how it went on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Start {
    dno: u64,
    parent: u32,
    at_ms: u64,
    /// When its process was started, to a hundredth of a second.
    began_ms: u64,
    ended: bool,
    stopped_ms: Option<u64>,
}

/// An attempt, as the manager tells of it.
#[derive(Debug, Clone, Copy)]
struct Attempt<'a> {
    job: &'a str,
    agent: &'a str,
    number: u16,
    outcome: &'a str,
    fault: Option<&'a redpoll_common::wire::Fault>,
    since_ms: u64,
    ended_ms: u64,
    /// Of the last one alone.
    end: Option<&'a EndSummary>,
}

type Starts = BTreeMap<AttemptKey, Vec<Start>>;

/// Everything that is wrong.
pub fn judge(evidence: &Evidence) -> Vec<Finding> {
    let starts = starts(&evidence.oracle);
    let mut findings: Vec<Finding> = evidence.findings.iter().map(Finding::general).collect();
    findings.extend(evidence.told.findings.iter().map(|text| {
        let job = evidence.jobs.keys().find(|job| text.contains(*job)).cloned();
        Finding { job, text: text.clone() }
    }));
    promises::check(evidence, &mut findings);
    truth::check(evidence, &starts, &mut findings);
    queues::check(evidence, &mut findings);
    history::check(evidence, &mut findings);
    callbacks::check(evidence, &mut findings);
    findings
}

fn starts(oracle: &[Line]) -> Starts {
    let mut starts = Starts::new();
    for line in oracle {
        let Some(mark) = line.mark() else { continue };
        let key = (mark.job.clone(), mark.agent.clone(), mark.attempt);
        let of = starts.entry(key).or_default();
        match line {
            Line::Start { mark, parent, at_ms, age_ms } => of.push(Start {
                dno: mark.dno,
                parent: *parent,
                at_ms: *at_ms,
                began_ms: at_ms.saturating_sub(*age_ms),
                ended: false,
                stopped_ms: None,
            }),
            Line::End(mark) => {
                of.iter_mut().filter(|start| start.dno == mark.dno).for_each(|start| start.ended = true);
            }
            Line::Stop { mark, at_ms } => {
                let of = of.iter_mut().filter(|start| start.dno == mark.dno);
                of.for_each(|start| start.stopped_ms = Some(*at_ms));
            }
            Line::Killed { .. } => {}
        }
    }
    starts
}

/// The attempts of a run that have ended, in order.
fn attempts<'a>(job: &'a Job, run: &'a RunSummary) -> Vec<Attempt<'a>> {
    let id = &job.detail.job.job;
    let mut since_ms = job.detail.job.submitted_ms;
    let mut attempts = Vec::new();
    for earlier in &run.earlier {
        attempts.push(Attempt {
            job: id,
            agent: &run.agent,
            number: earlier.attempt,
            outcome: &earlier.outcome,
            fault: earlier.fault.as_ref(),
            since_ms,
            ended_ms: earlier.ended_ms,
            end: None,
        });
        since_ms = earlier.ended_ms;
    }
    if let Some(end) = &run.end {
        attempts.push(Attempt {
            job: id,
            agent: &run.agent,
            number: run.attempt,
            outcome: &end.outcome,
            fault: end.fault.as_ref(),
            since_ms,
            ended_ms: run.ended_ms.unwrap_or(u64::MAX),
            end: Some(end),
        });
    }
    attempts
}

/// How many attempts ended with which outcome.
pub fn outcomes(evidence: &Evidence) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for job in evidence.jobs.values() {
        for attempt in job.detail.runs.iter().flat_map(|run| attempts(job, run)) {
            *outcomes.entry(attempt.outcome.to_owned()).or_default() += 1;
        }
    }
    outcomes
}

/// What a job runs.
fn program(job: &Job) -> Option<Program> {
    let argv: Vec<String> = job.detail.args.decode().ok()?;
    let (_, arguments) = argv.split_first()?;
    Program::parse(arguments).map(|(_, program)| program)
}

/// An option of a job, if it has it.
fn option<T: serde::de::DeserializeOwned>(job: &Job, name: &str) -> Option<T> {
    job.detail.options.get(name)?.decode().ok()
}

/// A finding with all that is known of its job.
pub fn told(finding: &Finding, evidence: &Evidence) -> String {
    let Some(job) = &finding.job else { return finding.text.clone() };
    let mut text = format!("{job}: {}\n", finding.text);
    let shown = evidence.jobs.get(job).map(|job| serde_json::to_string_pretty(&job.detail));
    let shown = shown.map_or_else(|| "the manager does not know it".to_owned(), Result::unwrap_or_default);
    let _infallible = writeln!(text, "{shown}");
    for submit in evidence.told.submits.iter().filter(|submit| submit.job == *job) {
        let _infallible = writeln!(text, "asked for: {submit:?}");
    }
    for event in evidence.events.iter().filter(|event| event.job.as_ref() == Some(job)) {
        let event = serde_json::to_string(event).unwrap_or_default();
        let _infallible = writeln!(text, "event {event}");
    }
    for line in evidence.oracle.iter().filter(|line| line.mark().is_some_and(|mark| mark.job == *job)) {
        let _infallible = writeln!(text, "oracle {line:?}");
    }
    let Some(shown) = evidence.jobs.get(job) else { return text };
    for (key, items) in &shown.items {
        let _infallible = writeln!(text, "{} items of {key:?}", items.len());
    }
    let (from, to) = (shown.detail.job.submitted_ms, shown.detail.job.ended_ms.unwrap_or(u64::MAX));
    for death in evidence.deaths.iter().filter(|death| (from..=to).contains(&death.at_ms)) {
        let _infallible = writeln!(text, "death {death:?}");
    }
    text
}
