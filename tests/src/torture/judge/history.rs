//! The events tell what the rows say: each change once, in order, under numbers without gaps, and as it was written (I15).

use redpoll_common::api::events::EventSummary;
use redpoll_common::api::jobs::RunSummary;

use super::super::evidence::{Evidence, Job};
use super::Finding;

pub(super) fn check(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let gap = evidence.events.iter().zip(1..).find(|(event, n)| event.n != *n);
    if let Some((event, n)) = gap {
        findings.push(Finding::general(format!("I15: event {} stands where {n} should", event.n)));
    }
    let newest = evidence.events.last().map_or(0, |event| event.n);
    match &evidence.verified {
        None => findings.push(Finding::general("I15: nobody verified the history")),
        Some(verified) if verified.flaw.is_some() => {
            findings.push(Finding::general(format!("I15: the history was changed: {:?}", verified.flaw)));
        }
        Some(verified) if verified.last.n < newest => {
            let text = format!("I15: verified up to event {} of {newest}", verified.last.n);
            findings.push(Finding::general(text));
        }
        Some(_) => {}
    }
    for (id, job) in &evidence.jobs {
        let of = evidence.events.iter().filter(|event| event.job.as_ref() == Some(id));
        let events: Vec<&EventSummary> = of.collect();
        if let Err(text) = of_job(job, &events) {
            findings.push(Finding::of(id, format!("I15: {text}")));
        }
        for run in &job.detail.runs {
            let of = events.iter().filter(|event| event.agent.as_ref() == Some(&run.agent));
            if let Err(text) = of_run(run, &of.copied().collect::<Vec<_>>()) {
                findings.push(Finding::of(id, format!("I15: {text} (on {})", run.agent)));
            }
        }
    }
    for event in evidence.events.iter().filter(|event| is_of_unknown(evidence, event)) {
        findings.push(Finding::general(format!("I15: an event of a job that nobody knows: {event:?}")));
    }
    let acknowledged = evidence
        .told
        .submits
        .iter()
        .filter(|submit| submit.cancelled.is_some_and(|(ended, asked)| ended + asked > 0));
    for submit in acknowledged {
        let told = |event: &EventSummary| {
            event.job.as_ref() == Some(&submit.job) && event.kind == "job.cancel_asked"
        };
        if !evidence.events.iter().any(told) {
            findings
                .push(Finding::of(&submit.job, "I15: a cancel was acknowledged, and no event tells of it"));
        }
    }
}

fn is_of_unknown(evidence: &Evidence, event: &EventSummary) -> bool {
    event.job.as_ref().is_some_and(|job| !evidence.jobs.contains_key(job))
}

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}

fn of_job(job: &Job, events: &[&EventSummary]) -> Result<(), String> {
    let of = |kind: &str| events.iter().filter(|event| event.kind == kind).copied().collect::<Vec<_>>();
    ensure(of("job.submitted").len() == 1, || "it was not submitted once".to_owned())?;
    ensure(events.first().is_some_and(|event| event.kind == "job.submitted"), || {
        "something happened before it was submitted".to_owned()
    })?;
    ensure(of("job.released").len() <= 1, || "it was released twice".to_owned())?;
    let ends = of("job.ended");
    let corrected = job.detail.runs.iter().filter(|run| run.corrected).count();
    ensure((1..=1 + corrected).contains(&ends.len()), || {
        format!("it ended {} times, and {corrected} of its runs were corrected", ends.len())
    })?;
    let told = ends.last().and_then(|event| event.outcome.as_deref());
    ensure(told == job.detail.job.outcome.as_deref(), || {
        format!("it ended as {:?}, and its last event says {told:?}", job.detail.job.outcome)
    })?;
    let first_end = ends.first().map_or(0, |event| event.n);
    let late = of("run.ended").iter().any(|event| event.n > first_end);
    ensure(!late, || "a run ended after its job".to_owned())
}

/// From the first attempt to the last, each with its end.
fn of_run(run: &RunSummary, events: &[&EventSummary]) -> Result<(), String> {
    let of = |kind: &str| events.iter().filter(|event| event.kind == kind).copied().collect::<Vec<_>>();
    let ended = of("run.ended");
    ensure(ended.len() == 1, || format!("it ended {} times", ended.len()))?;
    let corrected = of("run.corrected");
    ensure(corrected.len() == usize::from(run.corrected), || {
        format!("it was corrected {} times, and its row says {}", corrected.len(), run.corrected)
    })?;
    let outcome = run.end.as_ref().map(|end| end.outcome.as_str());
    let last = corrected.first().or_else(|| ended.first()).and_then(|event| event.outcome.as_deref());
    ensure(last == outcome, || format!("it is {outcome:?}, and its last event says {last:?}"))?;
    if run.corrected {
        let first = ended.first().and_then(|event| event.outcome.as_deref());
        ensure(first == Some("unknown"), || format!("it was corrected, and was {first:?}"))?;
    }
    let retried: Vec<_> =
        of("run.retried").iter().map(|event| (event.attempt, event.outcome.clone())).collect();
    let earlier: Vec<_> =
        run.earlier.iter().map(|earlier| (Some(earlier.attempt), Some(earlier.outcome.clone()))).collect();
    ensure(retried == earlier, || {
        format!("its attempts ended as {earlier:?}, and its events say {retried:?}")
    })?;
    let mut begun: Vec<Option<u16>> = of("run.started").iter().map(|event| event.attempt).collect();
    let all = begun.len();
    begun.dedup();
    ensure(begun.len() == all, || "an attempt was started twice".to_owned())?;
    let end = ended.first().map_or(0, |event| event.n);
    let late = events.iter().find(|event| event.n > end && event.kind != "run.corrected");
    ensure(late.is_none(), || format!("it had ended, and then there is {late:?}"))
}
