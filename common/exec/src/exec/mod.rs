//! Runs one program: start, streams while it runs, limits, and an end that leaves nothing behind.
//!
//! The engine knows nothing of the network: [`run`] takes a [`ProcessSpec`], sends [`Chunk`]s into a bounded
//! channel and returns an [`Exit`]. Back-pressure is the channel's: while nobody takes chunks, the program's pipe
//! is not read, so at most a few chunks and the pipe's own buffer are held however much the program writes.
//!
//! **How a program ends.** It is the leader of a process group of its own. On a stop or at its time limit the whole
//! tree is asked to end (SIGTERM), and what is left after the grace is killed (SIGKILL); `run` returns when nothing
//! of the tree is left. If the future of `run` is dropped, the tree is killed at once, by a task that goes on until nothing is left. The tree is the process group,
//! all descendants, and every process that inherited the run's [`RUN_VARIABLE`], which finds daemons that left the
//! group and lost their parent. Those that replaced their environment as well are [adopted] and found by their `mark`, or in
//! their control group; without the privilege to read marks (`CAP_SYS_NICE`) and without control groups they escape.
//!
//! **A program that ends by itself** may leave a daemon behind on purpose (`service x start`): nothing is killed then.
//! What the program wrote is delivered whole; should a daemon keep the pipes open, they are closed after
//! [`DRAIN`] and [`Exit::pipes_held`] says so.

pub mod account;
pub mod adopted;
pub mod cgroup;
mod children;
pub mod confine;
mod death;
mod environ;
mod error;
mod feed;
mod form;
mod group;
mod handed;
mod inherited;
mod keyring;
pub mod leftovers;
mod lookout;
mod lookup;
mod mark;
mod name;
pub mod note;
pub mod open_files;
mod output;
pub mod programs;
mod starts;
mod tree;
mod verdict;
mod watching;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

pub use error::{ExecError, is_no_room};
pub use lookup::find_program;

use crate::clock::boot_ms;

use confine::Confine;
pub(crate) use group::{Group, Pipes};
pub(crate) use name::unique_name;
use note::Noting;
use output::{Outlet, Phase};
use programs::Programs;
use starts::STARTS;
use watching::{Stop, watch_over};

/// The most bytes one [`Chunk::Data`] carries.
pub const CHUNK: usize = 16 * 1024;
/// How long a chunk smaller than [`CHUNK`] waits for more output to join it.
pub const BATCH: Duration = Duration::from_millis(5);
/// How many bytes of the end of its standard error an [`Exit`] keeps.
pub const TAIL: usize = 4096;
/// How long a program may take to start. Only file systems that do not answer need so long.
pub const START_WAIT: Duration = Duration::from_secs(30);
/// How long pipes are read after the program's end, when somebody else still holds them.
pub const DRAIN: Duration = Duration::from_secs(2);
/// How long killed processes may take to disappear (they may hang in the kernel) before [`run`] returns without them.
pub const KILL_WAIT: Duration = Duration::from_secs(5);
/// What a program inherits from the agent's environment; everything else is given or absent.
pub const INHERITED: [&str; 4] = ["PATH", "LANG", "TZ", "HOME"];
/// The variable that marks every process of a run with the run's unique name.
pub const RUN_VARIABLE: &str = "REDPOLL_RUN";

/// What to run and within which limits.
#[derive(Clone)]
pub struct ProcessSpec {
    /// The program, by path or looked up in `PATH`, and its arguments. Never a shell's text.
    pub argv: Vec<OsString>,
    /// Variables set beside, or in place of, the [`INHERITED`] ones.
    pub env: BTreeMap<OsString, OsString>,
    /// The working directory; `None`: the agent's own.
    pub cwd: Option<PathBuf>,
    /// What the program reads from its standard input; `None`: `/dev/null`.
    pub stdin: Option<Bytes>,
    /// How long the program may run; `None`: until it is stopped.
    pub run_timeout: Option<Duration>,
    /// How long the tree may take to end after SIGTERM before SIGKILL. Zero: SIGKILL at once.
    pub grace: Duration,
    /// How many bytes of output (both streams together) are delivered; the rest is counted and thrown away.
    pub output_limit: u64,
    /// The [boot-time clock](crate::clock::boot_ms) at which it is too late to start it; `None`: never.
    pub not_after: Option<u64>,
    /// As whom and within what; `None`: as the agent, without limits.
    pub confine: Option<Confine>,
    /// As what it is noted while it runs; `None`: a run of a job is written down elsewhere.
    pub noting: Option<Noting>,
}

