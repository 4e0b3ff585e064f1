//! The manager's process around the real machine: turns are handed to the disk in order, and their effects performed once
//! they are on it, as [`Turn`] asks.

use std::collections::{BTreeMap, VecDeque};

use redpoll_common::ids::{ConnectionId, PeerId, RequestId};
use redpoll_manager_core::jobs::{Effect, Input, Jobs, Turn};

use super::clock::Wall;
use super::count::Count;
use super::invariant::{Check, Invariant, ensure};
use super::liveness::is_progress;
use super::manager_link::ManagerEnd;
use super::network::Side;
use super::presence::Presence;
use super::store::Store;
use super::told::judge_replay;
use super::world::{Event, World};

/// How long the disk may be full to its last byte before the process gives up and ends, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// Who waits for an answer of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Operator(u64),
    Peer { connection: u64, request: RequestId },
}

/// How much space the manager's disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Plenty,
    /// What is under way is written; no new jobs.
    Reserve,
    /// Writes wait.
    Nothing,
}

/// The manager.
#[derive(Debug)]
pub(super) struct Manager {
    /// `None` while the process is down.
    pub(super) jobs: Option<Jobs<Token>>,
    /// Which start of the process it is: what was planned for an earlier one is void.
    pub(super) life: u64,
    pub(super) store: Store,
    /// Handed over to the disk and not synced.
    pub(super) turns: VecDeque<Turn<Token>>,
    /// What they count for, in bytes.
    pub(super) turn_bytes: usize,
    pub(super) sessions: BTreeMap<u64, ManagerEnd>,
    pub(super) wall: Wall,
    pub(super) count: Count,
    pub(super) room: Room,
    stalled_since: Option<u64>,
    sync_planned: bool,
    timer_at: Option<u64>,
    /// After so many effects of the next sync the process dies.
    pub(super) dies_after: Option<usize>,
    /// Per agent the newest connection that the machine was told of, and whether it takes offers.
    pub(super) newest: BTreeMap<PeerId, (u64, bool)>,
    pub(super) presence: Presence,
}

impl Manager {
    pub(super) fn new() -> Self {
        Self {
            jobs: None,
            life: 0,
            store: Store::default(),
            turns: VecDeque::new(),
            turn_bytes: 0,
            sessions: BTreeMap::new(),
            wall: Wall::new(),
            count: Count::new(),
            room: Room::Plenty,
            stalled_since: None,
            sync_planned: false,
            timer_at: None,
            dies_after: None,
            newest: BTreeMap::new(),
            presence: Presence::default(),
        }
    }
}

impl World {
    /// The process starts, with what the disk has.
    pub(super) fn manager_starts(&mut self) -> Check {
        if self.manager.jobs.is_some() {
            return Ok(());
        }
        self.judge_acknowledged()?;
        judge_replay(&self.manager.store)?;
        self.manager.store.chained.judge_whole()?;
        self.manager.store.fresh = true;
        let anchored = self.begin_count()?;
        let now = self.count_ms();
        let records = self.manager.store.records();
        self.door_opens();
        self.manager.life += 1;
        let mut jobs = Jobs::recover(self.weather.settings, records, now);
        // with what was recovered, as one turn
        anchored.into_iter().for_each(|input| jobs.handle(input, now));
        self.manager.jobs = Some(jobs);
        if self.manager.room != Room::Plenty {
            self.tell_manager(Input::StoreFull(true))?;
        }
        self.take_turn()?;
        self.manager_looks()
    }

    /// Tells the machine something, and hands what it says to the disk.
    pub(super) fn tell_manager(&mut self, input: Input<Token>) -> Check {
        let now = self.count_ms();
        if self.trace.is_kept() {
            self.trace.say(self.calendar.now_ms(), format_args!("  manager ← {input:?}"));
        }
        if self.manager.jobs.is_some() {
            self.note_word(&input);
        }
        let Some(jobs) = self.manager.jobs.as_mut() else { return Ok(()) };
        jobs.handle(input, now);
        self.take_turn()
    }

