//! How runs and jobs end: once, truthfully, and tried again only where that is safe.

use redpoll_common::job::{Attempt, Ending, JobId, Outcome, RunKey};
use redpoll_common::wire::{Fault, FaultCode};

use super::Jobs;
use super::model::{At, Job, Phase, stamp};
use super::record::{CallbackRecord, CallbackState, Change, EventKind};
use super::settings::{backoff, hint_of, lot};

/// The number of the callback that tells of the end of a job; those of its corrections are higher.
const FIRST_CALLBACK: u32 = 1;

impl<T> Jobs<T> {
    /// Takes a conclusion about the dispatch in force, or late evidence about an outcome that is unknown.
    pub(super) fn conclude(&mut self, at: At, ending: Ending, now_ms: u64) {
        let Some(run) = self.run(at) else { return };
        if run.is_replaceable() {
            self.correct(at, ending, now_ms);
        } else if run.cancel.is_some() && is_refusal(&ending) {
            self.end_unstarted(at, Outcome::Cancelled, "cancelled before it started", now_ms);
        } else if !run.phase.is_ended() && !self.is_put_back(at, &ending, now_ms) {
            match self.retry_at(at, &ending, now_ms) {
                Some(due) => self.retry(at, ending, due, now_ms),
                None => self.end(at, ending, now_ms),
            }
        }
    }

    /// Takes an end whose outcome only a newer version knows. The run is over, and its agent says no more of it: nothing is tried again, and
    /// nothing replaces what is known here.
    pub(super) fn conclude_unread(&mut self, at: At, mut ending: Ending, now_ms: u64) {
        let Some(run) = self.run(at) else { return };
        let replaces = run.is_replaceable();
        ending.started = ending.started.or_else(|| run.started.map(|_| true));
        if replaces {
            self.replace(at, ending, now_ms);
        } else if !run.phase.is_ended() {
            self.change(at, now_ms, |run| run.corrected = true);
            self.end(at, ending, now_ms);
        }
    }

    /// An end without a start, decided here.
    pub(super) fn end_unstarted(&mut self, at: At, outcome: Outcome, why: &str, now_ms: u64) {
        let code = if outcome == Outcome::Expired { FaultCode::TimedOut } else { FaultCode::Cancelled };
        self.end(at, Ending::unstarted(outcome, Fault::new(code, why)), now_ms);
    }

    /// Nobody can tell whether it ran.
    pub(super) fn end_unknown(&mut self, at: At, cause: &str, now_ms: u64) {
        let ending = self.unknown(at, cause);
        let since = self.run(at).and_then(|run| run.doubt).or_else(|| stamp(now_ms));
        self.conclude(at, ending, now_ms);
        if self.run(at).is_some_and(|run| run.phase == Phase::Queued) {
            // its agent has not said so: what that has of this attempt counts until it is offered the next
            self.change(at, now_ms, |run| run.doubt = since);
            self.write(at);
        }
    }

    /// The same, and it is not tried again.
    pub(super) fn end_unknown_for_good(&mut self, at: At, cause: &str, now_ms: u64) {
        let ending = self.unknown(at, cause);
        self.end(at, ending, now_ms);
    }

    fn unknown(&self, at: At, cause: &str) -> Ending {
        let fault = Fault::new(FaultCode::AgentGone, cause);
        let mut ending = Ending::unstarted(Outcome::Unknown, fault);
        ending.started = self.run(at).and_then(|run| run.started.map(|_| true));
        ending
    }

    /// A refusal whose answer was lost comes as a report.
    fn is_put_back(&mut self, at: At, ending: &Ending, now_ms: u64) -> bool {
        match &ending.fault {
            Some(fault) if is_refusal(ending) => self.put_back(at, fault, now_ms),
            Some(_) | None => false,
        }
    }

