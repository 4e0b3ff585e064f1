//! Who descends from whom: a chain of processes may be as long as the machine lets it be, so it is never walked through once for each of them.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Process;

/// The processes of one look by their parents.
#[derive(Debug)]
pub(super) struct Children<'a> {
    by_parent: BTreeMap<i32, Vec<&'a Process>>,
}

impl<'a> Children<'a> {
    pub(super) fn of(all: impl IntoIterator<Item = &'a Process>) -> Self {
        let mut by_parent: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
        for process in all {
            by_parent.entry(process.parent).or_default().push(process);
        }
        Self { by_parent }
    }

    /// All that descend from these, and are not among them, each once.
    pub(super) fn below(&self, begin: impl IntoIterator<Item = i32>) -> Vec<&'a Process> {
        let mut known: BTreeSet<i32> = begin.into_iter().collect();
        let mut next: Vec<i32> = known.iter().copied().collect();
        let mut found = Vec::new();
        while let Some(parent) = next.pop() {
            for child in self.by_parent.get(&parent).into_iter().flatten() {
                if known.insert(child.pid) {
                    next.push(child.pid);
                    found.push(*child);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, group: pid, zombie: false, started: 0 }
    }

    #[test]
    fn a_chain_is_followed_to_its_end_however_long_it_is() {
        // by a walk through all of them for each it would be 10^10 steps
        let last = 100_000;
        let all: Vec<Process> = (2..=last).rev().map(|pid| process(pid, pid - 1)).collect();
        let children = Children::of(&all);
        let found = children.below([10]);
        assert_eq!(found.len(), 99_990);
        assert!(found.iter().all(|one| one.pid > 10) && children.below([last]).is_empty());
    }

    #[test]
    fn nobody_is_found_twice_nor_a_circle_followed_without_end() {
        // as it looks when numbers are given anew while somebody looks
        let all = [process(5, 7), process(6, 5), process(7, 6), process(8, 7), process(1, 1)];
        let pids = |begin: &[i32]| {
            let mut found: Vec<i32> =
                Children::of(&all).below(begin.iter().copied()).iter().map(|one| one.pid).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(pids(&[5]), [6, 7, 8]);
        assert_eq!(pids(&[5, 7]), [6, 8]);
        assert_eq!(pids(&[1]), [0; 0]);
    }
}
