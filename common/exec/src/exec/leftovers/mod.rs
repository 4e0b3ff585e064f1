//! What is left of runs whose agent has died: found again by what the processes inherited, and ended when somebody asks for that.
//!
//! A process of a run has the agent's name, the job, the attempt and the dispatch number in the environment that it was started with.
//! All four together are given to one run of one agent and never again, so that neither another agent of the machine nor another run
//! is taken for it. What such processes vouch for belongs to the run as well: their descendants, what is in a process group that the
//! run made, what is in the run's control group. The rule is in `kin`.
//! What is no run of a job, a call or a worker say, is known by the mark alone, and by that only while there is a [note](super::note) of it:
//! no other process of the machine ever had the same.
//!
//! What replaced its environment, has lost its parents and left the group and the control group is not found: the timer
//! slack, by which a living agent finds it, says nothing about the runs of another.

mod kin;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use redpoll_common::wire::MAX_METHOD_LEN;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::environ::environment;
use super::name::is_unique_name;
use super::tree::{self, Process, scan, seen, signal_one};
use super::{KILL_WAIT, RUN_VARIABLE};
use crate::clock::boot_ms;
use kin::Scene;

/// Milliseconds of a clock tick as the kernel tells them, on every architecture that this runs on.
const TICK_MS: u64 = 10;
/// What begins the name of the control group of a run.
const RUN_CGROUP: &str = "run-";
/// Characters of a program's name that are told.
const MAX_PROGRAM: usize = 32;
/// Processes whose end is told.
const MAX_SEEN: usize = 10_000;
/// How often to look whether what was asked to end has ended.
const PAUSE: Duration = Duration::from_millis(100);

/// A process that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its number.
    pub pid: i32,
    /// The name of its program, as the kernel has it; printable.
    pub program: String,
    /// Milliseconds since it was started.
    pub age_ms: u64,
    process: Process,
}

impl Leftover {
    fn of(process: Process) -> Self {
        let name = fs::read(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
        let name = String::from_utf8_lossy(&name);
        let program = name.trim_end().chars().flat_map(char::escape_debug).take(MAX_PROGRAM).collect();
        let age_ms = boot_ms().saturating_sub(process.started.saturating_mul(TICK_MS));
        Self { pid: process.pid, program, age_ms, process }
    }

    /// Whether it lives, and not another that got its number. True as long as that cannot be seen for want of descriptors.
    pub fn lives(&self) -> bool {
        tree::is_alive(self.process)
    }
}

/// What left something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A run of a job.
    Run(RunRef),
    /// Anything else, by the mark that its agent gave it, which no other has.
    Other(String),
}

impl Owner {
    fn run(&self) -> Option<RunRef> {
        match self {
            Self::Run(run) => Some(*run),
            Self::Other(_) => None,
        }
    }
}

/// What is left of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// The procedure, by its own environment; empty if that does not say it.
    pub procedure: String,
    /// Its processes, those that were started first first.
    pub processes: Vec<Leftover>,
}

/// Looks for what is left of some runs of an agent. Blocks.
///
/// A process that is being started while this looks may be missed: look again until nothing is found.
///
/// # Errors
/// When `/proc` cannot be read, or a part of it cannot for want of descriptors or memory: what is left is not known then.
pub fn find(agent: &PeerId, runs: &BTreeSet<Owner>) -> io::Result<BTreeMap<Owner, Left>> {
    if runs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (scene, mut procedures) = look(agent, runs)?;
    let left = |(run, mut processes): (Owner, Vec<Process>)| {
        processes.sort_unstable_by_key(|process| (process.started, process.pid));
        let procedure = procedures.remove(&run).unwrap_or_default();
        (run, Left { procedure, processes: processes.into_iter().map(Leftover::of).collect() })
    };
    Ok(scene.belonging().into_iter().map(left).collect())
}

/// How an end of leftovers went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// What was there and is no more.
    pub ended: Vec<Leftover>,
    /// What outlived SIGKILL.
    pub left: Vec<Leftover>,
}

