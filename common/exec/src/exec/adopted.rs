//! Orphans of runs: this process becomes the parent of those whose own parent has ended, so that they stay findable, and
//! buries them when they end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, getpgrp, getpid, set_child_subreaper, waitid};

use tokio::time::Instant;

use super::mark;
use super::tree::{self, Process};

/// How often zombies are looked for, and how long one has to be one: whoever started it itself has noticed by then.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause, when there are none but those that are left alone, and how long one of these has to be one.
const LONG: Duration = Duration::from_secs(60);
/// How many zombies are left alone: as far as anybody can see they are children of other code in this process, which may still
/// want to know how they ended. A program can make its orphans look like that, but not without bound.
const KEPT: usize = if cfg!(test) { 3 } else { 100 };

/// Programs that were started here and are not reaped yet: nobody else may take their end.
static LEADERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// See [`Leader`].
pub(super) fn leaders() -> MutexGuard<'static, BTreeSet<i32>> {
    // nothing panics while it holds the lock
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that was started here, until this is dropped.
#[derive(Debug)]
pub(super) struct Leader(i32);

impl Leader {
    pub(super) fn new(pid: Pid) -> Self {
        leaders().insert(pid.as_raw_pid());
        Self(pid.as_raw_pid())
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        leaders().remove(&self.0);
    }
}

/// From now on orphans of programs started here become children of this process.
///
/// # Errors
/// When the kernel cannot (before Linux 3.4).
pub fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Buries orphans that have ended, as long as it is polled. For one task of a process that has called [`adopt`].
///
/// It asks every now and then: the signal that tells of an end comes for each program too, which would wake the runtime once more
/// for each of thousands.
pub async fn bury() {
    let (mut seen, mut pause) = (Seen::new(), PAUSE);
    loop {
        tokio::time::sleep(pause).await;
        if !is_dead(WaitId::All) {
            (seen, pause) = (Seen::new(), PAUSE);
            continue;
        }
        let now = Instant::now();
        seen = tokio::task::spawn_blocking(move || round(&seen, now)).await.unwrap_or_default();
        // looking for them means looking at all processes: not every time for the sake of those that are left alone
        let is_new = seen.is_empty() || seen.values().any(|since| *since == now);
        pause = if is_new { PAUSE } else { (pause * 2).min(LONG) };
    }
}

/// Zombies by number and start, which together name a process for good, and since when they are known.
type Seen = BTreeMap<(i32, u64), Instant>;

/// Whether one of these children of this process, programs or orphans, has ended and is not buried: one question, which takes nobody's
/// end.
fn is_dead(of: WaitId<'_>) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(of, look), Ok(Some(_)))
}

/// Buries those that were there the last time too, and gives those that are left.
fn round(seen: &Seen, now: Instant) -> Seen {
    let (own, group) = (getpid().as_raw_pid(), getpgrp().as_raw_pid());
    let all = tree::scan(Path::new("/proc")).unwrap_or_default();
    let leaders = leaders().clone();
    let zombies = all
        .iter()
        .filter(|process| process.zombie && process.parent == own && !leaders.contains(&process.pid))
        .map(|zombie| (zombie, seen.get(&(zombie.pid, zombie.started)).copied().unwrap_or(now)));
    // what other code in this process starts stays in its group, and nothing of a run is there unless it went there
    let (mut foreign, orphans): (Vec<_>, Vec<_>) =
        zombies.partition(|(zombie, _)| zombie.group == group && !mark::is_marked(zombie.pid));
    foreign.sort_by_key(|(_, since)| *since);
    let surplus = foreign.len().saturating_sub(KEPT);
    let (surplus, kept) = foreign.split_at(surplus);
    let mut left = Seen::new();
    let mut decide = |(zombie, since): &(&Process, Instant), least: Duration| {
        if now.duration_since(*since) >= least {
            take_end(zombie);
        } else {
            left.insert((zombie.pid, zombie.started), *since);
        }
    };
    orphans.iter().for_each(|orphan| decide(orphan, PAUSE));
    surplus.iter().for_each(|stranger| decide(stranger, LONG));
    left.extend(kept.iter().map(|(zombie, since)| ((zombie.pid, zombie.started), *since)));
    left
}

