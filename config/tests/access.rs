//! The section of roles.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use redpoll_config::{ConfigError, Loaded, ManagerConfig, Sources, load, report};

/// Loads text as a file of the given folder, with variables.
fn load_in(
    folder: &Path,
    text: &str,
    variables: &[(&str, &str)],
) -> Result<Loaded<ManagerConfig>, ConfigError> {
    let path = folder.join("manager.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    load(&Sources { file: Some(path), environment, ..Sources::default() })
}

/// What is wrong with a `[access.roles]` of this text, each problem with where it stands.
fn problems(text: &str) -> Vec<String> {
    let text = format!("[access.roles]\n{text}\n");
    match load_in(tempfile::tempdir().unwrap().path(), &text, &[]) {
        Err(ConfigError::Problems { problems }) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
        Ok(_) => Vec::new(),
    }
}

#[test]
fn roles_come_from_a_section_a_line_or_a_variable_and_are_shown_with_their_origin() {
    let folder = tempfile::tempdir().unwrap();
    let section = "[access.roles]\ndeploy = [\"ann\", \"ci-*\"]\non-call = [\"*\"]\n";
    let line = "[access]\nroles = { deploy = [\"ann\", \"ci-*\"], on-call = [\"*\"] }\n";
    for text in [section, line] {
        let loaded = load_in(folder.path(), text, &[]).unwrap();
        let roles = &loaded.config.access.roles;
        assert_eq!(roles.keys().collect::<Vec<_>>(), ["deploy", "on-call"], "{text}");
        assert_eq!(roles["deploy"], ["ann", "ci-*"]);
        let row = loaded.effective.iter().find(|row| row.key == "access.roles").unwrap();
        assert!(row.value.contains("ci-*"), "{row:?}");
        assert!(row.origin.to_string().contains("manager.toml:"), "{row:?}");
        let shown = report(&loaded.effective);
        assert!(
            shown.lines().any(|line| line.starts_with("access.roles = ") && line.contains("deploy")),
            "{shown}"
        );
    }
    let variable = [("REDPOLL_MANAGER_ACCESS__ROLES", "{ night = [\"bob\"] }")];
    let loaded = load_in(folder.path(), section, &variable).unwrap();
    assert_eq!(loaded.config.access.roles.keys().collect::<Vec<_>>(), ["night"]);
    assert!(load_in(folder.path(), "", &[]).unwrap().config.access.roles.is_empty());
}

#[test]
fn a_role_that_could_be_nobodys_is_refused_with_file_key_and_remedy() {
    let long = "x".repeat(65);
    let long_id = "x".repeat(129);
    for (bad, part) in [
        ("deploy = []", "name operators, such as"),
        ("\"a b\" = [\"ann\"]", "is not a name of 1 to 64"),
        ("\"\" = [\"ann\"]", "is not a name of 1 to 64"),
        (&*format!("{long} = [\"ann\"]"), "is not a name of 1 to 64"),
        ("deploy = [\"\"]", "is no operator; write an id"),
        ("deploy = [\"ann\", \"b b\"]", "is no operator; write an id"),
        ("deploy = [\"agent:web-1\"]", "is no operator; write an id"),
        ("deploy = [\"[ab]*\"]", "is no operator; write an id"),
        (&*format!("deploy = [\"{long_id}\"]"), "is no operator; write an id"),
        ("deploy = [\"ann\", \"ci-*\", \"ann\"]", "\"ann\" is named twice; delete one"),
        ("deploy = \"ann\"", "expected"),
        ("deploy = [1]", "expected"),
    ] {
        let found = problems(bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        let problem = &found[0];
        assert!(problem.contains("manager.toml") && problem.contains("access.roles"), "{problem}");
        assert!(problem.contains(part), "{bad}: {problem}");
    }
    let twice = problems("deploy = [\"ann\"]\ndeploy = [\"bob\"]");
    assert!(twice.len() == 1 && twice[0].contains("duplicate key"), "{twice:?}");
}

#[test]
fn roles_and_their_lists_are_bounded() {
    let roles = |count| (0..count).map(|n| format!("r{n} = [\"ann\"]\n")).collect::<String>();
    assert_eq!(problems(&roles(64)), Vec::<String>::new());
    assert!(problems(&roles(65))[0].contains("65 roles, and at most 64"));
    let list = |count| format!("deploy = [{}]", (0..count).map(|n| format!("\"a{n}\",")).collect::<String>());
    assert_eq!(problems(&list(256)), Vec::<String>::new());
    assert!(problems(&list(257))[0].contains("257 entries, and at most 256"));
}
