//! Manifests of the manager: real files with real modes.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use redpoll_common::identity::Role;
use redpoll_config::{Side, load_folder, load_folder_of};
use tempfile::TempDir;

const SMALL: &str = "name = \"a.b\"\ncommand = [\"true\"]\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

#[test]
fn only_a_manifest_of_the_manager_says_who_may_call_and_what_is_a_callback() {
    let text = format!("{SMALL}callers = [\"agent:web-*\"]\ncallback = true\n");
    let folder = folder(&[("a.toml", &text)]);
    let loaded = load_folder_of(folder.path(), Side::Manager);
    assert_eq!(loaded.problems, []);
    let manifest = &loaded.manifests[0];
    assert!(manifest.callback && manifest.callers.admit(Role::Agent, "web-1"));
    assert!(!manifest.callers.admit(Role::Operator, "web-1"));
    let loaded = load_folder(folder.path());
    assert_eq!(loaded.manifests, []);
    let said: Vec<String> = loaded
        .problems
        .iter()
        .map(|problem| format!("{}:{}", problem.line.unwrap(), problem.field))
        .collect();
    assert_eq!(said, ["3:callers", "4:callback"]);
    assert!(loaded.problems.iter().all(|problem| problem.what.contains("for procedures of the manager")));
}

#[test]
fn a_manifest_of_the_manager_is_called_by_nobody_unless_it_says_who_and_runs_never_by_itself() {
    let folder = folder(&[
        ("a.toml", SMALL),
        ("b.toml", "name = \"b\"\ncommand = [\"true\"]\ncallers = [\"web-1\"]\n"),
        ("c.toml", "name = \"c\"\ncommand = [\"true\"]\nschedule = { every = \"1h\" }\n"),
        ("d.toml", "name = \"d\"\ncommand = [\"true\"]\nmanager = { submit = true }\n"),
    ]);
    let loaded = load_folder_of(folder.path(), Side::Manager);
    assert_eq!(loaded.manifests.len(), 1);
    let manifest = &loaded.manifests[0];
    assert!(!manifest.callback && Role::ALL.iter().all(|role| !manifest.callers.admit(*role, "web-1")));
    let fields: Vec<&str> = loaded.problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["callers", "schedule", "manager"]);
}
