//! `rpctl queues`: the queues that are there now.

use redpoll_common::api::method;
use redpoll_common::api::queues::{QueueArguments, QueueDetail, QueueList, QueueListArguments, QueueSummary};
use redpoll_common::wire::Raw;

use super::jobs::{JobsQuestion, cancel_queue};
use super::{Question, decoded, elements, encoded, queue_name, queue_words};
use crate::cli::QueuesCommand;
use crate::exit::Exit;
use crate::link::Link;
use crate::output::{Format, Output};
use crate::report::Target;
use crate::times;
use crate::value::{Shown, decode};
use crate::{Ended, Stop};

const HEADERS: [&str; 5] = ["QUEUE", "CONCURRENCY", "TAKEN", "WAITING", "OPENED"];

/// A question about queues, checked.
#[derive(Debug)]
pub(super) enum QueuesQuestion {
    List,
    Show { name: Raw, limit: u32 },
}

pub(super) fn read(command: &QueuesCommand) -> Result<Question, Stop> {
    Ok(match command {
        QueuesCommand::List => Question::Jobs(JobsQuestion::Queues(QueuesQuestion::List)),
        QueuesCommand::Show { name, limit } => {
            let name = queue_name(name)?;
            Question::Jobs(JobsQuestion::Queues(QueuesQuestion::Show { name, limit: *limit }))
        }
        QueuesCommand::Cancel { name, how } => Question::Ends(cancel_queue(name, how)?),
    })
}

impl QueuesQuestion {
    pub(super) async fn run(&self, link: &Link, output: &mut Output, verbose: bool) -> Ended {
        match self {
            Self::List => list(link, output, verbose).await,
            Self::Show { name, limit } => {
                let target = Target::Manager { method: method::QUEUES_SHOW };
                let arguments = QueueArguments { name: name.clone(), limit: Some(*limit) };
                let call = link.request(method::QUEUES_SHOW, encoded(&arguments)?);
                let answer = link.ask(call, &target, verbose).await?;
                show(&answer, output)
            }
        }
    }
}

async fn list(link: &Link, output: &mut Output, verbose: bool) -> Ended {
    let target = Target::Manager { method: method::QUEUES_LIST };
    let mut arguments = QueueListArguments::default();
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    loop {
        let call = link.request(method::QUEUES_LIST, encoded(&arguments)?);
        let answer = link.ask(call, &target, verbose).await?;
        let page: QueueList = decoded(&answer, method::QUEUES_LIST)?;
        rows.extend(page.queues.iter().map(row));
        values.extend(elements(&answer, "queues"));
        match page.next {
            Some(next) if !page.queues.is_empty() => arguments.after = Some(next),
            Some(_) | None => break,
        }
    }
    if output.format() == Format::Table {
        output.table(&HEADERS, rows)?;
    } else {
        let shown: Vec<_> = values.iter().map(Shown).collect();
        output.list(&[], &shown, |_| Vec::new())?;
    }
    Ok(Exit::Good)
}

fn row(queue: &QueueSummary) -> Vec<String> {
    vec![
        queue_words(&queue.name),
        queue.concurrency.to_string(),
        queue.taken.to_string(),
        queue.waiting.to_string(),
        times::local(queue.opened_ms),
    ]
}

fn show(answer: &Raw, output: &mut Output) -> Ended {
    if output.format() != Format::Table {
        output.document(&Shown(&decode(answer)))?;
        return Ok(Exit::Good);
    }
    let detail: QueueDetail = decoded(answer, method::QUEUES_SHOW)?;
    output.table(&HEADERS, vec![row(&detail.queue)])?;
    output.bytes(b"\n")?;
    let rows = detail.runs.into_iter().map(|run| vec![run.job, run.agent, run.state]).collect();
    output.table(&["JOB", "AGENT", "STATE"], rows)?;
    Ok(Exit::Good)
}
