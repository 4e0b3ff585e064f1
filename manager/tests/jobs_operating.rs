//! What operators ask of jobs, queues and the history, and what they are refused.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use jobs_desk::{Desk, ended, succeeded};
use redpoll_common::api::jobs::{
    CancelAnswer, CancelArguments, JobArguments, JobList, JobListArguments, ReachedRun,
};
use redpoll_common::api::method;
use redpoll_common::api::queues::{
    QueueArguments, QueueCancelArguments, QueueDetail, QueueList, QueueListArguments,
};
use redpoll_common::api::submit::{Preview, PreviewArguments, SubmitArguments};
use redpoll_common::api::trial::TrialArguments;
use redpoll_common::job::{Callback, JobId, Offline, Outcome, QueueKey, QueueSpec};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_config::ManagerConfig;
use redpoll_manager::clock::Hands;

fn on(agents: &[&str]) -> SubmitArguments {
    SubmitArguments::new(agents.iter().map(|&agent| agent.to_owned()).collect(), "app.work")
}

async fn submitted(desk: &Desk, submit: &SubmitArguments) -> JobId {
    JobId::parse(&desk.submit_with(submit).await.unwrap().job).unwrap()
}

fn queue(name: &Raw, concurrency: u32) -> Option<QueueSpec> {
    Some(QueueSpec { name: QueueKey::parse(name).unwrap(), concurrency })
}

fn named(job: JobId) -> JobArguments {
    JobArguments { job: job.to_string() }
}

