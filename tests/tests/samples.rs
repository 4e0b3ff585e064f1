//! What is shipped as examples, by real agents: the folder as it is, loaded and called, each language with its values, its progress,
//! its result and its failure.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use redpoll_net::CallEvent;
use redpoll_tests::manifests::{Manifests, checkout, needs, path_with_sdk};
use redpoll_tests::operator::Operator;
use redpoll_tests::process::command;
use redpoll_tests::told::Told;
use redpoll_tests::world::World;
use redpoll_tests::{PATIENCE, eventually, in_time};
use serde_json::{Value, json};

const AGENT: &str = "web-1";
const NODE: &str = "a sample is written for it: install it, for example `apt install nodejs`";

/// The samples in a world's folder, which those may enter as whom they run where the agent is root.
fn samples(world: &World) -> Manifests {
    fs::set_permissions(world.directory(), Permissions::from_mode(0o755)).unwrap();
    Manifests::samples(world.directory())
}

/// A world whose agent offers the samples; the Rust one built as its manifest says. They run as the agent: others may have no access to
/// the interpreter and the SDK of this checkout.
async fn world() -> World {
    needs("node", NODE);
    let mut world = World::quiet(&[]).await;
    let samples = samples(&world);
    build(&samples);
    for name in ["disk.report", "load.sample", "log.search", "process.memory", "tree.digest"] {
        as_the_agent(&samples, name);
    }
    let path = format!("PATH={}", path_with_sdk(world.directory()));
    world.agent_under(&["/usr/bin/env".to_owned(), path], AGENT, &[&samples.setting()]).await;
    world
}

/// Does what the head of the manifest tells: builds the program, and enables it.
fn build(samples: &Manifests) {
    let manifest = samples.path().join("process.memory.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let order = text.lines().find_map(|line| line.trim_start_matches(['#', ' ']).strip_prefix("rustc "));
    let words: Vec<&str> = order.unwrap().split_whitespace().collect();
    let built = Command::new("rustc").args(&words).current_dir(samples.path()).status().unwrap();
    assert!(built.success(), "rustc {words:?}");
    samples.write("process.memory", &text.replace("enabled = false", "enabled = true"));
}

/// Leaves out as whom it runs where the agent is root.
fn as_the_agent(samples: &Manifests, name: &str) {
    let text = fs::read_to_string(samples.path().join(format!("{name}.toml"))).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("demote")).collect();
    assert!(lines.len() < text.lines().count(), "{name} says nothing of that");
    samples.write(name, &lines.join("\n"));
}

async fn told(world: &World, words: &[&str]) -> Told {
    Told::of(world, &[&[AGENT], words].concat()).await
}

#[tokio::test]
async fn the_loader_and_the_linter_take_every_sample_and_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let samples = Manifests::samples(folder.path());
    let linted =
        command("redpoll-agent").args(["procedures", "check"]).arg(samples.path()).output().await.unwrap();
    let said = String::from_utf8(linted.stdout).unwrap() + &String::from_utf8(linted.stderr).unwrap();
    assert_eq!(linted.status.code(), Some(0), "{said}");

    let mut world = World::quiet(&[]).await;
    let policy = fs::read_to_string(checkout("config/samples/policy.toml")).unwrap();
    redpoll_tests::policy::write_policy(&world.directory().join("policy.toml"), &policy);
    world.agent(AGENT, &[&samples.setting()]).await;
    let reloaded = world.run_rpctl(&["-o", "json", "agents", "reload", AGENT]).await;
    let answer: Value = serde_json::from_slice(&reloaded.stdout).unwrap();
    let text = answer.to_string();
    assert!(reloaded.status.success() && !text.contains(".toml"), "no problem names a file: {text}");
    let log = world.agent_process(AGENT).log();
    assert!(!log.contains("is not offered as described"), "{log}");
    let shipped = fs::read_dir(samples.path()).unwrap().map(Result::unwrap);
    let shipped = shipped.filter(|entry| entry.path().extension().is_some_and(|end| end == "toml")).count();
    let read = world.agent_process(AGENT).logged(&["the procedures were read"]).await;
    assert!(shipped >= 6 && read.contains(&format!("added={shipped}")), "{shipped} files: {read}");
    // as the agent ends with another code when the policy is no policy, this one was understood; and it is the one that holds
    let mut shown = command("redpoll-agent");
    let config = world.directory().join(format!("agent-{AGENT}.toml"));
    let shown = shown.args(["policy", "show", "--config"]).arg(config).output().await.unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("no dropping of databases") && text.contains("packages as root"), "{text}");
}

