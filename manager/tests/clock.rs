//! What is counted goes on when the wall clock is set, and what is told follows it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jobs_desk::{Desk, peer, succeeded};
use redpoll_common::api::events::{EventListArguments, EventSummary};
use redpoll_common::api::jobs::{JobArguments, JobList, JobListArguments, JobSummary};
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::{Ending, JobId, Outcome, RunState};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager::clock::{Hands, Moved};
use redpoll_manager_core::jobs::Settings;
use redpoll_manager_core::jobs::record::Change;
use rusqlite::Connection;
use serde::Deserialize;
use tempfile::TempDir;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Some day of the year 2023.
const THEN: u64 = 1_700_000_000_000;

/// A manager with clocks of its own, which has been up for an hour.
struct World {
    folder: TempDir,
    clocks: Arc<Moved>,
    desk: Desk,
}

fn settings() -> Settings {
    Settings { retry_first_ms: 10 * MINUTE, retry_max_ms: 10 * MINUTE, ..jobs_desk::settings() }
}

async fn desk(folder: &Path, clocks: &Arc<Moved>) -> Desk {
    Desk::in_folder(folder, &Hands::Moved(clocks.clone()), settings()).await
}

impl World {
    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: Settings) -> Self {
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let clocks = Arc::new(Moved::default());
        clocks.boot_ms.store(HOUR, Ordering::Relaxed);
        clocks.wall_ms.store(THEN, Ordering::Relaxed);
        let desk = Desk::in_folder(folder.path(), &Hands::Moved(clocks.clone()), settings).await;
        Self { folder, clocks, desk }
    }

    /// Time passes, for all clocks.
    async fn pass(&self, ms: u64) {
        self.clocks.boot_ms.fetch_add(ms, Ordering::Relaxed);
        self.clocks.wall_ms.fetch_add(ms, Ordering::Relaxed);
        self.look().await;
    }

    /// Somebody sets the wall clock.
    async fn set(&self, by: i64) {
        let wall = self.clocks.wall_ms.load(Ordering::Relaxed);
        self.clocks.wall_ms.store(wall.saturating_add_signed(by), Ordering::Relaxed);
        self.look().await;
    }

    /// The engine looks at the clocks after each message; the answer of the second comes after it did so for the first. What it decided
    /// is on disk when this returns.
    async fn look(&self) {
        for _ in 0..2 {
            self.desk.engine.queues(None, 1).await.unwrap();
        }
        self.desk.store.commit(vec![Change::EventsPruned { below: 0 }]).await.unwrap();
    }

    /// The manager ends and begins again; `meanwhile` its clocks go on.
    async fn restart(self, meanwhile: impl FnOnce(&Moved)) -> Self {
        let Self { folder, clocks, desk: before } = self;
        let store = before.store.clone();
        before.stop().await;
        store.close().await;
        drop(store);
        meanwhile(&clocks);
        let desk = desk(folder.path(), &clocks).await;
        Self { folder, clocks, desk }
    }

    async fn state(&self, job: JobId, agent: &str) -> RunState {
        self.desk.run(job, agent).await.state
    }

    async fn summary(&self, job: JobId) -> JobSummary {
        #[derive(Deserialize)]
        struct Shown {
            job: JobSummary,
        }
        let shown: Shown =
            self.desk.ask(method::JOBS_SHOW, &JobArguments { job: job.to_string() }).await.unwrap();
        shown.job
    }

    async fn events(&self, kind: &str) -> Vec<EventSummary> {
        #[derive(Deserialize)]
        struct Page {
            events: Vec<EventSummary>,
        }
        let asked = EventListArguments { kind: Some(kind.to_owned()), ..EventListArguments::default() };
        self.desk.ask::<Page>(method::EVENTS_LIST, &asked).await.unwrap().events
    }

    /// A job for an agent that is away, which may wait for two hours.
    async fn waiting(&self) -> JobId {
        self.desk.know(&["away"]);
        let mut submit = SubmitArguments::new(vec!["away".to_owned()], "app.work");
        submit.spec.limits.start_within = Some(Duration::from_millis(2 * HOUR));
        JobId::parse(&self.desk.submit_with(&submit).await.unwrap().job).unwrap()
    }

    /// A job that has ended.
    async fn ended(&self) -> JobId {
        self.desk.connect(&["there"]).await;
        let job = self.desk.submit(&["there"]).await;
        self.desk.end(job, "there", succeeded(0, Raw::nil())).await;
        job
    }
}

