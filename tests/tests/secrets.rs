//! A secret among the arguments of a call, a job, a run that the agent makes by itself, and of what runs on the manager: with real
//! programs, which log all they can. Afterwards it is in no file, and in no log, event or output it ever was.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use redpoll_tests::eventually;
use redpoll_tests::manifests::{Manifests, python_with_sdk};
use redpoll_tests::secret::holders;
use redpoll_tests::world::World;
use serde_json::Value;
use tempfile::TempDir;

/// What nobody may see.
const SECRET: &str = "hunter2-s3cr3t";
const AGENT: &str = "vault-1";

/// Careless with what it was given: as a value, as progress, as an event, and in its end; and in words, on its standard error as well.
const SCRIPT: &str = r#"#!/bin/sh
read -r call
password=$(printf '%s' "$call" | sed -n 's/.*"password":"\([^"]*\)".*/\1/p')
given=${password:-none}
password=${password:-hunter2-s3cr3t}
echo "log: logged in with $given" >&2
echo "{\"value\": \"it is $given\"}"
echo "{\"progress\": {\"completed\": 0, \"details\": \"trying $given\"}}"
echo "{\"emit\": {\"type\": \"vault.said\", \"data\": \"used $given\"}}"
echo "{\"value\": {\"password\": \"$password\", \"step\": 1}}"
echo "{\"progress\": {\"completed\": 1, \"total\": 2, \"details\": {\"password\": \"$password\"}}}"
echo "{\"emit\": {\"type\": \"vault.seen\", \"data\": {\"password\": \"$password\", \"door\": 7}}}"
case "$call" in
*broken*) echo "{\"exception\": {\"class\": \"Broken\", \"message\": \"bad password '$given'\", \"trace\": \"at $given\", \"args\": [\"$given\"], \"data\": {\"password\": \"$password\"}}}" ;;
*) echo "{\"result\": {\"password\": \"$password\", \"open\": true}}" ;;
esac
"#;

/// Fails with the secret in its words, and dies with it on its standard error.
const PYTHON: &str = r#"
import os
import sys

import redpoll

@redpoll.procedure(name="py.fail", mode="MODE", redact=["password"])
def fail(password: str, how: str) -> None:
    """Fails, or dies."""
    sys.stderr.write(f"logging in with {password}\n")
    sys.stderr.flush()
    yield f"it is {password}"
    if how == "dies":
        os._exit(3)
    raise ValueError(f"bad password {password!r}", password)

if __name__ == "__main__":
    redpoll.serve()
"#;

/// Manifests, which hold the secret themselves, away from the state of the programs.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["agent", "manager"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::set_permissions(folder.path().join(name), mode(0o700)).unwrap();
        }
        std::fs::write(folder.path().join("vault.sh"), SCRIPT).unwrap();
        std::fs::set_permissions(folder.path().join("vault.sh"), mode(0o755)).unwrap();
        Self(folder)
    }

    fn manifest(&self, side: &str, name: &str, fields: &str) {
        let file = self.0.path().join(side).join(format!("{name}.toml"));
        let script = self.0.path().join("vault.sh");
        let text = format!(
            "name = \"{name}\"\ncommand = [\"{}\"]\nredact = [\"password\"]\n{fields}\n",
            script.display()
        );
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, mode(0o600)).unwrap();
    }

    fn dir(&self, side: &str) -> String {
        format!("procedures.dir={}", self.0.path().join(side).display())
    }
}

fn mode(mode: u32) -> std::fs::Permissions {
    std::fs::Permissions::from_mode(mode)
}

async fn until_nowhere(world: &World) {
    eventually("the secret is in no file", async || {
        holders(world.directory(), SECRET).is_empty().then_some(())
    })
    .await;
}

/// Runs rpctl; neither of its streams may show the secret.
async fn rpctl(world: &World, words: &[&str]) -> (Option<i32>, String) {
    let output = world.run_rpctl(words).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!out.contains(SECRET) && !err.contains(SECRET), "{words:?} shows the secret:\n{out}{err}");
    (output.status.code(), out + &err)
}

/// Everything that is said about a job, in one text.
async fn told(world: &World, job: &str) -> String {
    let mut all = String::new();
    for verb in ["show", "result", "read", "follow"] {
        all += &rpctl(world, &["-o", "json", "jobs", verb, job]).await.1;
    }
    all
}

async fn events(world: &World, kind: &str) -> String {
    rpctl(world, &["-o", "json", "events", "--type", kind]).await.1
}

/// Nothing was ever logged: logs are never masked afterwards.
fn assert_not_logged(world: &World) {
    for log in ["manager.log", "agent-vault-1.log"] {
        let text = std::fs::read_to_string(world.directory().join(log)).unwrap();
        assert!(text.contains("DEBUG") && !text.contains(SECRET), "{log}");
    }
}

