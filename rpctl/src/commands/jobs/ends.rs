//! `rpctl jobs cancel`, `rpctl jobs delete`, `rpctl queues cancel`: what cannot be undone.

use redpoll_common::api::jobs::{CancelAnswer, CancelArguments, JobArguments, ReachedRun};
use redpoll_common::api::method;
use redpoll_common::api::queues::QueueCancelArguments;
use redpoll_common::wire::Raw;

use super::criteria;
use crate::cli::{CancelHow, JobsCancelArgs};
use crate::commands::{
    agent_id, decoded, encoded, interrupted, interrupted_change, job_id, queue_name, silent, told,
};
use crate::exit::Exit;
use crate::follow::ending::runs;
use crate::interrupt::Interrupts;
use crate::link::Link;
use crate::output::{Format, Output};
use crate::prompt;
use crate::report::{Report, Target};
use crate::value::{Shown, decode};
use crate::{Ended, Stop};

/// Runs that are named to people before they are asked; the others are counted.
const SHOWN: usize = 20;

/// What is to end, checked.
#[derive(Debug)]
pub(in crate::commands) enum EndsQuestion {
    Cancel(Cancel),
    Delete { job: String, yes: bool },
}

/// A cancellation, checked.
#[derive(Debug)]
pub(in crate::commands) struct Cancel {
    what: What,
    grace_ms: Option<u32>,
    preview: bool,
    /// It need not be confirmed.
    sure: bool,
}

#[derive(Debug)]
enum What {
    /// By `rp.jobs.cancel`.
    Jobs(Box<CancelArguments>),
    /// By `rp.queues.cancel`.
    Queue(Raw),
}

/// `rpctl queues cancel`.
pub(in crate::commands) fn cancel_queue(name: &str, how: &CancelHow) -> Result<EndsQuestion, Stop> {
    Cancel::new(What::Queue(queue_name(name)?), how, how.yes).map(EndsQuestion::Cancel)
}

impl EndsQuestion {
    pub(super) fn cancel(args: &JobsCancelArgs) -> Result<Self, Stop> {
        let arguments = CancelArguments {
            job: args.job.as_deref().map(job_id).transpose()?,
            agent: args.agent.as_deref().map(agent_id).transpose()?,
            queue: args.queue.as_deref().map(queue_name).transpose()?,
            criteria: criteria::read(&args.criteria)?,
            ..CancelArguments::default()
        };
        // a job is named; what else is reached is not known to whoever types it
        let sure = args.how.yes || arguments.job.is_some();
        Cancel::new(What::Jobs(Box::new(arguments)), &args.how, sure).map(Self::Cancel)
    }

    pub(in crate::commands) async fn run(
        &self,
        link: &Link,
        output: &mut Output,
        interrupts: &mut Interrupts,
        verbose: bool,
    ) -> Ended {
        match self {
            Self::Cancel(cancel) => cancel.run(link, output, interrupts, verbose).await,
            Self::Delete { job, yes } => {
                let what = format!("delete job {job} with its results and output");
                prompt::confirm(&what, prompt::FINAL, *yes, link.until(), output, interrupts).await?;
                let kwargs = encoded(&JobArguments { job: job.clone() })?;
                ask(link, (method::JOBS_DELETE, true), kwargs, interrupts, verbose).await?;
                let entries = [("job", job.as_str().into()), ("deleted", true.into())];
                let look = "what is still known of it: rpctl events";
                silent::done(entries, (&format!("job {job} is deleted"), look), output)
            }
        }
    }
}

impl Cancel {
    fn new(what: What, how: &CancelHow, sure: bool) -> Result<Self, Stop> {
        let grace_ms = how.grace.map(|grace| {
            u32::try_from(grace.as_millis()).map_err(|_long| {
                let why = format!("it is longer than {} days", u32::MAX / 86_400_000);
                Report::usage("--grace is too long", why, "give a shorter one")
            })
        });
        Ok(Self { what, grace_ms: grace_ms.transpose()?, preview: how.preview, sure })
    }

