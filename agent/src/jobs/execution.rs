//! One run of a procedure: started once, listened to, ended.
//!
//! The procedure and the one that takes its output are two futures of one task. Output waits in a bounded channel of
//! the run and then for the runner, so that a run slows down nobody but itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use redpoll_common::job::Dno;
use redpoll_common::job::spool::{Exit, NotSpawned};
use redpoll_common::job::wire::RunRef;
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_exec::telling::outlived;
use redpoll_net::CallContext;
use redpoll_net::registry::masked;
use redpoll_net::service::{Mask, RunEvent, RunOutput, Running, StopHandle, stop_fault};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::Input;
use super::given::Given;
use crate::clock::boot_ms;
use crate::exec::programs::Programs;
use crate::gate::{Asked, Counting, Leave};
use crate::offered::Current;

/// The runner's hold on a run.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) run: RunRef,
    pub(super) procedure: String,
    /// Its task has said its last word.
    pub(super) over: bool,
    /// What it did that may wait to be taken in.
    pub(super) given: Given,
    stop: StopHandle,
    kill: CancellationToken,
    paused: watch::Sender<bool>,
    shutting_down: Arc<AtomicBool>,
}

/// What the task of a run needs.
pub(super) struct Task {
    pub(super) dno: Dno,
    pub(super) call: CallContext,
    pub(super) output: RunOutput,
    pub(super) offered: Arc<Current>,
    /// Hides more of what it gives than its procedure does.
    mask: Option<Mask>,
    pub(super) runner: mpsc::Sender<Input>,
    given: Given,
    kill: CancellationToken,
    paused: watch::Receiver<bool>,
    shutting_down: Arc<AtomicBool>,
}

/// How a procedure ended.
enum Ended {
    Answered(Box<Result<Raw, Fault>>),
    Panicked,
    /// So many of its processes have outlived that.
    Killed(usize),
}

impl Execution {
    /// A run, and the task to spawn for it.
    pub(super) fn new(
        (call, output, stop): (CallContext, RunOutput, StopHandle),
        run: RunRef,
        (offered, mask): (Arc<Current>, Option<Mask>),
        runner: mpsc::Sender<Input>,
    ) -> (Self, Task) {
        let (paused, pausing) = watch::channel(false);
        let (kill, shutting_down) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let given = Given::default();
        let task = Task {
            dno: run.dno,
            output,
            offered,
            mask,
            runner,
            given: given.clone(),
            kill: kill.clone(),
            paused: pausing,
            shutting_down: shutting_down.clone(),
            call,
        };
        let procedure = task.call.method.clone();
        (Self { run, procedure, over: false, given, stop, kill, paused, shutting_down }, task)
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.stop.stop(StopReason::Cancelled);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.kill.cancel();
    }

    /// Asks it to end because the agent does.
    pub(super) fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Release);
        self.terminate();
    }

    /// Takes nothing from it for now, or goes on.
    pub(super) fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }
}

impl Task {
    /// Runs it, and tells the runner everything, in order.
    pub(super) async fn run(self) {
        let Self { dno, call, output, offered, mask, runner, given, kill, paused, shutting_down } = self;
        let stop = call.stop.clone();
        let not_after = call.run.as_ref().and_then(|run| run.not_after);
        let is_late = || not_after.is_some_and(|at| at <= boot_ms());
        if is_late() {
            return send(&runner, Input::NotSpawned(dno, NotSpawned::Late)).await;
        }
        if let Some(reason) = stop.reason() {
            let fault = Box::new(stopped(stop_fault(reason), &shutting_down));
            return send(&runner, Input::NotSpawned(dno, NotSpawned::Refused(fault))).await;
        }
        // once more: it may have been accepted in an earlier life of the agent, by another policy
        let asked = Asked { counting: Counting::Ignores, ..Asked::of(&call) };
        let leave = match offered.judge(&call.method, asked) {
            Ok(leave) => leave,
            Err(refused) => {
                let fault = Box::new(refused.into());
                return send(&runner, Input::NotSpawned(dno, NotSpawned::Refused(fault))).await;
            }
        };
        let announces = offered.announces(&call.method);
        let (done, ended) = oneshot::channel::<()>();
        let procedure = async {
            if !announces {
                send(&runner, Input::Spawned(dno)).await;
            }
            let ended = run_procedure((call, leave, mask), &offered, &kill).await;
            given.ended();
            drop(done);
            ended
        };
        let started = announces.then_some(false);
        let listener = Listener { dno, output, runner: &runner, given: &given, paused, started };
        let (ended, (started, timed_out)) = tokio::join!(procedure, listener.listen(ended));
        let exit = match ended {
            Ended::Answered(answer) => match *answer {
                Ok(result) => Exit::Succeeded(result),
                Err(fault) if started && timed_out && fault.code == FaultCode::TimedOut => {
                    Exit::TimedOut(fault)
                }
                Err(fault) if started => Exit::Failed(stopped(fault, &shutting_down)),
                Err(fault) => {
                    let fault = Box::new(stopped(fault, &shutting_down));
                    let why = if is_late() { NotSpawned::Late } else { NotSpawned::Refused(fault) };
                    return send(&runner, Input::NotSpawned(dno, why)).await;
                }
            },
            Ended::Panicked => Exit::Failed(panicked()),
            Ended::Killed(left) => {
                Exit::Failed(outlived(stopped(stop_fault(StopReason::Cancelled), &shutting_down), left))
            }
        };
        if !started {
            // whatever became of it, nobody can say that nothing ran
            send(&runner, Input::Spawned(dno)).await;
        }
        send(&runner, Input::Exited(dno, exit)).await;
    }
}

