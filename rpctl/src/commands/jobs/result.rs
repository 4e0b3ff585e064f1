//! `rpctl jobs result`: what came of a job, waiting for it or not.

use std::time::Duration;

use redpoll_common::api::items::FollowEvent;
use redpoll_common::api::jobs::{JobResult, ResultArguments};
use redpoll_common::api::method;
use rmpv::Value;
use tokio::time::{Instant, sleep_until};

use super::show::{append, without_next};
use crate::cli::JobsResultArgs;
use crate::commands::{Patient, agent_id, decoded, elements, encoded, interrupted, job_id};
use crate::exit::Exit;
use crate::follow::Plan;
use crate::follow::ending::Tally;
use crate::follow::screen::Screen;
use crate::output::{Format, Output, OutputError};
use crate::report::{Report, Target};
use crate::steady::Steady;
use crate::value::{Shown, decode};
use crate::{Ended, Stop};

/// The longest wait that one question asks for.
const TURN: Duration = Duration::from_secs(30);
/// Between two questions at least: a manager that answers too soon is not hammered.
const PAUSE: Duration = Duration::from_millis(500);

/// How long to wait for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    No,
    For(Duration),
    ForEver,
}

/// Whose result, checked.
#[derive(Debug)]
pub(in crate::commands) struct ResultQuestion {
    arguments: ResultArguments,
    wait: Wait,
    raw: bool,
}

/// An answer, all pages in one.
struct Whole {
    result: JobResult,
    value: Value,
}

impl ResultQuestion {
    pub(super) fn read(args: &JobsResultArgs) -> Result<Self, Stop> {
        let agent = args.agent.as_deref().map(agent_id).transpose()?;
        let arguments = ResultArguments { job: job_id(&args.job)?, agent, ..ResultArguments::default() };
        let wait = match args.wait {
            None => Wait::No,
            Some(None) => Wait::ForEver,
            Some(Some(duration)) => Wait::For(duration),
        };
        Ok(Self { arguments, wait, raw: args.raw })
    }

    pub(in crate::commands) async fn run(&self, patient: Patient<'_>) -> Ended {
        let Patient { settings, output, interrupts, deadline } = patient;
        let verbose = settings.verbose > 0;
        let asked = async {
            let mut steady = Steady::connect(settings, deadline).await?;
            let whole = self.ask(&mut steady, verbose).await?;
            steady.close().await;
            Ok::<_, Stop>(whole)
        };
        let whole = tokio::select! {
            biased;
            _ = interrupts.next() => return Err(interrupted("before the answer came; the job goes on").into()),
            whole = asked => whole?,
        };
        self.print(&whole, output, verbose)
    }

    /// Asks, turn by turn while it waits, then page by page.
    async fn ask(&self, steady: &mut Steady<'_>, verbose: bool) -> Result<Whole, Stop> {
        let call_timeout = steady.settings().config.call.timeout;
        let now = Instant::now();
        let until = match self.wait {
            Wait::No => now,
            Wait::For(duration) => now + duration,
            Wait::ForEver => steady.deadline().unwrap_or(now + redpoll_common::session::MAX_TIMEOUT),
        };
        let mut arguments = self.arguments.clone();
        let mut whole: Option<Whole> = None;
        loop {
            let wait = match &whole {
                Some(_) => Duration::ZERO,
                None => until.saturating_duration_since(Instant::now()).min(TURN),
            };
            // with --timeout the last turn ends a little sooner, so that the answer is still in time
            let spare = if steady.deadline().is_some() { wait / 10 } else { Duration::ZERO };
            let wait_ms = u64::try_from((wait - spare).as_millis()).unwrap_or(u64::MAX);
            arguments.wait_ms = Some(wait_ms).filter(|ms| *ms > 0);
            let each = wait + call_timeout;
            // the session may be lost on the way; what waits for ever comes back for ever
            let give_up = match self.wait {
                Wait::ForEver => steady.deadline(),
                Wait::No | Wait::For(_) => Some(Instant::now() + each),
            };
            let asked = Instant::now();
            let answer = steady.ask(method::JOBS_RESULT, &encoded(&arguments)?, each, give_up).await;
            let target = Target::Manager { method: method::JOBS_RESULT };
            let answer = answer.map_err(|no| no.report(&target, verbose))?;
            let page: JobResult = decoded(&answer, method::JOBS_RESULT)?;
            if whole.is_none() && !self.has_ended(&page) && wait_ms > 0 && Instant::now() < until {
                sleep_until((asked + PAUSE).min(until)).await;
                continue;
            }
            arguments.after = page.next.clone().filter(|_| !page.runs.is_empty());
            let whole = match &mut whole {
                None => whole.insert(Whole { result: page, value: decode(&answer) }),
                Some(whole) => {
                    whole.result.runs.extend(page.runs);
                    append(&mut whole.value, "runs", elements(&answer, "runs"));
                    whole
                }
            };
            if arguments.after.is_none() {
                let value = without_next(std::mem::replace(&mut whole.value, Value::Nil));
                return Ok(Whole { result: whole.result.clone(), value });
            }
        }
    }

    /// Whether all that was asked about has ended.
    fn has_ended(&self, result: &JobResult) -> bool {
        let all = self.arguments.agent.is_some() || result.job.open == 0;
        all && result.runs.iter().all(|run| run.end.is_some())
    }

    fn print(&self, whole: &Whole, output: &mut Output, verbose: bool) -> Ended {
        let result = &whole.result;
        let mut tally = Tally::default();
        for end in result.runs.iter().filter_map(|run| run.end.as_ref()) {
            tally.add(end, None);
        }
        let printed = if output.format() == Format::Table {
            self.print_for_people(result, output, verbose)
        } else {
            output.document(&Shown(&whole.value))
        };
        OutputError::unless_closed(printed)?;
        if self.has_ended(result) {
            let outcome = result.job.outcome.as_deref().filter(|_| self.arguments.agent.is_none());
            return Ok(tally.exit(outcome));
        }
        let job = &result.job.job;
        let why = format!("{} of its {} runs are open", result.job.open, result.job.runs);
        let help =
            format!("wait for it: rpctl jobs result {job} --wait; see how far it is: rpctl jobs show {job}");
        Err(Report::new(Exit::TimedOut, format!("job {job} has not ended"), why, help).into())
    }

    fn print_for_people(
        &self,
        result: &JobResult,
        output: &mut Output,
        verbose: bool,
    ) -> Result<(), OutputError> {
        let plan = Plan {
            job: result.job.job.clone(),
            procedure: result.job.procedure.clone(),
            program: None,
            runs: if self.arguments.agent.is_some() { 1 } else { result.job.runs },
            raw: self.raw,
            verbose,
        };
        let mut screen = Screen::new(plan);
        for run in &result.runs {
            let event = FollowEvent { end: run.end.clone(), ..FollowEvent::of(&run.agent, run.attempt) };
            screen.event(&event, output)?;
        }
        if self.has_ended(result) {
            screen.ended(&result.job, output)?;
        }
        Ok(())
    }
}
