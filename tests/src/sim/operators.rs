//! People and programs who ask: they submit, release, cancel and delete, and remember what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, JobId, JobSpec, RunState, Submitter};
use redpoll_common::wire::{Raw, RawMap};
use redpoll_manager_core::jobs::view::RunView;
use redpoll_manager_core::jobs::{Answer, Criteria, Input, Jobs, Refusal, Scope, Submit};

use super::invariant::{Check, Invariant, ensure};
use super::manager::Token;
use super::plan::{ADMIN, CUSTOMERS, Draft, Plan, SECRET_PATH, Secret, ended, queue};
use super::refused::refusal_word;
use super::revoked::Asked;
use super::world::World;

/// What somebody waits for.
#[derive(Debug)]
enum Question {
    Submit { submitter: PeerId, draft: Draft },
    Cancel { runs: Vec<(JobId, PeerId, Attempt)>, preview: bool },
    Release(JobId),
    Delete(JobId),
    Revocation(Asked),
}

/// Everybody who asks.
#[derive(Debug, Default)]
pub(super) struct Operators {
    questions: BTreeMap<u64, Question>,
    asked: u64,
    drafts: u64,
    jobs: BTreeMap<JobId, (Plan, Arc<JobSpec>)>,
    /// Jobs that agents told of, of which the oracle knows nothing.
    recorded: BTreeSet<JobId>,
    /// Ids that were given out.
    pub(super) acknowledged: BTreeSet<JobId>,
    keys: BTreeMap<(PeerId, String), (JobId, [u8; 32])>,
    /// What was submitted under a key, to be submitted again.
    keyed: Vec<(PeerId, Draft)>,
    /// Submits whose answer was lost: they are repeated, with their keys.
    lost: Vec<(PeerId, Draft)>,
    /// Whose end somebody asked for, answered or not.
    pub(super) cancel_asked: BTreeSet<(JobId, PeerId)>,
    /// Whose end was promised, and which attempt was the last then.
    pub(super) cancelled: BTreeMap<(JobId, PeerId), Attempt>,
}

impl Operators {
    pub(super) fn plan(&self, job: JobId) -> Option<&Plan> {
        self.jobs.get(&job).map(|(plan, _)| plan)
    }

    pub(super) fn spec(&self, job: JobId) -> Option<&Arc<JobSpec>> {
        self.jobs.get(&job).map(|(_, spec)| spec)
    }

    pub(super) fn is_recorded(&self, job: JobId) -> bool {
        self.recorded.contains(&job)
    }

    /// Somebody asks about who is shut out.
    pub(super) fn ask_about(&mut self, asked: Asked) -> Token {
        self.ask(Question::Revocation(asked))
    }

    fn ask(&mut self, question: Question) -> Token {
        self.asked += 1;
        self.questions.insert(self.asked, question);
        Token::Operator(self.asked)
    }
}

fn name(text: &str) -> PeerId {
    PeerId::parse(text).expect("a name")
}

impl World {
    /// Somebody asks for something.
    pub(super) fn operator_acts(&mut self) -> Check {
        if self.manager.jobs.is_none() {
            return Ok(());
        }
        match self.dice.below(24) {
            0..=11 => self.submit(),
            12..=15 => self.cancel(),
            16 | 17 => self.release(),
            18 => self.record(),
            19 | 20 => self.redact(),
            21 => self.revoke_or_restore(),
            _ => self.delete(),
        }
    }

    fn submit(&mut self) -> Check {
        if let Some((submitter, draft)) = self.operators.lost.pop() {
            self.tally.hit("submit repeated after a lost answer");
            return self.submit_draft(submitter, draft);
        }
        if self.dice.percent(12)
            && let Some((submitter, draft)) = self.dice.pick(&self.operators.keyed)
        {
            let what = if draft.recorded.is_some() {
                "record told again"
            } else {
                "key repeated with the same spec"
            };
            self.tally.hit(what);
            return self.submit_draft(submitter, draft);
        }
        self.operators.drafts += 1;
        let mut draft = Draft::draw(&mut self.dice, self.operators.drafts, self.agents.len());
        let submitter = if self.dice.percent(15) {
            let place = self.dice.index(self.agents.len());
            self.agents[place].id.clone()
        } else {
            name(["anna", "boris"][self.dice.index(2)])
        };
        if self.dice.percent(35) {
            Arc::make_mut(&mut draft.spec).key = Some(format!("k{}", self.dice.below(12)));
            self.operators.keyed.push((submitter.clone(), draft.clone()));
        }
        self.submit_draft(submitter, draft)
    }

