//! Roles of operators, on whole systems: the manager's configuration gives them, the policy of a machine looks at them, and nobody
//! can give them to himself.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use redpoll_certs::testing::TestAuthority;
use redpoll_common::api::AgentState;
use redpoll_common::job::Dno;
use redpoll_common::job::wire::{Act, Resume, ResumeAct, ResumeAnswer};
use redpoll_common::wire::{Fault, FaultCode, Raw, Request};
use redpoll_net::peer::{Call, CallError};
use redpoll_tests::line::{FakeManager, Line, acceptance};
use redpoll_tests::operator::Operator;
use redpoll_tests::policy::write_policy;
use redpoll_tests::process::command;
use redpoll_tests::site::{Site, pattern, text, word};
use redpoll_tests::work::Oracle;
use redpoll_tests::world::{HONEST, World, start_agent, tls_section, write_config};
use redpoll_tests::{eventually, in_time};
use rustix::process::Signal;
use serde_json::{Value, json};

const RULES: &str = r#"
[[rule]]
name = "no contractors"
deny = ["exec.run"]
roles = ["contractor"]

[[rule]]
name = "deployers run shells"
allow = ["exec.run"]
roles = ["deploy"]
args."argv.0" = ["sh", "true"]

[[rule]]
name = "deployers copy"
allow = ["file.*"]
roles = ["deploy"]
"#;
/// Who is not one of these may run anything.
const ALL_BUT: &str = r#"
[[rule]]
name = "no contractors"
deny = ["exec.run"]
roles = ["contractor"]

[[rule]]
name = "anybody"
allow = ["exec.run"]
"#;
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A manager with these settings, and the honest agent with this policy, which offers files.
async fn site(settings: &[&str], policy: &str) -> Site {
    let mut site = Site::bare(settings).await;
    write_policy(&site.world.directory().join("policy.toml"), policy);
    site.agent(HONEST, &[]).await;
    site
}

/// Gives the manager these lines of `[access.roles]`, and has it read them. `times`: how often that changed something.
async fn give_roles(world: &World, lines: &str, times: usize) {
    let file = world.directory().join("manager.toml");
    let text = fs::read_to_string(&file).unwrap();
    let rest = text.split("[access.roles]").next().unwrap();
    write_config(&file, &format!("{rest}[access.roles]\n{lines}\n"));
    world.manager.signal(Signal::HUP);
    eventually("the roles are read", async || {
        (world.manager.log().matches("operators have other roles").count() == times).then_some(())
    })
    .await;
}

async fn exec(operator: &Operator, argv: &[&str]) -> Result<(), Fault> {
    let mut stream = operator.exec(HONEST, argv).await;
    Operator::end_of(&mut stream).await.map(drop)
}

#[track_caller]
fn refused(answer: Result<(), Fault>, words: &[&str]) {
    let fault = answer.unwrap_err();
    assert_eq!(fault.code, FaultCode::Rejected, "{fault}");
    assert!(words.iter().all(|word| fault.message.contains(word)), "{words:?}: {fault}");
}

/// What the agent would do with a job of `exec.run`: the row of a preview.
async fn previewed(operator: &Operator, more: &Value) -> Value {
    let mut asked = json!({"agents": [HONEST], "procedure": "exec.run", "args": ["true"]});
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer: Value = operator.ask("rp.jobs.preview", &asked).await.unwrap().decode().unwrap();
    answer.pointer("/agents/0").unwrap().clone()
}

/// Runs `rpctl` as this operator.
async fn rpctl(world: &World, operator: &str, words: &[&str]) -> Output {
    let (folder, config) = (world.directory(), world.directory().join(format!("rpctl-{operator}.toml")));
    if !config.exists() {
        world.authority.operator(operator).write(folder, operator);
        let text = format!("manager = \"{}\"\n{}", world.address, tls_section(folder, operator));
        write_config(&config, &text);
    }
    let mut command = command("rpctl");
    command.arg("--config").arg(config).env("HOME", folder).args(words);
    in_time("the end of rpctl", command.output()).await.unwrap()
}

/// What the end of a job's one run was: its outcome, and why.
async fn outcome(operator: &Operator, job: &str) -> (String, String) {
    let end = operator.job_ended(job).await.end.unwrap();
    (end.outcome.as_str().to_owned(), end.fault.map_or_else(String::new, |fault| fault.message))
}