/// An agent as most are: of whatever user, with no policy but the default one.
#[tokio::test]
async fn what_needs_nothing_else_runs_as_it_is_shipped_under_the_default_policy() {
    needs("node", NODE);
    let mut world = World::quiet(&[]).await;
    let samples = samples(&world);
    let none = format!("policy.file={}", world.directory().join("none.toml").display());
    world.agent(AGENT, &[&samples.setting(), &none]).await;
    let tree = world.directory().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), "abc").unwrap();
    fs::set_permissions(&tree, Permissions::from_mode(0o755)).unwrap();
    let path = format!("path={}", tree.display());
    assert_eq!(told(&world, &["disk.report"]).await.result()["exit"], 0);
    assert_eq!(told(&world, &["load.sample", "samples:=1", "interval_ms:=1"]).await.result()["samples"], 1);
    assert_eq!(told(&world, &["tree.digest", &path]).await.result()["files"], 1);
    assert!(told(&world, &["disk.watch", "most:=100"]).await.result()["percent"].is_number());
    if rustix::process::geteuid().is_root() {
        // and they are not root: what is for nobody to read is not read
        fs::set_permissions(&tree, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(told(&world, &["tree.digest", &path]).await.result()["files"], 0);
        // without the line for it, the owner of the machine would have to name root in a rule
        as_the_agent(&samples, "disk.report");
        assert!(world.run_rpctl(&["agents", "reload", AGENT]).await.status.success());
        assert_eq!(told(&world, &["disk.report"]).await.said("code"), "rejected");
    }
}

#[tokio::test]
async fn the_sample_of_a_policy_decides_about_calls_as_its_words_say() {
    if !rustix::process::geteuid().is_root() {
        // it is the policy of an agent that may run programs as others
        return;
    }
    let mut world = World::quiet(&["access.roles={ on-call = [\"bob\"] }"]).await;
    let own = Manifests::new(world.directory());
    let schema = "args = { type = \"object\" }\noutput = \"text\"";
    own.shell("db.drop-all", &format!("user = \"nobody\"\n{schema}"), "true");
    own.shell("web.deploy", &format!("version = 2\nuser = \"www-data\"\n{schema}"), "id -un");
    own.shell("packages.update", schema, "id -u");
    own.shell("service.restart", &format!("user = \"nobody\"\n{schema}"), "true");
    let policy = fs::read_to_string(checkout("config/samples/policy.toml")).unwrap();
    redpoll_tests::policy::write_policy(&world.directory().join("policy.toml"), &policy);
    world.agent(AGENT, &[&own.setting()]).await;

    let deploy = |copies: &str| {
        let words = ["web.deploy", "stage=live", "path=/srv/www/a", "release:={\"tag\":\"v7\"}", copies];
        words.map(str::to_owned)
    };
    let good = deploy("copies:=2");
    assert_eq!(told(&world, &good.each_ref().map(String::as_str)).await.result()["exit"], 0);
    assert_eq!(told(&world, &["packages.update"]).await.result()["exit"], 0);
    let refused = |words: Vec<String>, rule: &'static str| {
        let world = &world;
        async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let told = told(world, &words).await;
            assert!(told.said("code") == "rejected" && told.said("message").contains(rule), "{told:?}");
        }
    };
    refused(deploy("copies:=9").to_vec(), "deployments").await;
    refused(vec!["db.drop-all".to_owned()], "no dropping of databases").await;
    // ada has no role
    refused(vec!["service.restart".to_owned()], "whoever is on call restarts services").await;
    let bob = world.operator("bob").await;
    assert!(bob.call(AGENT, "service.restart", &json!({})).await.is_ok());
    let bob = bob.exec(AGENT, &["id", "-un"]).await;
    let ended = Operator::end_of(&mut { bob }).await.unwrap_err();
    assert!(ended.message.contains("operators run programs"), "{ended}");
    // by the hour of the test
    let ran = told(&world, &["exec.run", "--", "id", "-un"]).await;
    let by_day = || ran.said("message").contains("operators run programs");
    assert!(ran.code == Some(0) || by_day(), "{ran:?}");
}

