//! `rpctl jobs show`.

use redpoll_common::api::jobs::{AttemptSummary, JobDetail, JobShowArguments, RunSummary};
use redpoll_common::api::method;
use redpoll_common::wire::Raw;
use rmpv::Value;

use super::list::{runs, state};
use crate::Ended;
use crate::commands::{decoded, elements, encoded, queue_words};
use crate::exit::Exit;
use crate::follow::ending;
use crate::link::Link;
use crate::output::{Format, Output, OutputError, json};
use crate::report::Target;
use crate::times;
use crate::value::{Shown, decode};

/// Of attempts that were tried again.
const EARLIER: [&str; 5] = ["AGENT", "ATTEMPT", "OUTCOME", "ENDED", "WHY"];
const HEADERS: [&str; 9] =
    ["AGENT", "STATE", "ATTEMPT", "STARTED", "ENDED", "TOOK", "ITEMS", "OUTPUT", "WHY"];

pub(super) async fn run(job: &str, link: &Link, output: &mut Output, verbose: bool) -> Ended {
    let target = Target::Manager { method: method::JOBS_SHOW };
    let mut arguments = JobShowArguments { job: job.to_owned(), after: None, limit: Some(1000) };
    let mut whole: Option<(JobDetail, Value)> = None;
    loop {
        let call = link.request(method::JOBS_SHOW, encoded(&arguments)?);
        let answer = link.ask(call, &target, verbose).await?;
        let page: JobDetail = decoded(&answer, method::JOBS_SHOW)?;
        arguments.after = page.next.clone().filter(|_| !page.runs.is_empty());
        match &mut whole {
            None => whole = Some((page, decode(&answer))),
            Some((detail, value)) => {
                detail.runs.extend(page.runs);
                append(value, "runs", elements(&answer, "runs"));
            }
        }
        if arguments.after.is_none() {
            break;
        }
    }
    if let Some((detail, value)) = whole {
        if output.format() == Format::Table {
            print(&detail, output)?;
        } else {
            output.document(&Shown(&without_next(value)))?;
        }
    }
    Ok(Exit::Good)
}

/// More elements for a list of a document.
pub(super) fn append(document: &mut Value, key: &str, more: Vec<Value>) {
    let Value::Map(entries) = document else { return };
    let list = entries.iter_mut().find(|(k, _)| k.as_str() == Some(key)).map(|(_, list)| list);
    if let Some(Value::Array(elements)) = list {
        elements.extend(more);
    }
}

/// A document of all pages has no next one.
pub(super) fn without_next(mut document: Value) -> Value {
    if let Value::Map(entries) = &mut document {
        entries.retain(|(key, _)| key.as_str() != Some("next"));
    }
    document
}

fn print(detail: &JobDetail, output: &mut Output) -> Result<(), OutputError> {
    let job = &detail.job;
    let mut rows = vec![
        vec!["job".to_owned(), job.job.clone()],
        vec!["procedure".to_owned(), job.procedure.clone()],
        vec!["state".to_owned(), state(job)],
        vec!["runs".to_owned(), runs(job)],
        vec!["submitter".to_owned(), job.submitter.clone()],
        vec!["submitted".to_owned(), times::local(job.submitted_ms)],
    ];
    let mut more = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.push(vec![key.to_owned(), value]);
        }
    };
    let words = |raw| json(&Shown(&decode(raw)), false).ok();
    more("released", job.released_ms.filter(|ms| *ms != job.submitted_ms).map(times::local));
    more("ended", job.ended_ms.map(times::local));
    more("corrected", detail.runs.iter().filter_map(|run| run.corrected_ms).max().map(times::local));
    more("outcomes", Some(ending::counted(&job.outcomes)).filter(|text| !text.is_empty()));
    more("queue", job.queue.as_ref().map(queue_words));
    more("key", job.key.clone());
    more("info", Some(&job.info).filter(|info| !info.is_nil()).and_then(words));
    more("args", Some(&detail.args).filter(|args| args.as_bytes() != [0x90]).and_then(words));
    more("kwargs", Some(&detail.kwargs).filter(|kwargs| kwargs.as_bytes() != [0x80]).and_then(words));
    for (option, value) in &detail.options {
        match (option.as_str(), detail.queue_concurrency) {
            ("concurrency", Some(of_queue)) => more(option, Some(concurrency(value, of_queue))),
            _ => more(option, words(value)),
        }
    }
    for callback in &detail.callbacks {
        let error = callback.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        let name = format!("callback {}", callback.serial);
        more(&name, Some(format!("{}{error}", told(&callback.state, callback.tries))));
    }
    output.table(&[], rows)?;
    output.bytes(b"\n")?;
    let limit = detail.options.get("output_limit").and_then(|limit| limit.decode().ok());
    output.table(&HEADERS, detail.runs.iter().map(|run| row(run, limit)).collect())?;
    let earlier =
        |run: &RunSummary| run.earlier.iter().map(|attempt| tried(&run.agent, attempt)).collect::<Vec<_>>();
    let earlier: Vec<_> = detail.runs.iter().flat_map(earlier).collect();
    if !earlier.is_empty() {
        output.bytes(b"\nearlier attempts\n")?;
        output.table(&EARLIER, earlier)?;
    }
    Ok(())
}

