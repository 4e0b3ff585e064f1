//! Takes jobs in: once per idempotency key; releases those that were held; deletes those that have ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use redpoll_common::identity::Role;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, JobSpec, Offline, Outcome, Submitter, secret};

use super::Jobs;
use super::effect::{Answer, Effect, Refusal};
use super::input::{Ended, Found, Submit};
use super::model::{At, Job, Phase, Run, stamp, weight};
use super::record::{Change, Digest, EventKind, JobRecord};

impl<T> Jobs<T> {
    /// Takes a job, or, with its end, a run that is over.
    pub(super) fn submit(&mut self, submit: Submit<T>, ended: Option<Ended>, now_ms: u64) {
        let Some(key) = submit.spec.key.clone() else {
            self.store_either(submit, ended, now_ms);
            return;
        };
        let key = (submit.submitter.clone(), key);
        if let Some(job) = self.keys.get(&key).and_then(|id| self.jobs.get(id)) {
            let (id, digest) = (job.record.id, job.record.digest);
            return self.answer_existing(submit, id, &digest);
        }
        // whoever comes with the same key meanwhile waits for the same lookup
        if let Some((_, waiting)) = self.lookups.get_mut(&key) {
            waiting.push((submit, ended));
            return;
        }
        self.last_look += 1;
        let look = self.last_look;
        self.effects.push(Effect::FindKey { submitter: key.0.clone(), key: key.1.clone(), look });
        self.lookups.insert(key, (look, vec![(submit, ended)]));
    }

    /// Whoever waited for an older look was cut meanwhile, and what that found may be from before a job which has this key now.
    pub(super) fn key_found(&mut self, key: (Submitter, String), look: u64, found: &Found, now_ms: u64) {
        if self.lookups.get(&key).is_none_or(|(under_way, _)| *under_way != look) {
            return;
        }
        let Some((_, waiting)) = self.lookups.remove(&key) else { return };
        let mut taken = match found {
            Found::Taken { job, digest } => Some((*job, *digest)),
            Found::Free | Found::Unreadable => None,
        };
        for (submit, ended) in waiting {
            match taken {
                Some((job, digest)) => self.answer_existing(submit, job, &digest),
                None if *found == Found::Unreadable => {
                    self.answer(submit.token, Err(Refusal::StoreUnreadable));
                }
                // the first one is stored, and may have ended at once; the others are answered with it
                None => taken = self.store_either(submit, ended, now_ms),
            }
        }
    }

    fn answer_existing(&mut self, submit: Submit<T>, job: JobId, digest: &Digest) {
        let answer = if *digest == submit.digest {
            Ok(Answer::Submitted { job, existing: true })
        } else {
            Err(Refusal::IdemConflict { job })
        };
        self.answer(submit.token, answer);
    }

    fn store_either(
        &mut self,
        submit: Submit<T>,
        ended: Option<Ended>,
        now_ms: u64,
    ) -> Option<(JobId, Digest)> {
        match ended {
            Some(ended) => self.store_ended(submit, ended, now_ms),
            None => self.store(submit, now_ms),
        }
    }

    /// Stores a job, unless something speaks against it.
    fn store(&mut self, submit: Submit<T>, now_ms: u64) -> Option<(JobId, Digest)> {
        let Submit { token, id, submitter, spec, digest, mut agents, admin, idempotent, redact } = submit;
        agents.sort();
        agents.dedup_by(|(agent, _), (other, _)| agent == other);
        if let Some(refusal) = self.refusal(id, &submitter, &agents, &spec) {
            self.answer(token, Err(refusal));
            return None;
        }
        let (agents, connected): (Vec<_>, Vec<_>) = agents.into_iter().unzip();
        let mut admin = admin.to_vec();
        admin.sort();
        let held = spec.held;
        let record = Arc::new(JobRecord {
            id,
            submitter: submitter.clone(),
            digest,
            // who submits has the last word: what a procedure says of itself is for those who say nothing
            idempotent: spec.idempotent.unwrap_or(idempotent),
            admin: admin.into(),
            redact: secret::bounded(redact.to_vec()).into(),
            agents: Arc::from(agents),
            submitted_ms: now_ms,
            released_ms: (!held).then_some(now_ms),
            ended_ms: None,
            summary: None,
            spec,
        });
        if let Some(key) = record.key() {
            self.keys.insert((submitter, key.to_owned()), id);
        }
        let runs = vec![Run::new(Phase::Held); connected.len()].into_boxed_slice();
        let open = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        self.open_runs += runs.len();
        self.shares.add(&record.submitter, runs.len(), 0);
        let job = Job::new(Arc::clone(&record), runs, open);
        let places = job.places();
        let skips = job.record.spec.offline == Offline::Skip;
        self.keep(id, job);
        self.changes.push(Change::JobSubmitted(record));
        self.event(now_ms, EventKind::JobSubmitted, |event| event.job = Some(id));
        for (at, connected) in places.zip(connected) {
            if held {
                self.write(at);
            } else {
                self.start_waiting(at, connected || !skips, now_ms);
            }
        }
        self.answer(token, Ok(Answer::Submitted { job: id, existing: false }));
        Some((id, digest))
    }

