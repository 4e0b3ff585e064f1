//! What an agent takes later: it had no room for a run, or stops. That says nothing of the run, which waits on until `start_within`.
//!
//! An agent that stops takes no offers before its next session: what it refused waits for that in its place. What found no room is tried
//! again after a wait of its own, which doubles with each time, and sooner when something ends there, the earliest first of those for which
//! their queue has a slot. What is tried in vain before its time waits no longer for that, and nothing is tried without those before it.
//! Where the agent says when to ask, that is when it is asked, or not much later; and in its next session, where all of it may be otherwise.

use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::wire::{Fault, FaultCode};

use super::Jobs;
use super::model::{At, Class, Job, Phase, Run, Timer};
use super::record::EventKind;
use super::report::is_passing;
use super::settings::{doubled, hint_of, lot};

/// The longest wait that an agent asks for which has no room now. One that asks for more knows of something else that has to pass first,
/// and is not asked before.
const SOON_MS: u64 = 2_000;
/// How many times as long as an agent asks for the wait may get at most, for what passes by itself should not be missed for long.
const STRETCH: u64 = 4;
/// How often a run is put back and still tried before its own time: the numbers of attempts have an end.
const OFTEN: u16 = 1_000;
/// The number of an attempt from which on that is so however rarely it was tried at its own time.
const NUMBERS: u16 = 30_000;
/// Of how many that wait for room one is looked for whose queue has a slot.
const LOOKED_AT: usize = 64;

/// What a run waits for that was put back, beside its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutOff {
    /// Nothing.
    No,
    /// What its agent knows of, and says when to ask.
    Asked,
    /// Room on its agent.
    Agent,
    /// Room for its procedure there.
    Procedure,
}

/// For whose room runs wait that were put back, by whom they compete with: the agent's, or that of a procedure.
pub(super) type Crowd = (Class, Option<Arc<str>>);

impl<T> Jobs<T> {
    /// Puts a run back. The next offer is another attempt, so that no late word about this one is taken for a word about that, and does
    /// not count. `false` when the fault says something else, or the numbers of attempts are used up.
    pub(super) fn put_back(&mut self, at: At, fault: &Fault, now_ms: u64) -> bool {
        let passing = is_passing(&fault.code);
        let may = |run: &&Run| passing && !run.phase.is_ended() && run.attempt.0 < u16::MAX;
        let Some(run) = self.run(at).filter(may) else { return false };
        let times = run.put_back.saturating_add(1);
        let (hint, accepted) = (hint_of(fault), run.accepted.is_some());
        let counted = times.saturating_sub(run.early);
        let put_off = match accepted {
            _ if counted > OFTEN || self.attempts(at) > NUMBERS => PutOff::No,
            _ if hint > SOON_MS => PutOff::Asked,
            // the agent took it, and then its procedure had no place
            true => PutOff::Procedure,
            false => PutOff::Agent,
        };
        let (put_off, due) = if fault.code == FaultCode::ShuttingDown && self.has_stopped(at) {
            (PutOff::No, 0)
        } else {
            (put_off, self.put_off_until(at, put_off, counted, hint, now_ms))
        };
        self.change(at, now_ms, |run| {
            run.phase = Phase::Queued;
            (run.put_back, run.put_off, run.not_before) = (times, put_off, due);
            run.doubt = None;
        });
        self.write(at);
        self.run_event(at, EventKind::RunPutBack, None, Some(fault.code.to_string()), now_ms);
        true
    }

    /// Never before one that came before it and waits for the same.
    fn put_off_until(&self, at: At, put_off: PutOff, times: u16, hint: u64, now_ms: u64) -> u64 {
        let (first, max) = (self.settings.retry_first_ms, self.settings.retry_max_ms);
        let most = if put_off == PutOff::Asked { hint.saturating_mul(STRETCH) } else { u64::MAX };
        let wait = doubled(first, max, u32::from(times)).min(most).max(hint);
        let random = lot(at.job.to_bytes(), u64::from(at.index) << 16 ^ now_ms);
        let due = now_ms.saturating_add(wait).saturating_add(random % (wait / 2 + 1));
        self.put_off_before(at, put_off).map_or(due, |earlier| due.max(earlier))
    }

    /// Until when the run waits that is the last one before this one, of those that wait for the same.
    fn put_off_before(&self, at: At, put_off: PutOff) -> Option<u64> {
        let job = self.job_of(at)?;
        let (crowd, seq) = (job.crowd(at.index, put_off)?, job.run(at.index)?.seq);
        let crowded = &self.agents.get(job.agent(at.index)?)?.crowded;
        let (_, before) = crowded.range((crowd.clone(), 0)..(crowd, seq)).next_back()?;
        Some(self.run(*before)?.not_before)
    }

    /// Whether it was the session before, or one that takes nothing more, in which the agent had the run.
    fn has_stopped(&self, at: At) -> bool {
        let Some(job) = self.job_of(at) else { return true };
        let agent = job.agent(at.index).and_then(|agent| self.agents.get(agent));
        let dno = job.run(at.index).map(|run| run.dno);
        agent.is_none_or(|agent| !agent.takes() || dno.is_some_and(|dno| dno < agent.first_dno))
    }

