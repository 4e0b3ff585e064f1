//! What agents answer and report: only the holder of the dispatch in force changes a run.

use std::borrow::Borrow;

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::{Ack, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Dno, Ending, Item, JobId, Outcome};
use redpoll_common::wire::{Fault, FaultCode};

use super::Jobs;
use super::effect::Effect;
use super::input::OfferAnswer;
use super::model::{At, Phase, stamp};
use super::output::MAX_ITEMS;
use super::record::{Change, EventKind, Progress};

impl<T> Jobs<T> {
    pub(super) fn offer_answered(
        &mut self,
        agent: &PeerId,
        job: JobId,
        dno: Dno,
        answer: OfferAnswer,
        now_ms: u64,
    ) {
        let Some(at) = self.dispatched(agent, job, dno) else { return };
        let Some(run) = self.run(at) else { return };
        let (phase, attempt, accepted) = (run.phase, run.attempt, run.accepted.is_some());
        let was_absent = run.was_absent;
        match answer {
            // one offer has one answer: an agent that took it cannot have refused it
            _ if accepted => {}
            OfferAnswer::Refused(fault) if is_proof(&fault.code) => {
                // a session that is crowded, or stops, refuses before the spool has seen the number, and so may one that cannot take
                // the offer as it is
                if !is_passing(&fault.code) && fault.code != FaultCode::BadArguments {
                    self.saw(agent, dno);
                }
                if fault.code == FaultCode::ShuttingDown {
                    self.stops(agent, now_ms);
                }
                self.conclude(at, Ending::unstarted(Outcome::Rejected, fault), now_ms);
            }
            OfferAnswer::Unsendable(fault) => {
                self.conclude(at, Ending::unstarted(Outcome::Rejected, fault), now_ms);
            }
            // the session ended before this was heard: the next resume settles it, and must know that the agent had it
            OfferAnswer::Accepted
            | OfferAnswer::Known(
                SpoolState::Received | SpoolState::Starting | SpoolState::Running | SpoolState::Done,
            ) if phase == Phase::InDoubt => {
                self.saw(agent, dno);
                self.had(at, now_ms);
            }
            // the answers below tell nothing once something newer is known
            _ if phase != Phase::Offered => {}
            OfferAnswer::Accepted
            | OfferAnswer::Known(SpoolState::Received | SpoolState::Starting | SpoolState::Done) => {
                self.saw(agent, dno);
                self.follow(at, false, now_ms);
            }
            OfferAnswer::Known(SpoolState::Running) => {
                self.saw(agent, dno);
                self.follow(at, true, now_ms);
            }
            OfferAnswer::Known(SpoolState::Absent) => {
                self.saw(agent, dno);
                if self.run(at).is_some_and(|run| run.cancel.is_some()) {
                    self.end_unstarted(at, Outcome::Cancelled, "cancelled before it started", now_ms);
                } else if was_absent {
                    // the number was new to it, or should have been: to offer at once again and again would never end
                    let fault =
                        Fault::new(FaultCode::Overloaded, "the agent took offers and has nothing of them");
                    self.conclude(at, Ending::unstarted(Outcome::Rejected, fault), now_ms);
                } else {
                    self.offer(at, attempt, None, now_ms);
                    if let Some(run) = self.jobs.get_mut(&at.job).and_then(|job| job.run_mut(at.index)) {
                        run.was_absent = true;
                    }
                }
            }
            OfferAnswer::Refused(_) | OfferAnswer::Lost => {
                if let Some(connection) = self.agents.get(agent).and_then(|agent| agent.connection()) {
                    self.effects.push(Effect::Disconnect { agent: agent.clone(), connection });
                }
            }
        }
    }

    pub(super) fn cancel_answered(
        &mut self,
        agent: &PeerId,
        job: JobId,
        dno: Dno,
        state: SpoolState,
        now_ms: u64,
    ) {
        let Some(at) = self.dispatched(agent, job, dno) else { return };
        let cancelling = self.run(at).is_some_and(|run| run.cancel.is_some() && run.accepted.is_none());
        match state {
            // the number is used up and nothing was ever there: it never starts
            SpoolState::Absent if cancelling => {
                self.saw(agent, dno);
                self.end_unstarted(at, Outcome::Cancelled, "cancelled before it started", now_ms);
            }
            // the report of its end comes
            SpoolState::Absent
            | SpoolState::Received
            | SpoolState::Starting
            | SpoolState::Running
            | SpoolState::Done => {}
        }
    }

