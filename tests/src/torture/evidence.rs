//! What is there to judge a world by, once the faults have stopped and everything has come to rest.

use std::collections::BTreeMap;
use std::time::Duration;

use redpoll_common::api::events::{
    EventList, EventListArguments, EventSummary, EventVerified, EventVerifyArguments,
};
use redpoll_common::api::items::{ItemPage, MAX_ITEMS, ReadArguments};
use redpoll_common::api::jobs::{
    CancelAnswer, CancelArguments, EndSummary, JobDetail, JobList, JobListArguments, JobShowArguments,
};
use redpoll_common::api::method;
use redpoll_common::job::Item;
use redpoll_common::wire::{FaultCode, Raw};
use tokio::time::{Instant, sleep};

use super::ledger::Told;
use super::link::{Link, Lost};
use super::oracle::Line;
use super::site::Death;

/// How long everything may take to come to rest.
const REST: Duration = Duration::from_secs(45);

/// A job as the manager tells of it.
#[derive(Debug, Clone)]
pub struct Job {
    /// `rp.jobs.show`.
    pub detail: JobDetail,
    /// Per agent and attempt: `rp.jobs.read`.
    pub items: BTreeMap<(String, u16), Vec<Item>>,
    /// Per agent: the end with its result.
    pub ends: BTreeMap<String, EndSummary>,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// All jobs that the manager knows, by their ids.
    pub jobs: BTreeMap<String, Job>,
    /// The manager's history.
    pub events: Vec<EventSummary>,
    /// What the manager says of the history's hashes.
    pub verified: Option<EventVerified>,
    /// Jobs that were cancelled so that everything comes to rest.
    pub rested: Vec<String>,
    /// The deliveries that the manager's procedure was run for, as often as it took them.
    pub taken: Vec<String>,
    /// The oracle's file.
    pub oracle: Vec<Line>,
    /// What clients were told.
    pub told: Told,
    /// Who died where.
    pub deaths: Vec<Death>,
    /// The agents' processes that lived to the end.
    pub living: Vec<u32>,
    /// What is known to be wrong already.
    pub findings: Vec<String>,
}

impl Evidence {
    /// Whether a process was an agent at any time. What an agent started and outlived it has another parent.
    pub fn is_agent(&self, pid: u32) -> bool {
        self.living.contains(&pid) || self.deaths.iter().any(|death| death.pid == pid)
    }
}

type Outcome<T> = Result<T, Lost>;

/// Has everything that nobody released cancelled, and waits until no job is open. Gives what it cancelled.
///
/// # Errors
/// What is not answered, or still open.
pub async fn rest(link: &Link) -> Outcome<Vec<String>> {
    let deadline = Instant::now() + REST;
    let mut rested = Vec::new();
    loop {
        for job in list(link, Some("held")).await? {
            rested.push(job.clone());
            let arguments = CancelArguments { job: Some(job), ..CancelArguments::default() };
            match link.sure::<_, CancelAnswer>(method::JOBS_CANCEL, &arguments).await {
                Ok(_) => {}
                Err(Lost::Refused(fault)) if fault.code == FaultCode::WrongState => {}
                Err(why) => return Err(why),
            }
        }
        let open = list(link, Some("open")).await?;
        if open.is_empty() {
            return Ok(rested);
        }
        if Instant::now() > deadline {
            return Err(Lost::Maybe(format!("still open after {REST:?}: {open:?}")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The ids of all jobs in a state.
///
/// # Errors
/// What is not answered.
pub async fn list(link: &Link, state: Option<&str>) -> Outcome<Vec<String>> {
    let mut arguments = JobListArguments {
        state: state.map(str::to_owned),
        limit: Some(1000),
        ..JobListArguments::default()
    };
    let mut jobs = Vec::new();
    loop {
        let page: JobList = link.sure(method::JOBS_LIST, &arguments).await?;
        jobs.extend(page.jobs.into_iter().map(|job| job.job));
        if page.next.is_none() {
            return Ok(jobs);
        }
        arguments.before = page.next;
    }
}

/// All that the manager tells of a job.
///
/// # Errors
/// What is not answered.
pub async fn job(link: &Link, id: &str) -> Outcome<Job> {
    let arguments = JobShowArguments { job: id.to_owned(), limit: Some(1000), ..JobShowArguments::default() };
    let deadline = Instant::now() + REST;
    let detail = loop {
        let detail: JobDetail = link.sure(method::JOBS_SHOW, &arguments).await?;
        // whoever is told of the end is told soon
        let pending = detail.callbacks.iter().any(|callback| callback.state == "pending");
        if !pending || Instant::now() > deadline {
            break detail;
        }
        sleep(Duration::from_millis(50)).await;
    };
    let (mut items, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for run in &detail.runs {
        for attempt in 1..=run.attempt {
            let (all, end) = read(link, id, &run.agent, attempt).await?;
            items.insert((run.agent.clone(), attempt), all);
            if let Some(end) = end {
                ends.insert(run.agent.clone(), end);
            }
        }
    }
    Ok(Job { detail, items, ends })
}

async fn read(link: &Link, job: &str, agent: &str, attempt: u16) -> Outcome<(Vec<Item>, Option<EndSummary>)> {
    let mut items: Vec<Item> = Vec::new();
    loop {
        let arguments = ReadArguments {
            job: job.to_owned(),
            agent: Some(agent.to_owned()),
            attempt: Some(attempt),
            since: items.last().map(|item| item.n + 1),
            limit: u32::try_from(MAX_ITEMS).ok(),
            ..ReadArguments::default()
        };
        let kwargs = Raw::encode(&arguments).map_err(|error| Lost::Maybe(error.to_string()))?;
        let answer = link.surely(method::JOBS_READ, &kwargs).await?;
        let page = ItemPage::read(&answer).map_err(|error| Lost::Maybe(error.to_string()))?;
        let more = page.more && !page.items.is_empty();
        items.extend(page.items);
        if !more {
            return Ok((items, page.end));
        }
    }
}

/// What the manager says of its whole history.
///
/// # Errors
/// What is not answered.
pub async fn verified(link: &Link) -> Outcome<EventVerified> {
    let mut arguments = EventVerifyArguments::default();
    loop {
        let verified: EventVerified = link.sure(method::EVENTS_VERIFY, &arguments).await?;
        if !verified.more || verified.flaw.is_some() {
            return Ok(verified);
        }
        arguments.after = Some(verified.last);
    }
}

/// The whole history.
///
/// # Errors
/// What is not answered.
pub async fn events(link: &Link) -> Outcome<Vec<EventSummary>> {
    let (mut events, mut since) = (Vec::new(), 0);
    loop {
        let arguments =
            EventListArguments { since: Some(since), limit: Some(1000), ..EventListArguments::default() };
        let page: EventList = link.sure(method::EVENTS_LIST, &arguments).await?;
        since = page.last;
        events.extend(page.events);
        if !page.more {
            return Ok(events);
        }
    }
}
