//! Finds the tools that the other commands need, installs what can be installed, and says exactly what is missing.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::report::{Outcome, Report};
use crate::workspace::{Workspace, output};

/// The version that is installed when there is none. Any version will do that understands `.config/nextest.toml`.
const NEXTEST: &str = "0.9.143";

/// What `python3` must at least be: what the Python SDK promises to run on.
const PYTHON: (u32, u32) = (3, 9);

/// What `check` needs. True when the rest is worth trying.
pub(crate) fn for_check(workspace: &Workspace, report: &mut Report) -> bool {
    let mut ready = report.step("set-up: C compiler", c_compiler);
    ready &= report.step("set-up: rustfmt and clippy", || components(workspace));
    ready &= report.step("set-up: cargo-nextest", || nextest(workspace));
    ready
}

/// What `test` needs beyond that.
pub(crate) fn for_test(workspace: &Workspace, report: &mut Report) -> bool {
    for_check(workspace, report)
        & report.step("set-up: python3", || Ok(Outcome::Passed(python(workspace, Path::new("python3"))?)))
        & report.step("set-up: node", || tool("node", "--version", "nodejs").map(Outcome::Passed))
        & report.step("set-up: zsh", || tool("zsh", "--version", "zsh").map(Outcome::Passed))
        & report.step("set-up: fish", || tool("fish", "--version", "fish").map(Outcome::Passed))
        & report.step("set-up: strace", strace)
        & report.step("set-up: small disks", small_disks)
}

/// The cryptography behind TLS is C and assembler, compiled on this machine.
fn c_compiler() -> anyhow::Result<Outcome> {
    let named =
        ["TARGET_CC", "CC"].iter().find_map(std::env::var_os).and_then(|name| name.into_string().ok());
    let candidates =
        named.map_or_else(|| vec!["cc".to_owned(), "gcc".to_owned(), "clang".to_owned()], |cc| vec![cc]);
    for candidate in &candidates {
        // CC may carry arguments: `CC="ccache gcc"`
        let mut words = candidate.split_whitespace();
        let Some(program) = words.next() else { continue };
        let mut command = Command::new(program);
        command.args(words).arg("--version").stdin(Stdio::null());
        if let Ok(version) = output(command) {
            return Ok(Outcome::Passed(version.lines().next().unwrap_or_default().to_owned()));
        }
    }
    bail!(
        "there is no C compiler: tried {}\nhelp: install one, for example `apt install gcc libc6-dev`, \
         `dnf install gcc` or `apk add gcc musl-dev`, or name yours in CC",
        candidates.join(", ")
    )
}

/// rustfmt and clippy belong to the toolchain in `rust-toolchain.toml`; rustup normally brings them along.
fn components(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let missing = |words: &[&str]| output(workspace.cargo(words)).is_err();
    let find = || {
        let mut names = Vec::new();
        names.extend(missing(&["fmt", "--version"]).then_some("rustfmt"));
        names.extend(missing(&["clippy", "--version"]).then_some("clippy"));
        names
    };
    let wanted = find();
    if wanted.is_empty() {
        return Ok(Outcome::passed());
    }
    println!("   {} missing: adding with rustup", wanted.join(" and "));
    let mut rustup = workspace.command("rustup");
    rustup.args(["component", "add"]).args(&wanted);
    let added = crate::workspace::run(rustup);
    let wanting = find();
    if wanting.is_empty() {
        return Ok(Outcome::Passed(format!("added {}", wanted.join(", "))));
    }
    let help = format!(
        "{} missing in the toolchain of rust-toolchain.toml\nhelp: install it with the same package manager that brought \
         Rust, or get Rust from https://rustup.rs and run `rustup component add {}`",
        wanting.join(" and "),
        wanting.join(" ")
    );
    match added {
        Ok(()) => bail!(help),
        Err(error) => Err(error.context(help)),
    }
}

