//! One run on one agent, for the table: what is told to the machine in short, and what comes of it in words.

use std::collections::BTreeSet;

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Act, ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, Outcome, RunState};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::record::{Change, EventRecord};
use redpoll_manager_core::jobs::{Effect, Input, Jobs, OfferAnswer, ResumePage, Scope, Settings};
use redpoll_manager_core::revoked::{Denial, Denied};

use super::model_bench::name;
use super::store::Store;
use super::telling::is_published;
use super::{Plan, agent, job};

pub(crate) const SPOOL: [u8; 16] = [1; 16];

pub(crate) struct Bench {
    pub(crate) jobs: Jobs<()>,
    pub(crate) store: Store,
    pub(crate) now: u64,
    connection: u64,
    settings: Settings,
    /// Which agent says what is said: the run is on `a`.
    by: &'static str,
    /// The names of the inputs that it was told.
    pub(crate) heard: BTreeSet<&'static str>,
    /// The attempt that the test is about, and its number.
    pub(crate) about: (Attempt, Dno),
    outs: Vec<String>,
    told: Vec<String>,
}

impl Bench {
    pub(crate) fn new(plan: &Plan) -> Self {
        let settings = Settings {
            unknown_after_ms: Some(60_000),
            retry_first_ms: 1_000,
            retry_max_ms: 1_000,
            prune_every_ms: 10_000_000,
            ..Settings::default()
        };
        let mut bench = Self {
            jobs: Jobs::new(settings, 1_000),
            store: Store::default(),
            now: 1_000,
            connection: 1,
            settings,
            by: "a",
            heard: BTreeSet::new(),
            about: (Attempt(1), Dno(1)),
            outs: Vec::new(),
            told: Vec::new(),
        };
        // a session that is over: what it said is heard as what comes late
        bench.down();
        bench.feed(Input::Submit(plan.submit((), job(1), &[("a", true)])));
        bench
    }

    /// Hands an input over, and stores what follows.
    pub(crate) fn feed(&mut self, input: Input<()>) {
        self.heard.insert(name(&input));
        self.jobs.handle(input, self.now);
        self.take();
    }

    /// Another agent, which is connected and has nothing, does this.
    pub(crate) fn foreign(&mut self, happen: impl FnOnce(&mut Self)) {
        let own = std::mem::replace(&mut self.connection, 100);
        self.by = "b";
        self.begin();
        self.page([9; 16], 0, None, true);
        let _told = self.look();
        happen(self);
        (self.by, self.connection) = ("a", own);
    }

    /// The manager is started again, and goes on from what it stored.
    pub(crate) fn restart(&mut self) {
        self.jobs = self.recovered();
        self.take();
    }

    pub(crate) fn recovered(&self) -> Jobs<()> {
        Jobs::recover(self.settings, self.store.records(), self.now)
    }

    /// Other settings: nobody waits for what is in doubt.
    pub(crate) fn impatient(&mut self) {
        self.settings.unknown_after_ms = Some(1);
        self.feed(Input::Settings(self.settings));
        self.later(1);
    }

    fn take(&mut self) {
        let Some(turn) = self.jobs.poll_turn() else { return };
        assert!(is_published(&turn));
        self.store.apply(&turn.changes);
        let outs: Vec<String> = turn.effects.iter().flat_map(|effect| self.words(effect)).collect();
        self.outs.extend(outs);
        self.told.extend(turn.changes.iter().filter_map(|change| match change {
            Change::Event(event) => Some(short(event)),
            _ => None,
        }));
    }

    /// What went out and what was told since the last look.
    pub(crate) fn look(&mut self) -> (String, String) {
        (std::mem::take(&mut self.outs).join(" "), std::mem::take(&mut self.told).join(", "))
    }

    fn words(&self, effect: &Effect<()>) -> Vec<String> {
        let word = |word: &str| vec![word.to_owned()];
        match effect {
            Effect::Offer(offer) if (offer.run.attempt, offer.run.dno) == self.about => word("offer*"),
            Effect::Offer(offer) if offer.run.attempt == self.about.0 => word("offer"),
            Effect::Offer(_) => word("offer+"),
            Effect::CancelOnAgent { .. } => word("cancel"),
            Effect::Disconnect { .. } => word("close"),
            Effect::Answer((), answer) => word(if answer.is_ok() { "ok" } else { "no" }),
            Effect::AckReport((), acks) => acks
                .iter()
                .flat_map(|ack| {
                    let words = [("ack", !ack.done), ("done", ack.done), ("stop", ack.stop)];
                    words.into_iter().filter(|(_, said)| *said).map(|(word, _)| word.to_owned())
                })
                .collect(),
            Effect::ResumeAnswer((), answer) => answer
                .jobs
                .iter()
                .map(|act| match act.act {
                    Act::Continue => "continue".to_owned(),
                    Act::SendFrom(n) => format!("from{n}"),
                    Act::Kill { .. } => "kill".to_owned(),
                    Act::Drop => "drop".to_owned(),
                })
                .collect(),
            Effect::Publish(_) => Vec::new(),
            Effect::RefuseReport(()) | Effect::RefuseResume { .. } => word("refused"),
            Effect::Deny(_) => word("deny"),
            Effect::Allow(_) => word("allow"),
            Effect::Deliver { .. } | Effect::FindKey { .. } | Effect::FindOldest { .. } => word("?"),
        }
    }

