//! Limits that the kernel keeps by control groups. They need a machine whose hierarchy of version 2 has the controllers; elsewhere
//! the tests say so and look at nothing.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use exec_support::{collect, shell, spec};
use redpoll_agent::exec::ProcessSpec;
use redpoll_agent::exec::cgroup::{Cgroup, Hierarchy, Usage};
use redpoll_agent::exec::confine::Confine;

/// A part of the hierarchy, with a process that stands for the agent.
struct Part {
    path: PathBuf,
    agent: Child,
}

impl Part {
    /// `None`: here a group does not get this controller.
    fn with(controller: &str) -> Option<(Self, Hierarchy)> {
        let missing =
            |why: &str| eprintln!("NOT TESTED: no kernel keeps a limit of {controller} here: {why}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let Some(mount) = mount.and_then(|line| line.split(' ').nth(4)) else {
            missing("no hierarchy of version 2 is mounted");
            return None;
        };
        let path = Path::new(mount).join(format!("redpoll-limits-{}", std::process::id()));
        // the groups above have to share it out as well; what others have of it already is not changed by that
        let shared = fs::write(Path::new(mount).join("cgroup.subtree_control"), format!("+{controller}"));
        if let Err(error) = shared.and_then(|()| fs::create_dir(&path)) {
            missing(&format!("{mount}: {error}"));
            return None;
        }
        let part = Self { path, agent: Command::new("sleep").arg("1000").spawn().unwrap() };
        match Hierarchy::take_at(part.path.clone(), part.agent.id(), false) {
            Ok(hierarchy) if hierarchy.has(controller) => Some((part, hierarchy)),
            Ok(_) => {
                missing("it is not shared out");
                None
            }
            Err(why) => {
                missing(&why);
                None
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _dead = self.agent.kill();
        let _reaped = self.agent.wait();
        let groups = fs::read_dir(&self.path).into_iter().flatten().flatten();
        groups.for_each(|group| _ = fs::remove_dir(group.path()));
        let _removed = fs::remove_dir(&self.path);
    }
}

fn within(spec: ProcessSpec, group: &Cgroup) -> ProcessSpec {
    let confine = Confine {
        helper: PathBuf::from(env!("CARGO_BIN_EXE_redpoll-agent")),
        account: None,
        rlimits: Usage::default(),
        cgroup: Some(group.path().to_owned()),
    };
    ProcessSpec { confine: Some(confine), ..spec }
}

/// A number of a file of a group.
fn number(group: &Cgroup, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(group.path().join(file)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| unreachable!("{file} has no {name}: {text}")).parse().unwrap()
}

#[tokio::test]
async fn a_program_gets_no_more_of_the_processors_than_it_may() {
    let Some((_part, hierarchy)) = Part::with("cpu") else { return };
    let group = hierarchy.group("spins", &Usage { cpu: Some(10), ..Usage::default() }).unwrap();
    let mut spins = within(shell("while :; do :; done"), &group);
    (spins.run_timeout, spins.grace) = (Some(Duration::from_secs(2)), Duration::ZERO);
    collect(spins).await.unwrap();
    assert!(number(&group, "cpu.stat", "nr_throttled") > 0);
}

#[tokio::test]
async fn a_tree_that_exceeds_its_memory_is_killed_and_not_swapped_out() {
    let Some((_part, hierarchy)) = Part::with("memory") else { return };
    let usage = Usage { memory: Some(64 * 1024 * 1024), ..Usage::default() };
    let group = hierarchy.group("eats", &usage).unwrap();
    // it keeps what it reads of a line that never ends
    let eats = within(spec(&["/bin/sh", "-c", "sleep 1000 & tail /dev/zero"]), &group);
    let run = collect(ProcessSpec { run_timeout: Some(Duration::from_secs(60)), ..eats }).await.unwrap();
    assert_eq!((run.exit.code, run.exit.signal), (None, Some(9)), "the shell is killed along");
    assert!(number(&group, "memory.events", "oom_kill") > 0);
    if let Ok(peak) = fs::read_to_string(group.path().join("memory.swap.peak")) {
        assert_eq!(peak.trim(), "0");
    }
}
