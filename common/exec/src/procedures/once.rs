//! A fresh process for each run.

use std::sync::OnceLock;
use std::time::Duration;

use redpoll_common::identity::Role;
use redpoll_common::procedure::LineMachine;
use redpoll_common::session::StopReason as CallStop;
use redpoll_common::wire::{Fault, Raw};
use redpoll_config::ProcedureOutput;
use redpoll_net::CallContext;
use redpoll_net::service::{Output, Stop, stop_fault};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Procedure;
use super::asks::{Asks, Rights};
use super::ends::{Died, Trouble, too_long};
use super::heard::{Hearing, line_limit};
use super::spawn::Prepared;
use crate::exec::{self, Chunk, EndedBy, Exit, StopReason, StreamName};
use crate::telling::{given_late, given_up, kind, not_started, outlived};

/// Chunks between the program's pipes and whoever takes them; when it is full, the program's output is not read.
const CHUNKS_IN_FLIGHT: usize = 1;
/// How long a program may go on that has given its end, before it is ended. Its end holds.
const LINGER: Duration = Duration::from_secs(10);

pub(super) async fn run(procedure: &Procedure, call: CallContext) -> Result<Raw, Fault> {
    let (number, line) = procedure.call_line(&call)?;
    let CallContext { stop, output, run, run_as, args, kwargs, caller, .. } = call;
    // an agent calls its own procedures by its schedules alone
    let is_own = caller.identity.role == Role::Agent && caller.identity.id == procedure.setting.agent;
    drop((args, kwargs)); // they live on in the line alone
    let Prepared { spec, cgroup: _cgroup } =
        procedure.prepare(run.as_deref(), is_own, run_as.as_deref(), line)?;
    let run_timeout = spec.run_timeout;
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let (halt, halted) = oneshot::channel();
    let (running, ended) = oneshot::channel::<()>();
    let run_by = run_timeout.and_then(|limit| Instant::now().checked_add(limit));
    let (asks, answers) = Rights::of(procedure.manifest(), &procedure.setting).begin(number, run_by);
    let cancel = asks.canceller();
    // who is told nothing more has the end of the input after the call
    let answers = procedure.manifest().is_told_more().then_some(answers);
    let mut taker = Taker::new(procedure, &output, run.is_some(), halt, asks);
    taker.begin(number);
    let asked = OnceLock::new();
    let program = async {
        let stopped = stopped(&stop, halted, run_by, &asked, cancel);
        let exit = exec::run_announced(spec, answers, sender, stopped, || output.started()).await;
        drop(running);
        exit
    };
    let taking = async {
        tokio::select! {
            biased; // what can be delivered is delivered
            () = taker.take(receiver) => {}
            () = given_up(ended, &stop) => {}
        }
    };
    let (exit, ()) = tokio::join!(program, taking);
    let exit = exit.map_err(|error| not_started(&error))?;
    let name = &procedure.manifest().name;
    let asked = asked.get().filter(|asked| taker.is_told(**asked) && exit.ended_by != EndedBy::Itself);
    let (trouble, end) = (taker.trouble, taker.hearing.end);
    tracing::debug!(procedure = %name, code = exit.code, signal = exit.signal, ?trouble, "a program ended");
    let by_exit = || by_exit(procedure, &exit, &stop, run_timeout);
    let end = match (trouble, end, asked) {
        (None, Some(Ok(_)), Some(Asked { is_late: true, .. })) => by_exit().map_err(given_late),
        (None, Some(Ok(result)), _) => Ok(result),
        // it heeded its stop, with an exception or in the middle of a line
        (_, _, Some(_)) => by_exit(),
        // what it said before it was silent is what it said
        (Some(Trouble::Silent(_)) | None, Some(end), None) => end,
        (Some(trouble), _, None) => {
            if let Trouble::Silent(_) = trouble {
                output.timed_out();
            }
            Err(trouble.fault(name, &exit.stderr_tail))
        }
        (None, None, None) => by_exit(),
    };
    if asked.is_some_and(|asked| asked.is_late) {
        output.timed_out();
    }
    end
}

/// That a program is not wanted any more.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Since when.
    at: Instant,
    /// Its time was over: no result makes up for that.
    is_late: bool,
}

/// The end of a program that gave none itself.
fn by_exit(
    procedure: &Procedure,
    exit: &Exit,
    stop: &Stop,
    run_timeout: Option<Duration>,
) -> Result<Raw, Fault> {
    let name = &procedure.manifest().name;
    let died = Died { exit: exit.code, signal: exit.signal };
    match (exit.ended_by, stop.reason()) {
        (EndedBy::Stopped(_), reason) => {
            let too_long = || too_long(name, run_timeout.unwrap_or_default());
            let fault = reason.map_or_else(too_long, stop_fault).with_data(died.data());
            Err(outlived(fault, exit.left_behind))
        }
        (EndedBy::Itself, _) => match (procedure.manifest().output, exit.code) {
            (ProcedureOutput::Text, Some(0)) => Ok(died.data()),
            (ProcedureOutput::Json, Some(0)) => Err(died.fault(
                format!("{name} exited with 0 and gave neither a result nor an exception"),
                &exit.stderr_tail,
            )),
            (ProcedureOutput::Text | ProcedureOutput::Json, _) => {
                Err(died.fault(format!("{name} {}", died.words()), &exit.stderr_tail))
            }
        },
    }
}

