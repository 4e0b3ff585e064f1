//! The completion scripts of bash and fish in the real shells, with a manager that answers.

use std::path::Path;
use std::process::Command;

use super::{ask, asking, world};
use crate::scripted::Scripted;
use crate::support::out;

/// What is offered for a line, in a folder with the file `web.conf`.
fn offered(home: &Path, manager: &Scripted, shell: &str, line: &str) -> Vec<String> {
    let script = home.join(format!("completion.{shell}"));
    std::fs::write(&script, out(&ask(home, manager, &["completions", shell]))).unwrap();
    std::fs::write(home.join("web.conf"), "").unwrap();
    let program = match shell {
        "fish" => "source $SCRIPT; complete --do-complete=$LINE",
        _ => {
            r#"source "$SCRIPT"; COMP_LINE="$LINE"; COMP_POINT=${#LINE}; read -ra COMP_WORDS <<< "$LINE"
            [[ "$LINE" == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _rpctl_dynamic rpctl "${COMP_WORDS[COMP_CWORD]}"; printf '%s\n' "${COMPREPLY[@]}""#
        }
    };
    let rpctl = asking(home, manager, &[]);
    let folder = Path::new(rpctl.get_program()).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(shell);
    if shell == "fish" {
        command.arg("--no-config");
    }
    command.args(["-c", program]).current_dir(home);
    command.envs(rpctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", path).env("SCRIPT", &script).env("LINE", line).env("HOME", home);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn agents_are_offered_where_they_are_meant_and_files_where_these_are() {
    let (home, manager) = world();
    for shell in ["bash", "fish"] {
        // whoever presses Tab waits for half a second; on a busy machine the answer may take longer
        let found = |line: &str| {
            let mut tries = (0..40).map(|_| offered(home.path(), &manager, shell, line));
            tries.find(|found| !found.concat().is_empty()).unwrap_or_default()
        };
        for line in
            ["rpctl jobs list --agent w", "rpctl jobs cancel --agent w", "rpctl call w", "rpctl run w"]
        {
            assert_eq!(found(line), ["web-1"], "{shell}: {line}");
        }
        assert_eq!(found("rpctl run db-1,w"), ["db-1,web-1"], "{shell}");
        assert!(
            !offered(home.path(), &manager, shell, "rpctl run web-1,w")
                .iter()
                .any(|word| word == "web-1,web-1"),
            "{shell}"
        );
        assert_eq!(found("rpctl -o j"), ["json", "jsonl"], "{shell}");
        let both = (0..40).map(|_| found("rpctl cp we")).find(|both| both.len() > 1);
        let mut both = both.unwrap_or_default();
        both.sort();
        assert_eq!(both, ["web-1:", "web.conf"], "{shell}");
    }
}
