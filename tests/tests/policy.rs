//! The policy of a machine's owner, on whole systems: what it forbids does not run, whoever asks and however.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use redpoll_common::api::AgentState;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_tests::operator::Operator;
use redpoll_tests::policy::write_policy;
use redpoll_tests::process::command;
use redpoll_tests::work::Oracle;
use redpoll_tests::world::{HONEST, World, start_agent};
use serde_json::{Value, json};

const SHELL: &str =
    "[[rule]]\nname = \"shells\"\nallow = [\"exec.run\"]\nargs.\"argv.0\" = [\"sh\", \"true\"]\n";
/// Longer than anything takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
const RULES: &str = r#"
[[rule]]
name = "no touching"
deny = ["exec.run"]
args."argv.0" = ["touch"]

[[rule]]
name = "ada once"
allow = ["exec.run"]
args."argv.0" = ["id"]
operators = ["ada"]
rate = "1/1d"
"#;

fn file(world: &World) -> PathBuf {
    world.directory().join("policy.toml")
}

/// A world whose agent has this policy.
async fn world(policy: &str) -> World {
    let mut world = World::quiet(&[]).await;
    write_policy(&file(&world), policy);
    world.agent(HONEST, &[]).await;
    world
}

async fn exec(operator: &Operator, argv: &[&str]) -> Result<(), Fault> {
    let mut stream = operator.exec(HONEST, argv).await;
    Operator::end_of(&mut stream).await.map(drop)
}

fn refused(answer: Result<(), Fault>, rule: &str) {
    let fault = answer.unwrap_err();
    assert_eq!(fault.code, FaultCode::Rejected, "{fault}");
    assert!(fault.message.contains(rule), "{fault}");
}

#[tokio::test]
async fn without_a_policy_no_program_runs_and_the_harmless_does() {
    let world = world("").await;
    world.operator.echo(HONEST, "hello").await.unwrap();
    refused(exec(&world.operator, &["true"]).await, "exec.run");
    let work = Oracle::new(world.directory(), "oracle");
    let job = world.operator.submit(&work.job(HONEST, "")).await.unwrap();
    let run = world.operator.job_ended(&job).await;
    let end = run.end.unwrap();
    assert_eq!((end.outcome.as_str(), work.starts(&job)), ("rejected", 0));
    assert!(end.fault.unwrap().message.contains("the default does not"));
}

#[tokio::test]
async fn rules_hold_for_each_operator_and_each_form_of_the_arguments() {
    let world = world(&format!("{RULES}\n{SHELL}")).await;
    let ada = &world.operator;
    exec(ada, &["sh", "-c", "true"]).await.unwrap();
    let mark = world.directory().join("mark").display().to_string();
    refused(exec(ada, &["touch", &mark]).await, "no touching");
    let call = Operator::call_of(HONEST, "exec.run", &json!([]), &json!({"argv": ["touch", mark]}), PATIENCE);
    refused(ada.peer().call(call).await.map(drop).map_err(|error| error.into_fault()), "no touching");
    assert!(!fs::exists(&mark).unwrap());
    let bob = exec(&world.operator("bob").await, &["id"]).await;
    refused(bob.clone(), "rule \"ada once\"");
    refused(bob, "do not hold: operators; nor do those of 1 more");
    exec(ada, &["id"]).await.unwrap();
    let fault = exec(ada, &["id"]).await.unwrap_err();
    assert!(fault.message.contains("ada once") && fault.retry_after_ms.is_some(), "{fault}");
}

#[tokio::test]
async fn a_rule_says_as_whom_a_program_runs() {
    if !rustix::process::geteuid().is_root() {
        return; // nobody else can start a program as somebody else
    }
    let rule = format!("{SHELL}run_as = \"nobody\"\n");
    let world = world(&rule).await;
    exec(&world.operator, &["sh", "-c", "test $(id -u) != 0 && test $(id -un) = nobody"]).await.unwrap();
    exec(&world.operator, &["sh", "-c", "test $(id -u) = 0"]).await.unwrap_err();
}

