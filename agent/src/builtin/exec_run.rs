//! `exec.run`: any program, for those who may.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::session::StopReason as CallStop;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_exec::ExecLimits;
use redpoll_exec::telling::{given_up, kind, no_room, not_started};
use redpoll_net::service::{Output, RunContext, Stop, stop_fault};
use redpoll_net::{CallContext, ProcedureInfo};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::arguments::answer;
use super::exec_arguments::{ExecArguments, Octets};
use crate::exec::cgroup::{Cgroup, Hierarchy, Usage};
use crate::exec::confine::{self, Confine};
use crate::exec::note::{Kind, Notes};
use crate::exec::{self, Chunk, EndedBy, Exit, ProcessSpec, StopReason, is_no_room};
use crate::procedures::run_as_account;

/// Chunks between the program's pipes and the connection, beside the one on either side. When it is full, the
/// program's output is not read.
const CHUNKS_IN_FLIGHT: usize = 1;
/// The grace of what somebody else kills when its time is over.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn info() -> ProcedureInfo {
    let schema = json!({
        "type": "object",
        "properties": {
            "argv": {
                "type": "array", "minItems": 1,
                "description": "The program and its arguments, texts or binary; also as positional arguments."
            },
            "env": {
                "type": "object",
                "description": "Variables, texts or binary, beside the inherited PATH, LANG, TZ and HOME."
            },
            "cwd": {"type": "string", "description": "The working directory; the agent's own, or /, if absent."},
            "stdin": {"description": "The standard input, a text or binary; empty if absent."},
            "output_limit": {
                "type": "integer", "minimum": 0,
                "description": "Bytes of output to deliver; the rest is counted. The agent may allow less."
            },
            "grace_ms": {
                "type": "integer", "minimum": 0,
                "description": "Milliseconds between SIGTERM and SIGKILL. The agent may allow less."
            },
            "run_timeout_ms": {
                "type": "integer", "minimum": 1,
                "description": "Milliseconds the program may run. The agent may allow less."
            }
        },
        "required": ["argv"],
        "x-positional": "argv",
        "additionalProperties": false
    });
    // of a job they are stored: variables and input are where secrets are handed to programs. Its output has no such places
    let redact = ["env.*", "stdin"].map(str::to_owned).into();
    let text = "Runs a program and streams its output as values.";
    ProcedureInfo { redact, ..ProcedureInfo::new("exec.run", text, schema) }
}

/// How the program ended, in results and in the `data` of faults.
#[derive(Debug, Serialize)]
struct Summary {
    exit: Option<i32>,
    signal: Option<i32>,
    stdout_bytes: u64,
    stderr_bytes: u64,
    dropped: u64,
    duration_ms: u64,
    /// Only when true: a process outside the run still held the pipes when they were closed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pipes_held: bool,
    /// Only when not zero: processes that outlived SIGKILL.
    #[serde(skip_serializing_if = "is_zero")]
    left_behind: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl From<&Exit> for Summary {
    fn from(exit: &Exit) -> Self {
        Self {
            exit: exit.code,
            signal: exit.signal,
            stdout_bytes: exit.stdout_bytes,
            stderr_bytes: exit.stderr_bytes,
            dropped: exit.dropped,
            duration_ms: u64::try_from(exit.duration.as_millis()).unwrap_or(u64::MAX),
            pipes_held: exit.pipes_held,
            left_behind: exit.left_behind,
        }
    }
}

/// Runs a program; its output becomes values `{stream, data}`, and at a stream's end `{stream, truncated, dropped}`; in a
/// job, items.
///
/// Exit code 0 is a result; any other, or a signal, is a fault `failed` of class `ExitStatus` with the end of the
/// standard error as its trace. A program that cannot be started is a fault `failed` of class `SpawnError`; one that
/// was stopped answers `cancelled`, `timed_out` or `shutting_down` once nothing of it is left.
pub(super) async fn exec_run(
    call: CallContext,
    limits: ExecLimits,
    (cgroups, notes): (Option<Arc<Hierarchy>>, Option<Notes>),
) -> Result<Raw, Fault> {
    let CallContext { args, kwargs, stop, output, caller, run, run_as, .. } = call;
    let arguments = ExecArguments::read(&args, &kwargs)?;
    let mut spec = match &run {
        None => {
            let noting = notes.map(|notes| notes.of(Kind::Call, "exec.run"));
            ProcessSpec { noting, ..specify(arguments, limits) }
        }
        Some(run) => specify_run(arguments, run),
    };
    let _cgroup = confine(&mut spec, run_as.as_deref(), cgroups.as_deref())?;
    drop((args, kwargs)); // the input lives on in the specification alone
    let program = shown(&spec);
    let run_timeout = spec.run_timeout;
    tracing::debug!(%program, caller = %caller.identity, "exec.run starts");

    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let (running, ended) = oneshot::channel::<()>();
    let run = async {
        let exit = exec::run_announced(spec, None, sender, stopped(&stop), || output.started()).await;
        drop(running);
        exit
    };
    let forward = async {
        tokio::select! {
            biased; // what can be delivered is delivered
            () = forward(receiver, &output) => {}
            () = given_up(ended, &stop) => {}
        }
    };
    let (exit, ()) = tokio::join!(run, forward);
    let exit = exit.map_err(|error| not_started(&error))?;
    tracing::debug!(%program, code = exit.code, signal = exit.signal, "exec.run ended");

    let summary = answer(&Summary::from(&exit))?;
    match exit.ended_by {
        EndedBy::Itself if exit.code == Some(0) => Ok(summary),
        EndedBy::Itself => Err(failed(&program, &exit).with_data(summary)),
        EndedBy::Stopped(_) => Err(ended_early(&program, &stop, run_timeout).with_data(summary)),
    }
}

fn specify(arguments: ExecArguments, limits: ExecLimits) -> ProcessSpec {
    let wanted = arguments.run_timeout_ms.map(Duration::from_millis);
    ProcessSpec {
        argv: arguments.argv.into_iter().flatten().map(Octets::into_os).collect(),
        env: arguments
            .env
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.into_os(), value.into_os()))
            .collect(),
        cwd: arguments.cwd.map(|cwd| PathBuf::from(cwd.into_os())),
        stdin: arguments.stdin.map(Octets::into_bytes),
        run_timeout: [wanted, limits.run_timeout].into_iter().flatten().min(),
        grace: arguments
            .grace_ms
            .map_or(limits.grace, |wanted| Duration::from_millis(wanted).min(limits.grace)),
        output_limit: arguments.output_limit.map_or(limits.output, |wanted| wanted.min(limits.output)),
        not_after: None,
        confine: None,
        noting: None,
    }
}