#[tokio::test]
async fn a_submit_that_makes_no_sense_is_refused_with_the_reason() {
    let mut config = ManagerConfig::default();
    config.jobs.callbacks.procedures.insert("tell".to_owned(), vec!["/bin/true".to_owned()]);
    config.jobs.callbacks.allow = vec!["*.example".parse().unwrap()];
    let desk = Desk::with(config, jobs_desk::settings()).await;
    let none = desk.submit_with(&on(&["*"])).await.unwrap_err();
    assert!(none.code == FaultCode::BadArguments && none.message.contains("start an agent"), "{none}");
    desk.know(&["a1", "a2"]);
    let with = |change: &dyn Fn(&mut SubmitArguments)| {
        let mut submit = on(&["a1"]);
        change(&mut submit);
        submit
    };
    let hook = |url: &str| Some(Callback::Webhook(url.to_owned()));
    let deep = || (0..30).fold(Raw::nil(), |inner, _| Raw::encode(&[inner]).unwrap());
    let wide = || Raw::encode(&vec![0_u8; 62_000]).unwrap();
    let long = || Raw::encode(&["x".repeat(1_040_000)]).unwrap();
    for (submit, code, word) in [
        (with(&|s| s.agents.clear()), FaultCode::BadArguments, "agents is empty"),
        (with(&|s| s.agents.push("*".into())), FaultCode::BadArguments, "alone"),
        (
            with(&|s| s.spec.limits.run_timeout = Some(Duration::ZERO)),
            FaultCode::BadArguments,
            "run_timeout_ms is 0",
        ),
        (
            with(&|s| s.spec.limits.idle_timeout = Some(Duration::ZERO)),
            FaultCode::BadArguments,
            "idle_timeout_ms is 0",
        ),
        (with(&|s| s.agents.push("-x".into())), FaultCode::BadArguments, "-x"),
        (with(&|s| s.agents.push("b1".into())), FaultCode::UnknownAgent, "b1"),
        (with(&|s| s.spec.procedure = "rp.jobs.list".into()), FaultCode::BadArguments, "reserved"),
        (with(&|s| s.spec.procedure = "a@0".into()), FaultCode::BadArguments, "name@version"),
        (with(&|s| s.spec.callback = hook("ftp://x.example")), FaultCode::BadArguments, "https"),
        (with(&|s| s.spec.callback = hook("http://x.org")), FaultCode::BadArguments, "callbacks.allow"),
        (
            with(&|s| s.spec.callback = Some(Callback::Procedure("other".into()))),
            FaultCode::BadArguments,
            "(tell)",
        ),
        (with(&|s| s.spec.info = deep()), FaultCode::BadArguments, "28"),
        (with(&|s| s.spec.args = wide()), FaultCode::TooLarge, "61440"),
        (with(&|s| s.spec.args = long()), FaultCode::TooLarge, "1032192"),
        (with(&|s| s.spec.offline = Offline::Require), FaultCode::AgentAway, "a1"),
    ] {
        let fault = desk.submit_with(&submit).await.unwrap_err();
        assert!(fault.code == code && fault.message.contains(word), "{word}: {fault}");
    }
    let many: Vec<String> = (0..30).map(|n| format!("b{n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let fault = desk.submit_with(&on(&many)).await.unwrap_err();
    assert!(fault.message.contains("b09") && fault.message.contains("20 more"), "{fault}");
    assert!(!fault.message.contains("b10"), "{fault}");
    assert_eq!(desk.store.counts().await.unwrap().open_jobs, 0, "nothing was stored");

    for callback in [hook("https://x.example/y"), Some(Callback::Procedure("tell".into()))] {
        desk.submit_with(&with(&|s| s.spec.callback = callback.clone())).await.unwrap();
    }
}

#[tokio::test]
async fn a_job_on_all_agents_is_the_same_job_also_when_there_are_more_of_them() {
    let desk = Desk::memory().await;
    desk.know(&["a1", "a2"]);
    let mut submit = on(&["*"]);
    submit.spec.key = Some("nightly".into());
    let first = desk.submit_with(&submit).await.unwrap();
    assert!(!first.existing && first.runs == 2);
    desk.know(&["a3"]);
    let again = desk.submit_with(&submit).await.unwrap();
    assert_eq!((again.job, again.existing, again.runs), (first.job, true, 2));
    submit.spec.max_attempts = 2;
    assert_eq!(desk.submit_with(&submit).await.unwrap_err().code, FaultCode::IdemConflict);
}

#[tokio::test]
async fn a_preview_shows_whom_a_job_would_reach_in_pages() {
    let desk = Desk::memory().await;
    desk.know(&["a1", "a2", "a3"]);
    let ask = |agents: &[&str], after: Option<&str>, limit| PreviewArguments {
        agents: agents.iter().map(|&agent| agent.to_owned()).collect(),
        after: after.map(str::to_owned),
        limit,
    };
    let page: Preview = desk.ask(method::JOBS_PREVIEW, &ask(&["*"], None, Some(2))).await.unwrap();
    assert_eq!((page.total, page.connected, page.agents.len()), (3, 0, 2));
    assert_eq!(page.next.as_deref(), Some("a2"));
    let page: Preview = desk.ask(method::JOBS_PREVIEW, &ask(&["*"], Some("a2"), Some(2))).await.unwrap();
    assert_eq!((page.agents.first().unwrap().id.as_str(), page.agents.len(), page.next), ("a3", 1, None));
    let page: Preview = desk.ask(method::JOBS_PREVIEW, &ask(&["a2", "a1", "a2"], None, None)).await.unwrap();
    assert_eq!((page.total, page.next), (2, None));
    let fault = desk.refused(method::JOBS_PREVIEW, &ask(&["a9"], None, None)).await;
    assert_eq!(fault.code, FaultCode::UnknownAgent);
    let fault = desk.refused(method::JOBS_PREVIEW, &ask(&["*"], None, Some(1001))).await;
    assert!(fault.message.contains("1 to 1000"), "{fault}");
}

#[tokio::test]
async fn a_dry_run_is_cut_where_a_frame_is_full_and_goes_on_there() {
    let desk = Desk::memory().await;
    let names: Vec<String> = (10..40).map(|n| format!("a{n}")).collect();
    desk.know(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut trial = TrialArguments { submit: on(&["*"]), after: None, limit: None };
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let answer = desk.start_within(method::JOBS_PREVIEW, trial.write(), 2000).answer().await.unwrap();
        assert!(answer.len() <= 2000, "{}", answer.len());
        let page: Preview = answer.decode().unwrap();
        pages += 1;
        found.extend(page.agents.into_iter().map(|agent| agent.id));
        trial.after = page.next;
        if trial.after.is_none() {
            break;
        }
    }
    assert_eq!(found, names);
    assert!(pages > 1, "all of them fit");
    // what does not fit alone is no empty page, which would look like the last one
    trial.after = None;
    let fault = desk.start_within(method::JOBS_PREVIEW, trial.write(), 520).answer().await.unwrap_err();
    assert_eq!(fault.code, FaultCode::TooLarge);
}

#[tokio::test]
async fn exactly_one_way_says_what_to_cancel() {
    let desk = Desk::memory().await;
    desk.know(&["a1", "a2"]);
    let job = desk.submit(&["a1", "a2"]).await;
    let by_job = || CancelArguments { job: Some(job.to_string()), ..CancelArguments::default() };
    let criteria = |word: &str| Some(RawMap::new().map(word, |map| map.text("agent", "a1")).finish());
    let none = CancelArguments::default;
    for (arguments, code, word) in [
        (none(), FaultCode::BadArguments, "exactly one"),
        (CancelArguments { queue: Some(Raw::text("q")), ..by_job() }, FaultCode::BadArguments, "several"),
        (CancelArguments { criteria: criteria("eq"), ..by_job() }, FaultCode::BadArguments, "several"),
        (CancelArguments { agent: Some("a1".into()), ..none() }, FaultCode::BadArguments, "goes with job"),
        (CancelArguments { criteria: criteria("eqq"), ..none() }, FaultCode::BadArguments, "eqq"),
        (
            CancelArguments { queue: Some(Raw::text("q")), ..none() },
            FaultCode::WrongState,
            "gone, or never was",
        ),
        (CancelArguments { agent: Some("a3".into()), ..by_job() }, FaultCode::UnknownJob, "a3"),
        (
            CancelArguments { job: Some(JobId::new(1, 1).to_string()), ..none() },
            FaultCode::UnknownJob,
            "no job",
        ),
    ] {
        let fault = desk.refused(method::JOBS_CANCEL, &arguments).await;
        assert!(fault.code == code && fault.message.contains(word), "{fault}");
    }
    let preview = CancelArguments { criteria: criteria("eq"), preview: true, ..none() };
    let answer: CancelAnswer = desk.ask(method::JOBS_CANCEL, &preview).await.unwrap();
    let of_a1 = ReachedRun { job: job.to_string(), agent: "a1".into(), state: "queued".into(), attempt: 0 };
    let found = (vec![job.to_string()], 1, 1, vec![of_a1]);
    assert_eq!((answer.jobs, answer.total, answer.ended, answer.runs), found, "the run on a2 is another");
    assert!(!jobs_desk::is_ended(&desk.run(job, "a1").await), "a preview ends nothing");
    let one = CancelArguments { agent: Some("a1".into()), ..by_job() };
    let answer: CancelAnswer = desk.ask(method::JOBS_CANCEL, &one).await.unwrap();
    assert_eq!((answer.ended, answer.asked), (1, 0));
    assert!(
        jobs_desk::is_ended(&desk.run(job, "a1").await) && !jobs_desk::is_ended(&desk.run(job, "a2").await)
    );
    assert_eq!(desk.refused(method::JOBS_CANCEL, &one).await.code, FaultCode::WrongState);
    let answer: CancelAnswer = desk.ask(method::JOBS_CANCEL, &by_job()).await.unwrap();
    assert_eq!(answer.ended, 1);
    assert_eq!(desk.refused(method::JOBS_CANCEL, &by_job()).await.code, FaultCode::WrongState);
}

#[tokio::test]
async fn queues_are_listed_shown_and_ended_by_text_and_by_map() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let map = RawMap::new().uint("rack", 7).text("site", "b").finish();
    let same = RawMap::new().text("site", "b").uint("rack", 7).finish();
    for name in [&map, &Raw::text("x"), &Raw::text("y")] {
        for _ in 0..3 {
            let mut submit = on(&["a1"]);
            submit.spec.queue = queue(name, 1);
            submitted(&desk, &submit).await;
        }
    }
    let list = |after, limit| QueueListArguments { after, limit };
    let first: QueueList = desk.ask(method::QUEUES_LIST, &list(None, Some(2))).await.unwrap();
    assert_eq!(first.queues.len(), 2);
    let rest: QueueList = desk.ask(method::QUEUES_LIST, &list(first.next.clone(), Some(2))).await.unwrap();
    assert_eq!((rest.queues.len(), rest.next.clone()), (1, None));
    let names: Vec<_> = first.queues.iter().chain(&rest.queues).map(|queue| queue.name.canonical()).collect();
    assert!(names.contains(&map.canonical()) && names.contains(&Raw::text("y")));

    let show = |name: &Raw, limit| QueueArguments { name: name.clone(), limit };
    let detail: QueueDetail = desk.ask(method::QUEUES_SHOW, &show(&same, Some(1))).await.unwrap();
    assert_eq!((detail.queue.taken, detail.queue.waiting, detail.queue.concurrency), (1, 2, 1));
    let states: Vec<&str> = detail.runs.iter().map(|run| run.state.as_str()).collect();
    assert_eq!(states, ["offered", "queued"]);
    assert!(desk.refused(method::QUEUES_SHOW, &show(&same, Some(0))).await.message.contains("1 to 1000"));
    let gone = desk.refused(method::QUEUES_SHOW, &show(&Raw::text("z"), None)).await;
    assert!(gone.code == FaultCode::WrongState && gone.message.contains("gone, or never was"), "{gone}");

    let end = |name: &Raw, preview| QueueCancelArguments { name: name.clone(), grace_ms: None, preview };
    let answer: CancelAnswer = desk.ask(method::QUEUES_CANCEL, &end(&same, true)).await.unwrap();
    assert_eq!((answer.total, answer.ended, answer.asked), (3, 2, 1));
    let answer: CancelAnswer = desk.ask(method::QUEUES_CANCEL, &end(&same, false)).await.unwrap();
    assert_eq!((answer.total, answer.ended, answer.asked), (3, 2, 1));
    let detail: QueueDetail = desk.ask(method::QUEUES_SHOW, &show(&map, None)).await.unwrap();
    assert_eq!((detail.queue.taken, detail.queue.waiting), (1, 0));
    assert_eq!(
        desk.refused(method::QUEUES_CANCEL, &end(&Raw::text("z"), false)).await.code,
        FaultCode::WrongState
    );
    assert_eq!(
        desk.refused(method::QUEUES_SHOW, &show(&Raw::nil(), None)).await.code,
        FaultCode::BadArguments
    );
}

#[tokio::test]
async fn a_held_job_is_released_once_and_an_ended_one_deleted_once() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    let mut submit = on(&["a1"]);
    submit.spec.held = true;
    let job = submitted(&desk, &submit).await;
    let code = |fault: Fault| fault.code;
    assert_eq!(code(desk.refused(method::JOBS_DELETE, &named(job)).await), FaultCode::WrongState);
    let _nil: Option<u8> = desk.ask(method::JOBS_RELEASE, &named(job)).await.unwrap();
    assert_eq!(code(desk.refused(method::JOBS_RELEASE, &named(job)).await), FaultCode::WrongState);
    desk.end(job, "a1", succeeded(0, Raw::nil())).await;
    assert_eq!(code(desk.refused(method::JOBS_RELEASE, &named(job)).await), FaultCode::WrongState);
    let _nil: Option<u8> = desk.ask(method::JOBS_DELETE, &named(job)).await.unwrap();
    for method in [method::JOBS_DELETE, method::JOBS_RELEASE, method::JOBS_SHOW, method::JOBS_RESULT] {
        assert_eq!(code(desk.refused(method, &named(job)).await), FaultCode::UnknownJob, "{method}");
    }
}

