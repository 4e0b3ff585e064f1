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
    // what only the manager knows is asked for when it is needed
    script.extend_from_slice(match shell {
        Shell::Bash => include_bytes!("dynamic.bash").as_slice(),
        Shell::Zsh => include_bytes!("dynamic.zsh").as_slice(),
        Shell::Fish => include_bytes!("dynamic.fish").as_slice(),
        Shell::Elvish | Shell::PowerShell | _ => b"",
    });
    output.bytes(&script)
}
