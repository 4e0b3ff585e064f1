//! Jobs: which run goes to which agent when, and what became of it.
//!
//! [`Jobs`] is told what happened ([`input`]), with the time, and says in turns what has to be written and done
//! ([`effect`]): a turn's changes are committed before any of its effects is performed. So a number is on disk before its
//! offer leaves, an end before its report is acknowledged, a job before its id is given out; and after a crash
//! [`Jobs::recover`] goes on from the [`record`]s, with nothing started twice and nothing lost.
//!
//! - `submit`: jobs in, once per idempotency key; release; delete. `cancel`, [`criteria`]: ending them.
//! - `dispatch`, `index`: what starts next, found without looking at what cannot start. `alive`: which jobs are on an agent.
//! - `report`: what agents answer; `resume`: what their coming and going means; `behind`: with an older store.
//! - `output`: how much a run may give. `end`: ends, retries, corrections. `put_back`: what an agent takes later. `callbacks`, `deliveries`: telling of ends,
//!   and in which order. `keep`: retention. `shares`: how much of the room one agent may take.
//! - `recorded`: runs that agents made by themselves, and events of theirs. `shut_out`: who is revoked, and what of an agent still counts.
//! - [`record`]: what a store keeps; [`event`]: the public history; [`view`]: what is open.
//!
//! Only what is open is in memory. Everything takes O(log n) per run that changes; nothing depends on how many ended
//! jobs are stored. Times are milliseconds of the manager's [count](crate::clock), which no clock that is set can move.

mod agents;
mod alive;
mod behind;
mod callbacks;
mod cancel;
pub mod criteria;
mod deliveries;
mod dispatch;
pub mod effect;
mod end;
pub mod event;
mod index;
pub mod input;
mod keep;
mod model;
mod output;
mod put_back;
pub mod record;
mod recorded;
mod recover;
mod report;
mod resume;
mod settings;
mod shares;
mod shut_out;
mod submit;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{JobId, Outcome, QueueKey, Submitter};

pub use self::criteria::Criteria;
pub use self::effect::{Answer, Cancelled, Effect, Offer, Reached, Refusal, Turn};
pub use self::input::{
    Ended, EndedJob, Found, Input, NotTaken, OfferAnswer, ResumePage, Scope, Submit, Whose,
};
pub use self::recover::Heritage;
pub use self::settings::Settings;

use self::agents::Agent;
use self::alive::Alive;
use self::deliveries::Deliveries;
use self::keep::{Deleted, Shelves};
use self::model::{At, Job, LaneKey, Phase, Queue, Timer};
use self::shares::Shares;
use crate::clock::Anchor;
use crate::revoked::DenyList;

use self::event::shortened;
use self::record::{CallbackRecord, Cancelling, Change, EventKind, EventRecord};

/// Changes and effects for which there is room in a new turn, at most.
const TURN_ROOM: usize = 256;

/// A submit that waits, or a run that is over.
type Awaiting<T> = (Submit<T>, Option<Ended>);

/// A look for a key: its number, and who waits for it.
type Lookup<T> = (u64, Vec<Awaiting<T>>);

/// Decides about all jobs. `T` stands for whoever waits for an answer, as in [`Input`] and [`Effect`].
#[derive(Debug)]
pub struct Jobs<T> {
    settings: Settings,
    jobs: BTreeMap<JobId, Job>,
    /// The idempotency keys of the jobs above; those of ended ones are in the store.
    keys: BTreeMap<(Submitter, String), JobId>,
    /// Submits that wait until the store was asked for their key.
    lookups: BTreeMap<(Submitter, String), Lookup<T>>,
    last_look: u64,
    /// The jobs above by agent.
    alive: Alive,
    queues: BTreeMap<QueueKey, Queue>,
    agents: BTreeMap<PeerId, Agent>,
    /// What waits and is not put off, per agent and queue.
    lanes: BTreeMap<LaneKey, At>,
    timers: BTreeSet<(u64, Timer)>,
    /// Those that are pending.
    callbacks: BTreeMap<(JobId, u32), CallbackRecord>,
    deliveries: Deliveries,
    denied: DenyList,
    /// When this machine went on from a store, or after it stood still; 0 when it began without jobs.
    recovered_ms: u64,
    /// Where the count of time stands, as far as it was told.
    anchor: Option<Anchor>,
    /// When this manager began: what was submitted before may be from an older copy of the store.
    began_ms: u64,
    /// What waits from before, by agent; made when the first agent shows that the store is such a copy.
    stale: Option<BTreeMap<PeerId, Vec<At>>>,
    open_runs: usize,
    /// [`Job::weight`] of all of the jobs above.
    open_bytes: u64,
    /// What of both is of agents.
    shares: Shares,
    shelves: Shelves,
    deleted: Deleted,
    store_full: bool,
    last_seq: u64,
    last_event: u64,
    /// The first one that is kept, or that is not there.
    first_event: u64,
    /// What may be able to start since the last look.
    dirty_queues: BTreeSet<QueueKey>,
    dirty_agents: BTreeSet<PeerId>,
    /// The turn in the making, and where in it the rows of runs are.
    changes: Vec<Change>,
    effects: Vec<Effect<T>>,
    rows: BTreeMap<At, usize>,
}

