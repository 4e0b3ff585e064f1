//! The Redpoll command line: asks a manager, and the agents behind it, as an operator.
//!
//! One run is one question: [`cli`] says what may be typed, [`settings`] adds the configuration, [`link`] connects,
//! [`commands`] ask, [`output`] prints, [`exit`] is how it ends. [`report`] gives every failure the same three lines, and
//! [`sanitize`] keeps what other machines say from reaching the terminal as anything but text.
//!
//! Verbs that last outlive a session: [`steady`] makes another one, [`feed`] goes on with a stream, [`follow`] knows what of a
//! job was told and prints the rest. [`interrupt`] and [`prompt`] are for whoever sits there.
//!
//! [`copy`] has the copies of `rpctl cp`.
//!
//! [`complete`] answers shells, [`schema_help`] explains procedures.
//! The verbs `certs`, `completions` and `man` need no manager. What travels is in `redpoll-common`, how in `redpoll-net`.
//! Start reading at [`run`].

pub mod arguments;
pub mod certs;
pub mod cli;
mod closed;
mod columns;
pub mod commands;
pub mod complete;
pub mod completions;
pub mod copy;
pub mod exit;
pub mod feed;
pub mod follow;
pub mod interrupt;
pub mod link;
pub mod man;
pub mod output;
pub mod prompt;
pub mod report;
pub mod sanitize;
mod schema_example;
pub mod schema_help;
mod schema_types;
pub mod selector;
pub mod settings;
pub mod steady;
pub mod stream;
pub mod times;
pub mod usage;
pub mod value;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use clap::error::ErrorKind;

use cli::{Cli, DescribeArgs, Verb};
use exit::Exit;
use man::ManError;
use output::{Output, OutputError};
use report::Report;
use settings::{Settings, Terminals, color_word, early_look};
use usage::NotRun;

/// Why a run ends before its end.
#[derive(Debug)]
pub enum Stop {
    /// Something failed; people are told.
    Failed(Box<Report>),
    /// Something could not be printed.
    Output(OutputError),
}

/// How a run ends.
pub type Ended = Result<Exit, Stop>;

impl From<Report> for Stop {
    fn from(report: Report) -> Self {
        Self::Failed(Box::new(report))
    }
}

impl From<OutputError> for Stop {
    fn from(error: OutputError) -> Self {
        Self::Output(error)
    }
}

/// Runs rpctl with these words, the first of which is the program's name.
pub fn run(words: Vec<OsString>) -> ExitCode {
    if let [_, verb, rest @ ..] = words.as_slice()
        && verb == "__complete"
    {
        let rest: Vec<String> = rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let _unread = std::io::Write::write_all(&mut std::io::stdout(), complete::run(&rest).as_bytes());
        return ExitCode::SUCCESS;
    }
    let terminals = Terminals::of_process();
    let color = color_word(&words);
    let mut output = Output::standard(early_look(None, color, terminals));
    let ended = match Cli::try_parse_from(&words) {
        Ok(cli) => {
            output.set_look(early_look(cli.global.output, color, terminals));
            dispatch(&cli, terminals, &mut output)
        }
        Err(error) if let Some(cli) = describe(&error, &words) => {
            output.set_look(early_look(cli.global.output, color, terminals));
            dispatch(&cli, terminals, &mut output)
        }
        Err(error) => match usage::read(&error, output.look().color_out) {
            NotRun::Text(text) => output.bytes(text.as_bytes()).map(|()| Exit::Good).map_err(Stop::from),
            NotRun::Wrong(report) => Err(report.into()),
        },
    };
    finish(ended, &mut output)
}

/// What `--help` asks for that stands behind an agent and a procedure: not how to call, but what.
fn describe(error: &clap::Error, words: &[OsString]) -> Option<Cli> {
    if error.kind() != ErrorKind::DisplayHelp {
        return None;
    }
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let without = words.iter().take(end).filter(|word| *word != "--help" && *word != "-h");
    let mut cli = Cli::try_parse_from(without).ok()?;
    let (selector, procedure, verb) = match cli.verb? {
        Verb::Call(call) => (call.agent, call.procedure, "call"),
        Verb::Run(run) => (run.selector, run.procedure, "run"),
        Verb::Describe(_)
        | Verb::Cp(_)
        | Verb::Jobs(_)
        | Verb::Queues(_)
        | Verb::Events(_)
        | Verb::Notify(_)
        | Verb::Agents(_)
        | Verb::Operators(_)
        | Verb::Status
        | Verb::Certs(_)
        | Verb::Completions { .. }
        | Verb::Man { .. } => return None,
    };
    cli.verb = Some(Verb::Describe(DescribeArgs { selector, procedure, verb }));
    Some(cli)
}

fn dispatch(cli: &Cli, terminals: Terminals, output: &mut Output) -> Ended {
    // These two must work whatever the configuration is like.
    if !cli.global.check_config {
        match &cli.verb {
            Some(Verb::Completions { shell }) => {
                completions::print(*shell, output)?;
                return Ok(Exit::Good);
            }
            Some(Verb::Man { verb, dir: None }) => return man_ended(man::print(verb, output)),
            Some(Verb::Man { dir: Some(dir), .. }) => return man_ended(man::write(dir).map(|_| ())),
            Some(
                Verb::Call(_)
                | Verb::Describe(_)
                | Verb::Run(_)
                | Verb::Jobs(_)
                | Verb::Queues(_)
                | Verb::Events(_)
                | Verb::Notify(_)
                | Verb::Agents(_)
                | Verb::Operators(_)
                | Verb::Cp(_)
                | Verb::Status
                | Verb::Certs(_),
            )
            | None => {}
        }
    }
    let settings = Settings::load(&cli.global, terminals)?;
    output.set_look(settings.look);
    if cli.global.check_config {
        return settings.print(output);
    }
    match &cli.verb {
        Some(Verb::Certs(command)) => certs::run(command, output, SystemTime::now()),
        Some(verb) => commands::run(verb, &settings, output),
        None => Err(Report::usage(
            "there is nothing to do",
            "usage: rpctl [OPTIONS] call|run|jobs|queues|events|notify|agents|operators|cp|status|certs|completions|man …",
            "see rpctl --help",
        )
        .into()),
    }
}

fn man_ended(printed: Result<(), ManError>) -> Ended {
    match printed {
        Ok(()) => Ok(Exit::Good),
        Err(ManError::Output(error)) => Err(error.into()),
        Err(error @ ManError::UnknownVerb { .. }) => {
            Err(Report::of_error(Exit::Usage, &error, "see rpctl --help for the verbs").into())
        }
        Err(error @ ManError::Write { .. }) => {
            Err(Report::of_error(Exit::Usage, &error, "name another directory with --dir DIR").into())
        }
    }
}

fn finish(ended: Ended, output: &mut Output) -> ExitCode {
    let exit = match ended {
        Ok(exit) => exit,
        // Whoever read our output has what it wanted; where more was to come, that was said.
        Err(Stop::Output(OutputError::Closed)) => Exit::Good,
        Err(Stop::Output(error @ OutputError::Failed(_))) => {
            let report = Report::of_error(Exit::Internal, &error, closed::help());
            output.report(&report);
            report.exit
        }
        Err(Stop::Failed(report)) => {
            output.report(&report);
            report.exit
        }
    };
    exit.into()
}
