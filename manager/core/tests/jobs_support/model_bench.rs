//! The machine and the model beside each other: what each step tells both, and what has to be the same after it.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, RunKey, RunState};
use redpoll_manager_core::jobs::record::{EventKind, EventRecord};
use redpoll_manager_core::jobs::{Effect, Input, Jobs, Offer};

use super::agent;
use super::model::{Agent, Link, Model, State};
use super::model_do::Do;
use super::model_steps::{AGENTS, is_crowded, settings};
use super::store::Store;

/// The names of all inputs: one that is missing here does not compile, and one that no step drives fails the test.
macro_rules! inputs {
    ($($name:ident),* $(,)?) => {
        pub(crate) const INPUTS: &[&str] = &[$(stringify!($name)),*];

        pub(crate) fn name<T>(input: &Input<T>) -> &'static str {
            match input {
                $(Input::$name { .. } => stringify!($name),)*
            }
        }
    };
}

inputs!(
    Submit,
    Record,
    Emit,
    Switched,
    KeyFound,
    Release,
    Cancel,
    Delete,
    AgentUp,
    AgentDown,
    Resume,
    OfferAnswered,
    CancelAnswered,
    Report,
    CallbackTried,
    Redact,
    Oldest,
    StoreFull,
    Settings,
    Clock,
    HistoryBroken,
    Revoke,
    Restore,
    Cut,
    StoodStill,
);

pub(crate) struct Pair {
    jobs: Jobs<u32>,
    pub(crate) store: Store,
    pub(super) model: Model,
    pub(super) submitted: u64,
    pub(super) callbacks: Vec<(JobId, u32)>,
    pub(crate) tally: BTreeMap<String, u32>,
    pub(crate) trace: bool,
    /// All jobs are in one queue.
    pub(super) crowded: bool,
}

impl Pair {
    pub(crate) fn new(kind: u8) -> Self {
        let settings = settings(kind);
        let new = |name| Agent {
            id: agent(name),
            link: Link::Away,
            connection: 0,
            newest: 0,
            cut: None,
            spool: None,
            seen: 0,
            last: 0,
            first: 0,
            stops: None,
        };
        let model = Model {
            settings,
            now: 1_000,
            began: 1_000,
            back: 0,
            jobs: Vec::new(),
            agents: AGENTS.map(new).into(),
            queues: Vec::new(),
            lookups: Vec::new(),
            looks: 0,
            denied: BTreeSet::new(),
            full: false,
            last_seq: 0,
            prune_at: 1_000 + settings.prune_every_ms,
            finding: BTreeSet::new(),
            again: Vec::new(),
            said: Vec::new(),
            clock: (None, 0),
            anchor: None,
            events: 0,
            told: Vec::new(),
            chosen: BTreeMap::new(),
        };
        let jobs = Jobs::new(settings, 1_000);
        let (callbacks, tally) = (Vec::new(), BTreeMap::new());
        Self {
            jobs,
            store: Store::default(),
            model,
            submitted: 0,
            callbacks,
            tally,
            trace: false,
            crowded: is_crowded(kind),
        }
    }

    pub(crate) fn step(&mut self, what: &Do) {
        let now = self.model.now + if let Do::Pass(ms) = what { u64::from(*ms) } else { 0 };
        let told = if let Do::Crash(lost) = what { lost } else { what };
        self.submitted += u64::from(matches!(told, Do::Submit { .. } | Do::Record { .. }));
        // an input has one owner, and there are two who want it
        if let Do::Crash(lost) = what {
            self.crash(lost, now);
        } else if let (Some(one), Some(other)) = (self.input(what), self.input(what)) {
            *self.tally.entry(format!("input {}", name(&one))).or_default() += 1;
            if self.trace {
                println!("{now} → {one:?}");
            }
            if let Input::CallbackTried { job, serial, .. } = &one {
                self.callbacks.retain(|callback| *callback != (*job, *serial));
            }
            if let Input::Resume(page) = &one {
                self.store.lacks |= page.rows.iter().any(|row| row.acked_n > row.next_n);
            }
            self.jobs.handle(one, now);
            self.compare(|model| model.hear(other));
        }
        self.jobs.handle_timeout(now);
        self.compare(|model| model.pass(now));
    }

