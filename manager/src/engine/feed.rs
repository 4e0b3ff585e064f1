//! Who is told that something about a job is on disk: followers, and whoever waits for a result.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use redpoll_common::ids::PeerId;
use redpoll_common::job::JobId;
use redpoll_manager_core::jobs::record::Change;
use tokio::sync::Notify;

/// What a turn touches: the job, and the agent of the run if it is one.
pub(super) type Touched = (JobId, Option<PeerId>);

/// All watches by their jobs.
#[derive(Debug, Default)]
pub struct Feed {
    watches: Mutex<BTreeMap<JobId, Vec<Weak<Shared>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    news: Mutex<News>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct News {
    agents: BTreeSet<PeerId>,
    any: bool,
}

/// Wakes after each commit that touched a job.
#[derive(Debug)]
pub struct JobWatch {
    job: JobId,
    feed: Arc<Feed>,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // nothing panics while it holds one of these
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// A watch on a job, whether it exists or not.
    pub(super) fn watch(self: &Arc<Self>, job: JobId) -> JobWatch {
        let shared = Arc::new(Shared::default());
        lock(&self.watches).entry(job).or_default().push(Arc::downgrade(&shared));
        JobWatch { job, feed: self.clone(), shared }
    }

    /// Tells that a turn is on disk.
    pub(super) fn tell(&self, touched: &[Touched]) {
        let watches = lock(&self.watches);
        if watches.is_empty() {
            return;
        }
        for (job, agent) in touched {
            for watch in watches.get(job).into_iter().flatten().filter_map(Weak::upgrade) {
                let mut news = lock(&watch.news);
                news.any = true;
                news.agents.extend(agent.clone());
                drop(news);
                watch.wake.notify_one();
            }
        }
    }

    fn forget(&self, job: JobId, shared: &Arc<Shared>) {
        let mut watches = lock(&self.watches);
        if let Some(of_job) = watches.get_mut(&job) {
            of_job.retain(|watch| {
                watch.strong_count() > 0 && !std::ptr::eq(watch.as_ptr(), Arc::as_ptr(shared))
            });
            if of_job.is_empty() {
                watches.remove(&job);
            }
        }
    }
}

impl JobWatch {
    /// Waits until something about the job is on disk that was not at the last call, and gives the agents whose runs it was;
    /// none when it was the job alone. Cancel-safe.
    pub async fn changed(&mut self) -> BTreeSet<PeerId> {
        loop {
            let news = mem::take(&mut *lock(&self.shared.news));
            if news.any {
                return news.agents;
            }
            self.shared.wake.notified().await;
        }
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        self.feed.forget(self.job, &self.shared);
    }
}

/// What a change touches.
pub(super) fn touched(change: &Change) -> Option<Touched> {
    match change {
        Change::JobSubmitted(job) => Some((job.id, None)),
        Change::JobReleased { job, .. } | Change::JobEnded { job, .. } | Change::JobDeleted(job) => {
            Some((*job, None))
        }
        Change::RunChanged(run) => Some((run.key.job, Some(run.key.agent.clone()))),
        Change::Items { key, .. } | Change::Progress { key, .. } | Change::AttemptEnded { key, .. } => {
            Some((key.job, Some(key.agent.clone())))
        }
        Change::CallbackChanged(callback) => Some((callback.job, None)),
        Change::ArgumentsMasked(job) => Some((*job, None)),
        Change::JobRedacted(job) => Some((job.id, None)),
        Change::QueueOpened(_)
        | Change::QueueClosed(_)
        | Change::AgentCounters(_)
        | Change::Event(_)
        | Change::Denied(_)
        | Change::Allowed(_)
        | Change::Clock(_)
        | Change::EventsPruned { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn agent(name: &str) -> PeerId {
        PeerId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn a_watch_tells_what_came_after_it_and_whose() {
        let feed = Arc::new(Feed::default());
        let (one, other) = (JobId::new(1, 1), JobId::new(1, 2));
        let mut watch = feed.watch(one);
        assert!(watch.changed().now_or_never().is_none());
        feed.tell(&[(one, Some(agent("a"))), (other, Some(agent("b"))), (one, Some(agent("c")))]);
        assert_eq!(watch.changed().await, [agent("a"), agent("c")].into());
        assert!(watch.changed().now_or_never().is_none());
        feed.tell(&[(one, None)]);
        assert!(watch.changed().await.is_empty());
        drop(watch);
        assert!(lock(&feed.watches).is_empty(), "nothing stays of it");
    }
}
