//! Where the workspace is, and running programs in it.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The workspace that this program belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The folder with the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
}

impl Workspace {
    /// Finds the workspace: the parent of this package's folder, as cargo says at run time.
    ///
    /// # Errors
    /// When this program was started by hand in some other folder.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = match package.as_deref().and_then(Path::parent) {
            Some(root) => root.to_owned(),
            None => std::env::current_dir().context("cannot tell the current folder")?,
        };
        if !root.join("deny.toml").is_file() {
            bail!("{} is not Redpoll's workspace\nhelp: start this as `cargo xtask`", root.display());
        }
        Ok(Self { root })
    }

    /// A command in the workspace's root, without input.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// The cargo that runs this program, so that the toolchain is the same.
    pub(crate) fn cargo(&self, words: &[&str]) -> Command {
        let mut command = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(words);
        if !std::io::stderr().is_terminal() {
            // a log does not need a line for every package that is compiled; somebody who waits does
            command.env("CARGO_TERM_QUIET", "true");
        }
        command
    }

    /// Where cargo puts what it builds.
    ///
    /// # Errors
    /// When cargo cannot read the workspace.
    pub(crate) fn target(&self) -> anyhow::Result<PathBuf> {
        let text = output(self.cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
        let metadata: serde_json::Value =
            serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        let target = metadata.get("target_directory").and_then(serde_json::Value::as_str);
        Ok(target.context("cargo metadata names no target folder")?.into())
    }

    /// Runs `cargo` with these words, its output going where ours goes, unbuffered.
    ///
    /// # Errors
    /// When it cannot be started or does not exit with 0.
    pub(crate) fn run_cargo(&self, words: &[&str]) -> anyhow::Result<()> {
        run(self.cargo(words))
    }
}

/// Shows a command, runs it with our output, and expects exit 0.
///
/// # Errors
/// When it cannot be started or ends in another way.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    println!("   $ {}", shown(&command));
    let status = command.status().with_context(|| format!("cannot start {}", shown(&command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(&command));
    }
    Ok(())
}

/// Runs a command quietly and returns what it wrote to stdout.
///
/// # Errors
/// When it cannot be started or fails; then with what it wrote to stderr.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(&command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{} ended with {}\n{}", shown(&command), output.status, stderr.trim_end());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} wrote something else than text", shown(&command)))
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| command.get_program());
    let words = command.get_args().map(|word| word.to_string_lossy());
    std::iter::once(program.to_string_lossy()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_an_error_with_its_stderr() {
        let workspace = Workspace { root: ".".into() };
        let mut command = workspace.command("sh");
        command.args(["-c", "echo sorry >&2; exit 3"]);
        let error = output(command).unwrap_err().to_string();
        assert!(error.contains("sorry") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let workspace = Workspace { root: ".".into() };
        let error = output(workspace.command("no-such-program-here")).unwrap_err().to_string();
        assert!(error.contains("no-such-program-here"), "{error}");
    }
}
