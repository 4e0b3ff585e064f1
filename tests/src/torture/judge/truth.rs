//! How each attempt ended is what happened.

use std::collections::BTreeMap;

use redpoll_common::api::events::EventSummary;
use redpoll_common::api::jobs::RunSummary;
use redpoll_common::job::{Item, ItemKind};
use redpoll_common::wire::FaultCode;
use serde::Deserialize;

use super::super::evidence::{Evidence, Job};
use super::super::ledger::Acknowledged;
use super::super::order::Program;
use super::super::site::Death;
use super::{Attempt, Finding, Start, Starts, attempts, limits, option, program};

/// How much later than it may a program may have started: it takes a moment from the decision to its first line.
const MOMENT_MS: u64 = 1000;
/// How far the times that the manager tells may be from the wall clock: below that it does not say that the clock was set.
const CLOCKS_MS: u64 = 500;

/// What `exec.run` says of a program's end.
#[derive(Debug, Deserialize)]
struct Summary {
    exit: Option<i32>,
    stdout_bytes: u64,
    stderr_bytes: u64,
}

pub(super) fn check(evidence: &Evidence, starts: &Starts, findings: &mut Vec<Finding>) {
    for ((job, agent, attempt), _) in starts.iter().filter(|(_, starts)| starts.len() > 1) {
        findings.push(Finding::of(job, format!("I3: attempt {attempt} on {agent} was started twice")));
    }
    for (id, _, _) in starts.keys().filter(|(id, ..)| !evidence.jobs.contains_key(id)) {
        findings.push(Finding::of(id, "it ran, and the manager does not know it"));
    }
    numbers(starts, findings);
    for job in evidence.jobs.values() {
        for run in &job.detail.runs {
            Run { evidence, starts, job, run, findings }.check();
        }
    }
    reasons(evidence, starts, findings);
}

/// A dispatch number is used once (I10).
fn numbers(starts: &Starts, findings: &mut Vec<Finding>) {
    let mut used: BTreeMap<(&str, u64), &str> = BTreeMap::new();
    for ((job, agent, attempt), starts) in starts {
        for start in starts {
            if let Some(other) = used.insert((agent, start.dno), job)
                && other != job
            {
                let text = format!("I10: attempt {attempt} on {agent} has number {} of {other}", start.dno);
                findings.push(Finding::of(job, text));
            }
        }
    }
}

struct Run<'a> {
    evidence: &'a Evidence,
    starts: &'a Starts,
    job: &'a Job,
    run: &'a RunSummary,
    findings: &'a mut Vec<Finding>,
}