    fn refusal(
        &self,
        id: JobId,
        submitter: &Submitter,
        agents: &[(PeerId, bool)],
        spec: &JobSpec,
    ) -> Option<Refusal> {
        let (open, limit) = (self.open_runs, self.settings.open_runs);
        if self.store_full {
            return Some(Refusal::StoreFull);
        }
        if agents.is_empty() {
            return Some(Refusal::NoAgents);
        }
        let (runs, of_job) = (agents.len(), weight(spec));
        // first: for a job that can never fit nobody should come again
        let never = self.shares.never(submitter, (runs, of_job), &self.settings);
        if runs <= limit && of_job <= self.settings.open_bytes && never.is_some() {
            return never;
        }
        if runs <= limit && of_job > self.settings.open_bytes {
            let bytes = self.open_bytes.saturating_add(of_job);
            return Some(Refusal::TooManyBytes { bytes, of_job, limit: self.settings.open_bytes });
        }
        if open.saturating_add(runs) > limit {
            return Some(Refusal::TooManyRuns { open, runs, limit });
        }
        let (bytes, limit) = (self.open_bytes.saturating_add(of_job), self.settings.open_bytes);
        if bytes > limit {
            return Some(Refusal::TooManyBytes { bytes, of_job, limit });
        }
        let of_agent = self.shares.refusal(submitter, (runs, of_job), &self.settings);
        if of_agent.is_some() {
            return of_agent;
        }
        if self.jobs.contains_key(&id) {
            return Some(Refusal::IdemConflict { job: id });
        }
        let denied = |agent: &&PeerId| self.denied.whole(Role::Agent, agent).is_some();
        let denied: Vec<PeerId> = agents.iter().map(|(agent, _)| agent).filter(denied).cloned().collect();
        if !denied.is_empty() {
            return Some(Refusal::AgentsRevoked { agents: denied });
        }
        let away: Vec<PeerId> =
            agents.iter().filter(|(_, here)| !here).map(|(agent, _)| agent.clone()).collect();
        (spec.offline == Offline::Require && !away.is_empty()).then_some(Refusal::AgentsAway { agents: away })
    }

    /// Puts a new or released run in its place; one that must not wait for its agent ends at once.
    fn start_waiting(&mut self, at: At, may_wait: bool, now_ms: u64) {
        if !may_wait {
            return self.end_unstarted(
                at,
                Outcome::Expired,
                "the agent is not connected, and the job skips those",
                now_ms,
            );
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        self.change(at, now_ms, |run| {
            run.phase = Phase::Queued;
            run.seq = seq;
            run.queued = stamp(now_ms);
        });
        self.write(at);
    }

    /// Lets a held job start, once. Whether its agents are connected is judged now, and by the same look as for a submit.
    pub(super) fn release(
        &mut self,
        token: T,
        id: JobId,
        away: &BTreeSet<PeerId>,
        by: Option<&Submitter>,
        now_ms: u64,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return self.answer(token, Err(Refusal::NotOpen));
        };
        if !job.record.is_held() {
            return self.answer(token, Err(Refusal::NotHeld));
        }
        job.record_mut().released_ms = Some(now_ms);
        let skips = job.record.spec.offline == Offline::Skip;
        let places: Vec<(At, PeerId)> = job.places().zip(job.record.agents.iter().cloned()).collect();
        self.changes.push(Change::JobReleased { job: id, at_ms: now_ms });
        self.job_event(id, EventKind::JobReleased, by, now_ms);
        for (at, agent) in places {
            // single runs of it may have been cancelled
            if self.run(at).is_some_and(|run| run.phase == Phase::Held) {
                self.start_waiting(at, !skips || !away.contains(&agent), now_ms);
            }
        }
        self.answer(token, Ok(Answer::Released));
    }

    /// Notes what of a job's arguments must not be seen either. One that has ended and may be corrected still is masked at once.
    pub(super) fn redact(&mut self, id: JobId, paths: Vec<String>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(all) = secret::joined(&job.record.redact, paths) else { return };
        job.record_mut().redact = all.into();
        let ended = job.record.ended_ms.is_some();
        self.changes.push(Change::JobRedacted(Arc::clone(&job.record)));
        if ended {
            self.changes.push(Change::ArgumentsMasked(id));
        }
    }

    pub(super) fn delete(&mut self, token: T, id: JobId, by: Option<&Submitter>, now_ms: u64) {
        if self.jobs.get(&id).is_some_and(|job| job.summary.open > 0) {
            return self.answer(token, Err(Refusal::StillOpen));
        }
        // again is as good as once
        let _was_there = self.delete_ended(id, by, now_ms);
        self.answer(token, Ok(Answer::Deleted));
    }
}

impl Job {
    pub(super) fn record_mut(&mut self) -> &mut JobRecord {
        Arc::make_mut(&mut self.record)
    }
}
