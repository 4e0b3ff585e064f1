//! `rpctl man`: manual pages from the definition of the command line.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::Cli;
use crate::output::{Output, OutputError};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ManError {
    /// No such verb.
    #[error("there is no verb {verb:?}")]
    UnknownVerb {
        /// What was asked for.
        verb: String,
    },
    /// A page cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be printed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Prints the page of a verb, of rpctl itself if `verb` is empty.
///
/// # Errors
/// [`ManError`]
pub fn print(verb: &[String], output: &mut Output) -> Result<(), ManError> {
    let mut command = whole();
    for word in verb {
        let unknown = || ManError::UnknownVerb { verb: verb.join(" ") };
        command = command.find_subcommand(word).cloned().ok_or_else(unknown)?;
    }
    output.bytes(&page(command).map_err(OutputError::from)?)?;
    Ok(())
}

/// Writes a page for rpctl and one for every verb into a directory, which is made if need be.
///
/// # Errors
/// [`ManError`]
pub fn write(dir: &Path) -> Result<Vec<PathBuf>, ManError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ManError::Write { path, source }
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    let mut written = Vec::new();
    let mut waiting = vec![whole()];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().cloned());
        let path =
            dir.join(format!("{}.1", command.get_display_name().unwrap_or_else(|| command.get_name())));
        let bytes = page(command).map_err(failed(&path))?;
        std::fs::write(&path, bytes).map_err(failed(&path))?;
        written.push(path);
    }
    written.sort();
    Ok(written)
}

fn whole() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives every verb its full name, rpctl-agents-list, and the options of all.
    command.build();
    command
}

fn page(mut command: Command) -> std::io::Result<Vec<u8>> {
    // the usage line has the two dashes, and what may come several times
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).replace("...", "…");
    let mut bytes = Vec::new();
    // without a date the source would stand in its place; a blank one says that there is none
    let man = Man::new(command.override_usage(usage)).date(" ").manual("Redpoll");
    man.source(concat!("rpctl ", env!("CARGO_PKG_VERSION"))).render(&mut bytes)?;
    Ok(bytes)
}
