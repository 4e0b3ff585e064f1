//! What the tests of the binary share.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// rpctl in an environment that holds nothing of this machine's configuration.
pub(crate) fn rpctl(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpctl"));
    command.args(words).env_clear().env("HOME", home).current_dir(home).stdin(Stdio::null());
    command
}

pub(crate) fn run(home: &Path, words: &[&str]) -> Output {
    rpctl(home, words).output().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Asserts the three lines and gives them without their labels.
pub(crate) fn three_lines(output: &Output) -> [String; 3] {
    let text = err(output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    let line = |n: usize, label: &str| {
        let rest = lines[n].strip_prefix(label);
        rest.unwrap_or_else(|| panic!("line {n} of {text:?} does not begin with {label:?}")).to_owned()
    };
    [line(0, "error: "), line(1, "why: "), line(2, "help: ")]
}

pub(crate) fn certificates(home: &Path) {
    for words in [
        &["certs", "init", "ca", "--cluster", "home"][..],
        &["certs", "issue", "operator", "ada", "--dir", "ca"],
    ] {
        let output = run(home, words);
        assert_eq!(code(&output), 0, "{}", err(&output));
    }
}

/// Variables that make `certificates` the operator's.
pub(crate) fn as_ada(command: &mut Command) -> &mut Command {
    command
        .env("RPCTL_TLS__CERT", "ca/operator-ada.crt")
        .env("RPCTL_TLS__KEY", "ca/operator-ada.key")
        .env("RPCTL_TLS__CA", "ca/ca.crt")
}
