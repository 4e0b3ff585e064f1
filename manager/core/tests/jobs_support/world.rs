//! A manager, its store, three agents and the lines between them, driven step by step; checks what may be concluded
//! from outside after each step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Dno, JobId, Outcome, RunState};
use redpoll_manager_core::jobs::record::Change;
use redpoll_manager_core::jobs::{Effect, Input, Jobs, Offer, ResumePage, Settings, Turn};

use super::agent;
use super::agent::{Agent, Oracle, ToAgent, ToManager};
use super::store::Store;
use super::telling::is_published;

/// Who waits for an answer.
#[derive(Debug, Clone)]
pub(crate) enum Token {
    Operator { key: Option<String> },
    Agent { place: usize, connection: u64, last: bool },
}

pub(crate) struct World {
    /// Print what goes in and out.
    pub(crate) trace: bool,
    /// The changes of the turns that are on disk, in their order.
    pub(crate) committed: Vec<Vec<Change>>,
    pub(crate) now: u64,
    pub(crate) settings: Settings,
    pub(crate) jobs: Jobs<Token>,
    /// What is on disk.
    pub(crate) store: Store,
    /// What will be, once the turns under way are committed.
    pub(crate) ahead: Store,
    pub(super) turns: VecDeque<Turn<Token>>,
    pub(crate) agents: Vec<Agent>,
    /// The ends of connections that the manager has not noticed.
    downs: VecDeque<(usize, u64)>,
    pub(crate) oracle: Oracle,
    connections: u64,
    pub(super) live: BTreeSet<PeerId>,
    pub(super) submitted: u64,
    pub(super) acknowledged: BTreeSet<JobId>,
    pub(super) keys: BTreeMap<String, JobId>,
    numbers: BTreeMap<(PeerId, Dno), RunRef>,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            trace: false,
            committed: Vec::new(),
            now: 1_000,
            settings,
            jobs: Jobs::new(settings, 1_000),
            store: Store::default(),
            ahead: Store::default(),
            turns: VecDeque::new(),
            agents: ["a", "b", "c"].into_iter().map(|name| Agent::new(agent(name))).collect(),
            downs: VecDeque::new(),
            oracle: Oracle::default(),
            connections: 0,
            live: BTreeSet::new(),
            submitted: 0,
            acknowledged: BTreeSet::new(),
            keys: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// One step: what `what` says, with `dice` for the rest.
    pub(crate) fn step(&mut self, what: u8, dice: u16) {
        let place = usize::from(dice) % self.agents.len();
        match what {
            0..=15 => self.submit(dice),
            16..=23 => self.cancel(dice),
            24..=39 if self.agents[place].connection.is_none() || dice % 32 == 1 => self.connect(place),
            24..=43 => self.notice(),
            44..=46 => self.cut(place, dice),
            47..=99 => (0..=dice % 4).for_each(|_| self.commit()),
            100..=139 => self.deliver(place),
            140..=171 => self.agents[place].receive(dice / 4, &mut self.oracle),
            172..=203 => self.start(place, dice / 4),
            204..=211 => self.work(place, dice / 4),
            212..=221 => self.finish(place, dice / 4),
            222..=239 => self.report(place, dice / 4),
            240..=242 => self.restart_agent(place, (dice / 4).is_multiple_of(8)),
            243 | 244 => self.crash(dice),
            245..=251 => self.sleep(u64::from(dice) % 4_000),
            252 | 253 => self.release(dice),
            254 | 255 => self.delete(dice),
        }
        self.check();
    }

    pub(crate) fn handle(&mut self, input: Input<Token>) {
        if self.trace {
            println!("{} → {input:?}", self.now);
        }
        self.jobs.handle(input, self.now);
        self.turn();
    }

    fn turn(&mut self) {
        let Some(turn) = self.jobs.poll_turn() else { return };
        assert!(is_published(&turn), "listeners hear of other events than there are");
        if self.trace {
            for change in &turn.changes {
                println!("    {change:?}");
            }
            for effect in &turn.effects {
                println!("    ⇒ {effect:?}");
            }
        }
        let held = self
            .ahead
            .runs
            .values()
            .filter(|run| run.state.holds_slot())
            .map(|run| run.key.clone())
            .collect();
        self.ahead.apply(&turn.changes);
        let resumed = turn.effects.iter().filter_map(|effect| match effect {
            Effect::ResumeAnswer(Token::Agent { place, connection, last: true }, _) => {
                Some((*place, *connection))
            }
            _ => None,
        });
        for (place, connection) in resumed {
            // of a connection that the manager holds for the newest
            if self.agents[place].connection == Some(connection) || self.downs.contains(&(place, connection))
            {
                self.live.insert(self.agents[place].id.clone());
            }
        }
        self.check_order(&turn, &held);
        self.turns.push_back(turn);
    }