    /// The process dies before what it was told last is on disk; another one goes on from the store.
    fn crash(&mut self, lost: &Do, now: u64) {
        if let Some(input) = self.input(lost) {
            self.jobs.handle(input, now);
        }
        self.callbacks.clear();
        self.jobs = Jobs::recover(self.model.settings, self.store.records(), now);
        *self.tally.entry("crash".to_owned()).or_default() += 1;
        let store = self.store.clone();
        self.compare(|model| model.crash(&store));
    }

    /// Takes what the machine says of a step, has the model take the step, and looks for a difference.
    fn compare(&mut self, step: impl FnOnce(&mut Model)) {
        let (mut offers, mut said): (Vec<Offer>, Vec<String>) = (Vec::new(), Vec::new());
        while let Some(turn) = self.jobs.poll_turn() {
            if self.trace {
                println!("    {:?}", turn.effects);
            }
            self.store.apply(&turn.changes);
            for effect in turn.effects {
                match effect {
                    Effect::Offer(offer) => offers.push(*offer),
                    Effect::Deliver { job, serial, .. } => self.callbacks.push((job, serial)),
                    Effect::Publish(_) => {}
                    Effect::Answer(token, answer) => said.push(format!("answer {token} {answer:?}")),
                    Effect::AckReport(token, acks) => said.push(format!("acks {token} {acks:?}")),
                    Effect::RefuseReport(token) => said.push(format!("refused {token}")),
                    Effect::Deny(denial) => said.push(format!("deny {:?}", denial.denied)),
                    Effect::Allow(denied) => said.push(format!("allow {denied:?}")),
                    Effect::ResumeAnswer(token, answer) => said.push(format!("resume {token} {answer:?}")),
                    Effect::RefuseResume { token, .. } => said.push(format!("no resume {token}")),
                    Effect::CancelOnAgent { agent, connection, run, grace_ms } => {
                        said.push(format!("cancel {agent} {connection:?} {run:?} {grace_ms:?}"));
                    }
                    Effect::Disconnect { agent, connection } => {
                        said.push(format!("close {agent} {}", connection.0))
                    }
                    Effect::FindKey { key, look, .. } => said.push(format!("find {key} {look}")),
                    Effect::FindOldest { whose, .. } => said.push(format!("oldest {whose:?}")),
                }
            }
        }
        self.model.chosen.clone_from(&self.store.runs);
        self.model.events = self.store.events.len() as u64;
        step(&mut self.model);
        self.model.follow(&offers);
        let mut wanted = std::mem::take(&mut self.model.said);
        wanted.sort();
        said.sort();
        assert_eq!(said, wanted, "the machine said the first, the model the second");
        for word in &said {
            let words: Vec<&str> =
                word.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()).collect();
            let count = if words[0] == "answer" { 3 } else { 1 };
            *self.tally.entry(words[..count.min(words.len())].join(" ")).or_default() += 1;
        }
        self.same_runs();
        self.same_queues();
        self.same_history();
    }

    /// What nobody can know but whoever was told it, and what nobody may see.
    fn same_history(&self) {
        let told = |event: &EventRecord| {
            let agent = event.agent.clone().map(|agent| agent.to_string()).unwrap_or_default();
            match event.kind {
                EventKind::Custom => Some(format!("{} {agent}", event.kind_text())),
                EventKind::ProcedureEnabled | EventKind::ProcedureDisabled => {
                    Some(format!("{} {agent} {}", event.kind_text(), event.detail.as_deref().unwrap_or("")))
                }
                EventKind::HistoryBroken => event.detail.clone(),
                EventKind::AgentRevoked
                | EventKind::AgentRestored
                | EventKind::OperatorRevoked
                | EventKind::OperatorRestored => {
                    Some(format!("{} {agent} {}", event.kind_text(), event.detail.as_deref().unwrap_or("")))
                }
                _ => None,
            }
        };
        let events = &self.store.events;
        assert_eq!(events.iter().filter_map(told).collect::<Vec<_>>(), self.model.told, "told by agents");
        let denied: BTreeSet<_> = self.store.denied.keys().cloned().collect();
        assert_eq!(denied, self.model.denied, "who is shut out");
        let set = events.iter().filter(|event| event.kind == EventKind::ClockSet).count();
        assert_eq!((self.store.clock, set), self.model.clock, "the clock");
        for job in &self.model.jobs {
            let (id, redact) = (job.submit.id, job.submit.redact.to_vec());
            assert_eq!(self.store.jobs[&id].redact.to_vec(), redact, "secrets of {id}");
            let masked = Some(redact).filter(|redact| job.ended.is_some() && !redact.is_empty());
            assert_eq!(self.store.masked.get(&id), masked.as_ref(), "what is masked of {id}");
        }
    }

    fn same_runs(&self) {
        let mut count = 0;
        for job in &self.model.jobs {
            let id = job.submit.id;
            let stored = self.store.jobs.get(&id).unwrap();
            assert_eq!((stored.ended_ms, stored.released_ms), (job.ended, job.released), "{id}");
            for run in &job.runs {
                count += 1;
                let row = &self.store.runs[&RunKey { job: id, agent: run.agent.clone() }];
                let state = match &row.state {
                    RunState::Ended(ending) => State::Ended(ending.outcome, ending.started),
                    _ => run.state,
                };
                assert_eq!((row.state.word(), state), (run.word(), run.state), "{}", row.key);
                // what the store lacks of a run that has ended is written with its correction
                let later = self.store.lacks && run.is_replaceable() && row.items < run.items;
                let items = if later { run.items } else { row.items };
                let machine =
                    (row.attempt.0, row.dno.0, items, row.cancel.is_some(), row.corrected, row.put_back);
                let model = (run.attempt, run.dno, run.items, run.asked, run.corrected, run.put_back);
                assert_eq!(
                    machine, model,
                    "attempt, number, items, cancel, corrected, put back of {}",
                    row.key
                );
                let machine = (row.earlier, row.accepted_ms.is_some(), row.started_ms.is_some());
                assert_eq!(
                    machine,
                    (run.earlier, run.accepted, run.started),
                    "earlier, accepted, started of {}",
                    row.key
                );
                let since = row.doubt_ms.unwrap_or(0);
                let right = run.state != State::Doubt || since == run.doubt;
                assert!(right, "{} is in doubt since {since}, not {}", row.key, run.doubt);
            }
        }
        assert_eq!(
            (count, self.model.jobs.len()),
            (self.store.runs.len(), self.store.jobs.len()),
            "what is kept"
        );
        let open = self.model.all().iter().filter(|at| self.model.jobs[at.0].runs[at.1].is_open()).count();
        assert_eq!(self.jobs.open_runs(), open, "open runs");
    }

    fn same_queues(&self) {
        let views = self.jobs.queues().map(|view| {
            let runs = self.jobs.queue_runs(&view.key, 0, 1_000);
            let waiting: Vec<(JobId, PeerId)> = runs.map(|(job, run)| (job, run.agent.clone())).collect();
            (view.key.clone(), view.concurrency, view.taken, waiting)
        });
        let machine: Vec<_> = views.collect();
        let mut model = Vec::new();
        for (key, width) in &self.model.queues {
            let of_queue = self.model.jobs.iter().filter(|job| job.queue() == Some(key));
            let runs: Vec<_> =
                of_queue.flat_map(|job| job.runs.iter().map(|run| (job.submit.id, run))).collect();
            let taken = runs.iter().filter(|(_, run)| run.is_out()).count();
            let mut waiting: Vec<_> = runs.iter().filter(|(_, run)| run.state == State::Queued).collect();
            waiting.sort_by_key(|(_, run)| run.seq);
            let waiting = waiting.into_iter().map(|(id, run)| (*id, run.agent.clone())).collect::<Vec<_>>();
            model.push((key.clone(), *width, taken, waiting));
        }
        model.sort();
        assert_eq!(machine, model, "queues");
    }
}
