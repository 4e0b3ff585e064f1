//! An agent that is killed while calls, recurring runs and workers are under way: its next life ends the workers, lists the rest, and ends
//! it when asked. What was left behind on purpose is nobody's business.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::PathBuf;

use redpoll_tests::eventually;
use redpoll_tests::manifests::Manifests;
use redpoll_tests::process;
use redpoll_tests::world::World;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Files with numbers of processes, which do not outlive the test.
struct Marks(PathBuf);

impl Marks {
    fn new(world: &World) -> Self {
        let folder = world.directory().join("marks");
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    async fn pid(&self, name: &str) -> i32 {
        let file = self.0.join(name);
        let read = || std::fs::read_to_string(&file).ok()?.strip_suffix('\n')?.parse().ok();
        eventually(name, async || read()).await
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        for file in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let pid = std::fs::read_to_string(file.path()).ok().and_then(|text| text.trim().parse().ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn lives(pid: i32) -> bool {
    process::lives(Pid::from_raw(pid).unwrap())
}

async fn called(world: &World, words: &[&str]) -> Value {
    let output = world.run_rpctl(&[&["-o", "json", "call", "left-1"], words].concat()).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| unreachable!("{said}"));
    said.get("result").unwrap_or_else(|| unreachable!("{said}")).clone()
}

async fn others(world: &World) -> Vec<Value> {
    let said = called(world, &["sys.leftovers"]).await;
    assert_eq!(said["runs"], serde_json::json!([]), "{said}");
    said.get("others").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn of_kind(all: &[Value], kind: &str) -> Value {
    let mut of = all.iter().filter(|other| other["kind"] == kind);
    let (first, more) = (of.next().unwrap_or_else(|| unreachable!("{kind} in {all:?}")), of.next());
    assert!(more.is_none(), "{all:?}");
    first.clone()
}

fn pids(processes: &Value) -> Vec<i64> {
    processes.as_array().unwrap().iter().map(|process| process["pid"].as_i64().unwrap()).collect()
}

/// A worker, a call with a child of a session of its own, a recurring run, and what leaves a daemon behind on purpose and ends.
fn describe(manifests: &Manifests, dir: &str) {
    // the worker is deaf to the end of its input, and has left its group
    let worker = format!(
        "trap '' TERM; echo '{{\"ready\":true}}'; read -r line; echo $$ > {dir}/worker; while :; do sleep 1000; done"
    );
    manifests.shell("site.worker", "mode = \"worker\"", &worker);
    let recurring = format!("[ -e {dir}/recurring ] && exit; echo $$ > {dir}/recurring; exec sleep 1000");
    let schedule = "output = \"text\"\n[schedule]\nevery = \"1h\"\nat_start = true";
    manifests.shell("site.recurring", schedule, &recurring);
    let call = format!(
        "(setsid sh -c 'echo $$ > {dir}/child; exec sleep 1000' &) ; echo $$ > {dir}/call; exec sleep 1000"
    );
    manifests.shell("site.call", "output = \"text\"", &call);
    // ends by itself, and leaves a daemon behind on purpose
    let daemon =
        format!("setsid sh -c 'echo $$ > {dir}/daemon; exec sleep 1000' < /dev/null > /dev/null 2>&1 &");
    manifests.shell("site.daemon", "output = \"text\"", &daemon);
}

#[tokio::test]
async fn a_killed_agents_workers_are_ended_and_its_calls_and_recurring_runs_when_asked() {
    let mut world = World::quiet(&[]).await;
    let (manifests, marks) = (Manifests::new(world.directory()), Marks::new(&world));
    describe(&manifests, marks.path());
    let settings = [manifests.setting(), "limits.grace=200ms".to_owned()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    world.agent("left-1", &settings).await;

    called(&world, &["site.daemon"]).await;
    let daemon = marks.pid("daemon").await;
    let state = world.directory().join("agent-left-1-state/running");
    // that it has ended is written down within moments
    eventually("the note of the call is gone", async || {
        let noted = std::fs::read_to_string(&state).ok()?;
        let line = noted.lines().find(|line| line.ends_with("call site.daemon"))?.to_owned();
        let mark = line.split(' ').nth(1)?.to_owned();
        noted.contains(&format!("- {mark}")).then_some(())
    })
    .await;
    let mut waiting = Vec::new();
    for words in [&["call", "left-1", "site.call"][..], &["call", "left-1", "site.worker"]] {
        waiting.push(world.rpctl().args(words).spawn().unwrap());
    }
    let program = world
        .rpctl()
        .args(["call", "left-1", "exec.run", "--", "sh", "-c"])
        .arg(format!("echo $$ > {}/program; exec sleep 1000", marks.path()))
        .spawn();
    waiting.push(program.unwrap());
    let mut alive = Vec::new();
    for name in ["call", "child", "recurring", "program", "worker"] {
        alive.push(marks.pid(name).await);
    }
    let [call, child, recurring, program, worker] = alive[..] else { unreachable!() };

    world.restart_agent("left-1", &settings).await;
    world.agent_process("left-1").logged(&["a worker from before the start was ended", "site.worker"]).await;
    assert!(!lives(worker));
    world
        .agent_process("left-1")
        .logged(&["processes of something that ran when the agent died still run", "site.call"])
        .await;
    let all = others(&world).await;
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(
        [call, child, recurring, program, daemon].into_iter().all(lives),
        "nothing else is ended without being asked"
    );
    let found = of_kind(&all, "recurring");
    assert_eq!(
        (&found["procedure"], pids(&found["processes"])),
        (&"site.recurring".into(), vec![i64::from(recurring)])
    );
    let found = all.iter().find(|other| other["procedure"] == "exec.run").unwrap();
    assert_eq!((&found["kind"], pids(&found["processes"])), (&"call".into(), vec![i64::from(program)]));
    let found = all.iter().find(|other| other["procedure"] == "site.call").unwrap();
    let mut both = pids(&found["processes"]);
    both.sort_unstable();
    let mut expected = vec![i64::from(call), i64::from(child)];
    expected.sort_unstable();
    assert_eq!((&found["kind"], both), (&"call".into(), expected));

    // once more: they are not forgotten
    world.restart_agent("left-1", &settings).await;
    assert_eq!(others(&world).await.len(), 3);
    let mark = format!("mark={}", found["mark"].as_str().unwrap());
    let stopped = called(&world, &["sys.leftovers.stop", &mark]).await;
    assert_eq!(pids(&stopped["ended"]).len(), 2, "{stopped}");
    assert!(!lives(call) && !lives(child) && lives(program) && lives(recurring) && lives(daemon));
    assert_eq!(others(&world).await.len(), 2);
    let again = called(&world, &["sys.leftovers.stop", &mark]).await;
    assert_eq!(pids(&again["ended"]), Vec::<i64>::new(), "twice is as good as once: {again}");
    for mut child in waiting {
        let _status = child.wait().await.unwrap();
    }

    // who stops in order leaves nothing, and says so
    for other in others(&world).await {
        called(&world, &["sys.leftovers.stop", &format!("mark={}", other["mark"].as_str().unwrap())]).await;
    }
    assert!(!lives(program) && !lives(recurring) && lives(daemon));
    called(&world, &["exec.run", "--", "true"]).await;
    let agent = world.agent_process("left-1");
    agent.signal(Signal::TERM);
    assert!(agent.ended().await.success());
    let noted = std::fs::read_to_string(&state).unwrap();
    let count = |sign: &str| noted.lines().filter(|line| line.starts_with(sign)).count();
    assert!(count("+") > 0 && count("+") == count("-"), "{noted}");
}
