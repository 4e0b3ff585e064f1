//! What operators ask for, and what a store has found.

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Attempt, Dno, JobId, Offline, Outcome};
use redpoll_manager_core::jobs::{
    Answer, Cancelled, Criteria, Ended, EndedJob, Found, Input, Reached, Refusal, Scope, Submit, Whose,
};

use super::{At, Job, Model, Run, State};

impl Model {
    /// One input; what is offered after it says [`Model::follow`].
    pub(crate) fn hear(&mut self, input: Input<u32>) {
        match input {
            Input::Submit(submit) => self.submit(*submit, None),
            Input::KeyFound { key, look, found, .. } => self.key_found(&key, look, &found),
            Input::Release { token, job, away, .. } => {
                match self.jobs.iter().position(|other| other.submit.id == job) {
                    Some(job) if self.jobs[job].released.is_none() && self.jobs[job].is_open() => {
                        self.release(job, &away.into_iter().collect::<Vec<_>>());
                        self.answer(token, Ok(Answer::Released));
                    }
                    // what has ended for good is in the store alone
                    Some(job) if self.jobs[job].is_alive() => self.answer(token, Err(Refusal::NotHeld)),
                    Some(_) | None => self.answer(token, Err(Refusal::NotOpen)),
                }
            }
            Input::Cancel { token, scope, grace_ms, preview, .. } => {
                self.cancel(token, &scope, grace_ms, preview);
            }
            Input::Delete { token, job, .. } => {
                if self.jobs.iter().any(|other| other.submit.id == job && other.is_open()) {
                    return self.answer(token, Err(Refusal::StillOpen));
                }
                self.jobs.retain(|other| other.submit.id != job);
                self.answer(token, Ok(Answer::Deleted));
            }
            Input::AgentUp { agent, connection } => self.up(&agent, connection.0),
            Input::AgentDown { agent, connection, .. } => self.down(&agent, connection.0),
            Input::Resume(page) => self.resume(page),
            Input::OfferAnswered { agent, connection, job, dno, answer } => {
                if self.counts(&agent, connection.0) {
                    self.offer_answered(&agent, job, dno.0, answer);
                }
            }
            Input::CancelAnswered { agent, connection, job, dno, state } => {
                if self.counts(&agent, connection.0) {
                    self.cancel_answered(&agent, job, dno.0, state);
                }
            }
            Input::Report { token, agent, connection, reports } => {
                if !self.counts(&agent, connection.0) {
                    return self.said.push(format!("refused {token}"));
                }
                let acks: Vec<_> = reports.into_iter().map(|report| self.report(&agent, report)).collect();
                self.said.push(format!("acks {token} {acks:?}"));
            }
            Input::CallbackTried { job, serial, error } => {
                let job = self.jobs.iter_mut().find(|other| other.submit.id == job);
                if let (Some(job), None) = (job, error) {
                    job.untold.retain(|other| *other != serial);
                }
            }
            Input::Oldest { whose, stored, jobs } => self.oldest_found(whose, stored.unwrap_or(0), &jobs),
            Input::StoreFull(full) => self.full = full,
            Input::Settings(settings) => self.settings = settings,
            Input::Record(submit, ended) => self.submit(*submit, Some(*ended)),
            Input::Emit { token, agent, name, .. } => {
                let refused = self.full.then_some(Refusal::StoreFull);
                self.told.extend((!self.full).then(|| format!("custom.{name} {agent}")));
                self.answer(token, refused.map_or(Ok(Answer::Emitted { n: self.events }), Err));
            }
            Input::Switched { token, agent, procedure, on, operator } => {
                let word = if on { "enabled" } else { "disabled" };
                self.told.push(format!("procedure.{word} {agent} {procedure} by {operator}"));
                self.answer(token, Ok(Answer::Emitted { n: self.events }));
            }
            Input::Redact { job, paths } => self.redact(job, paths),
            Input::Revoke { token, denial } => self.revoke(token, &denial),
            Input::Restore { token, denied, by } => self.restore(token, &denied, &by),
            Input::Cut { token, who, connection, whole } => self.cut(token, &who, connection.0, whole),
            Input::StoodStill => self.back = self.now,
            Input::HistoryBroken { detail } => self.told.push(detail),
            Input::Clock { anchor, set_by_ms } => {
                self.anchor = Some(anchor);
                self.clock = (Some(anchor), self.clock.1 + usize::from(set_by_ms != 0));
            }
        }
    }

    fn submit(&mut self, submit: Submit<u32>, ended: Option<Ended>) {
        let Some(key) = submit.spec.key.clone() else { return self.take(submit, ended) };
        let known = self.jobs.iter().find(|job| job.is_alive() && job.submit.spec.key.as_ref() == Some(&key));
        if let Some(known) = known.map(|job| (job.submit.id, job.submit.digest)) {
            return self.answer_known(&submit, known);
        }
        let under_way = self.lookups.iter().find(|(other, ..)| other.spec.key.as_ref() == Some(&key));
        let look = under_way.map_or(self.looks + 1, |(.., look)| *look);
        if look > self.looks {
            self.looks = look;
            self.said.push(format!("find {key} {look}"));
        }
        self.lookups.push((submit, ended, look));
    }

