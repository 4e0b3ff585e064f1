//! The conformance suite, continued: pages, filters and items.

use std::sync::Arc;

use redpoll_common::job::{Attempt, Dno, JobSpec, Outcome, RunState};
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager::store::{Filter, MAX_ITEM_BYTES, MAX_RUN_BYTES, Whereabouts, may_go_on};
use redpoll_manager_core::jobs::record::{Change, RunRecord};

use crate::store_common::*;

pub(crate) async fn items_are_read_from_any_number_without_gaps(rig: Rig) {
    let store = &rig.store;
    store.commit(submit(1, "a1")).await.unwrap();
    store.commit(vec![changed(run(1, "a1", RunState::Running(Attempt(1), Dno(1))))]).await.unwrap();
    // chunks of very different sizes, some in one call
    let sizes = [1, 1, 700, 3, 50, 2000, 1];
    let mut next = 0;
    for pair in sizes.chunks(2) {
        let mut changes = Vec::new();
        for count in pair {
            changes.push(append(1, "a1", next, *count, 100));
            next += count;
        }
        store.commit(changes).await.unwrap();
    }
    let all = items(0, next, 100);
    assert_eq!(store.run(&key(1, "a1")).await.unwrap().unwrap().items, next);
    assert_eq!(store.next_item(&key(1, "a1"), Attempt(1)).await.unwrap(), next);
    let bytes: usize = all.iter().map(|item| 32 + item.data.len()).sum();
    let counted = store.item_bytes(&key(1, "a1"), Attempt(1)).await.unwrap();
    assert_eq!(counted, u64::try_from(bytes).unwrap());
    assert_eq!(store.item_bytes(&key(1, "a1"), Attempt(2)).await.unwrap(), 0);
    assert_eq!(store.item_bytes(&key(1, "a2"), Attempt(1)).await.unwrap(), 0);
    for from in [0, 1, 2, 3, 650, 701, 702, 754, 755, 2000, next - 1, next, next + 5] {
        let start = usize::try_from(from).unwrap().min(all.len());
        let found = store.items(&key(1, "a1"), Attempt(1), from, 10_000).await.unwrap();
        assert_eq!(found, all[start..], "from {from}");
        let found = store.items(&key(1, "a1"), Attempt(1), from, 3).await.unwrap();
        assert_eq!(found, all[start..(start + 3).min(all.len())], "three from {from}");
    }
    assert!(store.items(&key(1, "a1"), Attempt(2), 0, 9).await.unwrap().is_empty());
    assert!(store.items(&key(1, "a2"), Attempt(1), 0, 9).await.unwrap().is_empty());
}

pub(crate) async fn a_page_of_items_is_bounded_in_bytes(rig: Rig) {
    let store = &rig.store;
    store.commit(submit(1, "a1")).await.unwrap();
    let size = MAX_ITEM_BYTES / 4;
    store.commit(vec![append(1, "a1", 0, 9, size)]).await.unwrap();
    let mut from = 0;
    let mut pages = Vec::new();
    loop {
        let page = store.items(&key(1, "a1"), Attempt(1), from, 10_000).await.unwrap();
        let Some(last) = page.last() else { break };
        from = last.n + 1;
        pages.push(page.len());
    }
    assert_eq!(pages, [3, 3, 3], "a head each goes with the data");
    let within = async |most| {
        let page = store.items_within(&key(1, "a1"), Attempt(1), 0, (10_000, most)).await.unwrap();
        page.len()
    };
    let one = items(0, 1, size)[0].data.len();
    let counts = [within(1).await, within(one).await, within(2 * one - 1).await, within(2 * one).await];
    assert_eq!(counts, [1, 1, 1, 2]);
}

pub(crate) async fn a_new_attempt_counts_its_own_items(rig: Rig) {
    let store = &rig.store;
    store.commit(submit(1, "a1")).await.unwrap();
    store.commit(vec![changed(run(1, "a1", RunState::Running(Attempt(1), Dno(1))))]).await.unwrap();
    store.commit(vec![append(1, "a1", 0, 5, 10)]).await.unwrap();
    store.commit(vec![changed(run(1, "a1", RunState::Running(Attempt(2), Dno(2))))]).await.unwrap();
    let second = |from, count| Change::Items {
        key: key(1, "a1"),
        attempt: Attempt(2),
        from,
        items: items(from, count, 7),
    };
    store.commit(vec![second(0, 2), append(1, "a1", 5, 1, 10)]).await.unwrap();
    assert_eq!(store.run(&key(1, "a1")).await.unwrap().unwrap().items, 2);
    assert_eq!(store.items(&key(1, "a1"), Attempt(1), 0, 99).await.unwrap(), items(0, 6, 10));
    assert_eq!(store.items(&key(1, "a1"), Attempt(2), 0, 99).await.unwrap(), items(0, 2, 7));
}