    /// When the run is tried again, if it may be: it may be repeated, and has attempts left.
    fn retry_at(&self, at: At, ending: &Ending, now_ms: u64) -> Option<u64> {
        let job = self.job_of(at)?;
        let run = job.run(at.index)?;
        let safe = match ending.outcome {
            Outcome::Failed | Outcome::TimedOut | Outcome::Unknown => job.record.idempotent,
            Outcome::Rejected | Outcome::Succeeded | Outcome::Cancelled | Outcome::Expired => false,
        };
        if !safe
            || run.cancel.is_some()
            || run.attempt.0.saturating_sub(run.put_back) >= job.record.spec.max_attempts
        {
            return None;
        }
        let random = lot(at.job.to_bytes(), u64::from(at.index) << 16 | u64::from(run.attempt.0));
        let failures = u32::from(run.attempt.0.saturating_sub(run.put_back));
        let wait = backoff(self.settings.retry_first_ms, self.settings.retry_max_ms, failures, random);
        let hint = ending.fault.as_ref().map_or(0, hint_of);
        let due = now_ms.saturating_add(wait.max(hint));
        // an attempt after the deadline would say `expired` and hide what really happened
        job.deadline().is_none_or(|deadline| due < deadline).then_some(due)
    }

    fn retry(&mut self, at: At, ending: Ending, due: u64, now_ms: u64) {
        self.room_after(at, now_ms);
        self.change(at, now_ms, |run| {
            run.former = run.earlier;
            if ending.started != Some(false) {
                run.earlier = Some(ending.outcome);
            }
            run.phase = Phase::Queued;
            run.not_before = due;
            run.doubt = None;
        });
        self.write(at);
        let Some((key, attempt)) = self.key_attempt(at) else { return };
        let outcome = ending.outcome;
        let detail = ending.fault.as_ref().map(|fault| fault.code.to_string());
        let fault = ending.fault.map(Box::new);
        self.changes.push(Change::AttemptEnded { key, attempt, outcome, fault, at_ms: now_ms });
        self.run_event(at, EventKind::RunRetried, Some(outcome), detail, now_ms);
    }

    /// Ends a run for good.
    pub(super) fn end(&mut self, at: At, ending: Ending, now_ms: u64) {
        let Some(run) = self.run(at).filter(|run| !run.phase.is_ended()) else { return };
        let ending = match run.earlier {
            Some(earlier) => after(earlier, ending),
            None => ending,
        };
        self.finish(at, ending, EventKind::RunEnded, now_ms);
        self.open_runs = self.open_runs.saturating_sub(1);
        let Some(job) = self.jobs.get_mut(&at.job) else { return };
        self.shares.give_back(&job.record.submitter, 1, 0);
        job.summary.open = job.summary.open.saturating_sub(1);
        if job.summary.open == 0 {
            job.record_mut().ended_ms = Some(now_ms);
            let submitter = job.record.submitter.clone();
            self.job_ended(at.job, FIRST_CALLBACK, now_ms);
            self.shelve(&submitter);
        }
    }

    /// Replaces `unknown`, once. Nothing is tried again because of it.
    ///
    /// Only by an account that it ran. That it never did is what a spool says as well that was taken back to the moment before the
    /// start, and that is not always recognised: nobody may have heard of the start, and the manager knows a lost spool for the
    /// same in its next session.
    fn correct(&mut self, at: At, ending: Ending, now_ms: u64) {
        if ending.outcome != Outcome::Unknown && ending.started != Some(false) {
            self.replace(at, ending, now_ms);
        }
    }

    fn replace(&mut self, at: At, ending: Ending, now_ms: u64) {
        if let Some(job) = self.jobs.get_mut(&at.job) {
            job.summary.remove(Outcome::Unknown);
        }
        self.change(at, now_ms, |run| run.corrected = true);
        self.finish(at, ending, EventKind::RunCorrected, now_ms);
        if let Some(job) = self.jobs.get_mut(&at.job).filter(|job| job.summary.open == 0) {
            // the latest end of its runs, as their rows say
            job.record_mut().ended_ms = Some(now_ms);
            // it grows with each, and is never that of the end: also when some were corrected before it
            let serial = job.corrected.saturating_add(FIRST_CALLBACK);
            self.job_ended(at.job, serial, now_ms);
        }
    }

    fn finish(&mut self, at: At, mut ending: Ending, kind: EventKind, now_ms: u64) {
        let outcome = ending.outcome;
        let detail = ending.fault.as_ref().map(|fault| fault.code.to_string());
        self.room_after(at, now_ms);
        self.change(at, now_ms, |run| {
            run.phase = Phase::Ended(outcome);
            run.ended = stamp(now_ms);
            run.not_before = 0;
            ending.items = run.items;
        });
        self.write_row(at, |_| ending);
        if let Some(job) = self.jobs.get_mut(&at.job) {
            job.summary.add(outcome);
        }
        self.run_event(at, kind, Some(outcome), detail, now_ms);
    }