/// All that the programs have to say; what they are built from says too much.
const LOUD: &str = "log.level=trace,rustls=warn,h2=warn,mio=warn";

async fn vault(folder: &Folder) -> World {
    let manager = folder.dir("manager");
    let callbacks = ["jobs.callbacks.first=10ms", "jobs.callbacks.tries=2"];
    World::quiet(&[&manager, LOUD, "agents.emit=vault.*", callbacks[0], callbacks[1]]).await
}

async fn listed(world: &World, procedure: &str) {
    eventually("the manager knows what the agent offers", async || {
        let (code, _) = rpctl(world, &["agents", "procedures", AGENT, procedure]).await;
        (code == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_secret_of_a_call_a_job_or_an_event_is_nowhere_afterwards() {
    let folder = Folder::new();
    folder.manifest("agent", "vault.open", "");
    let mut world = vault(&folder).await;
    world.agent(AGENT, &[&folder.dir("agent"), LOUD, "procedures.builtin=exec.run"]).await;
    listed(&world, "vault.open").await;
    let password = format!("password={SECRET}");
    let (code, said) = rpctl(&world, &["call", AGENT, "vault.open", &password]).await;
    assert!(code == Some(0) && said.contains("***"), "{said}");
    let (code, said) =
        rpctl(&world, &["-o", "json", "run", AGENT, "vault.open", &password, "mode=broken"]).await;
    assert!(code == Some(1) && said.contains("***") && said.contains("Broken"), "{said}");
    let seen = eventually("the events are in the history", async || {
        let seen = events(&world, "custom.*").await;
        (seen.matches("vault.seen").count() >= 2).then_some(seen)
    })
    .await;
    assert!(seen.contains("***") && seen.contains('7'), "{seen}");

    // of what is built in: the variables and the input of a program
    let env = format!("PIN={SECRET}");
    let words =
        ["run", "--detach", "--hold", AGENT, "exec.run", "--env", &env, "--", "sh", "-c", "test -n $PIN"];
    let (code, job) = rpctl(&world, &words).await;
    assert_eq!(code, Some(0), "{job}");
    let job = job.lines().next().unwrap_or_default();
    assert!(
        !holders(&world.directory().join("manager-state"), SECRET).is_empty(),
        "a held job has its arguments"
    );
    let shown = told_show(&world, job).await;
    assert!(shown.contains("***"), "{shown}");
    assert_eq!(rpctl(&world, &["jobs", "release", job]).await.0, Some(0));
    assert_eq!(rpctl(&world, &["jobs", "follow", job]).await.0, Some(0));
    assert!(told(&world, job).await.contains("***"));
    until_nowhere(&world).await;
    assert_not_logged(&world);
}

async fn told_show(world: &World, job: &str) -> String {
    rpctl(world, &["-o", "json", "jobs", "show", job]).await.1
}

#[tokio::test]
async fn what_was_not_known_to_be_secret_at_the_submit_is_masked_at_the_end_all_the_same() {
    let folder = Folder::new();
    folder.manifest("agent", "vault.open", "");
    let mut world = vault(&folder).await;
    let settings = [folder.dir("agent"), LOUD.to_owned()];
    let settings = [settings[0].as_str(), &settings[1]];
    world.agent(AGENT, &settings).await;
    listed(&world, "vault.open").await;
    drop(world.take_agent(AGENT));
    // a manager that has started anew knows its agents, and no list of theirs
    world.restart_manager().await;
    let password = format!("password={SECRET}");
    let mut jobs = Vec::new();
    for held in ["--hold", "--detach"] {
        let (code, said) = rpctl(&world, &["run", held, AGENT, "vault.open", &password]).await;
        assert_eq!(code, Some(0), "{said}");
        jobs.push(said.lines().next().unwrap_or_default().to_owned());
    }
    let shown = world.run_rpctl(&["-o", "json", "jobs", "show", &jobs[0]]).await.stdout;
    assert!(String::from_utf8(shown).unwrap().contains(SECRET), "nobody can know yet what is secret");
    world.restart_agent(AGENT, &settings).await;
    listed(&world, "vault.open").await;
    // one never reaches the agent, the other runs at once
    assert_eq!(rpctl(&world, &["jobs", "cancel", &jobs[0]]).await.0, Some(0));
    let said = rpctl(&world, &["jobs", "follow", &jobs[1]]).await;
    assert_eq!(said.0, Some(0), "{}", said.1);
    until_nowhere(&world).await;
    assert_not_logged(&world);
}

#[tokio::test]
async fn a_secret_of_a_recurring_run_is_in_no_file_at_any_time() {
    let folder = Folder::new();
    let schedule = format!(
        "[schedule]\nevery = \"365d\"\nat_start = true\nkwargs = {{ password = \"{SECRET}\", door = 7 }}\n"
    );
    folder.manifest("agent", "vault.watch", &schedule);
    let mut world = vault(&folder).await;
    world.manager.kill().await;
    world.start_agent(AGENT, &[&folder.dir("agent"), LOUD]);
    let outbox = world.directory().join("agent-vault-1-state/schedule");
    eventually("the run waits to be told", async || {
        let files = std::fs::read_dir(&outbox).into_iter().flatten().flatten();
        let ends = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "end"));
        (ends.count() == 1).then_some(())
    })
    .await;
    assert_eq!(holders(world.directory(), SECRET), Vec::<PathBuf>::new(), "before it is told");
    world.restart_manager().await;
    let job = eventually("it is recorded", async || {
        let (_, list) = rpctl(&world, &["-o", "json", "jobs", "list"]).await;
        let list: Value = serde_json::from_str(&list).ok()?;
        Some(list.get(0)?.get("job")?.as_str()?.to_owned())
    })
    .await;
    assert_eq!(holders(world.directory(), SECRET), Vec::<PathBuf>::new(), "once it is told");
    let said = told(&world, &job).await;
    assert!(said.contains("***") && said.contains("door"), "{said}");
    assert_not_logged(&world);
}

#[tokio::test]
async fn a_secret_of_a_procedure_on_the_manager_is_nowhere_also_when_it_is_a_callback() {
    let folder = Folder::new();
    folder.manifest("agent", "vault.open", "");
    folder.manifest("manager", "site.open", "callers = [\"operator:*\"]");
    folder.manifest("manager", "site.told", "callback = true");
    let mut world = vault(&folder).await;
    world.agent(AGENT, &[&folder.dir("agent"), LOUD]).await;
    listed(&world, "vault.open").await;
    let password = format!("password={SECRET}");
    let (code, said) = rpctl(&world, &["call", "@manager", "site.open", &password]).await;
    assert!(code == Some(0) && said.contains("***"), "{said}");
    let (code, said) =
        rpctl(&world, &["-o", "json", "call", "@manager", "site.open", &password, "mode=broken"]).await;
    assert!(code == Some(1) && said.contains("***") && said.contains("Broken"), "{said}");
    let (code, said) = rpctl(&world, &["-o", "json", "agents", "procedures", "@manager"]).await;
    assert!(code == Some(0) && said.contains("\"redact\""), "the list says what is secret: {said}");

    // told of the end of a job with a secret, it has one of its own
    for (mode, wanted) in [("quick", "callback.delivered"), ("broken", "callback.abandoned")] {
        let mode = format!("mode={mode}");
        let info = format!("{{\"word\": \"{mode}\"}}");
        let words =
            ["run", AGENT, "vault.open", &password, &mode, "--callback", "site.told", "--info", &info];
        let (_, said) = rpctl(&world, &words).await;
        eventually("it is told", async || {
            let all = events(&world, "callback.*").await;
            all.contains(wanted).then_some(())
        })
        .await;
        assert!(!said.is_empty());
    }
    until_nowhere(&world).await;
    assert_not_logged(&world);
}

#[tokio::test]
async fn what_a_python_procedure_says_of_its_failure_tells_no_secret() {
    for mode in ["once", "worker"] {
        let mut world = World::quiet(&[LOUD]).await;
        let manifests = Manifests::new(world.directory());
        let python = python_with_sdk(world.directory());
        let file = world.directory().join("fail.py");
        std::fs::write(&file, PYTHON.replace("MODE", mode)).unwrap();
        let mut writing = std::process::Command::new(&python);
        writing.args(["-m", "redpoll", "manifest"]).arg(&file);
        writing.arg("--write").arg(manifests.path()).arg("--python").arg(&python);
        let written = writing.output().unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        world.agent(AGENT, &[&manifests.setting(), LOUD]).await;
        listed(&world, "py.fail").await;
        let password = format!("password={SECRET}");
        for (how, wanted) in [("how=raises", "bad password '***'"), ("how=dies", "logging in with ***")] {
            let (code, said) = rpctl(&world, &["-v", "call", AGENT, "py.fail", &password, how]).await;
            assert!(code == Some(1) && said.contains("it is ***") && said.contains(wanted), "{mode}: {said}");
            let (code, said) = rpctl(&world, &["-o", "json", "run", AGENT, "py.fail", &password, how]).await;
            assert!(code == Some(1) && said.contains(wanted), "{mode}: {said}");
        }
        until_nowhere(&world).await;
        assert_not_logged(&world);
    }
}
