//! `rpctl completions`: completion scripts from the definition of the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output::{Output, OutputError};

/// What the script for zsh does at its end as it is generated: it completes without asking anybody, or says that it can.
const ZSH_END: &[u8] = b"\nif [ \"$funcstack[1]\" = \"_rpctl\" ]; then\n";

/// Prints the script for a shell.
///
/// # Errors
/// [`OutputError`]
pub fn print(shell: Shell, output: &mut Output) -> Result<(), OutputError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rpctl", &mut script);
    if shell == Shell::Zsh {
        without_end(&mut script);
    }
    // what only the manager knows is asked for when it is needed
    script.extend_from_slice(match shell {
        Shell::Bash => include_bytes!("dynamic.bash").as_slice(),
        Shell::Zsh => include_bytes!("dynamic.zsh").as_slice(),
        Shell::Fish => include_bytes!("dynamic.fish").as_slice(),
        Shell::Elvish | Shell::PowerShell | _ => b"",
    });
    output.bytes(&script)
}

/// `dynamic.zsh` has an end of its own.
fn without_end(script: &mut Vec<u8>) {
    let mut places = script.windows(ZSH_END.len());
    if let Some(end) = places.rposition(|place| place == ZSH_END) {
        script.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Look, capture};

    #[test]
    fn the_script_of_zsh_has_one_end() {
        let (mut output, out, _) = capture::output(Look::default());
        print(Shell::Zsh, &mut output).unwrap();
        let text = out.text();
        assert_eq!((text.matches("funcstack").count(), text.matches("\ncompdef ").count()), (1, 1));
        assert!(text.starts_with("#compdef rpctl\n") && text.contains("\n_rpctl() {\n"));
    }
}