/// Ends what is left of runs of an agent: SIGTERM, after `grace` SIGKILL, until nothing is found or [`KILL_WAIT`] is over. What they
/// start meanwhile is ended too.
///
/// # Errors
/// Those of [`find`]; what was found before may have been asked to end.
pub async fn end(agent: &PeerId, runs: &BTreeSet<Owner>, grace: Duration) -> io::Result<Ended> {
    // by number and start, which together name a process for good
    let mut seen: BTreeMap<(i32, u64), Leftover> = BTreeMap::new();
    let key = |leftover: &Leftover| (leftover.pid, leftover.process.started);
    let mut left = Vec::new();
    let (mut signal, term_until) = (Signal::TERM, Instant::now() + grace);
    let mut kill_until = None;
    for round in 0_u32.. {
        left = look_again(agent.clone(), runs.clone()).await?;
        // a run that multiplies faster than it is killed is not remembered whole
        let room = MAX_SEEN.saturating_sub(seen.len());
        seen.extend(left.iter().map(|leftover| (key(leftover), leftover.clone())).take(room));
        if left.is_empty() {
            break;
        }
        if Instant::now() >= term_until {
            signal = Signal::KILL;
            if Instant::now() >= *kill_until.get_or_insert_with(|| Instant::now() + KILL_WAIT) {
                tracing::warn!(left = left.len(), "leftovers of a run outlive SIGKILL");
                break;
            }
        }
        if round == 0 || signal == Signal::KILL {
            left.iter().for_each(|leftover| signal_one(leftover.process, signal));
        }
        if round == 0 && signal == Signal::TERM {
            // a stopped process notices SIGTERM only when it goes on
            left.iter().for_each(|leftover| signal_one(leftover.process, Signal::CONT));
        }
        sleep(PAUSE.min(term_until.saturating_duration_since(Instant::now()).max(PAUSE / 10))).await;
    }
    seen.retain(|process, _| left.iter().all(|leftover| key(leftover) != *process));
    Ok(Ended { ended: seen.into_values().collect(), left })
}

async fn look_again(agent: PeerId, runs: BTreeSet<Owner>) -> io::Result<Vec<Leftover>> {
    let found = tokio::task::spawn_blocking(move || find(&agent, &runs)).await;
    let found = found.map_err(io::Error::other)??;
    Ok(found.into_values().flat_map(|left| left.processes).collect())
}

/// Reads `/proc`.
fn look(agent: &PeerId, runs: &BTreeSet<Owner>) -> io::Result<(Scene<Owner>, BTreeMap<Owner, String>)> {
    let all = scan(Path::new("/proc"))?;
    let own = rustix::process::getpid().as_raw_pid();
    let wanted: BTreeMap<Mark, &Owner> =
        runs.iter().filter_map(|owner| Some((Mark::of(agent, owner.run()?), owner))).collect();
    let (mut marked, mut procedures) = (BTreeMap::new(), BTreeMap::new());
    for process in &all {
        let environment = environment(process.pid)?;
        if let Some((mark, procedure)) = Mark::read(&environment)
            && let Some(&run) = wanted.get(&mark)
        {
            marked.insert(process.pid, run.clone());
            procedures.entry(run.clone()).or_insert(procedure);
        } else if let Some(mark) = run_mark(&environment)
            && let Some(owner) = runs.get(&Owner::Other(mark.to_owned()))
        {
            marked.insert(process.pid, owner.clone());
        }
    }
    let cgroups = match marked.is_empty() {
        true => BTreeMap::new(),
        false => run_cgroups(&all)?,
    };
    Ok((Scene { all, marked, cgroups, own }, procedures))
}

/// The mark that its agent gave to the tree of a process.
fn run_mark(environment: &[u8]) -> Option<&str> {
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(RUN_VARIABLE.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok()
}

/// Whether this very process was started by what has a mark, or by one of its processes: to end that could end what starts it.
/// True as long as that cannot be seen.
pub fn has_started_this(mark: &str, left: &[Leftover]) -> bool {
    let (Ok(environment), Ok(all)) = (seen(fs::read("/proc/self/environ")), scan(Path::new("/proc"))) else {
        return true;
    };
    if environment.is_some_and(|environment| run_mark(&environment) == Some(mark)) {
        return true;
    }
    let parent = |pid: i32| all.iter().find(|process| process.pid == pid).map(|process| process.parent);
    let own = rustix::process::getpid().as_raw_pid();
    let mut ancestors = std::iter::successors(parent(own), |pid| parent(*pid));
    ancestors.any(|pid| left.iter().any(|leftover| leftover.pid == pid))
}

/// What tells the run of a process, in the words of its environment.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    agent: String,
    job: String,
    attempt: String,
    dno: String,
}