    /// The agent tells what it has; `last`: that this is all.
    pub(crate) fn page(&mut self, spool: [u8; 16], max_dno: u64, state: Option<SpoolState>, last: bool) {
        let run = self.run();
        let rows = state.into_iter().map(|state| ResumeRow { run, state, next_n: 0, acked_n: 0 }).collect();
        self.feed(Input::Resume(ResumePage {
            token: (),
            agent: agent(self.by),
            connection: ConnectionId(self.connection),
            spool,
            max_dno: Dno(max_dno),
            last,
            rows,
        }));
    }

    /// The same in a new session; `max_dno` counts from the number that the test is about.
    pub(crate) fn up(&mut self, spool: [u8; 16], saw: bool, state: Option<SpoolState>) {
        self.connection += 1;
        let max_dno = self.about.1.0 - u64::from(!saw);
        self.page(spool, max_dno, state, true);
    }

    pub(crate) fn begin(&mut self) {
        self.connection += 1;
        self.feed(Input::AgentUp { agent: agent(self.by), connection: ConnectionId(self.connection) });
    }

    pub(crate) fn down(&mut self) {
        let (agent, connection) = (agent(self.by), ConnectionId(self.connection));
        self.feed(Input::AgentDown { agent, connection, reason: "cut".to_owned() });
    }

    /// The agent's session is cut because it was shut out.
    pub(crate) fn cut(&mut self) {
        let who = Identity::parse("spiffe://home/agent/a").unwrap();
        let connection = ConnectionId(self.connection);
        self.feed(Input::Cut { token: (), who, connection, whole: true });
    }

    fn denied() -> Denied {
        Denied::whole(Role::Agent, agent("a"))
    }

    pub(crate) fn revoke(&mut self) {
        let denial = Denial { denied: Self::denied(), at_ms: 0, by: agent("anna").into(), reason: None };
        self.feed(Input::Revoke { token: (), denial: Box::new(denial) });
    }

    /// It was revoked before, which is looked at apart.
    pub(crate) fn restore(&mut self) {
        self.revoke();
        let _told = self.look();
        self.feed(Input::Restore { token: (), denied: Self::denied(), by: agent("anna").into() });
    }

    fn run(&self) -> RunRef {
        RunRef { job: job(1), attempt: self.about.0, dno: self.about.1 }
    }

    pub(crate) fn offer_answered(&mut self, answer: OfferAnswer) {
        let dno = self.about.1;
        self.feed(Input::OfferAnswered {
            agent: agent(self.by),
            connection: ConnectionId(self.connection),
            job: job(1),
            dno,
            answer,
        });
    }

    pub(crate) fn refused(&mut self, code: FaultCode) {
        self.offer_answered(OfferAnswer::Refused(Fault::new(code, "refused")));
    }

    pub(crate) fn cancel_answered(&mut self, state: SpoolState) {
        let dno = self.about.1;
        self.feed(Input::CancelAnswered {
            agent: agent(self.by),
            connection: ConnectionId(self.connection),
            job: job(1),
            dno,
            state,
        });
    }

    pub(crate) fn cancel(&mut self, preview: bool) {
        self.feed(Input::Cancel { token: (), scope: Scope::Job(job(1)), grace_ms: None, preview, by: None });
    }

    pub(crate) fn report(&mut self, change: impl FnOnce(&mut RunReport)) {
        let mut report = RunReport::about(self.run());
        change(&mut report);
        self.feed(Input::Report {
            token: (),
            agent: agent(self.by),
            connection: ConnectionId(self.connection),
            reports: vec![report],
        });
    }

    pub(crate) fn ended(&mut self, ending: Ending) {
        self.report(|report| report.done = Some(ending));
    }

    pub(crate) fn later(&mut self, ms: u64) {
        self.now += ms;
        self.jobs.handle_timeout(self.now);
        self.take();
    }

    pub(crate) fn state(&self) -> String {
        let Some(run) = self.store.run_of(job(1), &agent("a")) else { return "deleted".to_owned() };
        match &run.state {
            RunState::Ended(ending) => {
                let started = match ending.started {
                    None => "?",
                    Some(true) => "yes",
                    Some(false) => "no",
                };
                format!("{}/{started}", ending.outcome)
            }
            state if run.cancel.is_some() => format!("{} asked", state.word()),
            state => state.word().to_owned(),
        }
    }
}

/// An end, with whether it was started as the outcome has it.
pub(crate) fn ending(outcome: Outcome) -> Ending {
    let fault = (outcome != Outcome::Succeeded).then(|| Fault::new(FaultCode::Failed, "it failed"));
    let started = match outcome {
        Outcome::Rejected | Outcome::Expired => Some(false),
        Outcome::Unknown => None,
        Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled | Outcome::TimedOut => Some(true),
    };
    Ending { outcome, started, result: None, fault, items: 0, duration_ms: None }
}

pub(crate) fn item(n: u64) -> Item {
    Item { n, kind: ItemKind::Value, data: Raw::nil() }
}

fn short(event: &EventRecord) -> String {
    let outcome = event.outcome.map(|outcome| format!(" {outcome}")).unwrap_or_default();
    format!("{}{outcome}", event.kind.as_str())
}