impl<T> Jobs<T> {
    /// A machine without jobs, for a store without any.
    pub fn new(settings: Settings, now_ms: u64) -> Self {
        Self {
            settings,
            jobs: BTreeMap::new(),
            keys: BTreeMap::new(),
            lookups: BTreeMap::new(),
            last_look: 0,
            alive: Alive::default(),
            queues: BTreeMap::new(),
            agents: BTreeMap::new(),
            lanes: BTreeMap::new(),
            timers: BTreeSet::from([(now_ms.saturating_add(settings.prune_every_ms), Timer::Prune)]),
            callbacks: BTreeMap::new(),
            deliveries: Deliveries::default(),
            denied: DenyList::default(),
            recovered_ms: 0,
            anchor: None,
            began_ms: now_ms,
            stale: None,
            open_runs: 0,
            open_bytes: 0,
            shares: Shares::default(),
            shelves: Shelves::new(0),
            deleted: Deleted::default(),
            store_full: false,
            last_seq: 0,
            last_event: 0,
            first_event: 1,
            dirty_queues: BTreeSet::new(),
            dirty_agents: BTreeSet::new(),
            changes: Vec::new(),
            effects: Vec::new(),
            rows: BTreeMap::new(),
        }
    }

    /// Takes in what happened. What follows from it comes out of [`Jobs::poll_turn`].
    pub fn handle(&mut self, input: Input<T>, now_ms: u64) {
        match input {
            Input::Submit(submit) => self.submit(*submit, None, now_ms),
            Input::Record(submit, ended) => self.submit(*submit, Some(*ended), now_ms),
            Input::Emit { token, agent, name, data } => self.emit(token, agent, name, data, now_ms),
            Input::Switched { token, agent, procedure, on, operator } => {
                let kind = if on { EventKind::ProcedureEnabled } else { EventKind::ProcedureDisabled };
                self.event(now_ms, kind, |event| {
                    event.agent = Some(agent);
                    event.detail = Some(format!("{procedure} by {operator}"));
                });
                // also on a full disk: it has happened, and is little
                self.answer(token, Ok(Answer::Emitted { n: self.last_event }));
            }
            Input::Revoke { token, denial } => self.revoke(token, *denial, now_ms),
            Input::Restore { token, denied, by } => self.restore(token, denied, &by, now_ms),
            Input::Cut { token, who, connection, whole } => self.cut(token, &who, connection, whole, now_ms),
            Input::KeyFound { submitter, key, look, found } => {
                self.key_found((submitter, key), look, &found, now_ms);
            }
            Input::Release { token, job, away, by } => self.release(token, job, &away, by.as_ref(), now_ms),
            Input::Cancel { token, scope, grace_ms, preview, by } => {
                let cancelling = (!preview).then_some(Cancelling { grace_ms });
                self.cancel(token, &scope, cancelling, by.as_ref(), now_ms);
            }
            Input::Delete { token, job, by } => self.delete(token, job, by.as_ref(), now_ms),
            Input::AgentUp { agent, connection } => _ = self.agent_up(&agent, connection, now_ms),
            Input::AgentDown { agent, connection, reason } => {
                self.agent_down(&agent, connection, reason, now_ms);
            }
            Input::Resume(page) => self.resume(page, now_ms),
            Input::OfferAnswered { agent, connection, job, dno, answer } => {
                if self.counts(&agent, connection, now_ms) {
                    self.offer_answered(&agent, job, dno, answer, now_ms);
                }
            }
            Input::CancelAnswered { agent, connection, job, dno, state } => {
                if self.counts(&agent, connection, now_ms) {
                    self.cancel_answered(&agent, job, dno, state, now_ms);
                }
            }
            Input::Report { token, agent, connection, .. } if !self.counts(&agent, connection, now_ms) => {
                self.effects.push(Effect::RefuseReport(token));
            }
            Input::Report { token, agent, reports, .. } => {
                let acks = reports.into_iter().map(|report| self.report(&agent, report, now_ms)).collect();
                self.effects.push(Effect::AckReport(token, acks));
            }
            Input::Redact { job, paths } => self.redact(job, paths),
            Input::CallbackTried { job, serial, error } => self.callback_tried(job, serial, error, now_ms),
            Input::Oldest { whose, stored, jobs } => self.oldest_found(whose, stored, jobs, now_ms),
            Input::StoreFull(full) => self.store_full = full,
            Input::Settings(settings) => self.reload(settings),
            Input::Clock { anchor, set_by_ms } => self.clock(anchor, set_by_ms, now_ms),
            Input::StoodStill => {
                self.recovered_ms = now_ms;
                self.time_doubts();
            }
            Input::HistoryBroken { detail } => {
                self.event(now_ms, EventKind::HistoryBroken, |event| event.detail = Some(detail));
            }
        }
        self.settle(now_ms);
        self.deliver_callbacks();
    }

