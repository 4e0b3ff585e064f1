//! What one side may rely on when it hears from the other: checked where the words leave.

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::{Ack, Act, Offer as WireOffer, ResumeAct, RunRef};
use redpoll_common::job::{Dno, JobId, Outcome, RunKey, RunState};
use redpoll_manager_core::jobs::record::{CallbackState, Change, EventKind};
use redpoll_manager_core::jobs::{Effect, Input, Offer, Turn};

use super::history::holds;
use super::invariant::{Check, Invariant, ensure};
use super::manager::Token;
use super::world::World;

impl World {
    /// The machine's view of connections: nothing is offered but on the newest, after its resume.
    pub(super) fn check_turn(&mut self, turn: &Turn<Token>) -> Check {
        for effect in &turn.effects {
            let (agent, connection, live) = match effect {
                Effect::Offer(offer) => (&offer.agent, offer.connection, true),
                Effect::CancelOnAgent { agent, connection, .. } => (agent, connection.to_owned(), false),
                Effect::ResumeAnswer(_, answer) => {
                    let followed = |act: &ResumeAct| matches!(act.act, Act::Continue | Act::SendFrom(_));
                    if answer.jobs.iter().any(followed) {
                        self.tally.hit("resolved: row present");
                    }
                    continue;
                }
                Effect::Disconnect { .. }
                | Effect::Deny(_)
                | Effect::Allow(_)
                | Effect::RefuseReport(_)
                | Effect::RefuseResume { .. }
                | Effect::Answer(..)
                | Effect::AckReport(..)
                | Effect::Publish(_)
                | Effect::Deliver { .. }
                | Effect::FindKey { .. }
                | Effect::FindOldest { .. } => continue,
            };
            let newest = self.manager.newest.get(agent).copied();
            let fits = newest.is_some_and(|(newest, resumed)| newest == connection.0 && (resumed || !live));
            ensure(fits, Invariant::OneLiveSession, || {
                format!("{agent} is told something on connection {connection}, and {newest:?} is the newest")
            })?;
        }
        for change in &turn.changes {
            if let Change::Event(event) = change
                && event.kind == EventKind::SpoolLost
            {
                let real =
                    self.agents.iter().any(|host| Some(&host.id) == event.agent.as_ref() && host.lost_spool);
                holds(real, || format!("the spool of {:?} is called lost, and never was", event.agent))?;
            }
            if let Change::AttemptEnded { key, attempt, outcome: Outcome::TimedOut, .. } = change {
                self.judge_timeout(key, *attempt)?;
            }
            if let Change::RunChanged(run) = change
                && let RunState::Ended(end) = &run.state
            {
                if end.outcome == Outcome::Cancelled && end.started == Some(false) {
                    self.tally.hit("cancelled before it started");
                } else if end.outcome == Outcome::Cancelled {
                    self.tally.hit("cancelled after it started");
                }
                let code = end.fault.as_ref().map(|fault| fault.message.as_str()).unwrap_or_default();
                if code.contains("spool_lost") {
                    self.tally.hit("resolved: spool lost");
                }
                if code.contains("unknown_after") {
                    self.tally.hit("resolved: given up");
                }
            }
        }
        Ok(())
    }

    pub(super) fn resume_came(&mut self, agent: &PeerId, connection: u64, last: bool) {
        if let Some((newest, resumed)) = self.manager.newest.get_mut(agent)
            && *newest == connection
        {
            *resumed |= last;
        }
    }

    /// What the machine is about to hear of the end of a session, or of a callback.
    pub(super) fn note_news(&mut self, input: &Input<Token>) {
        if let Input::CallbackTried { job, serial, error } = input {
            self.callbacks_under_way.remove(&(*job, *serial));
            if error.is_none() {
                self.callbacks_heard.insert((*job, *serial));
            }
        }
        if let Input::AgentDown { agent, connection, .. } = input {
            self.manager.presence.down(agent, connection.0);
        }
        if let Input::AgentDown { agent, connection, .. } = input
            && self.manager.newest.get(agent).is_some_and(|(newest, _)| *newest == connection.0)
        {
            self.manager.newest.remove(agent);
        }
    }

    /// The machine is about to hear an agent, or that nothing more is to be heard of it.
    pub(super) fn note_word(&mut self, input: &Input<Token>) {
        if let Input::Cut { who, connection, .. } = input {
            self.manager.presence.cut(&who.id, connection.0);
            if self.manager.newest.get(&who.id).is_some_and(|(newest, _)| *newest <= connection.0) {
                self.manager.newest.remove(&who.id);
            }
        }
        let (Input::Report { agent, connection, .. }
        | Input::OfferAnswered { agent, connection, .. }
        | Input::CancelAnswered { agent, connection, .. }) = input
        else {
            return;
        };
        match self.manager.presence.word_comes(agent, connection.0) {
            Some(Invariant::ShutOut) => self.tally.hit("word of an agent that was cut"),
            Some(_) if matches!(input, Input::Report { .. }) => {
                self.tally.hit("report of an older connection")
            }
            Some(_) => self.tally.hit("answer on an older connection"),
            None => {}
        }
    }

