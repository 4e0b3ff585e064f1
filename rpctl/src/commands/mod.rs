//! The verbs that ask a manager.

mod agents;
mod agents_orders;
mod call;
mod came;
mod cp;
mod describe;
mod dry_run;
mod events;
mod follow;
mod jobs;
mod notify;
mod procedures;
mod queues;
mod revoke;
mod run;
mod silent;
mod status;
mod submit;
mod verify;

use std::error::Error;
use std::io;
use std::time::Duration;

use redpoll_common::api::{CallArguments, method};
use redpoll_common::job::{JobId, QueueKey};
use redpoll_common::wire::Raw;
use redpoll_net::Call;
use rmpv::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::cli::Verb;
use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::link::{Link, may_be_done};
use crate::output::{Output, OutputError};
use crate::report::{Report, Target, chain};
use crate::settings::Settings;
use crate::steady::Steady;
use crate::value::{decode, field};
use crate::{Ended, Stop};

pub(crate) use jobs::criteria_candidates;
pub(crate) use procedures::{SYS_PROCEDURES, known, listed, meant, read as read_list};

/// How long the runtime may take to end what it still does, such as looking a name up.
const RUNTIME_END: Duration = Duration::from_millis(100);

/// Runs a verb, to its end: within `--timeout`, which counts from here.
///
/// # Errors
/// [`Stop`] with a report.
pub fn run(verb: &Verb, settings: &Settings, output: &mut Output) -> Ended {
    let until = settings.limit.map(|limit| Instant::now() + limit);
    log(settings)?;
    let failed = |error: io::Error| {
        Report::of_error(Exit::Internal, &error, "is this machine out of descriptors or memory?")
    };
    // One thread drives the session and watches for signals, and this one asks and prints. A reader that does not read
    // stops the printing only: pings are answered, and a paused `rpctl … | less` keeps its call.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
    let interrupts = Interrupts::watch(runtime.handle()).map_err(failed)?;
    let ended = runtime.block_on(ask(verb, settings, output, until, interrupts));
    runtime.shutdown_timeout(RUNTIME_END);
    ended
}

async fn ask(
    verb: &Verb,
    settings: &Settings,
    output: &mut Output,
    deadline: Option<Instant>,
    mut interrupts: Interrupts,
) -> Ended {
    // Files and arguments first: what is wrong here is told without asking anybody.
    let question = read(verb, deadline, &mut interrupts).await?;
    if let Question::Lasting(lasting) = &question {
        return lasting.run(Patient { settings, output, interrupts: &mut interrupts, deadline }).await;
    }
    let link = tokio::select! {
        biased;
        _ = interrupts.next() => return Err(interrupted("while connecting; nothing was sent").into()),
        link = Link::connect(settings, deadline) => link?,
    };
    let verbose = settings.verbose > 0;
    let ended = match &question {
        Question::Call(call) => call.run(&link, output, &mut interrupts, verbose).await,
        Question::Read(question) => question.run(&link, output, &mut interrupts, verbose).await,
        Question::Ends(ends) => ends.run(&link, output, &mut interrupts, verbose).await,
        Question::Revoke(question) => question.run(&link, output, &mut interrupts, verbose).await,
        Question::Notify(_)
        | Question::Agents(_)
        | Question::Describe(_)
        | Question::Status
        | Question::Jobs(_)
        | Question::Lasting(_) => tokio::select! {
            biased;
            _ = interrupts.next() => Err(question.interrupted().into()),
            ended = question.run(&link, output, verbose) => ended,
        },
    };
    tokio::select! {
        biased;
        _ = interrupts.next() => {}
        () = link.close() => {}
    }
    ended
}

/// Reads and checks what was typed, and the files it names, on a thread of its own: standard input may be a terminal at which
/// nobody types.
async fn read(verb: &Verb, until: Option<Instant>, interrupts: &mut Interrupts) -> Result<Question, Stop> {
    let verb = verb.clone();
    let reading = tokio::task::spawn_blocking(move || Question::read(&verb));
    tokio::select! {
        biased;
        _ = interrupts.next() => Err(interrupted("while the arguments were read; nothing was sent").into()),
        () = Steady::late(until) => {
            let why = "the time of --timeout was over before all of them were there; nothing was sent";
            let help = "does what they come from end? give it longer with --timeout DUR";
            Err(Report::new(Exit::TimedOut, "the arguments were not read", why, help).into())
        }
        read = reading => read.map_err(|error| Report::of_error(Exit::Internal, &error, "report this"))?,
    }
}

