//! A real agent that dies at the named places of a run, and one that is told to stop: what its next life says is true.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

use redpoll_certs::testing::TestAuthority;
use redpoll_common::job::wire::{
    Ack, Act, Offer, OfferAnswer, Report, ReportAnswer, Resume, ResumeAct, ResumeAnswer, RunRef, SpoolState,
};
use redpoll_common::job::{Attempt, Dno, Ending, JobId, Limits, Outcome};
use redpoll_common::wire::{FaultCode, Message, Raw, Request};
use redpoll_tests::in_time;
use redpoll_tests::line::{FakeManager, Heard, Line, acceptance};
use redpoll_tests::manifests::Manifests;
use redpoll_tests::policy::policy_section;
use redpoll_tests::process::command;
use redpoll_tests::world::{arguments, tls_section, write_config};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;

fn the_run() -> RunRef {
    RunRef { job: JobId::from_bytes([5; 16]), attempt: Attempt(1), dno: Dno(1) }
}

struct Stage {
    directory: TempDir,
    manager: FakeManager,
}

impl Stage {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let authority = TestAuthority::new("home");
        let manager = FakeManager::listen(&authority.manager("m-1")).await;
        authority.agent("web-1").write(directory.path(), "agent");
        let text = format!(
            "manager = \"{}\"\n[agent]\nstate_dir = \"{}\"\n{}{}",
            manager.address(),
            directory.path().join("state").display(),
            policy_section(directory.path()),
            tls_section(directory.path(), "agent")
        );
        write_config(&directory.path().join("agent.toml"), &text);
        Self { directory, manager }
    }

    fn oracle(&self) -> std::path::PathBuf {
        self.directory.path().join("oracle")
    }

    /// How often the procedure was started.
    fn started(&self) -> usize {
        std::fs::read_to_string(self.oracle()).unwrap_or_default().lines().count()
    }

    fn agent(&self, failpoint: Option<&str>) -> Child {
        let settings = [
            "manager.backoff_initial=50ms",
            "procedures.builtin=exec.run",
            "agent.drain_timeout=0s",
            &format!("procedures.dir={}", self.directory.path().join("procedures.d").display()),
        ];
        let mut agent = command("redpoll-agent");
        agent.args(arguments(&self.directory.path().join("agent.toml"), &settings));
        if let Some(failpoint) = failpoint {
            agent.env("REDPOLL_FAILPOINT", failpoint);
        }
        agent.spawn().unwrap()
    }

    /// A session that has begun; what the agent's spool holds is answered with `act`.
    async fn session(&self, act: Act) -> (Line, Resume) {
        let (mut line, hello) = self.manager.greeted().await;
        line.say(&acceptance()).await;
        let asked = line.requested().await;
        assert_eq!(asked.method, "rp.job.resume");
        let page = Resume::read(&asked.kwargs).unwrap();
        assert_eq!((hello.spool, hello.max_dno), (Some(page.spool), Some(page.max_dno.0)));
        let act = |row: &redpoll_common::job::wire::ResumeRow| ResumeAct {
            job: row.run.job,
            attempt: row.run.attempt,
            act,
        };
        let jobs = page.jobs.iter().map(act).collect();
        line.answer(&asked, ResumeAnswer { jobs, purge_below_dno: Dno(0) }.write()).await;
        (line, page)
    }

    async fn offer(&self, line: &mut Line, script: &str) {
        let args = json!(["/bin/sh", "-c", script]);
        self.offer_of(line, "exec.run", &args, &json!({})).await;
    }

    async fn offer_of(&self, line: &mut Line, procedure: &str, args: &Value, kwargs: &Value) {
        let offer = Offer {
            run: the_run(),
            procedure: procedure.into(),
            args: Raw::encode(args).unwrap(),
            kwargs: Raw::encode(kwargs).unwrap(),
            limits: Limits::default(),
            info: Raw::nil(),
            operator: "ada".into(),
            roles: None,
        };
        line.say(&Message::Request(Request {
            id: redpoll_common::ids::RequestId::parse("r-1").unwrap(),
            method: "rp.job.offer".into(),
            args: Raw::empty_array(),
            kwargs: offer.write(),
            timeout_ms: None,
            trace: None,
            operator: None,
            roles: None,
        }))
        .await;
    }
}

/// Takes reports until the end is told.
async fn ending(line: &mut Line) -> Ending {
    loop {
        if let Some(ending) = report(line, true).await {
            return ending;
        }
    }
}

/// Takes one report, and answers it.
async fn report(line: &mut Line, done: bool) -> Option<Ending> {
    let asked = line.requested().await;
    assert_eq!(asked.method, "rp.job.report");
    let report = Report::read(&asked.kwargs).unwrap().reports.remove(0);
    let next_n = report.items.last().map_or(0, |item| item.n + 1);
    let RunRef { job, attempt, .. } = the_run();
    let done = done && report.done.is_some();
    line.answer(&asked, ReportAnswer { acks: vec![Ack { job, attempt, next_n, done, stop: false }] }.write())
        .await;
    report.done
}

fn append(oracle: &Path) -> String {
    format!("echo started >> {}", oracle.display())
}

