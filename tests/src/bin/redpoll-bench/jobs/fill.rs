//! Stores with many jobs, written by the store itself in large transactions.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Dno, Ending, JobId, Outcome, RunKey, RunState, Submitter};
use redpoll_common::wire::Raw;
use redpoll_manager::engine::digest;
use redpoll_manager::store::{Options, Sqlite, Store as _};
use redpoll_manager_core::jobs::event::EventKind;
use redpoll_manager_core::jobs::record::{
    AgentCounters, Change, EventRecord, JobRecord, Records, RunRecord, Summary,
};
use redpoll_manager_core::jobs::{Input, Jobs, Settings, Submit};
use redpoll_net::{clock, random};

use super::ask;
use crate::pki::OPERATOR;

/// The agent of all stored jobs. It is known and never comes.
pub(super) const AWAY: &str = "away";
/// Jobs in one transaction.
const AT_ONCE: u64 = 1000;

/// Makes a store in a folder with so many ended jobs, and says how long it took.
pub(super) async fn ended(folder: &Path, jobs: u64) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let store = open(folder)?;
    let agent = PeerId::parse(AWAY)?;
    let machine = Machine::new(Records::default())?;
    let counters = AgentCounters { agent, spool: None, last_dno: Dno(jobs), seen_dno: Dno(jobs) };
    let mut last = store.enqueue(vec![Change::AgentCounters(counters)]).await;
    let mut made = 0;
    while made < jobs {
        let count = AT_ONCE.min(jobs - made);
        let changes = (made..made + count).map(|n| machine.ended(n)).collect::<Result<Vec<_>, _>>()?;
        let next = store.enqueue(changes.into_iter().flatten().collect()).await;
        // one is written while the next one is made
        std::mem::replace(&mut last, next).await?;
        made += count;
    }
    last.await?;
    store.close().await;
    Ok(begun.elapsed())
}

/// Adds jobs that wait for their agent.
pub(super) async fn waiting(folder: &Path, jobs: u64) -> anyhow::Result<()> {
    let store = open(folder)?;
    let mut machine = Machine::new(store.recover().await?)?;
    let mut made = 0;
    while made < jobs {
        let count = AT_ONCE.min(jobs - made);
        let changes = (0..count).map(|_| machine.submit()).collect::<Result<Vec<_>, _>>()?;
        store.commit(changes.into_iter().flatten().collect()).await?;
        made += count;
    }
    store.close().await;
    Ok(())
}

/// Opens a store as a manager does.
pub(crate) fn open(folder: &Path) -> anyhow::Result<Sqlite> {
    Ok(Sqlite::open(folder, Options::default())?)
}

/// The manager's machine of jobs, to know what a submit changes.
#[derive(Debug)]
pub(crate) struct Machine {
    jobs: Jobs<()>,
    agent: PeerId,
    submitter: Submitter,
    template: Arc<redpoll_common::job::JobSpec>,
    digest: redpoll_manager_core::jobs::record::Digest,
}

impl Machine {
    /// Goes on from what a store has.
    pub(crate) fn new(records: Records) -> anyhow::Result<Self> {
        let settings = Settings { open_runs: usize::MAX, ..Settings::default() };
        let asked = ask::echo(AWAY)?;
        Ok(Self {
            jobs: Jobs::recover(settings, records, clock::wall_ms()),
            agent: PeerId::parse(AWAY)?,
            submitter: PeerId::parse(OPERATOR)?.into(),
            digest: digest::of(&asked),
            template: Arc::new(asked.spec),
        })
    }

    /// What one more submit changes.
    pub(crate) fn submit(&mut self) -> anyhow::Result<Vec<Change>> {
        let now = clock::wall_ms();
        let submit = Submit {
            token: (),
            id: fresh(now),
            submitter: self.submitter.clone(),
            // each has its own, as it came with its request
            spec: Arc::new((*self.template).clone()),
            digest: self.digest,
            agents: vec![(self.agent.clone(), false)],
            idempotent: false,
            admin: Arc::default(),
            redact: Arc::default(),
        };
        self.jobs.handle(Input::Submit(Box::new(submit)), now);
        Ok(self.jobs.poll_turn().context("a submit without a turn")?.changes)
    }

    /// The rows of a job that has ended, with an event.
    fn ended(&self, n: u64) -> anyhow::Result<[Change; 3]> {
        let now = clock::wall_ms();
        let (id, agent) = (fresh(now), self.agent.clone());
        let mut summary = Summary::default();
        summary.count_in(Some(Outcome::Succeeded), 1);
        let job = JobRecord {
            id,
            submitter: self.submitter.clone(),
            digest: self.digest,
            spec: self.template.clone(),
            agents: Arc::from([agent.clone()]),
            idempotent: false,
            admin: Arc::default(),
            redact: Arc::default(),
            submitted_ms: now,
            released_ms: Some(now),
            ended_ms: Some(now),
            summary: Some(summary),
        };
        let ending = Ending {
            outcome: Outcome::Succeeded,
            started: Some(true),
            result: Some(Raw::encode(&["0123456789abcdef0123456789abcdef"])?),
            fault: None,
            items: 0,
            duration_ms: Some(1),
        };
        let run = RunRecord {
            key: RunKey { job: id, agent: agent.clone() },
            seq: n + 1,
            state: RunState::Ended(Box::new(ending)),
            attempt: Attempt(1),
            dno: Dno(n + 1),
            queued_ms: Some(now),
            offered_ms: Some(now),
            accepted_ms: Some(now),
            started_ms: Some(now),
            doubt_ms: None,
            ended_ms: Some(now),
            not_before_ms: 0,
            items: 0,
            cancel: None,
            corrected: false,
            earlier: None,
            put_back: 0,
        };
        let event = EventRecord {
            n: n + 1,
            at_ms: now,
            kind: EventKind::RunEnded,
            job: Some(id),
            agent: Some(agent),
            queue: None,
            attempt: Some(Attempt(1)),
            outcome: Some(Outcome::Succeeded),
            detail: None,
            custom: None,
        };
        Ok([Change::JobSubmitted(Arc::new(job)), Change::RunChanged(Box::new(run)), Change::Event(event)])
    }
}

fn fresh(now: u64) -> JobId {
    JobId::new(now, u128::from_be_bytes(random::bytes16()))
}
