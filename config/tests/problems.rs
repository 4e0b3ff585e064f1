//! Everything wrong is reported, at once, with where it stands and what would be right.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use redpoll_config::{
    AgentConfig, Config, ConfigError, ExitClass, MAX_FILE_LEN, ManagerConfig, Override, RpctlConfig, Sources,
    load,
};

/// Loads text as a file called FILE, and gives each problem as a line.
fn problems<C: Config>(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    problems_of::<C>(text, Sources { environment, ..Sources::default() })
}

fn problems_of<C: Config>(text: &str, sources: Sources) -> Vec<String> {
    match load_text::<C>(text, sources) {
        Err(ConfigError::Problems { problems }) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("another error: {error}"),
        Ok(()) => Vec::new(),
    }
    .into_iter()
    .map(|line: String| match line.split_once("/redpoll.toml") {
        Some((_, rest)) => format!("FILE{rest}"),
        None => line,
    })
    .collect()
}

fn load_text<C: Config>(text: &str, mut sources: Sources) -> Result<(), ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redpoll.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    sources.file = Some(path);
    load::<C>(&sources).map(|_| ())
}

#[test]
fn every_unknown_key_is_reported_with_its_line_and_the_nearest_right_name() {
    let text = "[sesion]\na = 1\n\n[session]\ndead_afer = \"40s\"\n\n[log]\nping_interval = \"1s\"\nfrobnicate = 1\n";
    let found = problems::<ManagerConfig>(
        text,
        &[("REDPOLL_MANAGER_TLS_CERT", "x"), ("REDPOLL_MANAGER_ZZZZZZZ", "")],
    );
    assert_eq!(
        found,
        [
            "FILE:9: log.frobnicate: unknown key",
            "FILE:8: log.ping_interval: unknown key; did you mean session.ping_interval?",
            "FILE:1: sesion: unknown key; did you mean session?",
            "FILE:5: session.dead_afer: unknown key; did you mean session.dead_after?",
            "environment REDPOLL_MANAGER_TLS_CERT: tls_cert: unknown variable; did you mean REDPOLL_MANAGER_TLS__CERT?",
            "environment REDPOLL_MANAGER_ZZZZZZZ: zzzzzzz: unknown variable",
        ]
    );
}

