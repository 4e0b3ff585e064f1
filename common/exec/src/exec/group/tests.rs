//! Groups with real processes, where it matters what they hold.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::adopted;
use super::*;

fn shell(script: &str) -> Group {
    let argv = ["/bin/sh", "-c", script].map(Into::into).to_vec();
    Group::spawn(&spec(argv), None).unwrap().0
}

fn spec(argv: Vec<OsString>) -> ProcessSpec {
    ProcessSpec {
        argv,
        env: Default::default(),
        cwd: None,
        stdin: None,
        run_timeout: None,
        grace: Duration::ZERO,
        output_limit: 0,
        not_after: None,
        confine: None,
        noting: None,
    }
}

#[tokio::test]
async fn a_control_group_is_killed_also_when_all_that_is_seen_heeds_sigterm() {
    // stands in for a group
    let cgroup = tempfile::tempdir().unwrap();
    let mut group = shell("sleep 1000");
    group.lineage.cgroup = Some(cgroup.path().to_owned());
    assert_eq!(group.end(Duration::from_secs(20)).await, 0);
    assert_eq!(group.reap().await.signal, Some(15));
    assert_eq!(std::fs::read_to_string(cgroup.path().join("cgroup.kill")).unwrap(), "1");
}

/// Processes that only their mark tells of, because they lost their parent and replaced their environment.
fn orphans() -> usize {
    let own = rustix::process::getpid().as_raw_pid();
    let leaders = adopted::leaders().clone();
    let all = tree::scan(Path::new("/proc")).unwrap();
    let is_orphan = |one: &&Process| one.parent == own && !one.zombie && !leaders.contains(&one.pid);
    all.iter().filter(is_orphan).count()
}

#[tokio::test]
async fn a_run_that_lasts_takes_nothing_of_later_ones_along_when_the_marks_are_used_up() {
    adopted::adopt().unwrap();
    let mut lasting = shell("sleep 1000");
    let mut later = Vec::new();
    for _ in 0..4 {
        for _ in 0..5 {
            shell("true").reap().await;
        }
        later.push(shell("(env -i sleep 1000 &); exec sleep 1000"));
    }
    while orphans() < later.len() {
        tokio::task::yield_now().await;
    }
    assert_eq!(lasting.end(Duration::ZERO).await, 0);
    assert_eq!((orphans(), later.iter().all(Group::is_running)), (later.len(), true));
    for mut group in later {
        assert_eq!(group.end(Duration::ZERO).await, 0);
    }
    assert_eq!(orphans(), 0);
}

#[tokio::test]
async fn the_leader_of_another_run_is_no_orphan_of_this_one_even_if_it_has_its_mark() {
    let (mut one, other) = (shell("sleep 1000"), shell("sleep 1000"));
    one.lineage.mark = other.lineage.mark;
    assert_eq!(one.end(Duration::ZERO).await, 0);
    assert!(other.is_running());
}

#[tokio::test]
async fn a_program_that_nobody_can_watch_over_may_have_begun_and_does_not_go_on() {
    let argv = ["/bin/sh", "-c", "sleep 1000"].map(Into::into).to_vec();
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let unwatched = Group::spawn_watched(&spec(argv), None, |child| {
        STARTED.store(child.id(), Ordering::SeqCst);
        Err(Errno::NOSPC.into()) // as where the user has too many watches
    });
    let error = unwatched.err().unwrap();
    assert!(matches!(error, ExecError::Unwatched { .. }) && error.may_have_begun() && !error.is_passing());
    let pid = STARTED.load(Ordering::SeqCst);
    assert!(pid > 0 && !Path::new("/proc").join(pid.to_string()).exists());
}

#[test]
fn where_whoever_looks_hangs_nothing_is_known_of_what_is_left() {
    let leader = rustix::process::getpid();
    let lineage = Lineage { leader, run: "of a test".to_owned(), mark: None, cgroup: None };
    let seen = |kind: io::ErrorKind| seen_of(&lineage, Err(kind.into()));
    assert!(seen(io::ErrorKind::TimedOut).is_none());
    assert!(seen(io::ErrorKind::PermissionDenied).is_some_and(|seen| seen.is_empty()));
}
