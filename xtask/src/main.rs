//! Redpoll's own commands: `cargo xtask demo`, `check`, `test`, `bench`, `simulate`, `torture` and `cut`.
//!
//! Plain synchronous Rust with few dependencies, because everybody waits for this program to compile before
//! anything else happens. Start reading at [`Command`]; each command has a file of its own, and each check
//! that `check` makes has one too.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what this program prints is its purpose")]

mod bench;
mod check;
mod cut;
mod demo;
mod graph;
mod licences;
mod manifests;
mod policy;
mod purity;
mod python;
mod report;
mod setup;
mod simulate;
mod sizes;
mod test;
mod torture;
mod workspace;

use std::process::ExitCode;

use crate::workspace::Workspace;

const HELP: &str = "\
Redpoll's own commands.

Usage: cargo xtask <COMMAND>

Commands:
  demo [--keep]           start a manager and three agents as separate processes over mutual TLS, talk
                          to them with rpctl, and clean up. --keep leaves them running and prints how to
                          talk to them and how to stop them
  check [--quick]         what to run before every commit: format, lints, documents, unit tests, purity
                          of the crates without I/O, licences, bans, sizes of files, types and tests of
                          the Python SDK. --quick leaves out what has to be compiled or installed
  test                    everything: check, then all tests with the real programs. Sets up what it needs
                          and can; says exactly what is missing otherwise
  python                  types and tests of the Python SDK and of the sample procedures alone
  bench [NAME] [--quick]  measure: call, idle, storm, agent, jobs, procedures; all without a NAME. Prints
                          tables and writes target/bench/NAME.json
  torture [--kills N] [--seed S]
                          kill the real daemons N times (200), at random moments and at named places, and
                          judge what becomes of the jobs. Prints its seed and how to repeat it
  simulate --seeds N [--from S]
                          the whole system in a simulated world of faults, decided by a seed, N times,
                          beginning with seed S (1). Stops at what does not hold, and prints the line
                          that shows it again
  simulate --seed S       one seed, with everything that happens in it
  cut [--stride N] [--seed S]
                          cut a connection after every Nth byte (1) of a session with three jobs, in both
                          directions, with the real daemons. Which of each N follows from the seed; the
                          seeds 0 to N-1 together are every byte. All of them take a quarter of an hour
  help                    this text

Exit status: 0 when all went well, 1 when something did not, 2 for a wrong command line.
";

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    Help,
    Demo { keep: bool },
    Check { quick: bool },
    Test,
    Python,
    Bench { name: Option<String>, quick: bool },
    Torture(torture::Options),
    Simulate(simulate::Seeds),
    Cut(cut::Options),
}

impl Command {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    /// One line that says which word was not understood.
    fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut words = words.into_iter();
        let Some(verb) = words.next() else { return Err("no command given".to_owned()) };
        let rest: Vec<&str> = words.collect();
        if rest.iter().any(|word| matches!(*word, "-h" | "--help")) {
            return Ok(Self::Help);
        }
        match (verb, rest.as_slice()) {
            ("help" | "-h" | "--help", _) => Ok(Self::Help),
            ("demo", []) => Ok(Self::Demo { keep: false }),
            ("demo", ["--keep"]) => Ok(Self::Demo { keep: true }),
            ("check", []) => Ok(Self::Check { quick: false }),
            ("check", ["--quick"]) => Ok(Self::Check { quick: true }),
            ("test", []) => Ok(Self::Test),
            ("python", []) => Ok(Self::Python),
            ("bench", rest) => Self::parse_bench(rest),
            ("torture", rest) => torture::Options::parse(rest).map(Self::Torture),
            ("simulate", rest) => simulate::Seeds::parse(rest).map(Self::Simulate),
            ("cut", rest) => cut::Options::parse(rest).map(Self::Cut),
            ("demo" | "check" | "test" | "python", rest) => {
                Err(format!("{verb} does not take {:?}", rest.join(" ")))
            }
            (other, _) => Err(format!("there is no command {other:?}")),
        }
    }

    fn parse_bench(words: &[&str]) -> Result<Self, String> {
        let (mut name, mut quick) = (None, false);
        for word in words {
            if *word == "--quick" {
                quick = true;
            } else if name.is_none() && bench::NAMES.contains(word) {
                name = Some((*word).to_owned());
            } else {
                return Err(format!(
                    "bench does not take {word:?}; there are {} and --quick",
                    bench::NAMES.join(", ")
                ));
            }
        }
        Ok(Self::Bench { name, quick })
    }
}

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let command = match Command::parse(words.iter().map(String::as_str)) {
        Ok(command) => command,
        Err(problem) => {
            eprintln!("error: {problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", report::explained(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    if command == Command::Help {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    match command {
        Command::Help => Ok(ExitCode::SUCCESS),
        Command::Demo { keep } => demo::run(&workspace, keep),
        Command::Check { quick } => Ok(check::run(&workspace, quick)),
        Command::Test => Ok(test::run(&workspace)),
        Command::Python => Ok(python::run(&workspace)),
        Command::Bench { name, quick } => bench::run(&workspace, name.as_deref(), quick),
        Command::Torture(options) => torture::run(&workspace, &options),
        Command::Simulate(seeds) => simulate::run(&workspace, seeds),
        Command::Cut(options) => cut::run(&workspace, options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_help_is_understood() {
        let bench = |name: Option<&str>, quick| Command::Bench { name: name.map(str::to_owned), quick };
        let tortured = |kills, seed| Command::Torture(torture::Options { kills, seed });
        for (line, command) in [
            ("help", Command::Help),
            ("demo --help", Command::Help),
            ("demo", Command::Demo { keep: false }),
            ("demo --keep", Command::Demo { keep: true }),
            ("check", Command::Check { quick: false }),
            ("check --quick", Command::Check { quick: true }),
            ("test", Command::Test),
            ("python", Command::Python),
            ("bench", bench(None, false)),
            ("bench --quick", bench(None, true)),
            ("bench idle", bench(Some("idle"), false)),
            ("bench --quick storm", bench(Some("storm"), true)),
            ("bench jobs", bench(Some("jobs"), false)),
            ("torture", tortured(200, None)),
            ("torture --kills 5000", tortured(5000, None)),
            ("torture --seed 7 --kills 1", tortured(1, Some(7))),
            ("simulate --seed 9", Command::Simulate(simulate::Seeds::One(9))),
            ("cut --stride 8 --seed 3", Command::Cut(cut::Options { stride: 8, seed: Some(3) })),
            ("simulate --seeds 5", Command::Simulate(simulate::Seeds::Many { count: 5, from: 1 })),
        ] {
            assert_eq!(Command::parse(line.split(' ')), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, word) in [
            ("dmeo", "dmeo"),
            ("demo keep", "keep"),
            ("bench calls", "calls"),
            ("bench call idle", "idle"),
            ("torture --kills", "--kills"),
            ("torture --kills many", "many"),
            ("torture --kills 0", "--kills 0"),
            ("torture --seed -1", "-1"),
            ("torture 5", "5"),
            ("cut 5", "5"),
        ] {
            let problem = Command::parse(line.split(' ')).unwrap_err();
            assert!(problem.contains(word), "{line}: {problem}");
        }
        assert!(Command::parse([]).is_err());
    }
}
