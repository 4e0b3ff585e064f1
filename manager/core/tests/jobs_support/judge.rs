//! What may be concluded from outside, after each step and at the end.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::SpoolState;
use redpoll_common::job::{JobId, Outcome, RunKey, RunState};
use redpoll_manager_core::jobs::record::RunRecord;
use redpoll_manager_core::jobs::{Answer, Effect, Input, Refusal, Turn};

use super::world::{Token, World};

impl World {
    /// Nothing starts before something that was there first and could start; nothing waits that could start.
    pub(super) fn check_order(&self, turn: &Turn<Token>, held: &BTreeSet<RunKey>) {
        let unanswered = |agent: &PeerId| {
            self.ahead
                .runs
                .values()
                .filter(|run| run.key.agent == *agent && matches!(run.state, RunState::Offered(..)))
                .count()
        };
        let could = |run: &&RunRecord| {
            matches!(run.state, RunState::Queued)
                && run.not_before_ms <= self.now
                && self.live.contains(&run.key.agent)
                && unanswered(&run.key.agent) < self.settings.offers_per_agent + self.reserve(run)
        };
        for effect in &turn.effects {
            let Effect::Offer(offer) = effect else { continue };
            let row = self.ahead.run_of(offer.run.job, &offer.agent).unwrap();
            if held.contains(&row.key) {
                continue; // offered again
            }
            let queue = offer.spec.queue.as_ref().map(|queue| &queue.name);
            for other in self.ahead.runs.values().filter(could) {
                let theirs = self.ahead.jobs[&other.key.job].spec.queue.as_ref().map(|queue| &queue.name);
                assert!(
                    theirs != queue || queue.is_none() || other.seq > row.seq,
                    "{} overtook {}",
                    row.key,
                    other.key
                );
            }
        }
        for run in self.ahead.runs.values().filter(could) {
            let free = self.ahead.jobs[&run.key.job].spec.queue.as_ref().is_none_or(|queue| {
                let taken = self.ahead.of_queue(&queue.name).filter(|run| run.state.holds_slot()).count();
                taken < self.ahead.queues[&queue.name].concurrency as usize
            });
            assert!(!free, "{} could start and waits", run.key);
        }
    }

    fn reserve(&self, run: &RunRecord) -> usize {
        let admin = self.ahead.jobs[&run.key.job].is_admin_on(&run.key.agent);
        if admin { self.settings.admin_reserve } else { 0 }
    }

    /// What records and the world must agree on.
    pub(super) fn check(&self) {
        for (key, run) in &self.store.runs {
            let RunState::Ended(end) = &run.state else { continue };
            let starts = self.starts(key, run.attempt);
            let all = |(job, agent, _): &&(JobId, PeerId, _)| (*job, agent) == (key.job, &key.agent);
            let ever: u32 =
                self.oracle.starts.iter().filter(|(run, _)| all(run)).map(|(_, count)| count).sum();
            match end.outcome {
                Outcome::Succeeded => assert_eq!(starts, 1, "{key} succeeded and was not started"),
                Outcome::Failed | Outcome::TimedOut if run.earlier.is_none() => {
                    assert_eq!(starts, 1, "{key} failed and was not started");
                }
                Outcome::Failed | Outcome::TimedOut | Outcome::Unknown => {}
                Outcome::Rejected | Outcome::Expired => {
                    assert_eq!((ever, end.started), (0, Some(false)), "{key} says that it never ran");
                }
                Outcome::Cancelled if end.started == Some(false) => {
                    assert_eq!(ever, 0, "{key} was cancelled before it started, and started");
                }
                Outcome::Cancelled if end.started == Some(true) => {
                    assert!(ever > 0, "{key} was cancelled while it ran")
                }
                Outcome::Cancelled => {}
            }
            if end.outcome == Outcome::Succeeded {
                let written =
                    self.oracle.written.get(&(key.job, key.agent.clone(), run.attempt)).copied().unwrap_or(0);
                assert_eq!(end.items, written, "{key} lost items");
            }
        }
        for (id, agent, attempt, dno) in &self.oracle.running {
            let Some(run) = self.store.run_of(*id, agent) else { continue };
            let unknown = matches!(&run.state, RunState::Ended(end) if end.outcome == Outcome::Unknown);
            let holds = run.state.dispatch() == Some((*attempt, *dno));
            // what may be repeated may overlap with what was given up, never with itself
            let current = (run.attempt, run.dno) == (*attempt, *dno) && run.earlier.is_none();
            let given_up = self.store.jobs[id].idempotent && !current;
            assert!(holds || unknown || given_up, "{} runs and holds no slot", run.key);
        }
    }

    fn starts(&self, key: &RunKey, attempt: redpoll_common::job::Attempt) -> u32 {
        self.oracle.starts.get(&(key.job, key.agent.clone(), attempt)).copied().unwrap_or(0)
    }

    /// Faults stop: everything has to come to its end.
    pub(crate) fn calm_down(&mut self) {
        for place in 0..self.agents.len() {
            self.connect(place);
        }
        for round in 0..4_000_u16 {
            let held: Vec<JobId> =
                self.ahead.jobs.values().filter(|job| job.is_held()).map(|job| job.id).collect();
            for id in held {
                self.handle(Input::Release {
                    token: Token::Operator { key: None },
                    job: id,
                    away: BTreeSet::new(),
                    by: None,
                });
            }
            self.notice();
            for place in 0..self.agents.len() {
                self.deliver(place);
                self.agents[place].receive(7, &mut self.oracle);
                for dno in self.agents[place].rows.keys().copied().collect::<Vec<_>>() {
                    self.agents[place].start(dno, &mut self.oracle);
                    if round % 3 == 0 && self.agents[place].rows[&dno].state == SpoolState::Running {
                        self.agents[place].end(dno, Outcome::Succeeded, Some(true), &mut self.oracle);
                    }
                    if self.agents[place].outbox.is_empty() {
                        self.agents[place].report(dno, false, false);
                    }
                }
            }
            while !self.turns.is_empty() {
                self.commit();
            }
            if round % 16 == 15 {
                self.sleep(5_000);
            }
            self.check();
            if self.jobs.open_runs() == 0 && self.turns.is_empty() {
                break;
            }
        }
        let open: Vec<_> = self
            .store
            .runs
            .values()
            .filter(|run| !matches!(run.state, RunState::Ended(_)))
            .map(|run| (&run.key, &run.state))
            .collect();
        assert!(open.is_empty(), "still open: {open:?}");
        assert!(self.store.queues.is_empty(), "a queue is left");
        assert!(self.jobs.queues().next().is_none());
    }

    /// What happened, for the test to see that it sees enough.
    pub(crate) fn tally(&self, tally: &mut BTreeMap<String, u32>) {
        for event in &self.store.events {
            let outcome = event.outcome.map(|outcome| format!(" {outcome}")).unwrap_or_default();
            *tally.entry(format!("{}{outcome}", event.kind.as_str())).or_default() += 1;
        }
    }

    /// An id that was given out stays the id of its key.
    pub(super) fn answered(&mut self, token: &Token, answer: Result<Answer, Refusal>) {
        let (Token::Operator { key: Some(key) }, Ok(Answer::Submitted { job, .. })) = (token, &answer) else {
            if let Ok(Answer::Submitted { job, .. }) = answer {
                self.acknowledged.insert(job);
            }
            return;
        };
        self.acknowledged.insert(*job);
        let before = self.keys.insert(key.clone(), *job);
        if let Some(before) = before.filter(|before| before != job) {
            assert!(self.store.deleted.contains(&before), "one key, two jobs: {before} and {job}");
        }
    }
}
