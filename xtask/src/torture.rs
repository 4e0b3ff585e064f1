//! `cargo xtask torture`: builds the daemons with their fail-points, and has them killed over and over.

use std::process::ExitCode;

use crate::workspace::{Workspace, run as run_command};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// How many kills.
    pub(crate) kills: u64,
    /// What is drawn follows from it.
    pub(crate) seed: Option<u64>,
}

/// From so many kills on the daemons are built as they ship, but for the fail-points: it pays.
const MANY: u64 = 1000;
/// Kills, if nobody says how many.
const KILLS: u64 = 200;

impl Options {
    /// Reads what follows `torture` on the command line.
    ///
    /// # Errors
    /// One line that says which word was not understood.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { kills: KILLS, seed: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
                value.parse::<u64>().map_err(|_| format!("{word} needs a number, not {value:?}"))
            };
            match *word {
                "--kills" => options.kills = number()?,
                "--seed" => options.seed = Some(number()?),
                other => {
                    return Err(format!("torture does not take {other:?}; there are --kills and --seed"));
                }
            }
        }
        if options.kills == 0 {
            return Err("--kills 0 proves nothing".to_owned());
        }
        Ok(options)
    }
}

/// Builds and runs `redpoll-torture`, which says what it found and how to repeat it.
///
/// # Errors
/// When something does not build, or was found.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<ExitCode> {
    // built together the daemons get their fail-points, so these must not lie where those that ship lie
    let profile = if options.kills >= MANY { "torture" } else { "dev" };
    run_command(workspace.cargo(&["build", "--workspace", "--bins", "--profile", profile]))?;
    let target = workspace.target()?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let mut program = workspace.command(target.join(folder).join("redpoll-torture"));
    program.arg("--kills").arg(options.kills.to_string()).arg("--keep").arg(target.join("torture-worlds"));
    if let Some(seed) = options.seed {
        program.arg("--seed").arg(seed.to_string());
    }
    run_command(program)?;
    Ok(ExitCode::SUCCESS)
}
