//! `rpctl completions`: completion scripts from the definition of the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output::{Output, OutputError};

/// Prints the script for a shell.
///
/// # Errors
/// [`OutputError`]
pub fn print(shell: Shell, output: &mut Output) -> Result<(), OutputError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rpctl", &mut script);
    output.bytes(&script)
}
