//! What agents ask of the manager: allowed when the configuration names it, and then their own alone.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use std::time::Duration;

use jobs_desk::{Desk, items, settings, succeeded};
use redpoll_common::api::events::{EmitAnswer, EmitArguments, EventList, EventListArguments};
use redpoll_common::api::items::{ItemPage, ReadArguments};
use redpoll_common::api::jobs::{CancelArguments, JobArguments, JobDetail, JobListArguments, JobResult};
use redpoll_common::api::method;
use redpoll_common::api::record::{RecordAnswer, RecordArguments};
use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::job::{Callback, Outcome};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_config::{AgentsConfig, ManagerConfig};

async fn desk(agents: AgentsConfig) -> Desk {
    Desk::with(ManagerConfig { agents, ..ManagerConfig::default() }, settings()).await
}

fn open() -> AgentsConfig {
    AgentsConfig { emit: vec!["disk.*".into()], submit: vec!["app.*".into()], ..AgentsConfig::default() }
}

fn emit(kind: &str, data: Raw) -> Raw {
    EmitArguments { kind: kind.into(), data }.write()
}

fn job_of(agents: &[&str], procedure: &str) -> SubmitArguments {
    SubmitArguments::new(agents.iter().map(|&agent| agent.to_owned()).collect(), procedure)
}

fn run(key: &str) -> RecordArguments {
    RecordArguments {
        key: key.into(),
        schedule: "nightly".into(),
        procedure: "app.clean".into(),
        kwargs: RawMap::new().text("path", "/tmp").finish(),
        started_ms_ago: Some(5_000),
        ending: succeeded(0, Raw::text("done")),
        items: items(0, 3),
        dropped: 0,
    }
}

async fn recorded(desk: &Desk, run: &RecordArguments) -> Result<RecordAnswer, Fault> {
    Ok(desk.of_agent("a1", method::JOBS_RECORD, run.write()).await?.decode().unwrap())
}

async fn events(desk: &Desk, kind: &str) -> EventList {
    let wanted = EventListArguments { kind: Some(kind.into()), ..EventListArguments::default() };
    desk.ask(method::EVENTS_LIST, &wanted).await.unwrap()
}

#[tokio::test]
async fn an_event_of_an_agent_stands_in_the_history_under_its_prefix_with_its_source() {
    let desk = desk(open()).await;
    let data = RawMap::new().uint("percent", 99).finish();
    let answer = desk.of_agent("a1", method::EVENTS_EMIT, emit("disk.full", data.clone())).await.unwrap();
    let EmitAnswer { n } = answer.decode().unwrap();
    let found = events(&desk, "custom.*").await.events;
    let [event] = found.as_slice() else { unreachable!("{found:?}") };
    assert_eq!((event.n, event.kind.as_str(), event.agent.as_deref()), (n, "custom.disk.full", Some("a1")));
    assert_eq!(event.data, Some(data));
    desk.stop().await;
}

#[tokio::test]
async fn what_no_key_allows_is_forbidden_and_the_refusal_names_the_key() {
    let desk = desk(AgentsConfig { record: Vec::new(), ..AgentsConfig::default() }).await;
    desk.know(&["a1"]);
    for (method, kwargs, key) in [
        (method::EVENTS_EMIT, emit("disk.full", Raw::nil()), "agents.emit"),
        (method::JOBS_SUBMIT, job_of(&["a1"], "app.work").write(), "agents.submit"),
        (method::JOBS_RECORD, run("k").write(), "agents.record"),
    ] {
        let fault = desk.of_agent("a1", method, kwargs).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Forbidden, "{method}");
        assert!(fault.message.contains(key), "{method}: {}", fault.message);
    }
    assert_eq!(desk.store.counts().await.unwrap().last_event, 0, "nothing was stored");
    desk.stop().await;
}

#[tokio::test]
async fn a_type_that_is_none_and_data_that_is_too_large_or_deep_are_refused() {
    let desk = desk(AgentsConfig { emit: vec!["*".into()], ..open() }).await;
    for kind in ["", ".", "a.", "a..b", "A", "a b", "ä", "a\n", &"x".repeat(101)] {
        let fault = desk.of_agent("a1", method::EVENTS_EMIT, emit(kind, Raw::nil())).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::BadArguments, "{kind:?}");
    }
    let deep = (0..17).fold(Raw::nil(), |inner, _| RawMap::new().raw("a", &inner).finish());
    let many = Raw::encode(&vec![0; 1025]).unwrap();
    for data in [Raw::text(&"x".repeat(16 * 1024)), deep, many] {
        let fault = desk.of_agent("a1", method::EVENTS_EMIT, emit("a", data)).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::TooLarge);
    }
    desk.stop().await;
}

