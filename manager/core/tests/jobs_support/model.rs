//! What the machine promises, once more and as plainly as it can be said: lists and searches, no index, no timer, no turn.
//!
//! Where a promise leaves a choice, the model takes the machine's and checks that it was allowed: which of the runs that may start
//! start first (never one before another of its queue), how long a retry waits (within its bounds).

mod agents;
mod crash;
mod operators;
mod put_back;
mod revoked;
mod start;

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Dno, JobId, Outcome, QueueKey, RunKey};
use redpoll_manager_core::clock::Anchor;
use redpoll_manager_core::jobs::record::RunRecord;
use redpoll_manager_core::jobs::{Answer, Ended, Refusal, Settings, Submit, Whose};
use redpoll_manager_core::revoked::Denied;

/// Where a run is; an end with whether it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Held,
    Queued,
    Offered,
    Accepted,
    Running,
    Doubt,
    Ended(Outcome, Option<bool>),
}

#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) agent: PeerId,
    pub(crate) state: State,
    pub(crate) attempt: u16,
    pub(crate) dno: u64,
    pub(crate) seq: u64,
    pub(crate) not_before: u64,
    pub(crate) queued: u64,
    pub(crate) doubt: u64,
    pub(crate) items: u64,
    pub(crate) asked: bool,
    /// With which grace.
    pub(crate) grace: Option<u32>,
    pub(crate) accepted: bool,
    pub(crate) started: bool,
    pub(crate) corrected: bool,
    pub(crate) put_back: u16,
    /// Its offer was answered with having nothing of it, before this one; and so was this one.
    pub(crate) absent: [bool; 2],
    /// Put back for want of room: the agent's, or a procedure's there; and whether it looks after the machine.
    pub(crate) put_off: Option<(bool, Option<String>)>,
    /// Put back until a time that its agent gave, or its next session.
    pub(crate) told_when: bool,
    /// How often it was tried before its time, in this life of the manager.
    pub(crate) early: u16,
    pub(crate) earlier: Option<Outcome>,
    /// The same before its last attempt.
    pub(crate) former: Option<Outcome>,
    /// It waits, and its agent may have the attempt before.
    pub(crate) given_up: bool,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) submit: Submit<u32>,
    pub(crate) runs: Vec<Run>,
    pub(crate) submitted: u64,
    pub(crate) released: Option<u64>,
    pub(crate) ended: Option<u64>,
    /// How many of its ends somebody has still to be told of.
    pub(crate) untold: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    Away,
    /// With the numbers told of, whether the spool is the known one, and the highest number of ours if it has seen higher ones.
    Resuming(Vec<u64>, Option<bool>, Option<u64>),
    Live,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: PeerId,
    pub(crate) link: Link,
    pub(crate) connection: u64,
    pub(crate) newest: u64,
    /// Up to which connection nothing counts.
    pub(crate) cut: Option<u64>,
    pub(crate) spool: Option<[u8; 16]>,
    pub(crate) seen: u64,
    pub(crate) last: u64,
    /// The first number of its session.
    pub(crate) first: u64,
    /// It stops: until when nothing is offered, if its session does not end before.
    pub(crate) stops: Option<u64>,
}

/// An end as somebody tells it; `passing`: a refusal for want of room, or of time; `stops`: of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) started: Option<bool>,
    pub(crate) passing: bool,
    pub(crate) stops: bool,
    pub(crate) hint: u64,
}

