//! Follows a job to its end: over lost connections, and with a person who may want something else.

mod leaving;

use redpoll_common::api::items::{FollowArguments, FollowEvent, Followed};
use redpoll_common::api::jobs::{CancelAnswer, CancelArguments};
use redpoll_common::api::method;
use redpoll_common::wire::{FaultCode, Raw};
use tokio::time::Instant;

use super::encoded;
use crate::Ended;
use crate::Stop;
use crate::cli::{Since, StartArgs};
use crate::exit::Exit;
use crate::feed::{Feed, Step};
use crate::follow::cursor::Cursors;
use crate::follow::ending::Tally;
use crate::follow::{Plan, View};
use crate::interrupt::{Interrupt, Interrupts};
use crate::output::{Output, OutputError};
use crate::prompt;
use crate::report::Report;
use crate::steady::Steady;

/// What is followed.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// What is printed of it.
    pub(super) plan: Plan,
    /// Only the run on this agent.
    pub(super) agent: Option<String>,
    /// Where to begin.
    pub(super) start: StartArgs,
    /// Or after what is known of one run.
    pub(super) known: Option<Cursors>,
    /// It was stored before.
    pub(super) existing: bool,
    /// It was submitted by this command: whatever goes wrong, the job goes on.
    pub(super) own: bool,
}

/// A job on its way to the end.
struct Follower<'f> {
    wanted: &'f Wanted,
    cursors: Cursors,
    tally: Tally,
    view: View,
    output: &'f mut Output,
    /// The loss of the connection was told.
    loss_told: bool,
    /// It was asked for again, and nothing has come yet: a manager that stops opens a stream, too.
    asked_again: bool,
    cancelling: bool,
    /// The job is ours, or something of it was told: that it cannot be followed any more is no refusal of it.
    begun: bool,
    /// What could not be printed begins after this: whoever follows again begins there.
    unprinted: Option<Option<Since>>,
}

/// Why somebody does not follow any more.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// It is not wanted any more.
    Detached,
    /// The time of `--timeout` is over.
    Late,
}

/// What happens next.
enum Next {
    Interrupt(Interrupt),
    Late,
    Step(Box<Step>),
}

/// Follows a job until it ends, or the person does not want to follow any more.
///
/// # Errors
/// [`Stop`] when it cannot be followed, or not be printed.
pub(super) async fn follow(
    wanted: &Wanted,
    steady: Steady<'_>,
    output: &mut Output,
    interrupts: &mut Interrupts,
) -> Ended {
    let deadline = steady.deadline();
    let mut feed = Feed::new(steady);
    let from_first = wanted.start.since.is_none() && wanted.start.recent.is_none();
    let mut follower = Follower {
        wanted,
        cursors: wanted.known.clone().unwrap_or_else(|| Cursors::new(from_first)),
        tally: Tally::default(),
        view: View::new(output, wanted.plan.clone()),
        output,
        loss_told: false,
        asked_again: false,
        cancelling: false,
        begun: wanted.own,
        unprinted: None,
    };
    interrupts.set_last_words(follower.last_words());
    let ended = follower.run(&mut feed, deadline, interrupts).await;
    let ended = follower.ended(ended);
    feed.steady.close().await;
    ended
}

