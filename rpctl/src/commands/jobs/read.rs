//! `rpctl jobs read`: what a run has given so far.

use redpoll_common::api::items::{FollowEvent, ItemPage, ReadArguments};
use redpoll_common::api::method;
use rmpv::Value;

use crate::cli::{JobsReadArgs, StartArgs};
use crate::commands::{agent_id, encoded, job_id, unreadable};
use crate::exit::Exit;
use crate::follow::cursor::Cursors;
use crate::follow::records::value_of;
use crate::follow::{Plan, View};
use crate::link::Link;
use crate::output::Output;
use crate::report::Target;
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
        let StartArgs { since, recent } = args.start;
        let job = job_id(&args.job)?;
        let arguments = ReadArguments { job, agent, attempt: args.attempt, since, recent, limit: None };
        Ok(Self { arguments, raw: args.raw })
    }

    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        let target = Target::Manager { method: method::JOBS_READ };
        let mut arguments = self.arguments.clone();
        let mut cursors = Cursors::new(arguments.since.is_none() && arguments.recent.is_none());
        let plan = Plan {
            job: arguments.job.clone(),
            procedure: String::new(),
            program: None,
            runs: 1,
            raw: self.raw,
            verbose,
        };
        let mut view = View::new(output, plan);
        loop {
            let call = link.request(method::JOBS_READ, encoded(&arguments)?);
            let answer = link.ask(call, &target, verbose).await?;
            let page =
                ItemPage::read(&answer).map_err(|error| unreadable(method::JOBS_READ, &error.to_string()))?;
            let progressed = !page.items.is_empty();
            let ItemPage { agent, attempt, items, next, more, end } = page;
            // the pages that follow are of the same attempt, whatever happens meanwhile
            arguments.agent = Some(agent.clone());
            arguments.attempt = Some(attempt);
            arguments.since = Some(next);
            arguments.recent = None;
            let event = FollowEvent { items, ..FollowEvent::of(agent, attempt) };
            let event = cursors.take(event).map_err(|gap| unreadable(method::JOBS_READ, &gap.to_string()))?;
            view.event(&event, output)?;
            // there may be more later: that is for follow
            if more && progressed {
                continue;
            }
            match &mut view {
                View::People(screen) => screen.flush(output)?,
                View::Scripts(records) => {
                    let end = end.as_ref().map(value_of);
                    records.close(&[("next", Some(Value::from(next))), ("end", end)], output)?;
                }
            }
            return Ok(Exit::Good);
        }
    }
}