impl Run<'_> {
    fn wrong(&mut self, text: &str) {
        let (job, agent) = (&self.job.detail.job.job, &self.run.agent);
        self.findings.push(Finding::of(job, format!("{text} (on {agent})")));
    }

    fn started(&self, attempt: u16) -> &[Start] {
        let key = (self.job.detail.job.job.clone(), self.run.agent.clone(), attempt);
        self.starts.get(&key).map(Vec::as_slice).unwrap_or_default()
    }

    /// How often its agent put it off, by an attempt that does not count: what an earlier one left still ran.
    fn put_back(&self) -> u16 {
        let (job, agent) = (&self.job.detail.job.job, &self.run.agent);
        let is_one = |event: &&EventSummary| {
            event.kind == "run.put_back"
                && event.job.as_ref() == Some(job)
                && event.agent.as_ref() == Some(agent)
        };
        u16::try_from(self.evidence.events.iter().filter(is_one).count()).unwrap_or(u16::MAX)
    }

    fn check(&mut self) {
        if self.run.state != "ended" {
            return self.wrong("I17: it is still open");
        }
        let Some(program) = program(self.job) else { return self.wrong("what it runs cannot be read") };
        let idempotent = option(self.job, "idempotent").unwrap_or(false);
        let all: usize = (1..=self.run.attempt).map(|attempt| self.started(attempt).len()).sum();
        if all > 1 && !idempotent {
            self.wrong("I4: it is not idempotent and was started more than once");
        }
        if self.run.attempt.saturating_sub(self.put_back()) > option(self.job, "max_attempts").unwrap_or(1) {
            self.wrong("it was tried more often than asked");
        }
        self.in_time();
        for attempt in attempts(self.job, self.run) {
            if self.did_not_come(attempt) {
                self.last_of_several(attempt);
                self.output(attempt, &program, false);
            } else {
                self.attempt(attempt, &program);
                let cut = option::<u64>(self.job, "output_limit").is_some_and(|limit| {
                    let blocks = option::<String>(self.job, "overflow").as_deref() == Some("block");
                    !blocks && most_cost(&program) > limit
                });
                let whole = matches!(attempt.outcome, "succeeded" | "failed") && !cut;
                self.output(attempt, &program, whole);
            }
        }
        let dno = self.run.dno;
        if self.started(self.run.attempt).iter().any(|start| start.dno != dno) {
            self.wrong("the program has another dispatch number");
        }
    }

    /// Not before its release, not after `start_within`.
    fn in_time(&mut self) {
        let (submitted, released) = (self.job.detail.job.submitted_ms, self.job.detail.job.released_ms);
        let held = option(self.job, "held").unwrap_or(false);
        let Some(start) = self.started(1).first().cloned() else { return };
        if held && released.is_none_or(|released| start.at_ms + 2 < released) {
            self.wrong("it was held, and started before it was released");
        }
        let within: Option<u64> = option(self.job, "start_within_ms");
        let by = within.map(|within| released.unwrap_or(submitted) + within + MOMENT_MS);
        if by.is_some_and(|by| start.at_ms > by) {
            self.wrong("I13: it was started after start_within");
        }
    }

    /// A run that was tried before ended before its next attempt began.
    fn did_not_come(&self, attempt: Attempt<'_>) -> bool {
        let before = self.run.earlier.last().map(|earlier| earlier.attempt);
        let waited = before == Some(attempt.number);
        attempt.end.is_some() && before.is_some() && (waited || self.started(attempt.number).is_empty())
    }

    /// Then its end must not hide what the attempts before it did.
    fn last_of_several(&mut self, attempt: Attempt<'_>) {
        let earlier = self.run.earlier.iter().any(|earlier| earlier.outcome == attempt.outcome);
        let right = match attempt.outcome {
            "failed" | "timed_out" => earlier,
            "cancelled" => self.is_cancel_asked(attempt),
            "unknown" => earlier || self.has_reason(attempt, &[]),
            _ => false,
        };
        if !right || attempt.end.is_none_or(|end| end.started == Some(false)) {
            self.wrong("I6: it was tried before, and its end hides that");
        }
    }

    fn attempt(&mut self, attempt: Attempt<'_>, program: &Program) {
        let starts = self.started(attempt.number).to_vec();
        let flag = attempt.end.and_then(|end| end.started);
        if flag == Some(false) && !starts.is_empty() {
            self.wrong("I6: started=false, and it was started");
        }
        let told = attempt.fault.map(|fault| fault.message.clone()).unwrap_or_default();
        if told.contains("spool_lost") {
            self.wrong("a spool is said to be lost, and nobody took one away");
        }
        let by_itself = starts.len() == 1 && starts.iter().all(|start| start.ended);
        let started_is = |wanted| attempt.end.is_none_or(|end| end.started == Some(wanted));
        match attempt.outcome {
            "succeeded" => {
                if !by_itself || program.exit != 0 || !started_is(true) {
                    self.wrong("I6: succeeded, and that is not what happened");
                }
                self.result(program);
            }
            "failed" => {
                let exited = attempt.fault.and_then(|fault| fault.class.as_deref()) == Some("ExitStatus");
                let code = told.ends_with(&format!(" exited with {}", program.exit));
                let failed = exited && code && by_itself && program.exit != 0;
                if !(failed || self.too_much(attempt, program)) || !started_is(true) {
                    self.wrong("I6: failed, and that is not what happened");
                }
            }
            "timed_out" => {
                if !started_is(true) {
                    self.wrong("I6: timed out, and that is not what happened");
                }
            }
            "expired" => {
                let skips = option::<String>(self.job, "offline").as_deref() == Some("skip");
                let limited = option::<u64>(self.job, "start_within_ms").is_some();
                if !(limited || skips) || !starts.is_empty() || !started_is(false) {
                    self.wrong("I6: expired, and that is not what happened");
                }
            }
            "cancelled" => {
                if !self.is_cancel_asked(attempt) {
                    self.wrong("I6: cancelled, and nobody had asked for it");
                }
            }
            "unknown" => {
                if !self.has_reason(attempt, &starts) {
                    self.wrong("unknown, and its agent did not die meanwhile");
                }
            }
            // nobody refuses here
            _ => self.wrong("an outcome that cannot be"),
        }
        if let Some(text) = limits::broken(self.job, attempt, &starts) {
            self.wrong(&text);
        }
    }

    /// Somebody asked for it before it ended.
    fn is_cancel_asked(&self, attempt: Attempt<'_>) -> bool {
        let of = |submit: &&Acknowledged| submit.job == attempt.job;
        let asked = self.evidence.told.submits.iter().filter(of).filter_map(|submit| submit.cancel_asked_ms);
        asked.min().is_some_and(|asked| asked <= attempt.ended_ms + CLOCKS_MS)
            || self.evidence.rested.iter().any(|job| job == attempt.job)
    }

    /// It was ended because it gave more than it may.
    fn too_much(&self, attempt: Attempt<'_>, program: &Program) -> bool {
        let kills = option::<String>(self.job, "overflow").as_deref() == Some("kill");
        let limit = option::<u64>(self.job, "output_limit");
        let said = attempt.fault.is_some_and(|fault| fault.code == FaultCode::TooLarge);
        said && kills && limit.is_some_and(|limit| most_cost(program) > limit)
    }

    /// The agent died while it had the run.
    fn has_reason(&self, attempt: Attempt<'_>, starts: &[Start]) -> bool {
        let died = |death: &&Death| {
            death.who == attempt.agent && death.at_ms <= attempt.ended_ms && death.at_ms >= attempt.since_ms
        };
        let mut deaths = self.evidence.deaths.iter().filter(died);
        match starts.first() {
            None => deaths.next().is_some(),
            Some(start) => {
                let orphan = !self.evidence.is_agent(start.parent);
                deaths.any(|death| orphan || death.pid == start.parent)
            }
        }
    }

    /// The end with its result.
    fn result(&mut self, program: &Program) {
        let end = self.job.ends.get(&self.run.agent);
        let result = end.and_then(|end| end.result.as_ref()?.decode::<Summary>().ok());
        let wanted = (program.stdout().len(), program.stderr().len());
        let right = result.is_some_and(|result| {
            let bytes = (result.stdout_bytes, result.stderr_bytes);
            result.exit == Some(0)
                && (usize::try_from(bytes.0), usize::try_from(bytes.1)) == (Ok(wanted.0), Ok(wanted.1))
        });
        if !right {
            self.wrong("the result is not that of the program");
        }
    }

    /// Items are what the program wrote: all of it when it came to its end, its beginning otherwise.
    fn output(&mut self, attempt: Attempt<'_>, program: &Program, whole: bool) {
        let key = (self.run.agent.clone(), attempt.number);
        let items = self.job.items.get(&key).map(Vec::as_slice).unwrap_or_default();
        if items.iter().zip(0..).any(|(item, n)| item.n != n) {
            return self.wrong("I7: its items have gaps");
        }
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        if attempt.end.is_some_and(|end| end.items != count || self.run.items != count) {
            return self.wrong("I7: its items are not as many as it says");
        }
        for (kind, wanted) in [(ItemKind::Stdout, program.stdout()), (ItemKind::Stderr, program.stderr())] {
            let Some(bytes) = written(items, kind) else { return self.wrong("an item is no output") };
            let right =
                if whole { bytes == wanted.as_bytes() } else { wanted.as_bytes().starts_with(&bytes) };
            if !right {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.wrong(&format!("I7: its {} is {text:?}", kind.as_str()));
            }
        }
        let limited = option::<u64>(self.job, "output_limit").is_some();
        let foreign =
            |item: &Item| item.kind == ItemKind::Value || (item.kind == ItemKind::Truncated && !limited);
        if self.job.items.get(&key).is_some_and(|items| items.iter().any(foreign)) {
            self.wrong("I7: it has items that the program did not give");
        }
    }
}