#[tokio::test]
async fn who_has_the_role_may_and_who_has_not_may_not_whatever_is_asked() {
    let roles = r#"access.roles={ deploy = ["ada", "ci-*"], contractor = ["ci-9"] }"#;
    let site = site(&[roles], RULES).await;
    let (world, ada) = (&site.world, &site.world.operator);
    let (bob, ci_7, ci_9) =
        (world.operator("bob").await, world.operator("ci-7").await, world.operator("ci-9").await);

    exec(ada, &["true"]).await.unwrap();
    exec(&ci_7, &["true"]).await.unwrap();
    refused(exec(ada, &["id"]).await, &["deployers run shells", "do not hold: args.argv.0"]);
    refused(exec(&bob, &["true"]).await, &["deployers run shells", "do not hold: roles"]);
    refused(exec(&ci_9, &["true"]).await, &["\"no contractors\"", "denies"]);

    let work = Oracle::new(world.directory(), "oracle");
    let job = ada.submit(&work.job(HONEST, "true")).await.unwrap();
    work.succeeded_once(ada, &job, "").await;
    for (operator, why) in [(&bob, "do not hold: roles"), (&ci_9, "\"no contractors\"")] {
        let job = operator.submit(&work.job(HONEST, "true")).await.unwrap();
        let (outcome, said) = outcome(operator, &job).await;
        assert!(outcome == "rejected" && said.contains(why) && work.starts(&job) == 0, "{outcome} {said}");
    }

    for (operator, verdict, rule) in [
        (&**ada, "would_run", "deployers run shells"),
        (&ci_7, "would_run", "deployers run shells"),
        (&bob, "would_refuse", "deployers run shells"),
        (&ci_9, "would_refuse", "no contractors"),
    ] {
        let row = previewed(operator, &json!({})).await;
        assert_eq!((&row["verdict"], &row["rule"]), (&json!(verdict), &json!(rule)), "{row}");
    }
    let dry = ["run", HONEST, "exec.run", "--dry-run", "--", "true"];
    for (operator, code, says) in [("ada", 0, "would run"), ("bob", 3, "would refuse")] {
        let output = rpctl(world, operator, &dry).await;
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}{}", text(&output.stderr));
        assert!(said.contains(says) && said.contains("deployers run shells"), "{said}");
    }

    let here = site.local("here");
    fs::write(&here, pattern(70_000)).unwrap();
    for way in ["calls", "stream"] {
        let there = site.remote(HONEST, way);
        let copy = ["cp", "--via", way, word(&here), &there];
        let output = rpctl(world, "bob", &copy).await;
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(3) && said.contains("deployers copy"), "{way}: {said}");
        assert_eq!(site.names().iter().filter(|name| *name == way).count(), 0);
        let output = rpctl(world, "ada", &copy).await;
        assert_eq!(output.status.code(), Some(0), "{way}: {}", text(&output.stderr));
        assert!(fs::read(site.root.join(way)).unwrap() == pattern(70_000), "{way}");
    }
}

#[tokio::test]
async fn a_job_that_waited_is_judged_by_the_roles_of_the_day_it_is_offered() {
    let mut site = site(&[], RULES).await;
    give_roles(&site.world, "deploy = [\"ada\"]", 1).await;
    let bob = site.world.operator("bob").await;
    exec(&site.world.operator, &["true"]).await.unwrap();
    drop(site.world.take_agent(HONEST));
    site.world.operator.until(HONEST, AgentState::Away).await;
    let work = Oracle::new(site.world.directory(), "oracle");
    let of_ada = site.world.operator.submit(&work.job(HONEST, "true")).await.unwrap();
    let of_bob = bob.submit(&work.job(HONEST, "true")).await.unwrap();
    give_roles(&site.world, "deploy = [\"bob\"]", 2).await;
    site.restart_agent(HONEST, &[]).await;

    let (outcome, said) = outcome(&site.world.operator, &of_ada).await;
    assert!(outcome == "rejected" && said.contains("do not hold: roles"), "{outcome} {said}");
    assert_eq!(work.starts(&of_ada), 0);
    work.succeeded_once(&bob, &of_bob, "").await;
    refused(exec(&site.world.operator, &["true"]).await, &["do not hold: roles"]);
    exec(&bob, &["true"]).await.unwrap();

    // what cannot be used changes nothing
    let file = site.world.directory().join("manager.toml");
    let good = fs::read_to_string(&file).unwrap();
    write_config(&file, &good.replace("[\"bob\"]", "[]"));
    site.world.manager.signal(Signal::HUP);
    site.world.manager.logged(&["nothing was reloaded", "name operators"]).await;
    exec(&bob, &["true"]).await.unwrap();
}