    /// Does what is due. Early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        while self.timers.first().is_some_and(|(due, _)| *due <= now_ms)
            && let Some((_, timer)) = self.timers.pop_first()
        {
            match timer {
                Timer::Expire(at) => self.expire(at, now_ms),
                Timer::Retry(at) => self.retry_due(at, now_ms),
                Timer::Takes(agent) => self.takes_again(&agent),
                Timer::GiveUp(at) => {
                    self.end_unknown(at, "the agent did not return within unknown_after", now_ms);
                }
                Timer::Callback(job, serial) => self.callback_due(job, serial),
                Timer::Prune => self.prune_due(now_ms),
            }
        }
        self.settle(now_ms);
        self.deliver_callbacks();
    }

    /// When [`Jobs::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// What has to be written and done since the last turn. One turn is one transaction: poll after every input, or after as
    /// many as may be lost together.
    pub fn poll_turn(&mut self) -> Option<Turn<T>> {
        if self.changes.is_empty() && self.effects.is_empty() {
            return None;
        }
        self.rows.clear();
        // the next turn is about as large: what grows step by step is copied again and again
        let changes = Vec::with_capacity(self.changes.len().min(TURN_ROOM));
        let effects = Vec::with_capacity(self.effects.len().min(TURN_ROOM));
        Some(Turn {
            changes: mem::replace(&mut self.changes, changes),
            effects: mem::replace(&mut self.effects, effects),
        })
    }

    fn expire(&mut self, at: At, now_ms: u64) {
        if self.run(at).is_some_and(|run| run.phase == Phase::Queued) {
            self.end_unstarted(at, Outcome::Expired, "start_within passed before it could start", now_ms);
        }
    }

    /// Says where the count stands. `now_ms` is of the count, which nobody has set.
    fn clock(&mut self, anchor: Anchor, set_by_ms: i64, now_ms: u64) {
        self.anchor = Some(anchor);
        self.changes.push(Change::Clock(anchor));
        if set_by_ms != 0 {
            let way = if set_by_ms > 0 { "forward" } else { "back" };
            let by = Duration::from_millis(set_by_ms.unsigned_abs());
            self.event(now_ms, EventKind::ClockSet, |event| event.detail = Some(format!("{way} by {by:?}")));
        }
    }

    fn answer(&mut self, token: T, answer: Result<Answer, Refusal>) {
        self.effects.push(Effect::Answer(token, answer));
    }

    fn event(&mut self, now_ms: u64, kind: EventKind, fill: impl FnOnce(&mut EventRecord)) {
        self.last_event += 1;
        let mut event = EventRecord::new(self.last_event, now_ms, kind);
        fill(&mut event);
        event.detail = event.detail.map(shortened);
        self.changes.push(Change::Event(event));
        self.effects.push(Effect::Publish(self.last_event));
        let keep = self.settings.keep_events;
        // in steps: one deletion for many events, as far as there may be many; and not too many for one, when fewer are kept than before
        if self.last_event > keep && self.last_event.is_multiple_of((keep / 16).clamp(1, 1024)) {
            let most = self.first_event.saturating_add(self.settings.prune_events);
            let below = (self.last_event - keep + 1).min(most);
            self.first_event = below;
            self.changes.push(Change::EventsPruned { below });
        }
    }

    /// Something that somebody wanted of a job.
    fn job_event(&mut self, job: JobId, kind: EventKind, by: Option<&Submitter>, now_ms: u64) {
        self.event(now_ms, kind, |event| {
            event.job = Some(job);
            event.detail = by.map(|by| format!("by {by}"));
        });
    }

    fn run_event(
        &mut self,
        at: At,
        kind: EventKind,
        outcome: Option<Outcome>,
        detail: Option<String>,
        now_ms: u64,
    ) {
        let Some(job) = self.jobs.get(&at.job) else { return };
        let (agent, attempt) = (job.agent(at.index).cloned(), job.run(at.index).map(|run| run.attempt));
        self.event(now_ms, kind, |event| {
            event.job = Some(at.job);
            event.agent = agent;
            event.attempt = attempt.filter(|attempt| attempt.0 > 0);
            event.outcome = outcome;
            event.detail = detail;
        });
    }

    /// O(n) in the agents and in the runs that they have.
    fn reload(&mut self, settings: Settings) {
        self.unblock_all();
        self.settings = settings;
        self.deliveries.limit_changed(settings.callbacks_at_once);
        self.time_doubts();
    }
}
