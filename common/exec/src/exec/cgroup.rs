//! Control groups, version 2: a group of their own for the processes of a run, where the kernel and the one who started the
//! agent allow it.
//!
//! The agent needs a part of the hierarchy to itself: systemd gives it one with `Delegate=yes`. A group that has processes
//! cannot share out its controllers, so the agent moves itself one level down first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redpoll_config::RunGroups;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::tree::seen;
use super::unique_name;

/// What a run may use. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Hundredths of one processor.
    pub cpu: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
}

impl Usage {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// The part of the hierarchy that is the agent's.
#[derive(Debug)]
pub struct Hierarchy {
    base: PathBuf,
    controllers: Vec<String>,
    is_for_all: bool,
    remains: Remains,
}

/// Groups whose run has ended and in which a process is left, such as a daemon that was started on purpose.
type Remains = Arc<Mutex<Vec<PathBuf>>>;

/// The controllers that are used.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// The group that the agent moves itself into.
const OWN: &str = "agent";
/// The period of `cpu.max`, in microseconds.
const PERIOD_US: u64 = 100_000;

impl Hierarchy {
    /// Finds the agent's part of the hierarchy and prepares it. It changes things: call it once, at the start.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub fn take(groups: RunGroups) -> Result<Self, String> {
        let is_for_all = match groups {
            RunGroups::All => true,
            RunGroups::Limited => false,
            RunGroups::Auto => !may_read_marks(),
        };
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
        let own = own_group(&own, &mounts).ok_or("no cgroup v2 is mounted")?;
        Self::take_at(own, std::process::id(), is_for_all)
    }

    /// The same, of a group that is known. Unless all runs have a group, it has to be of use for limits.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn take_at(own: PathBuf, agent: u32, is_for_all: bool) -> Result<Self, String> {
        let said = |what: &str, error: &io::Error| format!("{}: {what}: {error}", own.display());
        let read = |name: &str| fs::read_to_string(own.join(name)).map_err(|error| said(name, &error));
        let offered = read("cgroup.controllers")?;
        let controllers: Vec<String> = CONTROLLERS
            .into_iter()
            .filter(|wanted| offered.split_whitespace().any(|offered| offered == *wanted))
            .map(str::to_owned)
            .collect();
        if controllers.is_empty() && !is_for_all {
            return Err(format!("{} offers none of memory, pids and cpu", own.display()));
        }
        let agent = agent.to_string();
        if read("cgroup.procs")?.lines().any(|process| process != agent) {
            return Err(format!(
                "{} is shared with other processes; with systemd, Delegate=yes helps",
                own.display()
            ));
        }
        let leaf = own.join(OWN);
        make(&leaf).map_err(|error| said("a group in it cannot be made", &error))?;
        fs::write(leaf.join("cgroup.procs"), &agent).map_err(|error| said("moving into it", &error))?;
        if !controllers.is_empty() {
            let all: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
            fs::write(own.join("cgroup.subtree_control"), all.join(" "))
                .map_err(|error| said("cgroup.subtree_control", &error))?;
        }
        Ok(Self { base: own, controllers, is_for_all, remains: Remains::default() })
    }

    /// Whether a run without limits has a group, too.
    pub fn is_for_all(&self) -> bool {
        self.is_for_all
    }

    /// The controllers that can be used, for the log.
    pub fn controllers(&self) -> &[String] {
        &self.controllers
    }

    /// The controllers that are used where they are there, and are not: limits of theirs are not kept by groups.
    pub fn missing(&self) -> Vec<&'static str> {
        CONTROLLERS.into_iter().filter(|name| !self.has(name)).collect()
    }

    /// Whether a controller can be used.
    pub fn has(&self, name: &str) -> bool {
        self.controllers.iter().any(|offered| offered == name)
    }

    /// Those of the limits that groups keep here, and the others.
    pub fn divide(&self, usage: &Usage) -> (Usage, Usage) {
        let kept = Usage {
            memory: usage.memory.filter(|_| self.has("memory")),
            processes: usage.processes.filter(|_| self.has("pids")),
            cpu: usage.cpu.filter(|_| self.has("cpu")),
        };
        let other = Usage {
            memory: usage.memory.filter(|_| !self.has("memory")),
            processes: usage.processes.filter(|_| !self.has("pids")),
            cpu: usage.cpu.filter(|_| !self.has("cpu")),
        };
        (kept, other)
    }

    /// The group of a run with these limits, if it has one, and those that it does not keep.
    ///
    /// # Errors
    /// When a limit cannot be set. A group that nothing depends on and that cannot be made is left out.
    pub fn hold(&self, usage: &Usage) -> io::Result<(Option<Cgroup>, Usage)> {
        let (kept, other) = self.divide(usage);
        if kept.is_unlimited() && !self.is_for_all {
            return Ok((None, other));
        }
        match self.group(&unique_name(), &kept) {
            Ok(group) => Ok((Some(group), other)),
            Err(error) if kept.is_unlimited() => {
                tracing::warn!(%error, "a run has no control group: one cannot be made");
                Ok((None, other))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a group for a run.
    ///
    /// # Errors
    /// When a file cannot be written; the group is gone again.
    pub fn group(&self, name: &str, usage: &Usage) -> io::Result<Cgroup> {
        lock(&self.remains).retain(|path| fs::remove_dir(path).is_err_and(|error| is_in_use(&error)));
        let path = self.base.join(format!("run-{name}"));
        make(&path)?;
        let group = Cgroup { path, remains: self.remains.clone() };
        let set = |file: &str, value: String| fs::write(group.path.join(file), value);
        if let Some(memory) = usage.memory {
            set("memory.max", memory.to_string())?;
            // what is beyond it is not to go on in the swap of the machine, slow and unseen
            match fs::OpenOptions::new().write(true).open(group.path.join("memory.swap.max")) {
                Ok(mut file) => io::Write::write_all(&mut file, b"0")?,
                // a kernel without swap
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            // one process that exceeds it takes the whole run along: half a tree is of no use
            set("memory.oom.group", "1".to_owned())?;
        }
        if let Some(processes) = usage.processes {
            set("pids.max", processes.to_string())?;
        }
        if let Some(cpu) = usage.cpu {
            set("cpu.max", format!("{} {PERIOD_US}", u64::from(cpu) * PERIOD_US / 100))?;
        }
        Ok(group)
    }
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Whether this process finds orphans of a run by what they [inherited](super::mark), wherever they are.
fn may_read_marks() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_NICE))
}

fn is_in_use(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::BUSY)
}

