//! Executables on a real agent that ask a real manager: for jobs, and for procedures of its own; as far as the manifest and the manager
//! allow, and without harm to anybody else.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use redpoll_common::api::AgentState;
use redpoll_common::api::jobs::{JobList, JobSummary};
use redpoll_common::api::method;
use redpoll_tests::manifests::{Manifests, python_with_sdk};
use redpoll_tests::middle::{Middle, Plan};
use redpoll_tests::told::Told;
use redpoll_tests::world::{HONEST, World};
use redpoll_tests::{eventually, within};
use serde_json::{Value, json};

const AGENT: &str = "web-1";
const SOURCE: &str = include_str!("../src/asking_procedures.py");
/// Both modes, and the family of names that the procedures have there.
const MODES: [(&str, &str); 2] = [("worker", "w"), ("once", "o")];
const MAY: &str = "[manager]\nsubmit = true\ncalls = [\"site.*\"]";
const ALLOWED: [&str; 2] = ["agents.submit=sys.*", "agents.submit_on=*"];
/// No program gets more than this.
const LONG: Duration = Duration::from_secs(30);

/// A world whose manager offers `site.note` to agents and `site.closed` to nobody, and has these settings.
async fn world(settings: &[&str]) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, fields) in [("note", "callers = [\"agent:*\"]"), ("closed", "callers = [\"agent:nobody\"]")] {
        let script = r#"read -r line; echo "{\"value\":1}"; echo "{\"result\":$line}""#;
        let text =
            format!("name = \"site.{name}\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n{fields}\n");
        let file = folder.path().join(format!("{name}.toml"));
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
    let dir = format!("procedures.dir={}", folder.path().display());
    (World::quiet(&[&[dir.as_str()], settings].concat()).await, folder)
}

/// What the agent offers: the Python of [`SOURCE`] in both modes, by the manifests that the SDK writes, and what a test adds.
fn manifests(world: &World) -> Manifests {
    let manifests = Manifests::new(world.directory());
    let python = python_with_sdk(world.directory());
    for (mode, family) in MODES {
        let file = world.directory().join(format!("{mode}.py"));
        fs::write(&file, SOURCE.replace("MODE", mode).replace("FAMILY", family)).unwrap();
        let mut writing = Command::new(&python);
        writing.args(["-m", "redpoll", "manifest"]).arg(&file);
        writing.arg("--write").arg(manifests.path()).arg("--python").arg(&python);
        let written = writing.output().unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    }
    manifests
}

async fn told(world: &World, words: &[&str]) -> Value {
    let words = [&[AGENT], words].concat();
    within(LONG, &format!("the end of {words:?}"), Told::of(world, &words)).await.result().clone()
}

fn text(value: &Value, at: usize) -> &str {
    value[at].as_str().unwrap()
}

/// The jobs that the agent submitted.
async fn jobs(world: &World) -> Vec<JobSummary> {
    let asked = json!({ "submitter": format!("agent:{AGENT}") });
    let list: JobList = world.operator.ask(method::JOBS_LIST, &asked).await.unwrap().decode().unwrap();
    list.jobs
}

async fn succeeds(world: &World, job: &str, agent: &str) {
    let run = world.operator.job_ended(job).await;
    assert_eq!((run.agent.as_str(), run.attempt), (agent, 1), "{run:?}");
    assert_eq!(run.end.unwrap().outcome, "succeeded");
}

