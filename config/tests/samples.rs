//! The samples are complete, and they say what the defaults are.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use redpoll_common::identity::Role;
use redpoll_config::{
    AgentConfig, Config, ConfigError, Loaded, ManagerConfig, Origin, Override, RpctlConfig, Side, Sources,
    load, load_folder_of,
};

fn text_of(sample: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(sample);
    fs::read_to_string(path).unwrap()
}

fn load_text<C: Config>(text: &str) -> Result<Loaded<C>, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let environment = vec![("HOME".into(), "/home/op".into())];
    load(&Sources { file: Some(path), environment, overrides: Vec::new() })
}

/// A sample with its optional keys switched on: `# key = …` becomes `key = …`.
fn with_optional_keys(text: &str) -> String {
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let switch = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_key(rest) => format!("{rest}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    text.lines().map(switch).collect()
}

/// The sample sets every key, and each to its default, except for `apart_from`.
fn holds_the_defaults<C: Config>(sample: &str, apart_from: &[&str]) {
    let text = text_of(sample);
    let sampled = load_text::<C>(&text).unwrap_or_else(|error| panic!("{sample}: {error}"));
    let first = apart_from.first().map(|key| Override::flag("--set", key, "manager.example"));
    let environment = vec![("HOME".into(), "/home/op".into())];
    let file = Some("/dev/null".into());
    let plain = load::<C>(&Sources { file, environment, overrides: first.into_iter().collect() }).unwrap();
    for (sampled, plain) in sampled.effective.iter().zip(&plain.effective) {
        assert_eq!((&sampled.key, &sampled.value), (&plain.key, &plain.value), "{sample}");
    }
}

/// Every key of the program is in its sample, switched on or behind a `#`, and no other key is.
fn names_every_key<C: Config>(sample: &str, exclusive: &[&str]) {
    let text = with_optional_keys(&text_of(sample));
    let without = |name: &str| -> String {
        text.lines()
            .filter(|line| !line.starts_with(&format!("{name} =")))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let mut seen = Vec::new();
    // Keys that exclude each other are switched on in turn.
    for left_out in if exclusive.is_empty() { &["-"] } else { exclusive } {
        let loaded = load_text::<C>(&without(left_out)).unwrap_or_else(|error| panic!("{sample}: {error}"));
        let in_file = loaded.effective.into_iter().filter(|row| matches!(row.origin, Origin::File { .. }));
        seen.extend(in_file.map(|row| row.key));
    }
    let all = load_text::<C>(&text_of(sample)).unwrap().effective;
    let missing: Vec<_> = all.iter().filter(|row| !seen.contains(&row.key)).map(|row| &row.key).collect();
    assert!(missing.is_empty(), "{sample} lacks {missing:?}");
}

#[test]
fn the_sample_of_the_manager_is_complete_and_holds_the_defaults() {
    holds_the_defaults::<ManagerConfig>("manager.toml", &[]);
    names_every_key::<ManagerConfig>("manager.toml", &[]);
}

#[test]
fn the_sample_of_the_agent_is_complete_and_holds_the_defaults() {
    holds_the_defaults::<AgentConfig>("agent.toml", &["manager.addresses"]);
    names_every_key::<AgentConfig>("agent.toml", &["credentials", "credentials_file"]);
}

#[test]
fn the_sample_of_rpctl_is_complete_and_holds_the_defaults() {
    holds_the_defaults::<RpctlConfig>("rpctl.toml", &[]);
    names_every_key::<RpctlConfig>("rpctl.toml", &[]);
}

#[test]
fn a_sample_does_not_load_as_the_configuration_of_another_program() {
    assert!(load_text::<AgentConfig>(&text_of("manager.toml")).is_err());
    assert!(load_text::<ManagerConfig>(&text_of("agent.toml")).is_err());
}

#[test]
fn the_sample_procedures_of_the_manager_are_offered_to_those_they_name() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/manager-procedures.d");
    // a copy, because a checkout may be writable by a group
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    fs::set_permissions(folder.path().join("bin"), fs::Permissions::from_mode(0o700)).unwrap();
    for part in ["", "bin"] {
        for entry in fs::read_dir(samples.join(part)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                let copy = folder.path().join(part).join(entry.file_name());
                fs::copy(entry.path(), &copy).unwrap();
                fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).unwrap();
            }
        }
    }
    let loaded = load_folder_of(folder.path(), Side::Manager);
    assert_eq!(loaded.problems, []);
    let [announce, told] = loaded.manifests.as_slice() else { panic!("two samples") };
    assert!(announce.callers.admit(Role::Agent, "web-1") && !announce.callers.admit(Role::Agent, "db-1"));
    assert!(told.callback && !announce.callback);
    for manifest in [announce, told] {
        let program = Path::new(&manifest.command[0]);
        assert!(fs::metadata(program).unwrap().permissions().mode() & 0o111 != 0, "{}", program.display());
    }
}