/// What verbs have that may last longer than a session.
struct Patient<'p> {
    settings: &'p Settings,
    output: &'p mut Output,
    interrupts: &'p mut Interrupts,
    /// When they must have ended: with `--timeout` only.
    deadline: Option<Instant>,
}

/// A verb with its arguments read and checked.
#[derive(Debug)]
enum Question {
    Call(call::CallQuestion),
    Notify(notify::NotifyQuestion),
    Agents(agents::AgentsQuestion),
    Describe(describe::DescribeQuestion),
    Status,
    /// About jobs, queues, events: one answer.
    Jobs(jobs::JobsQuestion),
    /// What a run has given, page after page.
    Read(jobs::ReadQuestion),
    /// What cannot be undone, and may have to be confirmed.
    Ends(jobs::EndsQuestion),
    /// Who is shut out.
    Revoke(revoke::RevokeQuestion),
    /// What outlives a session.
    Lasting(Lasting),
}

/// Verbs that outlive a session.
#[derive(Debug)]
enum Lasting {
    Run(Box<run::RunQuestion>),
    Cp(Box<cp::CpQuestion>),
    Follow(jobs::FollowQuestion),
    Result(jobs::ResultQuestion),
    Events(events::FollowEvents),
}

impl Lasting {
    async fn run(&self, patient: Patient<'_>) -> Ended {
        match self {
            Self::Run(question) => question.run(patient).await,
            Self::Cp(question) => question.run(patient).await,
            Self::Follow(question) => question.run(patient).await,
            Self::Result(question) => question.run(patient).await,
            Self::Events(question) => question.run(patient).await,
        }
    }
}

impl Question {
    fn read(verb: &Verb) -> Result<Self, Stop> {
        Ok(match verb {
            Verb::Call(args) => Self::Call(call::CallQuestion::read(args)?),
            Verb::Notify(args) => Self::Notify(notify::NotifyQuestion::read(args)?),
            Verb::Agents(command) => agents::read(command)?,
            Verb::Operators(command) => Self::Revoke(revoke::RevokeQuestion::read(command)?),
            Verb::Describe(args) => Self::Describe(describe::DescribeQuestion::read(args)?),
            Verb::Status => Self::Status,
            Verb::Run(args) => Self::Lasting(Lasting::Run(Box::new(run::RunQuestion::read(args)?))),
            Verb::Cp(args) => Self::Lasting(Lasting::Cp(Box::new(cp::CpQuestion::read(args)?))),
            Verb::Jobs(command) => jobs::read(command)?,
            Verb::Queues(command) => queues::read(command)?,
            Verb::Events(args) => events::read(args)?,
            Verb::Certs(_) | Verb::Completions { .. } | Verb::Man { .. } => {
                let why = "it needs no manager and is run elsewhere";
                return Err(Report::new(Exit::Internal, "this verb asks nobody", why, "report this").into());
            }
        })
    }

    async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        match self {
            Self::Notify(question) => question.run(link, output, verbose).await,
            Self::Agents(question) => question.run(link, output, verbose).await,
            Self::Describe(question) => question.run(link, output, verbose).await,
            Self::Status => status::run(link, output, verbose).await,
            Self::Jobs(question) => question.run(link, output, verbose).await,
            Self::Call(_) | Self::Read(_) | Self::Ends(_) | Self::Revoke(_) | Self::Lasting(_) => {
                Ok(Exit::Good)
            }
        }
    }

    /// A signal came while the answer was waited for.
    fn interrupted(&self) -> Report {
        let change = match self {
            Self::Notify(question) => Some(question.target()),
            Self::Agents(question) => question.change(),
            Self::Jobs(question) => question.change(),
            Self::Describe(_)
            | Self::Status
            | Self::Call(_)
            | Self::Read(_)
            | Self::Ends(_)
            | Self::Revoke(_)
            | Self::Lasting(_) => None,
        };
        change.map_or_else(|| interrupted("before the answer came"), |target| interrupted_change(&target))
    }
}

