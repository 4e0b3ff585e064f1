//! What agents take later: a run that is put back waits for its time, for room, or for the next session of an agent that stops.

use super::{At, End, Link, Model, Run, State};

/// What an agent asks for that has no room, at most.
const SOON: u64 = 2_000;

impl Model {
    /// The wait doubles, but is at most four times as long as the agent asks for that knows when; of which up to a half more; `due` is what the machine chose.
    pub(super) fn put_back(&mut self, at: At, end: End, due: Option<u64>) {
        let (now, settings) = (self.now, self.settings);
        let run = self.run(at).clone();
        let agent = self.agent(&run.agent);
        let (state, put_back) = (State::Queued, run.put_back + 1);
        if end.stops && (agent.link != Link::Live || agent.stops.is_some() || run.dno < agent.first) {
            let run = self.run(at);
            (run.state, run.put_back, run.put_off, run.not_before) = (state, put_back, None, 0);
            return;
        }
        let doubled = settings.retry_first_ms << (run.put_back - run.early).min(20);
        let told_when = end.hint > SOON;
        let most = if told_when { 4 * end.hint } else { u64::MAX };
        let wait = doubled.min(settings.retry_max_ms).min(most).max(end.hint);
        let procedure = self.jobs[at.0].submit.spec.procedure.clone();
        let put_off = (!told_when).then(|| (self.is_admin(at), run.accepted.then_some(procedure)));
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
        run.told_when = told_when;
    }

    /// What an agent has is over there: the first that waits for room, and the first that waits for that of its procedure, are tried.
    pub(super) fn room_after(&mut self, at: At) {
        if !self.run(at).is_out() {
            return;
        }
        let (agent, procedure) = (self.run(at).agent.clone(), self.jobs[at.0].submit.spec.procedure.clone());
        for crowd in [(true, None), (true, Some(procedure.clone())), (false, None), (false, Some(procedure))]
        {
            let mut waiting = self.all();
            waiting.retain(|at| self.run(*at).agent == agent && self.run(*at).put_off == Some(crowd.clone()));
            waiting.sort_by_key(|at| self.run(*at).seq);
            for first in waiting {
                if self.has_slot_after(first, at) {
                    self.wake(first);
                    break;
                }
                let run = self.run(first);
                (run.put_off, run.not_before) = (None, 0);
            }
        }
    }

    fn has_slot_after(&self, at: At, leaves: At) -> bool {
        let Some(key) = self.jobs[at.0].queue() else { return true };
        let out = self
            .all()
            .into_iter()
            .filter(|other| *other != leaves && self.jobs[other.0].queue() == Some(key));
        let out = out.filter(|other| self.jobs[other.0].runs[other.1].is_out()).count();
        self.queues.iter().find(|(queue, _)| queue == key).is_none_or(|(_, width)| out < *width as usize)
    }

    fn wake(&mut self, at: At) {
        let now = self.now;
        let run = self.run(at);
        run.early += u16::from(run.not_before > now);
        (run.put_off, run.told_when, run.not_before) = (None, false, 0);
    }

    /// Waits that are over; what waits for room takes along those before it.
    pub(super) fn waits_end(&mut self) {
        let now = self.now;
        for agent in &mut self.agents {
            agent.stops = agent.stops.filter(|until| *until > now);
        }
        let is_due = |run: &Run| run.state == State::Queued && run.not_before <= now;
        let all = || self.jobs.iter().flat_map(|job| &job.runs);
        let takes_along = |run: &Run| {
            let beside =
                |due: &&Run| (&due.agent, &due.put_off) == (&run.agent, &run.put_off) && due.seq > run.seq;
            run.put_off.is_some() && all().filter(|due| is_due(due)).any(|due| beside(&due))
        };
        let mut due = self.all();
        due.retain(|at| is_due(&self.jobs[at.0].runs[at.1]) || takes_along(&self.jobs[at.0].runs[at.1]));
        due.into_iter().for_each(|at| self.wake(at));
    }
}
