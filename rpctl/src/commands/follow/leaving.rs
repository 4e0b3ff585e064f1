//! What a person is told who does not follow any more: that it goes on, and how to come back; or how it ended meanwhile.

use std::time::Duration;

use redpoll_common::api::jobs::{JobShowArguments, ResultArguments};
use redpoll_common::api::method;
use redpoll_common::wire::Fault;
use rmpv::Value;
use tokio::time::{Instant, timeout_at};

use super::{Follower, Leaving};
use crate::Ended;
use crate::cli::Since;
use crate::commands::encoded;
use crate::exit::Exit;
use crate::feed::Feed;
use crate::follow::cursor::Gap;
use crate::report::{Report, Target};
use crate::value::{decode, field};

/// How long it may take to learn whether what is left has ended, and how.
const LAST_LOOK: Duration = Duration::from_secs(1);

impl Follower<'_> {
    /// The next item, where that is one: with its attempt, as the next attempt begins anew with its numbers.
    pub(super) fn next(&self) -> Option<Since> {
        let told = self.cursors.next_of_one();
        told.map(|(attempt, n)| Since { attempt: Some(attempt), n }).or(self.wanted.start.since)
    }

    /// How to follow again, without repetition where that is one number.
    fn again(&self) -> String {
        let mut command = format!("rpctl jobs follow {}", self.wanted.plan.job);
        if let Some(agent) = &self.wanted.agent {
            command.push_str(&format!(" --agent {agent}"));
        }
        let of_one = self.wanted.agent.is_some() || self.wanted.plan.runs == 1;
        let next = self.unprinted.unwrap_or_else(|| self.next());
        // item 0 of a later attempt is not where the job began
        let is_later = |next: &Since| next.n > 0 || next.attempt.is_some_and(|attempt| attempt > 1);
        if let Some(next) = next.filter(|next| of_one && is_later(next)) {
            command.push_str(&format!(" --since {next}"));
        }
        command
    }

    /// Whoever leaves is told that it goes on only when it does: it may have ended while nobody looked, as at a question.
    pub(super) async fn leave(&mut self, leaving: Leaving, feed: &mut Feed<'_>) -> Ended {
        let report = match leaving {
            Leaving::Detached => self.detached(),
            Leaving::Late => self.late(),
        };
        let until = Instant::now() + LAST_LOOK;
        if !self.has_ended(feed).await {
            return Err(report.into());
        }
        while let Ok(step) = timeout_at(until, feed.step(method::JOBS_FOLLOW, || self.arguments())).await {
            if let Some(exit) = self.step(step?)? {
                return Ok(exit);
            }
        }
        let job = &self.wanted.plan.job;
        let why = format!("job {job} has ended meanwhile, and the manager has all that it gave");
        let help = format!("read it: rpctl jobs read {job}; how it ended: rpctl jobs result {job}");
        Err(Report { why, help, ..report }.into())
    }

    /// Whether what is followed has ended, as far as the manager says so at once.
    async fn has_ended(&self, feed: &Feed<'_>) -> bool {
        let (job, agent) = (self.wanted.plan.job.clone(), self.wanted.agent.clone());
        let question = match agent {
            Some(_) => {
                let arguments = ResultArguments { job, agent, wait_ms: None, after: None };
                encoded(&arguments).map(|kwargs| (method::JOBS_RESULT, kwargs))
            }
            None => encoded(&JobShowArguments { job, after: None, limit: Some(1) })
                .map(|kwargs| (method::JOBS_SHOW, kwargs)),
        };
        let Ok((method, kwargs)) = question else { return false };
        let Some(answer) = feed.steady.ask_once(method, kwargs, LAST_LOOK).await else { return false };
        let answer = decode(&answer);
        let asked = match &self.wanted.agent {
            Some(_) => field(&answer, "runs").and_then(Value::as_array).and_then(|runs| runs.first()),
            None => field(&answer, "job"),
        };
        asked.and_then(|asked| field(asked, "state")).and_then(Value::as_str) == Some("ended")
    }

    fn detached(&self) -> Report {
        let job = &self.wanted.plan.job;
        let why = if self.cancelling {
            format!("job {job} was asked to end and may not have ended yet")
        } else {
            format!("job {job} goes on without rpctl")
        };
        Report::new(Exit::Interrupted, "detached", why, self.follow_again())
    }

    /// Whoever read what is printed has gone.
    pub(super) fn unread(&self) -> Report {
        let job = &self.wanted.plan.job;
        let why = format!("job {job} goes on without rpctl, and how it ends is not known here");
        Report::new(Exit::Unknown, "nobody reads what rpctl prints any more", why, self.follow_again())
    }

    pub(super) fn last_words(&self) -> String {
        let Report { what, why, help, .. } = self.detached();
        format!("error: {what}\nwhy: {why}\nhelp: {help}\n")
    }

    fn late(&self) -> Report {
        let why = format!("job {} goes on without rpctl", self.wanted.plan.job);
        Report::new(Exit::TimedOut, "the time of --timeout is over", why, self.follow_again())
    }

    /// Only what has ended can be deleted.
    pub(super) fn gone(&self, fault: &Fault) -> Report {
        let job = &self.wanted.plan.job;
        let what = format!("job {job} was deleted while it was followed");
        let help = "what is still known of it: rpctl events";
        Report::new(Exit::Unknown, what, format!("{fault}; how it ended is not known here"), help)
    }

    /// The manager passed over items without a word.
    pub(super) fn torn(&self, gap: &Gap) -> Report {
        let what = format!("job {} cannot be followed any more", self.wanted.plan.job);
        Report::new(Exit::Unknown, what, self.goes_on(&gap.to_string()), self.follow_again())
    }

    pub(super) fn goes_on(&self, why: &str) -> String {
        format!("{why}; job {} goes on without rpctl", self.wanted.plan.job)
    }

    pub(super) fn follow_again(&self) -> String {
        format!("follow it again: {}; end it: rpctl jobs cancel {}", self.again(), self.wanted.plan.job)
    }

    pub(super) fn refused(&self, fault: &Fault, method: &'static str) -> Report {
        Report::of_fault(fault, &Target::Manager { method }, self.wanted.plan.verbose)
    }
}
