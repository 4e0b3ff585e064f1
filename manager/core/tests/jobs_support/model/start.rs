//! What starts when, what waits for too long, and which queues there are.

use std::collections::BTreeMap;

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Dno, Outcome, QueueKey};
use redpoll_manager_core::jobs::{Offer, Whose};

use super::{At, End, Link, Model, Run, State};

impl Model {
    fn run_of(&self, at: At) -> &Run {
        &self.jobs[at.0].runs[at.1]
    }

    pub(super) fn is_admin(&self, at: At) -> bool {
        self.jobs[at.0].submit.admin.contains(&self.run_of(at).agent)
    }

    fn could_start(&self, at: At) -> bool {
        let (job, run) = (&self.jobs[at.0], &self.jobs[at.0].runs[at.1]);
        let agent = self.agents.iter().find(|agent| agent.id == run.agent).unwrap();
        let has = self.has(&run.agent);
        let unanswered = has.iter().filter(|at| self.jobs[at.0].runs[at.1].state == State::Offered).count();
        let slot = self.queues.iter().find(|(key, _)| Some(key) == job.queue()).is_none_or(|(key, width)| {
            let of_queue = self.jobs.iter().filter(|job| job.queue() == Some(key)).flat_map(|job| &job.runs);
            of_queue.filter(|run| run.is_out()).count() < *width as usize
        });
        let reserve = if self.is_admin(at) { self.settings.admin_reserve } else { 0 };
        let room = unanswered < self.settings.offers_per_agent + reserve
            && has.len() < self.settings.runs_per_agent + reserve;
        let takes = agent.link == Link::Live && agent.stops.is_none();
        run.state == State::Queued && run.not_before <= self.now && takes && room && slot
    }

    /// An agent may have what it is to be offered again, unless its time is over.
    pub(crate) fn offer_again(&mut self, at: At, same: Option<u64>) {
        if self.jobs[at.0].deadline().is_some_and(|deadline| deadline <= self.now) {
            self.end(at, Outcome::Expired, Some(false));
        } else {
            self.again.push((at, same));
        }
    }

    /// What waits for too long expires, what is in doubt for too long is unknown.
    pub(crate) fn pass(&mut self, now: u64) {
        self.now = now;
        self.waits_end();
        for at in self.all() {
            let late = self.jobs[at.0].deadline().is_some_and(|deadline| deadline <= now);
            let run = self.run(at).clone();
            // neither begins it anew, but agents may return first
            let given_up = self.settings.unknown_after_ms.is_some_and(|after| {
                (run.doubt + after).max(self.back + after.min(self.settings.return_ms)) <= now
            });
            if run.state == State::Queued && late {
                self.end(at, Outcome::Expired, Some(false));
            } else if run.state == State::Doubt && given_up {
                self.unknown(at);
            }
        }
        if self.prune_at <= now {
            self.prune_at = now + self.settings.prune_every_ms;
            self.find_oldest(Whose::Operators);
            self.find_oldest(Whose::Agents);
        }
    }

    pub(crate) fn find_oldest(&mut self, whose: Whose) {
        let said = format!("oldest {whose:?}");
        if self.finding.insert(whose) {
            self.said.push(said);
        }
    }

    pub(crate) fn unknown(&mut self, at: At) {
        let started = self.run(at).started.then_some(true);
        self.conclude(at, End { outcome: Outcome::Unknown, started, passing: false, stops: false, hint: 0 });
        let run = self.run(at);
        run.given_up |= run.state == State::Queued;
    }

    /// Follows the machine's offers, each of which has to be the next of its queue, and sees that nothing waits that could start.
    pub(crate) fn follow(&mut self, offers: &[Offer]) {
        for job in &self.jobs {
            let in_queue = |run: &Run| run.is_out() || run.state == State::Queued;
            if let Some(queue) = job.submit.spec.queue.as_ref()
                && job.runs.iter().any(in_queue)
                && !self.queues.iter().any(|(key, _)| *key == queue.name)
            {
                self.queues.push((queue.name.clone(), queue.concurrency.max(1)));
            }
        }
        let mut numbers: BTreeMap<PeerId, Dno> = BTreeMap::new();
        for offer in offers {
            let RunRef { job: id, attempt, dno } = offer.run;
            let before = numbers.insert(offer.agent.clone(), dno);
            assert!(before.is_none_or(|before| before < dno), "{dno} was offered after {before:?}");
            let at = self.find(id, &offer.agent).unwrap();
            let again = self.again.iter().position(|(other, _)| *other == at);
            let (connection, next) = (self.agent(&offer.agent).connection, self.agent(&offer.agent).last + 1);
            let wanted = match again.map(|place| self.again.remove(place).1) {
                Some(same) => (self.run(at).attempt, same.unwrap_or(next)),
                None => {
                    assert!(self.again.is_empty() && self.could_start(at), "{id} cannot start now");
                    let (queue, run) = (self.jobs[at.0].queue(), self.run_of(at));
                    for other in self.all().into_iter().filter(|other| self.could_start(*other)) {
                        let (theirs, first) = (self.jobs[other.0].queue(), self.run_of(other));
                        let beside = theirs == queue && (queue.is_some() || first.agent == run.agent);
                        // what looks after the machine goes before what has no queue either
                        let order = |at| (queue.is_none() && !self.is_admin(at), self.run_of(at).seq);
                        assert!(!beside || order(other) >= order(at), "{id} overtook another");
                    }
                    (run.attempt + 1, next)
                }
            };
            assert_eq!((attempt.0, dno.0, offer.connection.0), (wanted.0, wanted.1, connection), "{id}");
            self.agent(&offer.agent).last = dno.0.max(next - 1);
            let run = self.run(at);
            (run.state, run.attempt, run.dno, run.not_before, run.items) =
                (State::Offered, attempt.0, dno.0, 0, 0);
            (run.accepted, run.started, run.given_up) = (false, false, false);
            run.absent = [run.absent[1], false];
        }
        assert!(self.again.is_empty(), "{:?} are not offered again", self.again);
        for at in self.all() {
            assert!(!self.could_start(at), "{:?} could start and waits", self.jobs[at.0].submit.id);
        }
        let used = |key: &QueueKey| {
            let of_queue = self.jobs.iter().filter(|job| job.queue() == Some(key)).flat_map(|job| &job.runs);
            of_queue.into_iter().any(|run| run.is_out() || run.state == State::Queued)
        };
        let kept: Vec<_> = self.queues.iter().filter(|(key, _)| used(key)).cloned().collect();
        self.queues = kept;
    }
}