    /// The run that the agent has, or may have, under this number.
    fn dispatched(&self, agent: &PeerId, job: JobId, dno: Dno) -> Option<At> {
        self.agents.get(agent)?.has.get(&dno).copied().filter(|at| at.job == job)
    }

    /// The agent is known to have this number on disk. Written with its next counters: what is lost by that is only
    /// how soon a spool that was rolled back is recognised.
    fn saw(&mut self, agent: &PeerId, dno: Dno) {
        let counters = &mut self.agent_mut(agent).counters;
        counters.seen_dno = counters.seen_dno.max(dno);
    }

    /// The agent had the run on its disk, whatever it has now: one that comes back without it has lost its records.
    fn had(&mut self, at: At, now_ms: u64) {
        if self.run(at).is_some_and(|run| run.accepted.is_none()) {
            self.change(at, now_ms, |run| run.accepted = stamp(now_ms));
            self.write(at);
        }
    }

    /// The agent has the run, and runs it or will.
    pub(super) fn follow(&mut self, at: At, running: bool, now_ms: u64) {
        self.change(at, now_ms, |run| {
            run.phase = if running || run.started.is_some() { Phase::Running } else { Phase::Accepted };
            run.accepted = run.accepted.or_else(|| stamp(now_ms));
            run.doubt = None;
        });
        self.write(at);
    }

    /// Applies what an agent reports of one run, and says what it may forget.
    pub(super) fn report(&mut self, agent: &PeerId, report: RunReport, now_ms: u64) -> Ack {
        let RunReport { run: about, started_ms_ago, items, progress, done, newer_outcome, redact } = report;
        let told = items.last().map_or(0, |item| item.n.saturating_add(1));
        let told = told.max(done.as_ref().map_or(0, |done| done.items));
        // nothing here depends on this dispatch any more
        let over =
            Ack { job: about.job, attempt: about.attempt, next_n: told, done: true, stop: done.is_none() };
        let Some(at) = self.place(about.job, agent).filter(|_| self.awaits(agent, &about)) else {
            return over;
        };
        let open = self.run(at).is_some_and(|run| run.phase.is_dispatched());
        self.saw(agent, about.dno);
        if open {
            self.started(at, agent, started_ms_ago, now_ms);
        }
        let cost = self.cost_of(at, &items);
        if self.is_too_much(at, cost) {
            // its agent would have ended it long before
            self.end_flooding(at, now_ms);
            return Ack { stop: true, ..over };
        }
        let next_n = self.take_items(at, items, cost);
        if let Some(progress) = progress {
            self.take_progress(at, progress);
        }
        // an end before its last item is not taken: the acknowledgement asks for what is missing first
        let done = done.filter(|done| done.items <= next_n);
        let ended = done.is_some();
        if let Some(done) = done {
            // before the end, which has the arguments masked; without one it is no agent's to say, and would be said without end
            self.redact(about.job, redact);
            let started = self.run(at).is_some_and(|run| run.started.is_some());
            let done = plausible(done, started);
            if newer_outcome {
                self.conclude_unread(at, done, now_ms);
            } else {
                self.conclude(at, done, now_ms);
            }
        }
        Ack { job: about.job, attempt: about.attempt, next_n, done: ended, stop: false }
    }

    /// Whether what an agent reports under this dispatch counts.
    pub fn awaits(&self, agent: &PeerId, about: &RunRef) -> bool {
        let run = self.place(about.job, agent).and_then(|at| self.run(at));
        run.is_some_and(|run| run.is_about(about) && (run.phase.is_dispatched() || run.is_replaceable()))
    }

    pub(super) fn place(&self, job: JobId, agent: &PeerId) -> Option<At> {
        Some(At { job, index: self.jobs.get(&job)?.index_of(agent)? })
    }

