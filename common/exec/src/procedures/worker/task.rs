//! One worker from its start to its end.

use std::time::Duration;

use redpoll_common::procedure::LineMachine;
use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, Raw};
use redpoll_net::service::stop_fault;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::Procedure;
use super::super::asks::Rights;
use super::super::ends::{Died, failed};
use super::super::heard::{Hearing, late, line_limit};
use super::super::spawn::Prepared;
use super::idle::{Idle, NOT_OFFERED};
use super::process::Process;
use super::ready::{NotReady, last_line, until_ready};
use super::talk::{Talk, Talked, Times};
use super::{Handle, Living, Told, Work};
use crate::clock::boot_ms;
use crate::emitter::Emitter;
use crate::exec::{self, Tail};
use crate::telling::not_started;

/// What a worker needs to know of its procedure, which it must not keep alive.
pub(super) struct Setup {
    name: String,
    prepared: Prepared,
    line_limit: usize,
    ready_timeout: Duration,
    idle_shutdown: Option<Duration>,
    health_interval: Option<Duration>,
    /// Of a call; of a run of a job.
    times: [Times; 2],
    outputs: [u64; 2],
    stop: CancellationToken,
    emitter: Emitter,
    rights: Rights,
}

impl Procedure {
    pub(super) fn worker_setup(&self, run_as: Option<&str>) -> Result<Setup, Fault> {
        let manifest = self.manifest();
        let agent = &self.setting.limits;
        let output = manifest.limits.output.unwrap_or(u64::MAX);
        let times = |run: Option<Duration>| Times {
            run: [manifest.run_timeout, run].into_iter().flatten().min(),
            idle: manifest.idle_timeout,
            grace: self.grace(),
        };
        Ok(Setup {
            name: manifest.name.clone(),
            prepared: self.prepare(None, false, run_as, bytes::Bytes::new())?,
            line_limit: line_limit(manifest),
            ready_timeout: manifest.ready_timeout,
            idle_shutdown: Some(manifest.idle_shutdown).filter(|limit| !limit.is_zero()),
            health_interval: manifest.health_interval,
            times: [times(agent.run_timeout), times(None)],
            outputs: [output.min(agent.output), output],
            stop: self.setting.stop.clone(),
            emitter: self.setting.emitter.clone(),
            rights: Rights::of(manifest, &self.setting),
        })
    }
}

/// What a worker is for its whole life.
pub(super) struct Life {
    pub(super) name: String,
    living: Living,
    times: [Times; 2],
    outputs: [u64; 2],
    pub(super) idle_shutdown: Option<Duration>,
    pub(super) health_interval: Option<Duration>,
    pub(super) stop: CancellationToken,
    emitter: Emitter,
    rights: Rights,
}

/// Starts a worker, has it do `work`, and then whatever the pool gives it.
pub(super) async fn run(living: Living, setup: Setup, work: Work) {
    let Setup {
        name,
        prepared,
        line_limit,
        ready_timeout,
        idle_shutdown,
        health_interval,
        times,
        outputs,
        stop,
        emitter,
        rights,
    } = setup;
    let Prepared { spec, cgroup } = prepared;
    let grace = spec.grace;
    let started = tokio::select! {
        biased; // who is gone before anything was started wants nothing started
        reason = work.stop.stopped() => {
            drop(living);
            return answer(work, Err(stop_fault(reason)));
        }
        started = exec::start(spec) => started,
    };
    let (group, pipes) = match started {
        Ok((group, pipes, _spec)) => (group, pipes),
        Err(error) => {
            // that the machine has no room for another is no fault of the worker
            if !error.is_passing() {
                died(&living, &name, Died::default(), "it cannot be started");
            }
            return answer(work, Err(not_started(&error)));
        }
    };
    let mut process = Process::new(group, pipes, LineMachine::worker(line_limit), cgroup);
    let deadline = Instant::now() + ready_timeout;
    let why = tokio::select! {
        biased; // a worker that writes without a pause keeps nobody from leaving
        reason = work.stop.stopped() => {
            drop(living);
            answer(work, Err(stop_fault(reason)));
            process.dismiss(grace).await;
            return;
        }
        why = until_ready(&mut process, deadline, ready_timeout) => why,
    };
    if let Some(why) = why {
        let tail = std::mem::take(&mut process.tail);
        let end = process.kill().await;
        let (class, mut text) = match why {
            NotReady::Exited => {
                ("ExitStatus", format!("the worker of {name} {} before it was ready", end.words()))
            }
            NotReady::Broke(what) => {
                ("ProtocolError", format!("the worker of {name} broke the protocol: {what}"))
            }
        };
        died(&living, &name, end, "it did not become ready");
        // masked before it is cut: what is left of a secret could not be found
        if let Some(last) = tail.text().and_then(|tail| last_line(&work.output.masked_text(tail))) {
            text = format!("{text}; at last it wrote: {last}");
        }
        return answer(work, Err(failed(class, text, &tail).with_data(end.data_of_unready())));
    }
    info!(procedure = %name, "a worker is ready");
    if let Some(pool) = living.pool() {
        pool.ready();
    }
    let life = Life { name, living, times, outputs, idle_shutdown, health_interval, stop, emitter, rights };
    life.live(process, work).await;
}

fn answer(work: Work, end: Result<Raw, Fault>) {
    // an error means that nobody wants it any more
    let _told = work.done.send(Told::End(end));
}

