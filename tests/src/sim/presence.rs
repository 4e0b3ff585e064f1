//! Which connection of each agent the machine follows, by what it was told: the events of comings and goings agree with it.

use std::collections::BTreeMap;

use redpoll_common::ids::PeerId;
use redpoll_manager_core::jobs::record::{Change, EventKind};
use redpoll_manager_core::jobs::{Effect, Turn};

use super::history::holds;
use super::invariant::{Check, Invariant, ensure};

/// In one life of the manager.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// The highest connection that it was told of.
    highest: BTreeMap<PeerId, u64>,
    /// The connection in place.
    current: BTreeMap<PeerId, u64>,
    /// What the next turn has to tell.
    news: Option<(EventKind, PeerId)>,
    /// The highest connection of those that were closed when the agent was shut out.
    cut: BTreeMap<PeerId, u64>,
    /// What it hears now must do nothing: it comes of a connection that was replaced, or cut, or is a page of one that is over.
    stale: Option<Invariant>,
}

impl Presence {
    pub(super) fn up(&mut self, agent: &PeerId, connection: u64) {
        let highest = self.highest.entry(agent.clone()).or_default();
        if connection > *highest {
            *highest = connection;
            self.current.insert(agent.clone(), connection);
            self.news = Some((EventKind::AgentConnected, agent.clone()));
        }
    }

    pub(super) fn down(&mut self, agent: &PeerId, connection: u64) {
        let highest = self.highest.entry(agent.clone()).or_default();
        *highest = connection.max(*highest);
        if self.current.get(agent) == Some(&connection) {
            self.current.remove(agent);
            self.news = Some((EventKind::AgentDisconnected, agent.clone()));
        }
    }

    /// It is about to hear a page of what an agent has.
    pub(super) fn page_comes(&mut self, agent: &PeerId, connection: u64) {
        let stale = self.current.get(agent) != Some(&connection);
        self.stale = stale.then_some(Invariant::ShutOut);
    }

    /// It is about to hear a report, or an answer to what an agent was asked. What was said on the newest connection is true also when
    /// that is over. Gives what speaks against it.
    pub(super) fn word_comes(&mut self, agent: &PeerId, connection: u64) -> Option<Invariant> {
        self.up(agent, connection);
        let older = self.highest(agent) > connection;
        let cut = self.cut.get(agent).is_some_and(|cut| connection <= *cut);
        self.stale = match (cut, older) {
            (true, _) => Some(Invariant::ShutOut),
            (false, true) => Some(Invariant::OneLiveSession),
            (false, false) => None,
        };
        self.stale
    }

    /// The connections of an agent up to this one are closed, and it hears of that.
    pub(super) fn cut(&mut self, agent: &PeerId, connection: u64) {
        if let Some(current) = self.current.get(agent).copied().filter(|current| *current <= connection) {
            self.down(agent, current);
        }
        let cut = self.cut.entry(agent.clone()).or_default();
        *cut = connection.max(*cut);
    }

    /// The highest connection of an agent that it was told of.
    pub(super) fn highest(&self, agent: &PeerId) -> u64 {
        self.highest.get(agent).copied().unwrap_or(0)
    }

    /// What a turn tells of comings and goings is what happened, once.
    ///
    /// And what a connection says that was replaced, or cut, does nothing.
    pub(super) fn judge<T: std::fmt::Debug>(&mut self, turn: Option<&Turn<T>>) -> Check {
        let changes: &[Change] = turn.map_or(&[], |turn| &turn.changes);
        let effects: &[Effect<T>] = turn.map_or(&[], |turn| &turn.effects);
        if let Some(invariant) = self.stale.take() {
            let says_so =
                |effect: &Effect<T>| matches!(effect, Effect::RefuseReport(_) | Effect::ResumeAnswer(..));
            ensure(changes.is_empty() && effects.iter().all(says_so), invariant, || {
                format!(
                    "what a connection says that is not in place does something: {changes:?}, {effects:?}"
                )
            })?;
        }
        let moves = [EventKind::AgentConnected, EventKind::AgentDisconnected];
        let told = changes.iter().filter_map(|change| {
            let Change::Event(event) = change else { return None };
            moves.contains(&event.kind).then(|| event.agent.clone().map(|agent| (event.kind, agent)))?
        });
        let told: Vec<_> = told.collect();
        let news: Vec<_> = self.news.take().into_iter().collect();
        holds(told == news, || format!("{news:?} happened, and {told:?} is told"))
    }
}
