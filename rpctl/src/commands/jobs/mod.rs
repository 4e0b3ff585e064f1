//! `rpctl jobs`: finding jobs, what they gave, ending them.

mod criteria;
mod ends;
mod list;
mod read;
mod result;
mod show;

use redpoll_common::api::jobs::{JobArguments, JobDetail, JobShowArguments};
use redpoll_common::api::method;
use redpoll_common::wire::Raw;

use super::follow::{Wanted, follow};
use super::verify::VerifyEvents;
use super::{
    Lasting, Patient, Question, agent_id, decoded, encoded, events, interrupted, job_id, queues, silent,
};
use crate::Ended;
use crate::Stop;
use crate::cli::{JobsCommand, JobsFollowArgs, Since};
use crate::follow::Plan;
use crate::follow::cursor::Cursors;
use crate::link::Link;
use crate::output::Output;
use crate::report::{Report, Target};
use crate::steady::Steady;

pub(crate) use criteria::candidates as criteria_candidates;
pub(super) use ends::{EndsQuestion, cancel_queue};
pub(super) use read::ReadQuestion;
pub(super) use result::ResultQuestion;

/// A question with one answer, checked.
#[derive(Debug)]
pub(super) enum JobsQuestion {
    List(Box<list::ListQuestion>),
    Show(String),
    Release(String),
    Queues(queues::QueuesQuestion),
    Events(events::ListEvents),
    /// Of the history: whether it is as it was written.
    Verify(VerifyEvents),
}

/// Reads and checks what was typed.
pub(super) fn read(command: &JobsCommand) -> Result<Question, Stop> {
    Ok(match command {
        JobsCommand::List(args) => {
            Question::Jobs(JobsQuestion::List(Box::new(list::ListQuestion::read(args)?)))
        }
        JobsCommand::Show { job } => Question::Jobs(JobsQuestion::Show(job_id(job)?)),
        JobsCommand::Read(args) => Question::Read(ReadQuestion::read(args)?),
        JobsCommand::Release { job } => Question::Jobs(JobsQuestion::Release(job_id(job)?)),
        JobsCommand::Result(args) => Question::Lasting(Lasting::Result(ResultQuestion::read(args)?)),
        JobsCommand::Follow(args) => Question::Lasting(Lasting::Follow(FollowQuestion::read(args)?)),
        JobsCommand::Cancel(args) => Question::Ends(EndsQuestion::cancel(args)?),
        JobsCommand::Delete { job, yes } => {
            Question::Ends(EndsQuestion::Delete { job: job_id(job)?, yes: *yes })
        }
    })
}

impl JobsQuestion {
    /// What it changes, if it does.
    pub(super) fn change(&self) -> Option<Target> {
        matches!(self, Self::Release(_)).then_some(Target::Manager { method: method::JOBS_RELEASE })
    }

    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        match self {
            Self::List(question) => question.run(link, output, verbose).await,
            Self::Show(job) => show::run(job, link, output, verbose).await,
            Self::Release(job) => {
                let kwargs = encoded(&JobArguments { job: job.clone() })?;
                let target = Target::Manager { method: method::JOBS_RELEASE };
                link.change(link.request(method::JOBS_RELEASE, kwargs), &target, verbose).await?;
                let entries = [("job", job.as_str().into()), ("released", true.into())];
                let look = format!("see how it stands: rpctl jobs show {job}");
                silent::done(entries, (&format!("job {job} is released"), &look), output)
            }
            Self::Queues(question) => question.run(link, output, verbose).await,
            Self::Events(question) => question.run(link, output, verbose).await,
            Self::Verify(question) => question.run(link, output, verbose).await,
        }
    }
}

/// `rpctl jobs follow`, checked.
#[derive(Debug)]
pub(super) struct FollowQuestion {
    job: String,
    agent: Option<String>,
    args: JobsFollowArgs,
}

impl FollowQuestion {
    fn read(args: &JobsFollowArgs) -> Result<Self, Stop> {
        let agent = args.agent.as_deref().map(agent_id).transpose()?;
        Ok(Self { job: job_id(&args.job)?, agent, args: args.clone() })
    }

    pub(super) async fn run(&self, patient: Patient<'_>) -> Ended {
        let Patient { settings, output, interrupts, deadline } = patient;
        let verbose = settings.verbose > 0;
        // How many runs there are decides how lines look, so that is asked first.
        let known = async {
            let mut steady = Steady::connect(settings, deadline).await?;
            let kwargs = encoded(&JobShowArguments { job: self.job.clone(), after: None, limit: Some(1) })?;
            let each = settings.config.call.timeout;
            let until = steady.answer_by();
            let answer = steady.ask(method::JOBS_SHOW, &kwargs, each, Some(until)).await;
            let target = Target::Manager { method: method::JOBS_SHOW };
            let answer: Raw = answer.map_err(|no| no.report(&target, verbose))?;
            Ok::<_, Stop>((steady, decoded::<JobDetail>(&answer, method::JOBS_SHOW)?))
        };
        let (steady, JobDetail { job, runs, .. }) = tokio::select! {
            biased;
            _ = interrupts.next() => return Err(interrupted("before the answer came").into()),
            known = known => known?,
        };
        let plan = Plan {
            job: self.job.clone(),
            procedure: job.procedure,
            program: None,
            runs: if self.agent.is_some() { 1 } else { job.runs },
            raw: self.args.raw,
            verbose,
        };
        let only = runs.first().map(|run| run.agent.as_str()).filter(|_| plan.runs == 1);
        let known = self.known(self.agent.as_deref().or(only))?;
        let (agent, mut start) = (self.agent.clone(), self.args.start);
        start.since = start.since.filter(|_| known.is_none());
        let wanted = Wanted { plan, agent, start, known, existing: true, own: false };
        follow(&wanted, steady, output, interrupts).await
    }

    /// What `--since ATTEMPT:N` says to be known, of the one run that is followed.
    fn known(&self, agent: Option<&str>) -> Result<Option<Cursors>, Stop> {
        let Some(Since { attempt: Some(attempt), n }) = self.args.start.since else { return Ok(None) };
        let Some(agent) = agent else {
            let why = "item numbers are of one attempt of one run, and this job has several runs";
            return Err(Report::usage(
                "--since ATTEMPT:N without --agent",
                why,
                "name the run: --agent AGENT",
            )
            .into());
        };
        Ok(Some(Cursors::known_before(agent, attempt, n)))
    }
}
