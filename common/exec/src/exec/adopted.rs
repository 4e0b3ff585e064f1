//! Orphans of runs: this process becomes the parent of those whose own parent has ended, so that they stay findable, and
//! buries them when they end.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, getpgrp, getpid, set_child_subreaper, waitid};

use super::tree;

/// How often zombies are looked for, and how long one has to be one: whoever started it itself has noticed by then.
const PAUSE: Duration = Duration::from_secs(5);

/// Programs that were started here and are not reaped yet: nobody else may take their end.
static LEADERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn leaders() -> MutexGuard<'static, BTreeSet<i32>> {
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
    let mut seen = BTreeSet::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        if seen.is_empty() && !is_dead(WaitId::All) {
            continue;
        }
        seen = tokio::task::spawn_blocking(move || round(&seen)).await.unwrap_or_default();
    }
}

/// Whether one of these children of this process, programs or orphans, has ended and is not buried: one question, which takes nobody's
/// end.
fn is_dead(of: WaitId<'_>) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(of, look), Ok(Some(_)))
}

/// Buries those that were there the last time too, and gives those that are new.
fn round(seen: &BTreeSet<(i32, u64)>) -> BTreeSet<(i32, u64)> {
    let (own, group) = (getpid().as_raw_pid(), getpgrp().as_raw_pid());
    let all = tree::scan(Path::new("/proc")).unwrap_or_default();
    // what stayed in this process's group was started by other code in it, which waits for it
    let orphans =
        all.iter().filter(|process| process.zombie && process.parent == own && process.group != group);
    let mut new = BTreeSet::new();
    for orphan in orphans {
        if leaders().contains(&orphan.pid) {
            continue;
        }
        if !seen.contains(&(orphan.pid, orphan.started)) {
            new.insert((orphan.pid, orphan.started));
        } else if let Some(pid) = Pid::from_raw(orphan.pid) {
            // an error means that somebody was faster
            let _buried = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
    new
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
        let seen = round(&BTreeSet::new());
        assert!(is_zombie(stray.id()), "once is not enough");
        round(&seen);
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
}