/// What its output counts at most: with each line an item of its own.
fn most_cost(program: &Program) -> u64 {
    let text = program.stdout() + &program.stderr();
    u64::try_from(text.len() + 64 * text.lines().count()).unwrap_or(u64::MAX)
}

fn written(items: &[Item], kind: ItemKind) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for item in items.iter().filter(|item| item.kind == kind) {
        bytes.extend(item.data.decode::<serde_bytes::ByteBuf>().ok()?.into_vec());
    }
    Some(bytes)
}

/// At A3 a run dies that was not started, at A4 and A5 one that was: each has to be told as unknown.
fn reasons(evidence: &Evidence, starts: &Starts, findings: &mut Vec<Finding>) {
    let mut unknown: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for job in evidence.jobs.values() {
        let all = job.detail.runs.iter().flat_map(|run| attempts(job, run));
        for attempt in all.filter(|attempt| attempt.outcome == "unknown") {
            let key = (attempt.job.to_owned(), attempt.agent.to_owned(), attempt.number);
            *unknown.entry((attempt.agent, starts.contains_key(&key))).or_default() += 1;
        }
    }
    let mut died: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for Death { who, point, .. } in &evidence.deaths {
        match point {
            Some("A3") => *died.entry((who, false)).or_default() += 1,
            Some("A4" | "A5") => *died.entry((who, true)).or_default() += 1,
            Some(_) | None => {}
        }
    }
    for ((agent, started), deaths) in died {
        let told = unknown.get(&(agent, started)).copied().unwrap_or(0);
        if told < deaths {
            let where_ = if started { "A4 and A5" } else { "A3" };
            let text = format!("{agent} died {deaths} times at {where_}; only {told} such runs are unknown");
            findings.push(Finding::general(text));
        }
    }
}