pub(crate) type At = (usize, usize);

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) settings: Settings,
    pub(crate) now: u64,
    /// When this life of the manager began.
    pub(crate) began: u64,
    /// When it was back after a restart, or after it stood still; 0 before.
    pub(crate) back: u64,
    pub(crate) jobs: Vec<Job>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) queues: Vec<(QueueKey, u32)>,
    /// Submits that wait for a look into the store, with its number.
    pub(crate) lookups: Vec<(Submit<u32>, Option<Ended>, u64)>,
    /// How many looks there were in this life of the manager.
    pub(crate) looks: u64,
    /// Who is shut out.
    pub(crate) denied: BTreeSet<Denied>,
    pub(crate) full: bool,
    pub(crate) last_seq: u64,
    pub(crate) prune_at: u64,
    /// Whose oldest jobs are looked for.
    pub(crate) finding: BTreeSet<Whose>,
    /// What is offered again, under which number if under the same.
    pub(crate) again: Vec<(At, Option<u64>)>,
    /// What goes out, offers apart.
    pub(crate) said: Vec<String>,
    /// Where the count of time stands, as the machine was told since it began.
    pub(crate) anchor: Option<Anchor>,
    /// Where the count of time stands, and how often the clock was set.
    pub(crate) clock: (Option<Anchor>, usize),
    /// How many events there are after the step, and what agents have of themselves in the history.
    pub(crate) events: u64,
    pub(crate) told: Vec<String>,
    /// The machine's rows after the step: its choices.
    pub(crate) chosen: BTreeMap<RunKey, RunRecord>,
}

impl Run {
    pub(crate) fn new(agent: PeerId, state: State) -> Self {
        let (asked, accepted, started, corrected) = (false, false, false, false);
        let (attempt, dno, seq, not_before, queued) = (0, 0, 0, 0, 0);
        let (doubt, items, put_back, earlier, given_up, grace) = (0, 0, 0, None, false, None);
        Self {
            agent,
            state,
            attempt,
            dno,
            seq,
            not_before,
            queued,
            doubt,
            items,
            asked,
            grace,
            accepted,
            started,
            corrected,
            put_back,
            absent: [false; 2],
            put_off: None,
            told_when: false,
            early: 0,
            earlier,
            former: None,
            given_up,
        }
    }

    /// An agent has it or may have it.
    pub(crate) fn is_out(&self) -> bool {
        matches!(self.state, State::Offered | State::Accepted | State::Running | State::Doubt)
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, State::Ended(..))
    }

    pub(crate) fn is_replaceable(&self) -> bool {
        matches!(self.state, State::Ended(Outcome::Unknown, _)) && !self.corrected && self.dno > 0
    }

    pub(crate) fn word(&self) -> &'static str {
        match self.state {
            State::Held => "held",
            State::Queued => "queued",
            State::Offered => "offered",
            State::Accepted => "accepted",
            State::Running => "running",
            State::Doubt => "in_doubt",
            State::Ended(..) => "ended",
        }
    }
}

impl Job {
    pub(crate) fn queue(&self) -> Option<&QueueKey> {
        self.submit.spec.queue.as_ref().map(|queue| &queue.name)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.runs.iter().any(Run::is_open)
    }

    /// Something of it may still change.
    pub(crate) fn is_alive(&self) -> bool {
        self.runs.iter().any(|run| run.is_open() || run.is_replaceable())
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        Some(self.released? + u64::try_from(self.submit.spec.limits.start_within?.as_millis()).unwrap())
    }

    pub(crate) fn is_repeatable(&self) -> bool {
        self.submit.spec.idempotent.unwrap_or(self.submit.idempotent)
    }
}

impl Model {
    pub(crate) fn run(&mut self, at: At) -> &mut Run {
        &mut self.jobs[at.0].runs[at.1]
    }

    pub(crate) fn all(&self) -> Vec<At> {
        let runs = |(n, job): (usize, &Job)| (0..job.runs.len()).map(move |m| (n, m));
        self.jobs.iter().enumerate().flat_map(runs).collect()
    }

    pub(crate) fn find(&self, id: JobId, agent: &PeerId) -> Option<At> {
        self.all()
            .into_iter()
            .find(|at| (self.jobs[at.0].submit.id, &self.jobs[at.0].runs[at.1].agent) == (id, agent))
    }

    pub(crate) fn agent(&mut self, id: &PeerId) -> &mut Agent {
        self.agents.iter_mut().find(|agent| agent.id == *id).unwrap()
    }

