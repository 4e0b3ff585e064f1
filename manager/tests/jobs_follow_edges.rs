//! `rp.jobs.follow`: what a follower sees at the edges.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use std::collections::BTreeMap;
use std::time::Duration;

use jobs_desk::{Desk, Request, ended, items, large_items, succeeded};
use redpoll_common::api::items::{FollowArguments, FollowFrom, ItemPage, Missing, ReadArguments};
use redpoll_common::api::jobs::{JobArguments, JobSummary};
use redpoll_common::api::method;
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Resume, ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{JobId, Outcome};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{FaultCode, Raw};

fn all_of(job: JobId) -> FollowArguments {
    FollowArguments { job: job.to_string(), ..FollowArguments::default() }
}

fn follow(desk: &Desk, arguments: &FollowArguments) -> Request {
    desk.start(method::JOBS_FOLLOW, Raw::encode(arguments).unwrap())
}

#[tokio::test]
async fn small_items_come_many_in_a_value_and_large_ones_alone() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    for page in 0..5 {
        desk.give(job, "a1", items(page * 4000, 4000)).await;
    }
    desk.give(job, "a1", large_items(20_000, 3, 100_000)).await;
    desk.end(job, "a1", succeeded(20_003, Raw::text("done"))).await;
    let (events, answer) = follow(&desk, &all_of(job)).all().await;
    answer.unwrap();
    let told: usize = events.iter().map(|event| event.items.len()).sum();
    assert_eq!(told, 20_003);
    assert!(events.len() < 30, "{} values", events.len());
    let end = events.last().unwrap().end.clone().unwrap();
    assert_eq!((end.outcome.as_str(), end.items, end.result), ("succeeded", 20_003, Some(Raw::text("done"))));
}

#[tokio::test]
async fn a_follower_with_small_frames_gets_everything_that_fits_and_hears_what_does_not() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    desk.give(job, "a1", large_items(0, 4, 9_000)).await;
    desk.give(job, "a1", items(4, 2000)).await;
    desk.report(job, "a1", |report| {
        let details = Raw::text(&"d".repeat(60_000));
        RunReport { progress: Some(Progress { completed: 5, total: Some(9), details }), ..report }
    })
    .await;
    desk.end(job, "a1", succeeded(2004, Raw::text(&"r".repeat(15_000)))).await;
    let narrow = |job| desk.start_within(method::JOBS_FOLLOW, Raw::encode(&all_of(job)).unwrap(), 16_000);
    let (events, answer) = narrow(job).all().await;
    answer.unwrap();
    assert_eq!(events.iter().map(|event| event.items.len()).sum::<usize>(), 2004);
    assert!(events.iter().any(|event| event.progress.as_ref().is_some_and(|p| p.completed == Some(5))));
    assert!(events.last().unwrap().end.is_some());

    let job = desk.submit(&["a1"]).await;
    desk.give(job, "a1", large_items(0, 1, 20_000)).await;
    let (_, answer) = narrow(job).all().await;
    let fault = answer.unwrap_err();
    assert_eq!(fault.code, FaultCode::TooLarge);
    assert!(fault.message.contains("item 0") && fault.message.contains("a1"), "{fault}");
}

#[tokio::test]
async fn an_unknown_end_is_corrected_while_others_still_run() {
    let desk = Desk::memory().await;
    desk.connect(&["a1", "a2"]).await;
    let job = desk.submit(&["a1", "a2"]).await;
    let mut request = follow(&desk, &all_of(job));
    desk.give(job, "a1", items(0, 2)).await;
    desk.end(job, "a1", ended(Outcome::Unknown, 2)).await;
    let mut ends = Vec::new();
    let mut told = 0;
    while ends.len() < 2 {
        let event = request.event().await.unwrap();
        if event.agent != "a1" {
            continue;
        }
        told += event.items.len();
        if let Some(end) = event.end {
            ends.push(end.outcome);
            if ends.len() == 1 {
                // what comes with the correction is told before it
                desk.give(job, "a1", items(2, 3)).await;
                desk.end(job, "a1", succeeded(5, Raw::nil())).await;
            }
        }
    }
    assert_eq!((told, ends), (5, vec!["unknown".to_owned(), "succeeded".to_owned()]));
    desk.end(job, "a2", succeeded(0, Raw::nil())).await;
    let (events, answer) = request.all().await;
    assert!(events.iter().all(|event| event.agent == "a2"), "the end of a1 is told no more");
    let summary: JobSummary = answer.unwrap().decode().unwrap();
    assert_eq!(summary.outcomes, BTreeMap::from([("succeeded".to_owned(), 2)]));
}