    fn key_found(&mut self, key: &str, look: u64, found: &Found) {
        let (of_key, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.lookups)
            .into_iter()
            .partition(|(submit, _, of)| *of == look && submit.spec.key.as_deref() == Some(key));
        self.lookups = others;
        for (submit, ended, _) in of_key {
            let known = self.jobs.iter().find(|job| job.submit.spec.key.as_deref() == Some(key));
            match known.map(|job| (job.submit.id, job.submit.digest)) {
                _ if *found == Found::Unreadable => self.answer(submit.token, Err(Refusal::StoreUnreadable)),
                Some(known) => self.answer_known(&submit, known),
                None => self.take(submit, ended),
            }
        }
    }

    fn take(&mut self, submit: Submit<u32>, ended: Option<Ended>) {
        match ended {
            Some(ended) => self.store_ended(submit, &ended),
            None => self.store(submit),
        }
    }

    /// Stores a run that an agent made by itself, and that is over.
    fn store_ended(&mut self, submit: Submit<u32>, ended: &Ended) {
        let (token, job) = (submit.token, submit.id);
        let refusal = match submit.agents.as_slice() {
            _ if self.full => Err(Refusal::StoreFull),
            [(agent, _)] => Ok(agent.clone()),
            _ => Err(Refusal::NoAgents),
        };
        let agent = match refusal {
            Ok(agent) => agent,
            Err(refusal) => return self.answer(token, Err(refusal)),
        };
        let run = Run::new(agent, State::Ended(ended.ending.outcome, ended.ending.started));
        let (items, started) = (ended.items.len() as u64, ended.started_ms_ago.is_some());
        let (now, runs) = (Some(self.now), vec![Run { attempt: 1, items, started, ..run }]);
        self.jobs.push(Job {
            submit,
            runs,
            submitted: self.now,
            released: now,
            ended: now,
            untold: Vec::new(),
        });
        self.answer(token, Ok(Answer::Submitted { job, existing: false }));
    }

    /// More of a job's arguments is known to be secret, while something of it may still change.
    pub(super) fn redact(&mut self, id: JobId, paths: Vec<String>) {
        let job = self.jobs.iter_mut().find(|job| job.submit.id == id && job.is_alive());
        let Some(submit) = job.map(|job| &mut job.submit) else { return };
        let mut all = submit.redact.to_vec();
        for path in paths {
            if !all.contains(&path) {
                all.push(path);
            }
        }
        submit.redact = all.into();
    }

    fn answer_known(&mut self, submit: &Submit<u32>, (job, digest): (JobId, [u8; 32])) {
        let same = digest == submit.digest;
        let answer = if same {
            Ok(Answer::Submitted { job, existing: true })
        } else {
            Err(Refusal::IdemConflict { job })
        };
        self.answer(submit.token, answer);
    }

    /// The oldest go while they are too old or too many; not what is open, or has still to be told.
    fn oldest_found(&mut self, whose: Whose, stored: u64, jobs: &[EndedJob]) {
        self.finding.remove(&whose);
        let keep = match whose {
            Whose::Operators => self.settings.keep_jobs,
            Whose::Agents => self.settings.keep_of_agents,
            Whose::Agent(_) => self.settings.keep_per_agent,
        };
        let (mut left, before) = (stored, self.jobs.len());
        let share = if self.full { 100 } else { 1 };
        let (mut runs, mut again) = (0, jobs.len() >= self.settings.prune_at_once);
        for EndedJob { id, ended_ms, runs: of_job } in jobs {
            // how long the machine was off is believed after an hour, and not what the clock was set back by since
            let before_boot = self.anchor.filter(|anchor| *ended_ms < anchor.at(0));
            let old = self.settings.keep_ms.is_some_and(|keep| {
                let due = before_boot.map_or(ended_ms + keep, |anchor| {
                    let set_back = (anchor.ahead_ms - anchor.ahead_at_boot_ms).min(0).unsigned_abs();
                    (ended_ms + keep + set_back).max(anchor.at(0) + 3_600_000)
                });
                due <= self.now
            });
            let may = |job: &Job| job.submit.id == *id && !job.is_open() && job.untold.is_empty();
            if (old || left > keep) && self.jobs.iter().any(may) {
                // the rest in another transaction
                if self.jobs.len() < before && runs + of_job > self.settings.prune_runs / share {
                    again = true;
                    break;
                }
                self.jobs.retain(|job| job.submit.id != *id);
                (left, runs) = (left - 1, runs + of_job);
            }
        }
        if again && self.jobs.len() < before {
            self.find_oldest(whose);
        }
    }

