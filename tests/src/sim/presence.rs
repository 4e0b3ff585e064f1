//! Which connection of each agent the machine follows, by what it was told: the events of comings and goings agree with it.

use std::collections::BTreeMap;

use redpoll_common::ids::PeerId;
use redpoll_manager_core::jobs::record::{Change, EventKind};

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
    /// What it hears now is a page of a connection that is not in place.
    stale: bool,
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
        self.stale = self.current.get(agent) != Some(&connection);
    }

    /// What a turn tells of comings and goings is what happened, once.
    ///
    /// And a page of a connection that was replaced, or is over, settles nothing.
    pub(super) fn judge(&mut self, changes: &[Change]) -> Check {
        let settles = std::mem::take(&mut self.stale) && !changes.is_empty();
        ensure(!settles, Invariant::ShutOut, || {
            format!("a page of a connection that is not in place settles something: {changes:?}")
        })?;
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
