//! Programs of other users, by a real agent that is root: whose rights they have, and who shares a worker with whom.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use redpoll_tests::manifests::Manifests;
use redpoll_tests::policy::write_policy;
use redpoll_tests::told::Told;
use redpoll_tests::world::World;
use tempfile::TempDir;

const AGENT: &str = "web-1";
/// The numbers of `nobody`, in every Linux.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder in which everybody may write, as `/tmp`.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    folder
}

async fn told(world: &World, words: &[&str]) -> Told {
    Told::of(world, &[&[AGENT], words].concat()).await
}

fn owners(folder: &Path) -> BTreeSet<u32> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().uid()).collect()
}

#[tokio::test]
async fn who_may_run_programs_as_another_user_gets_none_of_roots_rights_by_what_he_says() {
    if !is_root() {
        return; // whose rights could be taken?
    }
    let mut world = World::quiet(&[]).await;
    let rule = "[[rule]]\nname = \"programs\"\nallow = [\"exec.run\"]\nrun_as = \"nobody\"\n";
    write_policy(&world.directory().join("policy.toml"), rule);
    world.agent(AGENT, &[]).await;
    let place = open_folder();
    let (private, open) = (place.path().join("private"), place.path().join("private/open"));
    fs::create_dir_all(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();

    // for these two the loader of each program writes a file, as whoever has it loaded
    let reports = open_folder();
    let report = format!("LD_DEBUG_OUTPUT={}", reports.path().join("report").display());
    let words = ["exec.run", "--env", "LD_DEBUG=files", "--env", &report, "--", "/bin/true"];
    told(&world, &words).await.result();
    let expected = if cfg!(target_env = "gnu") { BTreeSet::from([NOBODY]) } else { BTreeSet::new() };
    assert_eq!(owners(reports.path()), expected);

    let open = open.display().to_string();
    let refused = told(&world, &["exec.run", "--cwd", &open, "--", "touch", "x"]).await;
    assert_eq!((refused.said("code"), refused.said("class")), ("failed", "SpawnError"), "{refused:?}");
    let message = refused.said("message");
    let denied = "cannot be the working directory: Permission denied";
    assert!(message.contains(denied) && message.contains(&open), "{message}");
    assert!(fs::read_dir(&open).unwrap().next().is_none());
    for program in ["there", "nowhere"] {
        fs::write(private.join("there"), "#!/bin/sh\n").unwrap();
        let path = private.join(program).display().to_string();
        let refused = told(&world, &["exec.run", "--", &path]).await;
        let message = refused.said("message");
        assert!(message.contains("may not be executed by the user that it would run as"), "{message}");
    }
}

#[tokio::test]
async fn a_descriptor_that_the_agent_inherited_is_handed_down_to_no_program() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    // the shell has its script by an argument, and lists by itself: it opens nothing
    let list = "for fd in /proc/$$/fd/*; do echo fd ${fd##*/}; done";
    manifests.shell("fds.list", "output = \"text\"", list);
    let secret = world.directory().join("secret");
    fs::write(&secret, "x").unwrap();
    let script = format!("exec 9<{} && exec \"$@\"", secret.display());
    let wrapper = ["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()];
    world.agent_under(&wrapper, AGENT, &[&manifests.setting()]).await;
    let agent = world.agent_process(AGENT).pid();
    let inherited = fs::read_link(format!("/proc/{agent}/fd/9")).unwrap();
    assert_eq!(inherited.file_name(), secret.file_name(), "the agent itself has it");
    let run = world.run_rpctl(&["call", AGENT, "fds.list"]).await;
    let text = String::from_utf8(run.stdout).unwrap();
    // where the shell has opened its own folder for the pattern, that shows, too
    let numbers: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("fd ")).filter(|number| *number != "3").collect();
    assert_eq!(numbers, ["0", "1", "2"], "{text}");
}

/// Two rules for one procedure, which say by an argument as whom it runs.
fn rules() -> String {
    let rule = |user: &str| {
        format!(
            "[[rule]]\nname = \"as {user}\"\nallow = [\"who.*\"]\nargs.as = [\"{user}\"]\nrun_as = \"{user}\"\n"
        )
    };
    rule("nobody") + &rule("daemon")
}

/// The numbers of a user and its groups, as `id` tells them.
fn ids(user: &str) -> String {
    let id = |what: &str| {
        let output = std::process::Command::new("id").args([what, user]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let mut groups: Vec<u32> = id("-G").split(' ').map(|group| group.parse().unwrap()).collect();
    groups.sort_unstable();
    format!("{} {} {groups:?}", id("-u"), id("-g"))
}

const ARGS: &str = "args = { type = \"object\", properties = { as = { type = \"string\" } } }\n";

#[tokio::test]
async fn a_described_procedure_runs_as_the_rule_of_each_call_says_and_so_does_each_of_its_workers() {
    if !is_root() {
        return; // nobody else can start a program as somebody else
    }
    let mut world = World::quiet(&[]).await;
    write_policy(&world.directory().join("policy.toml"), &rules());
    let manifests = Manifests::new(world.directory());
    let who = "import json, os, sys\n\
        def ids(): return '%d %d %s' % (os.getuid(), os.getgid(), sorted(set(os.getgroups()) | {os.getgid()}))\n\
        def say(**line): print(json.dumps(line), flush=True)\n";
    let once = format!("{who}json.loads(sys.stdin.readline())\nsay(result=[ids(), os.getpid()])\n");
    let worker = format!(
        "{who}say(ready=True)\nfor line in sys.stdin:\n    call = json.loads(line)\n    if 'call' in call: say(call=call['call'], result=[ids(), os.getpid()])\n"
    );
    for (name, script, fields) in
        [("who.once", once, ""), ("who.worker", worker, "mode = \"worker\"\nconcurrency = 1\n")]
    {
        let command = format!("command = [\"python3\", \"-c\", '''{script}''']");
        // the file names another user: the rule has the last word
        let text = format!("name = \"{name}\"\n{command}\nuser = \"bin\"\n{fields}{ARGS}");
        manifests.write(name, &text);
    }
    world.agent(AGENT, &[&manifests.setting()]).await;
    let answer = async |procedure: &str, user: &str| {
        let told = told(&world, &[procedure, &format!("as={user}")]).await;
        let result = told.result().clone();
        assert_eq!(result[0], ids(user), "{procedure} as {user}");
        result[1].as_i64().unwrap()
    };
    let mut pids = BTreeSet::new();
    for user in ["nobody", "daemon", "nobody"] {
        assert!(pids.insert(answer("who.once", user).await), "a fresh process each time");
    }
    let first = answer("who.worker", "nobody").await;
    assert_eq!(answer("who.worker", "nobody").await, first, "a worker takes one call after the other");
    let others = answer("who.worker", "daemon").await;
    assert_ne!(others, first);
    // one place is one worker: that of the other user had to go
    redpoll_tests::eventually("the worker of the other user is gone", async || {
        (!Path::new(&format!("/proc/{first}")).exists()).then_some(())
    })
    .await;
    assert_eq!(answer("who.worker", "daemon").await, others);
    assert_ne!(answer("who.worker", "nobody").await, first);
    let refused = told(&world, &["who.worker", "as=root"]).await;
    assert_eq!(refused.said("code"), "rejected", "{refused:?}");
}
