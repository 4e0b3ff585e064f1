use std::sync::atomic::{AtomicI32, Ordering};

use super::super::environ::{Hung, environment};
use super::*;

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
fn what_has_started_this_process_is_known_by_its_processes() {
    let all = scan(Path::new("/proc")).unwrap();
    let of = |pid: rustix::process::Pid| {
        let process = all.iter().find(|process| process.pid == pid.as_raw_pid()).unwrap();
        [Leftover::of(*process)]
    };
    let (parent, own) = (of(rustix::process::getppid().unwrap()), of(rustix::process::getpid()));
    let origin = Origin::look();
    assert!(origin.is("of another", &parent));
    assert!(!origin.is("of another", &own) && !origin.is("of another", &[]));
    assert!(Origin { seen: None }.is("of another", &[]), "as long as it cannot be seen");
}

/// What of these programs hangs, from the moment on that it was seen so often.
struct Stuck {
    pid: AtomicI32,
    seen: AtomicI32,
}

impl Stuck {
    const fn new() -> Self {
        Self { pid: AtomicI32::new(0), seen: AtomicI32::new(0) }
    }

    fn read(&self, pid: i32) -> io::Result<Vec<u8>> {
        while pid == self.pid.load(Ordering::SeqCst) && self.seen.load(Ordering::SeqCst) <= 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        if pid == self.pid.load(Ordering::SeqCst) {
            self.seen.fetch_sub(1, Ordering::SeqCst);
        }
        environment(pid)
    }
}

/// Programs with these marks that nobody of this process has started: what it has is not left of another. They ignore SIGTERM.
fn orphans<const N: usize>(marks: [&str; N]) -> [i32; N] {
    let script = "trap '' TERM; setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let pids = marks.map(|mark| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).env(RUN_VARIABLE, mark);
        let pid = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        pid.trim().parse::<i32>().unwrap()
    });
    let runs = marks.map(|mark| Owner::Other(mark.to_owned())).into();
    while find(&agent(), &runs).unwrap().len() < N {
        std::thread::yield_now(); // the shells have just begun them
    }
    pids
}

fn agent() -> PeerId {
    PeerId::parse("web-1").unwrap()
}

#[tokio::test]
async fn what_hangs_may_be_what_is_looked_for_and_keeps_nothing_else_from_being_ended() {
    static HUNG: Hung = Hung::new();
    static STUCK: Stuck = Stuck::new();
    fn reader() -> Reader {
        Reader::with(|pid| STUCK.read(pid), &HUNG)
    }
    let marks = [1, 2].map(|n| format!("of a test {n} in {}", std::process::id()));
    let pids = orphans([&marks[0], &marks[1]]);
    STUCK.pid.store(pids[0], Ordering::SeqCst);
    let runs: BTreeSet<Owner> = marks.map(Owner::Other).into();
    let ended = end_by(&agent(), &runs, Duration::from_millis(1), reader).await;
    let (found, hung) = find_by(&agent(), &runs, &reader()).unwrap();
    STUCK.pid.store(0, Ordering::SeqCst);
    let pid = rustix::process::Pid::from_raw(pids[0]).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let error = ended.unwrap_err();
    assert!(may_be_found_later(&error) && error.to_string().contains("hangs in the kernel"), "{error}");
    assert_eq!((found.len(), hung.iter().map(|process| process.pid).collect()), (0, vec![pids[0]]));
}

#[tokio::test]
async fn what_hangs_once_it_was_asked_to_end_is_killed_all_the_same() {
    static HUNG: Hung = Hung::new();
    static STUCK: Stuck = Stuck::new();
    fn reader() -> Reader {
        Reader::with(|pid| STUCK.read(pid), &HUNG)
    }
    let mark = format!("of a test 3 in {}", std::process::id());
    let [pid] = orphans([&mark]);
    STUCK.seen.store(1, Ordering::SeqCst);
    STUCK.pid.store(pid, Ordering::SeqCst);
    let runs: BTreeSet<Owner> = [Owner::Other(mark)].into();
    let ended = end_by(&agent(), &runs, Duration::from_millis(1), reader).await.unwrap();
    STUCK.pid.store(0, Ordering::SeqCst);
    assert_eq!(ended.ended.iter().map(|ended| ended.pid).collect::<Vec<_>>(), [pid]);
    assert!(ended.left.is_empty());
}
