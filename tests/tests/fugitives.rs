//! Procedures whose processes try to get away, behind real manifests of a real agent: nothing of them is left at the end of a call that
//! is cancelled, and of a job whose time is over.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::PathBuf;

use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_tests::manifests::Manifests;
use redpoll_tests::operator::Operator;
use redpoll_tests::process::lives;
use redpoll_tests::world::World;
use redpoll_tests::{PATIENCE, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const AGENT: &str = "web-1";

/// What a program does that flees: three processes that left the group, the session, their parents, their environment and all streams,
/// and write their numbers into files. One looks dead, because its first thread has ended; two heed no SIGTERM. The program itself
/// answers nothing.
const FUGITIVE: &str = r#"#!/usr/bin/env python3
import json, os, sys, time
call = None
if os.environ["REDPOLL_MODE"] == "worker":
    print(json.dumps({"ready": True}), flush=True)
folder = json.loads(sys.stdin.readline())["kwargs"]["folder"]
write = 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 300'
undead = """
import ctypes, os, signal, sys, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=time.sleep, args=(300,)).start()
open(sys.argv[1] + ".new", "w").write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
ctypes.CDLL(None).pthread_exit(None)
"""
def flee(name, *argv):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            os.execve(argv[0], [*argv, os.path.join(folder, name)], {})
        os._exit(0)
    os.wait()
flee("meek", "/bin/sh", "-c", write)
flee("deaf", "/bin/sh", "-c", "trap '' TERM; " + write)
flee("undead", sys.executable, "-c", undead)
while True:
    time.sleep(300)
"#;

/// The processes that flee from one run.
struct Fugitives(PathBuf);

impl Fugitives {
    fn new(world: &World, name: &str) -> Self {
        let folder = world.directory().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// Waits until they are on their own.
    async fn fled(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        for name in ["meek", "deaf", "undead"] {
            let pid = eventually("a process has fled", async || {
                let text = std::fs::read_to_string(self.0.join(name)).ok()?;
                Pid::from_raw(text.trim().parse().ok()?)
            });
            pids.push(pid.await);
        }
        assert!(pids.iter().all(|pid| lives(*pid)));
        pids
    }
}

impl Drop for Fugitives {
    fn drop(&mut self) {
        for file in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let pid = std::fs::read_to_string(file.path()).unwrap_or_default();
            if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw)
                && lives(pid)
            {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// A world whose agent offers it in both modes; `None` where an agent cannot read marks, and finds none of those.
async fn world() -> Option<World> {
    std::fs::read("/proc/1/timerslack_ns").ok()?;
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let program = manifests.program("fugitive", FUGITIVE);
    for mode in ["once", "worker"] {
        let text = format!(
            "name = \"flee.{mode}\"\ncommand = [\"{program}\"]\nmode = \"{mode}\"\noutput = \"json\"\ngrace = \"300ms\"\n"
        );
        manifests.write(&format!("flee.{mode}"), &text);
    }
    world.agent(AGENT, &[&manifests.setting()]).await;
    Some(world)
}

#[tokio::test]
async fn what_flees_from_a_call_ends_with_it_when_it_is_cancelled() {
    let Some(mut world) = world().await else { return };
    for mode in ["once", "worker"] {
        let fugitives = Fugitives::new(&world, mode);
        let kwargs = json!({"folder": fugitives.0});
        let call = Operator::call_of(AGENT, &format!("flee.{mode}"), &json!([]), &kwargs, PATIENCE);
        let mut call = world.operator.peer().start(call).await.unwrap();
        let pids = fugitives.fled().await;
        call.cancel();
        let fault = Operator::end_of(&mut call).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Cancelled, "{mode} {fault}");
        assert!(!fault.message.contains("outlived"), "{mode} {fault}");
        assert_eq!(pids.iter().filter(|pid| lives(**pid)).count(), 0, "{mode}");
    }
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn what_flees_from_a_job_ends_with_it_when_its_time_is_over() {
    let Some(mut world) = world().await else { return };
    let run = async |mode: &str| {
        let fugitives = Fugitives::new(&world, mode);
        let mut job = SubmitArguments::new(vec![AGENT.to_owned()], format!("flee.{mode}"));
        job.spec.kwargs = Raw::encode(&json!({"folder": fugitives.0})).unwrap();
        // they have fled by then
        job.spec.limits.run_timeout = Some(PATIENCE / 2);
        let job = world.operator.submit(&job).await.unwrap();
        let pids = fugitives.fled().await;
        let end = world.operator.job_ended(&job).await.end.unwrap();
        assert_eq!((end.outcome.as_str(), end.started), ("timed_out", Some(true)), "{mode} {end:?}");
        assert_eq!(pids.iter().filter(|pid| lives(**pid)).count(), 0, "{mode} {end:?}");
    };
    tokio::join!(run("once"), run("worker"));
    world.nobody_else_noticed().await;
}