    /// Puts the next turn on disk, and then does what it asks for.
    pub(crate) fn commit(&mut self) {
        let Some(turn) = self.turns.pop_front() else { return };
        self.put_on_disk(turn.changes);
        for effect in turn.effects {
            self.perform(effect);
        }
    }

    fn put_on_disk(&mut self, changes: Vec<Change>) {
        self.store.apply(&changes);
        self.committed.push(changes);
    }

    fn perform(&mut self, effect: Effect<Token>) {
        match effect {
            Effect::Offer(offer) => self.offered(*offer),
            Effect::CancelOnAgent { agent, connection, run, .. } => {
                let agent = self.agents.iter_mut().find(|other| other.id == agent).unwrap();
                if agent.connection == Some(connection.0) {
                    agent.inbox.push_back(ToAgent::Cancel(run));
                }
            }
            Effect::Disconnect { .. } => panic!("nothing here gets lost without its connection"),
            Effect::Answer(token, answer) => self.answered(&token, answer),
            Effect::AckReport(Token::Agent { place, connection, .. }, acks) => {
                for ack in acks.iter().filter(|ack| ack.done && !ack.stop) {
                    let run = self.store.run_of(ack.job, &self.agents[place].id);
                    let open = run.filter(|run| {
                        run.state.dispatch().is_some_and(|(attempt, _)| attempt == ack.attempt)
                    });
                    assert!(open.is_none(), "an end was acknowledged before it was stored");
                }
                self.send(place, connection, ToAgent::Acks(acks));
            }
            Effect::ResumeAnswer(Token::Agent { place, connection, last }, answer) => {
                self.send(place, connection, ToAgent::Resumed(answer, last));
            }
            Effect::Deny(_) | Effect::Allow(_) => panic!("nobody is revoked here"),
            Effect::RefuseResume { .. } => panic!("nobody makes numbers up here"),
            // a connection that was replaced, of which nobody reads the answer
            Effect::RefuseReport(_) => {}
            Effect::AckReport(Token::Operator { .. }, _)
            | Effect::ResumeAnswer(Token::Operator { .. }, _) => {
                panic!("not for an operator")
            }
            Effect::Publish(_) => {}
            Effect::Deliver { job, serial, .. } => {
                let error = self.now.is_multiple_of(3).then(|| "no".into());
                self.handle(Input::CallbackTried { job, serial, error });
            }
            Effect::FindKey { submitter, key, look } => {
                let found = self.store.find_key(&submitter, &key);
                self.handle(Input::KeyFound { submitter, key, look, found });
            }
            Effect::FindOldest { whose, limit, count } => {
                let (stored, jobs) = self.store.oldest(&whose, limit);
                self.handle(Input::Oldest { whose, stored: count.then_some(stored), jobs });
            }
        }
    }

    fn send(&mut self, place: usize, connection: u64, message: ToAgent) {
        if self.agents[place].connection == Some(connection) {
            self.agents[place].inbox.push_back(message);
        }
    }

    fn offered(&mut self, offer: Offer) {
        let Offer { agent, connection, run, .. } = offer;
        let before = self.numbers.insert((agent.clone(), run.dno), run);
        assert!(before.is_none_or(|before| before == run), "a number was used for two things");
        let row = self.store.run_of(run.job, &agent).unwrap();
        assert!(row.dno >= run.dno, "an offer left before it was on disk");
        let place = self.agents.iter().position(|other| other.id == agent).unwrap();
        self.send(place, connection.0, ToAgent::Offer(run));
    }

    pub(super) fn connect(&mut self, place: usize) {
        self.connections += 1;
        let connection = self.connections;
        if let Some(old) = self.agents[place].connection {
            self.downs.push_back((place, old));
        }
        self.agents[place].connect(connection);
        let id = self.agents[place].id.clone();
        self.live.remove(&id);
        self.handle(Input::AgentUp { agent: id, connection: ConnectionId(connection) });
    }

    fn cut(&mut self, place: usize, dice: u16) {
        // what was on its way may still arrive
        if dice % 8 < 4 {
            self.deliver(place);
        }
        if let Some(connection) = self.agents[place].cut() {
            self.downs.push_back((place, connection));
        }
    }

    pub(super) fn notice(&mut self) {
        let Some((place, connection)) = self.downs.pop_front() else { return };
        let id = self.agents[place].id.clone();
        if self.agents[place].connection.is_none() && !self.downs.iter().any(|(other, _)| *other == place) {
            self.live.remove(&id);
        }
        let reason = "cut".to_owned();
        self.handle(Input::AgentDown { agent: id, connection: ConnectionId(connection), reason });
    }

