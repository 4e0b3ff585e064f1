//! The conformance suite: what every store does. Each case gets an empty store.

use redpoll_common::job::{Attempt, Dno, JobId, Outcome, RunState, Submitter};
use redpoll_common::wire::Raw;
use redpoll_manager::store::{CommitError, Counts, Filter, ReadError, Room};
use redpoll_manager_core::jobs::Whose;
use redpoll_manager_core::jobs::record::{
    AgentCounters, CallbackRecord, CallbackState, Cancelling, Change, CustomEvent, EventKind, EventRecord,
    JobRecord, RunRecord, Summary,
};

use crate::store_common::everything::*;
use crate::store_common::*;

pub(crate) async fn everything_is_found_again_as_it_was(mut rig: Rig) {
    rig.store.commit(everything()).await.unwrap();
    for _ in 0..2 {
        assert_everything(rig.store.as_ref()).await;
        rig.reopen().await;
    }
}

pub(crate) async fn who_is_revoked_is_found_again_and_who_is_restored_is_not(mut rig: Rig) {
    let denials = [denial(None), denial(Some("0a1b"))];
    for _twice_is_once in 0..2 {
        rig.store.commit(denials.iter().cloned().map(Change::Denied).collect()).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(rig.store.recover().await.unwrap().denied, denials);
        rig.reopen().await;
    }
    for _twice_is_once in 0..2 {
        rig.store.commit(vec![Change::Allowed(denial(None).denied)]).await.unwrap();
        assert_eq!(rig.store.recover().await.unwrap().denied, denials[1..]);
    }
    rig.store.commit(vec![Change::Allowed(denial(Some("0a1b")).denied)]).await.unwrap();
    rig.reopen().await;
    assert!(rig.store.recover().await.unwrap().denied.is_empty());
}

pub(crate) async fn nothing_is_found_in_an_empty_store(rig: Rig) {
    let store = &rig.store;
    assert_eq!(store.job(id(1)).await.unwrap(), None);
    assert_eq!(store.run(&key(1, "a1")).await.unwrap(), None);
    assert_eq!(store.progress(&key(1, "a1")).await.unwrap(), None);
    assert!(store.items(&key(1, "a1"), Attempt(1), 0, 9).await.unwrap().is_empty());
    assert_eq!(store.next_item(&key(1, "a1"), Attempt(1)).await.unwrap(), 0);
    assert!(store.list(Filter::default(), None, 9).await.unwrap().jobs.is_empty());
    assert_eq!(store.counts().await.unwrap(), Counts::default());
    let records = store.recover().await.unwrap();
    assert!(records.jobs.is_empty() && records.last_event == 0);
    assert_eq!(store.admit(), Ok(()));
}

pub(crate) async fn the_same_changes_twice_are_the_same_as_once(rig: Rig) {
    let mut changes = everything();
    changes.push(append(1, "a1", 0, 3, 10));
    rig.store.commit(changes.clone()).await.unwrap();
    let once = (rig.store.run(&key(1, "a1")).await.unwrap(), rig.store.counts().await.unwrap());
    rig.store.commit(changes).await.unwrap();
    assert_eq!((rig.store.run(&key(1, "a1")).await.unwrap(), rig.store.counts().await.unwrap()), once);
    assert_eq!(rig.store.items(&key(1, "a1"), Attempt(1), 0, 9).await.unwrap(), items(0, 3, 10));
    assert_eq!(rig.store.events(0, 9).await.unwrap().len(), 2);
}

