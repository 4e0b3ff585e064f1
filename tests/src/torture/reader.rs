//! Those who want to know what comes of a job: they follow or read it across kills, and wait for its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::items::{FollowArguments, FollowEvent, FollowFrom, ItemPage, ReadArguments};
use redpoll_common::api::jobs::{JobResult, ResultArguments};
use redpoll_common::api::method;
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_net::CallEvent;
use tokio::time::{Instant, sleep};

use super::dice::Dice;
use super::ledger::Ledger;
use super::link::{Link, Lost, lost};

/// How long a job may take from its submit to its end: its queue, its retries and all kills included.
const END: Duration = Duration::from_secs(90);

/// Reads one job.
#[derive(Debug)]
pub struct Reader {
    link: Link,
    ledger: Arc<Ledger>,
    job: String,
    dice: Dice,
    /// Per agent: the attempt, the number to go on with, and whether the end was told.
    known: BTreeMap<String, (u16, u64, bool)>,
}

impl Reader {
    /// A reader of this job.
    pub fn new(link: Link, ledger: Arc<Ledger>, job: &str, dice: Dice) -> Self {
        Self { link, ledger, job: job.to_owned(), dice, known: BTreeMap::new() }
    }

    /// Reads until the job has ended.
    pub async fn run(&mut self) {
        let deadline = Instant::now() + END;
        if self.dice.percent(40) {
            self.follow(deadline).await;
        } else if self.dice.percent(50) {
            self.read(deadline).await;
        }
        self.wait(deadline).await;
    }

    fn late(&self, deadline: Instant) -> bool {
        let late = Instant::now() > deadline;
        if late {
            self.ledger.finding(format!("{}: has not ended within {END:?}", self.job));
        }
        late
    }

    async fn wait(&self, deadline: Instant) {
        let arguments =
            ResultArguments { job: self.job.clone(), wait_ms: Some(2000), ..ResultArguments::default() };
        loop {
            match self.link.sure::<_, JobResult>(method::JOBS_RESULT, &arguments).await {
                Ok(result) if result.job.state == "ended" => {
                    for run in result.runs {
                        if let Some(end) = run.end {
                            self.ledger.ended((self.job.clone(), run.agent, run.attempt), end);
                        }
                    }
                    return;
                }
                Ok(_) => {}
                Err(why) => {
                    return self.ledger.finding(format!("{}: the result is not told: {why:?}", self.job));
                }
            }
            if self.late(deadline) {
                return;
            }
        }
    }

    /// Pages of one run, over and over.
    async fn read(&mut self, deadline: Instant) {
        let mut arguments = ReadArguments {
            job: self.job.clone(),
            limit: Some(self.dice.between(1, 20)),
            ..ReadArguments::default()
        };
        let mut at = (0, 0);
        loop {
            arguments.since = Some(at.1);
            let page = match self.page(&arguments).await {
                Ok(page) => page,
                // several runs: one of them will do
                Err(Lost::Refused(fault))
                    if fault.code == FaultCode::BadArguments && arguments.agent.is_none() =>
                {
                    return;
                }
                Err(why) => {
                    return self.ledger.finding(format!("{}: cannot be read: {why:?}", self.job));
                }
            };
            if page.attempt != at.0 {
                // tried again meanwhile: from its first item on
                let first = at.0 == 0 && at.1 == 0;
                at = (page.attempt, 0);
                if !first {
                    continue;
                }
            }
            let key = (self.job.clone(), page.agent.clone(), page.attempt);
            at.1 = self.ledger.items(&key, at.1, &page.items);
            if let Some(end) = page.end {
                return self.ledger.ended(key, end);
            }
            if self.late(deadline) {
                return;
            }
            if page.items.is_empty() {
                let pause = Duration::from_millis(self.dice.between(5, 50).into());
                sleep(pause).await;
            }
        }
    }

    async fn page(&self, arguments: &ReadArguments) -> Result<ItemPage, Lost> {
        let kwargs = Raw::encode(arguments).map_err(|error| Lost::Maybe(error.to_string()))?;
        let answer = self.link.surely(method::JOBS_READ, &kwargs).await?;
        ItemPage::read(&answer).map_err(|error| Lost::Maybe(error.to_string()))
    }

    /// One stream after the other, each going on where the one before was cut.
    async fn follow(&mut self, deadline: Instant) {
        loop {
            match self.stream().await {
                Ok(()) => return,
                Err(Lost::Maybe(_)) => {}
                Err(Lost::Refused(fault)) if fault.code == FaultCode::Overloaded => {}
                Err(Lost::Refused(fault)) => {
                    return self.ledger.finding(format!("{}: cannot be followed: {fault:?}", self.job));
                }
            }
            if self.late(deadline) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stream(&mut self) -> Result<(), Lost> {
        let from = self.known.iter().map(|(agent, (attempt, next, ended))| FollowFrom {
            agent: agent.clone(),
            attempt: *attempt,
            next: *next,
            ended: *ended,
        });
        let arguments =
            FollowArguments { job: self.job.clone(), from: from.collect(), ..FollowArguments::default() };
        let kwargs = Raw::encode(&arguments).map_err(|error| Lost::Maybe(error.to_string()))?;
        let mut stream = self.link.stream(method::JOBS_FOLLOW, &kwargs).await?;
        loop {
            match stream.next().await {
                Some(CallEvent::Value(value)) => match FollowEvent::read(&value) {
                    Ok(event) => self.told(event),
                    Err(error) => {
                        self.ledger.finding(format!("{}: a follower was told nonsense: {error}", self.job));
                    }
                },
                Some(CallEvent::Progress(_)) => {}
                Some(CallEvent::End(Ok(_))) => return Ok(()),
                Some(CallEvent::End(Err(error))) => return Err(lost(error)),
                None => return Err(Lost::Maybe("no end".to_owned())),
            }
        }
    }

    fn told(&mut self, event: FollowEvent) {
        let key = (self.job.clone(), event.agent.clone(), event.attempt);
        let known = self.known.entry(event.agent).or_insert((event.attempt, 0, false));
        if known.0 != event.attempt {
            if known.0 > event.attempt {
                self.ledger.finding(format!("{key:?}: told after attempt {}", known.0));
            }
            *known = (event.attempt, 0, false);
        }
        known.1 = self.ledger.items(&key, known.1, &event.items);
        if let Some(end) = event.end {
            known.2 = true;
            self.ledger.ended(key, end);
        }
    }
}
