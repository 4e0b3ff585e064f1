//! A job as it goes on, for people.
//!
//! stdout of the runs goes to ours, stderr to ours, values as in a call; where a run stands, how far it is and how it ended
//! is told on standard error, what changes by the moment only on a terminal. With more than one run a table of them follows
//! at the end.

use std::collections::BTreeMap;

use redpoll_common::api::items::{FollowEvent, Missing, Part};
use redpoll_common::api::jobs::{EndSummary, JobSummary, ProgressSummary};
use redpoll_common::job::{Item, ItemKind, Outcome};
use rmpv::Value;

use super::Plan;
use super::ending;
use super::lines::Lines;
use crate::arguments::is_exec_run;
use crate::output::{Output, OutputError};
use crate::stream::{Stream, plain};
use crate::times;
use crate::value::{decode, field};

/// Runs in the table at the end. Of more, those that did not succeed are shown, as many as fit.
const MAX_ROWS: usize = 100;

/// What was cut where the mark does not say it.
const OUTPUT: &str = "output";

/// Prints a job for people.
#[derive(Debug)]
pub struct Screen {
    plan: Plan,
    lines: Lines,
    /// The attempt that is printed, of runs that have not ended.
    attempts: BTreeMap<String, u16>,
    /// How runs ended; the result is not kept.
    ends: BTreeMap<String, EndSummary>,
}

impl Screen {
    /// A screen for a job that begins.
    pub fn new(plan: Plan) -> Self {
        let lines = Lines::new(plan.runs > 1, plan.raw);
        Self { plan, lines, attempts: BTreeMap::new(), ends: BTreeMap::new() }
    }

    /// Prints what is new of a run.
    ///
    /// # Errors
    /// [`OutputError`], as for every method here.
    pub fn event(&mut self, event: &FollowEvent, output: &mut Output) -> Result<(), OutputError> {
        let agent = event.agent.as_str();
        let before = self.attempts.insert(agent.to_owned(), event.attempt).unwrap_or(event.attempt);
        if before != event.attempt && before > 0 {
            self.flush_run(agent, output)?;
            output.note(&format!("{agent}: it is tried again, attempt {}", event.attempt));
        }
        if let Some(state) = &event.state {
            Self::state(agent, state, output);
        }
        // how it ended is told although nobody reads what it gave
        let printed = event.parts().try_for_each(|part| match part {
            Part::Item(item) => self.item(agent, item, output),
            Part::Missing(missing) => self.missing(agent, missing, output),
        });
        if let Some(progress) = event.progress.as_ref().filter(|_| output.look().live) {
            output.progress(&progress_line(agent, progress));
        }
        if let Some(end) = &event.end {
            let ended = self.end(agent, end, output);
            return printed.and(ended);
        }
        printed
    }

    fn state(agent: &str, state: &str, output: &mut Output) {
        if state == "in_doubt" {
            output.note(&format!("{agent}: in doubt, as its agent is away or the manager was; what became of it is known when both are there"));
        } else if state != "ended" && output.look().live {
            output.progress(&format!("{agent}: {state}"));
        }
    }

    fn item(&mut self, agent: &str, item: &Item, output: &mut Output) -> Result<(), OutputError> {
        let value = decode(&item.data);
        match item.kind {
            ItemKind::Stdout => self.chunk(agent, Stream::Stdout, bytes(&value), output),
            ItemKind::Stderr => self.chunk(agent, Stream::Stderr, bytes(&value), output),
            ItemKind::Truncated => {
                let stream = field(&value, "stream").and_then(Value::as_str).unwrap_or(OUTPUT);
                let lost = field(&value, "bytes").and_then(Value::as_u64);
                let lost = lost.map_or_else(|| "some".to_owned(), |bytes| format!("{bytes} bytes"));
                // what reads the messages has put the mark in its place
                let is_newer = stream != OUTPUT && ItemKind::from_wire(stream).is_none();
                output.note(&if is_newer {
                    format!("{agent}: an item of kind {stream} is left out ({lost}): only newer versions know that kind")
                } else {
                    format!("{agent}: {lost} of {stream} were cut by the output limit")
                });
                Ok(())
            }
            // output of a program has a kind of its own, whatever a value looks like
            ItemKind::Value => self.value(agent, &value, output),
        }
    }

    /// The rest of a line that was begun is not there either.
    fn missing(&mut self, agent: &str, missing: Missing, output: &mut Output) -> Result<(), OutputError> {
        let printed = self.flush_run(agent, output);
        let Missing { from, until } = missing;
        let last = until.saturating_sub(1);
        let which =
            if from == last { format!("item {from} is") } else { format!("items {from} to {last} are") };
        output
            .note(&format!("{agent}: {which} not there: an older copy of the manager's store was put back"));
        printed
    }

