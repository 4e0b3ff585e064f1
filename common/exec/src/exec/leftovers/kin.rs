//! Which processes belong to a run whose agent has died: a rule over what `/proc` says, without looking at it.
//!
//! Nobody holds the number of such a run's group any more, and nobody is the parent of its orphans. So everything begins with the
//! processes that say themselves for which run they were started, and what they vouch for: no bare number is ever taken for a run's.

use std::collections::{BTreeMap, BTreeSet};

use super::super::children::Children;
use super::super::tree::Process;

/// What was seen.
#[derive(Debug)]
pub(super) struct Scene<R> {
    /// Every process.
    pub(super) all: Vec<Process>,
    /// The run that a process says it was started for.
    pub(super) marked: BTreeMap<i32, R>,
    /// The control group of its own in which a process is.
    pub(super) cgroups: BTreeMap<i32, String>,
    /// Who looks: neither this process nor what it has started is a leftover, even if a run has started it.
    pub(super) own: i32,
}

impl<R: Ord + Clone> Scene<R> {
    /// The living processes of each run that has some.
    pub(super) fn belonging(&self) -> BTreeMap<R, Vec<Process>> {
        let own = descendants(&self.all, &BTreeSet::from([self.own]));
        let others: Vec<Process> =
            self.all.iter().filter(|process| !own.contains(&process.pid)).copied().collect();
        let runs: BTreeSet<R> = self.marked.values().cloned().collect();
        let (groups, children) = (self.groups(), Children::of(&others));
        let of_run = |run: R| {
            let mut members = self.of_run(&run, &others, (&groups, &children));
            members.retain(|process| !process.zombie);
            (run, members)
        };
        runs.into_iter().map(of_run).filter(|(_, members)| !members.is_empty()).collect()
    }

    fn of_run(
        &self,
        run: &R,
        others: &[Process],
        (founded, children): (&BTreeMap<i32, ProcessGroup<'_, R>>, &Children<'_>),
    ) -> Vec<Process> {
        let is_marked = |process: &&Process| self.marked.get(&process.pid) == Some(run);
        let marked: Vec<Process> = others.iter().filter(is_marked).copied().collect();
        let Some(since) = marked.iter().map(|process| process.started).min() else { return Vec::new() };
        let groups: BTreeSet<i32> = marked
            .iter()
            .map(|process| process.group)
            .filter(|number| founded.get(number).is_some_and(|group| group.is_of_run(run, since)))
            .collect();
        let cgroups: BTreeSet<&String> =
            marked.iter().filter_map(|process| self.cgroups.get(&process.pid)).collect();
        let begins = others.iter().filter(|process| {
            is_marked(process)
                || groups.contains(&process.group)
                || self.cgroups.get(&process.pid).is_some_and(|path| cgroups.contains(path))
        });
        let mut found: Vec<Process> = begins.copied().collect();
        let descendants = children.below(found.iter().map(|process| process.pid));
        found.extend(descendants);
        found
    }

    /// The process groups by number.
    fn groups(&self) -> BTreeMap<i32, ProcessGroup<'_, R>> {
        let mut groups: BTreeMap<i32, ProcessGroup<'_, R>> = BTreeMap::new();
        for process in &self.all {
            let group = groups.entry(process.group).or_insert(ProcessGroup {
                founder: None,
                oldest: process.started,
                has_own: false,
            });
            group.oldest = group.oldest.min(process.started);
            group.has_own |= process.pid == self.own;
        }
        // a founder may have left its group
        for process in self.all.iter().filter(|process| !process.zombie) {
            if let Some(group) = groups.get_mut(&process.pid) {
                group.founder = Some(self.marked.get(&process.pid));
            }
        }
        groups
    }
}

/// A process group in which somebody is.
struct ProcessGroup<'a, R> {
    /// The run of the process that has its number, if that is marked; `None`: no such process lives.
    founder: Option<Option<&'a R>>,
    /// When the oldest of those in it was started.
    oldest: u64,
    /// Who looks is in it.
    has_own: bool,
}

impl<R: Eq> ProcessGroup<'_, R> {
    /// Whether a process group in which a process of the run is was made by the run: its founder is of the run, or gone, and nobody in
    /// it was there before the run. A process can enter the group of a stranger, such as the one that starts the agent anew.
    fn is_of_run(&self, run: &R, since: u64) -> bool {
        self.founder.is_none_or(|founder| founder == Some(run)) && self.oldest >= since && !self.has_own
    }
}

/// These processes, and all that descend from them.
pub(super) fn descendants(all: &[Process], begin: &BTreeSet<i32>) -> BTreeSet<i32> {
    let below = Children::of(all).below(begin.iter().copied());
    begin.iter().copied().chain(below.into_iter().map(|process| process.pid)).collect()
}

#[cfg(test)]
mod tests {
    use redpoll_common::job::wire::RunRef;
    use redpoll_common::job::{Attempt, Dno, JobId};

    use super::*;