    /// An agent tells of a run that it made by itself.
    fn record(&mut self) -> Check {
        self.operators.drafts += 1;
        let place = self.dice.index(self.agents.len());
        let agent = self.agents[place].id.clone();
        let draft = Draft::record(&mut self.dice, self.operators.drafts, place, agent.clone());
        if self.dice.percent(35) {
            self.operators.keyed.push((agent.clone(), draft.clone()));
        }
        self.submit_draft(agent, draft)
    }

    /// It becomes known that an argument of a job is secret: of an open one, or of one that has ended.
    fn redact(&mut self) -> Check {
        let open = self.dice.percent(90);
        let Some(job) = self.some_job(open) else { return Ok(()) };
        self.tell_manager(Input::Redact { job, paths: vec![SECRET_PATH.to_owned()] })
    }

    fn submit_draft(&mut self, submitter: PeerId, draft: Draft) -> Check {
        let id = JobId::new(self.count_ms(), u128::from_be_bytes(self.dice.bytes()));
        let recorded = draft.recorded.clone();
        if recorded.is_some() {
            self.operators.recorded.insert(id);
        } else {
            self.operators.jobs.insert(id, (draft.plan.clone(), Arc::clone(&draft.spec)));
        }
        let connected = |agent: &PeerId| self.manager.newest.contains_key(agent);
        let agents = draft.agents.iter().map(|place| self.agents[*place].id.clone());
        let agents: Vec<(PeerId, bool)> = agents.map(|agent| (agent.clone(), connected(&agent))).collect();
        let (spec, digest, idempotent) = (Arc::clone(&draft.spec), draft.digest, draft.repeatable);
        let (secret, admin) = (draft.secret, draft.spec.procedure == ADMIN);
        let token = self.operators.ask(Question::Submit { submitter: submitter.clone(), draft });
        let redact: Vec<String> =
            if secret == Secret::Known { vec![SECRET_PATH.to_owned()] } else { Vec::new() };
        let redact = redact.into();
        let is_agent = self.agents.iter().any(|agent| agent.id == submitter);
        let submitter = if is_agent { Submitter::agent(&submitter) } else { submitter.into() };
        let admin = agents.iter().filter(|_| admin).map(|(agent, _)| agent.clone()).collect();
        let submit = Submit { token, id, submitter, spec, digest, agents, admin, idempotent, redact };
        if recorded.is_some() {
            let ended = ended(&mut self.dice);
            return self.tell_manager(Input::Record(Box::new(submit), Box::new(ended)));
        }
        self.tell_manager(Input::Submit(Box::new(submit)))?;
        // some change their minds at once
        if self.dice.percent(6) { self.cancel_scope(Scope::Job(id), false) } else { Ok(()) }
    }

    /// Runs of a job that have not ended, as the machine has them.
    fn open_runs(&self, job: JobId) -> Vec<(JobId, PeerId, Attempt)> {
        let view = self.manager.jobs.as_ref().and_then(|jobs| jobs.job(job));
        let runs = view.into_iter().flat_map(|view| view.runs().filter(|run| run.outcome.is_none()));
        runs.map(|run| (job, run.agent.clone(), run.attempt)).collect()
    }

    fn some_job(&mut self, open: bool) -> Option<JobId> {
        let jobs = self.manager.jobs.as_ref()?;
        let ids: Vec<JobId> = if open {
            jobs.open_jobs().map(|job| job.record.id).collect()
        } else {
            self.manager.store.jobs.keys().copied().collect()
        };
        self.dice.pick(&ids)
    }

    fn cancel(&mut self) -> Check {
        let open = self.dice.percent(90);
        let Some(job) = self.some_job(open) else { return Ok(()) };
        let scope = match self.dice.below(10) {
            0 => Scope::Queue(queue(&mut self.dice).name),
            1 => Scope::Where(self.criteria()),
            2 | 3 => {
                let agent = self.dice.index(self.agents.len());
                Scope::Run(job, self.agents[agent].id.clone())
            }
            _ => Scope::Job(job),
        };
        let preview = self.dice.percent(8);
        self.cancel_scope(scope, preview)
    }

