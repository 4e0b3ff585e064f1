//! Questions to the person at the terminal. Without a terminal nothing is ever asked.

use std::io::{self, BufRead, IsTerminal};

use tokio::time::Instant;

use crate::Stop;
use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::output::Output;
use crate::report::Report;
use crate::steady::Steady;

/// Whether there is somebody to ask: standard input and standard error are terminals.
pub fn somebody() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks and waits for a line; `None` when the terminal went away. The thread that reads stays behind when the future is
/// dropped, and what is typed then is lost.
pub async fn ask(question: &str, output: &mut Output) -> Option<String> {
    output.error_bytes(question.as_bytes());
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim().to_lowercase()),
        }
    });
    let line = read.await.ok().flatten();
    if line.is_none() {
        // the cursor still stands after the question
        output.error_bytes(b"\n");
    }
    line
}

/// Why somebody has to say yes to what nobody can take back.
pub const FINAL: &str = "this cannot be undone";

/// Asks whether to do something of weight, unless `yes` was said on the command line; `weight` tells why it is asked. Whoever
/// is asked has until `until`.
///
/// # Errors
/// [`Stop`] with exit code 2 when nobody can be asked, 6 when there is no answer in time, 130 when the answer is no.
pub async fn confirm(
    what: &str,
    weight: &str,
    yes: bool,
    until: Option<Instant>,
    output: &mut Output,
    interrupts: &mut Interrupts,
) -> Result<(), Stop> {
    if yes {
        return Ok(());
    }
    if !somebody() {
        let why = format!("{weight}, and there is no terminal to ask on; nothing was changed");
        return Err(
            Report::usage(format!("{what} needs --yes"), why, "add --yes if that is what you want").into()
        );
    }
    let question = format!("{}? [y/N] ", crate::sanitize::line(what));
    let answer = tokio::select! {
        biased;
        _ = interrupts.next() => None,
        () = Steady::late(until) => {
            output.error_bytes(b"\n");
            let why = "the time of --timeout was over before it was answered; nothing was changed";
            let help = "answer sooner, give it longer, or give --yes";
            return Err(Report::new(Exit::TimedOut, format!("did not {what}"), why, help).into());
        }
        answer = ask(&question, output) => answer,
    };
    match answer.as_deref() {
        Some("y" | "yes") => Ok(()),
        Some(_) | None => {
            let why = "the answer was not yes; nothing was changed";
            Err(Report::new(Exit::Interrupted, format!("did not {what}"), why, "answer y, or give --yes")
                .into())
        }
    }
}