    fn take_turn(&mut self) -> Check {
        let turn = self.manager.jobs.as_mut().and_then(Jobs::poll_turn);
        self.manager.presence.judge(turn.as_ref())?;
        if let Some(turn) = turn {
            if self.trace.is_kept() {
                let at = self.calendar.now_ms();
                turn.changes.iter().for_each(|change| self.trace.say(at, format_args!("    {change:?}")));
                turn.effects.iter().for_each(|effect| self.trace.say(at, format_args!("    ⇒ {effect:?}")));
            }
            self.trace.bytes(&[turn.changes.len().to_le_bytes(), turn.effects.len().to_le_bytes()].concat());
            self.check_turn(&turn)?;
            self.judge_told_leaps(&turn.changes)?;
            self.manager.turn_bytes += Self::turn_bytes(&turn);
            self.manager.turns.push_back(turn);
            self.check_waiting_turns()?;
        }
        self.plan_sync();
        self.plan_manager_timer();
        let open = self.manager.jobs.as_ref().map_or(0, Jobs::open_runs);
        ensure(open <= self.weather.settings.open_runs, Invariant::Bounded, || {
            format!("{open} runs are open")
        })
    }

    fn plan_sync(&mut self) {
        if self.manager.sync_planned || self.manager.turns.is_empty() {
            return;
        }
        self.manager.sync_planned = true;
        let slow = self.dice.percent(3);
        let after = self.dice.between(0, if slow { 400 } else { self.weather.sync_ms });
        let at = self.calendar.now_ms() + after;
        self.calendar.plan(at, Event::ManagerSync(self.manager.life));
    }

    pub(super) fn plan_manager_timer(&mut self) {
        let Some(due) = self.manager.jobs.as_ref().and_then(Jobs::poll_timeout) else { return };
        let at = self.manager.count.when(due).max(self.calendar.now_ms());
        if self.manager.timer_at.is_none_or(|planned| at < planned) {
            self.manager.timer_at = Some(at);
            self.calendar.plan(at, Event::ManagerTimer(self.manager.life));
        }
    }

    pub(super) fn manager_timer(&mut self, life: u64) -> Check {
        if life != self.manager.life {
            return Ok(());
        }
        self.manager.timer_at = None;
        let now = self.count_ms();
        let Some(jobs) = self.manager.jobs.as_mut() else { return Ok(()) };
        jobs.handle_timeout(now);
        self.take_turn()
    }

    /// Some of the turns are on disk, in one transaction: their effects follow, in order.
    pub(super) fn manager_sync(&mut self, life: u64) -> Check {
        if life != self.manager.life || self.manager.jobs.is_none() {
            return Ok(());
        }
        self.manager.sync_planned = false;
        let now = self.calendar.now_ms();
        if self.manager.room == Room::Nothing {
            let since = *self.manager.stalled_since.get_or_insert(now);
            if now - since > PATIENCE_MS {
                self.tally.hit("manager gave up on a full disk");
                return self.manager_dies(0);
            }
            self.manager.sync_planned = true;
            self.calendar.plan(now + 500, Event::ManagerSync(life));
            return Ok(());
        }
        self.manager.stalled_since = None;
        let count = 1 + self.dice.index(self.manager.turns.len());
        let turns: Vec<Turn<Token>> =
            self.manager.turns.drain(..count.min(self.manager.turns.len())).collect();
        for turn in &turns {
            self.manager.turn_bytes -= Self::turn_bytes(turn);
            self.manager.store.apply(&turn.changes)?;
            if is_progress(&turn.changes) {
                self.progress_at = now;
            }
        }
        self.dirty = true;
        let mut left = self.manager.dies_after.take();
        for effect in turns.into_iter().flat_map(|turn| turn.effects) {
            if left == Some(0) {
                self.tally.hit("manager died between effects");
                self.pump_manager()?;
                return self.manager_dies(usize::MAX);
            }
            left = left.map(|left| left - 1);
            self.perform(effect)?;
        }
        self.pump_manager()?;
        if left.is_some() {
            return self.manager_dies(usize::MAX);
        }
        self.plan_sync();
        Ok(())
    }