#[test]
fn every_bad_value_is_reported_with_what_was_found_and_what_is_accepted() {
    let text = "[session]\nping_interval = 15\nin_flight = \"many\"\nframe_limit = -1\n[log]\nformat = 1\nlevel = 3\n\
                [listen]\nbacklog = 99999999999\naddress = [\"127.0.0.1:1\", \"localhost\"]\n[tls]\ncert = {}\n";
    let found = problems::<ManagerConfig>(text, &[("REDPOLL_MANAGER_SESSION__WINDOW", "1 apple")]);
    let expected = [
        ("FILE:10: listen.address: ", "expected an IP address with a port, such as \"0.0.0.0:7051\""),
        (
            "FILE:9: listen.backlog: ",
            "found unsigned int `99999999999`, expected a whole number that fits in 32 bits",
        ),
        ("FILE:6: log.format: ", "expected"),
        ("FILE:7: log.level: ", "expected"),
        ("FILE:2: session.ping_interval: ", "expected a duration with units, such as \"30s\""),
        ("FILE:3: session.in_flight: ", "found string \"many\", expected a whole number"),
        ("FILE:4: session.frame_limit: ", "found signed int `-1`, expected a size such as \"64KiB\""),
        ("environment REDPOLL_MANAGER_SESSION__WINDOW: session.window: ", "\"1 apple\", expected a size"),
        ("FILE:12: tls.cert: ", "expected"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (start, part) in expected {
        assert!(
            found.iter().any(|line| line.starts_with(start) && line.contains(part)),
            "{part} in {found:#?}"
        );
    }
}

#[test]
fn values_that_make_no_sense_together_are_reported_with_their_origin() {
    let text = "[session]\nping_interval = \"30s\"\nframe_limit = \"17MiB\"\nqueue_limit = \"64KiB\"\n";
    let found = problems::<AgentConfig>(text, &[("REDPOLL_AGENT_MANAGER__BACKOFF_INITIAL", "10m")]);
    assert_eq!(
        found,
        [
            "default: manager.addresses: name at least one manager, such as \"manager.example:7051\"",
            "default: manager.backoff_max: it is shorter than manager.backoff_initial",
            "default: session.dead_after: a lost ping would close the session; make it at least twice ping_interval: 1m",
            "FILE:3: session.frame_limit: 17MiB is outside 16KiB to 16MiB",
            "FILE:4: session.queue_limit: the longest frame would not fit; make it at least frame_limit",
        ]
    );
}

#[test]
fn unknown_keys_bad_values_and_senseless_values_come_in_one_report() {
    let text = "[session]\nfoo = 1\nin_flight = 0\nwindow = \"soon\"\n";
    let overrides = vec![Override::flag("--drain", "manager.drain_timeout", "2h")];
    let found = problems_of::<ManagerConfig>(text, Sources { overrides, ..Sources::default() });
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found.iter().any(|line| line == "flag --drain: manager.drain_timeout: 2h is outside 0s to 1h"));
    let error = load_text::<ManagerConfig>(text, Sources::default()).unwrap_err();
    assert!(error.to_string().starts_with("the configuration has 3 problems:\n  "), "{error}");
    assert_eq!(error.exit_class().code(), 64);
}

#[test]
fn a_section_with_a_plain_value_is_refused() {
    let found = problems::<ManagerConfig>("session = 1\n", &[]);
    assert_eq!(
        found,
        ["FILE:1: session: this is a section; set its keys, as in session.NAME or below [session]"]
    );
}

#[test]
fn a_syntax_error_names_line_and_column_and_does_not_quote_the_line() {
    let error =
        load_text::<AgentConfig>("[manager]\ncredentials = \"hunter2\n", Sources::default()).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { line: 2, .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    assert_eq!(error.exit_class(), ExitClass::Configuration);
}

#[test]
fn a_wrong_secret_is_not_quoted() {
    let found = problems::<AgentConfig>("[manager]\naddresses = \"m\"\ncredentials = 1234567\n", &[]);
    assert_eq!(found.len(), 1);
    assert!(found.iter().all(|line| !line.contains("1234567") && line.starts_with("FILE:3: ")), "{found:?}");
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_quoted() {
    let overrides = vec![
        Override::flag("--manager", "manager.addresses", "m"),
        Override::parse_set("manager.credentials=hunter2").unwrap(),
    ];
    let found = problems_of::<AgentConfig>("", Sources { overrides, ..Sources::default() });
    assert_eq!(
        found,
        [
            "flag --set: manager.credentials: a secret on the command line can be seen by every user of this machine; \
          help: use manager.credentials_file or the environment variable REDPOLL_AGENT_MANAGER__CREDENTIALS"
        ]
    );
    let variables =
        [("REDPOLL_AGENT_MANAGER__CREDENTIALS", "hunter2"), ("REDPOLL_AGENT_MANAGER__ADDRESSES", "m")];
    assert_eq!(problems::<AgentConfig>("", &variables), Vec::<String>::new());
}

#[test]
fn what_runs_programs_has_to_be_named_in_full() {
    let config = |builtin: &[&str]| {
        let mut config = AgentConfig::default();
        config.manager.addresses = vec!["m".parse().unwrap()];
        config.procedures.builtin = builtin.iter().map(ToString::to_string).collect();
        config
    };
    let procedures = config(&["sys.*", "file.read"]).procedures;
    assert!(procedures.offers("sys.echo") && procedures.offers("file.read"));
    assert!(
        !procedures.offers("exec.run") && !procedures.offers("file.write") && !procedures.offers("system.x")
    );
    assert!(config(&["exec.run"]).procedures.offers("exec.run"));
    assert!(config(&["sys.*", "exec.run"]).check().is_empty());
    for (bad, part) in [
        ("*", "name it in full"),
        ("exec.*", "name it in full"),
        ("Exec.*", "name it in full"),
        ("ex*", "neither a name nor a family"),
        ("", "neither a name nor a family"),
        ("sys..echo", "neither a name nor a family"),
        ("Sys.echo", "write \"sys.echo\""),
        ("Exec.run", "write \"exec.run\""),
    ] {
        let said = config(&[bad]).check();
        assert!(said.len() == 1 && said[0].what.contains(part), "{bad}: {said:?}");
        assert!(!config(&[bad]).procedures.offers("exec.run"), "{bad}");
    }
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused_and_one_of_nobody_is_not_looked_at() {
    let bytes = || OsString::from_vec(vec![0xff]);
    let environment =
        vec![("RPCTL_LOG__LEVEL".into(), bytes()), ("OTHER".into(), bytes()), ("HOME".into(), "/".into())];
    let found = problems_of::<RpctlConfig>("", Sources { environment, ..Sources::default() });
    assert_eq!(found, ["environment RPCTL_LOG__LEVEL: log.level: the value is not UTF-8"]);
}

#[test]
fn a_tilde_without_a_home_folder_is_refused() {
    let found = problems::<RpctlConfig>("", &[]);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|line| line.contains("HOME is not set")), "{found:?}");
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let text = "#".repeat(usize::try_from(MAX_FILE_LEN).unwrap());
    load_text::<ManagerConfig>(&text, Sources::default()).unwrap();
    let error = load_text::<ManagerConfig>(&format!("{text}#"), Sources::default()).unwrap_err();
    assert!(matches!(error, ConfigError::TooLong { .. }), "{error}");
}

#[test]
fn the_argument_of_set_needs_a_key_and_a_value() {
    assert!(Override::parse_set("a.b=c=d").is_ok());
    assert!(Override::parse_set("a.b").is_err());
    assert!(Override::parse_set("=c").is_err());
}

#[test]
fn a_value_that_cannot_be_read_is_one_problem_and_not_also_a_missing_value() {
    let found = problems::<AgentConfig>("manager = \"::1\"\n", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found.iter().all(|line| line.starts_with("FILE:1: manager.addresses: \"::1\" looks like")),
        "{found:?}"
    );
}