#[tokio::test]
async fn every_filter_of_the_list_finds_its_jobs_and_no_others() {
    let desk = Desk::memory().await;
    desk.connect(&["a1"]).await;
    desk.know(&["a2"]);
    let mut held = on(&["a1"]);
    held.spec.held = true;
    let held = submitted(&desk, &held).await;
    let queued = desk.submit(&["a2"]).await;
    let offered = desk.submit(&["a1", "a2"]).await;
    let running = desk.submit(&["a1"]).await;
    desk.report(running, "a1", |report| report).await;
    let good = desk.submit(&["a1"]).await;
    desk.end(good, "a1", succeeded(0, Raw::nil())).await;
    let failed = desk.submit(&["a1"]).await;
    desk.end(failed, "a1", ended(Outcome::Failed, 0)).await;
    let mut standing = on(&["a2"]);
    standing.spec.queue = queue(&RawMap::new().uint("n", 1).finish(), 1);
    let standing = submitted(&desk, &standing).await;

    // ids of one millisecond are in no order
    let every = [standing, failed, good, running, offered, queued, held];
    let older: Vec<_> = every.into_iter().filter(|job| *job < running).collect();
    let all = JobListArguments::default;
    let state = |word: &str| JobListArguments { state: Some(word.to_owned()), ..all() };
    for (arguments, expected) in [
        (all(), every.to_vec()),
        (state("open"), vec![standing, running, offered, queued, held]),
        (state("ended"), vec![failed, good]),
        (state("held"), vec![held]),
        (state("queued"), vec![standing, offered, queued]),
        (state("offered"), vec![offered]),
        (state("running"), vec![running]),
        (state("accepted"), vec![]),
        (state("in_doubt"), vec![]),
        (state("succeeded"), vec![good]),
        (state("failed"), vec![failed]),
        (state("unknown"), vec![]),
        (JobListArguments { agent: Some("a2".into()), ..all() }, vec![standing, offered, queued]),
        (JobListArguments { agent: Some("a2".into()), ..state("offered") }, vec![offered]),
        (JobListArguments { queue: Some(RawMap::new().uint("n", 1).finish()), ..all() }, vec![standing]),
        (JobListArguments { submitter: Some("bob".into()), ..all() }, vec![]),
        (JobListArguments { since_ms: Some(u64::MAX >> 1), ..all() }, vec![]),
        (JobListArguments { before: Some(running.to_string()), ..all() }, older),
    ] {
        let list: JobList = desk.ask(method::JOBS_LIST, &arguments).await.unwrap();
        let found: Vec<_> = list.jobs.iter().map(|job| job.job.clone()).collect();
        let mut expected: Vec<_> = expected.iter().map(JobId::to_string).collect();
        expected.sort_unstable_by(|one, other| other.cmp(one));
        assert_eq!(found, expected, "{arguments:?}");
        assert_eq!(list.next, None, "{arguments:?}");
        for limit in 1..=3 {
            let (mut pages, mut before) = (Vec::new(), arguments.before.clone());
            loop {
                let ask =
                    JobListArguments { limit: Some(limit), before: before.clone(), ..arguments.clone() };
                let page: JobList = desk.ask(method::JOBS_LIST, &ask).await.unwrap();
                pages.extend(page.jobs.into_iter().map(|job| job.job));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(pages, expected, "in pages of {limit}: {arguments:?}");
        }
    }
    for (arguments, word) in [
        (state("runing"), "did you mean running?"),
        (JobListArguments { limit: Some(0), ..all() }, "1 to 1000"),
        (JobListArguments { before: Some("x".into()), ..all() }, "32 hexadecimal"),
        (JobListArguments { queue: Some(Raw::empty_array()), ..all() }, "a text or a map"),
        (JobListArguments { submitter: Some("/".into()), ..all() }, "submitter"),
        (JobListArguments { agent: Some("/".into()), ..all() }, "agent"),
    ] {
        let fault = desk.refused(method::JOBS_LIST, &arguments).await;
        assert!(fault.code == FaultCode::BadArguments && fault.message.contains(word), "{fault}");
    }
}

#[tokio::test]
async fn a_repeated_submit_is_the_same_job_also_when_it_would_be_refused_now() {
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    let desk = Desk::in_folder(folder.path(), &Hands::default(), jobs_desk::settings()).await;
    desk.know(&["a1"]);
    let mut submit = on(&["a1"]);
    submit.spec.key = Some("once".into());
    let first = desk.submit_with(&submit).await.unwrap();
    let store = desk.store.clone();
    desk.stop().await;
    store.close().await;
    drop(store);
    // this one knows no agent
    let desk = Desk::in_folder(folder.path(), &Hands::default(), jobs_desk::settings()).await;
    let again = desk.submit_with(&submit).await.unwrap();
    assert_eq!((again.job, again.existing, again.runs), (first.job, true, 1));
    let mut other = submit.clone();
    other.spec.procedure = "sys.info".into();
    assert_eq!(desk.submit_with(&other).await.unwrap_err().code, FaultCode::IdemConflict);
    for key in [Some("another".to_owned()), None] {
        submit.spec.key = key;
        let refused = desk.submit_with(&submit).await.unwrap_err();
        assert!(refused.code == FaultCode::UnknownAgent && refused.message.contains("a1"), "{refused}");
    }
}
