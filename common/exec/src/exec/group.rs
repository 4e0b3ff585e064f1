//! The process group of a run: started, watched, ended, and never forgotten. `dropped`: what becomes of it when nobody wants it.

mod dropped;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::adopted::Leader;
use super::death::Death;
use super::handed;
use super::lookout::LOOKOUT;
use super::mark::{Given, Mark};
use super::name::unique_name;
use super::note::Noted;
use super::programs::Held;
use super::tree::{self, Lineage, Process};
use super::{ExecError, INHERITED, KILL_WAIT, ProcessSpec, RUN_VARIABLE, is_no_room, open_files};

/// The longest pause between two looks for processes that were born while others were killed.
const KILL_ROUND: Duration = Duration::from_millis(50);
/// How long the end of a leader that has ended, or was killed, may take to be told.
const REAP_WAIT: Duration = Duration::from_millis(200);

/// A program that runs, or that has ended and is not yet reaped: as long as this value lives its number, and with it
/// the number of its group, belongs to nobody else. Dropped before it is reaped, it has the whole tree killed by a task of its own.
pub(crate) struct Group {
    /// `None` once it is reaped.
    leader: Option<Own>,
    lineage: Lineage,
    /// Somebody waits until nothing of it is left.
    held: Option<Held>,
    /// It outlived SIGKILL.
    gave_up: bool,
    /// It was dropped, and is ended by a task of its own.
    is_dropped: bool,
    /// Whoever comes after this process knows that it ran.
    noted: Option<Noted>,
}

/// A child of this process, and what tells of its end. The runtime's own children would have a second descriptor for that.
struct Own {
    child: Child,
    death: Death,
    /// Nobody else takes its end.
    _mine: Leader,
    /// No other run is given its mark.
    _given: Option<Given>,
}

/// The agent's ends of the program's pipes.
pub(crate) struct Pipes {
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

/// How the leader ended. Neither is known if somebody else reaped it.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

impl Group {
    /// Starts the program. `held` is let go when nothing of it is left.
    pub(crate) fn spawn(spec: &ProcessSpec, held: Option<Held>) -> Result<(Self, Pipes), ExecError> {
        Self::spawn_watched(spec, held, watch)
    }

    fn spawn_watched(
        spec: &ProcessSpec,
        held: Option<Held>,
        watch: fn(&mut Child) -> io::Result<(Death, Pipes)>,
    ) -> Result<(Self, Pipes), ExecError> {
        let program = check(spec)?;
        let run = unique_name();
        let mut command = command(spec, &run).ok_or(ExecError::NoProgram)?;
        let noted = spec.noting.as_ref().map(|noting| noting.begin(&run));
        let (given, started) = Mark::on(|| command.spawn());
        let mut child = started.map_err(|source| match &spec.confine {
            None => ExecError::of_start(program.clone(), source),
            Some(_) => ExecError::of_helper(program.clone(), source),
        })?;
        let leader = Pid::from_child(&child);
        if spec.confine.is_none() {
            open_files::give_back(leader); // a helper does it before it becomes somebody else
        }
        let (death, pipes) = match watch(&mut child) {
            Ok(watched) => watched,
            Err(source) => {
                // what nobody could watch over does not run
                let _killed = kill_process_group(leader, Signal::KILL);
                let _reaped = child.wait();
                return Err(ExecError::Unwatched { program, source });
            }
        };
        let cgroup = spec.confine.as_ref().and_then(|confine| confine.cgroup.clone());
        let mark = given.as_ref().and_then(Given::mark);
        let lineage = Lineage { leader, run, mark, cgroup };
        let own = Own { child, death, _mine: Leader::new(leader), _given: given };
        Ok((Self { leader: Some(own), lineage, held, gave_up: false, is_dropped: false, noted }, pipes))
    }

    /// Completes when the leader has ended. It stays a zombie until [`Group::reap`]. Cancel-safe.
    pub(crate) async fn exited(&mut self) {
        let leader = self.lineage.leader;
        if let Some(own) = &mut self.leader {
            own.death.come(|| !is_running(leader)).await;
        }
    }

    /// Whether the leader has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        is_running(self.lineage.leader)
    }

