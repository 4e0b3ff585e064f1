//! One run: everything in it, what happens in it next, and the end of it.

use std::collections::{BTreeMap, BTreeSet};

use redpoll_common::ids::PeerId;
use redpoll_common::job::spool::{Input as SpoolInput, NotSpawned};
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Dno, Item, JobId};
use redpoll_common::wire::ByeCode;
use redpoll_manager_core::jobs::Input;

use super::agent::Agent;
use super::clock::Calendar;
use super::dice::Dice;
use super::invariant::{Check, Invariant, Violation};
use super::leaps::Leaps;
use super::manager::{Manager, Room, Token};
use super::network::{Network, Side};
use super::operators::Operators;
use super::oracle::{Oracle, Try};
use super::programs::Program;
use super::readers::Reader;
use super::report::{Report, Tally};
use super::revoked::Revocations;
use super::told::judge_replay;
use super::trace::Trace;
use super::weather::Weather;

/// What happens. The numbers of a life or session make what was planned for an earlier one void.
#[derive(Debug)]
pub(super) enum Event {
    Deliver(u64, Side),
    Hangup(u64, Side),
    /// An older connection hears that it was replaced.
    Replaced(u64, u64),
    ManagerStart,
    ManagerSync(u64),
    ManagerTimer(u64),
    ManagerSession(u64, u64),
    /// The farewell of a connection is over.
    ManagerCloses(u64, u64),
    ManagerInput(u64, Box<Input<Token>>),
    ManagerRoom(Room),
    AgentStart(usize),
    AgentSync(usize, u64),
    AgentTimer(usize, u64),
    AgentSession(usize, u64),
    AgentRoom(usize),
    Dial(usize, u64, u64),
    HelloLate(usize, u64),
    Loaded(usize, u64, Dno, Vec<Item>),
    NotSpawned(usize, u64, Dno, NotSpawned),
    Program(u64),
    Operator,
    Read,
    Fault,
    /// The faults stop.
    Calm,
    /// After the faults: whoever can help something to its end does.
    Finish,
}

/// Everything.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) weather: Weather,
    pub(super) calendar: Calendar<Event>,
    pub(super) trace: Trace,
    pub(super) network: Network,
    pub(super) connections: u64,
    pub(super) manager: Manager,
    pub(super) agents: Vec<Agent>,
    pub(super) programs: BTreeMap<u64, Program>,
    /// Programs so far.
    pub(super) count: u64,
    pub(super) oracle: Oracle,
    pub(super) operators: Operators,
    pub(super) revocations: Revocations,
    pub(super) readers: Vec<Reader>,
    /// What each number that left was for, and under which number each try left last.
    pub(super) numbers: BTreeMap<(PeerId, Dno), RunRef>,
    pub(super) tries: BTreeMap<Try, Dno>,
    pub(super) callbacks_taken: BTreeSet<(JobId, u32)>,
    pub(super) callbacks_under_way: BTreeSet<(JobId, u32)>,
    /// Of which the machine heard, in this life of its process, that they were taken.
    pub(super) callbacks_heard: BTreeSet<(JobId, u32)>,
    /// The most callbacks at a time that any settings allowed so far: those under way go on when there may be fewer.
    pub(super) callbacks_most: usize,
    pub(super) leaps: Leaps,
    pub(super) tally: Tally,
    /// Store or oracle changed since the judge looked.
    pub(super) dirty: bool,
    pub(super) calm_since: Option<u64>,
    /// When something came nearer to its end, last.
    pub(super) progress_at: u64,
    violation: Option<Violation>,
    events: u64,
}

impl World {
    pub(super) fn new(seed: u64, keep_trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let weather = Weather::draw(&mut dice);
        let callbacks_most = weather.settings.callbacks_at_once;
        let name = |n: usize| PeerId::parse(&format!("agent{n}")).expect("a name");
        let agents = (0..weather.agents).map(|n| Agent::new(name(n), &mut dice)).collect();
        Self {
            dice,
            weather,
            calendar: Calendar::new(),
            trace: Trace::new(keep_trace),
            network: Network::new(),
            connections: 0,
            manager: Manager::new(),
            agents,
            programs: BTreeMap::new(),
            count: 0,
            oracle: Oracle::default(),
            operators: Operators::default(),
            revocations: Revocations::default(),
            readers: Vec::new(),
            numbers: BTreeMap::new(),
            tries: BTreeMap::new(),
            callbacks_taken: BTreeSet::new(),
            callbacks_under_way: BTreeSet::new(),
            callbacks_heard: BTreeSet::new(),
            callbacks_most,
            leaps: Leaps::default(),
            tally: Tally::default(),
            dirty: false,
            calm_since: None,
            progress_at: 0,
            violation: None,
            events: 0,
        }
    }

    /// From the first event to the last, or to the first thing that does not hold.
    pub(super) fn run(&mut self) {
        self.begin();
        while self.turn() {}
    }

