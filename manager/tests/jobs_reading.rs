//! What operators read of jobs: results, with waiting or not, pages of items, details; all cut to what a frame holds.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use std::time::Duration;

use jobs_desk::{Desk, ended, items, large_items, succeeded};
use redpoll_common::api::items::{ItemPage, ReadArguments};
use redpoll_common::api::jobs::{JobDetail, JobResult, JobShowArguments, ResultArguments};
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::job::{Callback, JobId, Outcome, QueueKey, QueueSpec};
use redpoll_common::wire::{FaultCode, Fields, Raw, RawMap};

const HOUR_MS: u64 = 3_600_000;

fn result(job: JobId) -> ResultArguments {
    ResultArguments { job: job.to_string(), ..ResultArguments::default() }
}

fn reading(job: JobId) -> ReadArguments {
    ReadArguments { job: job.to_string(), ..ReadArguments::default() }
}

async fn read(desk: &Desk, arguments: &ReadArguments) -> ItemPage {
    let answer = desk.ask_raw(method::JOBS_READ, Raw::encode(arguments).unwrap()).await.unwrap();
    ItemPage::read(&answer).unwrap()
}

#[tokio::test]
async fn a_result_is_told_now_or_when_it_is_there() {
    for desk in [Desk::memory().await, Desk::sqlite().await] {
        desk.connect(&["a1", "a2"]).await;
        let job = desk.submit(&["a1", "a2"]).await;
        let now: JobResult = desk.ask(method::JOBS_RESULT, &result(job)).await.unwrap();
        assert_eq!((now.job.state.as_str(), now.job.open, now.runs.len()), ("open", 2, 2));
        assert!(now.runs.iter().all(|run| run.end.is_none()) && now.next.is_none());

        let waiting = ResultArguments { wait_ms: Some(HOUR_MS), ..result(job) };
        let both = desk.start(method::JOBS_RESULT, Raw::encode(&waiting).unwrap());
        let one = ResultArguments { agent: Some("a2".into()), ..waiting.clone() };
        let one = desk.start(method::JOBS_RESULT, Raw::encode(&one).unwrap());
        desk.end(job, "a2", succeeded(0, Raw::text("two"))).await;
        let one: JobResult = one.answer().await.unwrap().decode().unwrap();
        assert_eq!((one.runs.len(), one.job.open), (1, 1));
        assert_eq!(one.runs[0].end.clone().unwrap().result, Some(Raw::text("two")));
        assert!(!both.is_over());
        desk.end(job, "a1", ended(Outcome::Failed, 0)).await;
        let both: JobResult = both.answer().await.unwrap().decode().unwrap();
        assert_eq!((both.job.state.as_str(), both.job.outcome.as_deref()), ("ended", Some("failed")));
        let ends: Vec<_> = both.runs.iter().map(|run| run.end.clone().unwrap().outcome).collect();
        assert_eq!(ends, ["failed", "succeeded"]);
        // one that has ended is not waited for
        let again: JobResult = desk.ask(method::JOBS_RESULT, &waiting).await.unwrap();
        assert_eq!(again, both);
        desk.stop().await;
    }
}

#[tokio::test]
async fn waiting_for_a_result_ends_with_the_time_the_manager_and_the_job() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    let short = ResultArguments { wait_ms: Some(20), ..result(job) };
    let answer: JobResult = desk.ask(method::JOBS_RESULT, &short).await.unwrap();
    assert_eq!(answer.job.state, "open");
    let forever = ResultArguments { wait_ms: Some(u64::MAX), ..result(job) };
    let forever = || desk.start(method::JOBS_RESULT, Raw::encode(&forever).unwrap());
    // a caller who waits for a second himself is answered before it is over
    let soon =
        desk.start_until(method::JOBS_RESULT, Raw::encode(&short_of(job)).unwrap(), Duration::from_secs(1));
    assert!(soon.answer().await.is_ok());
    let waiting = forever();
    tokio::task::yield_now().await;
    desk.manager.start_draining();
    assert_eq!(waiting.answer().await.unwrap_err().code, FaultCode::ShuttingDown);
}

fn short_of(job: JobId) -> ResultArguments {
    ResultArguments { wait_ms: Some(HOUR_MS), ..result(job) }
}