    fn perform(&mut self, effect: Effect<Token>) -> Check {
        match effect {
            Effect::Offer(offer) => self.send_offer(*offer),
            Effect::CancelOnAgent { connection, run, grace_ms, .. } => {
                self.send_cancel(connection.0, run, grace_ms);
                Ok(())
            }
            Effect::Disconnect { connection, .. } => {
                self.tally.hit("manager closed a connection for a lost answer");
                self.end_session(connection.0, redpoll_common::wire::ByeCode::Protocol);
                Ok(())
            }
            Effect::Deny(denial) => self.door_denies(&denial.denied.id),
            Effect::Allow(denied) => {
                self.door_allows(&denied.id);
                Ok(())
            }
            Effect::RefuseReport(Token::Peer { connection, request }) => {
                let fault = redpoll_common::wire::FaultCode::WrongState;
                let fault = redpoll_common::wire::Fault::new(fault, "out of date");
                self.respond_peer(connection, &request, Err(fault));
                Ok(())
            }
            Effect::Answer(Token::Operator(question), answer) => self.answered(question, answer),
            Effect::AckReport(Token::Peer { connection, request }, acks) => {
                self.check_acks(connection, &acks)?;
                let answer = redpoll_common::job::wire::ReportAnswer { acks }.write();
                self.respond_peer(connection, &request, Ok(answer));
                Ok(())
            }
            Effect::ResumeAnswer(Token::Peer { connection, request }, answer) => {
                self.respond_peer(connection, &request, Ok(answer.write()));
                Ok(())
            }
            Effect::Answer(Token::Peer { .. }, _)
            | Effect::RefuseReport(Token::Operator(_))
            // nobody here makes numbers up
            | Effect::RefuseResume { .. }
            | Effect::AckReport(Token::Operator(_), _)
            | Effect::ResumeAnswer(Token::Operator(_), _) => {
                ensure(false, Invariant::NoPanic, || "somebody got another one's answer".to_owned())
            }
            Effect::Publish(_) => Ok(()),
            Effect::Deliver { job, serial, .. } => self.deliver_callback(job, serial),
            Effect::FindKey { submitter, key, look } => {
                let mut found = self.manager.store.find_key(&submitter, &key);
                if self.dice.percent(self.weather.unreadable_percent) {
                    found = redpoll_manager_core::jobs::Found::Unreadable;
                    self.tally.hit("store unreadable");
                }
                self.later(Input::KeyFound { submitter, key, look, found });
                Ok(())
            }
            Effect::FindOldest { whose, limit, count } => {
                let (stored, jobs) = self.manager.store.oldest(&whose, limit);
                self.later(Input::Oldest { whose, stored: count.then_some(stored), jobs });
                Ok(())
            }
        }
    }

    /// The answer to something the machine asked for, after a while.
    pub(super) fn later(&mut self, input: Input<Token>) {
        let at = self.calendar.now_ms() + self.dice.below(40);
        self.calendar.plan(at, Event::ManagerInput(self.manager.life, Box::new(input)));
    }

    /// The process dies. Of what was handed over the first `survive` turns are on disk; none of their effects happens.
    pub(super) fn manager_dies(&mut self, survive: usize) -> Check {
        if self.manager.jobs.take().is_none() {
            return Ok(());
        }
        let turns = std::mem::take(&mut self.manager.turns);
        self.manager.turn_bytes = 0;
        if survive < turns.len() {
            self.tally.hit("manager lost unsynced turns");
        }
        self.manager.life += 1;
        (self.manager.sync_planned, self.manager.timer_at) = (false, None);
        (self.manager.stalled_since, self.manager.dies_after) = (None, None);
        for turn in turns.iter().take(survive) {
            self.manager.store.apply(&turn.changes)?;
        }
        self.dirty = true;
        self.manager.newest.clear();
        self.manager.presence = Presence::default();
        self.callbacks_under_way.clear();
        self.callbacks_heard.clear();
        for connection in std::mem::take(&mut self.manager.sessions).into_keys() {
            self.close_end(connection, Side::Manager);
        }
        self.operators_lost_answers();
        if self.dice.percent(25) {
            self.manager.count.reboot(self.calendar.now_ms());
        }
        let at = self.calendar.now_ms() + self.dice.between(50, 8_000);
        self.calendar.plan(at, Event::ManagerStart);
        Ok(())
    }

    /// The disk of the manager fills up, or has room again.
    pub(super) fn manager_room(&mut self, room: Room) -> Check {
        self.manager.room = room;
        self.tell_manager(Input::StoreFull(room != Room::Plenty))
    }

    pub(super) fn agent_up(&mut self, agent: &PeerId, connection: u64) -> Check {
        self.manager.presence.up(agent, connection);
        let newest = self.manager.newest.entry(agent.clone()).or_insert((connection, false));
        if newest.0 < connection {
            *newest = (connection, false);
        }
        self.tell_manager(Input::AgentUp { agent: agent.clone(), connection: ConnectionId(connection) })
    }
}
