//! Finds and signals the processes of a run through `/proc`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::adopted;
use super::cgroup::processes_of;
use super::children::Children;
use super::environ::Reader;
use super::mark::Mark;
use super::{RUN_VARIABLE, is_no_room};

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// It has ended, with all its threads, and waits for its parent to notice.
    pub(super) zombie: bool,
    /// Clock ticks after boot; with the number it names a process for good.
    pub(super) started: u64,
}

/// Which processes belong to a run.
#[derive(Debug, Clone)]
pub(super) struct Lineage {
    /// The program itself, which is also the number of its process group.
    pub(super) leader: Pid,
    /// The value of [`RUN_VARIABLE`] that all its descendants inherit.
    pub(super) run: String,
    /// What they inherit besides, where the kernel has it.
    pub(super) mark: Option<Mark>,
    /// The control group that they are in, if the run has one.
    pub(super) cgroup: Option<PathBuf>,
}

impl Lineage {
    /// What the environment of its processes has.
    fn marker(&self) -> Vec<u8> {
        format!("{RUN_VARIABLE}={}", self.run).into_bytes()
    }

    /// The living processes of the run, the leader included.
    ///
    /// A process that is being started while this looks may be missed: look again until nothing is found.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or a part of it cannot for want of descriptors or memory: what is left is not known then.
    pub(super) fn members(&self) -> io::Result<Vec<Process>> {
        let look = Look::now()?;
        look.members(&[self]).next().unwrap_or(Ok(Vec::new()))
    }
}

/// The processes of the machine as they were at one moment, for all who look for some among them.
pub(super) struct Look {
    all: Vec<Process>,
    own: i32,
    /// Children of this process as well, and no orphans.
    leaders: BTreeSet<i32>,
    reader: Reader,
}

impl Look {
    /// As they are now.
    ///
    /// # Errors
    /// Those of [`Lineage::members`].
    pub(super) fn now() -> io::Result<Self> {
        Self::by(Reader::new())
    }

    /// As they are now. Environments are read by `reader`.
    pub(super) fn by(reader: Reader) -> io::Result<Self> {
        let all = scan(Path::new("/proc"))?;
        let own = rustix::process::getpid().as_raw_pid();
        Ok(Self { all, own, leaders: adopted::leaders().clone(), reader })
    }

    /// Those of each run in turn, as [`Lineage::members`].
    ///
    /// # Errors
    /// Of a run: those of [`Lineage::members`].
    pub(super) fn members<'a>(
        &'a self,
        lineages: &'a [&'a Lineage],
    ) -> impl Iterator<Item = io::Result<Vec<Process>>> + 'a {
        let wanted = lineages.iter().map(|lineage| lineage.marker()).collect();
        let marks = Marks { reader: &self.reader, wanted, found: RefCell::default() };
        let children = Children::of(&self.all);
        lineages.iter().map(move |lineage| self.members_of(lineage, &marks, &children))
    }

    fn members_of(
        &self,
        lineage: &Lineage,
        marks: &Marks<'_>,
        children: &Children<'_>,
    ) -> io::Result<Vec<Process>> {
        let leader = lineage.leader.as_raw_pid();
        // nothing of the run is older than its leader, which spares reading most environments
        let since = self.all.iter().find(|process| process.pid == leader).map_or(0, |leader| leader.started);
        let marker = lineage.marker();
        // there may be thousands
        let grouped = lineage.cgroup.as_deref().map_or(Ok(Vec::new()), processes_of)?;
        let grouped: BTreeSet<i32> = grouped.into_iter().collect();
        let is_orphan =
            |process: &Process| process.parent == self.own && !self.leaders.contains(&process.pid);
        let mut members = select(&self.all, children, leader, |process| {
            Ok(grouped.contains(&process.pid)
                || process.started >= since
                    && (marks.has(process, &marker)?
                        // one that was adopted
                        || is_orphan(process)
                            && lineage.mark.map_or(Ok(false), |mark| mark.is_on(process.pid))?))
        })?;
        members.retain(|process| !process.zombie);
        Ok(members)
    }
}

/// What the environments of processes say of the runs that somebody looks for. A program may give its children any number of
/// marks, at no cost to itself: those of other runs are of no interest.
struct Marks<'a> {
    reader: &'a Reader,
    /// Each as `REDPOLL_RUN=value`.
    wanted: BTreeSet<Vec<u8>>,
    /// Those of the wanted that a process has. Its environment is read once, and only if somebody wants to know.
    found: RefCell<BTreeMap<i32, BTreeSet<Vec<u8>>>>,
}