/// A signal came after a change was asked for.
fn interrupted_change(target: &Target) -> Report {
    Report { help: may_be_done(target), ..interrupted("before the answer came; it may be done") }
}

/// How a command ends whose change is made: where that cannot be printed, standard error says that it is `done`, and where to
/// `look`.
fn told(printed: Result<(), OutputError>, exit: Exit, done: &str, look: &str) -> Ended {
    OutputError::unless_closed(printed).map_err(|error| {
        // an end that is not good keeps its code
        let exit = if exit == Exit::Good { Exit::Internal } else { exit };
        Report::new(exit, format!("{done}, and that cannot be printed"), chain(&error), look)
    })?;
    Ok(exit)
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

/// The manager itself in place of an agent. No agent can have this name: names begin with a letter or a digit.
pub(crate) const MANAGER: &str = "@manager";

/// Checks whose procedures are meant: an agent's, or the manager's.
fn callee(text: &str) -> Result<String, Stop> {
    if text == MANAGER { Ok(text.to_owned()) } else { agent_id(text) }
}

/// A call of a procedure, of an agent through the manager or of the manager itself.
fn procedure_call(link: &Link, arguments: &CallArguments) -> Call {
    if arguments.agent != MANAGER {
        return link.request(method::CALL, arguments.write());
    }
    let own = link.request(method::CALL, arguments.kwargs.clone()).with_args(arguments.args.clone());
    Call { method: arguments.procedure.clone(), ..own }
}

/// Checks the id of a job that was typed.
fn job_id(text: &str) -> Result<String, Stop> {
    match JobId::parse(text) {
        Ok(id) => Ok(id.to_string()),
        Err(error) => {
            let help = "see which there are: rpctl jobs list";
            Err(Report::usage("this is no job", error.to_string(), help).into())
        }
    }
}

/// Reads JSON that was typed, or stands in the file that was typed. The example is for whoever typed something else.
fn json_argument(place: &str, text: &str, example: &str) -> Result<Raw, Stop> {
    let wrong = |error: &(dyn Error + 'static)| {
        let why = error.source().map_or_else(|| "nothing was sent".to_owned(), chain);
        Report::usage(
            error.to_string(),
            why,
            format!("give JSON such as {example}, or @FILE with such a text"),
        )
    };
    let value = crate::arguments::read_json(place, text, &mut io::stdin()).map_err(|error| wrong(&error))?;
    crate::value::encode(&value).map_err(|error| wrong(&error).into())
}

/// Reads the name of a queue: JSON when it begins with `{`, else text.
fn queue_name(text: &str) -> Result<Raw, Stop> {
    if text.starts_with('{') {
        json_argument("the queue's name", text, r#"'{"customer": 7}'"#)
    } else {
        Ok(Raw::text(text))
    }
}

/// The name of a queue for people.
fn queue_words(name: &Raw) -> String {
    QueueKey::parse(name).map_or_else(|_| "?".to_owned(), |key| key.to_string())
}

/// The elements of a list in an answer, as they came: a newer manager may say more than this build knows.
fn elements(answer: &Raw, key: &str) -> Vec<Value> {
    match field(&decode(answer), key) {
        Some(Value::Array(elements)) => elements.clone(),
        Some(_) | None => Vec::new(),
    }
}

/// Writes arguments of a method of the manager.
fn encoded<T: Serialize>(arguments: &T) -> Result<Raw, Stop> {
    Raw::encode(arguments).map_err(|error| call::argument_report(&error).into())
}

/// Reads the answer of a method of the manager.
fn decoded<T: DeserializeOwned>(answer: &Raw, method: &str) -> Result<T, Stop> {
    answer.decode().map_err(|error| unreadable(method, &error.to_string()).into())
}

fn unreadable(method: &str, why: &str) -> Report {
    Report::new(
        Exit::Internal,
        format!("cannot read the answer of {method}"),
        why,
        "compare the versions: `rpctl --version` and `rpctl status -o json`",
    )
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
