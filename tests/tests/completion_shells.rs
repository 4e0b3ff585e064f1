//! The completion scripts of zsh and fish in the real shells: they are read without a mistake, and ask the manager. That of bash is in
//! `catalogue.rs`.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use redpoll_tests::eventually;
use redpoll_tests::manifests::{Manifests, needs};
use redpoll_tests::process::program;
use redpoll_tests::world::World;

const AGENT: &str = "vault-1";
const ARGS: &str = "[args]\ntype = \"object\"\nproperties.mode = { enum = [\"quick\", \"broken\"] }\nproperties.site = { type = \"string\" }";

/// A world with a procedure on its agent and one on its manager.
async fn world() -> World {
    let outer = tempfile::tempdir().unwrap();
    let own = Manifests::new(outer.path());
    own.shell("site.notify", "callers = [\"operator:*\"]", "echo '{\"result\":1}'");
    let mut world = World::quiet(&[&own.setting()]).await;
    let manifests = Manifests::new(world.directory());
    manifests.shell("vault.open", ARGS, "echo '{\"result\":1}'");
    manifests.shell("Dog.bark", ARGS, "echo '{\"result\":1}'");
    world.agent(AGENT, &[&manifests.setting()]).await;
    eventually("the manager knows what the agent offers", async || {
        let output = world.run_rpctl(&["agents", "procedures", AGENT, "vault.open"]).await;
        output.status.success().then_some(())
    })
    .await;
    world
}

/// The script for a shell, written where it can be read from, and whether the shell reads it without a mistake.
fn script(world: &World, shell: &str, check: &[&str]) -> PathBuf {
    needs(shell, &format!("install it, for example `apt install {shell}`"));
    let path = world.directory().join(format!("completion.{shell}"));
    let printed = world.rpctl().into_std().args(["completions", shell]).output().unwrap();
    assert!(printed.status.success());
    std::fs::write(&path, printed.stdout).unwrap();
    let read = Command::new(shell).args(check).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&read.stderr).into_owned();
    assert!(read.status.success() && said.is_empty(), "{shell}: {said}");
    path
}

fn run(world: &World, mut command: Command, script: &Path, line: &str) -> Vec<String> {
    let config = world.directory().join("rpctl.toml").display().to_string();
    let path = format!("{}:{}", program("rpctl").parent().unwrap().display(), std::env::var("PATH").unwrap());
    let Output { stdout, stderr, .. } = command
        .env("PATH", path)
        .env("SCRIPT", script)
        .env("LINE", line.replace("CONFIG", &config))
        .env("HOME", world.directory())
        .output()
        .unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(!text.is_empty(), "{line}: {}", String::from_utf8_lossy(&stderr));
    // fish puts a description after a tab
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

/// What is completed in every shell.
fn completes(offered: impl Fn(&str) -> Vec<String>) {
    let call = "rpctl --config CONFIG call ";
    let has = |line: &str, word: &str| {
        let found = offered(&format!("{call}{line}"));
        assert!(found.iter().any(|found| found == word), "{line}: {word:?} is not in {found:?}");
    };
    has("", AGENT);
    has("", "@manager");
    has("va", AGENT);
    has("@m", "@manager");
    has("vault-1 ", "vault.open");
    has("vault-1 ", "sys.echo");
    has("vault-1 Do", "Dog.bark");
    has("vault-1 Dog.bark mo", "mode=");
    has("@manager ", "site.notify");
    has("vault-1 vault.open ", "mode=");
    has("vault-1 vault.open mode=", "mode=quick");
}

#[tokio::test]
async fn zsh_completes_agents_the_manager_procedures_and_arguments() {
    let world = world().await;
    let script = script(&world, "zsh", &["-f", "-n"]);
    // the functions of its line editor, which is not there, say what they are given
    let ask = r#"
        compdef() { : }
        compadd() { while [[ "$1" != -- ]]; do shift; done; shift; print -rl -- "$@" }
        _arguments() { return 1 }
        source "$SCRIPT"
        BUFFER="$LINE"; CURSOR=${#LINE}
        _rpctl_dynamic
    "#;
    completes(|line| {
        let mut command = Command::new("zsh");
        command.args(["-f", "-c", ask]);
        run(&world, command, &script, line)
    });
}

#[test]
fn the_first_tab_of_a_zsh_asks_the_manager_as_all_others_do() {
    needs("zsh", "install it, for example `apt install zsh`");
    let home = tempfile::tempdir().unwrap();
    let printed = Command::new(program("rpctl")).args(["completions", "zsh"]).output().unwrap();
    std::fs::write(home.path().join("_rpctl"), printed.stdout).unwrap();
    // installed as the help says, it is read at the first Tab; `rpctl` answers without a manager
    let ask = r#"
        compdef() { print -r -- "compdef $*"; completer="$1" }
        compadd() { while [[ "$1" != -- ]]; do shift; done; shift; print -rl -- "$@" }
        _arguments() { print static; return 1 }
        rpctl() { print -r -- "$*" }
        fpath=("$HOME" $fpath)
        autoload -Uz _rpctl
        BUFFER="rpctl call "; CURSOR=${#BUFFER}
        _rpctl
        $completer
        rpctl() { : }
        $completer
    "#;
    let output = Command::new("zsh").args(["-f", "-c", ask]).env("HOME", home.path()).output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let asked = "__complete words rpctl call \n";
    // what the manager does not know is completed as the script says
    assert_eq!(said, format!("compdef _rpctl_dynamic rpctl\n{asked}{asked}static\n"), "{wrong}");
}

#[tokio::test]
async fn fish_completes_agents_the_manager_procedures_and_arguments() {
    let world = world().await;
    let script = script(&world, "fish", &["--no-config", "--no-execute"]);
    completes(|line| {
        let mut command = Command::new("fish");
        command.args(["--no-config", "-c", "source $SCRIPT; complete --do-complete=$LINE"]);
        run(&world, command, &script, line)
    });
}
