//! Connections: ordered in each direction, slow, and cut at the worst moment. Each end notices by itself, in its own time.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::world::{Event, World};

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Agent,
    Manager,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Agent => Self::Manager,
            Self::Manager => Self::Agent,
        }
    }
}

/// What is on its way to one end.
#[derive(Debug, Default)]
struct Pipe {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// When the last of it arrives.
    last_at: u64,
    /// Whether there is an end that takes it.
    open: bool,
    /// What is sent from now on arrives nowhere.
    dead: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) agent: usize,
    /// Which life of the manager it was laid to.
    life: u64,
    /// Nothing on it arrives before.
    pub(super) slow_until: u64,
    to_agent: Pipe,
    to_manager: Pipe,
}

impl Wire {
    fn pipe(&mut self, to: Side) -> &mut Pipe {
        match to {
            Side::Agent => &mut self.to_agent,
            Side::Manager => &mut self.to_manager,
        }
    }
}

/// All connections, by number.
pub(super) type Network = BTreeMap<u64, Wire>;

impl World {
    /// A new connection of an agent to the manager.
    pub(super) fn lay_wire(&mut self, agent: usize) -> u64 {
        self.connections += 1;
        let pipe = || Pipe { open: true, ..Pipe::default() };
        self.network.insert(
            self.connections,
            Wire { agent, life: self.manager.life, slow_until: 0, to_agent: pipe(), to_manager: pipe() },
        );
        self.connections
    }

    pub(super) fn send(&mut self, connection: u64, to: Side, payload: Bytes) {
        let latency = self.dice.between(1, self.weather.latency_ms);
        let now = self.calendar.now_ms();
        let Some(pipe) = self.network.get_mut(&connection).map(|wire| wire.pipe(to)) else { return };
        if pipe.dead {
            return;
        }
        pipe.bytes += payload.len();
        pipe.queue.push_back(payload);
        pipe.last_at = pipe.last_at.max(now + latency);
        let at = pipe.last_at;
        self.calendar.plan(at, Event::Deliver(connection, to));
    }

    /// Whether a connection takes something more in this direction. One that leads nowhere takes everything.
    pub(super) fn has_room(&mut self, connection: u64, to: Side) -> bool {
        let room = self.weather.room;
        let pipe = self.network.get_mut(&connection).map(|wire| wire.pipe(to));
        pipe.is_none_or(|pipe| pipe.dead || pipe.bytes < room)
    }

    /// The next payload arrives, unless nothing gets through at present.
    pub(super) fn deliver(&mut self, connection: u64, to: Side) {
        let Some(agent) = self.network.get(&connection).map(|wire| wire.agent) else { return };
        if let Some(until) = self.held_up(connection) {
            return self.calendar.plan(until, Event::Deliver(connection, to));
        }
        let Some(pipe) = self.network.get_mut(&connection).map(|wire| wire.pipe(to)) else { return };
        let Some(payload) = pipe.queue.pop_front() else { return };
        pipe.bytes -= payload.len();
        if !pipe.open {
            return;
        }
        if to == Side::Agent {
            if self.network.get(&connection).is_some_and(|wire| wire.life != self.manager.life) {
                self.tally.hit("word of a manager that is dead");
            }
            self.manager_has_room(connection);
        }
        self.trace.bytes(&payload);
        match to {
            Side::Agent => self.agent_hears(agent, connection, &payload),
            Side::Manager => self.manager_hears(connection, &payload),
        }
    }

    /// One end is closed. What it sent before is still on its way; the other end notices after that, if it can.
    pub(super) fn close_end(&mut self, connection: u64, side: Side) {
        let latency = self.dice.between(1, self.weather.latency_ms);
        // a machine that lost its power says nothing to anybody
        let silent = self.dice.percent(self.weather.silent_percent);
        let now = self.calendar.now_ms();
        let Some(wire) = self.network.get_mut(&connection) else { return };
        let own = wire.pipe(side);
        (own.open, own.dead) = (false, true);
        own.queue.clear();
        own.bytes = 0;
        let theirs = wire.pipe(side.other());
        theirs.dead = true;
        if !theirs.open {
            self.network.remove(&connection);
        } else if !silent {
            let at = theirs.last_at.max(now + latency);
            self.calendar.plan(at, Event::Hangup(connection, side.other()));
        }
    }

    /// The connection breaks. Of what was on its way the first part still arrives, the rest never.
    pub(super) fn cut(&mut self, connection: u64) {
        let now = self.calendar.now_ms();
        for to in [Side::Agent, Side::Manager] {
            let keep = self.dice.next();
            let late = if self.dice.percent(30) { self.dice.below(60_000) } else { self.dice.below(300) };
            let Some(pipe) = self.network.get_mut(&connection).map(|wire| wire.pipe(to)) else { return };
            pipe.dead = true;
            let keep = usize::try_from(keep).unwrap_or(usize::MAX) % (pipe.queue.len() + 1);
            pipe.queue.truncate(keep);
            pipe.bytes = pipe.queue.iter().map(Bytes::len).sum();
            let at = pipe.last_at.max(now + late);
            self.calendar.plan(at, Event::Hangup(connection, to));
        }
    }

    /// One end notices that the connection is over.
    pub(super) fn hangup(&mut self, connection: u64, side: Side) {
        let Some(wire) = self.network.get_mut(&connection) else { return };
        let agent = wire.agent;
        if !wire.pipe(side).open {
            return;
        }
        if let Some(until) = self.held_up(connection) {
            return self.calendar.plan(until, Event::Hangup(connection, side));
        }
        match side {
            Side::Agent => self.agent_lost(agent, connection),
            Side::Manager => self.manager_lost(connection),
        }
    }

    /// Until when nothing arrives on a connection.
    fn held_up(&self, connection: u64) -> Option<u64> {
        let wire = self.network.get(&connection)?;
        let until = wire.slow_until.max(self.partitioned(wire.agent).unwrap_or(0));
        (until > self.calendar.now_ms()).then_some(until)
    }

    /// Until when nothing passes between an agent and the manager.
    pub(super) fn partitioned(&self, agent: usize) -> Option<u64> {
        let until = self.agents.get(agent)?.partitioned_until;
        (until > self.calendar.now_ms()).then_some(until)
    }
}
