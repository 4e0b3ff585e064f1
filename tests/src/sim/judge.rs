//! What records and the world must agree on: looked at after every step that changed either.

use redpoll_common::job::{Attempt, Ending, ItemKind, Outcome, Overflow, RunKey, RunState};
use redpoll_manager_core::jobs::record::{CallbackState, RunRecord};

use super::invariant::{Check, Invariant, ensure};
use super::world::World;

impl World {
    /// Everything that can be seen from outside.
    pub(super) fn judge(&mut self) -> Check {
        self.judge_leaps()?;
        self.judge_queues()?;
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        self.judge_count()?;
        self.manager.store.check_queues()?;
        for job in self.manager.store.take_touched() {
            let store = &self.manager.store;
            store.check(job)?;
            for run in store.runs_of(job) {
                if let RunState::Ended(end) = &run.state {
                    self.judge_end(run, end)?;
                }
            }
            for (id, callback) in store.callbacks.range((job, 0)..=(job, u32::MAX)) {
                let taken = self.callbacks_taken.contains(id);
                ensure(callback.state != CallbackState::Delivered || taken, Invariant::CallbackOnce, || {
                    format!("callback {id:?} was delivered, and nobody took it")
                })?;
            }
        }
        self.judge_running()
    }

    /// Nothing that was acknowledged is lost: looked at when the manager comes back, and at the end.
    pub(super) fn judge_acknowledged(&self) -> Check {
        let store = &self.manager.store;
        self.operators.acknowledged.iter().try_for_each(|job| {
            let there = store.jobs.contains_key(job) || store.deleted.contains(job);
            ensure(there, Invariant::AcknowledgedIsStored, || format!("{job} was acknowledged and is lost"))
        })
    }

    /// The end of a run against what the oracle saw.
    fn judge_end(&self, run: &RunRecord, end: &Ending) -> Check {
        let RunKey { job, agent } = &run.key;
        if self.operators.is_recorded(*job) {
            return Ok(());
        }
        let ever = self.oracle.ever(*job, agent);
        let seen = self.oracle.of(&(*job, agent.clone(), run.attempt));
        let starts = seen.map_or(0, |seen| seen.starts);
        let exit = seen.and_then(|seen| seen.exit);
        let killed = self.operators.spec(*job).is_some_and(|spec| spec.limits.overflow == Overflow::Kill)
            || self.operators.plan(*job).is_some_and(|plan| plan.item_bytes > 4_000);
        let asked = self.operators.cancel_asked.contains(&(*job, agent.clone()));
        let first = run.earlier.is_none();
        let wrong = match end.outcome {
            Outcome::Succeeded if starts != 1 || exit != Some(true) => Some("succeeded, and did not"),
            Outcome::Failed if first && (starts != 1 || !(exit == Some(false) || killed)) => {
                Some("failed, and did not")
            }
            Outcome::TimedOut if first && starts != 1 => Some("timed out, and never ran"),
            Outcome::Rejected | Outcome::Expired if end.started != Some(false) => {
                Some("never ran, it says, or may have")
            }
            Outcome::Cancelled if !asked => Some("was cancelled by nobody"),
            Outcome::Unknown if end.started == Some(false) => Some("is unknown, and never ran"),
            Outcome::Succeeded
            | Outcome::Failed
            | Outcome::TimedOut
            | Outcome::Rejected
            | Outcome::Expired
            | Outcome::Cancelled
            | Outcome::Unknown => None,
        };
        let blames_spool = end.fault.as_ref().is_some_and(|fault| fault.message.contains("spool_lost"));
        let lost = self.agents.iter().any(|host| host.id == *agent && host.lost_spool);
        ensure(lost || !blames_spool, Invariant::TruthfulEnd, || {
            format!("{}: the spool of {agent} is blamed, and was never lost", run.key)
        })?;
        ensure(wrong.is_none(), Invariant::TruthfulEnd, || {
            format!(
                "{}: {} {} (started {starts} times, exit {exit:?})",
                run.key,
                end.outcome,
                wrong.unwrap_or_default()
            )
        })?;
        match end.started {
            Some(false) => {
                let invariant = if end.outcome == Outcome::Cancelled {
                    Invariant::CancelHolds
                } else {
                    Invariant::TruthfulEnd
                };
                ensure(ever == 0, invariant, || {
                    format!("{} never started, it says: {}", run.key, end.outcome)
                })?;
            }
            Some(true) => ensure(ever > 0, Invariant::TruthfulEnd, || format!("{} never started", run.key))?,
            None => {}
        }
        if end.outcome == Outcome::TimedOut && first {
            self.judge_timeout(&run.key, run.attempt)?;
        }
        if end.outcome == Outcome::Succeeded { self.judge_items(run, end) } else { Ok(()) }
    }

    /// A run that succeeded has everything that it wrote, or says what is missing.
    fn judge_items(&self, run: &RunRecord, end: &Ending) -> Check {
        let items = self.manager.store.items(&run.key, run.attempt);
        let kept = items.iter().filter(|item| item.kind != ItemKind::Truncated).count();
        let written = self.oracle.of(&(run.key.job, run.key.agent.clone(), run.attempt));
        let written = written.map_or(0, |seen| seen.written.len());
        let whole = kept == written || (kept < written && kept < items.len());
        let counted = end.items == items.len() as u64;
        ensure(whole && counted, Invariant::GaplessItems, || {
            format!("{} wrote {written} items; {} are stored and {} counted", run.key, items.len(), end.items)
        })
    }

    /// What runs holds its slot, unless nobody can know or it was given up for another attempt.
    fn judge_running(&self) -> Check {
        for (job, agent, attempt) in self.oracle.running() {
            let store = &self.manager.store;
            let (Some(row), Some(job)) = (store.run_of(*job, agent), store.jobs.get(job)) else { continue };
            let holds = row.state.dispatch().is_some_and(|(held, _)| held == *attempt);
            let unknown = matches!(&row.state, RunState::Ended(end) if end.outcome == Outcome::Unknown);
            let current = row.attempt == *attempt && row.earlier.is_none();
            let given_up = job.idempotent && !current;
            // a program that lost its agent, and of which the records say that nobody knows, runs on unseen
            ensure(holds || unknown || given_up, Invariant::SlotsHold, || {
                format!("attempt {attempt} of {} runs while the run is {}", row.key, row.state.word())
            })?;
        }
        Ok(())
    }

    /// What an attempt's reader sees at one place.
    pub(super) fn judge_item(&self, key: &RunKey, attempt: Attempt, n: usize, truncated: bool) -> Check {
        let items = self.manager.store.items(key, attempt);
        let known = !self.operators.is_recorded(key.job);
        let Some(item) = items.get(n).filter(|_| known) else { return Ok(()) };
        let seen = self.oracle.of(&(key.job, key.agent.clone(), attempt));
        let written = seen.and_then(|seen| seen.written.get(n));
        let right = match item.kind {
            ItemKind::Truncated => true,
            ItemKind::Value | ItemKind::Stdout | ItemKind::Stderr => {
                !truncated && written.is_some_and(|(kind, data)| (*kind, data) == (item.kind, &item.data))
            }
        };
        ensure(right && item.n == n as u64, Invariant::GaplessItems, || {
            format!(
                "a reader of {key}, attempt {attempt}, sees item {} at {n}, which is not what was written",
                item.n
            )
        })
    }
}