#[tokio::test]
async fn a_job_is_submitted_to_itself_and_to_another_agent_and_ends_there_once() {
    let (mut world, _manager) = world(&ALLOWED).await;
    let manifests = manifests(&world);
    let script = r#"
read -r call
echo '{"ask":{"id":"1","submit":{"procedure":"sys.version"}}}'
read -r answer
echo "{\"result\":$answer}""#;
    manifests.shell("sh.submits", MAY, script);
    let schedule = "\n[schedule]\nevery = \"1h\"\nat_start = true";
    manifests.shell(
        "sh.recurs",
        &format!("{MAY}{schedule}"),
        &script.replace("\"sys.version\"", "\"sys.echo\",\"key\":\"recurring\""),
    );
    world.agent(HONEST, &[]).await;
    world.agent(AGENT, &[&manifests.setting()]).await;

    for (_, family) in MODES {
        let procedure = format!("{family}.submits");
        for agent in [AGENT, HONEST] {
            let (agent_word, key) = (format!("agent={agent}"), format!("key={family}-{agent}"));
            let first = told(&world, &[&procedure, &agent_word, &key]).await;
            assert_eq!(first[1], true, "{first}");
            succeeds(&world, text(&first, 0), agent).await;
            let again = told(&world, &[&procedure, &agent_word, &key]).await;
            assert_eq!((text(&again, 0), &again[1]), (text(&first, 0), &json!(false)), "the key is known");
        }
    }
    let answer = told(&world, &["sh.submits"]).await;
    assert_eq!(
        (&answer["answer"]["id"], &answer["answer"]["result"]["existing"]),
        (&json!("1"), &json!(false))
    );
    succeeds(&world, answer["answer"]["result"]["job"].as_str().unwrap(), AGENT).await;

    // a run that nobody called, and one of a job
    let recurring = eventually("the recurring procedure submits", async || {
        jobs(&world).await.into_iter().find(|job| job.key.as_deref() == Some("recurring"))
    })
    .await;
    succeeds(&world, &recurring.job, AGENT).await;
    let output =
        world.run_rpctl(&["-o", "json", "run", AGENT, "w.submits", &format!("agent={HONEST}")]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let submitted: Vec<_> =
        jobs(&world).await.into_iter().filter(|job| job.procedure.starts_with("sys.")).collect();
    assert_eq!(submitted.len(), 7, "{submitted:?}");
}

#[tokio::test]
async fn a_procedure_of_the_manager_is_called_by_those_that_both_sides_let() {
    let (mut world, _manager) = world(&ALLOWED).await;
    let manifests = manifests(&world);
    world.agent(AGENT, &[&manifests.setting()]).await;
    for (_, family) in MODES {
        let procedure = format!("{family}.calls");
        let heard = told(&world, &[&procedure, "procedure=site.note", "text=hi"]).await;
        assert_eq!((&heard["kwargs"], &heard["operator"]), (&json!({"text": "hi"}), &json!("agent:web-1")));
        let closed = told(&world, &[&procedure, "procedure=site.closed"]).await;
        assert_eq!(text(&closed, 0), "forbidden", "{closed}");
        assert!(text(&closed, 1).contains("callers") || text(&closed, 1).contains("closed.toml"), "{closed}");
        for (unfit, words) in [("other.note", "to calls"), ("rp.status", "methods of the manager")] {
            let refused = told(&world, &[&procedure, &format!("procedure={unfit}")]).await;
            assert!(text(&refused, 0) == "forbidden" && text(&refused, 1).contains(words), "{refused}");
        }
        let missing = told(&world, &[&procedure, "procedure=site.missing"]).await;
        assert!(["unknown_procedure", "unknown_method"].contains(&text(&missing, 0)), "{missing}");
    }
}

#[tokio::test]
async fn whoever_of_manifest_and_manager_does_not_allow_it_names_the_field_that_would() {
    let (mut world, _manager) = world(&["agents.submit=sys.version"]).await;
    let manifests = manifests(&world);
    world.agent(AGENT, &[&manifests.setting()]).await;
    for (_, family) in MODES {
        let nothing = told(&world, &[&format!("{family}.may-nothing")]).await;
        assert!(text(&nothing, 0) == "forbidden" && text(&nothing, 1).contains("[manager]"), "{nothing}");
        let procedure = format!("{family}.submits");
        let other = told(&world, &[&procedure, "agent=web-1", "procedure=exec.run"]).await;
        assert!(text(&other, 0) == "forbidden" && text(&other, 1).contains("agents.submit"), "{other}");
        let elsewhere = told(&world, &[&procedure, "agent=web-2"]).await;
        assert!(text(&elsewhere, 1).contains("agents.submit_on"), "{elsewhere}");
    }
    assert_eq!(jobs(&world).await, []);
    assert_eq!(world.agent_process(AGENT).troubles(), Vec::<String>::new());
}

#[tokio::test]
async fn who_floods_or_never_reads_is_ended_or_slowed_and_nobody_else_notices() {
    let mut world = World::start(&["agents.submit=sys.*", "agents.rate=1", "agents.burst=3"]).await;
    let manifests = manifests(&world);
    let ask = r#"echo "{\"ask\":{\"id\":\"$n\",\"submit\":{\"procedure\":\"sys.version\"}}}""#;
    manifests.shell("flood.never-reads", MAY, &format!("while :; do n=$((n+1)); {ask}; done"));
    let reads = format!(
        r#"read -r call; n=0; while [ $n -lt 30 ]; do n=$((n+1)); {ask}; read -r a; case $a in *overloaded*) o=$((o+1));; esac; done; echo "{{\"result\":$o}}""#
    );
    manifests.shell("flood.reads", MAY, &reads);
    world.agent(AGENT, &[&manifests.setting()]).await;
    let output = Told::of(&world, &[AGENT, "flood.never-reads"]).await;
    assert_eq!(output.said("class"), "ProtocolError", "{output:?}");
    assert!(output.said("message").contains("does not read the answers"), "{output:?}");
    let overloaded = told(&world, &["flood.reads"]).await;
    assert!(overloaded.as_u64().unwrap() >= 20, "the manager's rate holds: {overloaded}");
    assert!(jobs(&world).await.len() < 20);
    assert!(told(&world, &["sys.version"]).await.is_object(), "it serves on");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_with_the_session_is_asked_for_again_by_its_key_and_is_the_same_job() {
    let (mut world, _manager) = world(&ALLOWED).await;
    let manifests = manifests(&world);
    let own = world.certificate(AGENT);
    let plan = Plan { name: "manager: answer to rp.jobs.submit".to_owned(), cut: true };
    let manager = world.authority.manager("m-1");
    let middle = Middle::listen(&manager, own, world.address, Some(plan)).await;
    world.start_agent(AGENT, &[&manifests.setting(), &middle.setting(), "manager.stable_after=0s"]);
    world.operator.until(AGENT, AgentState::Connected).await;
    // a run of a job outlives the session that began it
    let output = within(LONG, "the end", world.run_rpctl(&["-o", "json", "run", AGENT, "w.persists"])).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    middle.lost().await;
    let submitted = jobs(&world).await;
    assert_eq!(submitted.len(), 1, "{submitted:?}");
    succeeds(&world, &submitted[0].job, AGENT).await;
    assert!(said.contains(&submitted[0].job) && said.contains("agent_gone"), "{said}");
    assert!(said.contains("\"new\": false") || said.contains("\"new\":false"), "{said}");
}
