//! One run of a recurring procedure: a note on disk, the procedure, a record on disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use redpoll_common::api::record::RecordArguments;
use redpoll_common::ids::RequestId;
use redpoll_common::job::{Ending, Item, Outcome};
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_exec::telling::{given_late, outlived};
use redpoll_net::service::{RunEvent, RunOutput, Running, StopHandle, own_call, stop_fault};
use redpoll_net::{CallContext, failpoint, random};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::collect::Collected;
use super::fit::fit;
use super::outbox::Shared;
use super::record::{Began, Kept};
use super::{Around, Entry};
use crate::clock::{boot_ms, boot_time};
use crate::exec::KILL_WAIT;
use crate::exec::programs::Programs;
use crate::gate::Asked;

/// How much longer than its grace a run that was asked to end is waited for: until what it has started is killed, or given up.
const PATIENCE: Duration = KILL_WAIT.saturating_add(Duration::from_secs(1));

/// One run.
pub(super) struct Run {
    pub(super) around: Around,
    pub(super) outbox: Arc<Shared>,
    pub(super) entry: Entry,
    pub(super) drain: CancellationToken,
    pub(super) end: CancellationToken,
    pub(super) kill: CancellationToken,
}

impl Run {
    /// Runs it once there is a place, and leaves a record. Nothing is recorded of one that never came so far.
    pub(super) async fn run(self) {
        let claim = self.around.offered.now().claim(&self.entry.procedure);
        let place = tokio::select! {
            biased;
            () = self.drain.cancelled() => return,
            place = self.around.bounds.places.wait(claim) => place,
        };
        let Some(_place) = place else { return };
        let schedule = &self.entry.name;
        let (key, began) = (u128::from_be_bytes(random::bytes16()), Began::now());
        let kwargs = self.entry.kwargs();
        let mut kept = Kept { run: self.note(key, kwargs.as_ref().ok()), began };
        let note = kept.clone();
        let number = match self.outbox.with(move |outbox| outbox.begin(&note)).await {
            Some(Ok(number)) => Some(number),
            Some(Err(error)) => {
                // what cleans up a full disk must be able to run
                warn!(%error, %schedule, "a run cannot be noted before its start; should the agent die, nobody knows of it");
                None
            }
            None => None,
        };
        failpoint::reached("R1");
        let started = boot_ms();
        let (mut ending, items) = match kwargs {
            Ok(kwargs) => self.perform(key, kwargs).await,
            Err(why) => {
                let fault =
                    Fault::new(FaultCode::BadArguments, format!("the arguments cannot be sent: {why}"));
                (Ending::unstarted(Outcome::Rejected, fault), Vec::new())
            }
        };
        if ending.started != Some(false) {
            ending.duration_ms = Some(boot_ms().saturating_sub(started));
        }
        (kept.run.ending, kept.run.items) = (ending, items);
        fit(&mut kept.run, self.around.bounds.frame_limit);
        failpoint::reached("R2");
        self.outbox.finish(number, kept).await;
    }

    /// What is told of it should the agent die now.
    fn note(&self, key: u128, kwargs: Option<&Raw>) -> RecordArguments {
        let fault =
            Fault::new(FaultCode::AgentGone, "the agent ended while it ran; nobody knows how it went on");
        // nobody needs its secrets any more: neither this disk nor the manager ever has them
        let masked = |kwargs: &Raw| self.around.offered.now().masked(&self.entry.procedure, kwargs);
        RecordArguments {
            key: format!("{key:032x}"),
            schedule: self.entry.name.clone(),
            procedure: self.entry.procedure.clone(),
            kwargs: kwargs.map_or_else(Raw::empty_map, masked),
            started_ms_ago: None,
            ending: Ending { started: None, ..Ending::unstarted(Outcome::Unknown, fault) },
            items: Vec::new(),
            dropped: 0,
        }
    }

