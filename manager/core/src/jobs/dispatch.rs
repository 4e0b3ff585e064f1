//! Decides what starts: first in, first out among the runs that can, as many as queues and agents allow.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Attempt, Dno, Outcome, QueueKey};

use super::Jobs;
use super::agents::{Agent, Link};
use super::effect::{Effect, Offer};
use super::model::{At, Class, Phase, Queue, stamp};
use super::record::{Change, EventKind, QueueRecord};

impl<T> Jobs<T> {
    /// Starts what can start after something changed, and closes queues that are empty.
    pub(super) fn settle(&mut self, now_ms: u64) {
        loop {
            if let Some(queue) = self.dirty_queues.pop_first() {
                self.pump_queue(&queue, now_ms);
            } else if let Some(agent) = self.dirty_agents.pop_first() {
                self.pump_agent(&agent, now_ms);
            } else {
                return;
            }
        }
    }

    fn pump_queue(&mut self, key: &QueueKey, now_ms: u64) {
        while let Some(queue) = self.queues.get_mut(key)
            && queue.has_slot()
            && let Some((seq, agent, class)) = queue.heads.first().cloned()
        {
            if self.takes_offers(&agent, class) {
                match self.in_lane(&agent, class, key, seq) {
                    Some(at) => self.offer_next(at, now_ms),
                    None => self.forget_head(key, seq, &agent, class),
                }
            } else {
                self.forget_head(key, seq, &agent, class);
                if let Some(entry) = self.agents.get_mut(&agent).filter(|entry| entry.takes()) {
                    entry.blocked.insert((class, seq, key.clone()));
                }
            }
        }
        if self.queues.get(key).is_some_and(Queue::is_empty) {
            self.queues.remove(key);
            self.changes.push(Change::QueueClosed(key.clone()));
            self.event(now_ms, EventKind::QueueClosed, |event| event.queue = Some(key.clone()));
        }
    }

    fn forget_head(&mut self, key: &QueueKey, seq: u64, agent: &PeerId, class: Class) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.heads.remove(&(seq, agent.clone(), class));
        }
    }

    /// Offers an agent what waits for it alone, and lets go on the queues that waited for it: first what looks after the machine, of
    /// each class the earliest first.
    fn pump_agent(&mut self, agent: &PeerId, now_ms: u64) {
        for class in Class::ALL {
            self.pump_class(agent, class, now_ms);
        }
    }

    fn pump_class(&mut self, agent: &PeerId, class: Class, now_ms: u64) {
        while self.takes_offers(agent, class) {
            let direct = self.next_direct(agent, class);
            let blocked = self.agents.get(agent).and_then(|entry| entry.blocked_of(class));
            match (direct, blocked) {
                (Some((_, at)), None) => self.offer_next(at, now_ms),
                (Some((seq, at)), Some((other, _))) if seq < other => self.offer_next(at, now_ms),
                (_, Some((seq, queue))) => {
                    // of both classes: there may be room for both, and in its queue each run waits for its turn
                    self.unblock(agent, &queue);
                    if let Some(entry) = self.agents.get_mut(agent) {
                        entry.blocked.remove(&(class, seq, queue.clone()));
                    }
                    self.pump_queue(&queue, now_ms);
                }
                (None, None) => return,
            }
        }
    }

    fn takes_offers(&self, agent: &PeerId, class: Class) -> bool {
        let reserve = match class {
            Class::Admin => self.settings.admin_reserve,
            Class::Ordinary => 0,
        };
        let offers = self.settings.offers_per_agent.saturating_add(reserve);
        let runs = self.settings.runs_per_agent.saturating_add(reserve);
        let room = |entry: &Agent| entry.unanswered < offers && entry.has.len() < runs;
        self.agents.get(agent).is_some_and(|entry| entry.takes() && room(entry))
    }

    /// Offers a waiting run as its next attempt.
    fn offer_next(&mut self, at: At, now_ms: u64) {
        let attempt = self.run(at).map_or(Attempt(1), |run| Attempt(run.attempt.0.saturating_add(1)));
        self.offer(at, attempt, None, now_ms);
    }

    /// Offers a run, unless its time is over: under the number it has, or under a new one.
    ///
    /// Whoever calls has made sure that the agent never saw the run, or never will accept it, under an earlier number.
    pub(super) fn offer(&mut self, at: At, attempt: Attempt, same: Option<Dno>, now_ms: u64) {
        if self.is_late(at, now_ms) {
            self.end_unstarted(at, Outcome::Expired, "start_within passed before the agent took it", now_ms);
            return;
        }
        let Some(agent) = self.job_of(at).and_then(|job| job.agent(at.index)).cloned() else { return };
        let entry = self.agent_mut(&agent);
        let Link::Live(connection) = entry.link else { return };
        let dno = same.unwrap_or_else(|| entry.next_dno());
        if same.is_none() {
            entry.counters.last_dno = dno;
            let counters = entry.counters.clone();
            self.changes.push(Change::AgentCounters(counters));
        }
        self.change(at, now_ms, |run| {
            run.phase = Phase::Offered;
            (run.attempt, run.dno) = (attempt, dno);
            (run.items, run.not_before, run.was_absent) = (0, 0, false);
            (run.offered, run.accepted, run.started, run.doubt) = (stamp(now_ms), None, None, None);
        });
        self.write(at);
        let Some(job) = self.job_of(at) else { return };
        let offer = Offer {
            agent,
            connection,
            run: RunRef { job: at.job, attempt, dno },
            spec: job.record.spec.clone(),
            start_by_ms: job.deadline(),
            submitter: job.record.submitter.clone(),
        };
        self.effects.push(Effect::Offer(Box::new(offer)));
    }

    /// Makes a queue, as the first of its runs asks.
    pub(super) fn make_queue(&mut self, key: &QueueKey, concurrency: u32, now_ms: u64) {
        let record = QueueRecord { key: key.clone(), concurrency, opened_ms: now_ms };
        self.restore_queue(&record);
        self.changes.push(Change::QueueOpened(record));
        self.event(now_ms, EventKind::QueueOpened, |event| event.queue = Some(key.clone()));
    }

    pub(super) fn restore_queue(&mut self, record: &QueueRecord) {
        let queue = Queue {
            concurrency: record.concurrency.max(1),
            opened_ms: record.opened_ms,
            waiting: BTreeMap::new(),
            slots: BTreeSet::new(),
            heads: BTreeSet::new(),
        };
        self.queues.insert(record.key.clone(), queue);
    }
}