pub(crate) async fn what_is_not_over_is_recovered_and_nothing_else(mut rig: Rig) {
    let store = &rig.store;
    store.commit(everything()).await.unwrap();
    // an ended job, one whose end may still be corrected, and one where that has happened
    for (n, outcome) in [(2, Outcome::Succeeded), (3, Outcome::Unknown), (4, Outcome::Unknown)] {
        store.commit(submit(n, "a1")).await.unwrap();
        store.commit(end(n, "a1", outcome, NOON + n)).await.unwrap();
    }
    let corrected = RunRecord { corrected: true, ..run(4, "a1", ended(Outcome::Succeeded, None, None)) };
    store.commit(vec![changed(corrected)]).await.unwrap();
    let mut delivered = callback(2);
    delivered.state = CallbackState::Delivered;
    store.commit(vec![Change::CallbackChanged(delivered)]).await.unwrap();
    rig.reopen().await;

    let records = rig.store.recover().await.unwrap();
    assert_eq!(records.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1), id(3)]);
    let runs: Vec<_> = records.runs.iter().map(|run| run.key.clone()).collect();
    assert_eq!(runs, [key(1, "a1"), key(1, "a2"), key(3, "a1")]);
    // of the ended ones, what the machine keeps in memory
    assert_eq!(records.runs[0].state, ended(Outcome::Failed, None, None));
    assert_eq!(records.runs[1].cancel, Some(Cancelling { grace_ms: Some(5) }));
    assert_eq!(records.queues, [builds()]);
    assert_eq!(records.agents, [counters()]);
    assert_eq!(records.callbacks, [callback(1)]);
    assert_eq!((records.last_event, records.ended_jobs), (2, 3));
}

pub(crate) async fn every_state_of_a_run_comes_back(rig: Rig) {
    let (attempt, dno) = (Attempt(3), Dno(4));
    let states = [
        RunState::Held,
        RunState::Queued,
        RunState::Offered(attempt, dno),
        RunState::Accepted(attempt, dno),
        RunState::Running(attempt, dno),
        RunState::InDoubt(attempt, dno),
        ended(Outcome::Cancelled, None, None),
    ];
    rig.store.commit(submit(1, "a1")).await.unwrap();
    for state in states {
        let expected = RunRecord { earlier: Some(Outcome::TimedOut), ..run(1, "a1", state) };
        rig.store.commit(vec![changed(expected.clone())]).await.unwrap();
        assert_eq!(rig.store.run(&key(1, "a1")).await.unwrap(), Some(expected.clone()));
        let whole = rig.store.recover().await.unwrap().runs;
        assert_eq!(whole, [expected]);
    }
    for outcome in Outcome::ALL {
        rig.store.commit(vec![changed(run(1, "a1", ended(outcome, None, None)))]).await.unwrap();
        let found = rig.store.run(&key(1, "a1")).await.unwrap().unwrap();
        assert_eq!(found.state, ended(outcome, None, None));
    }
}

pub(crate) async fn release_end_and_queues_change_what_is_stored(rig: Rig) {
    let store = &rig.store;
    store.commit(everything()).await.unwrap();
    let summary = Summary { open: 0, ended: [1, 0, 0, 2, 0, 0, 3] };
    let changes = vec![
        Change::JobReleased { job: id(1), at_ms: 77 },
        Change::JobEnded { job: id(1), ended_ms: 88, summary },
        Change::QueueClosed(queue("builds")),
        Change::AgentCounters(AgentCounters { spool: None, last_dno: Dno(13), ..counters() }),
        Change::EventsPruned { below: 2 },
    ];
    store.commit(changes).await.unwrap();
    let job = store.job(id(1)).await.unwrap().unwrap();
    assert_eq!((job.released_ms, job.ended_ms, job.summary), (Some(77), Some(88), Some(summary)));
    let records = store.recover().await.unwrap();
    assert_eq!(
        (records.queues.len(), records.agents[0].last_dno, records.agents[0].spool),
        (0, Dno(13), None)
    );
    assert_eq!(store.events(0, 9).await.unwrap(), [bare_event()]);
}