#[tokio::test]
async fn the_shell_script_and_the_rust_program_give_what_they_promise() {
    let world = world().await;
    let report = told(&world, &["disk.report"]).await;
    assert_eq!(report.result(), &json!({"exit": 0, "signal": null}));
    let output = world.run_rpctl(&["call", AGENT, "disk.report"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("job none, on {AGENT}\n")) && text.contains("MiB free  /\n"), "{text}");
    let refused = told(&world, &["disk.report", "x=1"]).await;
    assert_eq!((refused.said("code"), refused.code), ("bad_arguments", Some(3)));
    // in a job it knows which
    let run = world.run_rpctl(&["run", AGENT, "disk.report"]).await;
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success() && text.contains(", on web-1") && !text.contains("job none"), "{text}");

    let memory = told(&world, &["process.memory", "top:=3"]).await;
    let rows = memory.result().as_array().unwrap();
    assert_eq!(rows.len(), 3);
    let sizes: Vec<u64> = rows.iter().map(|row| row["kib"].as_u64().unwrap()).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[0] > 0, "{rows:?}");
    let own = told(&world, &["process.memory", "name=process-memory"]).await;
    assert_eq!(own.result()[0]["name"], "process-memory", "it sees itself");
    let refused = told(&world, &["process.memory", "top:=0"]).await;
    assert!(refused.said("message").contains("top"), "{refused:?}");
}

#[tokio::test]
async fn the_workers_in_python_give_values_progress_results_and_exceptions() {
    let world = world().await;
    let tree = world.directory().join("tree");
    fs::create_dir(&tree).unwrap();
    for (name, text) in [("a", "abc"), ("b", ""), ("large", "0123456789")] {
        fs::write(tree.join(name), text).unwrap();
    }
    let path = format!("path={}", tree.display());
    let digested = told(&world, &["tree.digest", &path, "largest:=9"]).await;
    assert_eq!(digested.result(), &json!({"files": 2, "left_out": 1}));
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digested.values[0], json!({"path": tree.join("a"), "bytes": 3, "sha256": sha}));
    let last = json!({"completed": 2, "total": 3, "details": tree.join("large")});
    assert_eq!(digested.progress.last(), Some(&last), "{:?}", digested.progress);
    let failed = told(&world, &["tree.digest", &format!("path={}", tree.join("a").display())]).await;
    assert_eq!((failed.code, failed.said("class")), (Some(1), "NotADirectoryError"));
    assert!(failed.said("trace").contains("files_below") && failed.said("message").contains("is no folder"));

    let log = world.directory().join("some.log");
    fs::write(&log, "one\ntwo ERROR\nthree\nfour ERROR\nfive ERROR\n").unwrap();
    let path = format!("path={}", log.display());
    let found = told(&world, &["log.search", &path, "pattern=ERROR$", "most:=2"]).await;
    assert_eq!(
        found.values,
        [json!({"line": 2, "text": "two ERROR"}), json!({"line": 4, "text": "four ERROR"})]
    );
    assert_eq!(found.result(), &json!({"found": 2, "lines": 4}));
    assert_eq!(found.progress.last().unwrap()["completed"], 4);
    let failed = told(&world, &["log.search", &path, "pattern=("]).await;
    assert_eq!((failed.said("class"), failed.said("module")), ("Failure", "redpoll"));
    assert_eq!(failed.fault()["data"], json!({"at": 0}));
    let failed = told(&world, &["log.search", "path=/nowhere", "pattern=x"]).await;
    assert_eq!(failed.said("class"), "FileNotFoundError");
    assert!(failed.said("trace").contains("log_search.py"), "{failed:?}");
}