    /// What the agent has or may have, by number.
    pub(crate) fn has(&self, agent: &PeerId) -> Vec<At> {
        let run = |at: &At| &self.jobs[at.0].runs[at.1];
        let mut has: Vec<At> =
            self.all().into_iter().filter(|at| run(at).agent == *agent && run(at).is_out()).collect();
        has.sort_by_key(|at| run(at).dno);
        has
    }

    pub(crate) fn answer(&mut self, token: u32, answer: Result<Answer, Refusal>) {
        self.said.push(format!("answer {token} {answer:?}"));
    }

    /// Ends a run. One that ran in an earlier attempt does not end as if it had not.
    pub(crate) fn end(&mut self, at: At, mut outcome: Outcome, mut started: Option<bool>) {
        let (now, tells) = (self.now, self.jobs[at.0].submit.spec.callback.is_some());
        self.room_after(at);
        let run = self.run(at);
        if let (Some(earlier), Some(false)) = (run.earlier, started) {
            started = (earlier != Outcome::Unknown).then_some(true);
            if matches!(outcome, Outcome::Rejected | Outcome::Expired) {
                outcome = earlier;
            }
        }
        let correction = !run.is_open();
        if correction && outcome == Outcome::Unknown {
            return;
        }
        (run.state, run.corrected) = (State::Ended(outcome, started), correction);
        let job = &mut self.jobs[at.0];
        if !job.is_open() {
            job.ended = Some(now);
            let before = job.runs.iter().filter(|run| run.corrected).count();
            let serial = if correction { 1 + before } else { 1 };
            job.untold.extend(tells.then_some(u32::try_from(serial).unwrap()));
        }
    }

    /// Takes an end that an agent tells of: for good, for this attempt, or as evidence of what was unknown.
    pub(crate) fn conclude(&mut self, at: At, end: End) {
        let (now, job) = (self.now, &self.jobs[at.0]);
        let (run, settings) = (&job.runs[at.1], self.settings);
        let refused = end.outcome == Outcome::Rejected && end.started == Some(false);
        let fails = matches!(end.outcome, Outcome::Failed | Outcome::TimedOut | Outcome::Unknown);
        let tried = run.attempt - run.put_back;
        let row = self.chosen.get(&RunKey { job: job.submit.id, agent: run.agent.clone() });
        let due = row.filter(|row| row.state.word() == "queued").map(|row| row.not_before_ms);
        let deadline = job.deadline().unwrap_or(u64::MAX);
        if run.is_replaceable() {
            // that it never ran is no evidence
            if end.started != Some(false) {
                self.end(at, end.outcome, end.started);
            }
        } else if run.is_open() && run.asked && refused {
            self.end(at, Outcome::Cancelled, Some(false));
        } else if run.is_open() && refused && end.passing {
            self.put_back(at, end, due);
        } else if run.is_open()
            && fails
            && job.is_repeatable()
            && !run.asked
            && tried < job.submit.spec.max_attempts
        {
            let doubled = settings.retry_first_ms << (tried - 1).min(20);
            let full = doubled.min(settings.retry_max_ms);
            let (least, most) = ((full - full / 2).max(end.hint), full.max(end.hint));
            // it was found in the same step
            let held = row.and_then(|row| row.state.dispatch());
            let found = held == Some((Attempt(run.attempt), Dno(run.dno)));
            let Some(due) = due.or_else(|| found.then_some(now + most)) else {
                assert!(now + most >= deadline, "{:?} is not tried again", job.submit.id);
                return self.end(at, end.outcome, end.started);
            };
            assert!((now + least..=now + most).contains(&due) && due < deadline, "again at {due}, at {now}");
            self.room_after(at);
            let run = self.run(at);
            (run.state, run.not_before) = (State::Queued, due);
            run.former = run.earlier;
            if end.started != Some(false) {
                run.earlier = Some(end.outcome);
            }
        } else if run.is_open() {
            self.end(at, end.outcome, end.started);
        }
    }
}
