//! Shows that nobody else notices: an honest operator who calls an honest agent all the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::in_time;
use crate::operator::Operator;

/// Calls the agent from now until [`Witness::testify`].
#[derive(Debug)]
pub struct Witness {
    agent: String,
    operator: Arc<Operator>,
    since: Instant,
    stop: CancellationToken,
    calls: JoinSet<Report>,
}

/// What a witness saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls that were answered.
    pub answered: u64,
    /// The longest that one took.
    pub slowest: Duration,
    /// What went wrong.
    pub failures: Vec<String>,
}

impl Witness {
    /// Begins to call `agent`, two calls at a time.
    pub fn of(operator: Arc<Operator>, agent: &str) -> Self {
        let stop = CancellationToken::new();
        let mut calls = JoinSet::new();
        for caller in 0..2 {
            calls.spawn(call(operator.clone(), agent.to_owned(), caller, stop.clone()));
        }
        Self { agent: agent.to_owned(), operator, since: Instant::now(), stop, calls }
    }

    /// Stops, and checks that every call was answered in both sessions as they were from the start.
    ///
    /// # Panics
    /// When one was not, or a session was replaced meanwhile.
    pub async fn testify(mut self) -> Report {
        self.stop.cancel();
        let mut all = Report::default();
        while let Some(report) = in_time("the last calls of a witness", self.calls.join_next()).await {
            let report = report.expect("a witness that does not panic");
            all.answered += report.answered;
            all.slowest = all.slowest.max(report.slowest);
            all.failures.extend(report.failures);
        }
        assert!(all.failures.is_empty(), "others noticed: {all:?}");
        assert!(all.answered > 0, "the witness saw nothing");
        assert!(!self.operator.peer().is_closed(), "the session of the witness has ended");
        let called = self.since.elapsed();
        let agent = self.operator.agent(&self.agent).await.expect("the honest agent");
        // whole milliseconds are told
        let lasted = Duration::from_millis(agent.since_ms + 1);
        assert!(lasted >= called, "{} came anew: {agent:?}", self.agent);
        all
    }
}

async fn call(operator: Arc<Operator>, agent: String, caller: u32, stop: CancellationToken) -> Report {
    let mut report = Report::default();
    while !stop.is_cancelled() || report.answered == 0 {
        let began = Instant::now();
        match operator.echo(&agent, &format!("{caller}.{}", report.answered)).await {
            Ok(()) => report.answered += 1,
            Err(fault) => {
                report.failures.push(fault.to_string());
                break;
            }
        }
        report.slowest = report.slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    report
}