#[tokio::test]
async fn results_come_in_pages_that_fit_and_a_large_one_alone() {
    let desk = Desk::memory().await;
    let agents = ["a1", "a2", "a3", "a4", "a5"];
    desk.connect(&agents).await;
    let mut submit = SubmitArguments::new(agents.map(str::to_owned).to_vec(), "app.work");
    submit.spec.info = Raw::text(&"i".repeat(5_000));
    let job = JobId::parse(&desk.submit_with(&submit).await.unwrap().job).unwrap();
    for (agent, size) in agents.into_iter().zip([1_000, 15_000, 4_000, 4_000, 4_000]) {
        desk.end(job, agent, succeeded(0, Raw::text(&"r".repeat(size)))).await;
    }
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let ask = ResultArguments { after: after.clone(), ..result(job) };
        let ask = desk.start_within(method::JOBS_RESULT, Raw::encode(&ask).unwrap(), 16_384);
        let answer = ask.answer().await.unwrap();
        assert!(answer.len() <= 16_384);
        let page: JobResult = answer.decode().unwrap();
        assert_eq!(page.job.info.is_nil(), page.runs[0].agent == "a2", "info is left out only where it must");
        pages.push(page.runs.iter().map(|run| run.agent.clone()).collect::<Vec<_>>());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec!["a1"], vec!["a2"], vec!["a3", "a4"], vec!["a5"]]);
    desk.stop().await;
}

#[tokio::test]
async fn a_result_that_fits_no_frame_is_named() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let job = desk.submit(&["a1"]).await;
    desk.give(job, "a1", large_items(0, 1, 20_000)).await;
    desk.end(job, "a1", succeeded(1, Raw::text(&"r".repeat(20_000)))).await;
    for (method, arguments, word) in [
        (method::JOBS_RESULT, Raw::encode(&result(job)).unwrap(), "a1"),
        (method::JOBS_READ, Raw::encode(&reading(job)).unwrap(), "item 0"),
        (
            method::JOBS_READ,
            Raw::encode(&ReadArguments { since: Some(1), ..reading(job) }).unwrap(),
            "the end",
        ),
    ] {
        let fault = desk.start_within(method, arguments, 16_384).answer().await.unwrap_err();
        assert!(fault.code == FaultCode::TooLarge && fault.message.contains(word), "{fault}");
        assert!(fault.message.contains("16384"), "the limit is named: {fault}");
    }
}

#[tokio::test]
async fn items_are_read_from_anywhere_until_the_end_is_told() {
    let desk = Desk::memory().await;
    desk.connect(&["a1", "a2"]).await;
    let job = desk.submit(&["a1"]).await;
    desk.give(job, "a1", items(0, 100)).await;
    let numbers = |page: &ItemPage| page.items.iter().map(|item| item.n).collect::<Vec<_>>();
    let all = read(&desk, &reading(job)).await;
    assert_eq!((numbers(&all), all.next, all.more, all.end), ((0..100).collect(), 100, true, None));
    let page = read(&desk, &ReadArguments { since: Some(90), limit: Some(5), ..reading(job) }).await;
    assert_eq!((numbers(&page), page.next, page.more), ((90..95).collect(), 95, true));
    assert_eq!(page.stored, Some(100), "of what goes on where it was");
    let page = read(&desk, &ReadArguments { recent: Some(3), ..reading(job) }).await;
    assert_eq!((numbers(&page), page.next), ((97..100).collect(), 100));
    let page = read(&desk, &ReadArguments { recent: Some(1000), ..reading(job) }).await;
    assert_eq!(page.items.len(), 100);
    let page = read(&desk, &ReadArguments { since: Some(200), ..reading(job) }).await;
    assert_eq!((numbers(&page), page.next, page.more), (vec![], 200, true));
    desk.end(job, "a1", succeeded(100, Raw::text("r"))).await;
    let page = read(&desk, &ReadArguments { since: Some(99), ..reading(job) }).await;
    assert!(!page.more && page.end.unwrap().result == Some(Raw::text("r")));
    let page = read(&desk, &ReadArguments { since: Some(90), limit: Some(9), ..reading(job) }).await;
    assert!(page.more && page.end.is_none(), "not before its last item");
    assert_eq!(page.stored, None, "of what is over all is read");

    let two = desk.submit(&["a1", "a2"]).await;
    for (arguments, code, word) in [
        (reading(two), FaultCode::BadArguments, "2 runs"),
        (ReadArguments { agent: Some("a3".into()), ..reading(two) }, FaultCode::UnknownJob, "a3"),
        (ReadArguments { limit: Some(0), ..reading(job) }, FaultCode::BadArguments, "1 to 10000"),
        (ReadArguments { limit: Some(10_001), ..reading(job) }, FaultCode::BadArguments, "1 to 10000"),
        (
            ReadArguments { since: Some(1), recent: Some(1), ..reading(job) },
            FaultCode::BadArguments,
            "exclude",
        ),
        (ReadArguments { attempt: Some(2), ..reading(job) }, FaultCode::BadArguments, "has had 1"),
        (ReadArguments { attempt: Some(0), ..reading(job) }, FaultCode::BadArguments, "first one is 1"),
    ] {
        let fault = desk.refused(method::JOBS_READ, &arguments).await;
        assert!(fault.code == code && fault.message.contains(word), "{fault}");
    }
}

