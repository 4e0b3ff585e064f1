//! Keeps every index in step with the runs: what waits where, who has what, what is due.
//!
//! A run changes between [`Jobs::unlink`] and [`Jobs::link`], nowhere else. Both take O(log n).
//!
//! What can start is found without looking at what cannot: the waiting runs of one agent and class in one queue are a lane, and
//! of each lane whose agent takes offers the first one is in the queue's `heads`, or, when the agent has no room for its class,
//! in the agent's `blocked`.

use std::mem;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Dno, QueueKey};

use super::Jobs;
use super::agents::Agent;
use super::model::{At, Class, Job, LaneKey, Phase, Queue, Run, Timer};
use super::put_back::PutOff;

impl<T> Jobs<T> {
    pub(super) fn run(&self, at: At) -> Option<&Run> {
        self.jobs.get(&at.job)?.run(at.index)
    }

    /// Takes a run out of all indices, changes it, and enters it again. `None` if there is no such run.
    pub(super) fn change(&mut self, at: At, now_ms: u64, change: impl FnOnce(&mut Run)) -> Option<()> {
        self.unlink(at)?;
        self.jobs.get_mut(&at.job)?.change(at.index, change)?;
        self.link(at, now_ms)
    }

    fn unlink(&mut self, at: At) -> Option<()> {
        let job = self.jobs.get(&at.job)?;
        let (run, agent, queue) = (job.run(at.index)?, job.agent(at.index)?.clone(), job.queue().cloned());
        let (phase, dno, seq, class) = (run.phase, run.dno, run.seq, job.class(at.index));
        match phase {
            Phase::Held | Phase::Ended(_) => {}
            Phase::Queued => {
                let (expire, retry) = (job.deadline(), run.not_before);
                self.timers.remove(&(retry, Timer::Retry(at)));
                let crowd = job.crowd(at.index, run.put_off);
                if let Some(agent) = self.agents.get_mut(&agent) {
                    agent.asked.remove(&at);
                    if let Some(crowd) = crowd {
                        agent.crowded.remove(&(crowd, seq));
                    }
                }
                if let Some(expire) = expire {
                    self.timers.remove(&(expire, Timer::Expire(at)));
                }
                if let Some(queue) = queue.as_ref().and_then(|queue| self.queues.get_mut(queue)) {
                    queue.waiting.remove(&seq);
                }
                self.leave_lane(LaneKey { agent: agent.clone(), class, queue: queue.clone(), seq });
            }
            Phase::Offered | Phase::Accepted | Phase::Running | Phase::InDoubt => {
                if let Some(due) = run.doubt.and_then(|since| self.give_up_at(since.get())) {
                    self.timers.remove(&(due, Timer::GiveUp(at)));
                }
                if let Some(agent) = self.agents.get_mut(&agent) {
                    agent.has.remove(&dno);
                    agent.unanswered -= usize::from(phase == Phase::Offered);
                }
                if let Some(key) = &queue {
                    if let Some(queue) = self.queues.get_mut(key) {
                        queue.slots.remove(&at);
                    }
                    self.unblock(&agent, key);
                }
            }
        }
        self.dirty_agents.insert(agent);
        self.dirty_queues.extend(queue);
        Some(())
    }

    /// Enters a run by its phase.
    pub(super) fn link(&mut self, at: At, now_ms: u64) -> Option<()> {
        let job = self.jobs.get(&at.job)?;
        let (run, agent, queue) = (job.run(at.index)?, job.agent(at.index)?.clone(), job.queue().cloned());
        let (phase, dno, seq, class) = (run.phase, run.dno, run.seq, job.class(at.index));
        match phase {
            Phase::Held | Phase::Ended(_) => {}
            Phase::Queued => {
                let (expire, retry, crowd) =
                    (job.deadline(), run.not_before, job.crowd(at.index, run.put_off));
                let asked = run.put_off == PutOff::Asked;
                if let Some(expire) = expire {
                    self.timers.insert((expire, Timer::Expire(at)));
                }
                if let Some(queue) = &queue {
                    self.open_queue(queue, at, now_ms)?.waiting.insert(seq, at);
                }
                if retry > now_ms {
                    self.timers.insert((retry, Timer::Retry(at)));
                    if let Some(crowd) = crowd {
                        self.agent_mut(&agent).crowded.insert((crowd, seq), at);
                    } else if asked {
                        self.agent_mut(&agent).asked.insert(at);
                    }
                } else {
                    self.enter_lane(LaneKey { agent: agent.clone(), class, queue: queue.clone(), seq }, at);
                }
            }
            Phase::Offered | Phase::Accepted | Phase::Running | Phase::InDoubt => {
                if let Some(due) = run.doubt.and_then(|since| self.give_up_at(since.get())) {
                    self.timers.insert((due, Timer::GiveUp(at)));
                }
                let has = self.agent_mut(&agent);
                has.has.insert(dno, at);
                has.unanswered += usize::from(phase == Phase::Offered);
                if let Some(queue) = &queue {
                    self.open_queue(queue, at, now_ms)?.slots.insert(at);
                }
            }
        }
        self.dirty_agents.insert(agent);
        self.dirty_queues.extend(queue);
        Some(())
    }