#[tokio::test]
async fn a_call_is_tried_without_running_it_and_the_roster_knows_the_digest() {
    let hours = "hours = { days = [\"mon\"], from = \"08:00\", to = \"18:00\", zone = \"utc\" }\n";
    let world = world(&format!("{SHELL}operators = [\"ada\"]\n{hours}")).await;
    let config = world.directory().join(format!("agent-{HONEST}.toml"));
    let config = config.display().to_string();
    let tried = async |operator: &str, at: &str, argv: &[&str]| {
        let mut command = command("redpoll-agent");
        command.env("REDPOLL_AGENT_PROCEDURES__BUILTIN", "sys.*,exec.run");
        command.args(["policy", "test", "exec.run", "--config", &config, "--operator", operator, "--at", at]);
        let output = command.arg("--").args(argv).output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let monday = "2026-01-05T09:00Z";
    let (code, said) = tried("ada", monday, &["sh", "-c", "exit 7"]).await;
    assert!(code == Some(0) && said.contains("\"shells\"") && said.contains("running as"), "{said}");
    for (operator, at, argv) in
        [("bob", monday, "sh"), ("ada", "2026-01-05T18:00Z", "sh"), ("ada", monday, "id")]
    {
        let (code, said) = tried(operator, at, &[argv]).await;
        assert!(code == Some(3) && said.contains("refused"), "{operator} {at} {argv}: {said}");
    }
    let misspelt = format!("{SHELL}\n[[rule]]\nname = \"nothing\"\ndeny = [\"sys.ecko\"]\n");
    write_policy(&file(&world), &misspelt);
    let mut trying = command("redpoll-agent");
    let tried = trying.args(["policy", "test", "sys.echo", "--config", &config]).output().await.unwrap();
    let said = String::from_utf8(tried.stderr).unwrap();
    let word = "rule \"nothing\" names \"sys.ecko\", and no procedure here has such a name; did you mean \"sys.echo\"?";
    assert!(tried.status.code() == Some(0) && said.contains(word), "{said}");
    assert_eq!(
        world
            .operator
            .ask("rp.agents.reload", &json!({"agent": HONEST}))
            .await
            .unwrap()
            .decode::<Value>()
            .unwrap()["problems"],
        json!([])
    );
    let log = fs::read_to_string(world.directory().join(format!("agent-{HONEST}.log"))).unwrap();
    assert!(log.contains("a rule of the policy is about nothing") && log.contains("sys.ecko"), "{log}");
    let mut shown = command("redpoll-agent");
    let shown = shown.args(["policy", "show", "--config", &config]).output().await.unwrap();
    // what stands on standard output is JSON and nothing else
    serde_json::from_slice::<Value>(&shown.stdout).unwrap();
    let text = String::from_utf8(shown.stderr).unwrap();
    redpoll_tests::eventually("the digest of the policy that was read anew", async || {
        let digest = world.operator.agent(HONEST).await.unwrap().policy.unwrap();
        (digest.len() == 64 && text.contains(&digest)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_policy_shows_in_the_roster_within_the_session_that_is_there() {
    let mut world = world(SHELL).await;
    let before = world.operator.agent(HONEST).await.unwrap();
    let old = before.policy.clone().unwrap();
    let config = world.directory().join(format!("agent-{HONEST}.toml")).display().to_string();
    // by a signal, and as the manager asks; the procedures stay as they are
    for (policy, by_signal) in [(RULES.to_owned(), true), (format!("{RULES}\n{SHELL}"), false)] {
        write_policy(&file(&world), &policy);
        let shown = command("redpoll-agent").args(["policy", "show", "--config", &config]).output().await;
        let shown = String::from_utf8(shown.unwrap().stderr).unwrap();
        if by_signal {
            world.agent_process(HONEST).signal(rustix::process::Signal::HUP);
        } else {
            world.operator.ask("rp.agents.reload", &json!({"agent": HONEST})).await.unwrap();
        }
        let now = redpoll_tests::eventually("the digest of the new policy", async || {
            let now = world.operator.agent(HONEST).await.unwrap();
            now.policy.as_ref().is_some_and(|digest| shown.contains(digest.as_str())).then_some(now)
        })
        .await;
        assert_ne!(now.policy.as_ref(), Some(&old));
        assert!(now.since_ms >= before.since_ms, "another session began");
        let told = world.run_rpctl(&["agents", "show", HONEST]).await;
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains(now.policy.as_deref().unwrap()), "{told}");
    }
}

#[tokio::test]
async fn a_broken_policy_changes_nothing_at_a_reload_and_refuses_a_start() {
    let mut world = world(SHELL).await;
    let reload = async |world: &World| -> Value {
        let answer = world.operator.ask("rp.agents.reload", &json!({"agent": HONEST})).await.unwrap();
        answer.decode::<Value>().unwrap()["problems"].clone()
    };
    write_policy(&file(&world), "[[rule]]\nname = \"x\"\nallow = [\"*\"]\nfoo = 1\n");
    let problems = reload(&world).await;
    assert!(problems[0].as_str().unwrap().contains("foo"), "{problems}");
    // the next start would be refused: a person must act
    world.agent_process(HONEST).logged(&["ERROR", "the policy cannot be used"]).await;
    exec(&world.operator, &["true"]).await.unwrap();
    refused(exec(&world.operator, &["id"]).await, "do not hold: args.argv.0");

    write_policy(&file(&world), "switches = \"nobody\"\n");
    assert_eq!(reload(&world).await, json!([]));
    refused(exec(&world.operator, &["true"]).await, "the default");
    let echo = json!({"agent": HONEST, "procedure": "sys.echo"});
    let fault = world.operator.ask("rp.procedures.disable", &echo).await.unwrap_err();
    assert!(fault.code == FaultCode::Rejected && fault.message.contains("switches"), "{fault}");

    drop(world.take_agent(HONEST));
    world.operator.until(HONEST, AgentState::Away).await;
    for (text, mode, code) in [("nonsense", 0o600, 64), (SHELL, 0o666, 77)] {
        write_policy(&file(&world), text);
        fs::set_permissions(file(&world), Permissions::from_mode(mode)).unwrap();
        let mut agent = start_agent(world.directory(), HONEST, &world.address.to_string(), &[]);
        assert_eq!(agent.ended().await.code(), Some(code), "{}", agent.log());
    }
}