impl fmt::Debug for ProcessSpec {
    /// Shows the program only: arguments, variables and input may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessSpec")
            .field("program", &self.argv.first())
            .field("run_timeout", &self.run_timeout)
            .field("grace", &self.grace)
            .field("output_limit", &self.output_limit)
            .finish_non_exhaustive()
    }
}

/// One of a program's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamName {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

impl StreamName {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A piece of output. Within one stream pieces come in the order the program wrote them.
#[derive(Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Bytes as the program wrote them, at most [`CHUNK`] of them.
    Data {
        /// Where they were written to.
        stream: StreamName,
        /// The bytes.
        data: Bytes,
    },
    /// The stream's last piece, if bytes of it were not delivered.
    Truncated {
        /// Which stream.
        stream: StreamName,
        /// How many of its bytes were thrown away.
        dropped: u64,
    },
}

impl fmt::Debug for Chunk {
    /// Shows lengths only: output may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { stream, data } => write!(f, "Data({}, {} bytes)", stream.as_str(), data.len()),
            Self::Truncated { stream, dropped } => write!(f, "Truncated({}, {dropped})", stream.as_str()),
        }
    }
}

/// Why somebody asks a program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Nobody wants it any longer.
    Cancelled,
    /// The caller's time is over.
    TimedOut,
}

/// Who ended a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// It ended by itself (or by a signal that was not ours).
    Itself,
    /// It was stopped, or ran into [`ProcessSpec::run_timeout`], which counts as [`StopReason::TimedOut`].
    Stopped(StopReason),
}

/// The end of a stream, for those who have to explain a failure.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tail {
    end: Vec<u8>,
    /// What stood before it is not told.
    is_rest: bool,
}

impl Tail {
    /// The end of a stream that others had before: its begin may be the end of something.
    pub(crate) fn rest() -> Self {
        Self { end: Vec::new(), is_rest: true }
    }

    /// Appends; of the whole only the end is kept.
    pub(crate) fn push(&mut self, data: &[u8]) {
        let new = data.get(data.len().saturating_sub(TAIL)..).unwrap_or_default();
        let surplus = (self.end.len() + new.len()).saturating_sub(TAIL);
        self.end.drain(..surplus);
        self.end.extend_from_slice(new);
    }

    /// All of it as a text, with an ellipsis where it may have been cut: who masks it has to know. `None` when there is nothing.
    pub fn text(&self) -> Option<String> {
        let is_cut = self.is_rest || self.end.len() >= TAIL;
        let rest_of_char = self.end.iter().take(3).take_while(|&&byte| is_cut && byte & 0xc0 == 0x80).count();
        let text = String::from_utf8_lossy(self.end.get(rest_of_char..).unwrap_or_default());
        (!self.end.is_empty()).then(|| if is_cut { format!("…{text}") } else { text.into_owned() })
    }

    /// The bytes, at most [`TAIL`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.end
    }
}

impl fmt::Debug for Tail {
    /// Shows the length only: output may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({} bytes)", self.end.len())
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How many bytes were read from its standard output, those thrown away included.
    pub stdout_bytes: u64,
    /// How many bytes were read from its standard error, those thrown away included.
    pub stderr_bytes: u64,
    /// How many bytes of both streams were not delivered.
    pub dropped: u64,
    /// The end of its standard error, delivered or not.
    pub stderr_tail: Tail,
    /// From the start until the program's tree had ended and its output was delivered.
    pub duration: Duration,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// Somebody kept the pipes open after the program's end; later output of theirs is lost.
    pub pipes_held: bool,
    /// How many processes of a stopped tree were still there [`KILL_WAIT`] after SIGKILL. Should the program itself be one of them,
    /// neither `code` nor `signal` is known.
    pub left_behind: usize,
}