    /// An offer leaves: its number is on disk, stands for nothing else, and is higher than all before it or the same again.
    pub(super) fn check_offer(&mut self, offer: &Offer) -> Check {
        let Offer { agent, run, .. } = offer;
        let row = self.manager.store.run_of(run.job, agent);
        let stored = row.is_some_and(|row| row.dno >= run.dno);
        ensure(stored || self.manager.store.deleted.contains(&run.job), Invariant::NumbersGrow, || {
            format!("number {} left for {agent} before it was on disk", run.dno)
        })?;
        let counted =
            self.manager.store.agents.get(agent).is_some_and(|counters| counters.last_dno >= run.dno);
        ensure(counted, Invariant::NumbersGrow, || format!("number {} of {agent} is not counted", run.dno))?;
        let last = self.numbers.range(..=(agent.clone(), Dno(u64::MAX))).next_back();
        let last = last.filter(|((of, _), _)| of == agent).map_or(Dno(0), |((_, dno), _)| *dno);
        match self.numbers.get(&(agent.clone(), run.dno)) {
            Some(before) if before == run => {
                self.tally.hit("resolved: never received, the same number again")
            }
            Some(before) => {
                return ensure(false, Invariant::NumbersGrow, || {
                    format!("number {} of {agent} was given to {before:?} and to {run:?}", run.dno)
                });
            }
            None => ensure(run.dno > last, Invariant::NumbersGrow, || {
                format!("number {} of {agent} left after {last}", run.dno)
            })?,
        }
        self.numbers.insert((agent.clone(), run.dno), *run);
        let before = self.tries.insert((run.job, agent.clone(), run.attempt), run.dno);
        if before.is_some_and(|before| before != run.dno) {
            self.tally.hit("resolved: number burnt, a new one");
        }
        Ok(())
    }

    /// What the manager acknowledges, it has on disk.
    pub(super) fn check_acks(&self, connection: u64, acks: &[Ack]) -> Check {
        let Some(end) = self.manager.sessions.get(&connection) else { return Ok(()) };
        for ack in acks {
            let key = RunKey { job: ack.job, agent: end.agent.clone() };
            let held = self.manager.store.runs.get(&key).and_then(|run| run.state.dispatch());
            let open = held.is_some_and(|(attempt, _)| attempt == ack.attempt);
            ensure(!(ack.done && open), Invariant::ForgottenIsStored, || {
                format!("the end of {key} is acknowledged and not stored")
            })?;
            let have = self.manager.store.items(&key, ack.attempt).len() as u64;
            // its job may have been deleted by a later turn of the same sync
            let gone = ack.done || self.manager.store.deleted.contains(&ack.job);
            ensure(gone || ack.next_n <= have, Invariant::GaplessItems, || {
                format!("items of {key} below {} are acknowledged, and {have} are stored", ack.next_n)
            })?;
        }
        Ok(())
    }

    /// An agent forgets a run: the manager has its end on disk, or does not want it.
    pub(super) fn check_forgotten(&self, agent: usize, dno: Dno) -> Check {
        let agent = &self.agents[agent].id;
        let Some(RunRef { job, attempt, .. }) = self.numbers.get(&(agent.clone(), dno)) else {
            return Ok(());
        };
        let held = self.manager.store.run_of(*job, agent).and_then(|run| run.state.dispatch());
        ensure(held != Some((*attempt, dno)), Invariant::ForgottenIsStored, || {
            format!("{agent} forgets attempt {attempt} of {job} before the manager has its end")
        })
    }

    /// What an agent is given is what was submitted.
    pub(super) fn check_spec(&self, offer: &WireOffer) -> Check {
        let Some(spec) = self.operators.spec(offer.run.job) else { return Ok(()) };
        let same = (&spec.procedure, &spec.args, &spec.kwargs, &spec.info)
            == (&offer.procedure, &offer.args, &offer.kwargs, &offer.info);
        ensure(same, Invariant::SpecIntact, || format!("{} is offered as something else", offer.run.job))
    }

    /// Somebody is told of an end. He takes it or not, and what he says may get lost.
    pub(super) fn deliver_callback(&mut self, job: JobId, serial: u32) -> Check {
        let id = (job, serial);
        let row = self.manager.store.callbacks.get(&id);
        let pending = row.is_some_and(|row| row.state == CallbackState::Pending);
        let deleted = self.manager.store.deleted.contains(&job);
        ensure(pending || deleted, Invariant::CallbackOnce, || {
            format!("callback {id:?} is told, and is not pending")
        })?;
        let heard = self.callbacks_heard.contains(&id);
        ensure(!heard, Invariant::CallbackOnce, || {
            format!("callback {id:?} is told again after it was taken")
        })?;
        let under_way = self.callbacks_under_way.insert(id);
        ensure(under_way, Invariant::CallbackOnce, || format!("callback {id:?} is told twice at a time"))?;
        let error = match self.dice.below(8) {
            0 | 1 => Some("refused".into()),
            2 => {
                self.callbacks_taken.insert(id);
                Some("no answer".into())
            }
            _ => {
                self.callbacks_taken.insert(id);
                None
            }
        };
        self.later(Input::CallbackTried { job, serial, error });
        Ok(())
    }
}