fn take_end(zombie: &Process) {
    if let Some(pid) = Pid::from_raw(zombie.pid) {
        // an error means that somebody was faster
        let _buried = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    /// The tests here look at all children of this process: one at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    #[expect(clippy::zombie_processes, reason = "that is what is looked for")]
    fn the_end_of_an_orphan_is_taken_the_second_time_and_that_of_a_program_never() {
        let _alone = ALONE.lock().unwrap();
        let stray = Command::new("true").process_group(0).spawn().unwrap();
        let mut program = Command::new("true").process_group(0).spawn().unwrap();
        let pid = |id: u32| Pid::from_raw(id.cast_signed()).unwrap();
        let _leader = Leader::new(pid(program.id()));
        let is_zombie = |id: u32| is_dead(WaitId::Pid(pid(id)));
        while !is_zombie(stray.id()) || !is_zombie(program.id()) {
            std::thread::yield_now();
        }
        assert!(is_dead(WaitId::All));
        let now = Instant::now();
        let seen = round(&Seen::new(), now);
        assert!(is_zombie(stray.id()), "once is not enough");
        round(&seen, now + PAUSE);
        assert!(!is_zombie(stray.id()));
        assert!(is_zombie(program.id()) && program.wait().unwrap().success());
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "that is what is looked for")]
    fn orphans_are_buried_although_nothing_tells_of_their_end() {
        let _alone = ALONE.lock().unwrap();
        let stray = Command::new("true").process_group(0).spawn().unwrap();
        let stray = Pid::from_raw(stray.id().cast_signed()).unwrap();
        while !is_dead(WaitId::Pid(stray)) {
            std::thread::yield_now();
        }
        // the clock jumps from one sleep to the next
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            tokio::select! {
                () = bury() => panic!("it goes on"),
                () = tokio::time::sleep(PAUSE * 4) => {}
            }
        });
        assert!(!is_dead(WaitId::Pid(stray)), "nobody took its end");
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "that is what is looked for")]
    fn of_those_that_other_code_may_want_to_know_of_the_oldest_are_buried_when_there_are_many() {
        let _alone = ALONE.lock().unwrap();
        let start = || {
            let child = Command::new("true").spawn().unwrap();
            let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
            while !is_dead(WaitId::Pid(pid)) {
                std::thread::yield_now();
            }
            pid
        };
        let left = |pids: &[Pid]| pids.iter().map(|pid| is_dead(WaitId::Pid(*pid))).collect::<Vec<bool>>();
        let now = Instant::now();
        let first = [start(), start()];
        let seen = round(&Seen::new(), now);
        let others = [start(), start(), start()];
        let seen = round(&seen, now + PAUSE);
        assert_eq!(left(&[&first[..], &others].concat()), [true; 5], "they are too young");
        let seen = round(&seen, now + LONG);
        assert_eq!((left(&first), left(&others)), (vec![false; 2], vec![true; 3]));
        let seen = round(&seen, now + 100 * LONG);
        assert_eq!((left(&others), seen.len()), (vec![true; 3], 3), "a few are left alone for ever");
        others.iter().for_each(|pid| assert!(waitid(WaitId::Pid(*pid), WaitIdOptions::EXITED).is_ok()));
    }

    #[test]
    fn an_orphan_of_a_run_is_known_by_its_mark_also_in_the_group_of_this_process() {
        let _alone = ALONE.lock().unwrap();
        if std::fs::read("/proc/1/timerslack_ns").is_err() {
            return; // nobody may read marks here
        }
        let (_given, orphan) = mark::Mark::on(|| Command::new("true").spawn().unwrap());
        let pid = Pid::from_raw(orphan.id().cast_signed()).unwrap();
        while !is_dead(WaitId::Pid(pid)) {
            std::thread::yield_now();
        }
        let now = Instant::now();
        round(&round(&Seen::new(), now), now + PAUSE);
        assert!(!is_dead(WaitId::Pid(pid)));
    }
}
