//! What the tests of stores share: stores to try, and things to keep in them.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod everything;
pub(crate) mod log;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{
    Attempt, Callback, Dno, Ending, Item, ItemKind, JobId, JobSpec, Limits, Offline, Outcome, Overflow,
    QueueKey, QueueSpec, RunKey, RunState,
};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager::store::{AbortHook, Faults, Memory, Options, Sqlite, Store};
use redpoll_manager_core::jobs::record::{
    Cancelling, Change, EventKind, EventRecord, JobRecord, RunRecord, Summary,
};
use tempfile::TempDir;

/// A store to try, and the means to open it again.
pub(crate) struct Rig {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) faults: Faults,
    again: Box<dyn Fn() -> Arc<dyn Store> + Send + Sync>,
}

impl Rig {
    pub(crate) fn memory() -> Self {
        let faults = Faults::default();
        let memory = Memory::new(faults.clone(), AbortHook::new(|_last_word| {}));
        Self { store: Arc::new(memory.clone()), faults, again: Box::new(move || Arc::new(memory.reopen())) }
    }

    pub(crate) fn sqlite() -> Self {
        let folder = private_folder();
        let options = small();
        let faults = options.faults.clone();
        let again = move || -> Arc<dyn Store> {
            Arc::new(Sqlite::open(&folder.path().join("store"), options.clone()).unwrap())
        };
        Self { store: again(), faults, again: Box::new(again) }
    }

    /// Closes the store, and gives it as the next process would find it.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = (self.again)();
    }
}

/// A folder that a store accepts.
pub(crate) fn private_folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A small reserve, no patience, and an abort that leaves the test alive.
pub(crate) fn small() -> Options {
    Options {
        reserve_bytes: 64 * 1024,
        full_patience: Duration::ZERO,
        abort: AbortHook::new(|_last_word| {}),
        ..Options::default()
    }
}

pub(crate) const NOON: u64 = 1_800_000_000_000;

pub(crate) fn peer(name: &str) -> PeerId {
    PeerId::parse(name).unwrap()
}

pub(crate) fn queue(name: &str) -> QueueKey {
    QueueKey::text(name).unwrap()
}

pub(crate) fn id(n: u64) -> JobId {
    JobId::new(NOON + n, 7)
}

pub(crate) fn key(n: u64, agent: &str) -> RunKey {
    RunKey { job: id(n), agent: peer(agent) }
}

pub(crate) fn fault() -> Fault {
    Fault {
        code: FaultCode::Other("odd".to_owned()),
        message: "no luck".to_owned(),
        class: Some("Error".to_owned()),
        module: Some("lib".to_owned()),
        trace: Some("line 1".to_owned()),
        args: Some(Raw::empty_array()),
        state: Some(Raw::empty_map()),
        data: Some(Raw::text("more")),
        retry_after_ms: Some(9),
    }
}

/// A spec in which nothing has its default.
pub(crate) fn full_spec() -> JobSpec {
    JobSpec {
        procedure: "exec.run@2".to_owned(),
        args: Raw::text("args"),
        kwargs: Raw::empty_map(),
        queue: Some(QueueSpec { name: queue("builds"), concurrency: 3 }),
        offline: Offline::Require,
        limits: Limits {
            start_within: Some(Duration::from_millis(1)),
            run_timeout: Some(Duration::from_millis(2)),
            idle_timeout: Some(Duration::from_millis(3)),
            grace: Some(Duration::from_millis(4)),
            output: Some(5),
            overflow: Overflow::Kill,
        },
        max_attempts: 6,
        idempotent: Some(true),
        key: Some("once".to_owned()),
        info: Raw::text("info"),
        callback: Some(Callback::Webhook("https://example.org/hook".to_owned())),
        held: true,
    }
}