    fn chunk(
        &mut self,
        agent: &str,
        stream: Stream,
        bytes: &[u8],
        output: &mut Output,
    ) -> Result<(), OutputError> {
        let text = self.lines.chunk(agent, stream, bytes);
        write(&text, stream, output)
    }

    fn value(&mut self, agent: &str, value: &Value, output: &mut Output) -> Result<(), OutputError> {
        let text = self.lines.text(agent, &plain(value, self.plan.raw)?);
        write(&text, Stream::Stdout, output)
    }

    fn end(&mut self, agent: &str, end: &EndSummary, output: &mut Output) -> Result<(), OutputError> {
        let mut printed = self.flush_run(agent, output);
        let corrected = self.ends.contains_key(agent);
        if corrected {
            output.note(&format!("{agent}: it is known now how it ended: {}", end.outcome));
        }
        let procedure = self.plan.procedure.clone();
        if end.outcome == Outcome::Succeeded.as_str() {
            let result = end.result.as_ref().map_or(Value::Nil, decode);
            if !is_exec_run(&procedure) {
                printed = printed.and_then(|()| self.value(agent, &result, output));
            } else if field(&result, "pipes_held").and_then(Value::as_bool) == Some(true) {
                output.note(&format!(
                    "{agent}: something it left running still held its output when that was closed"
                ));
            }
        } else {
            let program = self.plan.program.as_deref();
            let of_program = |fault| ending::exit_of_program(agent, &procedure, program, fault);
            match end.fault.as_ref().and_then(of_program) {
                Some(sentence) => output.note(&sentence),
                None if self.lines.is_marked() => {
                    output.note(&format!("{agent}: {}: {}", end.outcome.replace('_', " "), ending::why(end)));
                }
                None => output.report(&ending::report(agent, &procedure, end, self.plan.verbose)),
            }
        }
        self.ends.insert(agent.to_owned(), EndSummary { result: None, ..end.clone() });
        if self.lines.is_marked() && output.look().live {
            output.progress(&format!("{} of {} runs have ended", self.ends.len(), self.plan.runs));
        }
        printed
    }

    /// Writes what was held of a run.
    fn flush_run(&mut self, agent: &str, output: &mut Output) -> Result<(), OutputError> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let text = self.lines.finish(agent, stream);
            write(&text, stream, output)?;
        }
        Ok(())
    }

    /// Writes what was held of all runs.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn flush(&mut self, output: &mut Output) -> Result<(), OutputError> {
        for agent in self.lines.agents() {
            self.flush_run(&agent, output)?;
        }
        Ok(())
    }

    /// Prints how the job ended.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn ended(&mut self, job: &JobSummary, output: &mut Output) -> Result<(), OutputError> {
        self.flush(output)?;
        if !self.lines.is_marked() {
            return Ok(());
        }
        let all = self.ends.len() <= MAX_ROWS;
        let good = |end: &EndSummary| end.outcome == Outcome::Succeeded.as_str();
        let shown: Vec<_> = self.ends.iter().filter(|(_, end)| all || !good(end)).take(MAX_ROWS).collect();
        let rows = shown.iter().map(|(agent, end)| {
            let took = end.duration_ms.map_or_else(|| "-".to_owned(), times::short);
            vec![(*agent).clone(), end.outcome.clone(), took, ending::why(end)]
        });
        output.error_table(&["AGENT", "OUTCOME", "TOOK", "WHY"], rows.collect());
        let runs = ending::runs(job.runs);
        output.note(&format!("job {}: {runs}, {}", job.job, ending::counted(&job.outcomes)));
        Ok(())
    }
}

fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Binary(bytes) => bytes,
        Value::String(text) => text.as_bytes(),
        Value::Nil
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::Array(_)
        | Value::Map(_)
        | Value::Ext(..) => b"",
    }
}

fn write(text: &[u8], stream: Stream, output: &mut Output) -> Result<(), OutputError> {
    match stream {
        _ if text.is_empty() => Ok(()),
        Stream::Stdout => output.bytes(text),
        Stream::Stderr => {
            output.error_bytes(text);
            Ok(())
        }
    }
}

fn progress_line(agent: &str, progress: &ProgressSummary) -> String {
    let mut text = format!("{agent}: {}", progress.completed.unwrap_or(0));
    if let Some(total) = progress.total {
        text.push_str(&format!(" of {total}"));
    }
    if let Some(Value::String(details)) = progress.details.as_ref().map(decode) {
        text.push_str(&format!(" ({})", String::from_utf8_lossy(details.as_bytes())));
    }
    text
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
