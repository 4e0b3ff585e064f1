//! What the tests of the process engine share.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::panic, reason = "test code")]

use std::ffi::OsString;
use std::future::Future;
use std::time::Duration;

use redpoll_exec::exec::{Chunk, ExecError, Exit, ProcessSpec, StopReason, StreamName, run};
use tokio::sync::mpsc;

/// A shell that runs `script`, with limits that no test reaches by accident.
pub(crate) fn shell(script: &str) -> ProcessSpec {
    spec(&["/bin/sh", "-c", script])
}

/// A program with its arguments.
pub(crate) fn spec(argv: &[&str]) -> ProcessSpec {
    ProcessSpec {
        argv: argv.iter().map(OsString::from).collect(),
        env: std::collections::BTreeMap::new(),
        cwd: None,
        stdin: None,
        run_timeout: None,
        grace: Duration::from_secs(20),
        output_limit: u64::MAX,
        not_after: None,
        confine: None,
        noting: None,
    }
}

/// Nobody stops the program.
pub(crate) async fn never() -> StopReason {
    std::future::pending().await
}

/// All that a program gave.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) exit: Exit,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) truncated: Vec<(StreamName, u64)>,
    pub(crate) largest: usize,
    pub(crate) chunks: usize,
}

/// Runs a program to its end and keeps all it gave.
pub(crate) async fn collect(spec: ProcessSpec) -> Result<Collected, ExecError> {
    collect_until(spec, never()).await
}

/// Runs a program until `stop` and keeps all it gave.
pub(crate) async fn collect_until(
    spec: ProcessSpec,
    stop: impl Future<Output = StopReason> + Send,
) -> Result<Collected, ExecError> {
    let (sender, mut receiver) = mpsc::channel(2);
    let take = async {
        let (mut stdout, mut stderr, mut truncated) = (Vec::new(), Vec::new(), Vec::new());
        let (mut largest, mut chunks) = (0, 0);
        while let Some(chunk) = receiver.recv().await {
            chunks += 1;
            match chunk {
                Chunk::Data { stream, data } => {
                    largest = largest.max(data.len());
                    match stream {
                        StreamName::Stdout => stdout.extend_from_slice(&data),
                        StreamName::Stderr => stderr.extend_from_slice(&data),
                    }
                }
                Chunk::Truncated { stream, dropped } => truncated.push((stream, dropped)),
            }
        }
        (stdout, stderr, truncated, largest, chunks)
    };
    let (exit, (stdout, stderr, truncated, largest, chunks)) = tokio::join!(run(spec, sender, stop), take);
    exit.map(|exit| Collected { exit, stdout, stderr, truncated, largest, chunks })
}

/// The next chunk's text, from a program that is expected to write soon.
pub(crate) async fn next_text(receiver: &mut mpsc::Receiver<Chunk>) -> String {
    match tokio::time::timeout(Duration::from_secs(20), receiver.recv()).await {
        Ok(Some(Chunk::Data { data, .. })) => String::from_utf8_lossy(&data).into_owned(),
        other => panic!("no output came: {other:?}"),
    }
}

/// Whether a process lives: whether one of its threads does. A zombie does not.
pub(crate) fn lives(pid: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.trim())).into_iter().flatten().flatten();
    let states =
        threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default());
    states
        .filter_map(|stat| Some(stat.rsplit_once(')')?.1.trim_start().to_owned()))
        .any(|tail| !tail.starts_with(['Z', 'X']))
}

/// What a Python program does to look dead while it lives: its first thread ends, another goes on and heeds no SIGTERM.
pub(crate) const LOOK_DEAD: &str = "import ctypes, os, signal, sys, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=lambda: time.sleep(300)).start()
def look_dead():
    sys.stdout.flush()
    ctypes.CDLL(None).pthread_exit(None)
";

/// A Python program that heeds no SIGTERM and has one child after the other, each in a session of its own, as fast as it can.
pub(crate) const STORM: &str = "import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('it begins', flush=True)
for _ in range(5000):
    if os.fork() == 0:
        os.setsid()
        time.sleep(300)
        os._exit(0)
time.sleep(300)
";

/// Kills the living processes that were started with this `NAME=value`, and says how many there were.
pub(crate) fn swept(variable: &str) -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().into_string().ok());
    let is_of = |pid: &String| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes()) && lives(pid)
    };
    let found: Vec<i32> = pids.filter(is_of).filter_map(|pid| pid.parse().ok()).collect();
    for pid in found.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    found.len()
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let held = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(held.await.is_ok(), "never happened: {what}");
}

/// A script that writes `blocks` blocks of 64 KiB, and after each the number of blocks so far into `mark`.
pub(crate) fn counting_writer(blocks: u32, mark: &std::path::Path) -> String {
    let mark = mark.display();
    format!("i=0; while [ $i -lt {blocks} ]; do head -c 65536 /dev/zero; i=$((i+1)); echo $i > {mark}; done")
}

/// Waits until a [`counting_writer`] comes no further, and says how far it came.
pub(crate) async fn stalled(mark: &std::path::Path) -> u32 {
    let (mut written, mut unchanged) = (String::new(), 0);
    while unchanged < 30 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = std::fs::read_to_string(mark).unwrap_or_default();
        unchanged = if now == written { unchanged + 1 } else { 0 };
        written = now;
    }
    written.trim().parse().unwrap_or(0)
}