pub(crate) fn plain_spec() -> JobSpec {
    JobSpec {
        procedure: "sys.echo".to_owned(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        queue: None,
        offline: Offline::Wait,
        limits: Limits::default(),
        max_attempts: 1,
        idempotent: None,
        key: None,
        info: Raw::nil(),
        callback: None,
        held: false,
    }
}

pub(crate) fn job(n: u64, agents: &[&str], spec: JobSpec) -> JobRecord {
    JobRecord {
        id: id(n),
        submitter: peer("alice").into(),
        digest: [3; 32],
        spec: Arc::new(spec),
        agents: agents.iter().map(|name| peer(name)).collect(),
        idempotent: true,
        admin: Arc::default(),
        redact: Arc::default(),
        submitted_ms: NOON + n,
        released_ms: Some(NOON + n),
        ended_ms: None,
        summary: None,
    }
}

pub(crate) fn run(n: u64, agent: &str, state: RunState) -> RunRecord {
    let (attempt, dno) = state.dispatch().unwrap_or((Attempt(0), Dno(0)));
    RunRecord {
        key: key(n, agent),
        seq: n,
        state,
        attempt,
        dno,
        queued_ms: Some(NOON + n),
        offered_ms: None,
        accepted_ms: None,
        started_ms: None,
        doubt_ms: None,
        ended_ms: None,
        not_before_ms: 0,
        items: 0,
        cancel: None,
        corrected: false,
        earlier: None,
        put_back: 0,
    }
}

/// A run in which nothing is missing.
pub(crate) fn full_run(n: u64, agent: &str) -> RunRecord {
    RunRecord {
        seq: 11,
        attempt: Attempt(2),
        dno: Dno(12),
        queued_ms: Some(1),
        offered_ms: Some(2),
        accepted_ms: Some(3),
        started_ms: Some(4),
        doubt_ms: Some(5),
        ended_ms: Some(6),
        not_before_ms: 7,
        items: 8,
        cancel: Some(Cancelling { grace_ms: None }),
        corrected: true,
        ..run(n, agent, ended(Outcome::Failed, Some(fault()), Some(Raw::text("result"))))
    }
}

pub(crate) fn ended(outcome: Outcome, fault: Option<Fault>, result: Option<Raw>) -> RunState {
    RunState::Ended(Box::new(Ending {
        outcome,
        started: Some(true),
        result,
        fault,
        items: 8,
        duration_ms: Some(9),
    }))
}

/// The changes of one submit to one agent.
pub(crate) fn submit(n: u64, agent: &str) -> Vec<Change> {
    submitted(job(n, &[agent], plain_spec()))
}

pub(crate) fn submitted(job: JobRecord) -> Vec<Change> {
    let n = job.submitted_ms - NOON;
    let runs: Vec<_> =
        job.agents.iter().map(|agent| changed(run(n, agent.as_str(), RunState::Queued))).collect();
    std::iter::once(Change::JobSubmitted(Arc::new(job))).chain(runs).collect()
}

pub(crate) fn changed(run: RunRecord) -> Change {
    Change::RunChanged(Box::new(run))
}

/// The changes of an end.
pub(crate) fn end(n: u64, agent: &str, outcome: Outcome, at_ms: u64) -> Vec<Change> {
    let mut summary = Summary::default();
    let place = Outcome::ALL.iter().position(|other| *other == outcome).unwrap();
    *summary.ended.get_mut(place).unwrap() = 1;
    let offered = run(n, agent, ended(outcome, None, Some(Raw::text("done"))));
    let run = RunRecord { dno: Dno(n), ended_ms: Some(at_ms), ..offered };
    vec![changed(run), Change::JobEnded { job: id(n), ended_ms: at_ms, summary }]
}

pub(crate) fn items(from: u64, count: u64, size: usize) -> Vec<Item> {
    (from..from + count)
        .map(|n| Item { n, kind: ItemKind::Stdout, data: Raw::text(&format!("{n}:{}", "x".repeat(size))) })
        .collect()
}

pub(crate) fn append(n: u64, agent: &str, from: u64, count: u64, size: usize) -> Change {
    Change::Items { key: key(n, agent), attempt: Attempt(1), from, items: items(from, count, size) }
}

pub(crate) fn event(n: u64) -> EventRecord {
    EventRecord {
        n,
        at_ms: NOON,
        kind: EventKind::RunEnded,
        job: Some(id(1)),
        agent: Some(peer("a1")),
        queue: Some(queue("builds")),
        attempt: Some(Attempt(1)),
        outcome: Some(Outcome::Failed),
        detail: Some("why".to_owned()),
        custom: None,
    }
}
