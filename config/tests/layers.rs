//! Defaults ← file ← environment ← command line, and what each of them accepts.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redpoll_config::{
    AgentConfig, ConfigError, ExitClass, LogFormat, ManagerConfig, Origin, Override, RpctlConfig, Secret,
    Sources, load, report,
};
use tempfile::TempDir;

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redpoll.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    (folder, path)
}

fn sources(path: &Path, variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Sources { file: Some(path.to_owned()), environment, overrides: Vec::new() }
}

#[test]
fn later_sources_win_and_each_value_knows_its_origin() {
    let (_folder, path) = file("[session]\nin_flight = 1\nwindow = \"32KiB\"\ndead_after = \"41s\"\n");
    let variables =
        [("REDPOLL_MANAGER_SESSION__IN_FLIGHT", "2"), ("REDPOLL_MANAGER_SESSION__WINDOW", "64KiB")];
    let mut sources = sources(&path, &variables);
    sources.overrides = vec![Override::parse_set("session.in_flight=3").unwrap()];
    let loaded = load::<ManagerConfig>(&sources).unwrap();
    assert_eq!(loaded.config.session.in_flight, 3);
    assert_eq!(loaded.config.session.window, 64 * 1024);
    assert_eq!(loaded.config.session.dead_after, Duration::from_secs(41));
    assert_eq!(loaded.config.session.ping_interval, Duration::from_secs(15));
    let origin = |key: &str| loaded.effective.iter().find(|row| row.key == key).unwrap().origin.clone();
    assert_eq!(origin("session.in_flight"), Origin::Flag { flag: "--set".to_owned() });
    let variable = "REDPOLL_MANAGER_SESSION__WINDOW".to_owned();
    assert_eq!(origin("session.window"), Origin::Environment { variable });
    assert_eq!(origin("session.dead_after"), Origin::File { path: path.clone(), line: Some(4) });
    assert_eq!(origin("session.ping_interval"), Origin::Default);
    let text = report(&loaded.effective);
    let line = text.lines().find(|line| line.starts_with("session.dead_after")).unwrap();
    assert!(line.starts_with("session.dead_after = \"41s\" "), "{line}");
    assert!(line.ends_with(&format!("# {}:4", path.display())), "{line}");
}

#[test]
fn text_from_the_environment_is_never_taken_for_a_number() {
    let (_folder, path) = file("");
    let loaded = load::<AgentConfig>(&sources(
        &path,
        &[
            ("REDPOLL_AGENT_AGENT__ID", "0123"),
            ("REDPOLL_AGENT_MANAGER__CREDENTIALS", "007"),
            ("REDPOLL_AGENT_MANAGER__ADDRESSES", "m1.example, [::1]:80,"),
            ("REDPOLL_AGENT_TLS__CA", "1e3"),
            ("REDPOLL_AGENT_LIMITS__CALLS", "7"),
            ("REDPOLL_AGENT_SESSION__FRAME_LIMIT", "65536"),
            ("REDPOLL_AGENT_SESSION__PING_INTERVAL", "0"),
            ("REDPOLL_AGENT_LOG__FORMAT", "json"),
        ],
    ));
    let config = loaded.unwrap().config;
    assert_eq!(config.agent.id.unwrap().as_str(), "0123");
    assert_eq!(config.manager.credentials, Some(Secret::new("007".to_owned())));
    let addresses: Vec<_> = config.manager.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["m1.example:7051", "[::1]:80"]);
    assert_eq!(config.tls.ca, Path::new("1e3"));
    assert_eq!(config.limits.calls, 7);
    assert_eq!(config.session.frame_limit, 65_536);
    assert_eq!(config.session.ping_interval, Duration::ZERO);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn variables_of_kubernetes_and_of_other_programs_are_passed_over() {
    let (_folder, path) = file("");
    let variables = [
        ("REDPOLL_MANAGER_PORT_7051_TCP_ADDR", "10.0.0.1"),
        ("REDPOLL_MANAGER_SERVICE_HOST", "10.0.0.1"),
        ("REDPOLL_MANAGER_SERVICE_PORT", "7051"),
        ("REDPOLL_MANAGER_PORT", "tcp://10.0.0.1:7051"),
        ("REDPOLL_AGENT_TLS__NONSENSE", "x"),
        ("PATH", "/bin"),
    ];
    load::<ManagerConfig>(&sources(&path, &variables)).unwrap();
}