#[tokio::test]
async fn a_job_that_is_deleted_meanwhile_is_unknown() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    let mut request = follow(&desk, &all_of(job));
    request.event().await.unwrap();
    for page in 0..300 {
        // more than what may be on its way to a follower who takes nothing
        desk.give(job, "a1", large_items(page, 1, 100_000)).await;
    }
    desk.end(job, "a1", succeeded(300, Raw::nil())).await;
    desk.ask_raw(method::JOBS_DELETE, Raw::encode(&JobArguments { job: job.to_string() }).unwrap())
        .await
        .unwrap();
    let (events, answer) = request.all().await;
    assert_eq!(answer.unwrap_err().code, FaultCode::UnknownJob);
    assert!(events.iter().all(|event| event.end.is_none()));
}

#[tokio::test]
async fn a_manager_that_stops_sends_its_followers_elsewhere() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    let mut idle = follow(&desk, &all_of(job));
    idle.event().await.unwrap();
    let mut waiting = follow(&desk, &all_of(job));
    waiting.event().await.unwrap();
    for page in 0..300 {
        desk.give(job, "a1", large_items(page, 1, 100_000)).await;
    }
    desk.manager.start_draining();
    // also the one that takes nothing
    assert_eq!(waiting.answer().await.unwrap_err().code, FaultCode::ShuttingDown);
    assert_eq!(idle.answer().await.unwrap_err().code, FaultCode::ShuttingDown);
}

#[tokio::test]
async fn one_run_alone_is_followed_to_its_own_end() {
    let desk = Desk::memory().await;
    desk.connect(&["a1", "a2"]).await;
    let job = desk.submit(&["a1", "a2"]).await;
    desk.end(job, "a2", succeeded(0, Raw::nil())).await;
    let one = FollowArguments { agent: Some("a2".into()), ..all_of(job) };
    let (events, answer) = follow(&desk, &one).all().await;
    assert!(events.iter().all(|event| event.agent == "a2"));
    let summary: JobSummary = answer.unwrap().decode().unwrap();
    assert_eq!((summary.state.as_str(), summary.open), ("open", 1));
    // whoever knows the end is told nothing
    let from = vec![FollowFrom { agent: "a2".into(), attempt: 1, next: 0, ended: true }];
    let (events, answer) = follow(&desk, &FollowArguments { from, ..one }).all().await;
    assert!(events.is_empty() && answer.is_ok());
}

#[tokio::test]
async fn a_run_that_gives_much_does_not_hide_the_others() {
    let desk = Desk::memory().await;
    desk.connect(&["a1", "a2"]).await;
    let job = desk.submit(&["a1", "a2"]).await;
    for page in 0..50 {
        desk.give(job, "a1", items(page * 4000, 4000)).await;
    }
    desk.give(job, "a2", items(0, 1)).await;
    let mut request = follow(&desk, &all_of(job));
    let mut before = 0;
    loop {
        let event = request.event().await.unwrap();
        if event.agent == "a2" && !event.items.is_empty() {
            break;
        }
        before += event.items.len();
    }
    assert!(before <= 10_000, "{before} items of the other came first");
    // and one that changes while the follower is busy is seen before it is done
    desk.give(job, "a2", items(1, 1)).await;
    loop {
        let event = request.event().await.unwrap();
        if event.agent == "a2" && !event.items.is_empty() {
            break;
        }
        before += event.items.len();
    }
    assert!(before < 200_000, "{before} items of the other came first");
}