#[tokio::test]
async fn the_script_that_asks_has_a_job_made_once_and_announces_it() {
    let folder = tempfile::tempdir().unwrap();
    let own = Manifests::new(folder.path());
    // what the sample of the manager does with the system's log is not for a test
    let script = r#"read -r line; printf '%s' "$line" >> announced; echo '{"result":null}'"#;
    let fields = format!("callers = [\"agent:web-*\"]\ncwd = \"{}\"", folder.path().display());
    own.shell("site.announce", &fields, script);
    let mut world = World::quiet(&[&own.setting(), "agents.submit=disk.report"]).await;
    let samples = samples(&world);
    world.agent(AGENT, &[&samples.setting()]).await;

    let enough = told(&world, &["disk.watch", "/", "most:=100"]).await;
    if enough.result()["percent"] != 100 {
        assert_eq!(enough.result()["job"], Value::Null);
    }
    let first = told(&world, &["disk.watch", "most:=0"]).await;
    assert_eq!(first.result()["announced"], true, "{first:?}");
    let job = first.result()["job"].as_str().unwrap().to_owned();
    let announced = fs::read_to_string(folder.path().join("announced")).unwrap();
    assert!(announced.contains(&job) && announced.contains("agent:web-1"), "{announced}");
    let run = in_time("the end of the report", world.operator.job_ended(&job)).await;
    assert_eq!(run.end.unwrap().outcome, "succeeded");
    let again = told(&world, &["disk.watch", "path=/", "most:=0"]).await;
    assert_eq!(
        (again.result()["job"].as_str(), &again.result()["announced"]),
        (Some(job.as_str()), &json!(false))
    );

    // before anybody calls it, everybody can see what it asks for
    let shown = world.run_rpctl(&["agents", "procedures", AGENT, "disk.watch"]).await;
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("May ask the manager to: submit jobs; call site.announce\n"), "{text}");
    let shown = world.run_rpctl(&["-o", "json", "agents", "procedures", AGENT]).await;
    let listed: Value = serde_json::from_slice(&shown.stdout).unwrap();
    for info in listed.as_array().unwrap() {
        let asks =
            (info["name"] == "disk.watch").then(|| json!({"submit": true, "calls": ["site.announce"]}));
        assert_eq!(info.get("asks"), asks.as_ref(), "{info}");
    }
    let config = world.directory().join(format!("agent-{AGENT}.toml"));
    let mut trying = command("redpoll-agent");
    trying.env("REDPOLL_AGENT_PROCEDURES__DIR", samples.path()).args([
        "policy",
        "test",
        "disk.watch",
        "--config",
    ]);
    let tried = String::from_utf8(trying.arg(config).output().await.unwrap().stdout).unwrap();
    assert!(tried.contains("\nit may ask the manager to submit jobs; call site.announce\n"), "{tried}");
}