pub(crate) async fn a_list_is_filtered_and_paged_newest_first(rig: Rig) {
    let store = &rig.store;
    for n in 1..=6 {
        let mut record = job(n, if n % 2 == 0 { &["a1", "a2"] } else { &["a1"] }, plain_spec());
        if n <= 3 {
            record.submitter = peer("bob").into();
        }
        if n >= 5 {
            let spec = JobSpec { queue: full_spec().queue, ..plain_spec() };
            record.spec = Arc::new(spec);
        }
        store.commit(submitted(record)).await.unwrap();
    }
    store.commit(end(1, "a1", Outcome::Succeeded, NOON)).await.unwrap();
    store.commit(end(3, "a1", Outcome::Failed, NOON)).await.unwrap();
    store.commit(vec![changed(run(5, "a1", RunState::Running(Attempt(1), Dno(1))))]).await.unwrap();

    let found = async |filter: Filter, before: Option<u64>, limit: usize| {
        let page = store.list(filter, before.map(id), limit).await.unwrap();
        let found: Vec<_> = page.jobs.iter().map(|job| job.submitted_ms - NOON).collect();
        assert!(page.next.is_none() || page.next == found.last().copied().map(id));
        assert_eq!(page.next.is_some(), found.last().is_some_and(|last| found.len() == limit && *last > 1));
        found
    };
    let all = Filter::default;
    let state = |state| Filter { state: Some(state), ..Filter::default() };
    assert_eq!(found(all(), None, 99).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(found(all(), None, 2).await, [6, 5]);
    assert_eq!(found(all(), Some(5), 2).await, [4, 3]);
    assert_eq!(found(all(), Some(1), 2).await, [0; 0]);
    assert_eq!(found(Filter { submitter: Some(peer("bob").into()), ..all() }, Some(3), 9).await, [2, 1]);
    assert_eq!(found(Filter { agent: Some(peer("a2")), ..all() }, None, 9).await, [6, 4, 2]);
    assert_eq!(found(Filter { queue: Some(queue("builds")), ..all() }, None, 9).await, [6, 5]);
    assert_eq!(found(Filter { since_ms: Some(NOON + 4), ..all() }, None, 9).await, [6, 5, 4]);
    for never in [1 << 48, (1 << 48) + 1, u64::MAX] {
        assert_eq!(found(Filter { since_ms: Some(never), ..all() }, None, 9).await, [0; 0], "since {never}");
    }
    assert_eq!(found(state(Whereabouts::Open), None, 9).await, [6, 5, 4, 2]);
    assert_eq!(found(state(Whereabouts::Ended), None, 9).await, [3, 1]);
    assert_eq!(found(state(Whereabouts::EndedAs(Outcome::Failed)), None, 9).await, [3]);
    assert_eq!(found(state(Whereabouts::EndedAs(Outcome::Succeeded)), None, 9).await, [1]);
    assert_eq!(found(state(Whereabouts::In("running")), None, 9).await, [5]);
    assert_eq!(found(state(Whereabouts::In("queued")), None, 9).await, [6, 4, 2]);
    let narrow = Filter { agent: Some(peer("a2")), since_ms: Some(NOON + 3), ..state(Whereabouts::Open) };
    assert_eq!(found(narrow, Some(6), 9).await, [4]);
    // any two conditions
    let bob = |filter| Filter { submitter: Some(peer("bob").into()), ..filter };
    let builds = |filter| Filter { queue: Some(queue("builds")), ..filter };
    let a2 = |filter| Filter { agent: Some(peer("a2")), ..filter };
    assert_eq!(found(bob(state(Whereabouts::Open)), None, 9).await, [2]);
    assert_eq!(found(bob(state(Whereabouts::Ended)), None, 9).await, [3, 1]);
    assert_eq!(found(bob(state(Whereabouts::EndedAs(Outcome::Failed))), None, 9).await, [3]);
    assert_eq!(found(bob(state(Whereabouts::EndedAs(Outcome::Succeeded))), None, 9).await, [1]);
    assert_eq!(found(bob(state(Whereabouts::In("queued"))), None, 9).await, [2]);
    assert_eq!(found(bob(builds(all())), None, 9).await, [0; 0]);
    assert_eq!(found(builds(state(Whereabouts::In("running"))), None, 9).await, [5]);
    assert_eq!(found(builds(state(Whereabouts::Ended)), None, 9).await, [0; 0]);
    assert_eq!(found(a2(builds(all())), None, 9).await, [6]);
    assert_eq!(found(a2(bob(all())), None, 9).await, [2]);
    assert_eq!(found(a2(state(Whereabouts::Ended)), None, 9).await, [0; 0]);
    assert_eq!(found(a2(state(Whereabouts::In("queued"))), None, 9).await, [6, 4, 2]);
}

pub(crate) async fn a_page_of_runs_is_bounded_in_bytes_of_faults(rig: Rig) {
    let names = ["a1", "a2", "a3", "a4", "a5"];
    rig.store.commit(submitted(job(1, &names, plain_spec()))).await.unwrap();
    for name in names {
        let large = Fault { data: Some(Raw::bin(&vec![7; MAX_RUN_BYTES / 2])), ..fault() };
        let run = RunRecord { state: ended(Outcome::Failed, Some(large), None), ..full_run(1, name) };
        rig.store.commit(vec![changed(run)]).await.unwrap();
    }
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let page = rig.store.runs(id(1), after, 9).await.unwrap();
        pages.push(page.len());
        after = page.last().map(|run| run.key.agent.clone());
        if !may_go_on(&page, 9) {
            break;
        }
    }
    assert_eq!(pages, [2, 2, 1]);
}

pub(crate) async fn the_runs_of_a_job_come_in_pages_without_results(rig: Rig) {
    let names = ["a1", "a2", "a3", "a4", "a5"];
    rig.store.commit(submitted(job(1, &names, plain_spec()))).await.unwrap();
    rig.store.commit(vec![changed(full_run(1, "a2"))]).await.unwrap();
    let page = async |after: Option<&str>| {
        let runs = rig.store.runs(id(1), after.map(peer), 2).await.unwrap();
        runs.iter().map(|run| run.key.agent.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, ["a1", "a2"]);
    assert_eq!(page(Some("a2")).await, ["a3", "a4"]);
    assert_eq!(page(Some("a5")).await, [""; 0]);
    let expected = RunRecord { state: ended(Outcome::Failed, Some(fault()), None), ..full_run(1, "a2") };
    assert_eq!(rig.store.runs(id(1), None, 9).await.unwrap()[1], expected);
}