    /// Everybody starts.
    pub(super) fn begin(&mut self) {
        self.calendar.plan(0, Event::ManagerStart);
        for agent in 0..self.agents.len() {
            self.calendar.plan(1, Event::AgentStart(agent));
        }
        for event in [Event::Operator, Event::Read, Event::Fault] {
            self.calendar.plan(10, event);
        }
        self.calendar.plan(self.weather.storm_ms, Event::Calm);
    }

    /// What happens next, and what is true after it. `false` when that was the end.
    pub(super) fn turn(&mut self) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let Some(event) = self.calendar.next() else { return false };
        self.events += 1;
        self.trace.note(self.calendar.now_ms(), format_args!("{event:?}"));
        let done = self.step(event);
        self.keep(done);
        let pumped = self.pump_manager();
        self.keep(pumped);
        for agent in 0..self.agents.len() {
            let pumped = self.pump_agent(agent);
            self.keep(pumped);
        }
        let judged = self.judge();
        self.keep(judged);
        if self.calm_since.is_some() && self.is_over() {
            let read = self.read_everything().and_then(|()| self.judge_acknowledged());
            let read = read.and_then(|()| judge_replay(&self.manager.store));
            self.keep(read);
            return false;
        }
        true
    }

    /// Remembers the first thing that does not hold.
    pub(super) fn keep(&mut self, check: Check) {
        if let Err(violation) = check {
            self.trace.note(self.calendar.now_ms(), format_args!("VIOLATION {violation}"));
            self.violation.get_or_insert(violation);
        }
    }

    pub(super) fn fail(&mut self, invariant: Invariant, detail: String) {
        self.keep(Err(Violation { invariant, detail }));
    }

    fn step(&mut self, event: Event) -> Check {
        match event {
            Event::Deliver(connection, to) => self.deliver(connection, to),
            Event::Hangup(connection, side) => self.hangup(connection, side),
            Event::Replaced(life, connection) if life == self.manager.life => {
                self.end_session(connection, ByeCode::Replaced);
            }
            Event::Replaced(..) => {}
            Event::ManagerStart => return self.manager_starts(),
            Event::ManagerSync(life) => return self.manager_sync(life),
            Event::ManagerTimer(life) => return self.manager_timer(life),
            Event::ManagerSession(life, connection) => self.manager_session_timer(life, connection),
            Event::ManagerCloses(life, connection) => self.farewell_over(life, connection),
            Event::ManagerInput(life, input) => return self.manager_hears_later(life, *input),
            Event::ManagerRoom(room) => return self.manager_room(room),
            Event::AgentStart(agent) => return self.agent_starts(agent),
            Event::AgentSync(agent, life) => return self.agent_sync(agent, life),
            Event::AgentTimer(agent, life) => return self.agent_timer(agent, life),
            Event::AgentSession(agent, connection) => return self.agent_session_timer(agent, connection),
            Event::AgentRoom(agent) => return self.agent_room(agent, false),
            Event::Dial(agent, life, session) => return self.dial(agent, life, session),
            Event::HelloLate(agent, connection) => return self.hello_late(agent, connection),
            Event::Loaded(agent, life, dno, items) if life == self.agents[agent].life => {
                return self.tell_agent(agent, SpoolInput::Loaded(dno, items));
            }
            Event::NotSpawned(agent, life, dno, why) if life == self.agents[agent].life => {
                self.tally.hit("not spawned");
                return self.tell_agent(agent, SpoolInput::NotSpawned(dno, why));
            }
            Event::Loaded(..) | Event::NotSpawned(..) => {}
            Event::Program(id) => return self.program_acts(id),
            Event::Operator => return self.operator_turn(),
            Event::Read => {
                self.calendar.plan(self.calendar.now_ms() + 300, Event::Read);
                return self.readers_read();
            }
            Event::Fault => return self.fault_turn(),
            Event::Calm => return self.calm(),
            Event::Finish => return self.finish_turn(),
        }
        Ok(())
    }

    fn manager_hears_later(&mut self, life: u64, input: Input<Token>) -> Check {
        if life != self.manager.life {
            return Ok(());
        }
        self.note_news(&input);
        self.tell_manager(input)
    }

    fn operator_turn(&mut self) -> Check {
        if self.calm_since.is_some() {
            return Ok(());
        }
        let at = self.calendar.now_ms() + self.dice.between(1, 2 * self.weather.operator_ms);
        self.calendar.plan(at, Event::Operator);
        self.operator_acts()
    }

    /// Everything has ended, everybody has been told, and nobody remembers more than he must.
    fn is_over(&self) -> bool {
        self.manager.turns.is_empty() && self.left_over().is_none()
    }

    pub(super) fn into_report(mut self, seed: u64) -> Report {
        self.tally.add(&self.manager.store.tally);
        Report {
            seed,
            hash: self.trace.hash(),
            events: self.events,
            simulated_ms: self.calendar.now_ms(),
            violation: self.violation,
            tally: self.tally,
            lines: self.trace.into_lines(),
        }
    }
}
