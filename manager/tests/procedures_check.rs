//! `redpoll-manager procedures check DIR` with the rules about calls of what is in the folder.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        Self(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn manifest(&self, name: &str, fields: &str) {
        let text = format!("name = \"site.{name}\"\ncommand = [\"true\"]\n{fields}\n");
        write(&self.at(&format!("d/{name}.toml")), &text);
    }

    /// The exit code, what is good, and what is told.
    fn check(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-manager"));
        let output = command.args(["procedures", "check"]).arg(self.at("d")).args(more).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

const ANYBODY: &str = "callers = [\"operator:*\"]";

#[test]
fn a_folder_is_checked_together_with_its_rules() {
    let site = Site::new();
    site.manifest("ask", ANYBODY);
    site.manifest("shut", ANYBODY);
    site.manifest("told", "callback = true");
    assert_eq!(
        site.check(&[]),
        (Some(0), "site.ask@1\nsite.shut@1\nsite.told@1\n".to_owned(), String::new())
    );

    let rules = site.at("rules.toml");
    let path = rules.to_str().unwrap();
    let users = redpoll_exec::gate::Own::of_process().name;
    write(
        &rules,
        &format!(
            "[[rule]]\nname = \"shut\"\ndeny = [\"site.shut\"]\n[[rule]]\nname = \"all\"\nallow = [\"site.*\"]\n\
             users = [{users:?}]\n[[rule]]\nname = \"typo\"\nallow = [\"site.aks\"]\n"
        ),
    );
    let (code, good, told) = site.check(&["--policy", path]);
    assert_eq!((code, good.lines().count(), told.lines().count()), (Some(0), 3, 2), "{good}{told}");
    assert!(told.contains("shut.toml:1: name: warning: nobody may call site.shut@1: "), "{told}");
    assert!(
        told.contains("rules.toml: warning: ") && told.contains("site.ask"),
        "the name that was meant: {told}"
    );

    // the same by way of the configuration
    let config = site.at("manager.toml");
    let with = |policy: &str| {
        let text = format!(
            "[tls]\ncert = \"m.crt\"\nkey = \"m.key\"\nca = \"ca.crt\"\n[procedures]\npolicy = {policy:?}\n"
        );
        write(&config, &text);
        site.check(&["--config", config.to_str().unwrap()])
    };
    assert_eq!(with(path), (code, good, told));

    // without rules whoever is among the callers may
    write(&rules, "");
    assert_eq!(site.check(&["--policy", path]).2, "");
}

#[test]
fn rules_that_cannot_be_used_are_a_mistake() {
    let site = Site::new();
    site.manifest("ask", ANYBODY);
    let rules = site.at("rules.toml");
    let path = rules.to_str().unwrap();
    let (code, good, told) = site.check(&["--policy", path]);
    assert_eq!((code, good.as_str()), (Some(64), ""));
    assert!(told.contains("rules.toml: there is no such policy; the folder was not checked"), "{told}");

    write(&rules, "[[rule]]\nname = \"all\"\nalow = [\"*\"]\n");
    let (code, good, told) = site.check(&["--policy", path]);
    assert_eq!((code, good.as_str()), (Some(64), "site.ask@1\n"));
    assert!(told.contains("rule.1.alow: there is no such field; did you mean allow?"), "{told}");

    write(&rules, "");
    fs::set_permissions(&rules, Permissions::from_mode(0o666)).unwrap();
    let (code, _, told) = site.check(&["--policy", path]);
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("chmod"), "{told}");

    let none = site.at("none.toml");
    let (code, good, told) = site.check(&["--config", none.to_str().unwrap()]);
    assert_eq!((code, good.as_str()), (Some(64), ""));
    assert!(told.contains("none.toml"), "{told}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_beside_what_the_defaults_say() {
    let site = Site::new();
    site.manifest("ask", ANYBODY);
    let file = site.at("manager.toml");
    let told = |text: Option<&str>| {
        text.iter().for_each(|text| write(&file, text));
        let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-manager"));
        let command = command.args(["procedures", "check"]).arg(site.at("d"));
        let output = command.env("REDPOLL_MANAGER_CONFIG", &file).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (text, why) in
        [(None, "No such file"), (Some("[procedures]\npolicy = 7\nfoo = 1\n"), "procedures.foo")]
    {
        let (code, said) = told(text);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.starts_with("warning: the configuration cannot be used") && said.contains(why),
            "{said}"
        );
    }
    assert_eq!(told(Some("")), (Some(0), String::new()));
}

#[test]
fn without_a_folder_that_of_the_configuration_is_checked() {
    let site = Site::new();
    site.manifest("ask", ANYBODY);
    let config = site.at("manager.toml");
    write(&config, &format!("procedures.dir = {:?}\n", site.at("d")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-manager"));
    let output = command.args(["procedures", "check", "--config"]).arg(&config).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"site.ask@1\n"[..]), "{told}");
}