    /// Writes the end of a job, or its correction, tells of it, and forgets the job if nothing can change any more.
    fn job_ended(&mut self, id: JobId, serial: u32, now_ms: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (summary, target) = (job.summary, job.record.spec.callback.clone());
        let ended_ms = job.record.ended_ms.unwrap_or(now_ms);
        let has_secrets = !job.record.redact.is_empty();
        let may_change = job.may_change();
        self.changes.push(Change::JobEnded { job: id, ended_ms, summary });
        if has_secrets {
            self.changes.push(Change::ArgumentsMasked(id));
        }
        self.event(now_ms, EventKind::JobEnded, |event| {
            event.job = Some(id);
            event.outcome = summary.outcome();
        });
        if let Some(target) = target {
            let state = CallbackState::Pending;
            let record =
                CallbackRecord { job: id, serial, target, state, due_ms: now_ms, tries: 0, error: None };
            self.add_callback(record);
        }
        if !may_change {
            self.forget(id);
        }
    }

    /// Has a job in memory from here on.
    pub(super) fn keep(&mut self, id: JobId, job: Job) {
        self.open_bytes = self.open_bytes.saturating_add(job.weight());
        self.alive.enter(&job.record);
        self.shares.add(&job.record.submitter, 0, job.weight());
        self.jobs.insert(id, job);
    }

    /// Forgets a job that has ended; the store has it.
    pub(super) fn forget(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        self.open_bytes = self.open_bytes.saturating_sub(job.weight());
        self.alive.leave(&job.record);
        self.shares.give_back(&job.record.submitter, 0, job.weight());
        if let Some(key) = job.record.key() {
            self.keys.remove(&(job.record.submitter.clone(), key.to_owned()));
        }
    }

    /// Writes a run that has not ended.
    pub(super) fn write(&mut self, at: At) {
        // without content: rows of ended runs are written by `finish` alone
        self.write_row(at, |outcome| Ending::unstarted(outcome, Fault::new(FaultCode::Internal, "ended")));
    }

    fn write_row(&mut self, at: At, ending: impl FnOnce(Outcome) -> Ending) {
        let Some(job) = self.jobs.get(&at.job) else { return };
        let (Some(run), Some(key)) = (job.run(at.index), job.key(at.index)) else { return };
        let row = Change::RunChanged(Box::new(run.record(key, ending)));
        // a row that was written before in this turn is replaced where it is
        let place = *self.rows.entry(at).or_insert(self.changes.len());
        match self.changes.get_mut(place) {
            Some(before) => *before = row,
            None => self.changes.push(row),
        }
    }

    fn key_attempt(&self, at: At) -> Option<(RunKey, Attempt)> {
        let job = self.job_of(at)?;
        Some((job.key(at.index)?, job.run(at.index)?.attempt))
    }
}

/// Whether the agent took a run and gave it back as it was.
fn is_refusal(ending: &Ending) -> bool {
    ending.outcome == Outcome::Rejected && ending.started == Some(false)
}

/// The end of a run of which an earlier attempt ran, or may have: never one that says that nothing did.
fn after(earlier: Outcome, mut ending: Ending) -> Ending {
    if ending.started == Some(false) {
        ending.started = (earlier != Outcome::Unknown).then_some(true);
        if matches!(ending.outcome, Outcome::Rejected | Outcome::Expired) {
            ending.outcome = earlier;
            ending.fault = ending.fault.map(|fault| beside(earlier, &fault));
        }
    }
    ending
}

/// Why a run ended as the attempt before did: that first, whose own fault the store keeps with it, then why there was no other.
fn beside(earlier: Outcome, fault: &Fault) -> Fault {
    let (code, how) = match earlier {
        Outcome::Failed => (FaultCode::Failed, "failed"),
        Outcome::TimedOut => (FaultCode::TimedOut, "took too long"),
        Outcome::Unknown => (FaultCode::AgentGone, "may have run, and how it ended is not known"),
        Outcome::Succeeded | Outcome::Rejected | Outcome::Cancelled | Outcome::Expired => {
            (fault.code.clone(), "has ended")
        }
    };
    let text =
        format!("the attempt before {how} (jobs show tells why); the next never began: {}", fault.message);
    Fault::new(code, text)
}

impl Job {
    /// Its key in the store.
    pub(super) fn key(&self, index: u32) -> Option<RunKey> {
        Some(RunKey { job: self.record.id, agent: self.agent(index)?.clone() })
    }
}
