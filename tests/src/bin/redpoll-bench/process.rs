//! Child processes, the core they run on, and what the kernel says they use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// The longest wait for a line of a child.
const PATIENCE: Duration = Duration::from_secs(180);

/// A program of ours that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    child: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: ChildStdin,
    id: u32,
}

impl Child {
    /// Starts a program from the folder of this one. Its stderr goes to a file beside `log`'s others.
    pub(crate) fn start(program: &str, arguments: &[&str], log: &Path) -> anyhow::Result<Self> {
        let path = beside(program)?;
        let stderr = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(&path);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}; `cargo xtask bench` builds it", path.display()))?;
        let stdout = child.stdout.take().context("a child without stdout")?;
        let stdin = child.stdin.take().context("a child without stdin")?;
        let id = child.id().context("a child without an id")?;
        let name = arguments.first().map_or(program, |first| first).to_owned();
        Ok(Self { name, child, lines: BufReader::new(stdout).lines(), stdin, id })
    }

    /// Starts another part of this very program.
    pub(crate) fn part(arguments: &[&str], log: &Path) -> anyhow::Result<Self> {
        Self::start("redpoll-bench", arguments, log)
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for a line that begins with `word`, and gives the rest of it.
    pub(crate) async fn expect(&mut self, word: &str) -> anyhow::Result<String> {
        let found = async {
            while let Some(line) = self.lines.next_line().await? {
                if let Some(rest) = line.strip_prefix(word) {
                    return anyhow::Ok(rest.trim().to_owned());
                }
            }
            bail!("{} ended before it said {word:?}", self.name)
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .with_context(|| format!("{} did not say {word:?} within {PATIENCE:?}", self.name))?
    }

    /// Writes a line to its stdin.
    pub(crate) async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.stdin.flush().await?)
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.id)
    }

    /// Processor time of all its threads so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(self.id)
    }
}

/// Processor time of all threads of a process so far, as exactly as the scheduler counts it.
pub(crate) fn cpu(id: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        // a thread may end between the two reads
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        nanos += first.unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanos))
}

/// Processor time of a process so far, threads that have ended included. In ticks of 10 ms: for what takes long.
pub(crate) fn whole_cpu(id: u32) -> anyhow::Result<Duration> {
    const TICK_MS: u64 = 10;
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // the name in parentheses may have spaces; user and system time are the 12th and 13th after it
    let (_, rest) = text.rsplit_once(')').context("no name")?;
    let times = rest.split_whitespace().skip(11).take(2);
    let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * TICK_MS))
}

/// A program in the folder of this one.
pub(crate) fn beside(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program has no path")?;
    Ok(own.with_file_name(program))
}

/// Memory of a process in KiB, as `/proc/PID/status` has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
}

impl Memory {
    fn of(id: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{id}/status"))
            .with_context(|| format!("process {id} is gone"))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
            Ok(number.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(Self { resident: field("VmRSS")?, anonymous: field("RssAnon")? })
    }
}

/// Where processes run. What is started inherits it, the number of its worker threads included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pin {
    /// Wherever the kernel likes: includes the waking of sleeping cores.
    Free,
    /// Everything on one core: measures the work.
    Same,
}

impl Pin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Same => "same",
        }
    }
}

/// Keeps this thread, and what it starts, to where [`Pin`] says until it is dropped.
#[derive(Debug)]
pub(crate) struct Pinned(CpuSet);

impl Pinned {
    pub(crate) fn to(pin: Pin) -> anyhow::Result<Self> {
        let before = sched_getaffinity(None)?;
        if pin == Pin::Same {
            let last = (0..CpuSet::MAX_CPU).rev().find(|&core| before.is_set(core));
            let mut one = CpuSet::new();
            one.set(last.context("no core to run on")?);
            sched_setaffinity(None, &one)?;
        }
        Ok(Self(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // the set was ours before, so it is allowed again
        let _restored = sched_setaffinity(None, &self.0);
    }
}

/// What kind of file system a folder is on: that some are memory decides what a commit costs.
pub(crate) fn fs_name(folder: &Path) -> anyhow::Result<String> {
    const TMPFS: i64 = 0x0102_1994;
    let kind = rustix::fs::statfs(folder)?.f_type;
    Ok(if kind == TMPFS { "memory (tmpfs)".to_owned() } else { "a disk".to_owned() })
}
