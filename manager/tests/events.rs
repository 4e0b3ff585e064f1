//! `rp.events.*`: the history is read and followed without gap or repetition, while it goes on.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jobs_desk::{Desk, Request, succeeded};
use redpoll_common::api::events::{EmitArguments, EventList, EventListArguments, EventSummary};
use redpoll_common::api::jobs::{CancelArguments, JobArguments, JobList, JobListArguments};
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_config::{AgentsConfig, ManagerConfig};
use redpoll_manager::clock::{Hands, Moved};
use redpoll_manager::store::chain::Begin;
use redpoll_manager::store::sqlite::DATABASE;
use redpoll_manager_core::jobs::Settings;

fn since(since: u64) -> EventListArguments {
    EventListArguments { since: Some(since), ..EventListArguments::default() }
}

async fn list(desk: &Desk, arguments: &EventListArguments) -> EventList {
    desk.ask(method::EVENTS_LIST, arguments).await.unwrap()
}

fn follow(desk: &Desk, arguments: &EventListArguments) -> Request {
    desk.start(method::EVENTS_FOLLOW, Raw::encode(arguments).unwrap())
}

async fn next(request: &mut Request) -> EventSummary {
    request.value().await.unwrap().decode().unwrap()
}

/// Some events: a job that is submitted, started and ended.
async fn happen(desk: &Desk, times: u64) {
    for _ in 0..times {
        let job = desk.submit(&["a1"]).await;
        desk.end(job, "a1", succeeded(0, Raw::nil())).await;
    }
}

#[tokio::test]
async fn pages_have_every_event_once_while_new_ones_are_written() {
    for desk in [Desk::memory().await, Desk::sqlite().await] {
        desk.connect(&["a1"]).await;
        happen(&desk, 10).await;
        let (mut numbers, mut last) = (Vec::new(), 0);
        for round in 0.. {
            let page = list(&desk, &EventListArguments { limit: Some(7), ..since(last) }).await;
            assert!(page.events.len() <= 7 && page.last >= last && page.next == page.last);
            numbers.extend(page.events.iter().map(|event| event.n));
            last = page.last;
            if round < 10 {
                happen(&desk, 1).await;
            } else if !page.more {
                break;
            }
        }
        let all = desk.store.counts().await.unwrap().last_event;
        assert_eq!(numbers, (1..=all).collect::<Vec<_>>());
        assert_eq!(
            (list(&desk, &since(all)).await.events.len(), list(&desk, &since(all)).await.last),
            (0, all)
        );
        desk.stop().await;
    }
}

#[tokio::test]
async fn a_list_of_one_type_goes_past_all_others() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    happen(&desk, 5).await;
    let of = |kind: &str, limit| EventListArguments { kind: Some(kind.into()), limit, ..since(0) };
    let page = list(&desk, &of("run.*", None)).await;
    assert!(page.events.iter().all(|event| event.kind.starts_with("run.")));
    assert_eq!(page.events.len(), 10, "a start and an end of each");
    assert_eq!(page.last, desk.store.counts().await.unwrap().last_event, "those left out were looked at");
    assert!(!page.more);
    let page = list(&desk, &of("job.ended", Some(2))).await;
    assert!(page.more && page.events.len() == 2 && page.events[1].outcome.as_deref() == Some("succeeded"));
    // nothing between the last that was told and the next of the type is needed again
    let rest =
        list(&desk, &EventListArguments { limit: None, since: Some(page.last), ..of("job.ended", None) })
            .await;
    assert_eq!(rest.events.len(), 3);
    let none = list(&desk, &of("nothing", None)).await;
    assert!(none.events.is_empty() && none.last == rest.last && !none.more);
    for (arguments, word) in [
        (of("", None), "empty"),
        (of(&"x".repeat(129), None), "128"),
        (of("*", Some(0)), "1 to 1000"),
        (of("*", Some(1001)), "1 to 1000"),
    ] {
        let fault = desk.refused(method::EVENTS_LIST, &arguments).await;
        assert!(fault.code == FaultCode::BadArguments && fault.message.contains(word), "{fault}");
    }
}