impl Marks<'_> {
    /// Whether the environment that a process was started with has one of the wanted marks. False if it cannot be read.
    fn has(&self, process: &Process, marker: &[u8]) -> io::Result<bool> {
        if let Some(found) = self.found.borrow().get(&process.pid) {
            return Ok(found.contains(marker));
        }
        let environment = self.reader.environment(process)?;
        let entries = environment.split(|byte| *byte == 0);
        let found: BTreeSet<Vec<u8>> =
            entries.filter(|entry| self.wanted.contains(*entry)).map(<[u8]>::to_vec).collect();
        let has = found.contains(marker);
        self.found.borrow_mut().insert(process.pid, found);
        Ok(has)
    }
}

/// The leader, its group, those that `marked` names, and all descendants of these.
fn select(
    all: &[Process],
    children: &Children<'_>,
    leader: i32,
    marked: impl Fn(&Process) -> io::Result<bool>,
) -> io::Result<Vec<Process>> {
    let mut members = Vec::new();
    for process in all {
        if process.pid == leader || process.group == leader || marked(process)? {
            members.push(*process);
        }
    }
    let descendants = children.below(members.iter().map(|member| member.pid));
    members.extend(descendants);
    Ok(members)
}

/// Every process that `/proc` shows. An error if one may live that could not be looked at.
pub(super) fn scan(proc: &Path) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        // a process may end while we look at it: not an error
        found.extend(seen(fs::read(entry.path().join("stat")))?.and_then(|stat| parse_stat(&stat)));
    }
    Ok(found)
}