#[tokio::test]
async fn an_agent_that_asks_too_fast_is_told_when_to_come_back_and_others_are_not_held_up() {
    let desk = desk(AgentsConfig { rate: 1, burst: 2, ..open() }).await;
    let ask = |agent: &'static str| desk.of_agent(agent, method::EVENTS_EMIT, emit("disk.full", Raw::nil()));
    assert!(ask("a1").await.is_ok() && ask("a1").await.is_ok());
    let fault = ask("a1").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Overloaded);
    assert!(fault.message.contains("agents.rate") && (1..=1_001).contains(&fault.retry_after_ms.unwrap()));
    assert!(ask("a2").await.is_ok());
    desk.stop().await;
}

#[tokio::test]
async fn an_agent_that_has_too_many_runs_recorded_is_told_when_to_come_back_and_may_ask_for_the_rest() {
    let slow = AgentsConfig { record_interval: Duration::from_secs(60), record_burst: 2, ..open() };
    let desk = desk(slow).await;
    desk.know(&["a1"]);
    for key in ["k1", "k2"] {
        recorded(&desk, &run(key)).await.unwrap();
    }
    let fault = recorded(&desk, &run("k3")).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Overloaded);
    assert!(fault.message.contains("agents.record_interval") && fault.retry_after_ms.unwrap() > 10_000);
    assert_eq!(events(&desk, "job.recorded").await.events.len(), 2);
    desk.of_agent("a1", method::EVENTS_EMIT, emit("disk.full", Raw::nil())).await.unwrap();
    desk.stop().await;
}

#[tokio::test]
async fn an_agent_submits_where_it_may_and_sees_and_cancels_its_own_jobs_alone() {
    let desk = desk(open()).await;
    desk.connect(&["a1", "a2"]).await;
    let submitted = desk.of_agent("a1", method::JOBS_SUBMIT, job_of(&["a1"], "app.work").write()).await;
    let own: SubmitAnswer = submitted.unwrap().decode().unwrap();
    let of_operator = desk.submit(&["a1"]).await.to_string();
    // "ada" is also the name of the operator who submitted the other one
    for (agent, job, found) in [
        ("a1", &own.job, true),
        ("a2", &own.job, false),
        ("a1", &of_operator, false),
        ("ada", &of_operator, false),
    ] {
        let job = JobArguments { job: job.clone() };
        for method in [method::JOBS_SHOW, method::JOBS_RESULT, method::JOBS_READ] {
            let answer = desk.of_agent(agent, method, Raw::encode(&job).unwrap()).await;
            match answer {
                Ok(_) => assert!(found, "{agent} {method} {job:?}"),
                Err(fault) => {
                    assert!(!found && fault.code == FaultCode::UnknownJob, "{agent} {method} {fault}")
                }
            }
        }
    }
    let shown: JobDetail = desk.ask(method::JOBS_SHOW, &JobArguments { job: own.job.clone() }).await.unwrap();
    assert_eq!(shown.job.submitter, "agent:a1");
    let cancel = |job: &str| {
        Raw::encode(&CancelArguments { job: Some(job.into()), ..CancelArguments::default() }).unwrap()
    };
    let foreign = desk.of_agent("a1", method::JOBS_CANCEL, cancel(&of_operator)).await.unwrap_err();
    assert_eq!(foreign.code, FaultCode::UnknownJob);
    let all = Raw::text("app.*");
    let all = RawMap::new().map("match", |map| map.raw("procedure", &all)).finish();
    let wide = CancelArguments { criteria: Some(all), ..CancelArguments::default() };
    let wide = desk.of_agent("a1", method::JOBS_CANCEL, Raw::encode(&wide).unwrap()).await.unwrap_err();
    assert_eq!(wide.code, FaultCode::Forbidden);
    assert!(desk.of_agent("a1", method::JOBS_CANCEL, cancel(&own.job)).await.is_ok());
    desk.stop().await;
}

#[tokio::test]
async fn an_agent_is_refused_other_agents_other_procedures_callbacks_and_holding() {
    let desk = desk(open()).await;
    desk.know(&["a1", "a2"]);
    let mut told = job_of(&["a1"], "app.work");
    told.spec.callback = Some(Callback::Webhook("https://example.org/".into()));
    let mut held = job_of(&["a1"], "app.work");
    held.spec.held = true;
    for (job, says) in [
        (job_of(&["a2"], "app.work"), "agents.submit_on"),
        (job_of(&["a1", "a2"], "app.work"), "agents.submit_on"),
        (job_of(&["*"], "app.work"), "agents.submit_on"),
        (job_of(&["a1"], "exec.run"), "agents.submit"),
        (told, "callbacks"),
        (held, "held"),
    ] {
        let fault = desk.of_agent("a1", method::JOBS_SUBMIT, job.write()).await.unwrap_err();
        assert!(fault.code == FaultCode::Forbidden && fault.message.contains(says), "{fault}");
    }
    desk.stop().await;
}