    /// The agent's entry, made if there is none.
    pub(super) fn agent_mut(&mut self, agent: &PeerId) -> &mut Agent {
        self.agents.entry(agent.clone()).or_insert_with(|| Agent::new(agent.clone()))
    }

    /// The queue, made with the concurrency of the run's job if there is none.
    fn open_queue(&mut self, key: &QueueKey, at: At, now_ms: u64) -> Option<&mut Queue> {
        if !self.queues.contains_key(key) {
            let concurrency = self.jobs.get(&at.job)?.record.spec.queue.as_ref()?.concurrency.max(1);
            self.make_queue(key, concurrency, now_ms);
        }
        self.queues.get_mut(key)
    }

    fn lane_head(&self, agent: &PeerId, class: Class, queue: Option<&QueueKey>) -> Option<(u64, At)> {
        let from = LaneKey { agent: agent.clone(), class, queue: queue.cloned(), seq: 0 };
        let (key, at) = self.lanes.range(from..).next()?;
        (key.agent == *agent && key.class == class && key.queue.as_ref() == queue).then_some((key.seq, *at))
    }

    fn enter_lane(&mut self, key: LaneKey, at: At) {
        let head = self.lane_head(&key.agent, key.class, key.queue.as_ref()).map(|(seq, _)| seq);
        if head.is_none_or(|head| key.seq < head) {
            self.move_head(&key, head, Some(key.seq));
        }
        self.lanes.insert(key, at);
    }

    fn leave_lane(&mut self, key: LaneKey) {
        if self.lanes.remove(&key).is_none() {
            return;
        }
        let next = self.lane_head(&key.agent, key.class, key.queue.as_ref()).map(|(seq, _)| seq);
        if next.is_none_or(|next| key.seq < next) {
            self.move_head(&key, Some(key.seq), next);
        }
    }

    /// Another run is the first of a lane now. Of no effect when the agent takes no offers.
    fn move_head(&mut self, lane: &LaneKey, old: Option<u64>, new: Option<u64>) {
        let LaneKey { agent, class, queue: Some(key), .. } = lane else { return };
        let (Some(entry), Some(queue)) = (self.agents.get_mut(agent), self.queues.get_mut(key)) else {
            return;
        };
        if !entry.takes() {
            return;
        }
        let was_blocked = old.is_some_and(|old| entry.blocked.remove(&(*class, old, key.clone())));
        if let Some(old) = old {
            queue.heads.remove(&(old, agent.clone(), *class));
        }
        match new {
            Some(new) if was_blocked => _ = entry.blocked.insert((*class, new, key.clone())),
            Some(new) => _ = queue.heads.insert((new, agent.clone(), *class)),
            None => {}
        }
    }

    /// The queues in which something waits for the agent, each class with the first in its lane.
    fn lanes_of(&self, agent: &PeerId) -> Vec<(u64, Class, QueueKey)> {
        let mut found = Vec::new();
        for class in Class::ALL {
            let mut from = LaneKey { agent: agent.clone(), class, queue: None, seq: u64::MAX };
            let of_class = |key: &LaneKey| key.agent == *agent && key.class == class;
            while let Some((key, _)) = self.lanes.range(&from..).next().filter(|(key, _)| of_class(key)) {
                // none of the agent's runs without a queue has this number: it is never given out
                let Some(queue) = &key.queue else { break };
                found.push((key.seq, class, queue.clone()));
                from = LaneKey { agent: agent.clone(), class, queue: Some(queue.clone()), seq: u64::MAX };
            }
        }
        found
    }