fn is_expired(state: &RunState) -> bool {
    state.ending().is_some_and(|ending| ending.outcome == Outcome::Expired)
}

#[tokio::test]
async fn a_clock_set_forward_deletes_nothing_and_lets_nothing_expire() {
    let world = World::new().await;
    let (waiting, ended) = (world.waiting().await, world.ended().await);
    world.set(40 * 86_400_000).await;
    // retention looks after a minute
    world.pass(2 * MINUTE).await;
    world.look().await;
    assert!(world.desk.store.job(ended).await.unwrap().is_some(), "deleted by a clock");
    assert_eq!(world.state(waiting, "away").await, RunState::Queued);
    world.pass(2 * HOUR - 3 * MINUTE).await;
    assert_eq!(world.state(waiting, "away").await, RunState::Queued);
    world.pass(2 * MINUTE).await;
    assert!(is_expired(&world.state(waiting, "away").await));
    // and what is old is deleted: thirty days have passed, whatever the clock says
    world.set(-40 * 86_400_000).await;
    world.pass(31 * DAY).await;
    while world.desk.store.job(ended).await.unwrap().is_some() {
        world.pass(MINUTE).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_ahead_after_a_boot_deletes_nothing() {
    let world = World::new().await;
    let ended = world.ended().await;
    let mut world = world
        .restart(|clocks| {
            clocks.boots.fetch_add(1, Ordering::Relaxed);
            clocks.boot_ms.store(MINUTE, Ordering::Relaxed);
            clocks.wall_ms.fetch_add(60 * DAY, Ordering::Relaxed);
        })
        .await;
    let stays = async |world: &World| {
        for _ in 0..3 {
            world.pass(2 * MINUTE).await;
            world.look().await;
        }
        assert!(world.desk.store.job(ended).await.unwrap().is_some(), "deleted by a clock");
    };
    stays(&world).await;
    // it has a network now
    world.set(-60 * 86_400_000).await;
    stays(&world).await;
    world.pass(2 * HOUR).await;
    stays(&world).await;
    world = world.restart(|_| ()).await;
    stays(&world).await;
    // really old, and as much later as the clock had been ahead
    world.pass(91 * DAY).await;
    while world.desk.store.job(ended).await.unwrap().is_some() {
        world.pass(MINUTE).await;
    }
}

#[tokio::test]
async fn how_far_the_clock_was_ahead_at_the_boot_is_kept_and_of_older_builds_taken_as_it_is() {
    let mut world = World::new().await;
    let database = world.folder.path().join("store/jobs.db");
    let ahead = |world: &World| {
        let anchor = world.desk.store.clock().anchor();
        (anchor.ahead_ms, anchor.ahead_at_boot_ms)
    };
    world.set(-60_000).await;
    world = world.restart(|_| ()).await;
    assert_eq!(ahead(&world), (-60_000, 0));
    // as a build leaves it that does not know of it, and one that was put in place for some boots
    let mut at_boot = -60_000;
    for sql in ["DROP TABLE clock_boot", "UPDATE clock_boot SET boot = x'01', ahead_ms = 7"] {
        world = world.restart(|_| Connection::open(&database).unwrap().execute_batch(sql).unwrap()).await;
        assert_eq!(ahead(&world), (at_boot, at_boot), "{sql}");
        world.set(-60_000).await;
        world = world.restart(|_| ()).await;
        assert_eq!(ahead(&world), (at_boot - 60_000, at_boot), "{sql}");
        at_boot -= 60_000;
    }
}

#[tokio::test]
async fn a_clock_set_back_puts_nothing_off() {
    let world = World::new().await;
    world.desk.connect(&["there"]).await;
    let mut submit = SubmitArguments::new(vec!["there".to_owned()], "app.work");
    submit.spec.max_attempts = 2;
    submit.spec.idempotent = Some(true);
    let job = JobId::parse(&world.desk.submit_with(&submit).await.unwrap().job).unwrap();
    let fault = Fault::new(FaultCode::Failed, "no");
    let failed =
        Ending { fault: Some(fault), outcome: Outcome::Failed, result: None, ..succeeded(0, Raw::nil()) };
    world.desk.end(job, "there", failed).await;
    let waiting = world.waiting().await;
    world.set(-86_400_000).await;
    assert_eq!(world.state(job, "there").await, RunState::Queued);
    // the second attempt is offered ten minutes after the first
    world.pass(11 * MINUTE).await;
    assert!(world.state(job, "there").await.dispatch().is_some(), "a retry waits for a clock");
    world.pass(2 * HOUR).await;
    assert!(is_expired(&world.state(waiting, "away").await));
}

#[tokio::test]
async fn a_manager_that_was_away_counts_the_time_that_passed_and_not_what_the_clock_says() {
    let world = World::new().await;
    let (waiting, ended) = (world.waiting().await, world.ended().await);
    let world = world
        .restart(|clocks| {
            clocks.boot_ms.fetch_add(HOUR, Ordering::Relaxed);
            clocks.wall_ms.fetch_add(HOUR + 40 * DAY, Ordering::Relaxed);
        })
        .await;
    world.pass(2 * MINUTE).await;
    world.look().await;
    assert!(world.desk.store.job(ended).await.unwrap().is_some(), "deleted by a clock");
    assert_eq!(world.state(waiting, "away").await, RunState::Queued);
    assert_eq!(world.events("manager.clock_set").await.len(), 1);
    world.pass(HOUR).await;
    assert!(is_expired(&world.state(waiting, "away").await));
}

#[tokio::test]
async fn times_are_told_as_the_clock_is_set_and_the_setting_is_an_event() {
    let world = World::new().await;
    let job = world.ended().await;
    let before = world.summary(job).await;
    assert_eq!((before.submitted_ms, before.ended_ms), (THEN, Some(THEN)));
    assert!(world.events("manager.clock_set").await.is_empty());
    world.set(3_600_000).await;
    let after = world.summary(job).await;
    assert_eq!((after.submitted_ms, after.ended_ms), (THEN + HOUR, Some(THEN + HOUR)));
    let [set] = &world.events("manager.clock_set").await[..] else { panic!("no event, or several") };
    assert_eq!((set.at_ms, set.detail.as_deref()), (THEN + HOUR, Some("forward by 3600s")));
    assert!(world.events("job.ended").await.iter().all(|event| event.at_ms == THEN + HOUR));
    let run = world.desk.run(job, "there").await;
    assert_eq!((run.key.agent, run.ended_ms), (peer("there"), Some(THEN)));
    for (since, found) in [(THEN + HOUR, 1), (THEN + HOUR + 1, 0)] {
        let asked = JobListArguments { since_ms: Some(since), ..JobListArguments::default() };
        let list: JobList = world.desk.ask(method::JOBS_LIST, &asked).await.unwrap();
        assert_eq!(list.jobs.len(), found, "since {since}");
    }
    // how long ago is the manager's to say, whatever the clock of who asks
    world.pass(HOUR).await;
    for (ago, found) in [(HOUR, 1), (HOUR - 1, 0), (u64::MAX, 1)] {
        let (since_ms, since_ms_ago) = (Some(THEN * 2), Some(ago));
        let asked = JobListArguments { since_ms, since_ms_ago, ..JobListArguments::default() };
        let list: JobList = world.desk.ask(method::JOBS_LIST, &asked).await.unwrap();
        assert_eq!(list.jobs.len(), found, "{ago} ms ago");
    }
    // kept for the next manager, which finds nothing new
    let world = world.restart(|_| ()).await;
    world.look().await;
    assert_eq!(world.summary(job).await.submitted_ms, THEN + HOUR);
    assert_eq!(world.events("manager.clock_set").await.len(), 1);
}

#[tokio::test]
async fn a_manager_whose_machine_slept_gives_agents_time_to_return_before_it_gives_up() {
    let world = World::with(Settings { unknown_after_ms: Some(HOUR), ..settings() }).await;
    world.desk.connect(&["there"]).await;
    let job = world.desk.submit(&["there"]).await;
    world.desk.report(job, "there", |report| report).await;
    world.desk.engine.agent_down(peer("there"), ConnectionId(1), "cut".to_owned());
    world.look().await;
    assert!(
        matches!(world.state(job, "there").await, RunState::InDoubt(..)),
        "{:?}",
        world.state(job, "there").await
    );
    world.pass(5 * HOUR).await;
    assert!(matches!(world.state(job, "there").await, RunState::InDoubt(..)), "given up in its sleep");
    while world.state(job, "there").await.ending().is_none() {
        world.pass(20_000).await;
    }
    assert_eq!(world.clocks.boot_ms.load(Ordering::Relaxed) / MINUTE, 60 + 5 * 60 + 10);
}