pub(crate) async fn a_deleted_job_leaves_nothing_and_frees_its_key(rig: Rig) {
    let store = &rig.store;
    store.commit(everything()).await.unwrap();
    store.commit(vec![append(1, "a1", 0, 3, 10)]).await.unwrap();
    store.commit(submit(2, "a1")).await.unwrap();
    store
        .commit(vec![append(2, "a1", 0, 1, 10), Change::JobDeleted(id(1)), Change::JobDeleted(id(1))])
        .await
        .unwrap();
    assert_eq!(store.job(id(1)).await.unwrap(), None);
    assert_eq!(store.by_key(&peer("alice").into(), "once").await.unwrap(), None);
    assert!(store.runs(id(1), None, 9).await.unwrap().is_empty());
    assert!(store.items(&key(1, "a1"), Attempt(1), 0, 9).await.unwrap().is_empty());
    assert!(store.attempts(&key(1, "a1")).await.unwrap().is_empty());
    assert!(store.progress(&key(1, "a1")).await.unwrap().is_none());
    assert!(store.callbacks(id(1)).await.unwrap().is_empty());
    assert_eq!(store.items(&key(2, "a1"), Attempt(1), 0, 9).await.unwrap(), items(0, 1, 10));
    store.commit(everything()).await.unwrap();
    assert!(store.by_key(&peer("alice").into(), "once").await.unwrap().is_some());
    assert!(store.items(&key(1, "a1"), Attempt(1), 0, 9).await.unwrap().is_empty());
}

pub(crate) async fn retention_finds_the_oldest_ends_of_operators_and_of_agents_apart(rig: Rig) {
    let store = &rig.store;
    let by = |n, submitter: Submitter| submitted(JobRecord { submitter, ..job(n, &["a1"], plain_spec()) });
    for n in 1..=6 {
        store.commit(submit(n, "a1")).await.unwrap();
    }
    for (n, agent) in [(7, "a1"), (8, "a1"), (9, "a2"), (10, "a2")] {
        store.commit(by(n, Submitter::agent(&peer(agent)))).await.unwrap();
    }
    // ended in another order than submitted; 6 and 10 are open
    for (n, at) in [(1, 50), (2, 40), (3, 30), (4, 20), (5, 10), (7, 4), (8, 2), (9, 3)] {
        store.commit(end(n, "a1", Outcome::Succeeded, at)).await.unwrap();
    }
    let oldest = async |whose, limit| -> (u64, Vec<JobId>) {
        let (stored, jobs) = store.oldest(&whose, limit, true).await.unwrap();
        let (none, same) = store.oldest(&whose, limit, false).await.unwrap();
        assert_eq!((none, &same), (None, &jobs));
        assert!(jobs.iter().all(|job| job.runs == 1));
        assert!(jobs.is_sorted_by_key(|job| job.ended_ms), "{jobs:?}");
        (stored.unwrap(), jobs.into_iter().map(|job| job.id).collect())
    };
    assert_eq!(oldest(Whose::Operators, 9).await, (5, [5, 4, 3, 2, 1].map(id).to_vec()));
    assert_eq!(oldest(Whose::Operators, 2).await, (5, [5, 4].map(id).to_vec()));
    assert_eq!(oldest(Whose::Agents, 9).await, (3, [8, 9, 7].map(id).to_vec()));
    let one = |name| Whose::Agent(Submitter::agent(&peer(name)));
    assert_eq!(oldest(one("a1"), 9).await, (2, [8, 7].map(id).to_vec()));
    assert_eq!(oldest(one("a2"), 9).await, (1, vec![id(9)]));
    assert_eq!(oldest(one("a3"), 9).await, (0, Vec::new()));
    // the end of the oldest has still to be told: it stands before nobody
    let telling = |state| vec![Change::CallbackChanged(CallbackRecord { job: id(5), state, ..callback(1) })];
    store.commit(telling(CallbackState::Pending)).await.unwrap();
    assert_eq!(oldest(Whose::Operators, 1).await, (5, vec![id(4)]));
    store.commit(telling(CallbackState::Abandoned)).await.unwrap();
    store.commit([5, 4, 8].map(|n| Change::JobDeleted(id(n))).to_vec()).await.unwrap();
    assert_eq!(oldest(Whose::Operators, 9).await, (3, [3, 2, 1].map(id).to_vec()));
    assert_eq!(oldest(one("a1"), 9).await, (1, vec![id(7)]));
    assert_eq!(store.counts().await.unwrap(), Counts { open_jobs: 2, ended_jobs: 5, last_event: 0 });
}

