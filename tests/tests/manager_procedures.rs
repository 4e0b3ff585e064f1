//! Procedures on a real manager: called by agents and operators that may, named as callbacks, reloaded while they run.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redpoll_common::wire::{Fault, FaultCode, Raw, Request};
use redpoll_net::peer::Call;
use redpoll_tests::eventually;
use redpoll_tests::line::Line;
use redpoll_tests::world::{HONEST, World};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Gives a value, and as its result the line that it was called with.
const ECHO: &str = r#"read -r line; echo '{"value":7}'; echo "{\"result\":$line}""#;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The folder of manifests, beside it what the scripts write.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::set_permissions(folder.path().join("d"), Permissions::from_mode(0o700)).unwrap();
        Self(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    /// A manifest `FILE.toml` of a shell script, which runs in the folder.
    fn manifest(&self, name: &str, fields: &str, script: &str) {
        let cwd = self.0.path().display();
        let text = format!(
            "name = \"site.{name}\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\ncwd = \"{cwd}\"\n{fields}\n"
        );
        write(&self.at(&format!("d/{name}.toml")), &text);
    }

    async fn world(&self) -> World {
        let dir = format!("procedures.dir={}", self.at("d").display());
        World::quiet(&[&dir, "jobs.callbacks.first=10ms", "jobs.callbacks.max=20ms"]).await
    }
}

/// In one step: the manager may read at any time.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

async fn asks(line: &mut Line, id: &str, method: &str, kwargs: Value) -> Result<Value, Fault> {
    line.request(id, method, &kwargs).await;
    line.answered().await.result.map(|raw| raw.decode().unwrap())
}

fn decoded(answer: Result<Raw, Fault>) -> Value {
    answer.unwrap().decode().unwrap()
}

/// A job with this callback; its id.
async fn job(world: &World, callback: &str) -> Result<String, Fault> {
    let asked = json!({"agents": [HONEST], "procedure": "sys.ping", "callback": callback});
    let answer: Value = world.operator.ask("rp.jobs.submit", &asked).await?.decode().unwrap();
    Ok(answer["job"].as_str().unwrap().to_owned())
}

/// Waits until its callback is told, and gives how that went.
async fn told(world: &World, job: &str) -> Value {
    let asked = json!({ "job": job });
    eventually("the callback is told", async || {
        let shown = decoded(world.operator.ask("rp.jobs.show", &asked).await);
        let callback = shown["callbacks"].get(0)?.clone();
        (callback["state"] != "pending").then_some(callback)
    })
    .await
}

async fn deliveries(world: &World) -> usize {
    let asked = json!({"type": "callback.*"});
    decoded(world.operator.ask("rp.events.list", &asked).await)["events"].as_array().unwrap().len()
}

#[tokio::test]
async fn agents_and_operators_call_what_the_manifests_allow_them_and_nothing_else() {
    let folder = Folder::new();
    let schema =
        "args = { type = \"object\", additionalProperties = false, properties.n = { type = \"integer\" } }";
    folder.manifest("ask", &format!("callers = [\"agent:web-*\"]\n{schema}"), ECHO);
    folder.manifest("secret", "callers = [\"operator:ada\"]", ECHO);
    folder.manifest("nobodys", "", ECHO);
    folder.manifest("odd", "callers = [\"everybody\"]", ECHO);
    let world = folder.world().await;
    let mut web = world.line("web-1").await;

    let said = asks(&mut web, "r-1", "site.ask", json!({"n": 5})).await.unwrap();
    assert_eq!(said["operator"], "agent:web-1", "{said}");
    assert_eq!((&said["procedure"], &said["kwargs"]), (&json!("site.ask"), &json!({"n": 5})));
    let wrong = asks(&mut web, "r-2", "site.ask", json!({"n": "five"})).await.unwrap_err();
    assert_eq!(wrong.code, FaultCode::BadArguments);
    assert!(wrong.message.contains("n: ") && wrong.message.contains("rule"), "{wrong}");

    let refused = asks(&mut web, "r-3", "site.secret", json!({})).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Forbidden);
    assert_eq!(
        refused.message,
        "agent:web-1 may not call site.secret@1: callers in secret.toml on the manager does not name it"
    );
    let nobodys = asks(&mut web, "r-4", "site.nobodys", json!({})).await.unwrap_err();
    assert_eq!(nobodys.code, FaultCode::Forbidden);
    for (id, absent) in [("r-5", "site.odd"), ("r-6", "site.ask@2"), ("r-7", "sys.echo")] {
        let fault = asks(&mut web, id, absent, json!({})).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::UnknownProcedure, "{absent}: {fault}");
    }
    let listed = asks(&mut web, "r-8", "sys.procedures", json!({})).await.unwrap();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|info| info["name"].clone()).collect();
    assert_eq!(names, ["site.ask"]);

    let said = decoded(world.operator.ask("site.secret", &json!({"a": 1})).await);
    assert_eq!(said["operator"], "operator:ada");
    let called = world.run_rpctl(&["call", "@manager", "site.secret", "a=b", "-o", "json"]).await;
    let text = String::from_utf8(called.stdout).unwrap();
    assert!(called.status.success(), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&shown["values"], &shown["result"]["kwargs"]), (&json!([7]), &json!({"a": "b"})));
    // the nearest that he may call, in words
    for (typed, hint) in
        [("Site.Secret", "is \"site.secret\" meant?"), ("Site.Ask", "rpctl call AGENT PROCEDURE")]
    {
        let fault = world.operator.ask(typed, &json!({})).await.unwrap_err();
        assert!(fault.code == FaultCode::UnknownProcedure && fault.message.ends_with(hint), "{fault}");
    }
    let listed = world.run_rpctl(&["agents", "procedures", "@manager"]).await;
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("site.secret") && !text.contains("site.ask"), "{text}");
    assert!(world.manager.log().contains("odd.toml"), "what is wrong with a manifest is in the log");
}