    /// The wait of a run is over, maybe before its time.
    fn waits_no_more(&mut self, at: At, now_ms: u64) {
        self.change(at, now_ms, |run| (run.not_before, run.put_off) = (0, PutOff::No));
    }

    /// The same, in favour of the run: if it is in vain, that does not count.
    fn wake(&mut self, at: At, now_ms: u64) {
        self.change(at, now_ms, |run| {
            run.early = run.early.saturating_add(u16::from(run.not_before > now_ms));
        });
        self.waits_no_more(at, now_ms);
    }

    /// The time of a run has come. If it waits for room, those that came before it and wait for the same are tried with it: whatever there
    /// is belongs to them first.
    pub(super) fn retry_due(&mut self, at: At, now_ms: u64) {
        let Some(job) = self.job_of(at) else { return };
        let (agent, run) = (job.agent(at.index).and_then(|agent| self.agents.get(agent)), job.run(at.index));
        let (Some(agent), Some(run)) = (agent, run) else { return };
        let mut due = vec![at];
        if let Some(crowd) = job.crowd(at.index, run.put_off) {
            due.extend(agent.crowded.range((crowd.clone(), 0)..(crowd, run.seq)).map(|(_, before)| *before));
        }
        for at in due {
            self.wake(at, now_ms);
        }
    }

    /// The run of `at` leaves its agent for good, if it is there: of what was put back for want of room the earliest is tried that could
    /// start, of each class, for it may be room for one of them only.
    pub(super) fn room_after(&mut self, at: At, now_ms: u64) {
        let Some(job) = self.job_of(at) else { return };
        let Some(agent) = job.agent(at.index).and_then(|agent| self.agents.get(agent)) else { return };
        if agent.crowded.is_empty() || !job.run(at.index).is_some_and(|run| run.phase.is_dispatched()) {
            return;
        }
        let procedure: Option<Arc<str>> = Some(job.record.spec.procedure.as_str().into());
        let crowds = Class::ALL.into_iter().flat_map(|class| [(class, None), (class, procedure.clone())]);
        let (mut firsts, mut passed) = (Vec::new(), Vec::new());
        for crowd in crowds {
            let waiting = agent.crowded.range((crowd.clone(), 0)..=(crowd, u64::MAX));
            for (_, first) in waiting.take(LOOKED_AT) {
                if self.has_slot_after(*first, at) {
                    firsts.push(*first);
                    break;
                }
                passed.push(*first);
            }
        }
        // they have their turn in their queue, which may have a slot when nothing ends on this agent any more
        for first in passed {
            self.waits_no_more(first, now_ms);
        }
        for first in firsts {
            self.wake(first, now_ms);
        }
    }

    fn attempts(&self, at: At) -> u16 {
        self.run(at).map_or(0, |run| run.attempt.0)
    }

    /// Whether the queue of a run has a slot for it, once the other one has left.
    fn has_slot_after(&self, at: At, leaves: At) -> bool {
        let queue = self.job_of(at).and_then(Job::queue).and_then(|queue| self.queues.get(queue));
        queue.is_none_or(|queue| queue.has_slot() || queue.slots.contains(&leaves))
    }

    /// The session ended, or another begins: whether there is room then is another question.
    pub(super) fn crowd_goes(&mut self, agent: &PeerId, now_ms: u64) {
        let entry = self.agent_mut(agent);
        let waiting: Vec<At> = entry.crowded.values().chain(&entry.asked).copied().collect();
        for at in waiting {
            self.waits_no_more(at, now_ms);
        }
    }

    /// The agent stops. What would be offered to it meanwhile waits for its next session; or, if that does not come, for as long as
    /// runs are put off at most.
    pub(super) fn stops(&mut self, agent: &PeerId, now_ms: u64) {
        if self.agents.get(agent).is_some_and(|entry| entry.takes()) {
            self.leave_heads(agent);
            let until = now_ms.saturating_add(self.settings.retry_max_ms);
            self.agent_mut(agent).stops_until = Some(until);
            self.timers.insert((until, Timer::Takes(agent.clone())));
        }
    }

    /// It did not stop.
    pub(super) fn takes_again(&mut self, agent: &PeerId) {
        if self.agent_mut(agent).stops_until.take().is_some() {
            self.enter_heads(agent);
        }
    }

    /// The session that it was about to end has ended.
    pub(super) fn returns(&mut self, agent: &PeerId) {
        if let Some(until) = self.agent_mut(agent).stops_until.take() {
            self.timers.remove(&(until, Timer::Takes(agent.clone())));
        }
    }
}

impl Job {
    /// For whose room a run of it waits, if it waits for any.
    pub(super) fn crowd(&self, index: u32, put_off: PutOff) -> Option<Crowd> {
        match put_off {
            PutOff::No | PutOff::Asked => None,
            PutOff::Agent => Some((self.class(index), None)),
            PutOff::Procedure => Some((self.class(index), Some(self.record.spec.procedure.as_str().into()))),
        }
    }
}