#[tokio::test]
async fn having_no_role_is_not_the_same_as_nothing_said_of_roles() {
    let site = site(&["agents.submit=exec.run", "agents.submit_on=*"], ALL_BUT).await;
    let world = &site.world;
    // no role is configured: this manager does not say, and what is not known counts against the call
    refused(exec(&world.operator, &["true"]).await, &["\"no contractors\""]);
    let row = previewed(&world.operator, &json!({})).await;
    assert_eq!((&row["verdict"], &row["rule"]), (&json!("would_refuse"), &json!("no contractors")), "{row}");
    // it says that ada has none
    give_roles(world, "contractor = [\"eve\", \"web-*\"]\nstaff = [\"*\"]", 1).await;
    exec(&world.operator, &["true"]).await.unwrap();
    refused(exec(&world.operator("eve").await, &["true"]).await, &["\"no contractors\""]);
    // an agent has none either, whatever operators are called as it is
    let mut web = world.line("web-1").await;
    let work = Oracle::new(world.directory(), "oracle");
    let kwargs = work.job(HONEST, "true").write();
    web.say_request("r-1", "rp.jobs.submit", |request| Request { kwargs: kwargs.clone(), ..request }).await;
    let answer: Value = web.answered().await.result.unwrap().decode().unwrap();
    let job = answer["job"].as_str().unwrap();
    work.succeeded_once(&world.operator, job, "").await;
    // nor by a glob that fits everybody
    write_policy(&world.directory().join("policy.toml"), &RULES.replace("\"deploy\"", "\"staff\""));
    let reloaded = world.operator.ask("rp.agents.reload", &json!({"agent": HONEST})).await.unwrap();
    assert_eq!(reloaded.decode::<Value>().unwrap()["problems"], json!([]));
    exec(&world.operator, &["true"]).await.unwrap();
    web.say_request("r-2", "rp.jobs.submit", |request| Request { kwargs, ..request }).await;
    let answer: Value = web.answered().await.result.unwrap().decode().unwrap();
    let (outcome, said) = outcome(&world.operator, answer["job"].as_str().unwrap()).await;
    assert!(outcome == "rejected" && said.contains("do not hold: roles"), "{outcome} {said}");
}

#[tokio::test]
async fn nobody_can_give_himself_a_role() {
    let site = site(&["access.roles={ deploy = [\"ada\"] }"], RULES).await;
    let world = &site.world;
    let eve = world.operator("eve").await;
    let claims = json!({"operator": "ada", "submitter": "ada", "roles": ["deploy"]});
    let claiming = |method: &str, kwargs: &Value| {
        let mut kwargs = kwargs.clone();
        kwargs.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        Call {
            operator: Some("ada".to_owned()),
            roles: Some(vec!["deploy".to_owned()]),
            ..Call::new(method, PATIENCE).with_kwargs(Raw::encode(&kwargs).unwrap())
        }
    };
    let ask = async |call: Call| eve.peer().call(call).await.map_err(CallError::into_fault);

    let args = json!({"agent": HONEST, "procedure": "exec.run", "args": ["true"], "kwargs": {}});
    let answer = ask(claiming("rp.call", &args)).await;
    refused(answer.map(drop), &["deployers run shells", "do not hold: roles"]);

    let submit = json!({"agents": [HONEST], "procedure": "exec.run", "args": ["true"], "kwargs": {}});
    let answer: Value = ask(claiming("rp.jobs.submit", &submit)).await.unwrap().decode().unwrap();
    let job = answer["job"].as_str().unwrap();
    let (outcome, said) = outcome(&eve, job).await;
    assert!(outcome == "rejected" && said.contains("do not hold: roles"), "{outcome} {said}");
    assert_eq!(eve.show(job).await.unwrap().job.submitter, "eve");

    let answer: Value = ask(claiming("rp.jobs.preview", &submit)).await.unwrap().decode().unwrap();
    assert_eq!(answer.pointer("/agents/0/verdict"), Some(&json!("would_refuse")), "{answer}");

    // what the manager asks of agents cannot be asked through it
    for method in ["rp.job.offer", "rp.policy.test"] {
        let fault = ask(claiming(method, &json!({"procedure": "exec.run"}))).await.unwrap_err();
        assert!([FaultCode::UnknownMethod, FaultCode::Forbidden].contains(&fault.code), "{method}: {fault}");
        let through = json!({"agent": HONEST, "procedure": method, "args": [], "kwargs": claims});
        let fault = ask(claiming("rp.call", &through)).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::UnknownProcedure, "{fault}");
    }

    // and this is what an agent is told of a call
    let mut web = world.line("web-1").await;
    for (operator, roles) in [(&*world.operator, vec!["deploy".to_owned()]), (&eve, Vec::new())] {
        let through =
            json!({"agent": "web-1", "procedure": "x.y", "args": [], "kwargs": {"roles": ["deploy"]}});
        let (answer, request) =
            tokio::join!(operator.peer().call(claiming("rp.call", &through)), answered(&mut web));
        answer.unwrap();
        assert_eq!(request.roles, Some(roles), "{request:?}");
        assert_eq!(request.operator.as_deref() == Some("ada"), std::ptr::eq(operator, &*world.operator));
    }
}

