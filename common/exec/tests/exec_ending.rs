//! How programs end, and that nothing of them is left, with real processes.

#![expect(clippy::unwrap_used, reason = "test code")]

mod exec_support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use exec_support::{
    LOOK_DEAD, STORM, collect, collect_until, eventually, lives, never, next_text, shell, spec, swept,
};
use redpoll_exec::exec::programs::{Programs, settled};
use redpoll_exec::exec::{Chunk, DRAIN, EndedBy, Exit, KILL_WAIT, ProcessSpec, StopReason, run};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A grace that a stubborn program uses up.
const PATIENCE: Duration = Duration::from_millis(300);

/// Runs a program, cancels it once it has written `lines` lines, and returns these and the exit.
async fn cancel_after(spec: ProcessSpec, lines: usize) -> (Vec<String>, Exit) {
    let (sender, mut receiver) = mpsc::channel(8);
    let (cancel, cancelled) = oneshot::channel::<()>();
    let running = run(spec, sender, async {
        cancelled.await.ok();
        StopReason::Cancelled
    });
    let reading = async {
        let mut text = String::new();
        while text.lines().count() < lines {
            text.push_str(&next_text(&mut receiver).await);
        }
        drop(cancel);
        while let Some(chunk) = receiver.recv().await {
            if let Chunk::Data { data, .. } = chunk {
                text.push_str(&String::from_utf8_lossy(&data));
            }
        }
        text.lines().map(str::to_owned).collect()
    };
    let (exit, lines) = tokio::join!(running, reading);
    (lines, exit.unwrap())
}

#[tokio::test]
async fn a_signal_is_told_from_a_code() {
    let exit = collect(shell("kill -USR1 $$; sleep 1000")).await.unwrap().exit;
    assert_eq!((exit.code, exit.signal), (None, Some(10)));
    assert_eq!(exit.ended_by, EndedBy::Itself);
}

#[tokio::test]
async fn cancelling_ends_the_whole_group() {
    let (pids, exit) =
        cancel_after(shell("sleep 1000 & echo $!; sleep 1001 & echo $!; echo $$; wait"), 3).await;
    assert_eq!(exit.ended_by, EndedBy::Stopped(StopReason::Cancelled));
    assert_eq!((exit.signal, exit.left_behind), (Some(15), 0));
    assert!(exit.duration < Duration::from_secs(10), "SIGTERM was enough: {exit:?}");
    for pid in pids {
        assert!(!lives(&pid), "{pid} lives");
    }
}

