//! `rp.events.*`: the history is read and followed without gap or repetition, while it goes on.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use jobs_desk::{Desk, Request, succeeded};
use redpoll_common::api::events::{EventList, EventListArguments, EventSummary};
use redpoll_common::api::jobs::{CancelArguments, JobArguments};
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_config::ManagerConfig;
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