/// The test runner: each test in a process of its own, with a time limit.
fn nextest(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let version = || output(workspace.cargo(&["nextest", "--version"]));
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    if let Ok(text) = version() {
        return Ok(Outcome::Passed(first(text)));
    }
    println!(
        "   cargo-nextest is missing: building it once, into cargo's own folder of programs (a few minutes)"
    );
    let install = ["install", "--locked", "cargo-nextest", "--version", NEXTEST];
    workspace.run_cargo(&install).with_context(|| {
        format!(
            "cargo-nextest cannot be installed\nhelp: see what stopped `cargo {}` above, or get it from \
             https://nexte.st and put it on the PATH",
            install.join(" ")
        )
    })?;
    let text = version().context(
        "cargo-nextest was installed, but cargo does not find it\nhelp: put cargo's folder of programs, normally \
         ~/.cargo/bin, on the PATH",
    )?;
    Ok(Outcome::Passed(format!("installed {}", first(text))))
}

/// The SDK is Python, and a peer written in it takes part in the tests. Says which Python it is.
///
/// # Errors
/// When there is none, or an old one.
pub(crate) fn python(workspace: &Workspace, program: &Path) -> anyhow::Result<String> {
    let help = "help: install it, for example `apt install python3`, `dnf install python3` or `apk add python3`; \
                what the tests need beyond it is installed under target/";
    let mut command = workspace.command(program);
    command.arg("--version");
    let text = output(command).with_context(|| format!("there is no {}\n{help}", program.display()))?;
    let (major, minor) = PYTHON;
    match python_version(&text) {
        Some(version) if version >= PYTHON => Ok(text.trim().to_owned()),
        _ => bail!("it says it is {:?}, but {major}.{minor} or newer is needed\n{help}", text.trim()),
    }
}

/// A program that tests need: a sample is written for node, the scripts of completion for the shells. Says which it is, and installs it
/// where that is as easy as on Debian.
fn tool(program: &str, version: &str, package: &str) -> anyhow::Result<String> {
    let help = format!(
        "help: install it, for example `apt install {package}`, `dnf install {package}` or `apk add {package}`"
    );
    let found = || words(&[program, version]).map(|text| text.lines().next().unwrap_or_default().to_owned());
    if let Ok(text) = found() {
        return Ok(text);
    }
    println!("   {program} is missing: installing it with apt-get");
    let install = || words(&["apt-get", "install", "--yes", package]);
    // a fresh machine knows no packages before it has looked what there is
    let installed = install().or_else(|_unknown| words(&["apt-get", "update"]).and_then(|_| install()));
    installed.with_context(|| help.clone()).with_context(|| format!("there is no {program}"))?;
    Ok(format!("installed {}", found().context(help)?))
}

/// Tests let syncs fail with it, as a broken disk does.
fn strace() -> anyhow::Result<Outcome> {
    let found = tool("strace", "-V", "strace")?;
    words(&["strace", "-qq", "-o", "/dev/null", "true"]).context(
        "strace may not trace\nhelp: allow ptrace, in a container for example with `--cap-add=SYS_PTRACE`, and look at \
         /proc/sys/kernel/yama/ptrace_scope",
    )?;
    Ok(Outcome::Passed(found))
}

/// Tests mount small file systems, which fill quickly.
fn small_disks() -> anyhow::Result<Outcome> {
    let mount = ["--mount", "--", "mount", "-t", "tmpfs", "none", "/mnt"];
    // who is not root is root in a user namespace of its own
    let tries = [&["unshare"][..], &["unshare", "--map-root-user"]];
    let mounted = tries.iter().any(|first| words(&[first, &mount[..]].concat()).is_ok());
    if !mounted {
        bail!(
            "no file system can be mounted: `unshare {}` fails\nhelp: run this as root, in a container with \
             `--cap-add=SYS_ADMIN`, or allow user namespaces; unshare and mount are in the package util-linux",
            mount.join(" ")
        );
    }
    Ok(Outcome::passed())
}

/// The output of a command of this machine.
fn words(words: &[&str]) -> anyhow::Result<String> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    output(command)
}

/// Reads `Python 3.11.7`.
fn python_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("Python ")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_python_are_compared_as_numbers() {
        assert!(python_version("Python 3.11.7\n").unwrap() >= PYTHON);
        assert!(python_version("Python 3.8.18").unwrap() < PYTHON);
        assert!(python_version("Python 4.0").unwrap() >= PYTHON);
        assert_eq!(python_version("Jython 2"), None);
    }
}
