//! Goes on after a restart, from what the store has.

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::JobId;

use super::Jobs;
use super::agents::Agent;
use super::keep::Shelves;
use super::model::{At, Job, Phase, Run, stamp};
use super::record::{EventKind, JobRecord, Records, RunRecord, Summary};
use super::settings::Settings;
use crate::clock::Anchor;

/// Jobs that cannot be read which have an event each.
const MAX_UNREADABLE: usize = 100;

/// What the next machine takes over from one that is put away, see [`Jobs::after`]. Little, so that the two need not be in memory together.
#[derive(Debug)]
pub struct Heritage {
    began_ms: u64,
    last_look: u64,
    /// Of each agent that was connected the newest connection, and the newest that was cut.
    sessions: Vec<(PeerId, Option<ConnectionId>, Option<ConnectionId>)>,
}

impl<T> Jobs<T> {
    /// The machine as its store left it. What agents had is in doubt now: the first turn says so.
    ///
    /// Rows that fit nothing are left out: a run without its job, a second one for the same agent. So is a job that cannot be read: one
    /// of them must not keep all the others from going on. An operator is told, and can delete it.
    pub fn recover(settings: Settings, records: Records, now_ms: u64) -> Self {
        let Records {
            jobs,
            runs,
            queues,
            agents,
            callbacks,
            denied,
            last_event,
            first_event,
            ended_jobs,
            unreadable,
        } = records;
        let mut machine = Self::new(settings, now_ms);
        machine.recovered_ms = now_ms;
        (machine.last_event, machine.first_event) = (last_event, first_event.max(1));
        machine.shelves = Shelves::new(ended_jobs);
        machine.denied = denied.into_iter().collect();
        for counters in agents {
            let agent = counters.agent.clone();
            machine.agent_mut(&agent).counters = counters;
        }
        for queue in &queues {
            machine.restore_queue(queue);
        }
        for job in jobs {
            machine.restore_job(job);
        }
        for run in &runs {
            machine.restore_run(run);
        }
        machine.enter_all(now_ms);
        // when they are due, which one that was under way still is: a restart is no reason to try sooner, and uses up no tries
        for callback in callbacks {
            machine.restore_callback(callback);
        }
        machine.dirty_queues.extend(queues.into_iter().map(|queue| queue.key));
        machine.tell_unreadable(&unreadable, now_ms);
        machine.settle(now_ms);
        machine
    }

    /// Knows where the count of time stands.
    #[must_use]
    pub fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor: Some(anchor), ..self }
    }

    /// What of this machine no store has.
    pub fn heritage(&self) -> Heritage {
        let known = self.agents.iter().filter(|(_, agent)| agent.newest.is_some());
        let sessions = known.map(|(name, Agent { newest, cut, .. })| (name.clone(), *newest, *cut)).collect();
        Heritage { began_ms: self.began_ms, last_look: self.last_look, sessions }
    }

    /// Takes over from the machine before it, in a process that lives on, when that began, which connections there were and which looks
    /// are under way. No store has that, and what comes late over a connection that was replaced or cut must not count as the newest, nor
    /// what an older look found as the answer to one of this machine.
    #[must_use]
    pub fn after(mut self, before: Heritage) -> Self {
        let Heritage { began_ms, last_look, sessions } = before;
        (self.began_ms, self.last_look) = (began_ms, last_look);
        for (name, newest, cut) in sessions {
            let agent = self.agent_mut(&name);
            (agent.newest, agent.cut) = (newest, cut);
        }
        self
    }

    fn restore_job(&mut self, record: JobRecord) {
        let id = record.id;
        if let Some(key) = record.key() {
            self.keys.insert((record.submitter.clone(), key.to_owned()), id);
        }
        let runs = vec![Run::new(Phase::Held); record.agents.len()].into_boxed_slice();
        self.keep(id, Job::new(record.into(), runs, 0));
    }

    fn restore_run(&mut self, record: &RunRecord) {
        self.last_seq = self.last_seq.max(record.seq);
        self.saw_number(&record.key.agent, record);
        let Some(at) = self.place(record.key.job, &record.key.agent) else { return };
        let Some(job) = self.jobs.get_mut(&at.job) else { return };
        job.change(at.index, |run| *run = Run::restore(record));
    }

    fn tell_unreadable(&mut self, jobs: &[JobId], now_ms: u64) {
        for job in jobs.iter().take(MAX_UNREADABLE) {
            self.event(now_ms, EventKind::StoreDamaged, |event| {
                event.job = Some(*job);
                event.detail =
                    Some("it cannot be read, and nothing of it runs; it can be deleted".to_owned());
            });
        }
        if let Some(more) = jobs.len().checked_sub(MAX_UNREADABLE).filter(|more| *more > 0) {
            self.event(now_ms, EventKind::StoreDamaged, |event| {
                event.detail = Some(format!("{more} jobs more cannot be read; the log names them"));
            });
        }
    }

    /// Numbers that were given out are never given out again, whatever became of the row that counts them. That an agent has one on its
    /// disk says only what is still there: with its spool everything ended that was in it, and the next one need not have seen the number.
    fn saw_number(&mut self, agent: &PeerId, record: &RunRecord) {
        if record.dno.0 > 0 {
            let counters = &mut self.agent_mut(agent).counters;
            counters.last_dno = counters.last_dno.max(record.dno);
            if record.accepted_ms.is_some() && record.state.dispatch().is_some() {
                counters.seen_dno = counters.seen_dno.max(record.dno);
            }
        }
    }

    fn enter_all(&mut self, now_ms: u64) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let places: Vec<At> = self.jobs.get(&id).map(|job| job.places().collect()).unwrap_or_default();
            let mut summary = Summary::default();
            for at in places {
                match self.run(at).map(|run| run.phase) {
                    Some(Phase::Ended(outcome)) => summary.add(outcome),
                    Some(phase) => {
                        summary.open += 1;
                        self.enter(at, phase, now_ms);
                    }
                    None => {}
                }
            }
            let open = usize::try_from(summary.open).unwrap_or(usize::MAX);
            self.open_runs += open;
            if let Some(job) = self.jobs.get_mut(&id) {
                job.summary = summary;
                self.shares.add(&job.record.submitter, open, 0);
                if job.record.ended_ms.is_some() && !job.may_change() {
                    // it is over by these rules, whatever those said by which it was written
                    self.forget(id);
                }
            }
        }
    }

    fn enter(&mut self, at: At, phase: Phase, now_ms: u64) {
        let run = self.jobs.get_mut(&at.job).and_then(|job| job.run_mut(at.index));
        match run {
            Some(run) if phase.is_dispatched() => {
                run.phase = Phase::InDoubt;
                if phase != Phase::InDoubt || run.doubt.is_none() {
                    run.doubt = stamp(now_ms);
                }
            }
            // put back: its agent begins another session, and may have room then
            Some(run) if run.put_back > 0 && run.earlier.is_none() => run.not_before = 0,
            Some(_) | None => {}
        }
        self.link(at, now_ms);
        if phase.is_dispatched() && phase != Phase::InDoubt {
            self.write(at);
            self.run_event(at, EventKind::RunInDoubt, None, None, now_ms);
        }
    }
}
