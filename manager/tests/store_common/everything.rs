//! Something of everything that a store keeps.

use std::sync::Arc;

use redpoll_common::identity::Role;
use redpoll_common::job::{Attempt, Callback, Dno, Outcome, RunState, Submitter};
use redpoll_common::wire::Raw;
use redpoll_manager::store::{AttemptRecord, Counts, Store};
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackRecord, CallbackState, Cancelling, Change, EventKind, EventRecord, JobRecord,
    Progress, QueueRecord, RunRecord,
};
use redpoll_manager_core::revoked::{CertificateName, Denial, Denied};

use super::*;

/// A held job on two agents, one run of which ended, with everything that can be stored about it.
pub(crate) fn everything() -> Vec<Change> {
    let job = JobRecord { released_ms: None, ..job(1, &["a1", "a2"], full_spec()) };
    let waiting =
        RunRecord { cancel: Some(Cancelling { grace_ms: Some(5) }), ..run(1, "a2", RunState::Held) };
    vec![
        Change::JobSubmitted(Arc::new(job)),
        changed(full_run(1, "a1")),
        changed(waiting),
        Change::AttemptEnded {
            key: key(1, "a1"),
            attempt: Attempt(1),
            outcome: Outcome::Rejected,
            fault: Some(Box::new(fault())),
            at_ms: 4,
        },
        Change::Progress {
            key: key(1, "a1"),
            attempt: Attempt(2),
            progress: Progress { completed: Some(1), total: None, details: Some(Raw::text("half")) },
        },
        Change::QueueOpened(builds()),
        Change::AgentCounters(counters()),
        Change::CallbackChanged(callback(1)),
        Change::Event(event(1)),
        Change::Event(bare_event()),
    ]
}

pub(crate) fn builds() -> QueueRecord {
    QueueRecord { key: queue("builds"), concurrency: 3, opened_ms: 8 }
}

pub(crate) fn counters() -> AgentCounters {
    AgentCounters { agent: peer("a1"), spool: Some([9; 16]), last_dno: Dno(12), seen_dno: Dno(11) }
}

pub(crate) fn callback(serial: u32) -> CallbackRecord {
    CallbackRecord {
        job: id(1),
        serial,
        target: Callback::Procedure("notify".to_owned()),
        state: CallbackState::Pending,
        due_ms: 5,
        tries: 2,
        error: Some("refused".to_owned()),
    }
}

pub(crate) fn denial(certificate: Option<&str>) -> Denial {
    let certificate = certificate.map(|text| CertificateName::parse(text).unwrap());
    let denied = Denied { role: Role::Agent, id: peer("a1"), certificate };
    Denial { denied, at_ms: 9, by: peer("alice").into(), reason: Some("stolen".to_owned()) }
}

pub(crate) fn bare_event() -> EventRecord {
    EventRecord {
        n: 2,
        at_ms: 3,
        kind: EventKind::AgentConnected,
        job: None,
        agent: None,
        queue: None,
        attempt: None,
        outcome: None,
        detail: None,
        custom: None,
    }
}

/// That a store gives all of it back.
pub(crate) async fn assert_everything(store: &dyn Store) {
    let expected = JobRecord { released_ms: None, ..job(1, &["a1", "a2"], full_spec()) };
    assert_eq!(store.job(id(1)).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.by_key(&peer("alice").into(), "once").await.unwrap(), Some(expected));
    assert_eq!(store.by_key(&peer("bob").into(), "once").await.unwrap(), None);
    let agent = Submitter::agent(&peer("alice"));
    assert_eq!(store.by_key(&agent, "once").await.unwrap(), None, "an agent of the same name is another");
    assert_eq!(store.run(&key(1, "a1")).await.unwrap(), Some(full_run(1, "a1")));
    let attempt =
        AttemptRecord { attempt: Attempt(1), outcome: Outcome::Rejected, fault: Some(fault()), at_ms: 4 };
    assert_eq!(store.attempts(&key(1, "a1")).await.unwrap(), [attempt]);
    let (of, progress) = store.progress(&key(1, "a1")).await.unwrap().unwrap();
    assert_eq!((of, progress.completed, progress.total), (Attempt(2), Some(1), None));
    assert_eq!(progress.details, Some(Raw::text("half")));
    assert_eq!(store.callbacks(id(1)).await.unwrap(), [callback(1)]);
    assert_eq!(store.events(0, 9).await.unwrap(), [event(1), bare_event()]);
    assert_eq!(store.events(1, 9).await.unwrap(), [bare_event()]);
    assert_eq!(store.counts().await.unwrap(), Counts { open_jobs: 1, ended_jobs: 0, last_event: 2 });
}