/// The same for a run of a job, whose limits are kept by whoever recorded it: the program runs, and gives output, until it
/// is stopped.
fn specify_run(arguments: ExecArguments, run: &RunContext) -> ProcessSpec {
    let none = ExecLimits { output: u64::MAX, run_timeout: None, grace: FOR_EVER };
    let own = [
        ("REDPOLL_JOB", run.run.job.to_string()),
        ("REDPOLL_ATTEMPT", run.run.attempt.to_string()),
        ("REDPOLL_DNO", run.run.dno.to_string()),
        ("REDPOLL_AGENT", run.agent.to_string()),
        ("REDPOLL_PROCEDURE", run.procedure.clone()),
    ];
    let mut spec = specify(arguments, none);
    spec.env.extend(own.map(|(name, value)| (name.into(), value.into())));
    ProcessSpec { not_after: run.not_after, ..spec }
}

/// Has it run as another user, as the policy of the machine's owner says, and in a control group of its own, where all runs are.
fn confine(
    spec: &mut ProcessSpec,
    run_as: Option<&str>,
    cgroups: Option<&Hierarchy>,
) -> Result<Option<Cgroup>, Fault> {
    let account = run_as.map(run_as_account).transpose()?.flatten();
    let helper = confine::own_helper();
    if let (Some(user), Some(_), None) = (run_as, &account, &helper) {
        let text = format!(
            "the agent's policy says that it runs as {user}, which needs an agent whose main calls \
             exec::confine::intercept first; nothing ran"
        );
        return Err(Fault::new(FaultCode::Rejected, text));
    }
    let Some(helper) = helper else { return Ok(None) };
    let cgroup = cgroups.map(|cgroups| cgroups.hold(&Usage::default())).transpose();
    let cgroup = cgroup.map_err(|error| match is_no_room(&error) {
        true => no_room(format!("a control group for it cannot be made, and nothing ran: {error}")),
        false => Fault::new(FaultCode::Internal, error.to_string()),
    })?;
    let cgroup = cgroup.and_then(|(cgroup, _no_limits)| cgroup);
    if account.is_none() && cgroup.is_none() {
        return Ok(None);
    }
    if let Some(account) = &account {
        spec.env.entry("HOME".into()).or_insert_with(|| account.home.clone().into());
    }
    let path = cgroup.as_ref().map(|group| group.path().to_owned());
    spec.confine = Some(Confine { helper, account, rlimits: Usage::default(), cgroup: path });
    Ok(cgroup)
}

/// The program's name for messages: the last part of its path, in one line.
fn shown(spec: &ProcessSpec) -> String {
    let path = spec.argv.first().map(Path::new);
    let name = path.and_then(|path| path.file_name().or(Some(path.as_os_str()))).unwrap_or_default();
    name.to_string_lossy().chars().take(64).flat_map(char::escape_debug).collect()
}

async fn stopped(stop: &Stop) -> StopReason {
    match stop.stopped().await {
        CallStop::TimedOut => StopReason::TimedOut,
        CallStop::Cancelled | CallStop::Closed => StopReason::Cancelled,
    }
}

/// Sends chunks until there are no more, or nobody wants them; then the rest is counted and thrown away.
async fn forward(mut chunks: mpsc::Receiver<Chunk>, output: &Output) {
    while let Some(chunk) = chunks.recv().await {
        let sent = match chunk {
            Chunk::Data { stream, data } => output.chunk(kind(stream), &data).await,
            Chunk::Truncated { stream, dropped } => output.truncated(kind(stream), dropped).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "output of exec.run is not delivered any more");
            return;
        }
    }
}

fn failed(program: &str, exit: &Exit) -> Fault {
    let text = match (exit.code, exit.signal) {
        (Some(code), _) => format!("{program} exited with {code}"),
        (None, Some(signal)) => format!("{program} was ended by signal {signal}"),
        (None, None) => format!("{program} ended in an unknown way"),
    };
    let mut fault = Fault::new(FaultCode::Failed, text);
    fault.class = Some("ExitStatus".to_owned());
    fault.trace = exit.stderr_tail.text();
    fault
}

fn ended_early(program: &str, stop: &Stop, run_timeout: Option<Duration>) -> Fault {
    match (stop.reason(), run_timeout) {
        (Some(reason), _) => stop_fault(reason),
        (None, Some(limit)) => {
            let text = format!("{program} exceeded its time limit of {} s", limit.as_secs_f64());
            Fault::new(FaultCode::TimedOut, text)
        }
        (None, None) => Fault::new(FaultCode::TimedOut, format!("{program} exceeded its time limit")),
    }
}
