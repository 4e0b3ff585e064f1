//! What is asked of the manager in one session: what the spool holds, and reports. Each has one answer, or none by a
//! deadline; all of it goes with the session.

use std::collections::BTreeSet;
use std::time::Duration;

use redpoll_common::job::Dno;
use redpoll_common::job::wire::{
    Act, Report, ReportAnswer, Resume, ResumeAct, ResumeAnswer, ResumeRow, RunRef,
};
use redpoll_common::session::{Refusal, SMALL};
use redpoll_common::wire::{DecodeError, FaultCode, Raw};
use redpoll_net::{Call, CallError, CallEvent, CallStream, Peer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Input;
use super::split::{Pieces, fits, split};

/// What the first request of each session is called.
const RESUME: &str = "rp.job.resume";
/// What reports are called.
const REPORT: &str = "rp.job.report";
/// Requests that may wait: a page and the reports that the rules allow at a time are fewer.
pub const ASKS: usize = 16;
/// When to ask a manager again that knows no jobs, in milliseconds.
const KNOWS_NONE: u64 = 60_000;
/// Runs of which it is remembered that something was left out.
const REMEMBERED: usize = 1_024;
/// What a request takes of a frame beside its named arguments, generously.
const AROUND: usize = 256;

/// A question to the manager, by its number.
#[derive(Debug)]
pub(super) enum Ask {
    Resume(u64, Resume),
    Report(u64, Report),
}

/// The session, as long as this lives.
#[derive(Debug)]
pub(super) struct Session {
    peer: Peer,
    asks: mpsc::Sender<Ask>,
    /// Ends the waiting for answers with it.
    _over: DropGuard,
}

impl Session {
    /// Begins; answers go to `answers`, each within `patience` or not at all.
    pub(super) fn new(
        peer: Peer,
        patience: Duration,
        answers: mpsc::Sender<Input>,
        tracker: &TaskTracker,
    ) -> Self {
        let (asks, asked) = mpsc::channel(ASKS);
        let over = CancellationToken::new();
        let asker = Asker {
            peer: peer.clone(),
            patience,
            answers,
            tracker: tracker.clone(),
            large: Vec::new(),
            left_out: BTreeSet::new(),
            over: over.clone(),
        };
        tracker.spawn(over.clone().run_until_cancelled_owned(asker.run(asked)));
        Self { peer, asks, _over: over.drop_guard() }
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Asks; never waits.
    pub(super) fn ask(&self, ask: Ask) {
        if let Err(error) = self.asks.try_send(ask) {
            // the session is at its end, or the rules have changed: either way the same is asked again later
            debug!(%error, "not asked");
        }
    }
}

/// Sends what is asked, in order.
struct Asker {
    peer: Peer,
    patience: Duration,
    answers: mpsc::Sender<Input>,
    tracker: TaskTracker,
    /// Large reports that were not answered, and the runs in them.
    large: Vec<(BTreeSet<Dno>, JoinHandle<()>)>,
    /// Runs of which something was left out, which the log has.
    left_out: BTreeSet<Dno>,
    over: CancellationToken,
}

impl Asker {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        while let Some(ask) = asked.recv().await {
            match ask {
                Ask::Resume(id, page) => {
                    let stream = self.send(RESUME, page.write()).await;
                    let _task = self.wait(async move {
                        let answer = resumed(answer(stream).await);
                        if let Ok(answer) = &answer {
                            warn_of_dropped(&page, answer);
                        }
                        Input::Resumed(id, answer)
                    });
                }
                Ask::Report(id, report) => self.report(id, report).await,
            }
        }
    }

    /// Waits for an answer while others are asked, as long as the session lives.
    fn wait(&self, answer: impl Future<Output = Input> + Send + 'static) -> JoinHandle<()> {
        let (answers, over) = (self.answers.clone(), self.over.clone());
        self.tracker.spawn(async move {
            if let Some(answer) = over.run_until_cancelled_owned(answer).await {
                // an error means that the runner has ended
                let _ended = answers.send(answer).await;
            }
        })
    }

    async fn send(&self, method: &'static str, kwargs: Raw) -> Result<CallStream, CallError> {
        self.peer.start(Call::new(method, self.patience).with_kwargs(kwargs)).await
    }

    async fn report(&mut self, id: u64, report: Report) {
        let runs: BTreeSet<Dno> = report.reports.iter().map(|report| report.run.dno).collect();
        let kwargs = report.write();
        let room = self.peer.terms().frame_limit().saturating_sub(AROUND);
        if !fits(&kwargs, room) {
            let answer = self.in_pieces(report, room).await;
            let _ended = self.answers.send(Input::Reported(id, answer)).await;
            return;
        }
        self.large.retain(|(_, task)| !task.is_finished());
        if kwargs.len() <= SMALL {
            // what is small overtakes what is large; the items of a run must not
            for (_, task) in self.large.extract_if(.., |(others, _)| !others.is_disjoint(&runs)) {
                let _answered = task.await;
            }
        }
        let is_large = kwargs.len() + AROUND > SMALL;
        let stream = self.send(REPORT, kwargs).await;
        let task = self.wait(async move { Input::Reported(id, reported(answer(stream).await)) });
        if is_large {
            self.large.push((runs, task));
        }
    }

    /// One piece after the other, as one report with one answer.
    async fn in_pieces(&mut self, report: Report, room: usize) -> Result<ReportAnswer, Option<u64>> {
        let Pieces { pieces, left_out } = split(report, room);
        for (run, what) in left_out {
            self.warn_of_left_out(run, what, room);
        }
        let mut acks = Vec::new();
        for piece in pieces {
            let answer = reported(answer(self.send(REPORT, piece.write()).await).await)?;
            for ack in answer.acks {
                acks.retain(|older: &redpoll_common::job::wire::Ack| {
                    (older.job, older.attempt) != (ack.job, ack.attempt)
                });
                acks.push(ack);
            }
        }
        Ok(ReportAnswer { acks })
    }

    /// Says it once for each run, however much of it does not fit.
    fn warn_of_left_out(&mut self, run: RunRef, what: &str, room: usize) {
        if self.left_out.len() >= REMEMBERED {
            self.left_out.clear();
        }
        if self.left_out.insert(run.dno) {
            warn!(
                job = %run.job, attempt = run.attempt.0, what, room,
                "something of a run does not fit into the frames that the manager takes, and is left out; is its session.frame_limit \
                 smaller than that of this agent?"
            );
        }
    }
}

async fn answer(stream: Result<CallStream, CallError>) -> Result<Raw, CallError> {
    let mut stream = stream?;
    loop {
        match stream.next().await {
            Some(CallEvent::Value(_) | CallEvent::Progress(_)) => {}
            Some(CallEvent::End(result)) => return result,
            // the end was given already, which cannot be
            None => return Err(CallError::TimedOut(Duration::ZERO)),
        }
    }
}

/// The answer, or when to ask again.
fn resumed(answer: Result<Raw, CallError>) -> Result<ResumeAnswer, Option<u64>> {
    match answer {
        Ok(data) => ResumeAnswer::read(&data).map_err(unreadable),
        Err(CallError::Fault(fault)) if fault.code == FaultCode::UnknownMethod => {
            info!("the manager knows no jobs; this agent asks again now and then");
            Err(Some(fault.retry_after_ms.unwrap_or(KNOWS_NONE)))
        }
        Err(error) => Err(again(&error)),
    }
}

/// Says which runs the manager wants nothing of: what they did is known nowhere else.
fn warn_of_dropped(page: &Resume, answer: &ResumeAnswer) {
    let is_dropped = |row: &&ResumeRow| {
        let of = |act: &&ResumeAct| (act.job, act.attempt) == (row.run.job, row.run.attempt);
        answer.jobs.iter().find(of).is_some_and(|act| act.act == Act::Drop)
    };
    for row in page.jobs.iter().filter(is_dropped) {
        warn!(
            job = %row.run.job, attempt = row.run.attempt.0, state = row.state.as_str(),
            "the manager does not want this run, and what it gave is dropped: its job was deleted or tried again, or an older copy \
             of the manager's store was put back"
        );
    }
}

fn reported(answer: Result<Raw, CallError>) -> Result<ReportAnswer, Option<u64>> {
    match answer {
        Ok(data) => ReportAnswer::read(&data).map_err(unreadable),
        Err(error) => Err(again(&error)),
    }
}

/// When to ask again, if the manager said so.
fn again(error: &CallError) -> Option<u64> {
    match error {
        CallError::Fault(fault) => {
            warn!(code = %fault.code, error = ?fault.message, "the manager did not take what jobs did; it is sent again");
            fault.retry_after_ms
        }
        // reports are made to fit before they are sent, so that these are for somebody to look at
        CallError::TimedOut(_)
        | CallError::Refused(Refusal::TooLarge { .. } | Refusal::TextOnly | Refusal::Unacceptable(_)) => {
            warn!(%error, "the manager did not take what jobs did; it is sent again");
            None
        }
        // the session ends, and the next one begins with what is missing
        CallError::Closed(_) | CallError::Refused(Refusal::Closed(_) | Refusal::TooMany { .. }) => {
            debug!(%error, "not told");
            None
        }
    }
}

fn unreadable(error: DecodeError) -> Option<u64> {
    warn!(%error, "an answer of the manager about jobs cannot be read; the same is sent again");
    None
}