    async fn perform(&self, key: u128, kwargs: Raw) -> (Ending, Vec<Item>) {
        let Around { own, offered, bounds, .. } = &self.around;
        let current = offered.now();
        let procedure = self.entry.procedure.clone();
        let announces = current.announces(&procedure);
        let [high, low] =
            [key >> 64, key].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
        let request = RequestId::numbered(high, low);
        let limit = bounds.frame_limit / 2;
        let (call, output, stop) = own_call(own.clone(), request, (procedure, kwargs), limit);
        // what the owner of the machine schedules passes the same gate as what others ask for
        let leave = match current.judge(&call.method, Asked::of(&call)) {
            Ok(leave) => leave,
            Err(refused) => return (Ending::unstarted(Outcome::Rejected, refused.into()), Vec::new()),
        };
        let (done, over) = oneshot::channel();
        let procedure = async {
            let begin = |call| current.begin(call, leave);
            let programs = Programs::default();
            let ended = programs.within(self.until_over(call, begin, &stop)).await;
            // the next run of the schedule may begin once this has ended: nothing of it goes on beside that. After a kill none does
            let left = self.kill.run_until_cancelled(programs.ended()).await.unwrap_or(0);
            drop(done);
            ended.with_left(left)
        };
        let (ended, heard) = tokio::join!(procedure, listen(output, over, bounds.frame_limit));
        let ended = if heard.timed_out { ended.timed_out() } else { ended };
        (ending(ended, !announces || heard.said, limit), heard.items)
    }

    /// Runs it to its end, asks it to end when it is time, and gives up when it does not.
    async fn until_over(
        &self,
        call: CallContext,
        begin: impl FnOnce(CallContext) -> Running,
        stop: &StopHandle,
    ) -> Ended {
        let method = call.method.clone();
        let panicked = || {
            error!(procedure = ?method, "a procedure has panicked");
            Ended::By(
                Fault::new(FaultCode::Internal, "the code of this procedure has panicked"),
                Outcome::Failed,
            )
        };
        let Ok(Running { answer, graceful }) = catch_unwind(AssertUnwindSafe(|| begin(call))) else {
            return panicked();
        };
        let mut answer = AssertUnwindSafe(answer).catch_unwind();
        let bounds = &self.around.bounds;
        let limit = bounds.run_timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let late = limit.and_then(|limit| boot_ms().checked_add(limit));
        let (reason, fault, outcome) = tokio::select! {
            biased; // what has ended was not stopped
            ended = &mut answer => return ended.map_or_else(|_panic| panicked(), Ended::Answered),
            () = self.end.cancelled() => {
                let fault = Fault::new(FaultCode::ShuttingDown, "the agent stopped, and ended it");
                (StopReason::Cancelled, fault, Outcome::Cancelled)
            }
            () = boot_time(late) => {
                let limit = bounds.run_timeout.unwrap_or_default();
                let text = format!("longer than {limit:?}, limits.run_timeout of the agent");
                (StopReason::TimedOut, Fault::new(FaultCode::TimedOut, text), Outcome::TimedOut)
            }
        };
        stop.stop(reason);
        if !graceful {
            return Ended::Stopped(fault, outcome);
        }
        // nobody waits for the answer after a kill: what it started is ended with it
        let answer = self.kill.run_until_cancelled(&mut answer);
        match timeout(bounds.grace.saturating_add(PATIENCE), answer).await {
            // it came to its end all the same
            Ok(Some(Ok(Ok(_)))) if outcome == Outcome::TimedOut => Ended::Stopped(given_late(fault), outcome),
            Ok(Some(Ok(Ok(result)))) => Ended::Answered(Ok(result)),
            Ok(Some(Ok(Err(said)))) if said.code == stop_fault(reason).code => {
                Ended::Stopped(with_details(fault, said), outcome)
            }
            Ok(Some(Ok(Err(said)))) => Ended::By(said, outcome),
            Ok(Some(Err(_panic))) => panicked(),
            Ok(None) | Err(_) => Ended::Stopped(fault, outcome),
        }
    }
}