/// The fault of a run that was stopped, with the true reason.
fn stopped(fault: Fault, shutting_down: &AtomicBool) -> Fault {
    if fault.code == FaultCode::Cancelled && shutting_down.load(Ordering::Acquire) {
        return Fault::new(FaultCode::ShuttingDown, "the agent stopped, and ended it");
    }
    fault
}

fn panicked() -> Fault {
    Fault::new(FaultCode::Internal, "the code of this procedure has panicked")
}

async fn send(runner: &mpsc::Sender<Input>, input: Input) {
    // an error means that the runner has ended, and the process is about to
    let _ended = runner.send(input).await;
}

/// Runs the procedure to its end; all of it is dropped when this returns, and what it has started has ended: nothing of a run goes on
/// that is told as ended.
async fn run_procedure(
    (call, leave, mask): (CallContext, Leave, Option<Mask>),
    offered: &Current,
    kill: &CancellationToken,
) -> Ended {
    let (stop, method) = (call.stop.clone(), call.method.clone());
    let panicked = || {
        error!(procedure = ?method, "a procedure has panicked");
        Ended::Panicked
    };
    let Ok(Running { answer, graceful }) =
        catch_unwind(AssertUnwindSafe(|| begin(offered, call, leave, mask)))
    else {
        return panicked();
    };
    let programs = Programs::default();
    let ended = tokio::select! {
        biased; // nothing goes on beside a kill; what has ended was not stopped
        () = kill.cancelled() => Ended::Killed(0),
        ended = programs.within(AssertUnwindSafe(answer).catch_unwind()) => {
            ended.map_or_else(|_panic| panicked(), |answer| Ended::Answered(Box::new(answer)))
        }
        reason = stop.stopped(), if !graceful => Ended::Answered(Box::new(Err(stop_fault(reason)))),
    };
    let left = programs.ended().await;
    match ended {
        Ended::Killed(_) => Ended::Killed(left),
        Ended::Answered(_) | Ended::Panicked => ended,
    }
}

fn begin(offered: &Current, call: CallContext, leave: Leave, mask: Option<Mask>) -> Running {
    let begin = |call| offered.begin(call, leave);
    match mask {
        None => begin(call),
        Some(mask) => masked(mask, call, begin),
    }
}

/// Takes what a procedure gives.
struct Listener<'a> {
    dno: Dno,
    output: RunOutput,
    runner: &'a mpsc::Sender<Input>,
    given: &'a Given,
    paused: watch::Receiver<bool>,
    /// Whether its start was told; `None`: somebody else tells.
    started: Option<bool>,
}

impl Listener<'_> {
    /// Passes on what it gives, until it has ended and gave all. Gives whether it is known to have started, and whether a time limit of its
    /// own has passed.
    async fn listen(mut self, mut ended: oneshot::Receiver<()>) -> (bool, bool) {
        let mut over = false;
        loop {
            // what waits when it has ended is little, and taken in any case
            let open = over || !*self.paused.borrow_and_update();
            tokio::select! {
                biased; // whether to take anything comes before taking it
                _ = &mut ended, if !over => {
                    over = true;
                    self.output.close();
                }
                changed = self.paused.changed(), if !over => if changed.is_err() { break },
                event = self.output.next(), if open => match event {
                    Some(event) => self.pass_on(event).await,
                    None if over => break,
                    None => {
                        // nothing can come any more; it runs on
                        let _ended = (&mut ended).await;
                        break;
                    }
                },
            }
        }
        self.progress().await;
        (self.started.unwrap_or(true), self.output.has_timed_out())
    }

    async fn pass_on(&mut self, event: RunEvent) {
        if self.started == Some(false) {
            self.started = Some(true);
            self.hand_over(Input::Spawned(self.dno)).await;
        }
        match event {
            RunEvent::Started => {}
            RunEvent::Progressed => self.progress().await,
            RunEvent::Item(kind, data) => {
                self.hand_over(Input::Item { dno: self.dno, kind, data }).await;
                self.given.gave();
                self.progress().await;
            }
        }
    }

    async fn progress(&self) {
        if let Some(progress) = self.output.progress() {
            self.hand_over(Input::Progress(self.dno, progress)).await;
        }
    }

    /// While this waits nothing is taken from the procedure, whatever it gives.
    async fn hand_over(&self, input: Input) {
        if let Err(TrySendError::Full(input)) = self.runner.try_send(input) {
            self.given.waits();
            send(self.runner, input).await;
            self.given.gave();
        }
    }
}
