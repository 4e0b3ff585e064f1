//! The sections of jobs, callbacks and the store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use redpoll_config::{
    CallbacksConfig, ConfigError, ExitClass, MAX_WEBHOOK_SECRET, ManagerConfig, Sources, WebhookSecretError,
    load,
};

/// Loads text as a file of the given folder, with variables.
fn load_in(
    folder: &Path,
    text: &str,
    variables: &[(&str, &str)],
) -> Result<redpoll_config::Loaded<ManagerConfig>, ConfigError> {
    let path = folder.join("manager.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    load(&Sources { file: Some(path), environment, ..Sources::default() })
}

fn problems(text: &str) -> Vec<String> {
    match load_in(tempfile::tempdir().unwrap().path(), text, &[]) {
        Err(ConfigError::Problems { problems }) => {
            problems.iter().map(|problem| format!("{}: {}", problem.key, problem.what)).collect()
        }
        Err(error) => panic!("another error: {error}"),
        Ok(_) => Vec::new(),
    }
}

#[test]
fn commands_come_from_a_section_a_line_or_a_variable_and_are_shown_with_their_origin() {
    let folder = tempfile::tempdir().unwrap();
    let section = "[jobs.callbacks.procedures]\nnotify = [\"/usr/bin/notify\", \"a b\"]\nother = [\"/x\"]\n";
    let line =
        "[jobs.callbacks]\nprocedures = { notify = [\"/usr/bin/notify\", \"a b\"], other = [\"/x\"] }\n";
    for text in [section, line] {
        let loaded = load_in(folder.path(), text, &[]).unwrap();
        let procedures = &loaded.config.jobs.callbacks.procedures;
        assert_eq!(procedures.len(), 2, "{text}");
        assert_eq!(procedures["notify"], ["/usr/bin/notify", "a b"]);
        let row = loaded.effective.iter().find(|row| row.key == "jobs.callbacks.procedures").unwrap();
        assert!(row.value.contains("/usr/bin/notify"), "{row:?}");
        assert!(row.origin.to_string().contains("manager.toml:"), "{row:?}");
    }
    let variable = [("REDPOLL_MANAGER_JOBS__CALLBACKS__PROCEDURES", "{ y = [\"/y\"] }")];
    let loaded = load_in(folder.path(), section, &variable).unwrap();
    assert_eq!(loaded.config.jobs.callbacks.procedures.keys().collect::<Vec<_>>(), ["y"]);
}

#[test]
fn a_command_without_a_whole_path_or_with_a_bad_name_is_refused() {
    for (bad, part) in [
        ("notify = [\"notify\"]", "whole path"),
        ("notify = []", "whole path"),
        ("\"a b\" = [\"/x\"]", "not a name"),
        ("\"\" = [\"/x\"]", "not a name"),
        ("x = [\"/x\", \"\\u0000\"]", "NUL"),
        ("x = \"/x\"", "expected"),
        ("x = [1]", "expected"),
    ] {
        let found = problems(&format!("[jobs.callbacks.procedures]\n{bad}\n"));
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(found[0].starts_with("jobs.callbacks.procedures: ") && found[0].contains(part), "{found:?}");
    }
}

#[test]
fn values_of_jobs_that_make_no_sense_together_are_refused() {
    let found = problems(
        "[jobs]\nretry_first = \"1h\"\n[jobs.callbacks]\nmax = \"100ms\"\n[store]\nmax_size = \"64MiB\"\n",
    );
    assert_eq!(
        found,
        [
            "jobs.retry_max: it is shorter than jobs.retry_first",
            "jobs.callbacks.max: it is shorter than jobs.callbacks.first",
            "store.max_size: the reserve is a part of it and would be more than half; make it at least twice store.reserve",
        ]
    );
    let found = problems("[jobs.callbacks]\nallow = [\"https://hooks.example\"]\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("expected a host with an optional port"), "{found:?}");
}

#[test]
fn zero_is_never_for_ever_or_no_limit() {
    let config = ManagerConfig::default();
    assert_eq!((config.jobs.unknown_after(), config.store.max_size()), (None, None));
    let folder = tempfile::tempdir().unwrap();
    let text = "[jobs]\nkeep = \"0s\"\nunknown_after = \"1h\"\n[store]\nmax_size = \"1GiB\"\n";
    let config = load_in(folder.path(), text, &[]).unwrap().config;
    assert_eq!((config.jobs.keep(), config.store.max_size()), (None, Some(1 << 30)));
    assert_eq!(config.jobs.unknown_after().map(|wait| wait.as_secs()), Some(3600));
}

#[test]
fn the_store_is_in_the_state_folder_unless_it_is_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let config = load_in(folder.path(), "", &[]).unwrap().config;
    assert_eq!(config.store_folder(), config.manager.state_dir);
    let text = "[store]\npath = \"jobs\"\n[jobs.callbacks]\nsecret_file = \"webhook.key\"\nca = \"ca.crt\"\n";
    let config = load_in(folder.path(), text, &[]).unwrap().config;
    assert_eq!(config.store_folder(), folder.path().join("jobs"));
    assert_eq!(config.jobs.callbacks.secret_file, Some(folder.path().join("webhook.key")));
    assert_eq!(config.jobs.callbacks.ca, Some(folder.path().join("ca.crt")));
}

#[test]
fn webhooks_go_to_any_host_unless_some_are_named() {
    let allowing = |hosts: &[&str]| CallbacksConfig {
        allow: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        ..CallbacksConfig::default()
    };
    assert!(allowing(&[]).allows("anything", 1));
    let some = allowing(&["a.example", "*.b.example:443"]);
    assert!(some.allows("a.example", 8080) && some.allows("x.b.example", 443));
    assert!(!some.allows("x.b.example", 80) && !some.allows("c.example", 443));
}

#[test]
fn the_key_of_webhooks_has_to_be_private_and_long_enough() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhook.key");
    let config = CallbacksConfig { secret_file: Some(path.clone()), ..CallbacksConfig::default() };
    let write = |bytes: &[u8], mode: u32| {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    assert!(CallbacksConfig::default().secret().unwrap().is_none());
    assert_eq!(config.secret().unwrap_err().exit_class(), ExitClass::Configuration);
    write(&[b'k'; 32], 0o600);
    assert_eq!(config.secret().unwrap().unwrap().expose(), &[b'k'; 32]);
    write(&[&[b'k'; 32][..], b"\r\n"].concat(), 0o600);
    assert_eq!(config.secret().unwrap().unwrap().expose(), &[b'k'; 32]);
    write(&[&[b'k'; MAX_WEBHOOK_SECRET][..], b"\r\n"].concat(), 0o600);
    assert_eq!(config.secret().unwrap().unwrap().expose().len(), MAX_WEBHOOK_SECRET);
    for len in [0, 31, MAX_WEBHOOK_SECRET + 1, 2 * MAX_WEBHOOK_SECRET] {
        write(&vec![b'k'; len], 0o600);
        let error = config.secret().unwrap_err();
        assert!(matches!(error, WebhookSecretError::Length { .. }), "{len}: {error}");
        assert_eq!(error.exit_class(), ExitClass::Configuration);
    }
    write(&[b'k'; 32], 0o640);
    assert_eq!(config.secret().unwrap_err().exit_class(), ExitClass::Permissions);
}
