//! Processes that end when their owner does.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take to end after SIGTERM, before it is killed.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// How often a condition is looked at. Children are processes: there is nothing to be woken by.
pub(super) const POLL: Duration = Duration::from_millis(25);

/// A running daemon. Dropping it ends it: SIGTERM, up to [`GRACE`], then SIGKILL.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) name: String,
    /// Where its output goes.
    pub(super) log: PathBuf,
    child: Child,
    /// Left alone when this is dropped.
    kept: bool,
}

impl Daemon {
    /// Starts a program whose output is added to the file `log`.
    ///
    /// It gets a process group of its own, so that Ctrl-C in a terminal reaches us and not it.
    ///
    /// # Errors
    /// When the log cannot be written or the program not be started.
    pub(super) fn start(name: &str, mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(&log);
        let (stdout, stderr) = open()
            .and_then(|out| Ok((out, open()?)))
            .with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), log, child, kept: false })
    }

    /// The process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// When the process has ended; with how, and the end of its log.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))?;
        if let Some(status) = ended {
            bail!("{} ended early with {status}; its log ends with\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// The last lines of the log, indented.
    pub(super) fn log_tail(&self) -> String {
        const LINES: usize = 15;
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(LINES);
        lines.into_iter().skip(skipped).map(|line| format!("    {line}\n")).collect()
    }

    /// Asks it to end. Does nothing when it has ended already.
    pub(super) fn ask_to_end(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Kills it as `kill -9` does, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL);
        self.child.wait().map(drop).with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Asks it to end and waits up to [`GRACE`]; then kills it.
    ///
    /// # Errors
    /// When it had to be killed or did not exit with 0.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.ask_to_end();
        match self.wait_for_end() {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                bail!("{} ended with {status}; its log ends with\n{}", self.name, self.log_tail())
            }
            None => bail!("{} did not end within {GRACE:?} of SIGTERM and was killed", self.name),
        }
    }

    /// From now on it is left alone.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    /// `None` when it did not end in time; it is dead afterwards in any case.
    fn wait_for_end(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => sleep(POLL),
                Err(_) => break,
            }
        }
        self.signal(Signal::KILL);
        // cannot fail in a way that helps anybody here: the process is ours and not yet waited for
        drop(self.child.wait());
        None
    }

    /// Only while we have not waited for the child: until then its id belongs to nobody else.
    fn signal(&mut self, signal: Signal) {
        let running = matches!(self.child.try_wait(), Ok(None));
        if let (true, Some(id)) = (running, i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)) {
            // it may end between the question and the signal; then there is nothing to do
            let _ = kill_process(id, signal);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.kept && matches!(self.child.try_wait(), Ok(None)) {
            self.ask_to_end();
            self.wait_for_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &std::path::Path) -> Daemon {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Daemon::start("shell", command, folder.join("log")).unwrap()
    }

    /// Waits until the script has said so in its log.
    fn until_ready(daemon: &mut Daemon) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !std::fs::read_to_string(&daemon.log).unwrap().contains("ready") {
            assert!(Instant::now() < deadline, "the script never got ready");
            daemon.check_alive().unwrap();
            sleep(POLL);
        }
    }

    fn is_alive(id: u32) -> bool {
        let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::test_kill_process(id).is_ok()
    }

    #[test]
    fn a_dropped_daemon_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = shell("echo ready; exec sleep 600", folder.path());
        until_ready(&mut daemon);
        let id = daemon.id();
        assert!(is_alive(id));
        drop(daemon);
        assert!(!is_alive(id));
    }

    #[test]
    fn a_daemon_that_ends_well_when_asked_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
        let mut daemon = shell(script, folder.path());
        until_ready(&mut daemon);
        daemon.end().unwrap();
    }

    #[test]
    fn a_daemon_that_ends_early_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = shell("echo out of luck >&2; exit 3", folder.path());
        let deadline = Instant::now() + Duration::from_secs(10);
        let error = loop {
            match daemon.check_alive() {
                Ok(()) => assert!(Instant::now() < deadline, "it did not end"),
                Err(error) => break error.to_string(),
            }
            sleep(POLL);
        };
        assert!(error.contains("out of luck") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let command = Command::new("/nowhere/redpoll-manager");
        let error = Daemon::start("manager m1", command, folder.path().join("log")).unwrap_err().to_string();
        assert!(error.contains("manager m1") && error.contains("/nowhere/redpoll-manager"), "{error}");
    }
}
