//! The oracle: a file outside the product to which every program of a job adds what it does, in the order in which it happens.
//!
//! ```text
//! start JOB AGENT ATTEMPT DNO PARENT WALL_MS AGE_MS   before it does anything; AGE_MS after it was started
//! end JOB AGENT ATTEMPT DNO                    after it did everything
//! stop JOB AGENT ATTEMPT DNO WALL_MS           when it was told to stop
//! killed AGENT PID                             by the killer: this agent is dead, its successor not yet started
//! ```

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An attempt of a run, as its program knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The job.
    pub job: String,
    /// The agent.
    pub agent: String,
    /// Which attempt.
    pub attempt: u16,
    /// Its dispatch number.
    pub dno: u64,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A program began.
    Start {
        /// Which.
        mark: Mark,
        /// The process that started it, or that took it over because the agent was dead already.
        parent: u32,
        /// When, in UTC milliseconds.
        at_ms: u64,
        /// How long before that the process was started.
        age_ms: u64,
    },
    /// A program did all that it had to do.
    End(Mark),
    /// A program was told to stop, and did.
    Stop {
        /// Which.
        mark: Mark,
        /// When, in UTC milliseconds.
        at_ms: u64,
    },
    /// An agent is dead.
    Killed {
        /// Which.
        agent: String,
        /// Its process.
        pid: u32,
    },
}

/// UTC milliseconds.
pub fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago this process was started, as the system counts it: in hundredths of a second. 0 if it does not tell.
fn age_ms() -> u64 {
    let told = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let began: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let (seconds, hundredths) = uptime.split(' ').next()?.split_once('.')?;
        let now = seconds.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?;
        Some(now.saturating_sub(began) * 10)
    };
    told().unwrap_or(0)
}

/// Adds a line to the file, and has it on disk.
///
/// # Errors
/// When the file takes nothing.
pub fn append(file: &Path, line: &str) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).open(file)?;
    // one write: lines of several programs do not mix
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

impl Mark {
    /// What the environment says of this process.
    pub fn own() -> Option<Self> {
        let variable = |name| std::env::var(name).ok();
        Some(Self {
            job: variable("REDPOLL_JOB")?,
            agent: variable("REDPOLL_AGENT")?,
            attempt: variable("REDPOLL_ATTEMPT")?.parse().ok()?,
            dno: variable("REDPOLL_DNO")?.parse().ok()?,
        })
    }

    fn text(&self) -> String {
        format!("{} {} {} {}", self.job, self.agent, self.attempt, self.dno)
    }

    /// This program begins.
    ///
    /// # Errors
    /// When the file takes nothing.
    pub fn start(&self, file: &Path) -> io::Result<()> {
        let parent = std::os::unix::process::parent_id();
        append(file, &format!("start {} {parent} {} {}", self.text(), wall_ms(), age_ms()))
    }

    /// This program has done everything.
    ///
    /// # Errors
    /// When the file takes nothing.
    pub fn end(&self, file: &Path) -> io::Result<()> {
        append(file, &format!("end {}", self.text()))
    }

    /// This program was told to stop.
    ///
    /// # Errors
    /// When the file takes nothing.
    pub fn stop(&self, file: &Path) -> io::Result<()> {
        append(file, &format!("stop {} {}", self.text(), wall_ms()))
    }

    fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        Some(Self {
            job: words.next()?.to_owned(),
            agent: words.next()?.to_owned(),
            attempt: words.next()?.parse().ok()?,
            dno: words.next()?.parse().ok()?,
        })
    }
}

impl Line {
    /// Reads one line.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let words = &mut words;
        let line = match words.next()? {
            "start" => Self::Start {
                mark: Mark::parse(words)?,
                parent: words.next()?.parse().ok()?,
                at_ms: words.next()?.parse().ok()?,
                age_ms: words.next()?.parse().ok()?,
            },
            "end" => Self::End(Mark::parse(words)?),
            "stop" => Self::Stop { mark: Mark::parse(words)?, at_ms: words.next()?.parse().ok()? },
            "killed" => Self::Killed { agent: words.next()?.to_owned(), pid: words.next()?.parse().ok()? },
            _ => return None,
        };
        words.next().is_none().then_some(line)
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn all(text: &str) -> Result<Vec<Self>, String> {
        text.lines().map(|line| Self::parse(line).ok_or_else(|| line.to_owned())).collect()
    }

    /// The attempt it is about.
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            Self::Start { mark, .. } | Self::End(mark) | Self::Stop { mark, .. } => Some(mark),
            Self::Killed { .. } => None,
        }
    }
}