    /// Whether a signal has stopped the leader, so that it does nothing until another lets it go on.
    pub(crate) fn is_stopped(&self) -> bool {
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.lineage.leader), look), Ok(Some(status)) if status.stopped())
    }

    /// Ends the whole tree: SIGTERM, after `grace` SIGKILL. Says how many processes outlived even that.
    pub(crate) async fn end(&mut self, grace: Duration) -> usize {
        if !grace.is_zero() {
            self.signal(Signal::TERM).await;
            // a stopped process notices SIGTERM only when it goes on
            self.signal(Signal::CONT).await;
            // whatever is in a control group and was not seen is killed with it, and looked for once more
            if self.gone_by(Instant::now() + grace).await && !self.kill_cgroup() {
                return 0;
            }
        }
        let (until, mut pause) = (Instant::now() + KILL_WAIT, Duration::from_millis(2));
        loop {
            self.kill_cgroup();
            let seen = self.members().await;
            if seen.as_ref().is_some_and(Vec::is_empty) && !self.is_running() {
                return 0;
            }
            // at each look, because what is killed may have had children since the last
            signal_tree(&self.lineage, &seen.unwrap_or_default(), Signal::KILL);
            if Instant::now() >= until {
                // what nobody can see may be one
                let seen = self.members().await.map_or(1, |members| members.len());
                let left = seen.max(usize::from(self.is_running()));
                self.give_up(left);
                return left;
            }
            sleep(pause).await;
            pause = (pause * 2).min(KILL_ROUND);
        }
    }

    fn give_up(&mut self, left: usize) {
        if left == 0 {
            return; // the last of them went at the last moment
        }
        tracing::warn!(leader = %self.lineage.leader, left, "processes of a stopped run outlive SIGKILL, or nobody can see whether");
        self.gave_up = true;
        if let Some(held) = &self.held {
            held.gave_up(left);
        }
    }

    /// Kills the control group as one, where there is one and the kernel can. Where it cannot, one after the other is killed.
    fn kill_cgroup(&self) -> bool {
        let path = self.lineage.cgroup.as_ref();
        path.is_some_and(|path| std::fs::write(path.join("cgroup.kill"), "1").is_ok())
    }

    /// Waits until nothing of the tree lives, at most until `deadline`.
    async fn gone_by(&mut self, deadline: Instant) -> bool {
        if timeout_at(deadline, self.exited()).await.is_err() {
            return false;
        }
        // the others are not our children, so nobody tells us of their end
        let mut pause = Duration::from_millis(2);
        loop {
            if self.members().await.is_some_and(|members| members.is_empty()) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Signals the group as one, then each process of the tree that left it.
    async fn signal(&self, signal: Signal) {
        let seen = self.members().await; // before the signal: a dead parent has no children
        signal_tree(&self.lineage, &seen.unwrap_or_default(), signal);
    }

    /// The living processes of the tree; `None`: not known now.
    async fn members(&self) -> Option<Vec<Process>> {
        seen_of(&self.lineage, LOOKOUT.members(&self.lineage).await)
    }

    /// Lets the leader go for good. Call it when it has ended, or was ended; what is left of its tree is left alone. Of one that hangs
    /// in the kernel nothing is told, and it is buried when it has ended after all.
    pub(crate) async fn reap(mut self) -> Status {
        // an error means that it hangs, or that the runtime is going down: dropping this kills what still runs
        let _ended = timeout(REAP_WAIT, self.exited()).await;
        self.bury()
    }

    /// Takes the end of the leader, if it has ended.
    fn bury(&mut self) -> Status {
        use std::os::unix::process::ExitStatusExt as _;
        let Some(own) = &mut self.leader else { return Status::default() };
        let ended = own.child.try_wait();
        if matches!(ended, Ok(None)) {
            return Status::default();
        }
        self.leader = None;
        match ended {
            Ok(status) => status.map_or_else(Status::default, |status| Status {
                code: status.code(),
                signal: status.signal(),
            }),
            Err(error) => {
                tracing::warn!(%error, "the end of a program was taken by somebody else");
                Status::default()
            }
        }
    }
}

impl Pipes {
    /// Those of a program that was just started. Within a runtime.
    fn of(child: &mut Child) -> io::Result<Self> {
        Ok(Self {
            stdin: child.stdin.take().map(ChildStdin::from_std).transpose()?,
            stdout: child.stdout.take().map(ChildStdout::from_std).transpose()?,
            stderr: child.stderr.take().map(ChildStderr::from_std).transpose()?,
        })
    }
}

/// What tells of the end of a program that was just started, and what it says. Within a runtime.
fn watch(child: &mut Child) -> io::Result<(Death, Pipes)> {
    Ok((Death::of(Pid::from_child(child))?, Pipes::of(child)?))
}

fn is_running(leader: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(leader), look), Ok(None) | Err(Errno::INTR))
}

