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
mod marked;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::RunRef;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::environ::Reader;
use super::name::is_unique_name;
use super::tree::{self, Process, scan, seen, signal_one};
use super::{KILL_WAIT, RUN_VARIABLE, is_no_room};
use crate::clock::boot_ms;
use kin::{Scene, descendants};
use marked::{Mark, run_mark};

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
/// When `/proc` cannot be read, or a part of it cannot for want of descriptors or memory, or as a process hangs in the kernel: what is
/// left is not known then. See [`may_be_found_later`].
pub fn find(agent: &PeerId, runs: &BTreeSet<Owner>) -> io::Result<BTreeMap<Owner, Left>> {
    let (found, hung) = find_by(agent, runs, &Reader::new())?;
    hung.first().map_or(Ok(found), |process| Err(hangs(process)))
}

/// What is left as far as it can be seen, and what hangs, which may be left as well.
type Seen = (BTreeMap<Owner, Left>, Vec<Process>);

fn find_by(agent: &PeerId, runs: &BTreeSet<Owner>, reader: &Reader) -> io::Result<Seen> {
    if runs.is_empty() {
        return Ok((BTreeMap::new(), Vec::new()));
    }
    let (scene, mut procedures, hung) = look(agent, runs, reader)?;
    let left = |(run, mut processes): (Owner, Vec<Process>)| {
        processes.sort_unstable_by_key(|process| (process.started, process.pid));
        let procedure = procedures.remove(&run).unwrap_or_default();
        (run, Left { procedure, processes: processes.into_iter().map(Leftover::of).collect() })
    };
    Ok((scene.belonging().into_iter().map(left).collect(), hung))
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
/// Those of [`find`]; what was found has been asked to end, and has ended if only a process that hangs kept it from seeing all.
pub async fn end(agent: &PeerId, runs: &BTreeSet<Owner>, grace: Duration) -> io::Result<Ended> {
    end_by(agent, runs, grace, Reader::new).await
}

async fn end_by(
    agent: &PeerId,
    runs: &BTreeSet<Owner>,
    grace: Duration,
    reader: fn() -> Reader,
) -> io::Result<Ended> {
    // by number and start, which together name a process for good
    let mut seen: BTreeMap<(i32, u64), Leftover> = BTreeMap::new();
    let key = |leftover: &Leftover| (leftover.pid, leftover.process.started);
    let (mut left, mut hung) = (Vec::new(), Vec::new());
    let (mut signal, term_until) = (Signal::TERM, Instant::now() + grace);
    let mut kill_until = None;
    for round in 0_u32.. {
        (left, hung) = look_again(agent.clone(), runs.clone(), reader).await?;
        // what was seen before, and hangs now
        left.extend(hung.iter().filter_map(|process| seen.get(&(process.pid, process.started)).cloned()));
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
    let ended = Ended { ended: seen.into_values().collect(), left };
    hung.first().map_or(Ok(ended), |process| Err(hangs(process)))
}

async fn look_again(
    agent: PeerId,
    runs: BTreeSet<Owner>,
    reader: fn() -> Reader,
) -> io::Result<(Vec<Leftover>, Vec<Process>)> {
    let found = tokio::task::spawn_blocking(move || find_by(&agent, &runs, &reader())).await;
    let (found, hung) = found.map_err(io::Error::other)??;
    Ok((found.into_values().flat_map(|left| left.processes).collect(), hung))
}

/// What `/proc` shows.
type Shown = (Scene<Owner>, BTreeMap<Owner, String>, Vec<Process>);

/// Reads `/proc`.
fn look(agent: &PeerId, runs: &BTreeSet<Owner>, reader: &Reader) -> io::Result<Shown> {
    let all = scan(Path::new("/proc"))?;
    let own = rustix::process::getpid().as_raw_pid();
    let wanted: BTreeMap<Mark, &Owner> =
        runs.iter().filter_map(|owner| Some((Mark::of(agent, owner.run()?), owner))).collect();
    let (mut marked, mut procedures, mut hung) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for process in &all {
        let Some(environment) = reader.known(process)? else {
            hung.push(*process);
            continue;
        };
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
    let of_own = descendants(&all, &BTreeSet::from([own]));
    hung.retain(|process| !process.zombie && !of_own.contains(&process.pid));
    Ok((Scene { all, marked, cgroups, own }, procedures, hung))
}

/// It may be what is looked for, and what hangs lives.
fn hangs(process: &Process) -> io::Error {
    let text = format!("process {} hangs in the kernel, and whose it is cannot be read", process.pid);
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Whether an error of [`find`] says that it could find something another time.
pub fn may_be_found_later(error: &io::Error) -> bool {
    is_no_room(error) || error.kind() == io::ErrorKind::TimedOut
}

/// Who has started this very process: to end that could end what starts it.
#[derive(Debug)]
pub struct Origin {
    /// What `/proc` says; `None`: it cannot be seen.
    seen: Option<(Option<String>, BTreeSet<i32>)>,
}

impl Origin {
    /// Looks for it. Blocks.
    pub fn look() -> Self {
        let (Ok(environment), Ok(all)) = (seen(fs::read("/proc/self/environ")), scan(Path::new("/proc")))
        else {
            return Self { seen: None };
        };
        let mark = environment.as_deref().and_then(run_mark).map(str::to_owned);
        let parents: BTreeMap<i32, i32> = all.iter().map(|process| (process.pid, process.parent)).collect();
        let own = rustix::process::getpid().as_raw_pid();
        let parent = |pid: i32| parents.get(&pid).copied();
        Self { seen: Some((mark, std::iter::successors(parent(own), |pid| parent(*pid)).collect())) }
    }

    /// Whether that is what has a mark, or one of its processes. True as long as it cannot be seen.
    pub fn is(&self, mark: &str, left: &[Leftover]) -> bool {
        let Some((own, ancestors)) = &self.seen else { return true };
        own.as_deref() == Some(mark) || left.iter().any(|leftover| ancestors.contains(&leftover.pid))
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
mod tests;