impl Follower<'_> {
    async fn run(
        &mut self,
        feed: &mut Feed<'_>,
        deadline: Option<Instant>,
        interrupts: &mut Interrupts,
    ) -> Ended {
        self.view.begin(&self.wanted.plan, self.wanted.existing, self.output)?;
        loop {
            let kwargs = || self.arguments();
            let next = tokio::select! {
                biased; // whoever presses Ctrl-C wants it now, however much is coming
                interrupt = interrupts.next() => Next::Interrupt(interrupt),
                () = Steady::late(deadline) => Next::Late,
                step = feed.step(method::JOBS_FOLLOW, kwargs) => Next::Step(Box::new(step?)),
            };
            match next {
                Next::Interrupt(interrupt) => {
                    interrupts.heard();
                    if let Some(leaving) = self.interrupted(interrupt, feed, interrupts).await? {
                        return self.leave(leaving, feed).await;
                    }
                }
                Next::Late => return self.leave(Leaving::Late, feed).await,
                Next::Step(step) => {
                    if let Some(exit) = self.step(*step)? {
                        return Ok(exit);
                    }
                }
            }
        }
    }

    fn step(&mut self, step: Step) -> Result<Option<Exit>, Stop> {
        let has_come = matches!(step, Step::Value(_) | Step::Answer(_));
        if has_come && std::mem::take(&mut self.asked_again) {
            self.loss_told = false;
            self.output.note("connected again; it goes on where it was");
        }
        match step {
            Step::Opened { again } => self.asked_again = again && self.loss_told,
            Step::Value(data) if data.is_nil() => {}
            Step::Value(data) => self.event(&data)?,
            Step::Answer(data) => return self.answer(&data).map(Some),
            Step::Fault(fault) if fault.code == FaultCode::UnknownJob && self.begun => {
                return Err(self.gone(&fault).into());
            }
            Step::Fault(fault) => return Err(self.refused(&fault, method::JOBS_FOLLOW).into()),
            Step::Refused(refusal) => {
                return Err(crate::link::refused(method::JOBS_FOLLOW, &refusal).into());
            }
            Step::Lost(why) => {
                // each loss once, however many attempts it takes to come back
                if !std::mem::replace(&mut self.loss_told, true) {
                    let job = &self.wanted.plan.job;
                    self.output.note(&format!(
                        "the connection to the manager was lost ({why}); job {job} goes on, and rpctl tries again"
                    ));
                }
            }
            Step::Errand(Ok(answer)) => {
                let answer: CancelAnswer = super::decoded(&answer, method::JOBS_CANCEL)?;
                let (ended, asked) = (answer.ended, answer.asked);
                let (never, are) =
                    (if ended == 1 { "starts" } else { "start" }, if asked == 1 { "is" } else { "are" });
                self.output.note(&format!("cancelled: {ended} never {never}, {asked} {are} being ended"));
            }
            Step::Errand(Err(fault)) => {
                let report = self.refused(&fault, method::JOBS_CANCEL);
                self.cancelling = false;
                self.output.report(&report);
            }
        }
        Ok(None)
    }

    fn event(&mut self, data: &Raw) -> Result<(), Stop> {
        let event = FollowEvent::read(data)
            .map_err(|error| super::unreadable(method::JOBS_FOLLOW, &error.to_string()))?;
        let before = self.cursors.end_of(&event.agent).map(str::to_owned);
        let printed = self.next();
        self.begun = true;
        let news = self.cursors.take(event).map_err(|gap| self.torn(&gap))?;
        if let Some(end) = &news.end {
            self.tally.add(end, before.as_deref());
        }
        if news.is_news() {
            self.view.event(&news, self.output).inspect_err(|_| self.unprinted = Some(printed))?;
        }
        Ok(())
    }

    fn answer(&mut self, data: &Raw) -> Result<Exit, Stop> {
        let job: Followed = super::decoded(data, method::JOBS_FOLLOW)?;
        OutputError::unless_closed(self.view.ended(&job, self.output))?;
        // of one run the job's own outcome says nothing
        let outcome = job.outcome.as_deref().filter(|_| self.wanted.agent.is_none());
        Ok(self.tally.exit(outcome))
    }

    /// Makes whole what was begun, and tells why it ends: a document that nobody can read is no use to a script.
    fn ended(&mut self, ended: Ended) -> Ended {
        match ended {
            Ok(exit) => Ok(exit),
            Err(Stop::Failed(report)) => {
                let report = self.with_job(*report);
                self.view.stopped(&report, self.output)?;
                Ok(report.exit)
            }
            Err(Stop::Output(OutputError::Closed)) if self.is_over() => Ok(self.tally.exit(None)),
            // the job goes on, so that this is not the end of it
            Err(Stop::Output(OutputError::Closed)) => Err(self.unread().into()),
            Err(Stop::Output(error @ OutputError::Failed(_))) if self.is_over() => {
                // an end that is known keeps its code; that of a good one says that its output is not here
                let exit = self.tally.exit(None);
                let exit = if exit == Exit::Good { Exit::Internal } else { exit };
                let report = Report::of_error(exit, &error, "");
                let job = &self.wanted.plan.job;
                let why = format!("{}; job {job} has ended, and the manager has its output", report.why);
                let help = format!("read it: rpctl jobs read {job}; how it ended: rpctl jobs result {job}");
                Err(Report { why, help, ..report }.into())
            }
            Err(Stop::Output(error @ OutputError::Failed(_))) => {
                let report = Report::of_error(Exit::Unknown, &error, "");
                Err(Report { why: self.goes_on(&report.why), help: self.follow_again(), ..report }.into())
            }
        }
    }

    /// Whether all that is followed has ended.
    fn is_over(&self) -> bool {
        self.tally.total() >= self.wanted.plan.runs
    }

    /// Why it cannot be followed any more, without the exit codes that say that the job did not run.
    fn with_job(&self, report: Report) -> Report {
        let did_not_run = matches!(report.exit, Exit::Usage | Exit::Refused | Exit::Unreachable | Exit::Away);
        if !did_not_run || !self.begun {
            return report;
        }
        let why = self.goes_on(&format!("{}: {}", report.what, report.why));
        let help = format!("{}; {}", report.help, self.follow_again());
        let what = format!("job {} cannot be followed any more", self.wanted.plan.job);
        Report { exit: Exit::Unknown, what, why, help, ..report }
    }

    fn arguments(&self) -> Result<Raw, Stop> {
        let StartArgs { since, recent } = self.wanted.start;
        encoded(&FollowArguments {
            job: self.wanted.plan.job.clone(),
            agent: self.wanted.agent.clone(),
            since: since.map(|since| since.n),
            recent,
            from: self.cursors.from(),
        })
    }

    /// Asks what is wanted.
    async fn interrupted(
        &mut self,
        interrupt: Interrupt,
        feed: &mut Feed<'_>,
        interrupts: &mut Interrupts,
    ) -> Result<Option<Leaving>, Stop> {
        if interrupt == Interrupt::Terminate || self.cancelling || !prompt::somebody() {
            return Ok(Some(Leaving::Detached));
        }
        let what = self.wanted.agent.as_ref().map_or("the job", |_| "the run");
        let question = format!("\n[c]ancel {what}, [d]etach from it, or go [o]n? ");
        let answer = tokio::select! {
            biased;
            _ = interrupts.next() => {
                interrupts.heard();
                self.output.error_bytes(b"\n");
                None
            }
            () = Steady::late(feed.steady.deadline()) => {
                self.output.error_bytes(b"\n");
                return Ok(Some(Leaving::Late));
            }
            answer = prompt::ask(&question, self.output) => answer,
        };
        match answer.as_deref() {
            None | Some("d" | "detach") => Ok(Some(Leaving::Detached)),
            Some("c" | "cancel") => {
                self.cancelling = true;
                let (job, agent) = (Some(self.wanted.plan.job.clone()), self.wanted.agent.clone());
                feed.send(
                    method::JOBS_CANCEL,
                    encoded(&CancelArguments { job, agent, ..CancelArguments::default() })?,
                );
                Ok(None)
            }
            // whatever else is typed ends nothing
            Some(_) => Ok(None),
        }
    }
}