#[tokio::test]
async fn an_agent_that_dies_anywhere_in_a_run_tells_the_truth_and_starts_nothing_twice() {
    // the place, what its next life finds, how often it was started before, and how the run ends
    let places = [
        ("A1", None, 0, None),
        ("A2", Some(SpoolState::Done), 0, Some(Outcome::Unknown)),
        ("A3", Some(SpoolState::Done), 0, Some(Outcome::Unknown)),
        ("A4", Some(SpoolState::Done), 1, Some(Outcome::Unknown)),
        ("A5", Some(SpoolState::Done), 1, Some(Outcome::Unknown)),
        ("A6", Some(SpoolState::Done), 1, Some(Outcome::Succeeded)),
        ("A7", Some(SpoolState::Done), 1, Some(Outcome::Succeeded)),
    ];
    for (place, state, before, outcome) in places {
        let stage = Stage::new().await;
        let mut agent = stage.agent(Some(place));
        let (mut line, page) = stage.session(Act::Continue).await;
        assert!(page.jobs.is_empty());
        stage.offer(&mut line, &append(&stage.oracle())).await;
        let mut told = Vec::new();
        while let Heard::Message(message) = line.hear().await {
            match message {
                Message::Response(answer) => {
                    assert_eq!(
                        OfferAnswer::read(&answer.result.unwrap()),
                        Ok(OfferAnswer::Accepted),
                        "{place}"
                    );
                }
                Message::Request(asked) => {
                    let report = Report::read(&asked.kwargs).unwrap().reports.remove(0);
                    let RunRef { job, attempt, .. } = the_run();
                    let next_n = report.items.last().map_or(0, |item| item.n + 1);
                    let ack = Ack { job, attempt, next_n, done: report.done.is_some(), stop: false };
                    line.answer(&asked, ReportAnswer { acks: vec![ack] }.write()).await;
                    told.extend(report.done);
                }
                Message::AgentHello(_)
                | Message::ManagerHello(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Bye(_)
                | Message::Notification(_)
                | Message::Unknown(_) => {}
            }
        }
        let status = in_time("the agent dies", agent.wait()).await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{place}");
        if before == 1 {
            // the program of A4 may need a moment more than its agent lived
            redpoll_tests::eventually("the program begins", async || (stage.started() == 1).then_some(()))
                .await;
        }
        assert_eq!(stage.started(), before, "{place}");

        let mut agent = stage.agent(None);
        let (mut line, page) = stage.session(Act::Continue).await;
        assert_eq!(page.jobs.first().map(|row| row.state), state, "{place}");
        assert_eq!(page.max_dno.0, u64::from(state.is_some()), "{place}");
        if let Some(outcome) = outcome {
            let ending = ending(&mut line).await;
            assert_eq!(ending.outcome, outcome, "{place}");
            assert!(told.iter().all(|before| *before == ending), "{place}: told twice, the same");
        }
        assert!(stage.started() <= 1, "{place}");
        agent.kill().await.unwrap();
    }
}

#[tokio::test]
async fn an_agent_told_to_stop_ends_what_runs_and_says_so_in_this_session_or_the_next() {
    for told_now in [true, false] {
        let stage = Stage::new().await;
        let mut agent = stage.agent(None);
        let (mut line, _page) = stage.session(Act::Continue).await;
        stage.offer(&mut line, &format!("{}; sleep 1000", append(&stage.oracle()))).await;
        redpoll_tests::eventually("the program begins", async || (stage.started() == 1).then_some(())).await;
        let pid = Pid::from_raw(i32::try_from(agent.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let check = |ending: Ending| {
            assert_eq!((ending.outcome, ending.started), (Outcome::Failed, Some(true)));
            assert_eq!(ending.fault.unwrap().code, FaultCode::ShuttingDown);
        };
        if told_now {
            check(ending(&mut line).await);
        } else {
            drop(line);
        }
        assert_eq!(in_time("the agent stops", agent.wait()).await.unwrap().code(), Some(0));
        let mut agent = stage.agent(None);
        let (mut line, page) = stage.session(Act::Continue).await;
        assert_eq!(page.jobs.is_empty(), told_now);
        if !told_now {
            check(ending(&mut line).await);
        }
        assert_eq!(stage.started(), 1);
        agent.kill().await.unwrap();
    }
}

/// Gives its call as a value, and goes on.
const CARELESS: &str = "read -r call; echo '{\"value\":'\"$call\"'}'; exec sleep 60";

#[tokio::test]
async fn what_was_secret_when_a_run_was_accepted_stays_so_although_the_manifest_forgot_it_while_the_agent_was_down()
 {
    let stage = Stage::new().await;
    let manifests = Manifests::new(stage.directory.path());
    let describe = |redact: &str| manifests.shell("vault.open", &format!("redact = {redact}"), CARELESS);
    describe(r#"["password", "kwargs.password"]"#);
    let mut agent = stage.agent(None);
    let (mut line, _page) = stage.session(Act::Continue).await;
    let kwargs = json!({"password": "hunter2", "door": 7});
    stage.offer_of(&mut line, "vault.open", &json!([]), &kwargs).await;
    // its value is on disk and on its way, and is never acknowledged
    let spooled = loop {
        let asked = line.requested().await;
        let report = Report::read(&asked.kwargs).unwrap().reports.remove(0);
        if let Some(item) = report.items.into_iter().next() {
            break item;
        }
        line.answer(&asked, ReportAnswer { acks: Vec::new() }.write()).await;
    };
    agent.kill().await.unwrap();
    drop(line);

    describe("[]");
    let mut agent = stage.agent(None);
    let (mut line, page) = stage.session(Act::SendFrom(0)).await;
    assert_eq!(page.jobs.first().map(|row| row.state), Some(SpoolState::Done));
    let (mut items, mut redact) = (Vec::new(), None);
    while redact.is_none() {
        let asked = line.requested().await;
        let report = Report::read(&asked.kwargs).unwrap().reports.remove(0);
        items.extend(report.items);
        redact = report.done.map(|_unknown| report.redact);
    }
    assert_eq!(redact.unwrap(), ["kwargs.password", "kwargs.kwargs.password"]);
    assert_eq!(items, [spooled]);
    let shown: Value = items[0].data.decode().unwrap();
    assert_eq!(shown["kwargs"], json!({"password": "***", "door": 7}));
    agent.kill().await.unwrap();
}