    /// Stores a job, unless something speaks against it.
    fn store(&mut self, mut submit: Submit<u32>) {
        let (token, id) = (submit.token, submit.id);
        submit.agents.sort();
        submit.agents.dedup();
        let open = self.all().iter().filter(|at| self.jobs[at.0].runs[at.1].is_open()).count();
        let away: Vec<PeerId> =
            submit.agents.iter().filter(|(_, here)| !here).map(|(agent, _)| agent.clone()).collect();
        let refusal = if self.full {
            Some(Refusal::StoreFull)
        } else if submit.agents.is_empty() {
            Some(Refusal::NoAgents)
        } else if open + submit.agents.len() > self.settings.open_runs {
            Some(Refusal::TooManyRuns { open, runs: submit.agents.len(), limit: self.settings.open_runs })
        } else if !self.refused(&submit.agents).is_empty() {
            Some(Refusal::AgentsRevoked { agents: self.refused(&submit.agents) })
        } else if submit.spec.offline == Offline::Require && !away.is_empty() {
            Some(Refusal::AgentsAway { agents: away.clone() })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.answer(token, Err(refusal));
        }
        let runs = submit.agents.iter().map(|(agent, _)| Run::new(agent.clone(), State::Held)).collect();
        let held = submit.spec.held;
        self.jobs.push(Job {
            submit,
            runs,
            submitted: self.now,
            released: None,
            ended: None,
            untold: Vec::new(),
        });
        if !held {
            self.release(self.jobs.len() - 1, &away);
        }
        self.answer(token, Ok(Answer::Submitted { job: id, existing: false }));
    }

    /// Lets what is held begin to wait.
    fn release(&mut self, job: usize, away: &[PeerId]) {
        let now = self.now;
        self.jobs[job].released = Some(now);
        for m in 0..self.jobs[job].runs.len() {
            let skips = self.jobs[job].submit.spec.offline == Offline::Skip;
            match &self.jobs[job].runs[m] {
                run if run.state != State::Held => {}
                run if skips && away.contains(&run.agent) => {
                    self.end((job, m), Outcome::Expired, Some(false))
                }
                _ => {
                    self.last_seq += 1;
                    let seq = self.last_seq;
                    let run = self.run((job, m));
                    (run.state, run.seq, run.queued) = (State::Queued, seq, now);
                }
            }
        }
    }

    /// The runs in scope that are open; `None` when a single one is asked for that is not.
    fn cancel(&mut self, token: u32, scope: &Scope, grace_ms: Option<u32>, preview: bool) {
        let in_scope = |at: &At| {
            let (job, run) = (&self.jobs[at.0], &self.jobs[at.0].runs[at.1]);
            run.is_open()
                && match scope {
                    Scope::Run(id, agent) => (job.submit.id, &run.agent) == (*id, agent),
                    Scope::Job(id) => job.submit.id == *id,
                    Scope::Queue(key) => job.queue() == Some(key) && run.state != State::Held,
                    Scope::Where(criteria) => meets(run, criteria),
                }
        };
        let hit: Vec<At> = self.all().into_iter().filter(in_scope).collect();
        if hit.is_empty() && matches!(scope, Scope::Run(..) | Scope::Job(_)) {
            return self.answer(token, Err(Refusal::NotOpen));
        }
        let mut result = Cancelled::default();
        for at in hit {
            let (id, run) = (self.jobs[at.0].submit.id, self.jobs[at.0].runs[at.1].clone());
            result.jobs.push(id);
            let (agent, attempt) = (run.agent.clone(), Attempt(run.attempt));
            result.runs.push(Reached { job: id, agent, state: run.word(), attempt });
            *(if run.is_out() { &mut result.asked } else { &mut result.ended }) += 1;
            if !preview && run.is_out() {
                // the shorter one counts
                let longer = |grace: Option<u32>| grace.unwrap_or(u32::MAX);
                if !run.asked || longer(grace_ms) < longer(run.grace) {
                    (self.run(at).asked, self.run(at).grace) = (true, grace_ms);
                }
                if run.state != State::Doubt {
                    let about = RunRef { job: id, attempt: Attempt(run.attempt), dno: Dno(run.dno) };
                    let connection = ConnectionId(self.agent(&run.agent).connection);
                    self.said.push(format!("cancel {} {connection:?} {about:?} {grace_ms:?}", run.agent));
                }
            } else if !preview {
                self.end(at, Outcome::Cancelled, Some(false));
            }
        }
        result.jobs.sort();
        result.jobs.dedup();
        result.runs.sort_by_key(|run| (run.job, run.agent.clone()));
        self.answer(token, Ok(Answer::Cancelled(result)));
    }
}

/// Of criteria only what the test asks for: an agent, a state, or an attempt, of this run.
fn meets(run: &Run, criteria: &Criteria) -> bool {
    let Criteria::Field(field, _, values) = criteria else { panic!("not modelled") };
    let wanted = &values[0];
    match field.as_str() {
        "agent" => wanted.as_text() == Some(run.agent.as_str()),
        "attempt" => wanted.decode::<u16>().unwrap() == run.attempt,
        _ => wanted.as_text() == Some(run.word()),
    }
}