impl Mark {
    fn of(agent: &PeerId, RunRef { job, attempt, dno }: RunRef) -> Self {
        Self {
            agent: agent.to_string(),
            job: job.to_string(),
            attempt: attempt.to_string(),
            dno: dno.to_string(),
        }
    }

    /// The mark of an environment that has all of it, and the procedure that it names.
    fn read(environment: &[u8]) -> Option<(Self, String)> {
        let value = |name: &str| {
            let mut entries = environment.split(|byte| *byte == 0);
            let value = entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
            std::str::from_utf8(value).ok()
        };
        let mark = Self {
            job: value("REDPOLL_JOB")?.to_owned(),
            agent: value("REDPOLL_AGENT")?.to_owned(),
            attempt: value("REDPOLL_ATTEMPT")?.to_owned(),
            dno: value("REDPOLL_DNO")?.to_owned(),
        };
        let procedure = value("REDPOLL_PROCEDURE").filter(|name| name.len() <= MAX_METHOD_LEN);
        Some((mark, procedure.unwrap_or_default().escape_debug().to_string()))
    }
}

/// The control groups of those processes that are in one of a run.
fn run_cgroups(all: &[Process]) -> io::Result<BTreeMap<i32, String>> {
    let mut cgroups = BTreeMap::new();
    for Process { pid, .. } in all {
        let text = seen(fs::read_to_string(format!("/proc/{pid}/cgroup")))?.unwrap_or_default();
        cgroups.extend(own_cgroup(&text).map(|path| (*pid, path.to_owned())));
    }
    Ok(cgroups)
}

/// The control group of a run in what `/proc/<pid>/cgroup` says. Others give groups such names, too: `run-r4f0….scope` is of systemd-run.
fn own_cgroup(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let name = path.rsplit('/').next()?.strip_prefix(RUN_CGROUP)?;
    is_unique_name(name).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVIRONMENT: &[u8] = b"PATH=/bin\0REDPOLL_AGENT=web-1\0REDPOLL_ATTEMPT=2\0REDPOLL_DNO=7\0\
        REDPOLL_JOB=05050505050505050505050505050505\0REDPOLL_PROCEDURE=web.deploy@1\0";

    #[test]
    fn a_mark_is_the_run_of_one_agent_and_of_no_other() {
        let (mark, procedure) = Mark::read(ENVIRONMENT).unwrap();
        let run = RunRef {
            job: redpoll_common::job::JobId::from_bytes([5; 16]),
            attempt: redpoll_common::job::Attempt(2),
            dno: redpoll_common::job::Dno(7),
        };
        let of = |name: &str, run| Mark::of(&PeerId::parse(name).unwrap(), run);
        assert_eq!((&mark, procedure.as_str()), (&of("web-1", run), "web.deploy@1"));
        for other in [
            of("web-2", run),
            of("web-1", RunRef { attempt: redpoll_common::job::Attempt(1), ..run }),
            of("web-1", RunRef { dno: redpoll_common::job::Dno(8), ..run }),
            of("web-1", RunRef { job: redpoll_common::job::JobId::from_bytes([6; 16]), ..run }),
        ] {
            assert_ne!(mark, other);
        }
    }

    #[test]
    fn a_control_group_is_a_runs_only_if_its_name_is_one_that_an_agent_gives() {
        let own = format!("/redpoll/{RUN_CGROUP}{}", super::super::unique_name());
        assert_eq!(own_cgroup(&format!("9:pids:/x\n0::{own}\n")), Some(own.as_str()));
        for other in
            ["run-r5c1d7b5c6c5f4c1e9f2b.scope", "run-u12.service", "run-12.scope", "run-", "user.slice", ""]
        {
            assert_eq!(own_cgroup(&format!("0::/system.slice/{other}\n")), None, "{other}");
        }
        assert_eq!(own_cgroup(&format!("9:pids:{own}\n0::/\n")), None);
    }

    #[test]
    fn an_environment_without_all_of_it_marks_nothing() {
        for name in ["REDPOLL_AGENT", "REDPOLL_ATTEMPT", "REDPOLL_DNO", "REDPOLL_JOB"] {
            let text = String::from_utf8(ENVIRONMENT.to_vec()).unwrap();
            assert_eq!(Mark::read(text.replace(name, &format!("X{name}")).as_bytes()), None, "{name}");
            assert_eq!(Mark::read(text.replace(name, &format!("{name}_2")).as_bytes()), None, "{name}");
        }
        assert_eq!(Mark::read(b""), None);
    }
}
