//! `redpoll-agent procedures check DIR` as a person sees it.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Lets everything run, as whoever.
const OPEN: &str = "[[rule]]\nname = \"all\"\nallow = [\"*\"]\nusers = [\"root\", \"nobody\", \"OWN\"]\n";

fn check(folder: &Path) -> Output {
    check_by(folder, OPEN)
}

/// Checks a folder by this policy.
fn check_by(folder: &Path, policy: &str) -> Output {
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("policy.toml");
    write(&file, &policy.replace("OWN", &redpoll_agent::gate::Own::of_process().name));
    let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-agent"));
    command.args(["procedures", "check", "--policy"]).arg(&file).arg(folder).output().unwrap()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_folder_is_checked_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("good.toml"), "name = \"a.b\"\ncommand = [\"true\"]\n");
    let good = check(folder.path());
    assert_eq!(
        (good.status.code(), good.stdout.as_slice(), good.stderr.as_slice()),
        (Some(0), &b"a.b@1\n"[..], &b""[..])
    );

    write(&folder.path().join("bad.toml"), "name = \"x\"\ncomand = [\"true\"]\nversion = 0\n");
    let bad = check(folder.path());
    let told = String::from_utf8(bad.stderr).unwrap();
    assert_eq!((bad.status.code(), bad.stdout.as_slice()), (Some(64), &b"a.b@1\n"[..]));
    assert!(told.contains("bad.toml:2: comand: there is no such field; did you mean command?"), "{told}");
    assert!(told.contains("bad.toml:3: version:"), "{told}");

    assert_eq!(check(&folder.path().join("none")).status.code(), Some(64));
}

#[test]
fn without_a_folder_that_of_the_configuration_is_checked_and_a_file_is_no_folder() {
    let site = tempfile::tempdir().unwrap();
    let (folder, config, policy) =
        (site.path().join("d"), site.path().join("agent.toml"), site.path().join("policy.toml"));
    fs::create_dir(&folder).unwrap();
    write(&folder.join("good.toml"), "name = \"a.b\"\ncommand = [\"true\"]\n");
    write(&policy, &OPEN.replace("OWN", &redpoll_agent::gate::Own::of_process().name));
    let manager = "manager.addresses = [\"m.example:7051\"]\n";
    write(&config, &format!("{manager}procedures.dir = {folder:?}\n"));
    let check = |more: &[&Path]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-agent"));
        command.args(["procedures", "check", "--policy"]).arg(&policy).arg("--config").arg(&config);
        let output = command.args(more).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, good, told) = check(&[]);
    assert_eq!((code, good.as_str()), (Some(0), "a.b@1\n"), "{told}");
    let (code, _, told) = check(&[&folder.join("good.toml")]);
    assert!(code == Some(64) && told.contains("good.toml: it is a file; give the folder"), "{told}");
}

/// What is told of a folder with one manifest, `p.toml`, and the exit code.
fn told(text: &str, prepare: impl FnOnce(&Path)) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("p.toml"), text);
    prepare(folder.path());
    let Output { status, stdout, stderr } = check(folder.path());
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn nothing(_: &Path) {}