#[tokio::test]
async fn a_caller_is_told_to_a_procedure_by_its_certificate_whatever_it_says_itself() {
    let folder = Folder::new();
    folder.manifest("ask", "callers = [\"operator:eve\", \"agent:web-1\"]", ECHO);
    let world = folder.world().await;
    let eve = world.operator("eve").await;
    let call = Call { operator: Some("operator:ada".to_owned()), ..Call::new("site.ask", PATIENCE) };
    let said: Value = eve.peer().call(call).await.unwrap().decode().unwrap();
    assert_eq!(said["operator"], "operator:eve", "{said}");

    let mut web = world.line("web-1").await;
    web.say_request("r-1", "site.ask", |request| Request {
        operator: Some("operator:ada".to_owned()),
        ..request
    })
    .await;
    let said: Value = web.answered().await.result.unwrap().decode().unwrap();
    assert_eq!(said["operator"], "agent:web-1", "{said}");
}

#[tokio::test]
async fn a_callback_that_fails_twice_is_tried_again_and_recorded_once() {
    let folder = Folder::new();
    let script = r#"read -r line; echo "$line" >> told; [ "$(wc -l < told)" -ge 3 ] || exit 1; echo '{"result":null}'"#;
    folder.manifest("told", "callback = true", script);
    folder.manifest("ask", "callers = [\"operator:*\"]", ECHO);
    let mut world = folder.world().await;
    world.agent(HONEST, &[]).await;
    let refused = job(&world, "site.ask").await.unwrap_err();
    assert!(refused.message.contains("callback = true (site.told)"), "{refused}");
    let uncalled = world.operator.ask("site.told", &json!({})).await.unwrap_err();
    assert_eq!(uncalled.code, FaultCode::Forbidden, "a callback is nobody's to call");

    let id = job(&world, "site.told").await.unwrap();
    let callback = told(&world, &id).await;
    assert_eq!((&callback["state"], &callback["tries"]), (&json!("delivered"), &json!(3)), "{callback}");
    let lines: Vec<Value> =
        folder.read("told").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "and not once more");
    let event = &lines[2]["kwargs"]["event"];
    assert_eq!((&event["type"], &event["job"]["id"]), (&json!("job.ended"), &json!(id)));
    assert_eq!(event["runs"][0]["outcome"], "succeeded");
    assert!(lines.iter().all(|line| line["kwargs"]["event"]["id"] == event["id"]), "one delivery, one id");
    assert_eq!(deliveries(&world).await, 1);
}