fn died(living: &Living, name: &str, end: Died, why: &str) {
    let delay = living.pool().map(|pool| pool.died(format!("{} ({why})", end.words())));
    warn!(procedure = %name, ended = %end.words(), why, next_in = ?delay, "a worker is gone");
}

impl Life {
    async fn live(self, mut process: Process, mut work: Work) {
        loop {
            let Some((free, end)) = self.serve(process, work).await else { return };
            process = free;
            // the pool is told before the caller is: the place that the call leaves is that of this worker
            let (give, mut given) = mpsc::channel(1);
            let pool = self.living.pool();
            let is_wanted = pool.is_some();
            if let Some(pool) = pool {
                pool.put(Handle(give));
            }
            end.tell();
            let idle = match is_wanted {
                true => self.idle(&mut process, &mut given).await,
                false => Idle::Over(NOT_OFFERED),
            };
            given.close();
            let next = match (idle, given.try_recv().ok()) {
                (Idle::Work(next), _) => *next,
                // what was given meanwhile is done, so that nobody is left waiting
                (Idle::Over(_), Some(next)) => next,
                (Idle::Over(why), None) => return self.dismiss(process, why).await,
                (Idle::Gone(why), next) => return self.part(process, &why, next).await,
            };
            if let Some(why) = process.unfit() {
                return self.part(process, why, Some(next)).await;
            }
            work = next;
        }
    }

    /// Ends a worker that is of no use any more, and leaves what it was given meanwhile to another.
    async fn part(self, process: Process, why: &str, next: Option<Work>) {
        let end = process.kill().await;
        died(&self.living, &self.name, end, why);
        // no worker any more that anybody could wait for
        drop(self);
        if let Some(next) = next {
            next.give_back();
        }
    }

    /// Does a call. Gives the process back when it can take another, with the end that is to be told.
    async fn serve(&self, mut process: Process, work: Work) -> Option<(Process, End)> {
        let Work { call, line, stop, output, run, held: _held, mut done } = work;
        let ([of_calls, of_runs], [calls_output, runs_output]) = (self.times, self.outputs);
        let (times, limit) = if run.is_some() { (of_runs, runs_output) } else { (of_calls, calls_output) };
        if run.flatten().is_some_and(|at| at <= boot_ms()) {
            return Some((process, End { done, end: Err(late()) }));
        }
        if !process.machine.begin(call) {
            // it said something bad between two calls, which is seen before the next
            let text = format!(
                "the worker of {} broke the protocol before it was given the call; nothing ran",
                self.name
            );
            died(&self.living, &self.name, process.kill().await, "it broke the protocol");
            End { done, end: Err(failed("ProtocolError", text, &Tail::default())) }.tell();
            return None;
        }
        output.started();
        let late = process.recent.begin(&output);
        process.tail = late.tail();
        process.begin(&line);
        let run_by = times.run.and_then(|limit| Instant::now().checked_add(limit));
        let (asks, answers) = self.rights.clone().begin(call, run_by);
        process.answer_with(answers);
        let mut hearing = Hearing::new(output, limit, self.emitter.clone(), asks);
        let talk = Talk::new(&mut process, &mut hearing, &self.name, call, times);
        let talked = tokio::select! {
            biased; // a worker that writes without a pause is ended with its call as well
            () = done.closed() => Talked::Kill(stop_fault(StopReason::Cancelled)),
            talked = talk.run(&stop) => talked,
        };
        if let Talked::Ended(end) = talked {
            process.forget_answers();
            if let Some(pool) = self.living.pool() {
                pool.served();
            }
            return Some((process, End { done, end: late.end(end) }));
        }
        let end = Err(self.put_down(process, talked).await);
        let end = tokio::select! {
            biased; // whoever has gone is told nothing
            () = done.closed() => return None,
            // only now: a caller that takes nothing keeps no worker alive
            end = hearing.finish(end) => late.end(end),
        };
        End { done, end }.tell();
        None
    }

    /// Ends a worker with its call. Gives the fault of the call.
    async fn put_down(&self, mut process: Process, talked: Talked) -> Fault {
        let tail = std::mem::take(&mut process.tail);
        let end = process.kill().await;
        match talked {
            Talked::Kill(fault) => {
                info!(procedure = %self.name, ended = %end.words(), "a worker was killed with its call");
                fault
            }
            Talked::Trouble(trouble) => {
                died(&self.living, &self.name, end, trouble.words());
                trouble.fault(&self.name, &tail)
            }
            Talked::Ended(_) | Talked::Exited => {
                died(&self.living, &self.name, end, "it ended in a call");
                let text =
                    format!("the worker of {} {} in the call, without a result", self.name, end.words());
                end.fault(text, &tail)
            }
        }
    }

    async fn dismiss(self, process: Process, why: &str) {
        let Self { name, living, times: [of_calls, _], .. } = self;
        // while it goes it is no worker that anybody could wait for
        drop(living);
        let end = process.dismiss(of_calls.grace).await;
        info!(procedure = %name, ended = %end.words(), why, "a worker was let go");
    }
}

/// The end of a call, and who is to be told.
struct End {
    done: oneshot::Sender<Told>,
    end: Result<Raw, Fault>,
}

impl End {
    fn tell(self) {
        // an error means that nobody wants it any more
        let _told = self.done.send(Told::End(self.end));
    }
}