#[tokio::test]
async fn the_node_script_gives_values_and_progress_and_heeds_a_cancel() {
    let world = world().await;
    let sampled = told(&world, &["load.sample", "samples:=3", "interval_ms:=1"]).await;
    assert_eq!((sampled.values.len(), &sampled.result()["samples"]), (3, &json!(3)));
    assert!(sampled.values.iter().all(|value| value["free_bytes"].as_u64().unwrap() > 0));
    assert_eq!(sampled.progress.last(), Some(&json!({"completed": 3, "total": 3})));

    let run = world
        .run_rpctl(&["run", "--detach", AGENT, "load.sample", "samples:=1000", "interval_ms:=60000"])
        .await;
    let job = String::from_utf8(run.stdout).unwrap().trim().to_owned();
    eventually("it gives its first value", async || {
        let read = world.run_rpctl(&["-o", "json", "jobs", "read", &job]).await;
        String::from_utf8(read.stdout).unwrap().contains("free_bytes").then_some(())
    })
    .await;
    assert!(world.run_rpctl(&["jobs", "cancel", &job]).await.status.success());
    let run = in_time("its end", world.operator.job_ended(&job)).await;
    let end = run.end.unwrap();
    assert_eq!((end.outcome.as_str(), end.items), ("cancelled", 1), "{:?}", end.fault);
}

#[tokio::test]
async fn the_agent_of_ones_own_in_rust_gives_values_progress_and_the_last_word() {
    let mut world = World::quiet(&[]).await;
    world.own_agent("redpoll-greeter", AGENT, &[]).await;
    let greeted = told(&world, &["demo.greet", "name=Ada", "times:=3"]).await;
    assert_eq!((&greeted.values, greeted.result()), (&vec![json!("hello Ada"); 3], &json!({"greetings": 3})));
    assert_eq!(greeted.progress.last().unwrap()["completed"], 3);
    let refused = told(&world, &["demo.greet", "name="]).await;
    assert_eq!(refused.said("code"), "bad_arguments");
    assert!(
        told(&world, &["sys.facts"]).await.result()["kernel"]["name"] == "Linux",
        "and all that the agent does"
    );

    let call = Operator::call_of(AGENT, "demo.count", &json!([]), &json!({"upto": 1000}), PATIENCE * 3);
    let mut stream = world.operator.peer().start(call).await.unwrap();
    let first = in_time("it counts", stream.next()).await;
    let Some(CallEvent::Value(first)) = first else { panic!("it begins with a value: {first:?}") };
    assert_eq!(first.decode::<u64>().unwrap(), 1);
    stream.cancel();
    let fault = Operator::end_of(&mut stream).await.unwrap_err();
    assert_eq!(fault.class.as_deref(), Some("Interrupted"), "the procedure has the last word: {fault}");
    assert!(fault.data.is_some_and(|data| data.decode::<u64>().unwrap() >= 2), "it says where it was");
}

#[tokio::test]
async fn an_agent_of_ones_own_says_all_of_a_procedure_of_a_failure_and_of_who_asks() {
    let mut world = World::quiet(&["access.roles={ deploy = [\"ada\"] }"]).await;
    world.own_agent("redpoll-recurring-agent", AGENT, &[]).await;
    let whom = told(&world, &["test.whom"]).await;
    assert_eq!(whom.result(), &json!(["ada", ["deploy"]]));
    let bob = world.operator("bob").await;
    let said: Value = bob.call(AGENT, "test.whom", &json!({})).await.unwrap().decode().unwrap();
    assert_eq!(said, json!(["bob", []]), "he has none, and that is known");
    let run = world.run_rpctl(&["-o", "json", "run", AGENT, "test.whom"]).await;
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success() && text.contains("deploy"), "{text}");

    let failed = told(&world, &["test.fail"]).await;
    let fault = failed.fault();
    for (key, value) in [
        ("class", json!("DiskFull")),
        ("module", json!("disks")),
        ("args", json!(["/var"])),
        ("state", json!({"free": 0})),
        ("trace", json!("first, then second")),
        ("data", json!(7)),
    ] {
        assert_eq!(fault[key], value, "{key}: {fault}");
    }
    let shown = world.run_rpctl(&["-o", "json", "agents", "procedures", AGENT]).await;
    let listed: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let info = listed.as_array().unwrap().iter().find(|info| info["name"] == "test.fail").unwrap();
    let said = (&info["deprecated"], &info["idempotent"], &info["admin"]);
    assert_eq!(said, (&json!("use nothing"), &json!(true), &json!(true)), "{info}");
}
