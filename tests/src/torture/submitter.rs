//! Those who want jobs done: they submit, repeat what had no answer, release, cancel, and read to the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redpoll_common::api::jobs::{CancelAnswer, CancelArguments, JobArguments};
use redpoll_common::api::method;
use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::job::Offline;
use redpoll_common::wire::{FaultCode, Raw};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dice::Dice;
use super::ledger::{Acknowledged, Ledger};
use super::link::{Link, Lost};
use super::order::Order;
use super::reader;

/// Jobs that one submitter has open at a time.
const OPEN: usize = 5;
/// How long a cancel waits for its moment.
const MOMENT: Duration = Duration::from_secs(2);

/// One submitter, with a session of its own.
#[derive(Debug, Clone)]
pub struct Submitter {
    /// Its name.
    pub name: String,
    /// Its session.
    pub link: Link,
    /// Whom it may name.
    pub agents: Vec<String>,
    /// The oracle's file.
    pub oracle: PathBuf,
    /// What it is told goes there.
    pub ledger: Arc<Ledger>,
    /// Numbers for infos, of the whole world.
    pub numbers: Arc<AtomicU64>,
}

impl Submitter {
    /// Submits until `stop`; what becomes of the jobs is followed on `tracker`.
    pub async fn run(self, mut dice: Dice, tracker: TaskTracker, stop: CancellationToken) {
        let open = Arc::new(Semaphore::new(OPEN));
        loop {
            let permit = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                permit = open.clone().acquire_owned() => permit,
            };
            let order = Order::draw(&mut dice, &self.agents);
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let (own, dice) = (self.clone(), dice.fork());
            tracker.spawn(async move {
                own.see_to(order, number, dice).await;
                drop(permit);
            });
        }
    }

    async fn see_to(&self, order: Order, number: u64, mut dice: Dice) {
        let key = order.keyed.then(|| format!("key-{number}"));
        let submit = order.submit(&self.oracle, number, key.as_deref());
        let Some(answer) = self.submit(&submit, order.keyed).await else { return };
        let job = answer.job;
        let place = self.ledger.acknowledged(Acknowledged {
            number,
            submitter: self.name.clone(),
            key: key.clone(),
            order: order.clone(),
            job: job.clone(),
            cancelled: None,
            cancel_asked_ms: None,
            released: false,
        });
        if order.keyed && order.repeat {
            self.repeat(&submit, &job).await;
        }
        let release_after = dice.between(0, 5);
        let releases = async {
            if order.held {
                self.ledger.after(release_after, MOMENT).await;
                self.release(&job, place).await;
            }
        };
        let cancels = async {
            if let Some(beats) = order.cancel_after {
                self.ledger.after(beats, MOMENT).await;
                self.cancel(&job, place).await;
            }
        };
        let mut reader = reader::Reader::new(self.link.clone(), self.ledger.clone(), &job, dice.fork());
        tokio::join!(releases, cancels, reader.run());
    }

    /// With a key: until there is an answer. Without one: once; then nobody knows whether it was stored.
    async fn submit(&self, submit: &SubmitArguments, keyed: bool) -> Option<SubmitAnswer> {
        let kwargs = submit.write();
        self.ledger.beat();
        let answer = if keyed {
            self.link.surely(method::JOBS_SUBMIT, &kwargs).await
        } else {
            self.link.once(method::JOBS_SUBMIT, &kwargs).await
        };
        match answer {
            Ok(answer) => match answer.decode() {
                Ok(answer) => Some(answer),
                Err(error) => {
                    self.ledger.finding(format!("a submit was answered with what cannot be read: {error}"));
                    None
                }
            },
            Err(Lost::Maybe(_)) if !keyed => None,
            // an agent was away; what an earlier try stored, whose answer was lost, is found by its key
            Err(Lost::Refused(fault))
                if submit.spec.offline == Offline::Require && fault.code == FaultCode::AgentAway =>
            {
                None
            }
            Err(why) => {
                self.ledger.finding(format!("a submit of {} was not taken: {why:?}", self.name));
                None
            }
        }
    }

    /// The same key and the same job again, and the same key for something else.
    async fn repeat(&self, submit: &SubmitArguments, job: &str) {
        match self.submit(submit, true).await {
            Some(SubmitAnswer { job: other, existing: true, .. }) if other == job => {}
            answer => {
                self.ledger.finding(format!("{job}: the same key was answered with {answer:?}"));
            }
        }
        let mut other = submit.clone();
        other.spec.args = Raw::encode(&["true"]).unwrap_or_else(|_| Raw::empty_array());
        match self.link.surely(method::JOBS_SUBMIT, &other.write()).await {
            Err(Lost::Refused(fault)) if fault.code == FaultCode::IdemConflict => {}
            answer => {
                let what = format!("{job}: the same key for another job was answered with {answer:?}");
                self.ledger.finding(what);
            }
        }
    }

    async fn release(&self, job: &str, place: usize) {
        let arguments = JobArguments { job: job.to_owned() };
        match self.link.sure::<_, Option<u8>>(method::JOBS_RELEASE, &arguments).await {
            // repeated after a lost answer, or cancelled meanwhile
            Ok(_) => self.ledger.released(place),
            Err(Lost::Refused(fault)) if fault.code == FaultCode::WrongState => self.ledger.beat(),
            Err(why) => self.ledger.finding(format!("{job}: the release was not taken: {why:?}")),
        }
    }

    async fn cancel(&self, job: &str, place: usize) {
        let arguments = CancelArguments { job: Some(job.to_owned()), ..CancelArguments::default() };
        self.ledger.cancelling(place);
        match self.link.sure::<_, CancelAnswer>(method::JOBS_CANCEL, &arguments).await {
            Ok(CancelAnswer { ended, asked, .. }) => self.ledger.cancelled(place, ended, asked),
            // it was faster
            Err(Lost::Refused(fault)) if fault.code == FaultCode::WrongState => self.ledger.beat(),
            Err(why) => self.ledger.finding(format!("{job}: the cancel was not taken: {why:?}")),
        }
    }
}