/// An attempt that was tried again.
fn tried(agent: &str, attempt: &AttemptSummary) -> Vec<String> {
    let why = attempt
        .fault
        .as_ref()
        .map_or_else(String::new, |fault| format!("{} ({})", fault.message, fault.code));
    vec![
        agent.to_owned(),
        attempt.attempt.to_string(),
        attempt.outcome.clone(),
        times::local(attempt.ended_ms),
        why,
    ]
}

/// Where a callback stands; the try that succeeded counts.
fn told(state: &str, tries: u32) -> String {
    let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
    match state {
        "delivered" => format!("delivered at try {tries}"),
        other => format!("{other}, tried {times}"),
    }
}

/// What the queue holds to, and what the job asked for where that is something else.
fn concurrency(asked: &Raw, of_queue: u32) -> String {
    match asked.decode::<u32>() {
        Ok(asked) if asked != of_queue => {
            format!("{of_queue} in this queue, as the job that made it said; this job asked for {asked}")
        }
        Ok(_) | Err(_) => of_queue.to_string(),
    }
}

/// Bytes as they count against the limit, and the limit if the job has one.
fn output_bytes(run: &RunSummary, limit: Option<u64>) -> String {
    match (run.item_bytes, limit) {
        (None, _) => "-".to_owned(),
        (Some(bytes), None) => bytes.to_string(),
        (Some(bytes), Some(limit)) => format!("{bytes}/{limit}"),
    }
}

fn row(run: &RunSummary, output_limit: Option<u64>) -> Vec<String> {
    let end = run.end.as_ref();
    let mut state = end.map_or_else(|| run.state.clone(), |end| end.outcome.clone());
    if run.cancelling && end.is_none() {
        state.push_str(", cancelling");
    }
    if run.corrected {
        state.push_str(", corrected");
    }
    vec![
        run.agent.clone(),
        state,
        run.attempt.to_string(),
        times::local_or_dash(run.started_ms),
        times::local_or_dash(run.ended_ms),
        end.and_then(|end| end.duration_ms).map_or_else(|| "-".to_owned(), times::short),
        run.items.to_string(),
        output_bytes(run, output_limit),
        end.map_or_else(String::new, ending::why),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_concurrency_that_counts_is_told_first() {
        let asked = |n: u32| Raw::encode(&n).unwrap();
        assert_eq!(concurrency(&asked(2), 2), "2");
        let told = concurrency(&asked(5), 2);
        assert_eq!(told, "2 in this queue, as the job that made it said; this job asked for 5");
    }

    #[test]
    fn a_callback_tells_its_tries_and_none_of_them_as_failed_that_was_not() {
        assert_eq!(told("delivered", 1), "delivered at try 1");
        assert_eq!(told("abandoned", 6), "abandoned, tried 6 times");
        assert_eq!(told("pending", 1), "pending, tried once");
    }
}