#[tokio::test]
async fn ten_thousand_runs_are_followed_to_their_ends() {
    let desk = Desk::memory().await;
    let names: Vec<String> = (0..10_000).map(|n| format!("a{n:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    desk.connect(&names).await;
    let job = desk.submit(&names).await;
    let mut request = follow(&desk, &all_of(job));
    let began = std::time::Instant::now();
    let (mut told, mut ends) = (BTreeMap::new(), 0);
    for name in &names {
        desk.report(job, name, |report| RunReport {
            items: items(0, 2),
            done: Some(succeeded(2, Raw::nil())),
            ..report
        })
        .await;
    }
    while let Some(event) = request.event().await {
        ends += usize::from(event.end.is_some());
        told.entry(event.agent).or_insert_with(Vec::new).extend(event.items.into_iter().map(|item| item.n));
    }
    println!("10,000 runs in {:?}", began.elapsed());
    let summary: JobSummary = request.answer().await.unwrap().decode().unwrap();
    assert_eq!((summary.state.as_str(), summary.runs), ("ended", 10_000));
    assert_eq!((ends, told.len()), (10_000, 10_000));
    assert!(told.values().all(|numbers| *numbers == [0, 1]));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    desk.give(job, "a1", items(0, 1)).await;
    let from = |agent: &str, attempt| FollowFrom { agent: agent.into(), attempt, next: 0, ended: false };
    for (arguments, code, word) in [
        (FollowArguments { job: "x".into(), ..FollowArguments::default() }, FaultCode::BadArguments, "x"),
        (all_of(JobId::new(1, 1)), FaultCode::UnknownJob, "no job"),
        (
            FollowArguments { since: Some(1), recent: Some(1), ..all_of(job) },
            FaultCode::BadArguments,
            "exclude",
        ),
        (FollowArguments { agent: Some("b".into()), ..all_of(job) }, FaultCode::UnknownJob, "no run on b"),
        (FollowArguments { from: vec![from("b", 1)], ..all_of(job) }, FaultCode::UnknownJob, "no run on b"),
        (FollowArguments { from: vec![from("a1", 7)], ..all_of(job) }, FaultCode::BadArguments, "attempt 7"),
        (
            FollowArguments { from: vec![from("a1", 1), from("a1", 1)], ..all_of(job) },
            FaultCode::BadArguments,
            "twice",
        ),
    ] {
        let fault = desk.refused(method::JOBS_FOLLOW, &arguments).await;
        assert!(fault.code == code && fault.message.contains(word), "{fault}");
    }
}

/// The clock of this test stands still while anybody has something to do: a look at the store that nobody asked for shows.
#[tokio::test(start_paused = true)]
async fn what_is_committed_while_a_follower_begins_wakes_it() {
    let desk = Desk::memory().await;
    let names: Vec<String> = (0..300).map(|n| format!("a{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    desk.connect(&names).await;
    let job = desk.submit(&names).await;
    for name in &names {
        // more than what may be on its way to a follower who takes nothing: it stops in its first look
        desk.give(job, name, large_items(0, 1, 100_000)).await;
    }
    let began = tokio::time::Instant::now();
    let mut request = follow(&desk, &all_of(job));
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    desk.give(job, "a000", large_items(1, 1, 10)).await;
    let mut told = 0;
    while told < 301 {
        told += request.event().await.unwrap().items.len();
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// The agent shows that so many items of its run were acknowledged: by a store of which an older copy was put back, if it has
/// fewer.
async fn acknowledged(desk: &Desk, job: JobId, agent: &str, acked_n: u64) {
    let run = desk.run(job, agent).await;
    let about = RunRef { job, attempt: run.attempt, dno: run.dno };
    let row = ResumeRow { run: about, state: SpoolState::Running, next_n: acked_n, acked_n };
    let resume = Resume { spool: [7; 16], max_dno: run.dno, last: true, jobs: vec![row] };
    let answer = desk.engine.resume(&jobs_desk::peer(agent), ConnectionId(1), resume).await.unwrap();
    assert_eq!(answer.jobs.len(), 1);
}

#[tokio::test]
async fn items_that_the_store_lacks_are_passed_over_and_the_end_is_told() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    desk.give(job, "a1", items(0, 2)).await;
    acknowledged(&desk, job, "a1", 5).await;
    // nothing after the gap yet, something, and at the end nothing again
    let mut early = follow(&desk, &all_of(job));
    let (mut numbers, mut told_before) = (Vec::new(), Vec::new());
    while numbers.len() < 2 {
        let event = early.event().await.unwrap();
        numbers.extend(event.items.iter().map(|item| item.n));
        told_before.extend(event.missing);
    }
    desk.give(job, "a1", items(5, 2)).await;
    acknowledged(&desk, job, "a1", 9).await;
    desk.end(job, "a1", succeeded(9, Raw::nil())).await;
    let (events, answer) = early.all().await;
    answer.unwrap();
    numbers.extend(events.iter().flat_map(|event| &event.items).map(|item| item.n));
    assert_eq!(numbers, [0, 1, 5, 6]);
    let gaps = vec![Missing { from: 2, until: 5 }, Missing { from: 7, until: 9 }];
    let mut missing = told_before;
    missing.extend(events.iter().flat_map(|event| event.missing.clone()));
    assert_eq!(missing, gaps);
    let (events, answer) = follow(&desk, &all_of(job)).all().await;
    answer.unwrap();
    assert_eq!(events.iter().flat_map(|event| event.missing.clone()).collect::<Vec<_>>(), gaps);
    assert!(events.iter().flat_map(|event| &event.items).map(|item| item.n).eq([0, 1, 5, 6]));
    assert_eq!(events.last().unwrap().end.as_ref().map(|end| end.items), Some(9), "by which one sees it");

    let (mut since, mut read, mut missing) = (0, Vec::new(), Vec::new());
    let end = loop {
        let arguments =
            ReadArguments { job: job.to_string(), since: Some(since), ..ReadArguments::default() };
        let page = desk.ask_raw(method::JOBS_READ, Raw::encode(&arguments).unwrap()).await.unwrap();
        let page = ItemPage::read(&page).unwrap();
        read.extend(page.items.iter().map(|item| item.n));
        missing.extend(page.missing);
        if !page.more {
            break page.end.unwrap();
        }
        assert!(page.next > since, "whoever reads on gets on");
        since = page.next;
    };
    assert_eq!((read, end.items, missing), (vec![0, 1, 5, 6], 9, gaps));
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

/// So many followers with the smallest window, each of which takes one value and no more.
async fn stalled(desk: &Desk, job: JobId, followers: usize) -> Vec<Request> {
    let kwargs = Raw::encode(&all_of(job)).unwrap();
    let start = |_n| desk.start_with_window(method::JOBS_FOLLOW, kwargs.clone(), 16 * 1024);
    let mut requests: Vec<Request> = (0..followers).map(start).collect();
    for request in &mut requests {
        request.event().await.unwrap();
    }
    requests
}

#[tokio::test]
async fn followers_that_take_nothing_have_no_items_kept_for_them() {
    let desk = Desk::sqlite().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    for n in 0..64 {
        desk.give(job, "a1", large_items(n, 1, 60_000)).await;
    }
    desk.end(job, "a1", succeeded(64, Raw::text("done"))).await;
    let before = resident();
    let requests = stalled(&desk, job, 256).await;
    let more = resident().saturating_sub(before) >> 20;
    // one value of 60,000 bytes or two are in the hands of each
    assert!(more < 128, "256 followers hold {more} MiB");
    // and one that goes on gets everything
    let (events, answer) = requests.into_iter().next().unwrap().all().await;
    answer.unwrap();
    assert_eq!(events.iter().map(|event| event.items.len()).sum::<usize>(), 63);
    assert!(events.last().unwrap().end.is_some());
}

#[tokio::test]
async fn followers_that_take_nothing_have_no_faults_kept_for_them() {
    let desk = Desk::sqlite().await;
    let names: Vec<String> = (0..60).map(|n| format!("a{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    desk.connect(&names).await;
    let job = desk.submit(&names).await;
    for name in &names {
        let mut ending = ended(Outcome::Failed, 0);
        ending.fault = ending.fault.map(|fault| fault.with_data(Raw::bin(&vec![7; 900_000])));
        desk.end(job, name, ending).await;
    }
    let before = resident();
    let requests = stalled(&desk, job, 8).await;
    let more = resident().saturating_sub(before) >> 20;
    assert!(more < 128, "8 followers hold {more} MiB");
    let (events, answer) = requests.into_iter().next().unwrap().all().await;
    answer.unwrap();
    assert_eq!(events.iter().filter(|event| event.end.is_some()).count(), 59);
}