    fn started(&mut self, at: At, agent: &PeerId, ago: Option<u64>, now_ms: u64) {
        let Some(run) = self.run(at) else { return };
        let first = ago.filter(|_| run.started.is_none());
        let phase = run.phase;
        if let Some(ago) = first {
            self.change(at, now_ms, |run| run.started = stamp(now_ms.saturating_sub(ago)));
        }
        let live = self.agents.get(agent).is_some_and(|agent| agent.is_live());
        // what was under way when the session ended is true, but does not end the doubt
        let moves = matches!(phase, Phase::Offered) || (ago.is_some() && phase == Phase::Accepted);
        if moves && live {
            self.follow(at, ago.is_some(), now_ms);
        } else if first.is_some() {
            self.write(at);
        }
        self.had(at, now_ms);
        if first.is_some() {
            self.run_event(at, EventKind::RunStarted, None, None, now_ms);
        }
    }

    /// Appends the items that come next, leaves out those that are stored, stops at a gap. Gives the next number.
    fn take_items(&mut self, at: At, items: Vec<Item>, cost: u64) -> u64 {
        let Some(job) = self.jobs.get_mut(&at.job) else { return 0 };
        let Some(key) = job.key(at.index) else { return 0 };
        let Some(run) = job.run_mut(at.index) else { return 0 };
        let from = run.items;
        let fresh: Vec<Item> = following(from, items.into_iter()).collect();
        let next = from.saturating_add(u64::try_from(fresh.len()).unwrap_or(u64::MAX));
        run.items = next;
        run.output = run.output.saturating_add(cost);
        let attempt = run.attempt;
        if !fresh.is_empty() {
            self.changes.push(Change::Items { key, attempt, from, items: fresh });
            // a later row of this turn must not go before these items
            self.rows.remove(&at);
        }
        next
    }

    /// What the items that are new count against the limit of output.
    fn cost_of(&self, at: At, items: &[Item]) -> u64 {
        let from = self.run(at).map_or(0, |run| run.items);
        following(from, items.iter()).map(Item::cost).fold(0, u64::saturating_add)
    }

    fn take_progress(&mut self, at: At, progress: redpoll_common::wire::flight::Progress) {
        let Some(job) = self.job_of(at) else { return };
        let (Some(key), Some(run)) = (job.key(at.index), job.run(at.index)) else { return };
        let details = Some(progress.details).filter(|details| !details.is_nil());
        let progress = Progress { completed: Some(progress.completed), total: progress.total, details };
        self.changes.push(Change::Progress { key, attempt: run.attempt, progress });
    }
}

/// Those of the items that come next. The numbers are an agent's: there is none after the last.
fn following<I: Borrow<Item>>(from: u64, items: impl Iterator<Item = I>) -> impl Iterator<Item = I> {
    let fresh = items.skip_while(move |item| item.borrow().n < from);
    let numbers = (from..MAX_ITEMS).zip(fresh);
    numbers.take_while(|(n, item)| item.borrow().n == *n).map(|(_, item)| item)
}

/// Whether a refusal with this code says that nothing ran and nothing will.
fn is_proof(code: &FaultCode) -> bool {
    matches!(
        code,
        FaultCode::Rejected
            | FaultCode::UnknownProcedure
            | FaultCode::BadArguments
            | FaultCode::Overloaded
            | FaultCode::ShuttingDown
    )
}

/// Whether a refusal with this code says nothing of the run: there was no room, or no time.
pub(super) fn is_passing(code: &FaultCode) -> bool {
    matches!(code, FaultCode::Overloaded | FaultCode::ShuttingDown)
}

/// An agent's account without contradictions: what a result proves, and what a refusal does.
fn plausible(mut done: Ending, was_started: bool) -> Ending {
    let denies = matches!(done.outcome, Outcome::Rejected | Outcome::Expired) || done.started == Some(false);
    if was_started && denies {
        // it told that it began: whoever says now that it did not has lost its records
        (done.outcome, done.started, done.result) = (Outcome::Unknown, Some(true), None);
        return done;
    }
    match done.outcome {
        Outcome::Succeeded => done.started = Some(true),
        Outcome::Rejected | Outcome::Expired => done.started = Some(false),
        Outcome::Unknown => done.started = done.started.filter(|started| *started),
        Outcome::Failed | Outcome::Cancelled | Outcome::TimedOut => {}
    }
    done
}
