//! What timed out had reached a limit, and nothing runs far beyond one.
//!
//! By two clocks: the agent's, as it tells how long the run took, and that of the oracle, by which the process was started and
//! was told to stop.

use super::super::evidence::Job;
use super::{Attempt, Start, option};

/// How exactly the system tells when a process was started.
const TICK_MS: u64 = 20;
/// How long a busy machine may take from the limit to the end of the process, beside the grace.
const BUSY_MS: u64 = 5_000;

/// What is wrong with how long an attempt took.
pub(super) fn broken(job: &Job, attempt: Attempt<'_>, starts: &[Start]) -> Option<String> {
    let run_timeout: Option<u64> = option(job, "run_timeout_ms");
    let idle_timeout: Option<u64> = option(job, "idle_timeout_ms");
    let took = attempt.end.and_then(|end| end.duration_ms);
    let seen = starts.first().and_then(|start| Some(start.stopped_ms?.saturating_sub(start.began_ms)));
    if attempt.outcome == "timed_out" {
        let Some(limit) = run_timeout.into_iter().chain(idle_timeout).min() else {
            return Some("I6: timed out, and it had no limit".to_owned());
        };
        if took.is_some_and(|took| took < limit) || seen.is_some_and(|seen| seen + TICK_MS < limit) {
            return Some(format!("I6: timed out before its limit of {limit} ms: {took:?}, seen {seen:?}"));
        }
        if attempt.end.is_some() && took.is_none() {
            return Some("I6: timed out, and does not say how long it ran".to_owned());
        }
    }
    let grace: u64 = option(job, "grace_ms").unwrap_or(0);
    let most = run_timeout? + grace + BUSY_MS;
    let told = matches!(attempt.outcome, "timed_out" | "succeeded" | "failed");
    let long = took.into_iter().chain(seen).find(|long| told && *long > most);
    long.map(|long| format!("I6: it may run for {run_timeout:?} ms, and ran for {long}"))
}