#[test]
fn a_program_that_cannot_be_started_is_told_as_is_where_it_was_looked_for() {
    let run = |folder: &Path, mode: u32| {
        fs::write(folder.join("run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(folder.join("run.sh"), Permissions::from_mode(mode)).unwrap();
    };
    let relative = "name = \"a.b\"\ncommand = [\"./run.sh\"]\n";
    assert_eq!(told(relative, |folder| run(folder, 0o700)), (Some(0), "a.b@1\n".into(), String::new()));
    let (code, good, bad) = told(relative, |folder| run(folder, 0o600));
    assert_eq!((code, good.as_str()), (Some(64), ""), "{bad}");
    assert!(bad.contains("p.toml:2: command:") && bad.contains("chmod +x"), "{bad}");
    for (command, words) in [
        ("./run.sh", "run.sh\" was not found; install it"),
        ("/nowhere/at/all", "\"/nowhere/at/all\" was not found; install it"),
        ("no-such-program-anywhere", "looked up in "),
    ] {
        let (code, good, bad) = told(&format!("name = \"a.b\"\ncommand = [\"{command}\"]\n"), nothing);
        assert_eq!((code, good.as_str()), (Some(64), ""), "{bad}");
        assert!(bad.contains("p.toml:2: command:") && bad.contains(words), "{bad}");
    }
    let elsewhere = "name = \"a.b\"\ncommand = [\"true\"]\nenv.PATH = \"/nowhere\"\n";
    let (code, _, bad) = told(elsewhere, nothing);
    assert!(code == Some(64) && bad.contains("looked up in /nowhere;"), "the PATH of the file: {bad}");
}

#[test]
fn a_user_or_a_group_that_is_not_there_is_told() {
    for field in ["user", "group"] {
        let text = format!("name = \"a.b\"\ncommand = [\"true\"]\n{field} = \"no-such-account\"\n");
        let (code, good, bad) = told(&text, nothing);
        assert_eq!((code, good.as_str()), (Some(64), ""), "{bad}");
        let words = format!("p.toml:3: {field}: there is no {field} \"no-such-account\"");
        assert!(bad.contains(&words) && bad.contains("create it"), "{bad}");
    }
    let both = "name = \"a.b\"\ncommand = [\"true\"]\nuser = \"no-such-user\"\ngroup = \"no-such-group\"\n";
    let (code, _, bad) = told(both, nothing);
    assert!(code == Some(64) && bad.lines().count() == 2, "{bad}");
    assert!(bad.contains("p.toml:3: user:") && bad.contains("p.toml:4: group:"), "{bad}");
    let root = "name = \"a.b\"\ncommand = [\"true\"]\nuser = \"root\"\n";
    assert_eq!(told(root, nothing), (Some(0), "a.b@1\n".into(), String::new()));
}

#[test]
fn what_does_less_than_it_seems_to_is_a_warning_and_no_failure() {
    let text = "name = \"a.b\"\ncommand = [\"true\"]\noutput = \"text\"\nredact = [\"pin\"]\n\
                [args]\ntype = \"object\"\nrequird = [\"pin\"]\nx-positional = [\"pin\"]\nproperties.pin.type = \"string\"\n";
    let (code, good, bad) = told(text, nothing);
    assert_eq!((code, good.as_str()), (Some(0), "a.b@1\n"), "{bad}");
    assert!(bad.contains("p.toml:4: redact: warning:") && bad.contains("output = \"json\""), "{bad}");
    assert!(bad.contains("p.toml:7: args.requird: warning:"), "{bad}");
    assert!(bad.contains("did you mean required?"), "{bad}");
    assert_eq!(bad.lines().count(), 2, "{bad}");
}

#[test]
fn what_the_limits_of_the_agent_do_not_let_be_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let said = |limits: &str, manifest: &str| {
        let config = folder.path().join("agent.toml");
        write(&config, &format!("[manager]\naddresses = [\"m.example:7051\"]\n[limits]\n{limits}\n"));
        let procedures = folder.path().join("procedures.d");
        fs::create_dir_all(&procedures).unwrap();
        let manifest = format!("name = \"a.b\"\ncommand = [\"true\"]\n{manifest}\n");
        write(&procedures.join("p.toml"), &manifest);
        let policy = folder.path().join("policy.toml");
        write(&policy, &OPEN.replace("OWN", &redpoll_agent::gate::Own::of_process().name));
        let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-agent"));
        command.args(["procedures", "check", "--config"]).arg(&config).arg("--policy").arg(&policy);
        let output = command.arg(&procedures).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "a warning is no failure: {said}");
        said
    };
    let much = "run_timeout = \"2h\"\ngrace = \"1m\"\nlimits.output = \"32MiB\"";
    let warned = said("", much);
    assert!(
        warned.contains(
            "p.toml:3: run_timeout: warning: it says 2h, and the agent's limits.run_timeout of 1h holds"
        ),
        "{warned}"
    );
    assert!(
        warned.contains("p.toml:4: grace: warning: it says 1m, and the agent's limits.grace of 5s holds"),
        "{warned}"
    );
    assert!(warned.contains("p.toml:5: limits.output: warning: it says 33554432 bytes"), "{warned}");
    assert_eq!(warned.lines().count(), 3, "{warned}");
    let enough = "run_timeout = \"2h\"\ngrace = \"1m\"\noutput = \"32MiB\"";
    assert_eq!(said(enough, much), "", "as much as is let");
    assert_eq!(said("run_timeout = \"0s\"\ngrace = \"1m\"\noutput = \"32MiB\"", much), "", "no limit at all");
    assert_eq!(said("", &format!("{much}\nenabled = false")), "", "nothing of it runs");
}

#[test]
fn what_is_not_enabled_may_name_what_is_not_there() {
    let text = "name = \"a.b\"\ncommand = [\"/nowhere/at/all\"]\nenabled = false\n";
    let (code, good, bad) = told(text, nothing);
    assert_eq!((code, good.as_str()), (Some(0), "a.b@1 (not enabled)\n"), "{bad}");
    assert!(bad.contains("p.toml:2: command: warning:"), "{bad}");
}

