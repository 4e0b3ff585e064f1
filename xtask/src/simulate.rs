//! `cargo xtask simulate`: builds the simulation of the whole system and runs it, for many seeds or for one.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::workspace::{Workspace, run as run_command};

/// So many seeds are worth an optimised build.
const MANY: u64 = 2_000;

/// Which seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seeds {
    /// One, with everything that happens in it.
    One(u64),
    /// `count` of them, the first one being `from`.
    Many {
        /// How many.
        count: u64,
        /// The first.
        from: u64,
    },
}

impl Seeds {
    /// Reads what follows `simulate`.
    ///
    /// # Errors
    /// One line that says what was not understood, or is missing.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let (mut one, mut count, mut from) = (None, None, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let place = match *word {
                "--seed" => &mut one,
                "--seeds" => &mut count,
                "--from" => &mut from,
                other => {
                    return Err(format!(
                        "simulate does not take {other:?}; there are --seeds, --from and --seed"
                    ));
                }
            };
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            let number = number.ok_or_else(|| format!("{word} needs a number"))?;
            if place.replace(number).is_some() {
                return Err(format!("{word} is given twice"));
            }
        }
        match (one, count, from) {
            (Some(seed), None, None) => Ok(Self::One(seed)),
            (None, Some(count), from) => Ok(Self::Many { count, from: from.unwrap_or(1) }),
            (Some(_), _, _) => Err("--seed stands alone".to_owned()),
            (None, None, _) => Err("simulate needs --seeds N, or --seed S".to_owned()),
        }
    }

    fn words(self) -> Vec<String> {
        match self {
            Self::One(seed) => vec!["--seed".to_owned(), seed.to_string()],
            Self::Many { count, from } => {
                vec!["--seeds".to_owned(), count.to_string(), "--from".to_owned(), from.to_string()]
            }
        }
    }

    fn are_many(self) -> bool {
        matches!(self, Self::Many { count, .. } if count >= MANY)
    }
}

/// Simulates. What does not hold is printed with the command that shows it again.
///
/// # Errors
/// When something does not build, or does not hold in one of the seeds.
pub(crate) fn run(workspace: &Workspace, seeds: Seeds) -> anyhow::Result<ExitCode> {
    let mut words = vec!["build", "--package", "redpoll-tests", "--bin", "redpoll-simulate"];
    if seeds.are_many() {
        words.push("--release");
    }
    run_command(workspace.cargo(&words))?;
    let target = workspace.target().context("cannot tell where it was built")?;
    let folder = if seeds.are_many() { "release" } else { "debug" };
    let mut program = workspace.command(target.join(folder).join("redpoll-simulate"));
    program.args(seeds.words());
    run_command(program)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_one_or_many() {
        for (line, seeds) in [
            ("--seed 7", Seeds::One(7)),
            ("--seeds 200", Seeds::Many { count: 200, from: 1 }),
            ("--from 5 --seeds 20000", Seeds::Many { count: 20_000, from: 5 }),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(Seeds::parse(&words), Ok(seeds), "{line}");
            assert_eq!(
                Seeds::parse(&seeds.words().iter().map(String::as_str).collect::<Vec<_>>()),
                Ok(seeds),
                "what the program is given means the same"
            );
        }
    }

    #[test]
    fn anything_else_is_named() {
        for (line, what) in [
            ("--sed 7", "--sed"),
            ("--seed", "--seed needs a number"),
            ("--seeds many", "--seeds needs a number"),
            ("--seeds 1 --seeds 2", "--seeds is given twice"),
            ("--seed 1 --seeds 2", "--seed stands alone"),
            ("--from 3", "needs --seeds"),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let problem = Seeds::parse(&words).unwrap_err();
            assert!(problem.contains(what), "{line}: {problem}");
        }
        assert!(Seeds::parse(&[]).is_err());
    }

    #[test]
    fn many_seeds_are_built_optimised() {
        assert!(!Seeds::One(MANY + 1).are_many());
        assert!(!Seeds::Many { count: MANY - 1, from: 1 }.are_many());
        assert!(Seeds::Many { count: MANY, from: 1 }.are_many());
    }
}