    fn criteria(&mut self) -> Criteria {
        let customer = self.dice.below(CUSTOMERS);
        let eq = |map: RawMap, value: &u64| map.map("eq", |map| map.uint("info.customer", *value));
        let raw: Raw = match self.dice.below(3) {
            0 => eq(RawMap::new(), &customer).finish(),
            1 => RawMap::new().maps("or", &[customer, (customer + 1) % CUSTOMERS], eq).finish(),
            _ => {
                RawMap::new().map("match", |map| map.text("procedure", "proc.*").text("state", "q*")).finish()
            }
        };
        Criteria::parse(&raw).expect("criteria")
    }

    fn cancel_scope(&mut self, scope: Scope, preview: bool) -> Check {
        let Some(jobs) = self.manager.jobs.as_ref() else { return Ok(()) };
        let (runs, what): (Vec<_>, _) = match &scope {
            Scope::Run(job, agent) => (
                self.open_runs(*job).into_iter().filter(|(_, of, _)| of == agent).collect(),
                "cancel of a run",
            ),
            Scope::Job(job) => (self.open_runs(*job), "cancel of a job"),
            Scope::Queue(key) => {
                let runs = jobs.queue_runs(key, usize::MAX, usize::MAX);
                (runs.map(|(job, run)| (job, run.agent.clone(), run.attempt)).collect(), "cancel of a queue")
            }
            Scope::Where(criteria) => {
                let runs = jobs.open_jobs().flat_map(|job| {
                    let of_runs = criteria.of_runs(&job);
                    let id = job.record.id;
                    let meets = move |run: &RunView<'_>| run.outcome.is_none() && of_runs.meets(run);
                    job.runs().filter(meets).map(move |run| (id, run.agent.clone(), run.attempt))
                });
                (runs.collect(), "cancel by criteria")
            }
        };
        if !runs.is_empty() {
            self.tally.hit(what);
        }
        if !preview {
            let of = runs.iter().map(|(job, agent, _)| (*job, agent.clone()));
            self.operators.cancel_asked.extend(of);
        }
        let token = self.operators.ask(Question::Cancel { runs, preview });
        let grace_ms = self.dice.percent(30).then_some(100);
        self.tell_manager(Input::Cancel { token, scope, grace_ms, preview, by: None })
    }

    fn release(&mut self) -> Check {
        let held = self.manager.store.jobs.values().filter(|job| job.is_held()).map(|job| job.id);
        match held.max().or_else(|| self.some_job(true)) {
            Some(job) => self.release_job(job),
            None => Ok(()),
        }
    }

    fn release_job(&mut self, job: JobId) -> Check {
        let token = self.operators.ask(Question::Release(job));
        let away = |agent: &PeerId| !self.manager.newest.contains_key(agent);
        let agents = self.manager.store.jobs.get(&job).into_iter().flat_map(|job| job.agents.iter());
        let away = agents.filter(|agent| away(agent)).cloned().collect();
        self.tell_manager(Input::Release { token, job, away, by: None })
    }

    fn delete(&mut self) -> Check {
        let Some(job) = self.some_job(false) else { return Ok(()) };
        let token = self.operators.ask(Question::Delete(job));
        self.tell_manager(Input::Delete { token, job, by: None })
    }

    /// The manager died: whoever waited hears nothing. Those who gave a key ask again.
    pub(super) fn operators_lost_answers(&mut self) {
        for question in std::mem::take(&mut self.operators.questions).into_values() {
            if let Question::Submit { submitter, draft } = question
                && draft.spec.key.is_some()
            {
                self.operators.lost.push((submitter, draft));
            }
        }
    }