    pub(super) fn deliver(&mut self, place: usize) {
        let agent = &mut self.agents[place];
        let Some(message) = agent.outbox.pop_front() else { return };
        let (id, connection) = (agent.id.clone(), agent.connection.unwrap());
        let (spool, max_dno) = (agent.spool, agent.max_dno);
        let number = ConnectionId(connection);
        let input = match message {
            ToManager::Resume(rows, last) => Input::Resume(ResumePage {
                token: Token::Agent { place, connection, last },
                agent: id,
                connection: number,
                spool,
                max_dno,
                last,
                rows,
            }),
            ToManager::OfferAnswer(run, answer) => {
                let (job, dno) = (run.job, run.dno);
                Input::OfferAnswered { agent: id, connection: number, job, dno, answer: *answer }
            }
            ToManager::CancelAnswer(run, state) => {
                Input::CancelAnswered { agent: id, connection: number, job: run.job, dno: run.dno, state }
            }
            ToManager::Report(reports) => {
                let token = Token::Agent { place, connection, last: false };
                Input::Report { token, agent: id, connection: number, reports }
            }
        };
        self.handle(input);
    }

    fn pick(&self, place: usize, dice: u16) -> Option<Dno> {
        let rows = &self.agents[place].rows;
        rows.keys().nth(usize::from(dice) % rows.len().max(1)).copied()
    }

    fn start(&mut self, place: usize, dice: u16) {
        let Some(dno) = self.pick(place, dice) else { return };
        let Some(run) = self.agents[place].start(dno, &mut self.oracle) else { return };
        let id = self.agents[place].id.clone();
        let count = self.oracle.starts[&(run.job, id.clone(), run.attempt)];
        assert_eq!(count, 1, "{}/{id} attempt {} was started twice", run.job, run.attempt);
        let Some(row) = self.store.run_of(run.job, &id) else { return };
        let repeatable = self.store.jobs[&run.job].idempotent;
        let others =
            self.oracle.running.iter().filter(|(job, agent, ..)| (*job, agent) == (run.job, &id)).count();
        assert!(others == 1 || repeatable, "two attempts of {} at a time", row.key);
        match &row.state {
            RunState::Ended(end) => {
                let given_up = repeatable && row.earlier.is_some();
                assert!(given_up || end.outcome == Outcome::Unknown, "{} started after its end", row.key);
            }
            state => {
                assert!(state.holds_slot() || repeatable, "{} started while it was {}", row.key, state.word())
            }
        }
    }

    fn work(&mut self, place: usize, dice: u16) {
        if let Some(dno) = self.pick(place, dice) {
            (0..=dice % 3).for_each(|_| self.agents[place].write_item(dno, &mut self.oracle));
        }
    }

    fn finish(&mut self, place: usize, dice: u16) {
        let Some(dno) = self.pick(place, dice) else { return };
        if self.agents[place].rows[&dno].state == redpoll_common::job::wire::SpoolState::Running {
            let outcome = [Outcome::Succeeded, Outcome::Failed, Outcome::Failed, Outcome::TimedOut]
                [usize::from(dice) % 4];
            self.agents[place].end(dno, outcome, Some(true), &mut self.oracle);
        }
    }

    fn report(&mut self, place: usize, dice: u16) {
        if let Some(dno) = self.pick(place, dice) {
            self.agents[place].report(dno, dice % 8 == 1, dice % 8 == 2);
            if dice % 4 == 3 {
                self.agents[place].report(dno, false, false);
            }
        }
    }

    fn restart_agent(&mut self, place: usize, wiped: bool) {
        if let Some(connection) = self.agents[place].restart(wiped, &mut self.oracle) {
            self.downs.push_back((place, connection));
        }
    }

    /// The manager dies. Of the turns under way the first few were committed, and none of their effects happened.
    fn crash(&mut self, dice: u16) {
        let committed = usize::from(dice) % (self.turns.len() + 1);
        for turn in self.turns.drain(..).take(committed) {
            self.store.apply(&turn.changes);
            self.committed.push(turn.changes);
        }
        self.turns.clear();
        for agent in &mut self.agents {
            agent.cut();
        }
        self.downs.clear();
        self.live.clear();
        self.ahead = self.store.clone();
        self.jobs = Jobs::recover(self.settings, self.store.records(), self.now);
        for id in &self.acknowledged {
            assert!(
                self.store.jobs.contains_key(id) || self.store.deleted.contains(id),
                "{id} was acknowledged and is lost"
            );
        }
        self.turn();
        self.jobs.handle_timeout(self.now);
        self.turn();
    }

    pub(super) fn sleep(&mut self, ms: u64) {
        self.now += ms;
        self.jobs.handle_timeout(self.now);
        self.turn();
    }
}
