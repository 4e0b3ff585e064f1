//! `rpctl jobs read`: what a run has given so far.

use redpoll_common::api::items::{FollowEvent, ItemPage, ReadArguments};
use redpoll_common::api::method;
use rmpv::Value;

use crate::cli::JobsReadArgs;
use crate::commands::{agent_id, encoded, interrupted, job_id, unreadable};
use crate::exit::Exit;
use crate::follow::cursor::Cursors;
use crate::follow::records::{stopped, value_of};
use crate::follow::{Plan, View};
use crate::interrupt::Interrupts;
use crate::link::Link;
use crate::output::{Output, OutputError};
use crate::report::{Report, Target};
use crate::{Ended, Stop};

/// Which items, checked.
#[derive(Debug)]
pub(in crate::commands) struct ReadQuestion {
    arguments: ReadArguments,
    raw: bool,
}

impl ReadQuestion {
    pub(super) fn read(args: &JobsReadArgs) -> Result<Self, Stop> {
        let agent = args.agent.as_deref().map(agent_id).transpose()?;
        let JobsReadArgs { attempt, since, recent, .. } = *args;
        let job = job_id(&args.job)?;
        let arguments = ReadArguments { job, agent, attempt, since, recent, limit: None };
        Ok(Self { arguments, raw: args.raw })
    }

    /// Prints page after page, and obeys interrupts.
    pub(in crate::commands) async fn run(
        &self,
        link: &Link,
        output: &mut Output,
        interrupts: &mut Interrupts,
        verbose: bool,
    ) -> Ended {
        let plan = Plan {
            job: self.arguments.job.clone(),
            procedure: String::new(),
            program: None,
            runs: 1,
            raw: self.raw,
            verbose,
        };
        let view = View::new(output, plan);
        let mut reading = Reading { arguments: self.arguments.clone(), view, next: None };
        let ended = tokio::select! {
            biased;
            _ = interrupts.next() => Err(interrupted("before all was read").into()),
            ended = reading.pages(link, output, verbose) => ended,
        };
        reading.ended(ended, output)
    }
}

/// What is printed, page after page.
struct Reading {
    /// Of the next page.
    arguments: ReadArguments,
    view: View,
    /// Where to go on after what was printed.
    next: Option<u64>,
}

impl Reading {
    async fn pages(&mut self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        let target = Target::Manager { method: method::JOBS_READ };
        let mut cursors = Cursors::new(self.arguments.since.is_none() && self.arguments.recent.is_none());
        // a run may give as fast as it is read: what was not there at its first page is for follow
        let mut until = None;
        loop {
            let call = link.request(method::JOBS_READ, encoded(&self.arguments)?);
            let answer = link.ask(call, &target, verbose).await?;
            let page =
                ItemPage::read(&answer).map_err(|error| unreadable(method::JOBS_READ, &error.to_string()))?;
            let progressed = !page.items.is_empty() || !page.missing.is_empty();
            let ItemPage { agent, attempt, items, missing, next, more, stored, end } = page;
            // the pages that follow are of the same attempt, whatever happens meanwhile
            self.arguments.agent = Some(agent.clone());
            self.arguments.attempt = Some(attempt);
            self.arguments.since = Some(next);
            self.arguments.recent = None;
            let event = FollowEvent { items, missing, ..FollowEvent::of(agent, attempt) };
            let event = cursors.take(event).map_err(|gap| unreadable(method::JOBS_READ, &gap.to_string()))?;
            self.view.event(&event, output)?;
            self.next = Some(next);
            let until = *until.get_or_insert_with(|| stored.unwrap_or(u64::MAX));
            if more && progressed && next < until {
                continue;
            }
            match &mut self.view {
                View::People(screen) => screen.flush(output)?,
                View::Scripts(records) => {
                    let end = end.as_ref().map(value_of);
                    records.close(&[("next", Some(Value::from(next))), ("end", end)], output)?;
                }
            }
            return Ok(Exit::Good);
        }
    }

    /// Makes whole what was begun, and tells why it ends and where to go on.
    fn ended(&mut self, ended: Ended, output: &mut Output) -> Ended {
        let (Err(Stop::Failed(report)), Some(next)) = (&ended, self.next) else { return ended };
        let printed = match &mut self.view {
            View::People(screen) => screen.flush(output),
            View::Scripts(records) => {
                let entries =
                    [("next", Some(next.into())), ("end", None), ("stopped", Some(stopped(report)))];
                records.close(&entries, output)
            }
        };
        if let Err(error @ OutputError::Failed(_)) = printed {
            output.report(&Report::of_error(Exit::Internal, &error, "what was printed is not whole"));
        }
        let ReadArguments { job, agent, attempt, .. } = &self.arguments;
        let agent = agent.as_deref().unwrap_or_default();
        let attempt = attempt.unwrap_or_default();
        let again = format!("rpctl jobs read {job} --agent {agent} --attempt {attempt} --since {next}");
        let help = format!("{}; go on: {again}", report.help);
        Err(Report { help, ..(**report).clone() }.into())
    }
}