/// Runs a program until it has ended and its output is delivered.
///
/// `stop` is polled until it completes once; make it pending for ever if nobody will stop the program. A closed
/// `chunks` channel does not end the program: its output is counted and thrown away. After a stop, output that the
/// channel does not take within [`DRAIN`] of the tree's end is thrown away too.
///
/// # Errors
/// [`ExecError`] when the program could not be started. Nothing has run then, unless it [may have begun](ExecError::may_have_begun),
/// and is killed at once.
///
/// # Cancel safety
/// Dropping the future kills the program's whole tree at once; [`Programs`] tells when nothing of it is left.
pub async fn run(
    spec: ProcessSpec,
    chunks: mpsc::Sender<Chunk>,
    stop: impl Future<Output = StopReason> + Send,
) -> Result<Exit, ExecError> {
    run_announced(spec, None, chunks, stop, || {}).await
}

/// The same as [`run`]; calls `started` once there is a process, or may have been one. With `more`, its standard input stays open until that is closed,
/// and what comes is written after [`ProcessSpec::stdin`].
///
/// # Errors
/// As [`run`].
pub async fn run_announced(
    spec: ProcessSpec,
    more: Option<mpsc::Receiver<Bytes>>,
    chunks: mpsc::Sender<Chunk>,
    stop: impl Future<Output = StopReason> + Send,
    started: impl FnOnce() + Send,
) -> Result<Exit, ExecError> {
    let begin = Instant::now();
    let deadline = spec.run_timeout.and_then(|limit| begin.checked_add(limit));
    let begun = start(spec).await;
    if begun.as_ref().err().is_none_or(ExecError::may_have_begun) {
        started();
    }
    let (mut group, pipes, mut spec) = begun?;

    let outlet = Outlet::new(chunks, spec.output_limit);
    let (phase, watching) = watch::channel(Phase::Running);
    let (delivered, all_delivered) = oneshot::channel();
    let streams = async {
        let ended = watching.clone();
        let pumped = tokio::join!(
            output::pump(pipes.stdout, StreamName::Stdout, &outlet, watching.clone()),
            output::pump(pipes.stderr, StreamName::Stderr, &outlet, watching.clone()),
            feed::feed(pipes.stdin, spec.stdin.take(), more, ended),
        );
        drop(delivered);
        pumped
    };
    let life = watch_over(&mut group, &phase, spec.grace, deadline, Stop { stop, all_delivered });
    let ((stdout, stderr, ()), (ended_by, left_behind)) = tokio::join!(streams, life);

    let status = group.reap().await;
    Ok(Exit {
        code: status.code,
        signal: status.signal,
        stdout_bytes: stdout.bytes,
        stderr_bytes: stderr.bytes,
        dropped: stdout.dropped.saturating_add(stderr.dropped),
        stderr_tail: stderr.tail,
        duration: begin.elapsed(),
        ended_by,
        pipes_held: stdout.held || stderr.held,
        left_behind,
    })
}

/// Starts the program on another thread: a directory or a program on a network file system whose server is gone
/// must not hold up everything else.
pub(crate) async fn start(spec: ProcessSpec) -> Result<(Group, Pipes, ProcessSpec), ExecError> {
    let program = spec.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    if STARTS.hang() {
        return Err(ExecError::Hang { program });
    }
    let held = Programs::hold();
    let spawning = tokio::task::spawn_blocking(move || {
        let _under_way = STARTS.begin();
        if spec.not_after.is_some_and(|at| at <= boot_ms()) {
            return Err(ExecError::Late);
        }
        // should nobody wait any more when this is done, the group is dropped, and with it the program killed
        Group::spawn(&spec, held).map(|(group, pipes)| (group, pipes, spec))
    });
    let name = program.clone();
    let starting = async move {
        let spawned = spawning.await;
        let (group, mut pipes, spec) =
            spawned.map_err(|error| ExecError::System { program: name, source: error.into() })??;
        if spec.confine.is_some()
            && let Err(error) = verdict::hear(&mut pipes.stdout, &spec).await
        {
            drop(pipes); // nobody reads what else it may write
            let _status = group.reap().await;
            return Err(error);
        }
        Ok((group, pipes, spec))
    };
    // what a helper looks up as another user may be made to hang by that user: it is killed with its group then
    timeout(START_WAIT, starting).await.unwrap_or(Err(ExecError::Slow { program }))
}
