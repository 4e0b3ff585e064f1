//! What is left when the manager's process dies.

use super::super::store::Store;
use super::{Link, Model, State};

impl Model {
    /// Nobody is connected, and what agents had is in doubt; whoever waited for an answer gets none. All that was promised is there.
    pub(crate) fn crash(&mut self, store: &Store) {
        self.full = false;
        self.finding.clear();
        (self.began, self.back) = (self.now, self.now);
        self.anchor = None;
        self.lookups.clear();
        self.looks = 0;
        self.said.clear();
        self.prune_at = self.now + self.settings.prune_every_ms;
        for at in self.all() {
            let now = self.now;
            let id = self.jobs[at.0].submit.id;
            let run = self.run(at);
            if run.is_replaceable() {
                // what its agent said to be acknowledged is written with the correction
                run.items = store.run_of(id, &run.agent).unwrap().items;
            }
            if run.state == State::Queued {
                let row = store.run_of(id, &run.agent).unwrap();
                let put_off = run.put_back > 0 && run.earlier.is_none();
                (run.put_off, run.not_before) = (None, if put_off { 0 } else { row.not_before_ms });
                run.told_when = false;
            }
            (run.early, run.former) = (0, None);
            if run.is_out() {
                run.doubt = if run.state == State::Doubt { run.doubt } else { now };
                run.state = State::Doubt;
            }
        }
        for agent in &mut self.agents {
            (agent.link, agent.connection, agent.newest, agent.cut) = (Link::Away, 0, 0, None);
            agent.stops = None;
            let counters = store.agents.get(&agent.id);
            assert_eq!(
                counters.map_or(0, |counters| counters.last_dno.0),
                agent.last,
                "numbers of {}",
                agent.id
            );
            assert_eq!(
                counters.and_then(|counters| counters.spool),
                agent.spool,
                "the spool of {}",
                agent.id
            );
            // that an agent has a number on its disk may be written with the next one; what it took, and has, says it too
            let written = counters.map_or(0, |counters| counters.seen_dno.0);
            assert!(written <= agent.seen, "{} is said to have number {written}", agent.id);
            let taken =
                store.runs.values().filter(|row| row.key.agent == agent.id && row.accepted_ms.is_some());
            let taken = taken.filter(|row| row.state.dispatch().is_some()).map(|row| row.dno.0).max();
            agent.seen = written.max(taken.unwrap_or(0));
        }
    }
}