#[tokio::test]
async fn a_program_may_use_its_grace_to_end_well() {
    let script = "exec 2>/dev/null; trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let (lines, exit) = cancel_after(shell(script), 1).await;
    assert_eq!(lines, ["ready", "bye"]);
    assert_eq!((exit.code, exit.signal), (Some(5), None));
    assert_eq!(exit.ended_by, EndedBy::Stopped(StopReason::Cancelled));
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed_after_the_grace() {
    let mut stubborn = shell("trap '' TERM; echo $$; while :; do sleep 1000; done");
    stubborn.grace = Duration::from_millis(50);
    let (pids, exit) = cancel_after(stubborn, 1).await;
    assert_eq!(exit.signal, Some(9));
    assert!(exit.duration >= Duration::from_millis(50));
    assert!(!lives(&pids[0]));
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed_though_the_leader_obeyed() {
    let mut mixed = shell("(trap '' TERM; sh -c 'echo $PPID; exec sleep 1000'; sleep 1000) & wait");
    mixed.grace = Duration::from_millis(50);
    let (pids, exit) = cancel_after(mixed, 1).await;
    assert_eq!((exit.signal, exit.left_behind), (Some(15), 0));
    assert!(!lives(&pids[0]));
}

#[tokio::test]
async fn a_frozen_program_hears_sigterm_too() {
    let (pids, exit) = cancel_after(shell("echo $$; kill -STOP $$; sleep 1000"), 1).await;
    assert_eq!(exit.signal, Some(15));
    assert!(!lives(&pids[0]));
}

#[tokio::test]
async fn the_time_limit_ends_a_program() {
    let mut endless = shell("sleep 1000 & echo $!; wait");
    endless.run_timeout = Some(Duration::from_millis(300));
    let got = collect(endless).await.unwrap();
    assert_eq!(got.exit.ended_by, EndedBy::Stopped(StopReason::TimedOut));
    assert_eq!(got.exit.signal, Some(15));
    assert!(got.exit.duration >= Duration::from_millis(300));
    assert!(!lives(&String::from_utf8(got.stdout).unwrap()));
}

#[tokio::test]
async fn a_stop_that_comes_before_the_start_still_ends_the_program() {
    let got = collect_until(shell("sleep 1000"), async { StopReason::TimedOut }).await.unwrap();
    assert_eq!(got.exit.ended_by, EndedBy::Stopped(StopReason::TimedOut));
}

#[tokio::test]
async fn dropping_the_future_kills_the_tree() {
    let (sender, mut receiver) = mpsc::channel(8);
    let script =
        "trap '' TERM; setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000 & echo $!; echo $$; wait";
    let mut running = tokio::task::JoinSet::new();
    running.spawn(run(shell(script), sender, never()));
    let mut text = String::new();
    while text.lines().count() < 3 {
        text.push_str(&next_text(&mut receiver).await);
    }
    drop(running); // aborts it
    for pid in text.lines() {
        eventually("the process is gone", || !lives(pid)).await;
    }
    // the leader is reaped as well, not only dead
    eventually("no zombie is left", || {
        text.lines().all(|pid| !std::path::Path::new("/proc").join(pid).exists())
    })
    .await;
}

/// A program that starts others without pause, and the variable that is in the environment of all of them.
fn storm(name: &str) -> (ProcessSpec, String) {
    let mut storm = spec(&["python3", "-c", STORM]);
    let value = format!("{name}-{}", std::process::id());
    storm.env.insert("STORM".into(), value.clone().into());
    (storm, format!("STORM={value}"))
}

#[tokio::test]
async fn dropping_the_future_kills_what_is_started_meanwhile_and_tells_when_nothing_is_left() {
    let (storm, variable) = storm("dropped");
    let (sender, mut receiver) = mpsc::channel(8);
    let programs = Programs::default();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(programs.within(run(storm, sender, never())));
    next_text(&mut receiver).await;
    tokio::time::sleep(Duration::from_millis(100)).await; // it is in full swing
    drop(running);
    let left = programs.ended().await;
    assert_eq!((left, swept(&variable)), (0, 0));
    settled().await;
}

#[test]
fn what_is_dropped_at_the_end_of_everything_is_killed_all_the_same() {
    let (storm, variable) = storm("runtime");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sender, mut receiver) = mpsc::channel(8);
    let mut running = tokio::task::JoinSet::new();
    runtime.block_on(async {
        running.spawn(run(storm, sender, never()));
        next_text(&mut receiver).await;
    });
    drop(runtime);
    assert_eq!(swept(&variable), 0);
}

/// Holds a process in the kernel when it is killed: a tracer that wants to see its end, and never looks.
const HOLD: &str = "import ctypes, sys
SEIZE, TRACEEXIT = 0x4206, ctypes.c_void_p(0x40)
libc = ctypes.CDLL(None)
print('no' if libc.ptrace(SEIZE, int(sys.argv[1]), None, TRACEEXIT) else 'yes', flush=True)
sys.stdin.read()
";

#[tokio::test]
async fn a_program_that_hangs_in_the_kernel_does_not_hold_the_run() {
    let (sender, mut receiver) = mpsc::channel(8);
    let (cancel, cancelled) = oneshot::channel::<()>();
    let stubborn = ProcessSpec { grace: PATIENCE, ..shell("echo $$; exec sleep 1000") };
    let mut running = tokio::task::JoinSet::new();
    running.spawn(run(stubborn, sender, async {
        cancelled.await.ok();
        StopReason::Cancelled
    }));
    let pid = next_text(&mut receiver).await;
    let mut tracer = Command::new("python3");
    tracer.args(["-c", HOLD, pid.trim()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tracer = tracer.spawn().unwrap();
    let mut holds = String::new();
    BufReader::new(tracer.stdout.take().unwrap()).read_line(&mut holds).unwrap();
    drop(cancel);
    let exit = tokio::time::timeout(KILL_WAIT * 3, running.join_next()).await;
    let exit = exit.expect("it does not wait for ever").unwrap().unwrap().unwrap();
    let is_there = || std::path::Path::new("/proc").join(pid.trim()).exists();
    // before Linux 5.17, and where nobody may trace, nothing holds it
    if holds == "yes\n" && exit.left_behind > 0 {
        assert_eq!((exit.left_behind, exit.code, exit.signal), (1, None, None));
        assert_eq!(exit.ended_by, EndedBy::Stopped(StopReason::Cancelled));
        assert!(lives(&pid) && is_there());
    }
    drop(tracer.stdin.take());
    tracer.wait().unwrap();
    eventually("it is buried when it has ended after all", || !is_there()).await;
}

#[tokio::test]
async fn cancelling_finds_a_daemon_that_left_the_group_and_its_parent() {
    let script = "(setsid sh -c 'echo $$; sleep 1000 & echo $!; wait' &) ; echo $$; sleep 1000";
    let (pids, exit) = cancel_after(shell(script), 3).await;
    assert_eq!(exit.left_behind, 0);
    for pid in pids {
        assert!(!lives(&pid), "{pid} lives");
    }
}

#[tokio::test]
async fn a_process_whose_first_thread_has_ended_is_killed_like_any_other() {
    let daemon = format!("{LOOK_DEAD}os.setsid(); print(os.getpid()); look_dead()");
    // the leader heeds SIGTERM, and leaves an orphan outside of its group
    let script = format!("python3 -c '{daemon}' & echo $$; wait");
    let (pids, exit) = cancel_after(ProcessSpec { grace: PATIENCE, ..shell(&script) }, 2).await;
    assert_eq!((exit.signal, exit.left_behind), (Some(15), 0));
    for pid in pids {
        assert!(!lives(&pid), "{pid} lives");
    }
    let leader = format!("{LOOK_DEAD}print(os.getpid()); look_dead()");
    let leader = ProcessSpec { grace: PATIENCE, ..spec(&["python3", "-c", &leader]) };
    let (pids, exit) = cancel_after(leader, 1).await;
    assert_eq!((exit.ended_by, exit.signal), (EndedBy::Stopped(StopReason::Cancelled), Some(9)));
    assert!(!lives(&pids[0]));
}

#[tokio::test]
async fn a_daemon_that_holds_the_pipes_does_not_hold_the_run() {
    let started = Instant::now();
    let got = collect(shell("(setsid sh -c 'echo $$; exec sleep 1000' &); exit 6")).await.unwrap();
    let pid = String::from_utf8(got.stdout).unwrap();
    assert_eq!((got.exit.code, got.exit.pipes_held), (Some(6), true));
    assert_eq!(got.exit.ended_by, EndedBy::Itself);
    assert!(started.elapsed() < DRAIN * 3);
    // a program that ended by itself may leave a daemon behind on purpose
    assert!(lives(&pid), "the daemon was ended");
    let number = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_daemon_that_writes_without_end_does_not_hold_the_run() {
    let got = collect(shell("(setsid sh -c 'echo $$ >&2; exec yes' &); exit 0")).await.unwrap();
    assert!(got.exit.pipes_held);
    let pid = String::from_utf8(got.stderr).unwrap();
    eventually("the daemon's pipe broke", || !lives(&pid)).await;
}

#[tokio::test]
async fn a_cancelled_program_whose_output_nobody_takes_still_ends() {
    let (sender, receiver) = mpsc::channel(1);
    let mut noisy = shell("exec yes");
    noisy.run_timeout = Some(Duration::from_millis(100));
    let exit = run(noisy, sender, never()).await.unwrap();
    assert_eq!(exit.ended_by, EndedBy::Stopped(StopReason::TimedOut));
    assert!(exit.dropped > 0);
    assert_eq!(receiver.len(), 1);
}

#[tokio::test]
async fn cancelling_after_the_end_gives_up_the_output_and_keeps_the_exit() {
    let (sender, receiver) = mpsc::channel(1);
    let (cancel, cancelled) = oneshot::channel::<()>();
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("pid");
    let script = format!("head -c 60000 /dev/zero; echo $$ > {}; exit 9", mark.display());
    let running = run(shell(&script), sender, async {
        cancelled.await.ok();
        StopReason::Cancelled
    });
    let cancelling = async {
        eventually("the program ends", || {
            std::fs::read_to_string(&mark).is_ok_and(|pid| pid.ends_with('\n') && !lives(&pid))
        })
        .await;
        drop(cancel);
    };
    let (exit, ()) = tokio::join!(running, cancelling);
    let exit = exit.unwrap();
    assert_eq!((exit.code, exit.ended_by), (Some(9), EndedBy::Itself));
    assert!(exit.dropped > 0);
    drop(receiver);
}