#[tokio::test]
async fn the_items_of_earlier_attempts_stay_readable() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let mut submit = SubmitArguments::new(vec!["a1".into()], "app.work");
    (submit.spec.idempotent, submit.spec.max_attempts) = (Some(true), 2);
    let job = JobId::parse(&desk.submit_with(&submit).await.unwrap().job).unwrap();
    desk.give(job, "a1", items(0, 3)).await;
    desk.end(job, "a1", ended(Outcome::Failed, 3)).await;
    desk.give(job, "a1", items(0, 2)).await;
    let first = read(&desk, &ReadArguments { attempt: Some(1), ..reading(job) }).await;
    assert_eq!((first.items.len(), first.more, first.end), (3, false, None));
    let second = read(&desk, &reading(job)).await;
    assert_eq!((second.attempt, second.items.len(), second.more), (2, 2, true));
    let show = JobShowArguments { job: job.to_string(), ..JobShowArguments::default() };
    let detail: JobDetail = desk.ask(method::JOBS_SHOW, &show).await.unwrap();
    let run = &detail.runs[0];
    assert_eq!((run.attempt, run.earlier.len(), run.earlier[0].outcome.as_str()), (2, 1, "failed"));
}

#[tokio::test]
async fn a_job_is_shown_with_all_that_was_asked_for_and_its_runs_in_pages() {
    let desk = Desk::memory().await;
    let agents = ["a1", "a2", "a3"];
    desk.connect(&agents).await;
    let mut submit = SubmitArguments::new(agents.map(str::to_owned).to_vec(), "app.work@2");
    submit.spec.limits.run_timeout = Some(Duration::from_secs(5));
    submit.spec.callback = Some(Callback::Webhook("http://h".into()));
    submit.spec.kwargs = RawMap::new().text("k", "v").finish();
    submit.spec.key = Some("once".into());
    let job = JobId::parse(&desk.submit_with(&submit).await.unwrap().job).unwrap();
    desk.end(job, "a1", succeeded(0, Raw::text("r"))).await;
    let show = |after: Option<&str>, limit| JobShowArguments {
        job: job.to_string(),
        after: after.map(str::to_owned),
        limit,
    };
    let detail: JobDetail = desk.ask(method::JOBS_SHOW, &show(None, Some(2))).await.unwrap();
    assert_eq!((detail.kwargs, detail.job.key.as_deref()), (submit.spec.kwargs.clone(), Some("once")));
    let options: Vec<_> = detail.options.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let encoded = |value: &str| Raw::text(value);
    for (name, value) in [
        ("offline", encoded("wait")),
        ("overflow", encoded("truncate")),
        ("webhook", encoded("http://h")),
        ("run_timeout_ms", Raw::encode(&5000).unwrap()),
        ("max_attempts", Raw::encode(&1).unwrap()),
    ] {
        assert!(options.contains(&(name, value)), "{name} in {:?}", detail.options.keys());
    }
    assert!(!detail.options.contains_key("kwargs") && !detail.options.contains_key("key"));
    assert_eq!((detail.runs.len(), detail.next.as_deref()), (2, Some("a2")));
    assert!(detail.runs[0].end.clone().unwrap().result.is_none(), "rp.jobs.result has it");
    let rest: JobDetail = desk.ask(method::JOBS_SHOW, &show(Some("a2"), Some(2))).await.unwrap();
    assert_eq!((rest.runs.len(), rest.runs[0].agent.as_str(), rest.next), (1, "a3", None));
}