/// Nothing panics while it holds the lock.
fn lock(remains: &Remains) -> MutexGuard<'_, Vec<PathBuf>> {
    remains.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The group of one run. Dropped, it is removed; if a process is left in it, once that is gone and another group is made.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    remains: Remains,
}

impl Cgroup {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The processes in it.
    ///
    /// # Errors
    /// There is no descriptor or no memory to look with.
    pub fn processes(&self) -> io::Result<Vec<i32>> {
        processes_of(&self.path)
    }

    /// Kills all of them at once. False where the kernel cannot (before 5.14).
    pub fn kill(&self) -> bool {
        fs::write(self.path.join("cgroup.kill"), "1").is_ok()
    }
}

/// The processes in the group at this path: none if it is gone.
pub(super) fn processes_of(path: &Path) -> io::Result<Vec<i32>> {
    let text = seen(fs::read_to_string(path.join("cgroup.procs")))?.unwrap_or_default();
    Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            // a daemon was left behind on purpose, or the kernel is not done yet
            tracing::debug!(group = %self.path.display(), %error, "a control group cannot be removed");
            if is_in_use(&error) {
                lock(&self.remains).push(std::mem::take(&mut self.path));
            }
        }
    }
}

/// Whether the machine, or the container, has a controller of version 2 at all; whether an agent gets it is another matter.
pub fn is_on_machine(controller: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let offered = mount(&mounts).map(|mount| fs::read_to_string(Path::new(mount).join("cgroup.controllers")));
    offered.is_some_and(|offered| {
        offered.unwrap_or_default().split_whitespace().any(|offered| offered == controller)
    })
}

/// Where this process stands in the hierarchy of version 2.
fn own_group(own: &str, mounts: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new(mount(mounts)?).join(own.trim_start_matches('/')))
}