    async fn run(
        &self,
        link: &Link,
        output: &mut Output,
        interrupts: &mut Interrupts,
        verbose: bool,
    ) -> Ended {
        if self.preview {
            let (found, raw) = self.ask(true, link, interrupts, verbose).await?;
            return print_preview(&found, &raw, output);
        }
        if !self.sure {
            let (found, _) = self.ask(true, link, interrupts, verbose).await?;
            if found.total == 0 {
                output.note("nothing that is open matches; nothing was cancelled");
                return Ok(Exit::Good);
            }
            name(&found, output);
            let what = format!("cancel {} of {}", runs(count(&found)), jobs(found.total));
            prompt::confirm(&what, prompt::FINAL, false, link.until(), output, interrupts).await?;
        }
        let (done, raw) = self.ask(false, link, interrupts, verbose).await?;
        let CancelAnswer { total, ended, asked, .. } = done;
        let never = if ended == 1 { "starts" } else { "start" };
        let being = if asked == 1 { "is" } else { "are" };
        let text = format!(
            "{}: {} never {never}, {} {being} being ended",
            jobs(total),
            runs(ended.into()),
            runs(asked.into())
        );
        let printed = if output.format() == Format::Table {
            output.bytes(format!("{text}\n").as_bytes())
        } else {
            output.document(&Shown(&decode(&raw)))
        };
        told(printed, Exit::Good, &text, "see how they stand: rpctl jobs list, rpctl jobs show JOB")
    }

    async fn ask(
        &self,
        preview: bool,
        link: &Link,
        interrupts: &mut Interrupts,
        verbose: bool,
    ) -> Result<(CancelAnswer, Raw), Stop> {
        let grace_ms = self.grace_ms;
        let (method, kwargs) = match &self.what {
            What::Jobs(arguments) => (
                method::JOBS_CANCEL,
                encoded(&CancelArguments { grace_ms, preview, ..(**arguments).clone() })?,
            ),
            What::Queue(name) => {
                let arguments = QueueCancelArguments { name: name.clone(), grace_ms, preview };
                (method::QUEUES_CANCEL, encoded(&arguments)?)
            }
        };
        let answer = ask(link, (method, !preview), kwargs, interrupts, verbose).await?;
        Ok((decoded(&answer, method)?, answer))
    }
}

async fn ask(
    link: &Link,
    (method, changes): (&'static str, bool),
    kwargs: Raw,
    interrupts: &mut Interrupts,
    verbose: bool,
) -> Result<Raw, Stop> {
    let target = Target::Manager { method };
    let call = link.request(method, kwargs);
    let answer = async {
        if changes {
            link.change(call, &target, verbose).await
        } else {
            link.ask(call, &target, verbose).await
        }
    };
    tokio::select! {
        biased;
        _ = interrupts.next() => Err(if changes {
            interrupted_change(&target)
        } else {
            interrupted("before the answer came")
        }
        .into()),
        answer = answer => answer,
    }
}

fn jobs(count: u64) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") }
}

/// How many runs it is about.
fn count(found: &CancelAnswer) -> u64 {
    u64::from(found.ended) + u64::from(found.asked)
}

/// Names some of what is reached on stderr, and says how much it is in all.
fn name(found: &CancelAnswer, output: &mut Output) {
    if found.runs.is_empty() {
        // an older manager
        for job in found.jobs.iter().take(SHOWN) {
            output.note(&format!("- {job}"));
        }
        return more(found.total, found.jobs.len().min(SHOWN), "jobs", output);
    }
    for run in found.runs.iter().take(SHOWN) {
        output.note(&format!("- {} on {}: {}", run.job, run.agent, state(run)));
    }
    more(count(found), found.runs.len().min(SHOWN), "runs", output);
}

fn more(all: u64, shown: usize, what: &str, output: &mut Output) {
    let rest = all.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    if rest > 0 {
        output.note(&format!("and {rest} more {what}"));
    }
}

/// Where a run is, and in which attempt if it is not the first.
fn state(run: &ReachedRun) -> String {
    if run.attempt > 1 { format!("{}, attempt {}", run.state, run.attempt) } else { run.state.clone() }
}

fn print_preview(found: &CancelAnswer, raw: &Raw, output: &mut Output) -> Ended {
    if output.format() == Format::Table {
        if found.runs.is_empty() && !found.jobs.is_empty() {
            output.table(&["JOB"], found.jobs.iter().map(|job| vec![job.clone()]).collect())?;
            more(found.total, found.jobs.len(), "jobs", output);
        } else if !found.runs.is_empty() {
            let row = |run: &ReachedRun| vec![run.job.clone(), run.agent.clone(), state(run)];
            output.table(&["JOB", "AGENT", "STATE"], found.runs.iter().map(row).collect())?;
            more(count(found), found.runs.len(), "runs", output);
        }
        let CancelAnswer { total, ended, asked, .. } = found;
        output.note(&format!(
            "it would reach {}: {} would never start, {} would be ended; nothing was cancelled",
            jobs(*total),
            runs((*ended).into()),
            runs((*asked).into())
        ));
    } else {
        output.document(&Shown(&decode(raw)))?;
    }
    Ok(Exit::Good)
}
