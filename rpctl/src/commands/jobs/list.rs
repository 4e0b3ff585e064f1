//! `rpctl jobs list`.

use redpoll_common::api::jobs::{JobList, JobListArguments, JobSummary};
use redpoll_common::api::method;
use redpoll_net::clock;

use crate::cli::JobsListArgs;
use crate::commands::{decoded, elements, encoded, queue_name, queue_words};
use crate::exit::Exit;
use crate::link::Link;
use crate::output::{Format, Output};
use crate::report::{Report, Target};
use crate::times::{self, Since};
use crate::value::Shown;
use crate::{Ended, Stop};

/// Jobs in one answer, at most.
const PAGE: u32 = 1000;
const HEADERS: [&str; 7] = ["JOB", "STATE", "PROCEDURE", "RUNS", "SUBMITTER", "SUBMITTED", "QUEUE"];

/// Which jobs, checked.
#[derive(Debug)]
pub(in crate::commands) struct ListQuestion {
    arguments: JobListArguments,
    limit: u32,
}

impl ListQuestion {
    pub(super) fn read(args: &JobsListArgs) -> Result<Self, Stop> {
        let since = args.since.as_deref().map(|text| {
            times::since(text).map_err(|expected| {
                Report::usage(format!("--since {text:?} is no time"), expected, "see rpctl jobs list --help")
            })
        });
        let (since_ms, since_ms_ago) = match since.transpose()? {
            // also by the clock here, for managers that know nothing else
            Some(Since::Ago(ago)) => (Some(clock::wall_ms().saturating_sub(ago)), Some(ago)),
            Some(Since::At(at)) => (Some(at), None),
            None => (None, None),
        };
        let arguments = JobListArguments {
            state: args.state.clone(),
            agent: args.agent.clone(),
            queue: args.queue.as_deref().map(queue_name).transpose()?,
            submitter: args.submitter.clone(),
            since_ms,
            since_ms_ago,
            before: None,
            limit: None,
        };
        Ok(Self { arguments, limit: args.limit })
    }

    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        let target = Target::Manager { method: method::JOBS_LIST };
        let mut arguments = self.arguments.clone();
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        let mut left = self.limit;
        let more = loop {
            arguments.limit = Some(left.min(PAGE));
            let call = link.request(method::JOBS_LIST, encoded(&arguments)?);
            let answer = link.ask(call, &target, verbose).await?;
            let page: JobList = decoded(&answer, method::JOBS_LIST)?;
            let found = page.jobs.len();
            if output.format() == Format::Table {
                rows.extend(page.jobs.iter().map(row));
            } else {
                values.extend(elements(&answer, "jobs"));
            }
            left = left.saturating_sub(u32::try_from(found).unwrap_or(u32::MAX));
            match page.next {
                // also after an empty page: what the manager looked at for one answer was nothing of it
                Some(next) if left > 0 && arguments.before.as_ref() != Some(&next) => {
                    arguments.before = Some(next)
                }
                next => break next.is_some(),
            }
        };
        if output.format() == Format::Table {
            output.table(&HEADERS, rows)?;
        } else {
            let shown: Vec<_> = values.iter().map(Shown).collect();
            output.list(&[], &shown, |_| Vec::new())?;
        }
        if more {
            output.note(&format!("there are more than {}; --limit N shows more", self.limit));
        }
        Ok(Exit::Good)
    }
}

/// The state of a job, and its outcome if it has one.
pub(super) fn state(job: &JobSummary) -> String {
    match &job.outcome {
        Some(outcome) => outcome.clone(),
        None => job.state.clone(),
    }
}

/// `3`, or `1 of 3 open`.
pub(super) fn runs(job: &JobSummary) -> String {
    if job.open == 0 || job.open == job.runs {
        job.runs.to_string()
    } else {
        format!("{} of {} open", job.open, job.runs)
    }
}

fn row(job: &JobSummary) -> Vec<String> {
    vec![
        job.job.clone(),
        state(job),
        job.procedure.clone(),
        runs(job),
        job.submitter.clone(),
        times::local(job.submitted_ms),
        job.queue.as_ref().map_or_else(String::new, queue_words),
    ]
}
