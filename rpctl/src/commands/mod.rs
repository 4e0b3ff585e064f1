//! The verbs that ask a manager.

mod agents;
mod call;
mod notify;
mod status;

use std::io;
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::cli::Verb;
use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::link::Link;
use crate::output::Output;
use crate::report::Report;
use crate::settings::Settings;
use crate::{Ended, Stop};

/// How long the runtime may take to end what it still does, such as looking a name up.
const RUNTIME_END: Duration = Duration::from_millis(100);

/// Runs a verb, to its end before `deadline`.
///
/// # Errors
/// [`Stop`] with a report.
pub fn run(verb: &Verb, settings: &Settings, output: &mut Output, deadline: Instant) -> Ended {
    log(settings)?;
    let failed = |error: io::Error| {
        Report::of_error(Exit::Internal, &error, "is this machine out of descriptors or memory?")
    };
    // One thread drives the session and watches for signals, and this one asks and prints. A reader that does not read
    // stops the printing only: pings are answered, and a paused `rpctl … | less` keeps its call.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
    let interrupts = Interrupts::watch(runtime.handle()).map_err(failed)?;
    let ended = runtime.block_on(ask(verb, settings, output, deadline, interrupts));
    runtime.shutdown_timeout(RUNTIME_END);
    ended
}

async fn ask(
    verb: &Verb,
    settings: &Settings,
    output: &mut Output,
    deadline: Instant,
    mut interrupts: Interrupts,
) -> Ended {
    // Files and arguments first: what is wrong here is told without asking anybody.
    let question = Question::read(verb)?;
    let link = tokio::select! {
        biased;
        () = interrupts.next() => return Err(interrupted("while connecting; nothing was sent").into()),
        link = Link::connect(settings, deadline) => link?,
    };
    let verbose = settings.verbose > 0;
    let ended = match &question {
        Question::Call(call) => call.run(&link, output, &mut interrupts, verbose).await,
        Question::Notify(_) | Question::Agents(_) | Question::Status => tokio::select! {
            biased;
            () = interrupts.next() => Err(interrupted("before the answer came").into()),
            ended = question.run(&link, output, verbose) => ended,
        },
    };
    tokio::select! {
        biased;
        () = interrupts.next() => {}
        () = link.close() => {}
    }
    ended
}

/// A verb with its arguments read and checked.
#[derive(Debug)]
enum Question {
    Call(call::CallQuestion),
    Notify(notify::NotifyQuestion),
    Agents(agents::AgentsQuestion),
    Status,
}

impl Question {
    fn read(verb: &Verb) -> Result<Self, Stop> {
        Ok(match verb {
            Verb::Call(args) => Self::Call(call::CallQuestion::read(args)?),
            Verb::Notify(args) => Self::Notify(notify::NotifyQuestion::read(args)?),
            Verb::Agents(command) => Self::Agents(agents::AgentsQuestion::read(command)?),
            Verb::Status => Self::Status,
            Verb::Certs(_) | Verb::Completions { .. } | Verb::Man { .. } => {
                let why = "it needs no manager and is run elsewhere";
                return Err(Report::new(Exit::Internal, "this verb asks nobody", why, "report this").into());
            }
        })
    }

    async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        match self {
            Self::Notify(question) => question.run(link, verbose).await,
            Self::Agents(question) => question.run(link, output, verbose).await,
            Self::Status => status::run(link, output, verbose).await,
            Self::Call(_) => Ok(Exit::Good),
        }
    }
}

fn interrupted(when: &str) -> Report {
    Report::new(
        Exit::Interrupted,
        "interrupted",
        format!("a signal came {when}"),
        "run it again when you want it",
    )
}

/// Checks a name of an agent that was typed.
fn agent_id(text: &str) -> Result<String, Stop> {
    match redpoll_common::ids::PeerId::parse(text) {
        Ok(id) => Ok(id.to_string()),
        Err(error) => Err(Report::usage(
            format!("{text:?} is not the name of an agent"),
            error.to_string(),
            "see which agents there are: rpctl agents list",
        )
        .into()),
    }
}

/// Logs to standard error, as much as configured.
fn log(settings: &Settings) -> Result<(), Stop> {
    let level = &settings.config.log.level;
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Report::usage(
            format!("{level:?} is not a log filter"),
            error.to_string(),
            "write a level such as \"warn\", or a filter such as \"info,redpoll_net=debug\", in log.level",
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(settings.look.color_err);
    // Somebody else may have set up logging in this process; then that holds.
    let _first = match settings.config.log.format {
        redpoll_config::LogFormat::Text => builder.try_init(),
        redpoll_config::LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
