//! `redpoll-agent procedures check DIR` as a person sees it.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn check(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_redpoll-agent"))
        .args(["procedures", "check"])
        .arg(folder)
        .output()
        .unwrap()
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
