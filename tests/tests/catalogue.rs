//! What an agent's manifests say of arguments and secrets, and what the manager and `rpctl` make of it.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use redpoll_tests::eventually;
use redpoll_tests::secret::holders;
use redpoll_tests::world::World;

/// What nobody may see.
const SECRET: &str = "hunter2-s3cr3t";
const AGENT: &str = "vault-1";

/// Opens a vault, and is careless with what it was given.
const SCRIPT: &str = r#"#!/bin/sh
read -r call
# by name or by position
password=$(printf '%s' "$call" | sed -n 's/.*"password":"\([^"]*\)".*/\1/p; s/.*"args":\["\([^"]*\)".*/\1/p' | head -1)
: > "$(dirname "$0")/ran"
echo "{\"value\": {\"password\": \"$password\", \"step\": 1}}"
echo "{\"progress\": {\"completed\": 1, \"total\": 2, \"details\": {\"password\": \"$password\"}}}"
case "$call" in
*'"mode":"broken"'*)
    echo "{\"exception\": {\"class\": \"Broken\", \"message\": \"as asked\", \"data\": {\"password\": \"$password\"}}}" ;;
*)
    echo "{\"result\": {\"password\": \"$password\", \"open\": true}}" ;;
esac
"#;

const MANIFEST: &str = r#"
name = "vault.open"
version = VERSION
description = "Opens a vault."
command = ["SCRIPT"]
redact = ["password"]
EXTRA
[args]
type = "object"
required = ["password"]
additionalProperties = false
x-positional = ["password"]
[args.properties.password]
type = "string"
description = "Of the vault."
[args.properties.mode]
enum = ["quick", "broken"]
default = "quick"
[args.properties.alarm]
type = "boolean"
"#;

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder with the procedure in two versions, the older one deprecated.
fn manifests(world: &World) -> PathBuf {
    let folder = world.directory().join("procedures.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = folder.join("vault.sh");
    write(&script, SCRIPT, 0o755);
    for (version, extra) in [("1", "deprecated = \"use 2\""), ("2", "")] {
        let text = MANIFEST.replace("VERSION", version).replace("EXTRA", extra);
        let text = text.replace("SCRIPT", &script.display().to_string());
        write(&folder.join(format!("vault{version}.toml")), &text, 0o644);
    }
    folder
}

async fn vault() -> World {
    let mut world = World::quiet(&[]).await;
    let folder = manifests(&world);
    let setting = format!("procedures.dir={}", folder.display());
    world.agent(AGENT, &[&setting, "procedures.builtin="]).await;
    eventually("the manager knows what the agent offers", async || {
        let output = world.run_rpctl(&["agents", "procedures", AGENT, "vault.open"]).await;
        (output.status.code() == Some(0)).then_some(())
    })
    .await;
    world
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs rpctl; neither of its streams may show the secret.
async fn rpctl(world: &World, words: &[&str]) -> (Option<i32>, String, String) {
    let output = world.run_rpctl(words).await;
    let (out, err) = texts(&output);
    assert!(!out.contains(SECRET) && !err.contains(SECRET), "{words:?} shows the secret:\n{out}{err}");
    (output.status.code(), out, err)
}

#[tokio::test]
async fn arguments_that_a_schema_refuses_are_refused_by_the_manager_and_nothing_is_stored_or_run() {
    let world = vault().await;
    let (code, out, err) = rpctl(&world, &["call", AGENT, "vault.open", "mode=slow"]).await;
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    assert!(err.contains("vault.open@2: ") && err.contains("password") && err.contains("mode: "), "{err}");
    let (code, _, err) = rpctl(&world, &["call", AGENT, "vault.open@1", "password:=5"]).await;
    assert!(code == Some(3) && err.contains("vault.open@1: password: "), "{err}");
    let (code, _, err) = rpctl(&world, &["run", AGENT, "vault.open", "alarm=yes", "password=x"]).await;
    assert!(code == Some(3) && err.contains("alarm: ") && err.contains(AGENT), "{err}");
    assert!(err.contains("nothing was stored"), "{err}");
    let (_, out, _) = rpctl(&world, &["-o", "json", "jobs", "list"]).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), serde_json::json!([]));
    assert!(!world.directory().join("procedures.d/ran").exists(), "it ran all the same");
}