    /// An answer, given after its turn was synced: what it says has to be on disk.
    pub(super) fn answered(&mut self, question: u64, answer: Result<Answer, Refusal>) -> Check {
        let Some(question) = self.operators.questions.remove(&question) else { return Ok(()) };
        match (question, answer) {
            (Question::Revocation(asked), answer) => self.revocation_answered(asked, answer),
            (Question::Submit { submitter, draft }, answer) => self.submit_answered(submitter, draft, answer),
            (Question::Cancel { runs, preview: false }, Ok(Answer::Cancelled(_))) => {
                self.cancel_answered(runs)
            }
            (Question::Release(job), Ok(Answer::Released)) => {
                self.tally.hit("held job released");
                let record = self.manager.store.jobs.get(&job);
                ensure(record.is_none_or(|job| !job.is_held()), Invariant::AcknowledgedIsStored, || {
                    format!("the release of {job} is not stored")
                })
            }
            (Question::Delete(job), Ok(Answer::Deleted)) => {
                self.tally.hit("job deleted on request");
                ensure(!self.manager.store.jobs.contains_key(&job), Invariant::AcknowledgedIsStored, || {
                    format!("{job} was deleted and is there")
                })
            }
            (Question::Cancel { .. } | Question::Release(_) | Question::Delete(_), Err(_)) => Ok(()),
            (Question::Cancel { preview: true, .. }, Ok(Answer::Cancelled(_))) => Ok(()),
            (question, Ok(answer)) => {
                ensure(false, Invariant::NoPanic, || format!("{answer:?} is no answer to {question:?}"))
            }
        }
    }

    fn submit_answered(&mut self, submitter: PeerId, draft: Draft, answer: Result<Answer, Refusal>) -> Check {
        let job = match answer {
            Ok(Answer::Submitted { job, .. }) => job,
            Err(Refusal::IdemConflict { job }) => {
                self.tally.hit("key repeated with another spec");
                let same = self.manager.store.jobs.get(&job).is_some_and(|job| job.digest == draft.digest);
                return ensure(!same, Invariant::OneKeyOneJob, || {
                    format!("{job} was refused to its own submitter")
                });
            }
            Err(refusal) => {
                self.tally.hit(refusal_word(&refusal));
                return Ok(());
            }
            Ok(other) => {
                return ensure(false, Invariant::NoPanic, || format!("{other:?} is no answer to a submit"));
            }
        };
        let stored = self.manager.store.jobs.get(&job);
        let there = stored.is_some_and(|job| job.digest == draft.digest);
        ensure(there || self.manager.store.deleted.contains(&job), Invariant::AcknowledgedIsStored, || {
            format!("{job} was acknowledged and is not stored, or another job is")
        })?;
        self.operators.acknowledged.insert(job);
        let Some(key) = draft.spec.key.clone() else { return Ok(()) };
        let before = self.operators.keys.insert((submitter, key), (job, draft.digest));
        let other =
            before.filter(|(before, _)| *before != job && !self.manager.store.deleted.contains(before));
        ensure(other.is_none(), Invariant::OneKeyOneJob, || format!("{other:?} and {job} have one key"))
    }

    fn cancel_answered(&mut self, runs: Vec<(JobId, PeerId, Attempt)>) -> Check {
        for (job, agent, attempt) in runs {
            let row = self.manager.store.run_of(job, &agent);
            let kept = row.is_none_or(|row| row.cancel.is_some() || matches!(row.state, RunState::Ended(_)));
            ensure(kept, Invariant::CancelHolds, || format!("the cancel of {job}/{agent} is not stored"))?;
            self.operators.cancelled.entry((job, agent)).or_insert(attempt);
        }
        Ok(())
    }

    /// So that everything can come to its end: releases what is held, cancels what never ends by itself, unless that was
    /// promised before.
    pub(super) fn operators_finish(&mut self) -> Check {
        self.restore_everybody()?;
        let held: Vec<JobId> =
            self.manager.store.jobs.values().filter(|job| job.is_held()).map(|job| job.id).collect();
        held.into_iter().try_for_each(|job| self.release_job(job))?;
        let open = self.manager.jobs.as_ref().into_iter().flat_map(Jobs::open_jobs);
        let endless = |id: &JobId| self.operators.plan(*id).is_some_and(|plan| plan.endless);
        let ids: Vec<JobId> = open.map(|job| job.record.id).filter(endless).collect();
        for id in ids {
            for (job, agent, _) in self.open_runs(id) {
                if !self.operators.cancelled.contains_key(&(job, agent.clone())) {
                    self.cancel_scope(Scope::Run(job, agent), false)?;
                }
            }
        }
        Ok(())
    }
}
