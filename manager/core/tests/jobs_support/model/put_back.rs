//! What agents take later: a run that is put back waits for its time, for room, or for the next session of an agent that stops.

use super::{At, End, Link, Model, State};

/// What an agent asks for that has no room, at most.
const SOON: u64 = 2_000;

impl Model {
    /// The wait doubles, of which up to a half more; `due` is what the machine chose.
    pub(super) fn put_back(&mut self, at: At, end: End, due: Option<u64>) {
        let (now, settings) = (self.now, self.settings);
        let run = self.run(at).clone();
        let agent = self.agent(&run.agent);
        let (state, put_back) = (State::Queued, run.put_back + 1);
        if end.stops && (agent.link != Link::Live || agent.stops.is_some()) {
            let run = self.run(at);
            (run.state, run.put_back, run.put_off, run.not_before) = (state, put_back, None, 0);
            return;
        }
        let doubled = settings.retry_first_ms << run.put_back.min(20);
        let wait = doubled.min(settings.retry_max_ms).max(end.hint);
        let procedure = self.jobs[at.0].submit.spec.procedure.clone();
        let put_off = (end.hint <= SOON).then(|| run.accepted.then_some(procedure));
        let beside = |model: &mut Self, other: At| {
            let other = model.run(other);
            let same = put_off.is_some() && other.put_off == put_off && other.agent == run.agent;
            (same && other.seq < run.seq).then_some((other.seq, other.not_before))
        };
        let before = self.all().into_iter().filter_map(|other| beside(self, other)).max();
        let least = (now + wait).max(before.map_or(0, |(_, until)| until));
        let most = (now + wait + wait / 2).max(least);
        let due = due.unwrap_or(least);
        assert!((least..=most).contains(&due), "put back until {due}, at {now}, not {least} to {most}");
        let run = self.run(at);
        (run.state, run.put_back, run.put_off, run.not_before) = (state, put_back, put_off, due);
    }

    /// What an agent has is over there: the first that waits for room, and the first that waits for that of its procedure, are tried.
    pub(super) fn room_after(&mut self, at: At) {
        if !self.run(at).is_out() {
            return;
        }
        let (agent, procedure) = (self.run(at).agent.clone(), self.jobs[at.0].submit.spec.procedure.clone());
        for crowd in [None, Some(procedure)] {
            let mut waiting = self.all();
            waiting.retain(|at| self.run(*at).agent == agent && self.run(*at).put_off == Some(crowd.clone()));
            if let Some(first) = waiting.into_iter().min_by_key(|at| self.run(*at).seq) {
                let run = self.run(first);
                (run.put_off, run.not_before) = (None, 0);
            }
        }
    }

    /// Waits that are over.
    pub(super) fn waits_end(&mut self) {
        let now = self.now;
        for agent in &mut self.agents {
            agent.stops = agent.stops.filter(|until| *until > now);
        }
        for at in self.all() {
            let run = self.run(at);
            if run.state == State::Queued && run.not_before <= now {
                (run.put_off, run.not_before) = (None, 0);
            }
        }
    }
}
