//! A manager without a world: inputs in, what comes of them out.

use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::RunReport;
use redpoll_common::job::{Dno, Ending, JobId, Outcome, RunState};
use redpoll_manager_core::jobs::{Answer, Effect, Input, Jobs, Offer, Refusal, ResumePage, Scope, Settings};

use super::store::Store;
use super::{Plan, agent, job};

pub(crate) struct Manager {
    pub(crate) jobs: Jobs<u32>,
    pub(crate) store: Store,
    pub(crate) now: u64,
}

impl Manager {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { jobs: Jobs::new(settings, 1_000), store: Store::default(), now: 1_000 }
    }

    pub(crate) fn feed(&mut self, input: Input<u32>) -> Vec<Effect<u32>> {
        self.jobs.handle(input, self.now);
        self.take()
    }

    pub(crate) fn take(&mut self) -> Vec<Effect<u32>> {
        let Some(turn) = self.jobs.poll_turn() else { return Vec::new() };
        self.store.apply(&turn.changes);
        turn.effects
    }

    pub(crate) fn later(&mut self, ms: u64) -> Vec<Effect<u32>> {
        self.now += ms;
        self.jobs.handle_timeout(self.now);
        self.take()
    }

    pub(crate) fn submit(&mut self, n: u64, plan: &Plan, agents: &[(&str, bool)]) -> Vec<Effect<u32>> {
        self.feed(Input::Submit(plan.submit(0, job(n), agents)))
    }

    pub(crate) fn up(&mut self, name: &str) -> Vec<Effect<u32>> {
        self.up_again(name, 1)
    }

    pub(crate) fn up_again(&mut self, name: &str, connection: u64) -> Vec<Effect<u32>> {
        self.feed(Input::Resume(ResumePage {
            token: 0,
            agent: agent(name),
            connection: ConnectionId(connection),
            spool: [1; 16],
            max_dno: Dno(0),
            last: true,
            rows: Vec::new(),
        }))
    }

    pub(crate) fn done(&mut self, offer: &Offer, outcome: Outcome) -> Vec<Effect<u32>> {
        self.feed(done(offer, outcome))
    }

    pub(crate) fn cancel(&mut self, scope: Scope, preview: bool) -> Vec<Effect<u32>> {
        self.feed(Input::Cancel { token: 0, scope, grace_ms: None, preview, by: None })
    }

    pub(crate) fn outcome(&self, n: u64, name: &str) -> Option<Outcome> {
        match &self.store.run_of(job(n), &agent(name)).unwrap().state {
            RunState::Ended(ending) => Some(ending.outcome),
            _ => None,
        }
    }
}

/// The end of what was offered, told by its agent.
pub(crate) fn done(offer: &Offer, outcome: Outcome) -> Input<u32> {
    let ending =
        Ending { outcome, started: Some(true), result: None, fault: None, items: 0, duration_ms: None };
    let report = RunReport { done: Some(ending), ..RunReport::about(offer.run) };
    let (agent, connection) = (offer.agent.clone(), offer.connection);
    Input::Report { token: 0, agent, connection, reports: vec![report] }
}

pub(crate) fn offers(effects: &[Effect<u32>]) -> Vec<Offer> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Offer(offer) = effect { Some(Offer::clone(offer)) } else { None })
        .collect()
}

pub(crate) fn answers(effects: &[Effect<u32>]) -> Vec<Result<Answer, Refusal>> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Answer(_, answer) = effect { Some(answer.clone()) } else { None })
        .collect()
}

pub(crate) fn ids(effects: &[Effect<u32>]) -> Vec<JobId> {
    offers(effects).iter().map(|offer| offer.run.job).collect()
}
