//! One program of ours as a process: started, signalled, and killed with the test that started it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{eventually, in_time};

/// The path of a program of this workspace, beside the running test.
///
/// # Panics
/// When it was not built.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of the test");
    let path = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("there is no {name} near {}: run cargo build --bins", own.display()))
}

/// A command for a program of ours that sees nothing of this machine's configuration.
pub fn command(name: &str) -> Command {
    clean(Command::new(program(name)))
}

fn clean(mut command: Command) -> Command {
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("REDPOLL_") || text.starts_with("RPCTL_") {
            command.env_remove(&variable);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A daemon. Dropping it kills it with SIGKILL; if a test is failing, its log is shown.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program; what it writes is added to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(program: &str, name: &str, arguments: &[A], log: &Path) -> Self {
        Self::start_with(program, name, arguments, log, None)
    }

    /// The same with a variable in its environment.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with<A: AsRef<OsStr>>(
        program: &str,
        name: &str,
        arguments: &[A],
        log: &Path,
        variable: Option<(&str, &str)>,
    ) -> Self {
        let mut command = command(program);
        command.envs(variable);
        Self::spawn(command, name, arguments, log)
    }

    /// The same below another program, which becomes it: `wrapper` are its words.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_under<A: AsRef<OsStr>>(
        wrapper: &[String],
        own: &str,
        name: &str,
        arguments: &[A],
        log: &Path,
    ) -> Self {
        let words = wrapper.iter().map(OsString::from).chain([program(own).into_os_string()]);
        let words: Vec<OsString> = words.chain(arguments.iter().map(|word| word.into())).collect();
        let (first, rest) = words.split_first().expect("a program");
        Self::spawn(clean(Command::new(first)), name, rest, log)
    }

    fn spawn<A: AsRef<OsStr>>(mut command: Command, name: &str, arguments: &[A], log: &Path) -> Self {
        let file = std::fs::File::options().append(true).create(true).open(log).expect("a log file");
        let child = command
            .args(arguments)
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("a process");
        Self { name: name.to_owned(), child, log: log.to_path_buf() }
    }

    /// The process.
    ///
    /// # Panics
    /// When it has ended and its end was waited for.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a process that runs")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a process that takes signals");
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        in_time(&what, self.child.wait()).await.expect("the end of a child")
    }

    /// How it ended, if it does so within `limit`.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub async fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await.ok()?;
        Some(ended.expect("the end of a child"))
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until one line of the log contains every one of `words`, and gives the line.
    pub async fn logged(&self, words: &[&str]) -> String {
        let what = format!("a line of {} with {words:?}", self.name);
        eventually(&what, async || {
            let log = self.log();
            let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned)
        })
        .await
    }

    /// Lines of the log that call for a person.
    pub fn troubles(&self) -> Vec<String> {
        let serious = |line: &&str| line.contains(" ERROR ") || line.contains("panicked");
        self.log().lines().filter(serious).map(str::to_owned).collect()
    }

    /// How much memory it has resident, in KiB.
    ///
    /// # Panics
    /// When the process has ended.
    pub fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process that runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// How many files, sockets included, it has open.
    ///
    /// # Panics
    /// When the process has ended.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a process that runs").count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "whoever reads of a failed test needs the logs")]
            {
                eprintln!("---- log of {} ----\n{}", self.name, self.log());
            }
        }
    }
}

/// A program that an agent runs for a test, known by the file that it wrote its number to.
#[derive(Debug)]
pub struct Sleeper {
    path: PathBuf,
}

impl Sleeper {
    /// The arguments of `exec.run` for a program that writes its number to a file in `directory` and sleeps.
    pub fn new(directory: &Path, name: &str) -> (Self, Vec<String>) {
        let path = directory.join(format!("{name}.pid"));
        let script = format!("echo $$ > {0}.new && mv {0}.new {0} && exec sleep 300", path.display());
        (Self { path }, ["sh", "-c", &script].map(str::to_owned).to_vec())
    }

    /// Waits until it runs, and gives its number.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn running(&self) -> Pid {
        eventually("a program runs", async || {
            let text = std::fs::read_to_string(&self.path).ok()?;
            Pid::from_raw(text.trim().parse().ok()?)
        })
        .await
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it lives on.
    pub async fn ended(&self) {
        let pid = self.running().await;
        eventually("a program has ended", async || (!lives(pid)).then_some(())).await;
    }

    /// Kills it if it lives.
    pub async fn kill(&self) {
        let _gone = kill_process(self.running().await, Signal::KILL);
    }
}

/// Whether a process exists that is more than a memory of one: whether a thread of it lives, be it the first or another.
pub fn lives(pid: Pid) -> bool {
    let threads =
        std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())).into_iter().flatten().flatten();
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok()).any(|stat| {
        // after the name in parentheses comes the state; Z waits for its parent alone
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    })
}
