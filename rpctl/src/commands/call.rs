//! `rpctl call`: one call, from its arguments to its end.

use std::error::Error;
use std::time::Duration;

use redpoll_common::api::CallArguments;
use redpoll_common::wire::MAX_METHOD_LEN;
use redpoll_net::{CallError, CallEvent, CallStream};
use rmpv::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::{callee, interrupted, procedure_call, procedures, told};
use crate::arguments::{self, is_exec_run};
use crate::cli::CallArgs;
use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::link::{Link, lost, refused, timed_out};
use crate::output::{Output, OutputError};
use crate::report::{Report, chain};
use crate::stream::{Plan, Printer};
use crate::value::encode;
use crate::{Ended, Stop};

/// How long a call that was interrupted may take to end.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// How long it may take to learn whether the procedure is deprecated.
const WARNING_WAIT: Duration = Duration::from_millis(500);

/// A call, checked.
#[derive(Debug)]
pub(super) struct CallQuestion {
    arguments: CallArguments,
    program: Option<String>,
    raw: bool,
}

impl CallQuestion {
    /// Reads the arguments and the files they name.
    pub(super) fn read(args: &CallArgs) -> Result<Self, Stop> {
        if args.procedure.is_empty() || args.procedure.len() > MAX_METHOD_LEN {
            return Err(Report::usage(
                format!("{:?} is not the name of a procedure", args.procedure),
                format!("a name has 1 to {MAX_METHOD_LEN} bytes"),
                format!("see what the agent offers: rpctl agents procedures {}", args.agent),
            )
            .into());
        }
        let agent = callee(&args.agent)?;
        let read = arguments::read(&args.procedure, &args.arguments, &mut std::io::stdin())
            .map_err(|error| argument_report(&error))?;
        let program = args.arguments.argv.first().filter(|_| is_exec_run(&args.procedure));
        let arguments = CallArguments {
            agent,
            procedure: args.procedure.clone(),
            args: encode(&Value::Array(read.args)).map_err(|error| argument_report(&error))?,
            kwargs: encode(&Value::Map(read.kwargs)).map_err(|error| argument_report(&error))?,
        };
        Ok(Self {
            arguments,
            program: program.map(|word| word.to_string_lossy().into_owned()),
            raw: args.raw,
        })
    }

    /// Calls, prints what comes, and obeys interrupts.
    pub(super) async fn run(
        &self,
        link: &Link,
        output: &mut Output,
        interrupts: &mut Interrupts,
        verbose: bool,
    ) -> Ended {
        // asked beside the call: it must not wait for this
        let about = procedures::about(&self.arguments.agent, &self.arguments.procedure, WARNING_WAIT)?;
        let procedure = self.arguments.procedure.clone();
        let warning = procedures::deprecation(link.peer().clone(), about, procedure);
        let printer = Printer::new(output, self.plan(verbose));
        let call = procedure_call(link, &self.arguments);
        let ended = async {
            match link.peer().start(call).await {
                Ok(stream) => self.follow(stream, printer, interrupts).await,
                Err(error) => self.ended(printer, error),
            }
        };
        let (ended, warning) = tokio::join!(ended, timeout(WARNING_WAIT, warning));
        if let Ok(Some(warning)) = warning {
            output.note(&warning);
        }
        ended
    }

    fn plan(&self, verbose: bool) -> Plan {
        Plan {
            agent: self.arguments.agent.clone(),
            procedure: self.arguments.procedure.clone(),
            program: self.program.clone(),
            raw: self.raw,
            verbose,
        }
    }