#[tokio::test]
async fn who_released_cancelled_and_deleted_a_job_is_in_the_history() {
    let desk = Desk::memory().await;
    desk.know(&["a1"]);
    let mut held = SubmitArguments::new(vec!["a1".to_owned()], "app.work");
    held.spec.held = true;
    let job = desk.submit_with(&held).await.unwrap().job;
    let named = JobArguments { job: job.clone() };
    desk.ask_raw(method::JOBS_RELEASE, Raw::encode(&named).unwrap()).await.unwrap();
    let cancel = |preview| CancelArguments { job: Some(job.clone()), preview, ..CancelArguments::default() };
    for preview in [true, false] {
        desk.ask_raw(method::JOBS_CANCEL, Raw::encode(&cancel(preview)).unwrap()).await.unwrap();
    }
    desk.ask_raw(method::JOBS_DELETE, Raw::encode(&named).unwrap()).await.unwrap();
    let told = list(&desk, &since(0)).await.events.into_iter().map(|event| (event.kind, event.detail));
    let told: Vec<(String, Option<String>)> = told.collect();
    let by_ada = |kind: &str| (kind.to_owned(), Some("by ada".to_owned()));
    let plain = |kind: &str, detail: Option<&str>| (kind.to_owned(), detail.map(str::to_owned));
    let expected = [
        plain("job.submitted", None),
        by_ada("job.released"),
        by_ada("job.cancel_asked"),
        plain("run.ended", Some("cancelled")),
        plain("job.ended", None),
        by_ada("job.deleted"),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_newest_are_found_from_the_end() {
    for desk in [Desk::memory().await, Desk::sqlite().await] {
        desk.connect(&["a1"]).await;
        happen(&desk, 600).await;
        let end = desk.store.counts().await.unwrap().last_event;
        assert!(end > 2_000, "more than two pages");
        let of = |recent, kind: Option<&str>| EventListArguments {
            recent: Some(recent),
            kind: kind.map(str::to_owned),
            ..EventListArguments::default()
        };
        let page = list(&desk, &of(3, None)).await;
        assert_eq!(page.events.iter().map(|event| event.n).collect::<Vec<_>>(), [end - 2, end - 1, end]);
        assert!(page.more && page.last == end);
        // what is rare and long ago
        let page = list(&desk, &of(3, Some("agent.connected"))).await;
        assert_eq!(page.events.iter().map(|event| event.n).collect::<Vec<_>>(), [1]);
        assert!(!page.more && page.last == end);
        let page = list(&desk, &of(599, Some("job.ended"))).await;
        assert!(page.more && page.events.len() == 599);
        assert!(page.events.is_sorted_by_key(|event| event.n));
        let both = EventListArguments { since: Some(1), ..of(3, None) };
        for (arguments, word) in
            [(both, "exclude"), (of(0, None), "1 to 1000"), (of(1001, None), "1 to 1000")]
        {
            let fault = desk.refused(method::EVENTS_LIST, &arguments).await;
            assert!(fault.code == FaultCode::BadArguments && fault.message.contains(word), "{fault}");
        }
        desk.stop().await;
    }
}

#[tokio::test]
async fn a_follower_gets_every_event_once_from_where_it_says() {
    for desk in [Desk::memory().await, Desk::sqlite().await] {
        desk.connect(&["a1"]).await;
        happen(&desk, 3).await;
        let before = desk.store.counts().await.unwrap().last_event;
        let mut new = follow(&desk, &EventListArguments::default());
        tokio::task::yield_now().await;
        let mut all = follow(&desk, &since(0));
        let mut some = follow(&desk, &EventListArguments { kind: Some("job.*".into()), ..since(4) });
        happen(&desk, 400).await;
        let end = desk.store.counts().await.unwrap().last_event;
        assert!(end > 1_600, "more than one page");
        for n in 1..=end {
            assert_eq!(next(&mut all).await.n, n);
        }
        for n in before + 1..=end {
            assert_eq!(next(&mut new).await.n, n);
        }
        let mut last = 4;
        for _ in 0..700 {
            let event = next(&mut some).await;
            assert!(event.n > last && event.kind.starts_with("job."));
            last = event.n;
        }
        desk.stop().await;
    }
}

#[tokio::test]
async fn a_follower_in_the_past_begins_with_the_oldest_that_is_kept() {
    let settings = Settings { keep_events: 100, ..jobs_desk::settings() };
    let desk = Desk::with(ManagerConfig::default(), settings).await;
    desk.connect(&["a1"]).await;
    happen(&desk, 300).await;
    let oldest = desk.store.events(0, 1).await.unwrap()[0].n;
    let last = desk.store.counts().await.unwrap().last_event;
    assert!(
        (100..=106).contains(&(last - oldest + 1)),
        "{oldest} to {last} are kept, not 100 and what is deleted together"
    );
    assert_eq!(list(&desk, &EventListArguments::default()).await.events[0].n, oldest);
    assert_eq!(next(&mut follow(&desk, &since(3))).await.n, oldest);
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_told_with_the_event_after_it() {
    let settings = Settings { keep_events: 100, ..jobs_desk::settings() };
    let desk = Desk::with(ManagerConfig::default(), settings).await;
    desk.connect(&["a1"]).await;
    happen(&desk, 300).await;
    let oldest = desk.store.events(0, 1).await.unwrap()[0].n;
    let lost = async |arguments: EventListArguments| {
        let listed = list(&desk, &arguments).await.events;
        assert!(listed[1..].iter().all(|event| event.lost.is_none()), "once");
        let followed = next(&mut follow(&desk, &arguments)).await;
        assert_eq!(followed, listed[0]);
        (followed.n, followed.lost)
    };
    assert_eq!(lost(since(3)).await, (oldest, Some(oldest - 4)));
    assert_eq!(lost(since(oldest - 1)).await, (oldest, None));
    assert_eq!(lost(since(0)).await, (oldest, None), "from the oldest that is kept");
    let ended = EventListArguments { kind: Some("job.ended".into()), ..since(3) };
    assert_eq!(lost(ended).await.1, Some(oldest - 4), "also when another type begins");
    desk.stop().await;
}

#[tokio::test]
async fn whoever_has_a_number_that_this_history_has_not_come_to_is_told() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    happen(&desk, 3).await;
    let last = desk.store.counts().await.unwrap().last_event;
    for method in [method::EVENTS_LIST, method::EVENTS_FOLLOW] {
        let fault = desk.refused(method, &since(last + 1)).await;
        assert_eq!(fault.code, FaultCode::WrongState);
        let text = format!("event {} is not in this history, whose last is {last}", last + 1);
        assert!(fault.message.contains(&text), "{fault}");
    }
    assert!(list(&desk, &since(last)).await.events.is_empty());
    let mut waiting = follow(&desk, &since(last));
    happen(&desk, 1).await;
    assert_eq!(next(&mut waiting).await.n, last + 1);
    desk.stop().await;
}

#[tokio::test]
async fn following_the_history_ends_when_the_manager_stops() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    happen(&desk, 100).await;
    // one that waits for events, and one that takes none
    let waiting = follow(&desk, &EventListArguments::default());
    let full = follow(&desk, &since(0));
    tokio::task::yield_now().await;
    desk.manager.start_draining();
    for request in [waiting, full] {
        assert_eq!(request.answer().await.unwrap_err().code, FaultCode::ShuttingDown);
    }
}

#[tokio::test]
async fn nobody_is_stopped_by_an_event_that_fits_no_answer() {
    let agents = AgentsConfig { emit: vec!["disk.*".to_owned()], ..AgentsConfig::default() };
    let desk = Desk::with(ManagerConfig { agents, ..ManagerConfig::default() }, jobs_desk::settings()).await;
    desk.connect(&["a1"]).await;
    let before = desk.store.counts().await.unwrap().last_event;
    for bytes in [1, 9_000, 1] {
        let data = Raw::text(&"x".repeat(bytes));
        let said = EmitArguments { kind: "disk.full".to_owned(), data };
        desk.of_agent("a1", method::EVENTS_EMIT, said.write()).await.unwrap();
    }
    let within = |method, arguments: &EventListArguments| {
        desk.start_within(method, Raw::encode(arguments).unwrap(), 6_000)
    };
    let shown = |events: Vec<EventSummary>| {
        events
            .into_iter()
            .map(|event| (event.n - before, event.kind, event.data.is_some(), event.detail))
            .collect::<Vec<_>>()
    };
    let kind = "custom.disk.full".to_owned();
    let mut lists = Vec::new();
    for arguments in [since(before), EventListArguments { recent: Some(3), ..EventListArguments::default() }]
    {
        let answer = within(method::EVENTS_LIST, &arguments).answer().await.unwrap();
        lists.push(shown(answer.decode::<EventList>().unwrap().events));
    }
    let mut follower = within(method::EVENTS_FOLLOW, &since(before));
    lists.push(shown(vec![next(&mut follower).await, next(&mut follower).await, next(&mut follower).await]));
    for list in lists {
        let large = list[1].3.clone().unwrap();
        assert!(large.contains("no answer holds"), "{large}");
        let all = [
            (1, kind.clone(), true, None),
            (2, kind.clone(), false, Some(large)),
            (3, kind.clone(), true, None),
        ];
        assert_eq!(list, all);
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_told_of_at_the_start_left_out_of_lists_and_can_be_deleted() {
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    let start = || Desk::in_folder(folder.path(), &Hands::Machine, jobs_desk::settings());
    let desk = start().await;
    desk.know(&["a1"]);
    let jobs = [desk.submit(&["a1"]).await, desk.submit(&["a1"]).await];
    let store = desk.store.clone();
    desk.stop().await;
    store.close().await;
    let database = rusqlite::Connection::open(folder.path().join("store").join(DATABASE)).unwrap();
    database.execute("UPDATE job SET rest = x'c1' WHERE id = ?1", [jobs[0].to_bytes()]).unwrap();
    drop(database);
    let desk = start().await;
    // behind what a start writes
    desk.connect(&["a1"]).await;
    let damaged = EventListArguments { kind: Some("manager.store_damaged".into()), ..since(0) };
    let told = list(&desk, &damaged).await.events;
    assert_eq!(
        told.iter().map(|event| event.job.clone().unwrap()).collect::<Vec<_>>(),
        [jobs[0].to_string()]
    );
    let listed: JobList = desk.ask(method::JOBS_LIST, &JobListArguments::default()).await.unwrap();
    assert_eq!(listed.jobs.iter().map(|job| job.job.clone()).collect::<Vec<_>>(), [jobs[1].to_string()]);
    let named = JobArguments { job: jobs[0].to_string() };
    assert_eq!(desk.refused(method::JOBS_SHOW, &named).await.code, FaultCode::Internal);
    let kwargs = Raw::encode(&named).unwrap();
    let of_agent = desk.of_agent("a1", method::JOBS_DELETE, kwargs.clone()).await;
    assert_eq!(of_agent.unwrap_err().code, FaultCode::UnknownJob, "it may see its own alone");
    desk.ask_raw(method::JOBS_DELETE, kwargs).await.unwrap();
    assert_eq!(desk.refused(method::JOBS_SHOW, &named).await.code, FaultCode::UnknownJob);
}

/// Of a later build, after which this one was put back, or damaged: the others are told, and of these what can be read.
#[tokio::test]
async fn an_event_that_cannot_be_read_hides_none_of_those_around_it() {
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    let moved = Arc::new(Moved::default());
    moved.wall_ms.store(1_000_000_000, Ordering::Relaxed);
    let desk = Desk::in_folder(folder.path(), &Hands::Moved(moved.clone()), jobs_desk::settings()).await;
    // so that a time is told otherwise than it is counted
    moved.wall_ms.store(2_000_000_000, Ordering::Relaxed);
    let _looked = desk.store.clock().look();
    desk.connect(&["a1"]).await;
    happen(&desk, 2).await;
    let whole = list(&desk, &since(0)).await.events;
    let number = |kind: &str| whole.iter().find(|event| event.kind == kind).unwrap().n;
    let (later, ended, named) = (number("job.submitted"), number("run.ended"), number("run.started"));
    let beside = rusqlite::Connection::open(folder.path().join("store").join(DATABASE)).unwrap();
    let edit = |what: &str, n: u64| {
        let sql = format!("UPDATE event SET {what} WHERE n = {n}");
        assert_eq!(beside.execute(&sql, []).unwrap(), 1);
    };
    edit("kind = 'job.dreamt'", later);
    edit("outcome = 'melted'", ended);
    edit("agent = 'no name', at_ms = -1, detail = 'as it was'", named);

    let told = list(&desk, &since(0)).await.events;
    let mut followed = follow(&desk, &since(1));
    for (event, was) in told.iter().zip(&whole).skip(1) {
        assert_eq!(next(&mut followed).await, *event);
        assert!(event.n == was.n && event.job == was.job, "{event:?}");
        if event.n == later {
            assert_eq!(*event, EventSummary { kind: "job.dreamt".to_owned(), ..was.clone() });
        } else if event.n == ended {
            assert_eq!(*event, EventSummary { outcome: Some("melted".to_owned()), ..was.clone() });
        } else if event.n == named {
            let detail = "this manager cannot read its at_ms, agent; as it was";
            assert!(event.kind == "run.started" && event.agent.is_none() && event.at_ms == 0, "{event:?}");
            assert_eq!(event.detail.as_deref(), Some(detail));
        } else {
            assert_eq!(event, was);
        }
    }
    assert_eq!(told.len(), whole.len());
    let recent = EventListArguments { recent: Some(1000), ..EventListArguments::default() };
    assert_eq!(list(&desk, &recent).await.events, told);
    let dreamt = EventListArguments { kind: Some("job.dream*".to_owned()), ..since(0) };
    assert_eq!(list(&desk, &dreamt).await.events.len(), 1);
    // that they were changed is found all the same
    let flaw = desk.store.verify(Begin::Oldest, None, usize::MAX).await.unwrap().flaw;
    assert!(flaw.is_some_and(|flaw| flaw.to_string().contains(&later.to_string())));
}