/// Takes the next call of an agent in the hands of the test, and answers it.
async fn answered(line: &mut Line) -> Request {
    let request = loop {
        let request = line.requested().await;
        if request.method == "x.y" {
            break request;
        }
        // what the manager asks of every agent
        line.answer(&request, Raw::nil()).await;
    };
    line.answer(&request, Raw::nil()).await;
    request
}

/// A real agent with this policy, and its session with a manager in the hands of the test.
async fn agent_of(folder: &Path, policy: &str) -> (redpoll_tests::process::Daemon, Line) {
    let authority = TestAuthority::new("home");
    let manager = FakeManager::listen(&authority.manager("m-1")).await;
    authority.agent("web-1").write(folder, "agent-web-1");
    write_policy(&folder.join("policy.toml"), policy);
    let agent = start_agent(folder, "web-1", &manager.address().to_string(), &[]);
    let (mut line, _hello) = manager.greeted().await;
    line.say(&acceptance()).await;
    let asked = line.requested().await;
    assert_eq!(asked.method, "rp.job.resume");
    let page = Resume::read(&asked.kwargs).unwrap();
    let act = |row: &redpoll_common::job::wire::ResumeRow| ResumeAct {
        job: row.run.job,
        attempt: row.run.attempt,
        act: Act::Drop,
    };
    let jobs = page.jobs.iter().map(act).collect();
    line.answer(&asked, ResumeAnswer { jobs, purge_below_dno: Dno(0) }.write()).await;
    (agent, line)
}

#[tokio::test]
async fn an_older_manager_that_knows_no_roles_says_nothing_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (_agent, mut line) = agent_of(folder.path(), ALL_BUT).await;
    let mut said = async |id: &str, roles: Option<Vec<String>>| {
        let args = Raw::encode(&["true"]).unwrap();
        let change = |request| Request { operator: Some("ada".to_owned()), roles, args, ..request };
        line.say_request(id, "exec.run", change).await;
        line.answered().await.result.map(drop)
    };
    refused(said("r-1", None).await, &["\"no contractors\""]);
    said("r-2", Some(Vec::new())).await.unwrap();
    said("r-3", Some(vec!["staff".to_owned()])).await.unwrap();
    refused(
        said("r-4", Some(vec!["staff".to_owned(), "contractor".to_owned()])).await,
        &["\"no contractors\""],
    );
    // the same of the question what would become of a call
    for (id, roles, allowed) in [("r-5", None, false), ("r-6", Some(json!([])), true)] {
        let mut asked = json!({"procedure": "exec.run", "args": ["true"], "operator": "ada"});
        if let Some(roles) = roles {
            asked.as_object_mut().unwrap().insert("roles".to_owned(), roles);
        }
        line.request(id, "rp.policy.test", &asked).await;
        let answer: Value = line.answered().await.result.unwrap().decode().unwrap();
        assert_eq!(answer["allowed"], json!(allowed), "{answer}");
    }
}