/// Completes when it is to be ended. It is told beforehand, as it is at its time limit, at which it is ended by others. What is seen
/// first becomes `asked`.
async fn stopped(
    stop: &Stop,
    halted: oneshot::Receiver<()>,
    run_by: Option<Instant>,
    asked: &OnceLock<Asked>,
    cancel: impl Fn(),
) -> StopReason {
    let halted = async {
        // nobody halts it any more when the other end is gone
        if halted.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let never = async {
        let Some(run_by) = run_by else { return std::future::pending::<StopReason>().await };
        sleep_until(run_by).await;
        asked.get_or_init(|| Asked { at: Instant::now(), is_late: true });
        cancel();
        std::future::pending().await
    };
    let reason = tokio::select! {
        biased; // which is seen first is of no importance
        reason = stop.stopped() => {
            asked.get_or_init(|| Asked { at: Instant::now(), is_late: false });
            match reason {
                CallStop::TimedOut => StopReason::TimedOut,
                CallStop::Cancelled | CallStop::Closed => StopReason::Cancelled,
            }
        },
        () = halted => StopReason::Cancelled,
        never = never => never,
    };
    cancel();
    reason
}

/// What there is to do next.
enum Next {
    Chunk(Option<Chunk>),
    Answered,
    Due,
}

/// Takes what a program writes.
struct Taker<'a> {
    output: &'a Output,
    hearing: Hearing,
    /// What understands its standard output; `None`: it is passed on as it comes.
    machine: Option<LineMachine>,
    idle_timeout: Option<Duration>,
    halt: Option<oneshot::Sender<()>>,
    trouble: Option<Trouble>,
    /// When it gave its end, or what counts as one.
    ended_at: Option<Instant>,
    deaf: bool,
}

impl<'a> Taker<'a> {
    fn new(
        procedure: &Procedure,
        output: &'a Output,
        is_run: bool,
        halt: oneshot::Sender<()>,
        asks: Asks,
    ) -> Self {
        let manifest = procedure.manifest();
        let machine = match manifest.output {
            ProcedureOutput::Text => None,
            ProcedureOutput::Json => Some(LineMachine::once(line_limit(manifest))),
        };
        let agent = if is_run { u64::MAX } else { procedure.setting.limits.output };
        let limit = manifest.limits.output.unwrap_or(u64::MAX).min(agent);
        Self {
            output,
            hearing: Hearing::new(output.clone(), limit, procedure.setting.emitter.clone(), asks),
            machine,
            idle_timeout: manifest.idle_timeout,
            halt: Some(halt),
            trouble: None,
            ended_at: None,
            deaf: false,
        }
    }

    /// The number that its call has.
    fn begin(&mut self, number: u64) {
        if let Some(machine) = &mut self.machine {
            // a new machine takes one
            let _taken = machine.begin(number);
        }
    }

    /// Takes chunks until there are no more.
    async fn take(&mut self, mut chunks: mpsc::Receiver<Chunk>) {
        loop {
            let due = self.due();
            let next = async {
                tokio::select! {
                    biased; // a few answers at most, which must not wait for the end of what is said
                    () = self.hearing.asks.answered() => Next::Answered,
                    chunk = chunks.recv() => Next::Chunk(chunk),
                }
            };
            let next = match due {
                Some(due) => timeout_at(due, next).await.unwrap_or(Next::Due),
                None => next.await,
            };
            match next {
                Next::Chunk(Some(chunk)) => {
                    if let Err(trouble) = self.chunk(chunk).await {
                        self.give_up(Some(trouble));
                    }
                }
                Next::Chunk(None) => break,
                // the time in which it may be silent begins anew
                Next::Answered => {}
                Next::Due => {
                    self.give_up(self.idle_timeout.filter(|_| self.ended_at.is_none()).map(Trouble::Silent))
                }
            }
        }
        if let Some(machine) = self.machine.as_mut().filter(|_| self.trouble.is_none()) {
            machine.handle_end();
            if let Err(trouble) = self.hearing.hear(machine, None).await {
                self.give_up(Some(trouble));
            }
        }
        // nothing is late here: a caller that takes nothing is left to its deadline
        let _all_told = self.hearing.mark().await;
    }

    /// Whether what it gave as its end came after it was asked to end.
    fn is_told(&self, asked: Asked) -> bool {
        self.ended_at.is_none_or(|ended| asked.at <= ended)
    }

    /// When it is ended although it goes on.
    fn due(&self) -> Option<Instant> {
        self.halt.as_ref()?;
        match (self.ended_at, self.idle_timeout) {
            (Some(ended), _) => Some(ended + LINGER),
            // who waits for an answer is not silent
            (None, Some(_)) if !self.hearing.asks.is_idle() => None,
            (None, Some(limit)) => Instant::now().checked_add(limit),
            (None, None) => None,
        }
    }

    fn give_up(&mut self, trouble: Option<Trouble>) {
        if self.trouble.is_none() {
            self.trouble = trouble;
        }
        self.ended_at.get_or_insert_with(Instant::now);
        if let Some(halt) = self.halt.take() {
            // an error means that it has ended
            let _halted = halt.send(());
        }
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<(), Trouble> {
        match (chunk, &mut self.machine) {
            (Chunk::Data { stream: StreamName::Stdout, data }, Some(machine)) => {
                if self.trouble.is_some() {
                    return Ok(());
                }
                machine.handle_bytes(&data);
                let heard = self.hearing.hear(machine, None).await;
                if self.hearing.end.is_some() {
                    self.ended_at.get_or_insert_with(Instant::now);
                }
                heard
            }
            (Chunk::Data { data, .. }, Some(_)) => self.hearing.stderr(&data, None).await,
            (Chunk::Data { stream, data }, None) => {
                if !self.deaf {
                    self.deaf = self.output.chunk(kind(stream), &data).await.is_err();
                }
                Ok(())
            }
            (Chunk::Truncated { stream, dropped }, _) => {
                if !self.deaf {
                    self.deaf = self.output.truncated(kind(stream), dropped).await.is_err();
                }
                Ok(())
            }
        }
    }
}
