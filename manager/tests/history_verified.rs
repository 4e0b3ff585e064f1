//! `rp.events.verify`, and what a manager says at its start of a history that was changed.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use data_encoding::HEXLOWER;
use jobs_desk::{Desk, succeeded};
use redpoll_common::api::events::{
    EventList, EventListArguments, EventPoint, EventVerified, EventVerifyArguments,
};
use redpoll_common::api::method;
use redpoll_common::job::{Attempt, JobId, Outcome};
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_manager::clock::Hands;
use redpoll_manager::store::chain::sha256;
use redpoll_manager::store::sqlite::DATABASE;
use redpoll_manager_core::chain::{DOMAIN, Linker, columns};
use redpoll_manager_core::jobs::record::{EventKind, EventRecord};

async fn verify(desk: &Desk, arguments: &EventVerifyArguments) -> EventVerified {
    desk.ask(method::EVENTS_VERIFY, arguments).await.unwrap()
}

async fn happen(desk: &Desk, times: u64) {
    for _ in 0..times {
        let job = desk.submit(&["a1"]).await;
        desk.end(job, "a1", succeeded(0, Raw::nil())).await;
    }
}

#[tokio::test]
async fn the_whole_history_is_checked_in_parts_while_it_goes_on() {
    for desk in [Desk::memory().await, Desk::sqlite().await] {
        desk.connect(&["a1"]).await;
        happen(&desk, 10).await;
        let whole = verify(&desk, &EventVerifyArguments::default()).await;
        let newest = desk.store.counts().await.unwrap().last_event;
        assert_eq!((whole.from.n, whole.last.n, whole.checked, whole.more), (0, newest, newest, false));
        assert_eq!((whole.head.as_ref(), whole.flaw.as_ref(), whole.begun), (Some(&whole.last), None, 0));
        let (mut after, mut checked) = (None, 0);
        let last = loop {
            let part = verify(&desk, &EventVerifyArguments { after, until: None, limit: Some(7) }).await;
            assert!(part.flaw.is_none() && part.checked <= 7);
            checked += part.checked;
            if !part.more {
                break part.last;
            }
            if checked < 30 {
                happen(&desk, 1).await;
            }
            after = Some(part.last);
        };
        assert_eq!(last.n, desk.store.counts().await.unwrap().last_event);
        assert_eq!(checked, last.n);
        let until = EventVerifyArguments { until: Some(whole.last.n), ..EventVerifyArguments::default() };
        assert_eq!(verify(&desk, &until).await.last, whole.last, "what was the head is still in it");
        for (arguments, word) in [
            (EventVerifyArguments { limit: Some(0), ..until.clone() }, "1 to 10000"),
            (
                EventVerifyArguments {
                    after: Some(EventPoint { n: 1, hash: "12".to_owned() }),
                    ..until.clone()
                },
                "64",
            ),
        ] {
            let fault = desk.refused(method::EVENTS_VERIFY, &arguments).await;
            assert!(fault.code == FaultCode::BadArguments && fault.message.contains(word), "{fault}");
        }
        desk.stop().await;
    }
}

async fn close(desk: Desk) {
    let store = desk.store.clone();
    desk.stop().await;
    store.close().await;
}

/// What to do to the file of a store, and what the next start says of it.
const TAMPERED: [(&str, &str); 4] = [
    ("UPDATE event SET detail = 'by nobody' WHERE n = 5", "event 5 was changed"),
    ("DELETE FROM event WHERE n = 6", "event 6 is missing"),
    ("DELETE FROM event WHERE n > 8", "events 9 to"),
    ("UPDATE chain SET hash = randomblob(32) WHERE what = 'head'", "the stored head"),
];

#[tokio::test]
async fn a_manager_that_finds_its_history_changed_says_so_and_goes_on() {
    for (sql, word) in TAMPERED {
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let start = || Desk::in_folder(folder.path(), &Hands::Machine, jobs_desk::settings());
        let broken = EventListArguments {
            since: Some(0),
            kind: Some("manager.history_broken".to_owned()),
            ..EventListArguments::default()
        };
        for _ in 0..2 {
            let desk = start().await;
            desk.connect(&["a1"]).await;
            happen(&desk, 4).await;
            let list: EventList = desk.ask(method::EVENTS_LIST, &broken).await.unwrap();
            assert!(list.events.is_empty(), "nothing is wrong: {list:?}");
            close(desk).await;
        }
        let database = folder.path().join("store").join(DATABASE);
        rusqlite::Connection::open(database).unwrap().execute_batch(sql).unwrap();
        let desk = start().await;
        desk.connect(&["a1"]).await;
        happen(&desk, 2).await;
        let list: EventList = desk.ask(method::EVENTS_LIST, &broken).await.unwrap();
        let [told] = list.events.as_slice() else { panic!("{sql}: {list:?}") };
        let detail = told.detail.as_deref().unwrap();
        assert!(detail.contains(word), "{sql}: {detail}");
        let found = verify(&desk, &EventVerifyArguments::default()).await;
        let flaw = found.flaw.expect("what is told at the start is found later too");
        assert!(flaw.n <= told.n, "{sql}: {flaw:?}, told as {}", told.n);
        close(desk).await;
    }
}

/// What the page on the protocol computes: anybody can, with nothing of ours.
#[test]
fn the_example_of_the_protocol_is_what_stores_compute() {
    let page: String = include_str!("../../docs/protocol.md").split_whitespace().collect();
    let plain = EventRecord {
        n: 1,
        at_ms: 1_764_340_000_000,
        kind: EventKind::AgentConnected,
        job: None,
        agent: Some(jobs_desk::peer("web-1")),
        queue: None,
        attempt: None,
        outcome: None,
        detail: None,
        custom: None,
    };
    let full = EventRecord {
        n: 2,
        at_ms: 1_764_340_000_500,
        kind: EventKind::RunEnded,
        job: Some(JobId::from_bytes(std::array::from_fn(|place| u8::try_from(place).unwrap()))),
        attempt: Some(Attempt(1)),
        outcome: Some(Outcome::Failed),
        detail: Some("timed_out".to_owned()),
        ..plain.clone()
    };
    let mut linker = Linker::new(sha256);
    let mut previous = [0; 32];
    for event in [plain, full] {
        let message = linker.message(&previous, &columns(&event)).to_vec();
        let (length, record) = message.strip_prefix(DOMAIN).unwrap().split_at(32).1.split_at(8);
        assert_eq!(length, u64::try_from(record.len()).unwrap().to_be_bytes());
        previous = sha256(&message);
        for (what, bytes) in [("record", record), ("length", length)] {
            let told = format!("{what}{}", HEXLOWER.encode(bytes));
            assert!(page.contains(&told), "{told}");
        }
        let told = format!("h({}){}", event.n, HEXLOWER.encode(&previous));
        assert!(page.contains(&told), "{told}");
    }
}