#[tokio::test]
async fn a_secret_argument_is_nowhere_once_its_run_has_ended() {
    let world = vault().await;
    let password = format!("password={SECRET}");
    let (code, out, err) = rpctl(&world, &["call", AGENT, "vault.open", &password]).await;
    assert!(code == Some(0) && out.contains("***") && out.contains("open"), "{out}{err}");
    let (code, out, err) =
        rpctl(&world, &["-o", "json", "call", AGENT, "vault.open", SECRET, "mode=broken"]).await;
    assert!(code == Some(1) && out.contains("***") && out.contains("Broken"), "{out}{err}");

    // held, the job has its arguments: otherwise this test would look in the wrong places
    let (code, job, err) = rpctl(&world, &["run", "--hold", AGENT, "vault.open", &password]).await;
    assert_eq!(code, Some(0), "{err}");
    let job = job.trim();
    assert!(
        !holders(&world.directory().join("manager-state"), SECRET).is_empty(),
        "a held job has no arguments"
    );
    let (_, out, _) = rpctl(&world, &["-o", "json", "jobs", "show", job]).await;
    assert!(out.contains("***"), "{out}");
    assert_eq!(rpctl(&world, &["jobs", "release", job]).await.0, Some(0));
    assert_eq!(rpctl(&world, &["jobs", "follow", job]).await.0, Some(0));

    let failing = ["run", AGENT, "vault.open@1", SECRET, "mode=broken"];
    assert_eq!(rpctl(&world, &failing).await.0, Some(1));
    for words in [
        &["-o", "json", "jobs", "show", job][..],
        &["-o", "json", "jobs", "list"],
        &["-o", "json", "jobs", "result", job],
        &["-o", "json", "jobs", "follow", job],
        &["-o", "json", "jobs", "read", job],
        &["-o", "json", "agents", "show", AGENT],
        &["-o", "json", "events"],
    ] {
        let (code, out, err) = rpctl(&world, words).await;
        assert!(code == Some(0) && !out.is_empty(), "{words:?}: {out}{err}");
    }
    eventually("the secret is in no file", async || {
        holders(world.directory(), SECRET).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn help_for_a_procedure_is_that_of_its_schema_and_a_deprecated_one_is_warned_of() {
    let world = vault().await;
    for words in
        [&["call", AGENT, "vault.open", "--help"][..], &["run", "id:vault-*", "vault.open", "x=1", "-h"]]
    {
        let (code, out, err) = rpctl(&world, words).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
        for part in [
            "vault.open@2: Opens a vault.",
            "Versions: 1 (deprecated: use 2), 2",
            "password  string, required; Of the vault.",
            "mode      quick|broken, default quick",
            "Shown and stored as ***: password",
            "password=TEXT",
        ] {
            assert!(out.contains(part), "{part:?} is not in\n{out}");
        }
    }
    let (code, _, err) = rpctl(&world, &["call", AGENT, "vault.opne", "--help"]).await;
    assert!(code == Some(3) && err.contains("vault.open"), "{err}");
    let (code, _, err) = rpctl(&world, &["call", AGENT, "vault.open@1", "x"]).await;
    assert!(code == Some(0) && err.contains("vault.open@1 is deprecated: use 2"), "{err}");
    let (_, _, err) = rpctl(&world, &["call", AGENT, "vault.open", "x"]).await;
    assert!(!err.contains("deprecated"), "{err}");

    // disabled by the manager, the older one is meant, and the list says so
    assert_eq!(rpctl(&world, &["agents", "disable", AGENT, "vault.open@2"]).await.0, Some(0));
    eventually("the manager knows the new list", async || {
        let (_, out, _) = rpctl(&world, &["agents", "procedures", AGENT]).await;
        out.contains("(disabled: switched off by the manager").then_some(())
    })
    .await;
    let (code, _, err) = rpctl(&world, &["call", AGENT, "vault.open"]).await;
    assert!(code == Some(3) && err.contains("vault.open@1: "), "{err}");
}

/// What bash offers for a line, by the script that `rpctl completions bash` prints.
fn offered(world: &World, line: &str) -> Vec<String> {
    let script = world.directory().join("completion.bash");
    let printed = world.rpctl().into_std().args(["completions", "bash"]).output();
    std::fs::write(&script, printed.unwrap().stdout).unwrap();
    // as readline does it: words end at = and : as well
    let ask = r#"
        rpctl() { "$RPCTL" "$@"; }
        source "$SCRIPT"
        COMP_LINE="$LINE"; COMP_POINT=${#LINE}
        read -r -a COMP_WORDS <<< "$(printf '%s' "$LINE" | sed 's/\(:\{0,1\}=\)/ \1 /g')"
        [[ "$LINE" == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        complete -p rpctl > /dev/null
        function=$(complete -p rpctl | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" rpctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let program = redpoll_tests::process::program("rpctl");
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", ask])
        .env("RPCTL", program)
        .env("SCRIPT", &script)
        .env("LINE", line.replace("CONFIG", &world.directory().join("rpctl.toml").display().to_string()))
        .env("HOME", world.directory())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_completes_agents_procedures_arguments_and_their_values() {
    let world = vault().await;
    let dog = MANIFEST.replace("vault.open", "Dog.bark").replace("VERSION", "1").replace("EXTRA", "");
    write(&world.directory().join("procedures.d/Dog.bark.toml"), &dog.replace("SCRIPT", "true"), 0o644);
    assert!(world.run_rpctl(&["agents", "reload", AGENT]).await.status.success());
    eventually("the manager knows it, too", async || {
        let output = world.run_rpctl(&["agents", "procedures", AGENT, "Dog.bark"]).await;
        output.status.success().then_some(())
    })
    .await;
    let offered = |line: &str| offered(&world, line);
    assert_eq!(offered("rpctl --config CONFIG call va"), ["vault-1"]);
    assert_eq!(offered("rpctl --config CONFIG call vault-1 vault."), ["vault.open"]);
    assert_eq!(offered("rpctl --config CONFIG call vault-1 Do"), ["Dog.bark"]);
    assert_eq!(offered("rpctl --config CONFIG call vault-1 Dog.bark mo"), ["mode="]);
    // readline begins a word anew at an `@`, and leaves the `@` to it
    assert_eq!(offered("rpctl --config CONFIG call vault-1 vault.open@"), ["@1", "@2"]);
    assert_eq!(offered("rpctl --config CONFIG run vault-1 vault.open "), ["alarm:=", "mode=", "password="]);
    assert_eq!(offered("rpctl --config CONFIG call vault-1 vault.open mode="), ["broken", "quick"]);
    assert_eq!(offered("rpctl --config CONFIG call vault-1 vault.open alarm:=t"), ["true"]);
    // what the manager does not know is completed as before
    assert!(offered("rpctl --config CONFIG comp").contains(&"completions".to_owned()));
}

#[tokio::test]
async fn whoever_cannot_reach_the_manager_is_offered_nothing_and_soon() {
    let world = World::quiet(&[]).await;
    let begun = std::time::Instant::now();
    let output = world.run_rpctl(&["--manager", "127.0.0.1:1", "agents", "list"]).await;
    assert_eq!(output.status.code(), Some(4), "nobody listens there");
    let config = world.directory().join("rpctl.toml").display().to_string();
    let line = format!("rpctl --config {config} --manager 127.0.0.1:1 call ");
    let mut command = world.rpctl();
    let output =
        Command::new(command.as_std().get_program()).args(["__complete", "bash", &line]).output().unwrap();
    command.args(["status"]);
    assert_eq!((output.status.code(), texts(&output)), (Some(0), (String::new(), String::new())));
    if begun.elapsed() > redpoll_tests::PATIENCE {
        panic!("it took {:?}", begun.elapsed());
    }
}
