//! Files with keys or state belong to one user.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use redpoll_config::{
    AgentConfig, ConfigError, ExitClass, ManagerConfig, PermissionError, RpctlConfig, Sources, check_private,
    check_state_dir, load,
};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    chmod(path, mode);
}

#[test]
fn a_key_that_others_can_reach_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("agent.key");
    write(&key, "key", 0o600);
    check_private(&key).unwrap();
    chmod(&key, 0o400);
    check_private(&key).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o644] {
        chmod(&key, mode);
        let error = check_private(&key).unwrap_err();
        assert!(error.to_string().ends_with(&format!("run: chmod 600 {}", key.display())), "{error}");
        assert_eq!(error.exit_class(), ExitClass::Permissions);
    }
    let link = folder.path().join("link.key");
    symlink(&key, &link).unwrap();
    assert!(matches!(check_private(&link), Err(PermissionError::Loose { .. })));
}

#[test]
fn a_key_that_is_not_there_is_a_wrong_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let error = check_private(&folder.path().join("no.key")).unwrap_err();
    assert_eq!(error.exit_class(), ExitClass::Configuration);
    assert!(matches!(check_private(folder.path()), Err(PermissionError::NotAFile { .. })));
}

#[test]
fn a_missing_state_folder_is_made_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("redpoll/agent");
    check_state_dir(&state).unwrap();
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o7777, 0o700);
    check_state_dir(&state).unwrap();
}

#[test]
fn a_loose_state_folder_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o755, 0o750, 0o701] {
        chmod(folder.path(), mode);
        let error = check_state_dir(folder.path()).unwrap_err();
        assert!(error.to_string().contains("run: chmod 700 "), "{error}");
        assert_eq!(error.exit_class().code(), 77);
    }
    let file = folder.path().join("file");
    write(&file, "", 0o600);
    assert!(matches!(check_state_dir(&file), Err(PermissionError::NotAFolder { .. })));
}

#[test]
fn a_state_folder_of_another_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), 0o700);
    let stranger = Some(rustix::fs::Uid::from_raw(54_321));
    // Only root can give a folder away; without that right there is nothing to show.
    if rustix::fs::chown(folder.path(), stranger, None).is_ok() {
        let error = check_state_dir(folder.path()).unwrap_err();
        assert!(matches!(error, PermissionError::ForRoot { owner: 54_321, .. }), "{error}");
    }
}

#[test]
fn a_daemon_refuses_a_configuration_that_others_can_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redpoll.toml");
    let sources = Sources { file: Some(path.clone()), ..Sources::default() };
    write(&path, "", 0o644);
    load::<ManagerConfig>(&sources).unwrap();
    for mode in [0o664, 0o646] {
        chmod(&path, mode);
        let error = load::<ManagerConfig>(&sources).unwrap_err();
        assert!(error.to_string().ends_with(&format!("run: chmod go-w {}", path.display())), "{error}");
        assert_eq!(error.exit_class(), ExitClass::Permissions);
    }
    let environment = vec![("HOME".into(), "/home/op".into())];
    load::<RpctlConfig>(&Sources { environment, ..sources }).unwrap();
}

#[test]
fn a_file_that_holds_a_secret_has_to_be_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.toml");
    let sources = Sources { file: Some(path.clone()), ..Sources::default() };
    write(&path, "[manager]\naddresses = \"m\"\ncredentials = \"hunter2\"\n", 0o644);
    let error = load::<AgentConfig>(&sources).unwrap_err();
    assert!(matches!(error, ConfigError::Permission(PermissionError::Loose { .. })), "{error}");
    let environment = vec![("REDPOLL_AGENT_MANAGER__CREDENTIALS".into(), "another".into())];
    assert!(load::<AgentConfig>(&Sources { environment, ..sources.clone() }).is_err());
    chmod(&path, 0o600);
    let loaded = load::<AgentConfig>(&sources).unwrap();
    assert_eq!(loaded.config.manager.credentials().unwrap().unwrap().expose(), "hunter2");
}

#[test]
fn credentials_are_read_from_their_file_without_the_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    write(&path, " hunter2 \r\n", 0o600);
    let mut config = AgentConfig::default();
    assert!(config.manager.credentials().unwrap().is_none());
    config.manager.credentials_file = Some(path.clone());
    assert_eq!(config.manager.credentials().unwrap().unwrap().expose(), " hunter2 ");
    chmod(&path, 0o640);
    assert!(matches!(config.manager.credentials(), Err(PermissionError::Loose { .. })));
}