pub(crate) async fn calls_are_applied_in_the_order_they_were_handed_over(rig: Rig) {
    rig.store.commit(submit(1, "a1")).await.unwrap();
    let mut waiting = Vec::new();
    for n in 1..=500 {
        waiting.push(
            rig.store
                .enqueue(vec![changed(RunRecord { not_before_ms: n, ..run(1, "a1", RunState::Queued) })])
                .await,
        );
    }
    for durable in waiting {
        assert_eq!(durable.await, Ok(()));
    }
    assert_eq!(rig.store.run(&key(1, "a1")).await.unwrap().unwrap().not_before_ms, 500);
}

pub(crate) async fn a_full_disk_stores_nothing_of_a_call_and_is_overcome_without_restart(rig: Rig) {
    let store = &rig.store;
    store.commit(submit(1, "a1")).await.unwrap();
    rig.faults.set_full(true);
    let mut waiting = Vec::new();
    for n in 2..=5 {
        waiting.push(store.enqueue(submit(n, "a1")).await);
    }
    for durable in waiting {
        assert_eq!(durable.await, Err(CommitError::Full));
    }
    assert_eq!(store.admit(), Err(CommitError::Full));
    assert_eq!(store.room(), Room::Nothing);
    assert!(store.job(id(1)).await.unwrap().is_some());
    assert_eq!(store.counts().await.unwrap().open_jobs, 1);
    rig.faults.set_full(false);
    // nothing may come after a gap until somebody knows of it
    assert_eq!(store.commit(submit(5, "a1")).await, Err(CommitError::Full));
    assert_eq!(store.recover().await.unwrap().jobs.len(), 1);
    store.commit(submit(6, "a1")).await.unwrap();
    assert!(store.job(id(6)).await.unwrap().is_some() && store.job(id(2)).await.unwrap().is_none());
    assert_ne!(store.room(), Room::Nothing);
}

pub(crate) async fn a_broken_disk_stops_the_store_and_keeps_what_was_acknowledged(mut rig: Rig) {
    rig.store.commit(submit(1, "a1")).await.unwrap();
    rig.faults.break_in(2);
    rig.store.commit(submit(2, "a1")).await.unwrap();
    assert_eq!(rig.store.commit(submit(3, "a1")).await, Err(CommitError::Stopped));
    assert_eq!(rig.store.commit(submit(4, "a1")).await, Err(CommitError::Stopped));
    rig.reopen().await;
    assert_eq!(rig.store.counts().await.unwrap().open_jobs, 2);
    rig.store.commit(submit(3, "a1")).await.unwrap();
}

pub(crate) async fn a_closed_store_says_so(mut rig: Rig) {
    let last = rig.store.enqueue(submit(1, "a1")).await;
    rig.store.close().await;
    assert_eq!(last.await, Ok(()));
    assert_eq!(rig.store.commit(submit(2, "a1")).await, Err(CommitError::Stopped));
    assert!(matches!(rig.store.job(id(1)).await, Err(ReadError::Stopped)));
    rig.reopen().await;
    assert!(rig.store.job(id(1)).await.unwrap().is_some());
}

pub(crate) async fn what_an_agent_says_comes_back_with_its_data(mut rig: Rig) {
    let custom = |n, data| EventRecord {
        n,
        kind: EventKind::Custom,
        custom: Some(Box::new(CustomEvent { name: "disk.full".to_owned(), data })),
        ..event(n)
    };
    let said = [custom(1, Raw::text("/var")), custom(2, Raw::nil()), event(3)];
    rig.store.commit(said.iter().cloned().map(Change::Event).collect()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(rig.store.events(0, 9).await.unwrap(), said);
        rig.reopen().await;
    }
}