#[test]
fn a_table_that_lets_it_ask_for_nothing_is_warned_of_and_a_wrong_one_is_told() {
    let small = "name = \"a.b\"\ncommand = [\"true\"]\n";
    let (code, _, warned) = told(&format!("{small}[manager]\ncalls = []\n"), nothing);
    assert_eq!(code, Some(0), "{warned}");
    assert!(warned.contains("p.toml:3: manager: warning: it allows nothing"), "{warned}");
    let good = told(&format!("{small}[manager]\ncalls = [\"site.*\"]\n"), nothing);
    assert_eq!(good, (Some(0), "a.b@1\n".into(), String::new()));
    let (code, _, wrong) = told(&format!("{small}[manager]\ncalls = [\"rp.jobs.submit\"]\n"), nothing);
    assert_eq!(code, Some(64), "{wrong}");
    assert!(wrong.contains("p.toml:4: manager.calls:") && wrong.contains("submit = true"), "{wrong}");
}

#[test]
fn what_the_policy_refuses_to_everybody_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("p.toml"), "name = \"a.b\"\ncommand = [\"true\"]\n");
    let said = |policy: &str| {
        let output = check_by(folder.path(), policy);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"a.b@1\n"[..]), "{policy}");
        String::from_utf8(output.stderr).unwrap()
    };
    let rule = |text: &str| format!("[[rule]]\nname = \"r\"\n{text}\n");
    assert_eq!(said(OPEN), "");
    let denied = said(&rule("deny = [\"a.*\"]"));
    assert!(denied.contains("p.toml:1: name: warning: nobody may call a.b@1: rule \"r\""), "{denied}");
    let other = said(&rule("allow = [\"a.b\"]\nusers = [\"somebody-else\"]"));
    assert!(other.contains("does not let a.b run as"), "{other}");
    assert_eq!(said(&rule("allow = [\"a.b\"]\noperators = [\"ada\"]\nusers = [\"OWN\"]")), "");
    if rustix::process::geteuid().is_root() {
        let nothing = said("");
        assert!(
            nothing.contains("nobody may call a.b@1: no rule") && nothing.contains("as root"),
            "{nothing}"
        );
    } else {
        assert_eq!(said(""), "");
    }
}

#[test]
fn rules_about_nothing_and_users_that_are_not_there_are_warnings_and_a_broken_policy_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("p.toml"), "name = \"a.b\"\ncommand = [\"true\"]\n");
    let rules = "[[rule]]\nname = \"typo\"\ndeny = [\"a.c\"]\n[[rule]]\nname = \"ghost\"\nallow = [\"sys.*\"]\nrun_as = \"no-such-account\"\n";
    let output = check_by(folder.path(), &format!("{OPEN}{rules}"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("policy.toml: warning: rule \"typo\" names \"a.c\"") && said.contains("did you mean"),
        "{said}"
    );
    assert!(
        said.contains("warning: rule \"ghost\"") && said.contains("so what it allows is refused"),
        "{said}"
    );
    let broken = check_by(folder.path(), "[[rule]]\nname = 5\n");
    assert_eq!(broken.status.code(), Some(64));
    assert!(String::from_utf8(broken.stderr).unwrap().contains("policy.toml"), "it says which file");
}

#[test]
fn a_policy_that_is_named_and_not_there_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("p.toml"), "name = \"a.b\"\ncommand = [\"true\"]\n");
    let file = folder.path().join("polcy.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-agent"));
    let output =
        command.args(["procedures", "check", "--policy"]).arg(&file).arg(folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(64), &b""[..]), "{said}");
    assert!(said.contains("polcy.toml: there is no such policy"), "{said}");
}

#[test]
fn a_limit_that_this_machine_cannot_keep_is_told() {
    let (code, good, bad) = told("name = \"a.b\"\ncommand = [\"true\"]\nlimits.cpu = 50\n", nothing);
    assert_eq!((code, good.as_str()), (Some(0), "a.b@1\n"));
    let is_kept = redpoll_agent::exec::cgroup::is_on_machine("cpu");
    assert_eq!(bad.contains("p.toml:3: limits.cpu: warning: control groups"), !is_kept, "{bad}");
}

#[test]
fn each_path_that_is_none_is_told() {
    let (code, _, bad) =
        told("name = \"a.b\"\ncommand = [\"true\"]\nredact = [\"a..b\", \"c\", \"\"]\n", nothing);
    assert_eq!((code, bad.lines().count()), (Some(64), 2), "{bad}");
    assert!(bad.contains("\"a..b\" is not a path") && bad.contains("\"\" is not a path"), "{bad}");
}