    async fn follow(
        &self,
        mut stream: CallStream,
        mut printer: Printer<'_>,
        interrupts: &mut Interrupts,
    ) -> Ended {
        loop {
            let event = tokio::select! {
                biased; // whoever presses Ctrl-C wants it now, however much is coming
                _ = interrupts.next() => return self.cancel(stream, printer, interrupts).await,
                event = stream.next() => event,
            };
            match event {
                // A reader that went away ends this function; the stream's drop cancels the call.
                Some(CallEvent::Value(data)) => printer.value(&data).map_err(|error| self.unread(error))?,
                Some(CallEvent::Progress(progress)) => {
                    printer.progress(&progress).map_err(|error| self.unread(error))?;
                }
                Some(CallEvent::End(Ok(result))) => {
                    let printed = printer.result(&result).map(|_good| ());
                    let done = format!("{} has run and ended well", self.name());
                    return told(printed, Exit::Good, &done, crate::closed::help());
                }
                Some(CallEvent::End(Err(error))) => return self.ended(printer, error),
                None => {
                    let report = lost(&self.name(), &redpoll_common::session::CloseReason::Ended);
                    return Ok(printer.broken("manager_lost", &report)?);
                }
            }
        }
    }

    /// Asks the far side to stop, and says how that went. Always ends as interrupted.
    async fn cancel(
        &self,
        mut stream: CallStream,
        printer: Printer<'_>,
        interrupts: &mut Interrupts,
    ) -> Ended {
        stream.cancel();
        let deadline = Instant::now() + CANCEL_WAIT;
        let end = async {
            loop {
                match stream.next().await {
                    Some(CallEvent::Value(_) | CallEvent::Progress(_)) => {}
                    Some(CallEvent::End(end)) => return Some(end),
                    None => return None,
                }
            }
        };
        let end = tokio::select! {
            biased;
            _ = interrupts.next() => None,
            end = timeout_at(deadline, end) => end.ok().flatten(),
        };
        let name = self.name();
        let mut report = interrupted("during the call");
        report.help = match end {
            Some(Ok(_)) => format!("{name} had ended before it could be stopped"),
            Some(Err(CallError::Fault(fault))) => format!("{name} was stopped: {fault}"),
            Some(Err(CallError::TimedOut(_) | CallError::Closed(_) | CallError::Refused(_))) | None => {
                format!("{name} was told to stop and has not said that it did; look at the machine")
            }
        };
        Ok(printer.broken("cancelled", &report)?)
    }

    fn ended(&self, printer: Printer<'_>, error: CallError) -> Ended {
        let name = self.name();
        Ok(match error {
            CallError::Fault(fault) => printer.fault(&fault)?,
            CallError::TimedOut(after) => printer.broken("timed_out", &timed_out(&name, after))?,
            CallError::Closed(reason) => printer.broken("manager_lost", &lost(&name, &reason))?,
            CallError::Refused(refusal) => printer.broken("not_sent", &refused(&name, &refusal))?,
        })
    }

    /// The call is cancelled with that, and nobody waits for what becomes of it.
    fn unread(&self, error: OutputError) -> Stop {
        match error {
            OutputError::Closed => {
                let why = format!("{} was told to stop, and how it ended is not known here", self.name());
                let help =
                    "let what reads it read to the end, or give less, as with `head` on the machine itself";
                Report::new(Exit::Unknown, "nobody reads what rpctl prints any more", why, help).into()
            }
            error @ OutputError::Failed(_) => {
                let report = Report::of_error(Exit::Unknown, &error, "");
                let name = self.name();
                let why =
                    format!("{}; {name} was told to stop, and how it ended is not known here", report.why);
                let help =
                    "make room, and look at the machine before you repeat it: it may have stopped half done";
                Report { why, help: help.to_owned(), ..report }.into()
            }
        }
    }

    fn name(&self) -> String {
        format!("{}: {}", self.arguments.agent, self.arguments.procedure)
    }
}

/// The arguments that were typed cannot be used.
pub(super) fn argument_report(error: &(dyn Error + 'static)) -> Report {
    let why = error.source().map_or_else(|| "nothing was sent".to_owned(), chain);
    Report::usage(error.to_string(), why, "see rpctl call --help for the forms of arguments")
}