/// What could be read of a process. `None`: it has ended, or that may not be read.
///
/// # Errors
/// There is no descriptor or no memory to read it with: that says nothing of the process, and it may be seen the next time.
pub(super) fn seen<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_no_room(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Parses `/proc/<pid>/stat`. The name, in parentheses, may have any bytes, so fields count from the last `)`.
fn parse_stat(stat: &[u8]) -> Option<Process> {
    let text = String::from_utf8_lossy(stat);
    let (head, tail) = text.rsplit_once(')')?;
    let pid = head.split_whitespace().next()?.parse().ok()?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // proc(5) counts from 1: state is 3, parent 4, group 5, number of threads 20, start time 22
    let threads: u64 = fields.nth(20 - 6)?.parse().ok()?;
    let started = fields.nth(22 - 21)?.parse().ok()?;
    // the state is that of the first thread: when that has ended and others go on, the process lives
    let zombie = matches!(state, "Z" | "X") && threads <= 1;
    Some(Process { pid, parent, group, zombie, started })
}

/// Sends a signal to exactly this process, and to no other that got its number meanwhile.
pub(super) fn signal_one(process: Process, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    // the descriptor pins the number, so what is compared now is what is signalled
    let pinned = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => now(process).map(|now| Some((descriptor, now))),
        Err(Errno::SRCH) => return,
        Err(_) => Ok(None),
    };
    let sent = match pinned {
        Ok(Some((descriptor, Some(_same)))) => pidfd_send_signal(descriptor, signal).map_err(io::Error::from),
        Ok(Some((_, None))) => return,
        // before Linux 5.3, or without a descriptor for both: a window of microseconds remains
        Ok(None) | Err(_) => match now(process) {
            Ok(Some(_same)) => kill_process(pid, signal).map_err(io::Error::from),
            Ok(None) => return,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = sent
        && Errno::from_io_error(&error) != Some(Errno::SRCH)
    {
        tracing::warn!(pid = process.pid, %error, "a process of a stopped run cannot be signalled");
    }
}

/// Whether it lives, and not another that got its number. True as long as that cannot be seen.
pub(super) fn is_alive(process: Process) -> bool {
    now(process).map_or(true, |now| now.is_some_and(|now| !now.zombie))
}

/// The same process as it is now. The errors are those of [`seen`].
fn now(process: Process) -> io::Result<Option<Process>> {
    let stat = seen(fs::read(format!("/proc/{}/stat", process.pid)))?;
    Ok(stat.and_then(|stat| parse_stat(&stat)).filter(|now| now.started == process.started))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::environ::{Hung, environment};
    use super::*;

    fn process(pid: i32, parent: i32, group: i32) -> Process {
        Process { pid, parent, group, zombie: false, started: 0 }
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = b"42 (a) b) R 1 (x) S 7 40 40 0 -1 4194560 107 0 0 0 0 0 0 0 20 0 1 0 8917 2703360 0 x";
        let found = parse_stat(stat).unwrap();
        assert_eq!(found, Process { pid: 42, parent: 7, group: 40, zombie: false, started: 8917 });
    }

    #[test]
    fn whose_first_thread_has_ended_lives_as_long_as_it_has_others() {
        let zombie = |state: &str, threads: u32| {
            let stat = format!(
                "42 (a) {state} 7 40 40 0 -1 4194560 107 0 0 0 0 0 0 0 20 0 {threads} 0 8917 0 0 18446744073709551615"
            );
            parse_stat(stat.as_bytes()).unwrap().zombie
        };
        assert!(zombie("Z", 1) && zombie("X", 1) && zombie("X", 0));
        assert!(!zombie("Z", 2) && !zombie("S", 1) && !zombie("R", 3));
    }

    #[test]
    fn what_is_no_stat_line_is_no_process() {
        for stat in [&b""[..], b"42", b"42 (a", b"42 (a)", b"42 (a) S", b"x (a) S 1 1 1", b"\xff\xfe) \xff"] {
            assert_eq!(parse_stat(stat), None, "{stat:?}");
        }
    }

    #[test]
    fn descendants_that_left_the_group_and_marked_orphans_belong_to_the_run() {
        let all = [
            process(1, 0, 1),
            process(14, 13, 13), // listed before its parent
            process(10, 1, 10),  // the leader
            process(11, 10, 10),
            process(12, 11, 10),
            process(13, 12, 13), // left the group
            process(20, 1, 20),  // orphan with the mark
            process(21, 20, 20), // its child, which lost the mark
            process(30, 1, 30),
            process(31, 1, 10), // orphan that stayed in the group
        ];
        let mut found: Vec<i32> = select(&all, &Children::of(&all), 10, |process| Ok(process.pid == 20))
            .unwrap()
            .iter()
            .map(|p| p.pid)
            .collect();
        found.sort_unstable();
        assert_eq!(found, [10, 11, 12, 13, 14, 20, 21, 31]);
    }

    #[test]
    fn however_many_marks_a_process_has_its_environment_is_read_once_and_the_wanted_are_remembered() {
        static READ: AtomicUsize = AtomicUsize::new(0);
        static HUNG: Hung = Hung::new();
        let mut command = std::process::Command::new("sleep");
        command.arg("1000").env_clear().env(RUN_VARIABLE, "of a test");
        // each is one that begins with the same name
        let names = (0..10_000).map(|n| format!("{RUN_VARIABLE}={n}"));
        names.for_each(|name| _ = command.env(name, ""));
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut look = Look::by(Reader::with(
            |pid| {
                READ.fetch_add(1, Ordering::SeqCst);
                environment(pid)
            },
            &HUNG,
        ))
        .unwrap();
        // nobody is older, and nobody is in a group
        look.all.retain(|process| process.pid == pid);
        look.all.iter_mut().for_each(|process| (process.parent, process.group) = (1, 0));
        let lineage =
            |run: &str| Lineage { leader: Pid::INIT, run: run.to_owned(), mark: None, cgroup: None };
        let lineages = ["of a test", "of another", "9999=", "10000=", "of a test"].map(lineage);
        let lineages = lineages.each_ref();
        let found: Vec<usize> = look.members(&lineages).map(|members| members.unwrap().len()).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((found, READ.load(Ordering::SeqCst)), (vec![1, 0, 1, 0, 1], 1));
    }

    #[test]
    fn a_process_that_got_the_number_of_another_is_not_signalled() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let own = scan(Path::new("/proc")).unwrap().into_iter().find(|process| process.pid == pid).unwrap();
        let earlier = Process { started: own.started - 1, ..own };
        signal_one(earlier, Signal::KILL);
        assert!(!is_alive(earlier) && is_alive(own) && child.try_wait().unwrap().is_none());
        signal_one(own, Signal::KILL);
        assert!(!child.wait().unwrap().success());
        assert!(!is_alive(own));
    }

    #[test]
    fn a_process_is_signalled_also_when_there_is_no_descriptor_for_both_to_pin_it_and_to_look() {
        if std::env::var_os("NEXTEST").is_none() {
            return; // the limit is that of the whole process, which is another for each test only there
        }
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let own = scan(Path::new("/proc")).unwrap().into_iter().find(|process| process.pid == pid).unwrap();
        let mut held: Vec<fs::File> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        assert!(is_alive(own), "what cannot be seen is not dead");
        held.pop();
        signal_one(Process { started: own.started - 1, ..own }, Signal::KILL);
        assert!(is_alive(own) && child.try_wait().unwrap().is_none());
        signal_one(own, Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn this_very_process_is_found() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(scan(Path::new("/proc")).unwrap().iter().any(|process| process.pid == me));
    }
}
