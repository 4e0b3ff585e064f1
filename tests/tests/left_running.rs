//! An agent that is killed while a program runs: its next life says what is left of it, lists it, and ends it when asked.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::{Path, PathBuf};

use redpoll_tests::eventually;
use redpoll_tests::process;
use redpoll_tests::world::World;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Leaves a daemon that is deaf to SIGTERM and has a session and parents of its own, and its child without the environment. Beside it
/// runs the program itself. Each writes its number into a file of the folder.
const SCRIPT: &str = r#"
echo $$ > $0/program
trap '' TERM
(setsid sh -c 'env -i sh -c "echo \$\$ > $0/bare; exec sleep 1000" & echo $$ > $0/daemon; exec sleep 1000' "$0" &)
exec sleep 1000
"#;

struct Marks(PathBuf);

impl Marks {
    fn new(world: &World, name: &str) -> Self {
        let folder = world.directory().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    async fn pid(&self, name: &str) -> i32 {
        let file = self.0.join(name);
        eventually(name, async || pid_in(&file)).await
    }
}

fn pid_in(file: &Path) -> Option<i32> {
    std::fs::read_to_string(file).ok()?.strip_suffix('\n')?.parse().ok()
}

impl Drop for Marks {
    fn drop(&mut self) {
        for file in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if let Some(pid) = pid_in(&file.path()).and_then(Pid::from_raw) {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn lives(pid: i32) -> bool {
    process::lives(Pid::from_raw(pid).unwrap())
}

async fn rpctl(world: &World, words: &[&str]) -> (Option<i32>, String) {
    let output = world.run_rpctl(words).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

async fn json(world: &World, words: &[&str]) -> Value {
    let output = world.run_rpctl(&[&["-o", "json"], words].concat()).await;
    let said = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&said).unwrap_or(Value::String(said))
}

async fn submitted(world: &World, words: &[&str]) -> String {
    let (code, said) = rpctl(world, &[&["run", "--detach"], words].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    said.lines().next().unwrap().to_owned()
}

/// What a call returns.
async fn called(world: &World, words: &[&str]) -> Value {
    let said = json(world, &[&["call"], words].concat()).await;
    said.get("result").unwrap_or_else(|| unreachable!("{said}")).clone()
}

async fn leftovers(world: &World, agent: &str) -> Vec<Value> {
    let said = called(world, &[agent, "sys.leftovers"]).await;
    said["runs"].as_array().unwrap_or_else(|| unreachable!("{said}")).clone()
}

fn pids(processes: &Value) -> Vec<i64> {
    let mut pids: Vec<i64> =
        processes.as_array().unwrap().iter().map(|process| process["pid"].as_i64().unwrap()).collect();
    pids.sort_unstable();
    pids
}

#[tokio::test]
async fn what_a_killed_agent_leaves_is_told_listed_and_ended_when_asked_and_nothing_of_another_agent() {
    let mut world = World::quiet(&[]).await;
    for agent in ["left-1", "left-2"] {
        world.agent(agent, &["limits.grace=300ms"]).await;
    }
    let (marks, others) = (Marks::new(&world, "marks"), Marks::new(&world, "others"));
    // the same job on both agents of this machine: each finds its own folder by its name
    let script = format!(
        "case $REDPOLL_AGENT in left-1) d={};; *) d={};; esac; exec sh -c \"$0\" $d",
        marks.path(),
        others.path()
    );
    let job = submitted(&world, &["id:left-*", "exec.run", "--", "sh", "-c", &script, SCRIPT]).await;
    let mut own = Vec::new();
    for name in ["program", "daemon", "bare"] {
        own.push(marks.pid(name).await);
        others.pid(name).await;
    }
    own.sort_unstable();
    let expected: Vec<i64> = own.iter().copied().map(i64::from).collect();

    world.restart_agent("left-1", &["limits.grace=300ms"]).await;
    let shown = eventually("the run has ended", async || {
        let shown = json(&world, &["jobs", "show", &job]).await.to_string();
        shown.contains("unknown").then_some(shown)
    })
    .await;
    assert!(shown.contains("3 of its processes still run (pid "), "{shown}");
    assert!(own.iter().all(|pid| shown.contains(&pid.to_string())), "{shown}");
    assert!(shown.contains("sys.leftovers.stop ends them"), "{shown}");
    let line = world.agent_process("left-1").logged(&["still run", &job]).await;
    assert!(line.contains("sys.leftovers.stop") && line.contains("exec.run"), "{line}");

    // once more, when the manager has the end and the spool has forgotten the run
    world.restart_agent("left-1", &["limits.grace=300ms"]).await;
    let list = leftovers(&world, "left-1").await;
    assert_eq!(list.len(), 1, "{list:?}");
    let run = &list[0];
    assert_eq!((run["job"].as_str(), run["attempt"].as_i64()), (Some(job.as_str()), Some(1)));
    assert_eq!(run["procedure"], "exec.run");
    assert_eq!(pids(&run["processes"]), expected);
    assert!(run["processes"].as_array().unwrap().iter().all(|one| one["program"] == "sleep"), "{run}");
    assert!(own.iter().all(|pid| lives(*pid)), "nothing is ended without being asked");
    assert_eq!(leftovers(&world, "left-2").await.len(), 0);

    // not by an agent that has none of it, and not by another job
    let nothing = called(&world, &["left-2", "sys.leftovers.stop", &job]).await;
    assert_eq!(nothing["ended"].as_array().map(Vec::len), Some(0), "{nothing}");
    let another = format!("job={}", "0".repeat(32));
    let nothing = called(&world, &["left-1", "sys.leftovers.stop", &another]).await;
    assert_eq!(nothing["ended"].as_array().map(Vec::len), Some(0), "{nothing}");
    assert!(own.iter().all(|pid| lives(*pid)));

    let stopped = called(&world, &["left-1", "sys.leftovers.stop", &format!("job={job}")]).await;
    assert_eq!(
        (pids(&stopped["ended"]), stopped["left"].as_array().map(Vec::len)),
        (expected, Some(0)),
        "{stopped}"
    );
    assert!(own.iter().all(|pid| !lives(*pid)));
    assert_eq!(leftovers(&world, "left-1").await.len(), 0);
    for name in ["program", "daemon", "bare"] {
        assert!(lives(others.pid(name).await), "{name} of the other agent, which runs on");
    }
    let again = called(&world, &["left-1", "sys.leftovers.stop", &job]).await;
    assert_eq!(again["ended"].as_array().map(Vec::len), Some(0), "twice is as good as once: {again}");
    let (code, said) = rpctl(&world, &["call", "left-1", "sys.leftovers.stop", "job=nonsense"]).await;
    assert!(code == Some(3) && said.contains("job"), "{said}");
}

#[tokio::test]
async fn another_attempt_waits_until_nothing_is_left_of_the_one_before() {
    let mut world = World::quiet(&[]).await;
    world.agent("left-1", &[]).await;
    let marks = Marks::new(&world, "marks");
    let script = "if mkdir $0/once; then echo $$ > $0/first; exec sleep 1000; fi; echo $$ > $0/second";
    let words =
        ["--idempotent", "--retry", "2", "left-1", "exec.run", "--", "sh", "-c", script, marks.path()];
    let job = submitted(&world, &words).await;
    let first = marks.pid("first").await;
    world.restart_agent("left-1", &[]).await;
    let put_back = eventually("the next attempt is put off", async || {
        let said = rpctl(&world, &["-o", "json", "events", "--type", "run.put_back"]).await.1;
        said.contains(&job).then_some(said)
    })
    .await;
    assert!(put_back.contains("overloaded"), "{put_back}");
    assert!(lives(first) && pid_in(&marks.0.join("second")).is_none(), "they never run beside each other");
    let stopped = called(&world, &["left-1", "sys.leftovers.stop", &job]).await;
    assert_eq!(pids(&stopped["ended"]), [i64::from(first)]);
    let (code, said) = rpctl(&world, &["jobs", "result", &job, "--wait"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(pid_in(&marks.0.join("second")).is_some() && !lives(first));
}

/// Starts an agent anew as an upgrade does that runs for a job: kills the one that runs it, and becomes the next.
fn upgrade(agent: u32, marks: &Marks, log: &Path) -> String {
    let line = std::fs::read(format!("/proc/{agent}/cmdline")).unwrap();
    let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<String> =
        words.map(|word| format!("'{}'", String::from_utf8(word.to_vec()).unwrap())).collect();
    let (dir, log) = (marks.path(), log.display());
    format!(
        "(setsid sh -c 'echo $$ > {dir}/left; exec sleep 1000' &)
        echo $$ > {dir}/agent; kill -9 {agent}; exec {} >> {log} 2>&1 < /dev/null",
        words.join(" ")
    )
}

#[tokio::test]
async fn an_agent_that_a_run_has_started_is_not_ended_with_what_is_left_of_the_run() {
    let mut world = World::quiet(&[]).await;
    world.agent("left-1", &[]).await;
    let marks = Marks::new(&world, "marks");
    let before = world.agent_process("left-1").pid();
    let script = upgrade(before, &marks, &world.directory().join("agent-left-1.log"));
    let job = submitted(&world, &["left-1", "exec.run", "--", "sh", "-c", &script]).await;
    let (agent, left) = (marks.pid("agent").await, marks.pid("left").await);
    let list = eventually("the next agent answers", async || {
        let said = json(&world, &["call", "left-1", "sys.leftovers"]).await;
        Some(said.get("result")?["runs"].as_array()?.clone()).filter(|runs| !runs.is_empty())
    })
    .await;
    assert_eq!(
        pids(&list[0]["processes"]),
        [i64::from(left)],
        "the agent is none, although the run started it"
    );
    assert!(lives(left), "nothing is ended without being asked");
    let stopped = called(&world, &["left-1", "sys.leftovers.stop", &job]).await;
    assert_eq!(pids(&stopped["ended"]), [i64::from(left)]);
    assert!(lives(agent) && !lives(left));
    assert_eq!(leftovers(&world, "left-1").await.len(), 0, "it answers");
}