    fn run(number: u8) -> RunRef {
        RunRef { job: JobId::from_bytes([number; 16]), attempt: Attempt(1), dno: Dno(u64::from(number)) }
    }

    fn process(pid: i32, parent: i32, group: i32, started: u64) -> Process {
        Process { pid, parent, group, zombie: false, started }
    }

    fn found(scene: &Scene<RunRef>, number: u8) -> Vec<i32> {
        let mut found: Vec<i32> =
            scene.belonging().remove(&run(number)).unwrap_or_default().iter().map(|one| one.pid).collect();
        found.sort_unstable();
        found
    }

    /// The agent is 5; before it, another that has died ran the runs 1 and 2.
    fn scene() -> Scene<RunRef> {
        let all = vec![
            process(1, 0, 1, 0),
            process(3, 1, 3, 10), // a shell that starts agents
            process(5, 3, 3, 90),
            process(6, 5, 6, 95),    // what this agent runs
            process(20, 1, 20, 50),  // the program of run 1
            process(21, 20, 20, 51), // its child without the mark
            process(22, 21, 22, 52), // which left the group
            process(30, 1, 30, 53),  // an orphan with the mark, in a session of its own
            process(31, 1, 30, 54),  // its orphan without the mark, still in that group
            process(40, 1, 40, 55),  // of run 2
            process(50, 1, 50, 56),  // a stranger
        ];
        let marked = BTreeMap::from([(20, run(1)), (30, run(1)), (40, run(2))]);
        Scene { all, marked, cgroups: BTreeMap::new(), own: 5 }
    }

    #[test]
    fn what_a_run_started_is_found_and_nobody_else() {
        let scene = scene();
        assert_eq!(found(&scene, 1), [20, 21, 22, 30, 31]);
        assert_eq!(found(&scene, 2), [40]);
        assert_eq!(found(&scene, 3), [0; 0]);
    }

    #[test]
    fn an_orphan_is_of_the_run_as_long_as_its_group_has_one_with_the_mark() {
        let mut scene = scene();
        scene.all.retain(|process| process.pid != 20);
        // 21 and 22 lost their parent, and no one with the mark is in the group 20
        scene.all.iter_mut().filter(|process| process.pid == 21).for_each(|orphan| orphan.parent = 1);
        assert_eq!(found(&scene, 1), [30, 31]);
        scene.marked.insert(22, run(1));
        assert_eq!(found(&scene, 1), [22, 30, 31], "and a group of its own vouches for nobody else");
    }

    #[test]
    fn a_process_that_enters_the_group_of_a_stranger_does_not_make_it_the_runs() {
        for (group, why) in [(3, "the group of the agent"), (50, "a group whose founder lives")] {
            let mut scene = scene();
            scene.all.push(process(60, 1, group, 70));
            scene.all.push(process(61, 1, group, 71));
            scene.marked.insert(60, run(1));
            assert_eq!(found(&scene, 1), [20, 21, 22, 30, 31, 60], "{why}");
        }
        let mut scene = scene();
        // the founder 70 is gone, and somebody is in the group who was there before the run
        scene.all.extend([process(71, 1, 70, 11), process(72, 1, 70, 80), process(73, 1, 70, 81)]);
        scene.marked.insert(72, run(1));
        assert_eq!(found(&scene, 1), [20, 21, 22, 30, 31, 72]);
    }

    #[test]
    fn an_agent_that_a_run_has_started_is_no_leftover_of_it_nor_is_what_it_runs() {
        let mut scene = scene();
        scene.marked.extend([(3, run(1)), (5, run(1)), (6, run(1))]);
        assert_eq!(found(&scene, 1), [3, 20, 21, 22, 30, 31], "the shell is, the agent is not");
    }

    #[test]
    fn whoever_is_in_the_control_group_of_a_run_is_of_the_run() {
        let mut scene = scene();
        let group = |name: &str| format!("/redpoll/run-{name}");
        scene.cgroups.extend([(20, group("a")), (50, group("a")), (40, group("b"))]);
        assert_eq!(found(&scene, 1), [20, 21, 22, 30, 31, 50]);
        assert_eq!(found(&scene, 2), [40]);
    }

    #[test]
    fn many_groups_and_a_long_chain_are_looked_through_once() {
        // each in a group of its own, the child of the one before; by a walk through all for each it would be 10^9 steps
        let chain = (0..40_000).map(|n| process(1_000 + n, 999 + n, 1_000 + n, 60));
        let mut scene = scene();
        scene.all.extend(chain);
        scene.all.iter_mut().filter(|process| process.pid == 1_000).for_each(|first| first.parent = 20);
        scene.marked.extend((1_000..21_000).map(|pid| (pid, run(1))));
        assert_eq!(found(&scene, 1).len(), 40_005);
    }

    #[test]
    fn what_has_ended_and_is_not_buried_is_not_left() {
        let mut scene = scene();
        scene.all.iter_mut().filter(|process| process.pid == 40).for_each(|dead| dead.zombie = true);
        assert_eq!(found(&scene, 2), [0; 0]);
    }
}