#[tokio::test]
async fn a_job_on_many_agents_is_waited_for_to_its_last_run() {
    let desk = Desk::memory().await;
    let names: Vec<String> = (0..300).map(|n| format!("a{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    desk.connect(&names).await;
    let job = desk.submit(&names).await;
    let waiting = desk.start(method::JOBS_RESULT, Raw::encode(&short_of(job)).unwrap());
    for name in names.iter().rev() {
        assert!(!waiting.is_over());
        desk.end(job, name, succeeded(0, Raw::nil())).await;
    }
    let answer: JobResult = waiting.answer().await.unwrap().decode().unwrap();
    assert_eq!((answer.job.state.as_str(), answer.runs.len(), answer.job.open), ("ended", 300, 0));
}

/// The clock of this test stands still while anybody has something to do: a look at the store that nobody asked for shows.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_result_is_woken_by_it() {
    let desk = Desk::memory().await;
    desk.connect(&["a1", "a2"]).await;
    let job = desk.submit(&["a1", "a2"]).await;
    let began = tokio::time::Instant::now();
    let waiting = desk.start(method::JOBS_RESULT, Raw::encode(&short_of(job)).unwrap());
    for agent in ["a2", "a1"] {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        desk.end(job, agent, succeeded(0, Raw::nil())).await;
    }
    assert!(waiting.answer().await.is_ok());
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_concurrency_that_counts_is_told_beside_the_one_that_was_asked_for() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let show = async |job: JobId| -> JobDetail {
        let arguments = JobShowArguments { job: job.to_string(), after: None, limit: None };
        desk.ask(method::JOBS_SHOW, &arguments).await.unwrap()
    };
    let in_queue = async |concurrency: u32| {
        let name = QueueKey::text("q").unwrap();
        let mut submit = SubmitArguments::new(vec!["a1".to_owned()], "app.work");
        submit.spec.queue = Some(QueueSpec { name, concurrency });
        JobId::parse(&desk.submit_with(&submit).await.unwrap().job).unwrap()
    };
    let (first, second) = (in_queue(1).await, in_queue(5).await);
    for (job, asked) in [(first, 1_u32), (second, 5)] {
        let shown = show(job).await;
        let of_job: u32 = shown.options["concurrency"].decode().unwrap();
        assert_eq!((of_job, shown.queue_concurrency), (asked, Some(1)));
    }
    desk.end(first, "a1", succeeded(0, Raw::nil())).await;
    assert_eq!(show(first).await.queue_concurrency, None, "it stands in no queue any more");
    assert_eq!(show(second).await.queue_concurrency, Some(1), "the queue lives on");
    assert_eq!(show(desk.submit(&["a1"]).await).await.queue_concurrency, None);
}

#[tokio::test]
async fn a_corrected_job_ended_with_its_correction_and_items_are_counted_in_bytes() {
    for desk in [Desk::memory().await, Desk::sqlite().await] {
        desk.connect(&["a1"]).await;
        let job = desk.submit(&["a1"]).await;
        desk.give(job, "a1", items(0, 2)).await;
        let arguments = JobShowArguments { job: job.to_string(), after: None, limit: None };
        desk.end(job, "a1", ended(Outcome::Unknown, 2)).await;
        let before: JobDetail = desk.ask(method::JOBS_SHOW, &arguments).await.unwrap();
        assert_eq!((before.job.ended_ms, before.runs[0].corrected_ms), (before.runs[0].ended_ms, None));
        let bytes: usize = items(0, 2).iter().map(|item| item.data.len() + 32).sum();
        assert_eq!(before.runs[0].item_bytes, Some(u64::try_from(bytes).unwrap()));
        desk.end(job, "a1", succeeded(2, Raw::nil())).await;
        let after: JobDetail = desk.ask(method::JOBS_SHOW, &arguments).await.unwrap();
        let run = &after.runs[0];
        assert!(run.corrected && run.corrected_ms.is_some());
        assert_eq!((after.job.ended_ms, run.ended_ms), (run.corrected_ms, run.corrected_ms));
        assert!(after.job.ended_ms >= before.job.ended_ms);
        desk.stop().await;
    }
}

#[tokio::test]
async fn an_open_job_keeps_what_is_counted_of_its_request_and_not_the_rest() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let asked = SubmitArguments::new(vec!["a1".to_owned()], "app.work").write();
    let fields = Fields::of(&asked).unwrap();
    let map = fields
        .iter()
        .fold(RawMap::new(), |map, (name, value)| map.raw(name, &Raw::parse(value.to_vec().into()).unwrap()));
    let request = map.text("info", "little").bin("junk", &[0; 500_000]).finish().to_bytes();
    desk.ask_raw(method::JOBS_SUBMIT, Raw::parse(request.clone()).unwrap()).await.unwrap();
    assert!(request.is_unique(), "its arguments and its info have memory of their own");
}