    /// From here on the agent takes offers: what waits for it can start.
    pub(super) fn enter_heads(&mut self, agent: &PeerId) {
        for (seq, class, key) in self.lanes_of(agent) {
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.heads.insert((seq, agent.clone(), class));
            }
            self.dirty_queues.insert(key);
        }
        self.dirty_agents.insert(agent.clone());
    }

    /// The agent may have room for an offer and the queue may have a slot, both by the same input: its first runs there
    /// must not be overtaken meanwhile.
    pub(super) fn unblock(&mut self, agent: &PeerId, key: &QueueKey) {
        for class in Class::ALL {
            let Some((seq, _)) = self.lane_head(agent, class, Some(key)) else { continue };
            let blocked = self
                .agents
                .get_mut(agent)
                .is_some_and(|agent| agent.blocked.remove(&(class, seq, key.clone())));
            if blocked && let Some(queue) = self.queues.get_mut(key) {
                queue.heads.insert((seq, agent.clone(), class));
            }
        }
    }

    /// All agents may have room for an offer: whatever waited for it is looked at again in the order of its queue, not agent by agent.
    pub(super) fn unblock_all(&mut self) {
        for (agent, entry) in &mut self.agents {
            for (class, seq, key) in mem::take(&mut entry.blocked) {
                if let Some(queue) = self.queues.get_mut(&key) {
                    queue.heads.insert((seq, agent.clone(), class));
                }
                self.dirty_queues.insert(key);
            }
            self.dirty_agents.insert(agent.clone());
        }
    }

    /// From here on it takes none.
    pub(super) fn leave_heads(&mut self, agent: &PeerId) {
        for (seq, class, queue) in self.lanes_of(agent) {
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.heads.remove(&(seq, agent.clone(), class));
            }
        }
        if let Some(entry) = self.agents.get_mut(agent) {
            entry.blocked.clear();
        }
    }

    /// The next run of this class without a queue that waits for the agent.
    pub(super) fn next_direct(&self, agent: &PeerId, class: Class) -> Option<(u64, At)> {
        self.lane_head(agent, class, None)
    }

    /// The run that waits under this number in this queue for this agent.
    pub(super) fn in_lane(&self, agent: &PeerId, class: Class, queue: &QueueKey, seq: u64) -> Option<At> {
        let key = LaneKey { agent: agent.clone(), class, queue: Some(queue.clone()), seq };
        self.lanes.get(&key).copied()
    }

    /// The job of an agent's dispatch number.
    pub(super) fn job_of(&self, at: At) -> Option<&Job> {
        self.jobs.get(&at.job)
    }

    /// Whether a run would be offered too late.
    pub(super) fn is_late(&self, at: At, now_ms: u64) -> bool {
        self.job_of(at).and_then(Job::deadline).is_some_and(|deadline| deadline <= now_ms)
    }

    /// Enters anew when each run that is in doubt ends as unknown. O(n) in the agents and in the runs that they have.
    pub(super) fn time_doubts(&mut self) {
        self.timers.retain(|(_, timer)| !matches!(timer, Timer::GiveUp(_)));
        let has = self.agents.values().flat_map(|agent| agent.has.values().copied());
        let doubtful = has.filter_map(|at| Some((at, self.run(at)?.doubt?.get())));
        let due: Vec<_> =
            doubtful.filter_map(|(at, since)| Some((self.give_up_at(since)?, Timer::GiveUp(at)))).collect();
        self.timers.extend(due);
    }

    /// When a run ends as unknown that is in doubt since then. A doubt from before a restart goes on, or from before the manager stood
    /// still; but for a while after it agents return.
    pub(super) fn give_up_at(&self, since_ms: u64) -> Option<u64> {
        let after = self.settings.unknown_after_ms?;
        let returned = self.recovered_ms.saturating_add(self.settings.return_ms.min(after));
        Some(since_ms.saturating_add(after).max(returned))
    }

    /// The lowest number that an agent has to remember.
    pub(super) fn lowest_dno(&self, agent: &Agent) -> Dno {
        agent.has.first_key_value().map_or_else(|| agent.next_dno(), |(dno, _)| *dno)
    }
}