#[tokio::test]
async fn a_reload_leaves_what_runs_on_its_old_definition() {
    let folder = Folder::new();
    let waits = r#"touch began; until [ -e go ]; do sleep 0.01; done; echo '{"result":"old"}'"#;
    let callers = "callers = [\"agent:*\", \"operator:*\"]";
    folder.manifest("slow", callers, waits);
    let world = folder.world().await;
    let mut web = world.line("web-1").await;
    web.request("r-1", "site.slow", &json!({})).await;
    eventually("it has begun", async || folder.at("began").exists().then_some(())).await;
    folder.manifest("slow", callers, r#"echo '{"result":"new"}'"#);
    folder.manifest("more", callers, r#"echo '{"result":"more"}'"#);
    world.manager.signal(Signal::HUP);
    eventually("the new ones are offered", async || world.operator.ask("site.more", &json!({})).await.ok())
        .await;
    assert_eq!(decoded(world.operator.ask("site.slow", &json!({})).await), "new");
    fs::write(folder.at("go"), "").unwrap();
    let old: Value = web.answered().await.result.unwrap().decode().unwrap();
    assert_eq!(old, "old");
    // what is gone is offered no more
    fs::remove_file(folder.at("d/slow.toml")).unwrap();
    world.manager.signal(Signal::HUP);
    eventually("it is gone", async || {
        let fault = world.operator.ask("site.slow", &json!({})).await.err()?;
        (fault.code == FaultCode::UnknownProcedure).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_callback_under_way_when_the_manager_is_killed_is_told_again_and_recorded_once() {
    let folder = Folder::new();
    let script =
        r#"read -r line; echo "$line" >> told; until [ -e go ]; do sleep 0.01; done; echo '{"result":null}'"#;
    folder.manifest("told", "callback = true", script);
    let mut world = folder.world().await;
    world.agent(HONEST, &[]).await;
    let id = job(&world, "site.told").await.unwrap();
    eventually("it is being told", async || (!folder.read("told").is_empty()).then_some(())).await;
    world.manager.kill().await;
    fs::write(folder.at("go"), "").unwrap();
    world.restart_manager().await;
    let callback = told(&world, &id).await;
    assert_eq!(callback["state"], "delivered", "{callback}");
    let lines: Vec<Value> =
        folder.read("told").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "once in each life");
    assert_eq!(lines[0]["kwargs"]["event"]["id"], lines[1]["kwargs"]["event"]["id"], "known by its id");
    assert_eq!(deliveries(&world).await, 1);
}

#[tokio::test]
async fn a_procedure_is_told_the_roles_that_the_configuration_gives_its_caller() {
    let folder = Folder::new();
    folder.manifest("ask", "callers = [\"operator:*\", \"agent:web-1\"]", ECHO);
    let world = folder.world().await;
    let said = decoded(world.operator.ask("site.ask", &json!({})).await);
    assert_eq!(said.get("roles"), None, "nothing is configured: {said}");

    let file = world.directory().join("manager.toml");
    let text = fs::read_to_string(&file).unwrap();
    write(&file, &format!("{text}\n[access.roles]\ndeploy = [\"ada\", \"web-*\"]\non-call = [\"a*\"]\n"));
    world.manager.signal(Signal::HUP);
    world.manager.logged(&["operators have other roles"]).await;
    let said = decoded(world.operator.ask("site.ask", &json!({})).await);
    assert_eq!(said["roles"], json!(["deploy", "on-call"]), "{said}");
    let bea = world.operator("bea").await;
    assert_eq!(decoded(bea.ask("site.ask", &json!({})).await)["roles"], json!([]));
    // agents have none, and nobody can give himself some
    let mut web = world.line("web-1").await;
    let claims = |request| Request { roles: Some(vec!["deploy".to_owned()]), ..request };
    web.say_request("r-1", "site.ask", claims).await;
    let said: Value = decoded(web.answered().await.result);
    assert_eq!((&said["operator"], &said["roles"]), (&json!("agent:web-1"), &json!([])), "{said}");
}

#[tokio::test]
async fn a_folder_of_the_managers_procedures_is_checked_without_a_daemon() {
    let folder = Folder::new();
    let check = async || {
        let mut checking = redpoll_tests::process::command("redpoll-manager");
        let output = checking.args(["procedures", "check"]).arg(folder.at("d")).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    folder.manifest("good", "callers = [\"operator:*\"]\n[args]\ntype = \"object\"", ECHO);
    assert_eq!(check().await, (Some(0), "site.good@1\n".to_owned(), String::new()));
    folder.manifest("nobodys", "[args]\nrequird = []", ECHO);
    folder.manifest("told", "callback = true\nredact = [\"pin\"]\noutput = \"text\"", "true");
    let (code, good, bad) = check().await;
    assert_eq!((code, good.lines().count(), bad.lines().count()), (Some(0), 3, 3), "{good}{bad}");
    for word in
        ["nobodys.toml: callers: warning: nobody may call it", "did you mean required?", "redact: warning:"]
    {
        assert!(bad.contains(word), "{word}: {bad}");
    }
    // on an agent these are mistakes, and here the others are
    folder.manifest("asks", "callers = [\"operator:*\"]\n[manager]\nsubmit = true", ECHO);
    folder.manifest("recurs", "schedule = { every = \"1m\" }", ECHO);
    folder.manifest("user", "callers = [\"everybody\"]\nuser = \"no-such-account\"", ECHO);
    let gone = "name = \"site.gone\"\ncommand = [\"./gone\"]\ncallers = [\"operator:*\"]\nuser = \"no-such-account\"\n";
    write(&folder.at("d/gone.toml"), gone);
    let (code, good, bad) = check().await;
    assert_eq!((code, good.lines().count()), (Some(64), 3), "{good}{bad}");
    for word in [
        "asks.toml:5: manager: procedures of the manager ask nothing of it: no certificate says who",
        "recurs.toml:4: schedule:",
        "everybody",
        "gone.toml:2: command:",
        "d/gone\" was not found; install it",
        "gone.toml:4: user: there is no user",
    ] {
        assert!(bad.contains(word), "{word}: {bad}");
    }
    fs::remove_dir_all(folder.at("d")).unwrap();
    assert_eq!(check().await.0, Some(64));
}

/// As whom the procedures run, where an agent's rule would have to say so too.
fn users() -> &'static str {
    if rustix::process::geteuid().is_root() { "users = [\"root\"]" } else { "" }
}

#[tokio::test]
async fn rules_judge_what_callers_let_in_by_arguments_callers_roles_and_rate_and_no_callback() {
    let folder = Folder::new();
    folder.manifest("ask", "callers = [\"agent:web-*\", \"operator:*\"]", ECHO);
    folder.manifest("free", "callers = [\"operator:*\"]", ECHO);
    folder.manifest("told", "callback = true", "cat >> told; echo '{\"result\":null}'");
    let users = users();
    let rules = format!(
        r#"
[[rule]]
name = "nothing large"
deny = ["site.ask"]
args.n = {{ min = 10 }}

[[rule]]
name = "web machines may ask, now and then"
allow = ["site.ask"]
operators = ["agent:web-*"]
rate = "2/1h"
{users}

[[rule]]
name = "whoever deploys"
allow = ["site.free"]
roles = ["deploy"]
{users}
"#
    );
    let file = folder.at("policy.toml");
    write(&file, &rules);
    let mut world = World::quiet(&[
        &format!("procedures.dir={}", folder.at("d").display()),
        &format!("procedures.policy={}", file.display()),
        "access.roles={ deploy = [\"ada\"] }",
    ])
    .await;
    world.agent(HONEST, &[]).await;
    let mut web = world.line("web-1").await;
    let refused = |said: Result<Value, Fault>, words: &[&str]| {
        let fault = said.unwrap_err();
        assert_eq!(fault.code, FaultCode::Rejected, "{fault}");
        let whose = fault.message.contains("manager's policy");
        assert!(whose && words.iter().all(|word| fault.message.contains(word)), "{fault}");
    };
    assert!(asks(&mut web, "r-1", "site.ask", json!({"n": 5})).await.is_ok());
    refused(asks(&mut web, "r-2", "site.ask", json!({"n": 50})).await, &["nothing large", "denies"]);
    assert!(asks(&mut web, "r-3", "site.ask", json!({})).await.is_ok());
    refused(asks(&mut web, "r-4", "site.ask", json!({})).await, &["now and then", "rate"]);
    // the manifest lets operators in, and the rule is for machines
    let ada = &world.operator;
    let as_json = |answer: Result<Raw, Fault>| answer.map(|raw| raw.decode::<Value>().unwrap());
    refused(as_json(ada.ask("site.ask", &json!({})).await), &["now and then", "operators"]);
    assert!(ada.ask("site.free", &json!({})).await.is_ok());
    let bob = world.operator("bob").await;
    refused(as_json(bob.ask("site.free", &json!({})).await), &["whoever deploys", "roles"]);
    // who is not let in is not judged
    let unlisted = asks(&mut web, "r-5", "site.free", json!({})).await.unwrap_err();
    assert_eq!(unlisted.code, FaultCode::Forbidden, "{unlisted}");

    // a mistake leaves the rules as they are; a reload of the same ones fills no rate
    write(&file, "[[rule]]\nname = \"x\"\nallow = [\"*\"]\nfoo = 1\n");
    world.manager.signal(Signal::HUP);
    world.manager.logged(&["the old policy goes on to hold"]).await;
    refused(asks(&mut web, "r-6", "site.ask", json!({})).await, &["rate"]);
    write(&file, &format!("[[rule]]\nname = \"closed\"\ndeny = [\"site.*\"]\n{rules}"));
    world.manager.signal(Signal::HUP);
    eventually("the new rules hold", async || {
        let said = ada.ask("site.free", &json!({})).await.err()?;
        said.message.contains("closed").then_some(())
    })
    .await;
    // the manager's own doing is not judged
    let done = job(&world, "site.told").await.unwrap();
    assert_eq!(told(&world, &done).await["state"], "delivered");
}