#[test]
fn a_plain_value_for_a_section_means_its_address() {
    let (_folder, path) = file("listen = \"127.0.0.1:0\"\n");
    let config = load::<ManagerConfig>(&sources(&path, &[])).unwrap().config;
    assert_eq!(config.listen.address, ["127.0.0.1:0".parse().unwrap()]);
    let (_folder, path) = file("manager = [\"m1\", \"m2\"]\n");
    assert_eq!(load::<AgentConfig>(&sources(&path, &[])).unwrap().config.manager.addresses.len(), 2);
    let variables = [("RPCTL_MANAGER", "m3"), ("HOME", "/home/op")];
    let config = load::<RpctlConfig>(&sources(Path::new("/dev/null"), &variables)).unwrap().config;
    assert_eq!(config.manager.address, ["m3:7051".parse().unwrap()]);
}

#[test]
fn a_named_file_has_to_exist_and_a_default_one_does_not() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("missing.toml");
    let error = load::<RpctlConfig>(&sources(&missing, &[("HOME", "/home/op")])).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { path, .. } if *path == missing), "{error}");
    assert_eq!(error.exit_class(), ExitClass::Configuration);

    let environment = vec![("HOME".into(), home.path().into())];
    let unnamed = Sources { environment, ..Sources::default() };
    assert_eq!(load::<RpctlConfig>(&unnamed).unwrap().file, None);
    let folder = home.path().join(".config/redpoll");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("rpctl.toml"), "[call]\ntimeout = \"1m\"\n").unwrap();
    let loaded = load::<RpctlConfig>(&unnamed).unwrap();
    assert_eq!(loaded.config.call.timeout, Duration::from_secs(60));
    assert_eq!(loaded.file, Some(folder.join("rpctl.toml")));
}

#[test]
fn a_variable_can_name_the_file() {
    let (_folder, path) = file("[log]\nlevel = \"debug\"\n");
    let environment = vec![("REDPOLL_MANAGER_CONFIG".into(), path.clone().into())];
    let loaded = load::<ManagerConfig>(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(loaded.config.log.level, "debug");
    assert_eq!(loaded.file, Some(path));
}

#[test]
fn a_file_of_that_name_in_a_parent_folder_is_not_found() {
    let (folder, path) = file("");
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    let name = path.file_name().unwrap();
    let error = load::<ManagerConfig>(&sources(&below.join(name), &[])).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
}

#[test]
fn paths_of_a_file_are_beside_that_file_and_a_tilde_is_the_home_folder() {
    let (folder, path) = file("[tls]\ncert = \"agent.crt\"\nkey = \"~/agent.key\"\nca = \"/ca.crt\"\n");
    let variables =
        [("HOME", "/home/op"), ("REDPOLL_AGENT_AGENT__STATE_DIR", "state"), ("REDPOLL_AGENT_MANAGER", "m")];
    let config = load::<AgentConfig>(&sources(&path, &variables)).unwrap().config;
    assert_eq!(config.tls.cert, folder.path().join("agent.crt"));
    assert_eq!(config.tls.key, Path::new("/home/op/agent.key"));
    assert_eq!(config.tls.ca, Path::new("/ca.crt"));
    assert_eq!(config.agent.state_dir, Path::new("state"));
}

#[test]
fn secrets_are_masked_in_what_check_config_shows() {
    let (_folder, path) = file("manager = \"m\"\n");
    let variables = [("REDPOLL_AGENT_MANAGER__CREDENTIALS", "hunter2")];
    let loaded = load::<AgentConfig>(&sources(&path, &variables)).unwrap();
    let text = report(&loaded.effective);
    assert!(!text.contains("hunter2") && text.contains("manager.credentials = ***"), "{text}");
    assert!(text.contains("agent.id = (not set)"), "{text}");
    assert!(!format!("{loaded:?} {:?}", sources(&path, &variables)).contains("hunter2"));
}
