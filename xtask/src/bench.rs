//! `cargo xtask bench`: builds the release programs and runs the measurements, which print tables and write JSON.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::workspace::{Workspace, run as run_command};

/// What can be measured, in the order in which it is.
pub(crate) const NAMES: [&str; 6] = ["call", "idle", "storm", "agent", "jobs", "procedures"];

/// Measures `name`, or everything.
///
/// The program is started once for each name: `redpoll-bench NAME [--quick] --out FILE`, and writes its figures
/// into FILE as one JSON object. It finds the other programs beside itself.
///
/// # Errors
/// When something does not build, a measurement fails, or leaves no figures.
pub(crate) fn run(workspace: &Workspace, name: Option<&str>, quick: bool) -> anyhow::Result<ExitCode> {
    // one by one: built together they would get each other's features, and not be the programs that ship
    let own = ["--package=redpoll-tests", "--bin=redpoll-bench", "--bin=redpoll-bench-agent"];
    for programs in [
        &own[..],
        &["--package=redpoll-manager", "--bins"],
        &["--package=redpoll-agent", "--bins"],
        &["--package=rpctl", "--bins"],
    ] {
        run_command(workspace.cargo(&[&["build", "--release"], programs].concat()))?;
    }
    let target = workspace.target()?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in NAMES.iter().filter(|known| name.is_none_or(|name| name == **known)) {
        let figures = folder.join(format!("{name}.json"));
        if figures.exists() {
            std::fs::remove_file(&figures).with_context(|| format!("cannot remove {}", figures.display()))?;
        }
        let mut program = workspace.command(target.join("release/redpoll-bench"));
        program.arg(name).args(quick.then_some("--quick")).arg("--out").arg(&figures);
        run_command(program)?;
        let text =
            std::fs::read(&figures).with_context(|| format!("{name} left no {}", figures.display()))?;
        if serde_json::from_slice::<serde_json::Value>(&text).is_err() {
            bail!("{} is not JSON", figures.display());
        }
        println!("   figures: {}", figures.display());
    }
    Ok(ExitCode::SUCCESS)
}
