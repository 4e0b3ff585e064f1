//! `cargo xtask cut`: cuts a connection after each byte of a session with three jobs, or after each so many.

use std::process::ExitCode;

use crate::workspace::{Workspace, run as run_command};

/// Where to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// Bytes from one cut to the next.
    pub(crate) stride: u64,
    /// Which of the bytes of a stride: this number modulo the stride.
    pub(crate) seed: Option<u64>,
}

impl Options {
    /// Reads what follows `cut` on the command line.
    ///
    /// # Errors
    /// One line that says which word was not understood.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let (mut stride, mut seed) = (None, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let place = match *word {
                "--stride" => &mut stride,
                "--seed" => &mut seed,
                other => return Err(format!("cut does not take {other:?}; there are --stride and --seed")),
            };
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            let number = number.ok_or_else(|| format!("{word} needs a number"))?;
            if place.replace(number).is_some() {
                return Err(format!("{word} is given twice"));
            }
        }
        let stride = stride.unwrap_or(1);
        if stride == 0 {
            return Err("--stride 0 never gets on".to_owned());
        }
        Ok(Self { stride, seed })
    }

    /// What the test reads.
    fn variables(self) -> Vec<(&'static str, String)> {
        let stride = ("REDPOLL_CUT_STRIDE", self.stride.to_string());
        std::iter::once(stride).chain(self.seed.map(|seed| ("REDPOLL_CUT_SEED", seed.to_string()))).collect()
    }
}

/// Builds the daemons and runs the test. A failure is printed with the command that cuts at the same bytes again.
///
/// # Errors
/// When something does not build, or does not hold.
pub(crate) fn run(workspace: &Workspace, options: Options) -> anyhow::Result<ExitCode> {
    run_command(workspace.cargo(&["build", "--workspace", "--bins"]))?;
    // not by nextest, which ends what takes long
    let words = ["test", "--package", "redpoll-tests", "--test", "cut_connections", "--", "--nocapture"];
    let mut test = workspace.cargo(&words);
    test.envs(options.variables());
    run_command(test)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn without_options_every_byte_is_cut() {
        assert_eq!(parse(""), Ok(Options { stride: 1, seed: None }));
        assert_eq!(parse("").unwrap().variables(), [("REDPOLL_CUT_STRIDE", "1".to_owned())]);
    }

    #[test]
    fn stride_and_seed_are_what_the_test_is_told() {
        let options = parse("--seed 3 --stride 8").unwrap();
        assert_eq!(options, Options { stride: 8, seed: Some(3) });
        let told = [("REDPOLL_CUT_STRIDE", "8".to_owned()), ("REDPOLL_CUT_SEED", "3".to_owned())];
        assert_eq!(options.variables(), told);
    }

    #[test]
    fn anything_else_is_named() {
        for (line, what) in [
            ("--strides 7", "--strides"),
            ("--stride", "--stride needs a number"),
            ("--seed many", "--seed needs a number"),
            ("--seed 1 --seed 2", "--seed is given twice"),
            ("--stride 0", "--stride 0"),
        ] {
            let problem = parse(line).unwrap_err();
            assert!(problem.contains(what), "{line}: {problem}");
        }
    }
}