#[tokio::test]
async fn a_run_that_an_agent_made_by_itself_is_a_job_like_any_other_that_has_ended() {
    for desk in [Desk::memory().await, Desk::sqlite().await] {
        desk.know(&["a1"]);
        let answer = recorded(&desk, &run("k")).await.unwrap();
        let late = RecordArguments { started_ms_ago: Some(99_000), dropped: 2, ..run("k") };
        let again = recorded(&desk, &late).await.unwrap();
        assert_eq!(again, RecordAnswer { job: answer.job.clone(), existing: true });
        let asked = JobArguments { job: answer.job.clone() };
        let shown: JobDetail = desk.ask(method::JOBS_SHOW, &asked).await.unwrap();
        assert_eq!((shown.job.submitter.as_str(), shown.job.state.as_str()), ("agent:a1", "ended"));
        assert_eq!(shown.job.outcome.as_deref(), Some("succeeded"));
        assert_eq!(shown.job.info, RawMap::new().text("schedule", "nightly").finish());
        let result: JobResult = desk.ask(method::JOBS_RESULT, &asked).await.unwrap();
        assert_eq!(result.runs.first().unwrap().end.as_ref().unwrap().result, Some(Raw::text("done")));
        let read = ReadArguments { job: answer.job.clone(), ..ReadArguments::default() };
        let page = desk.ask_raw(method::JOBS_READ, Raw::encode(&read).unwrap()).await.unwrap();
        let page = ItemPage::read(&page).unwrap();
        assert_eq!((page.items, page.more), (items(0, 3), false));
        let listed = JobListArguments { submitter: Some("agent:a1".into()), ..JobListArguments::default() };
        let listed = desk.ask_raw(method::JOBS_LIST, Raw::encode(&listed).unwrap()).await.unwrap();
        let listed: redpoll_common::api::jobs::JobList = listed.decode().unwrap();
        assert_eq!(listed.jobs.len(), 1);
        let told = events(&desk, "*").await.events;
        assert_eq!(told.len(), 1, "one event says it: {told:?}");
        assert_eq!(
            (told[0].kind.as_str(), told[0].job.as_deref()),
            ("job.recorded", Some(answer.job.as_str()))
        );
        desk.stop().await;
    }
}

#[tokio::test]
async fn another_run_under_a_key_in_use_is_a_conflict_and_another_agents_key_is_another() {
    let desk = Desk::memory().await;
    desk.know(&["a1", "a2"]);
    let first = recorded(&desk, &run("k")).await.unwrap();
    let other = RecordArguments { procedure: "app.other".into(), ..run("k") };
    assert_eq!(recorded(&desk, &other).await.unwrap_err().code, FaultCode::IdemConflict);
    let of_a2: RecordAnswer =
        desk.of_agent("a2", method::JOBS_RECORD, run("k").write()).await.unwrap().decode().unwrap();
    assert!(!of_a2.existing && of_a2.job != first.job);
    desk.stop().await;
}

#[tokio::test]
async fn a_record_that_makes_no_sense_is_refused() {
    let desk = Desk::memory().await;
    let with = |change: &dyn Fn(&mut RecordArguments)| {
        let mut run = run("k");
        change(&mut run);
        run
    };
    for wrong in [
        with(&|run| run.procedure = "rp.jobs.record".into()),
        with(&|run| run.procedure = String::new()),
        with(&|run| run.items.reverse()),
        with(&|run| run.started_ms_ago = Some(u64::MAX)),
        with(&|run| run.ending.outcome = Outcome::Failed),
        with(&|run| run.ending.fault = Some(Fault::new(FaultCode::Failed, "x"))),
    ] {
        assert_eq!(recorded(&desk, &wrong).await.unwrap_err().code, FaultCode::BadArguments, "{wrong:?}");
    }
    desk.stop().await;
}

#[tokio::test]
async fn an_agent_without_the_right_to_submit_learns_nothing_and_goes_to_the_store_at_its_pace() {
    let mut config = ManagerConfig {
        agents: AgentsConfig { rate: 1, burst: 2, ..AgentsConfig::default() },
        ..ManagerConfig::default()
    };
    config.jobs.callbacks.allow = vec!["hooks.example".parse().unwrap()];
    let desk = Desk::with(config, settings()).await;
    desk.know(&["a1"]);
    let submit = async |job: &SubmitArguments| {
        desk.of_agent("a1", method::JOBS_SUBMIT, job.write()).await.unwrap_err()
    };
    let mut job = job_of(&["a1"], "app.work");
    for callback in
        [Callback::Procedure("nope".into()), Callback::Webhook("https://elsewhere.example".into())]
    {
        job.spec.callback = Some(callback);
        // as often as it likes: nobody is asked
        for _ in 0..5 {
            let fault = submit(&job).await;
            assert!(
                fault.code == FaultCode::Forbidden && fault.message.contains("agents.submit "),
                "{fault}"
            );
        }
    }
    job.spec.key = Some("k".into());
    let codes = [submit(&job).await.code, submit(&job).await.code, submit(&job).await.code];
    assert_eq!(codes, [FaultCode::Forbidden, FaultCode::Forbidden, FaultCode::Overloaded]);
    desk.stop().await;
}
