//! Ends runs on request: at once where none has started, through the agent where one may have.

use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{JobId, Outcome, Submitter};

use super::Jobs;
use super::criteria::{Criteria, MAX_COMPARISONS};
use super::effect::{Answer, Cancelled, Effect, REACHED, Reached, Refusal};
use super::input::Scope;
use super::model::{At, Phase};
use super::record::{Cancelling, EventKind};
use super::view::RunView;

fn number(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

impl<T> Jobs<T> {
    /// Ends what is in scope, all in one step: nothing that waits starts because something else in scope ended.
    ///
    /// Asking twice is asking once: the second time tells the agents again, and is written down only where the new grace is shorter, which
    /// counts. Without `cancelling` it is only said what would be reached.
    pub(super) fn cancel(
        &mut self,
        token: T,
        scope: &Scope,
        cancelling: Option<Cancelling>,
        by: Option<&Submitter>,
        now_ms: u64,
    ) {
        if let Scope::Where(criteria) = scope {
            let comparisons = self.comparisons(criteria);
            if comparisons > MAX_COMPARISONS {
                let limit = MAX_COMPARISONS;
                return self.answer(token, Err(Refusal::TooManyComparisons { comparisons, limit }));
            }
        }
        let Some(mut places) = self.places_in(scope) else {
            return self.answer(token, Err(Refusal::NotOpen));
        };
        places.sort();
        let (mut result, mut told) = (Cancelled::default(), None);
        for at in places {
            let Some(phase) = self.run(at).map(|run| run.phase).filter(|phase| !phase.is_ended()) else {
                continue;
            };
            if result.runs.len() < REACHED {
                result.runs.extend(self.reached(at));
            }
            if result.jobs.last() != Some(&at.job) {
                result.jobs.push(at.job);
            }
            if phase.is_dispatched() {
                result.asked += 1;
            } else {
                result.ended += 1;
            }
            if let Some(cancelling) = cancelling {
                let news = !self.was_asked(at, cancelling);
                // once for a job, and before what follows from it
                if news && told.replace(at.job) != Some(at.job) {
                    self.job_event(at.job, EventKind::CancelAsked, by, now_ms);
                }
                self.cancel_run(at, phase, news.then_some(cancelling), cancelling.grace_ms, now_ms);
            }
        }
        self.answer(token, Ok(Answer::Cancelled(result)));
    }

    /// How often criteria compare, at most: with each open job, and with each open run.
    fn comparisons(&self, criteria: &Criteria) -> u64 {
        let each = criteria.comparisons();
        let of_jobs = self.open_jobs().map(|job| each.with_job(job.record.spec.info.len()));
        let of_runs = each.of_run.saturating_mul(number(self.open_runs));
        of_jobs.fold(of_runs, u64::saturating_add)
    }

    fn reached(&self, at: At) -> Option<Reached> {
        let job = self.jobs.get(&at.job)?;
        let run = job.run(at.index)?.view(job.agent(at.index)?);
        let (agent, state, attempt) = (run.agent.clone(), run.state, run.attempt);
        Some(Reached { job: at.job, agent, state, attempt })
    }

    /// Whether the same, or an earlier end, was asked for of a run that its agent has.
    fn was_asked(&self, at: At, cancelling: Cancelling) -> bool {
        let Some(job) = self.jobs.get(&at.job) else { return false };
        let of_job = job.record.spec.limits.grace.map(|grace| grace.as_millis());
        // without either it is the agent's, to which a longer one is cut
        let grace = |asked: Cancelling| asked.grace_ms.map(u128::from).or(of_job).unwrap_or(u128::MAX);
        let before = job.run(at.index).filter(|run| run.phase.is_dispatched()).and_then(|run| run.cancel);
        before.is_some_and(|before| grace(before) <= grace(cancelling))
    }

    /// Ends a run, or has its agent end it, which hears the grace that is asked for now; what is `new` is kept.
    fn cancel_run(
        &mut self,
        at: At,
        phase: Phase,
        new: Option<Cancelling>,
        grace_ms: Option<u32>,
        now_ms: u64,
    ) {
        if !phase.is_dispatched() {
            return self.end_unstarted(at, Outcome::Cancelled, "cancelled before it started", now_ms);
        }
        let Some(job) = self.jobs.get_mut(&at.job) else { return };
        let Some(agent) = job.agent(at.index).cloned() else { return };
        let Some(run) = job.run_mut(at.index) else { return };
        let about = RunRef { job: at.job, attempt: run.attempt, dno: run.dno };
        if new.is_some() {
            run.cancel = new;
            self.write(at);
        }
        // when it is in doubt, the answer to the agent's next resume says it, with the grace
        if phase != Phase::InDoubt
            && let Some(connection) = self.agents.get(&agent).and_then(|entry| entry.connection())
        {
            self.effects.push(Effect::CancelOnAgent { agent, connection, run: about, grace_ms });
        }
    }

    fn places_in(&self, scope: &Scope) -> Option<Vec<At>> {
        let all = |id: &JobId| self.jobs.get(id).filter(|job| job.summary.open > 0).map(|job| job.places());
        match scope {
            Scope::Run(id, agent) => {
                let at = self.place(*id, agent)?;
                self.run(at).is_some_and(|run| !run.phase.is_ended()).then(|| vec![at])
            }
            Scope::Job(id) => Some(all(id)?.collect()),
            Scope::Queue(key) => {
                let queue = self.queues.get(key);
                let waiting = queue.iter().flat_map(|queue| queue.waiting.values().copied());
                Some(waiting.chain(queue.iter().flat_map(|queue| queue.slots.iter().copied())).collect())
            }
            Scope::Where(criteria) => {
                let mut places = Vec::new();
                for job in self.open_jobs() {
                    let of_runs = criteria.of_runs(&job);
                    let id = job.record.id;
                    let meets = |run: &RunView<'_>| run.outcome.is_none() && of_runs.meets(run);
                    let runs = (0..).zip(job.runs()).filter(|(_, run)| meets(run));
                    places.extend(runs.map(|(index, _)| At { job: id, index }));
                }
                Some(places)
            }
        }
    }
}