/// What is seen of a tree. `None`: there is no descriptor or no memory to look with, or whoever looks hangs, which says nothing of
/// what is left.
fn seen_of(lineage: &Lineage, looked: io::Result<Vec<Process>>) -> Option<Vec<Process>> {
    match looked {
        Ok(members) => Some(members),
        Err(error) if is_no_room(&error) || error.kind() == io::ErrorKind::TimedOut => {
            tracing::debug!(leader = %lineage.leader, %error, "what is left of a stopped run cannot be seen now");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "/proc cannot be read: only the process group of a run is ended");
            Some(Vec::new())
        }
    }
}

fn signal_tree(lineage: &Lineage, members: &[Process], signal: Signal) {
    // cannot hit strangers: the leader is not reaped yet, so the group's number is still its own
    match kill_process_group(lineage.leader, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        // all that is left of the group changed its user
        Err(error) => tracing::warn!(leader = %lineage.leader, %error, "a process group cannot be signalled"),
    }
    for process in members.iter().filter(|process| process.group != lineage.leader.as_raw_pid()) {
        tree::signal_one(*process, signal);
    }
}

fn command(spec: &ProcessSpec, run: &str) -> Option<Command> {
    let (program, arguments) = spec.argv.split_first()?;
    let mut environment: BTreeMap<&OsStr, OsString> =
        INHERITED.iter().filter_map(|name| Some((OsStr::new(name), std::env::var_os(name)?))).collect();
    environment.extend(spec.env.iter().map(|(name, value)| (name.as_os_str(), value.clone())));
    environment.insert(OsStr::new(RUN_VARIABLE), run.into());
    let mut command = match &spec.confine {
        None => {
            let mut command = Command::new(program);
            command.env_clear().envs(environment);
            spec.cwd.iter().for_each(|cwd| _ = command.current_dir(cwd));
            command
        }
        Some(confine) => {
            let mut command = Command::new(&confine.helper);
            command.args(confine.arguments()).arg(program);
            // it begins as this process's user: nothing that the caller says may have a meaning for it
            command.env_clear().envs(handed::over(environment, spec.cwd.as_deref()));
            command
        }
    };
    command.args(arguments);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let stdin = if spec.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

/// Finds what the operating system would refuse without saying why. Returns the program's name for messages.
///
/// What a confined program finds where is for its helper to say: this process sees paths that the program's user does not.
fn check(spec: &ProcessSpec) -> Result<String, ExecError> {
    use std::os::unix::ffi::OsStrExt as _;
    let has_nul = |text: &OsStr| text.as_bytes().contains(&0);
    let program = spec.argv.first().filter(|program| !program.is_empty()).ok_or(ExecError::NoProgram)?;
    if spec.argv.iter().any(|argument| has_nul(argument)) {
        return Err(ExecError::Nul { what: "an argument" });
    }
    for (name, value) in &spec.env {
        if has_nul(name) || has_nul(value) {
            return Err(ExecError::Nul { what: "a variable" });
        }
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return Err(ExecError::Variable { name: name.to_string_lossy().into_owned() });
        }
    }
    if spec.cwd.as_ref().is_some_and(|cwd| has_nul(cwd.as_os_str())) {
        return Err(ExecError::Nul { what: "the working directory" });
    }
    if let Some(cwd) = spec.cwd.as_ref().filter(|_| spec.confine.is_none()) {
        let refused = |source| ExecError::Directory { cwd: cwd.clone(), source };
        if !std::fs::metadata(cwd).map_err(refused)?.is_dir() {
            return Err(refused(io::ErrorKind::NotADirectory.into()));
        }
        let enter = rustix::fs::Access::EXEC_OK;
        rustix::fs::access(cwd, enter).map_err(|error| refused(error.into()))?;
    }
    Ok(program.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