/// How a procedure ended.
enum Ended {
    Answered(Result<Raw, Fault>),
    By(Fault, Outcome),
    /// The fault is our own word for it.
    Stopped(Fault, Outcome),
}

/// What a run gave before its end, and what it told of itself.
struct Heard {
    items: Vec<Item>,
    /// It gave something, or that it had started.
    said: bool,
    /// A time limit of its procedure has passed.
    timed_out: bool,
}

impl Ended {
    /// A time limit of its procedure has passed: what it answers then was no failure.
    fn timed_out(self) -> Self {
        match self {
            Self::Answered(Err(fault)) if fault.code == FaultCode::TimedOut => {
                Self::By(fault, Outcome::TimedOut)
            }
            Self::Answered(_) | Self::By(..) | Self::Stopped(..) => self,
        }
    }

    /// So many of its processes have outlived SIGKILL, which is said where nobody else has.
    fn with_left(self, left: usize) -> Self {
        match self {
            Self::Stopped(fault, outcome) => Self::Stopped(outlived(fault, left), outcome),
            Self::Answered(_) | Self::By(..) => self,
        }
    }
}

/// The true reason, with what the procedure had to say.
fn with_details(reason: Fault, said: Fault) -> Fault {
    Fault { code: reason.code, message: reason.message, ..said }
}

/// Takes what it gives, until it has ended and gave all.
async fn listen(mut output: RunOutput, mut over: oneshot::Receiver<()>, frame_limit: usize) -> Heard {
    let (mut collected, mut said, mut open) = (Collected::within(frame_limit), false, true);
    loop {
        let event = tokio::select! {
            biased;
            event = output.next() => event,
            _ended = &mut over, if open => {
                open = false;
                // what waits now is taken still
                output.close();
                continue;
            }
        };
        match event {
            Some(event) => {
                said = true;
                if !matches!(event, RunEvent::Progressed) {
                    collected.take(event);
                }
            }
            None if open => {
                let _ended = (&mut over).await;
                break;
            }
            None => break,
        }
    }
    Heard { items: collected.finish(), said, timed_out: output.has_timed_out() }
}

fn ending(ended: Ended, started: bool, limit: usize) -> Ending {
    let of = |outcome, fault| Ending { started: Some(true), ..Ending::unstarted(outcome, fault) };
    match ended {
        Ended::Answered(Ok(result)) if result.len() > limit => {
            let text = format!("the result has {} bytes; {limit} fit a record", result.len());
            of(Outcome::Failed, Fault::new(FaultCode::TooLarge, text))
        }
        Ended::Answered(Ok(result)) => Ending {
            outcome: Outcome::Succeeded,
            started: Some(true),
            result: Some(result),
            fault: None,
            items: 0,
            duration_ms: None,
        },
        Ended::Answered(Err(fault)) if !started => Ending::unstarted(Outcome::Rejected, fault),
        Ended::Answered(Err(fault)) => of(Outcome::Failed, fault),
        Ended::By(fault, outcome) | Ended::Stopped(fault, outcome) if !started => {
            Ending { started: None, ..of(outcome, fault) }
        }
        Ended::By(fault, outcome) | Ended::Stopped(fault, outcome) => of(outcome, fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_limit_of_its_procedure_ended_has_timed_out_and_what_only_says_so_has_failed() {
        let answered = || Ended::Answered(Err(Fault::new(FaultCode::TimedOut, "too long")));
        assert_eq!(ending(answered().timed_out(), true, 1024).outcome, Outcome::TimedOut);
        assert_eq!(ending(answered(), true, 1024).outcome, Outcome::Failed);
        let failed = Ended::Answered(Err(Fault::new(FaultCode::Failed, "no")));
        assert_eq!(ending(failed.timed_out(), true, 1024).outcome, Outcome::Failed);
    }
}