/// Where the hierarchy of version 2 is mounted.
fn mount(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        // 35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw
        let (before, after) = line.split_once(" - ")?;
        let is_v2 = after.split(' ').next() == Some("cgroup2");
        before.split(' ').nth(4).filter(|_| is_v2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that stands in for a group.
    fn stand_in(controllers: &str, processes: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(folder.path().join("cgroup.procs"), processes).unwrap();
        folder
    }

    #[test]
    fn the_agent_moves_down_and_shares_out_what_is_there() {
        let folder = stand_in("cpuset cpu io memory pids\n", "77\n");
        let hierarchy = Hierarchy::take_at(folder.path().to_owned(), 77, false).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids +cpu");
        assert_eq!(read("agent/cgroup.procs"), "77");
        assert_eq!(hierarchy.controllers(), ["memory", "pids", "cpu"]);
    }

    #[test]
    fn a_group_says_its_limits_and_no_others() {
        let folder = stand_in("memory pids cpu", "");
        let hierarchy = Hierarchy::take_at(folder.path().to_owned(), 1, false).unwrap();
        let usage = Usage { memory: Some(4096), cpu: Some(150), processes: Some(9) };
        // as the kernel makes it
        fs::create_dir(folder.path().join("run-a")).unwrap();
        fs::write(folder.path().join("run-a/memory.swap.max"), "max").unwrap();
        let group = hierarchy.group("a", &usage).unwrap();
        let read = |name: &str| fs::read_to_string(group.path().join(name)).unwrap();
        assert_eq!(read("memory.max"), "4096");
        assert_eq!(read("memory.oom.group"), "1");
        assert!(read("memory.swap.max").starts_with('0'), "what does not fit is not swapped out");
        assert_eq!(read("pids.max"), "9");
        assert_eq!(read("cpu.max"), "150000 100000");
        fs::write(group.path().join("cgroup.procs"), "12\n13\n").unwrap();
        assert_eq!(group.processes().unwrap(), [12, 13]);
        assert!(group.kill() && read("cgroup.kill") == "1");
        let without_swap = hierarchy.group("c", &Usage { memory: Some(1), ..Usage::default() }).unwrap();
        assert!(!without_swap.path().join("memory.swap.max").exists());
        let free = hierarchy.group("b", &Usage::default()).unwrap();
        assert!(fs::read_dir(free.path()).unwrap().next().is_none());
        let path = free.path().to_owned();
        drop(free);
        assert!(!path.exists(), "an empty group is removed");
    }

    #[test]
    fn what_cannot_be_used_is_said_and_left_alone() {
        let none = stand_in("cpuset io", "77");
        assert!(
            Hierarchy::take_at(none.path().to_owned(), 77, false).unwrap_err().contains("none of memory")
        );
        let shared = stand_in("memory", "77\n78\n");
        let said = Hierarchy::take_at(shared.path().to_owned(), 77, false).unwrap_err();
        assert!(said.contains("shared") && !shared.path().join(OWN).exists(), "{said}");
        assert!(Hierarchy::take_at(PathBuf::from("/nowhere"), 1, true).is_err());
        let memory = stand_in("memory", "");
        let hierarchy = Hierarchy::take_at(memory.path().to_owned(), 1, false).unwrap();
        assert_eq!(hierarchy.missing(), ["pids", "cpu"]);
        let usage = Usage { memory: Some(1), cpu: Some(50), processes: Some(7) };
        let (kept, other) = hierarchy.divide(&usage);
        assert_eq!(kept, Usage { memory: Some(1), ..Usage::default() });
        assert_eq!(other, Usage { memory: None, ..usage });
    }

    #[test]
    fn a_run_without_limits_that_groups_keep_has_one_only_where_all_have() {
        let usage = Usage { processes: Some(7), ..Usage::default() };
        for is_for_all in [false, true] {
            let folder = stand_in("memory", "");
            let hierarchy = Hierarchy::take_at(folder.path().to_owned(), 1, is_for_all).unwrap();
            for usage in [Usage::default(), usage] {
                let (group, other) = hierarchy.hold(&usage).unwrap();
                assert_eq!((group.is_some(), other), (is_for_all, usage));
            }
            let limited = Usage { memory: Some(1), ..usage };
            let (group, other) = hierarchy.hold(&limited).unwrap();
            assert_eq!((group.is_some(), other), (true, usage));
        }
        let none = stand_in("cpuset io", "77");
        let hierarchy = Hierarchy::take_at(none.path().to_owned(), 77, true).unwrap();
        assert!(hierarchy.hold(&Usage::default()).unwrap().0.is_some(), "to end all of a run it is of use");
        assert!(!none.path().join("cgroup.subtree_control").exists());
    }

    #[test]
    fn the_own_group_is_found_among_the_mounts() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n35 24 0:30 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let own = "9:pids:/x\n0::/system.slice/redpoll-agent.service\n";
        assert_eq!(
            own_group(own, mounts),
            Some(PathBuf::from("/sys/fs/cgroup/unified/system.slice/redpoll-agent.service"))
        );
        assert_eq!(own_group("9:pids:/x\n", mounts), None);
        assert_eq!(own_group(own, "30 24 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"), None);
    }
}
