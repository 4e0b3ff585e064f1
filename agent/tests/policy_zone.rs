//! `redpoll-agent policy test` on a machine whose time zone cannot be found.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

const TLS: &str = "[tls]\nca = \"/nowhere\"\ncert = \"/nowhere\"\nkey = \"/nowhere\"\n";

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// What is said of `sys.echo` under this rule, and the warnings.
fn tested(rule: &str, zone: &str, more: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (config, policy) = (folder.path().join("agent.toml"), folder.path().join("policy.toml"));
    write(&policy, rule);
    let manager = "manager = \"127.0.0.1\"\n";
    write(&config, &format!("{manager}{TLS}[policy]\nfile = \"{}\"\n", policy.display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll-agent"));
    command.args(["policy", "test", "--config"]).arg(config).args(more).arg("sys.echo").env("TZ", zone);
    let output = command.output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn hours_by_the_local_clock_fit_as_nobody_knows_them_and_that_is_told() {
    let rule = |word: &str, zone: &str| {
        let hours = format!("hours = {{ from = \"00:00\", to = \"00:00\", zone = \"{zone}\" }}\n");
        format!("[[rule]]\nname = \"timed\"\n{word} = [\"sys.echo\"]\n{hours}")
    };
    let (said, warned) = tested(&rule("allow", "local"), "Europe/Nowhere", &[]);
    assert!(said.starts_with("refused") && said.contains("hours"), "{said} {warned}");
    assert!(warned.contains("TZ=Europe/Nowhere") && warned.contains("allows nothing"), "{warned}");
    let (said, warned) = tested(&rule("deny", "local"), "Europe/Nowhere", &[]);
    assert!(said.starts_with("refused"), "{said} {warned}");
    assert!(warned.contains("denies at any time"), "{warned}");
    for (kind, zone) in [("utc", "Europe/Nowhere"), ("local", "UTC"), ("local", "CET-1")] {
        let (said, warned) = tested(&rule("allow", kind), zone, &[]);
        assert!(said.starts_with("allowed") && !warned.contains("hours"), "{said} {warned}");
    }
    let (said, warned) = tested(&rule("allow", "utc"), "Europe/Nowhere", &["--at", "2026-01-31T09:30"]);
    assert!(said.is_empty() && warned.contains("time zone"), "{said} {warned}");
}
