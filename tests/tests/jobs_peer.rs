//! An agent that takes jobs, written in another language from `docs/protocol.md` alone: offered, accepted, told, acknowledged, and
//! resumed after it was killed at each place of a run.
#![expect(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use redpoll_tests::world::World;
use redpoll_tests::{eventually, in_time};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const PEER: &str = "py-1";
/// How many peers were started.
static LIVES: AtomicUsize = AtomicUsize::new(0);

/// The peer as a process.
struct Python {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Python {
    /// Starts it, to die at a place if one is named.
    fn start(world: &World, place: Option<&str>) -> Self {
        // a file is written once: each life has its own certificate
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let files = world.certificate(PEER).write(world.directory(), &format!("{PEER}-{life}"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/jobs.py");
        let mut child = Command::new("python3")
            // nothing is written into the source
            .arg("-B")
            .arg(script)
            .args([world.address.ip().to_string(), world.address.port().to_string(), PEER.to_owned()])
            .args([files.cert, files.key, files.ca, spool(world)])
            .args(place)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("these tests need python3 in PATH");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Starts it, and waits until the manager has answered what its spool holds. Gives what it was told to do with its runs.
    async fn resumed(world: &World, place: Option<&str>) -> (Self, Vec<String>) {
        let mut peer = Self::start(world, place);
        let mut acts = Vec::new();
        loop {
            match peer.tells().await {
                line if line == "resumed" => return (peer, acts),
                line if line.starts_with("act ") => acts.push(line),
                // what is offered because of the page may overtake the answer
                line => assert!(line.starts_with("offered "), "{line}"),
            }
        }
    }

    /// The next thing that it tells.
    async fn tells(&mut self) -> String {
        let line = in_time("the next line of the peer", self.lines.next_line()).await.unwrap();
        line.unwrap_or_else(|| "(nothing more)".to_owned())
    }

    /// Waits until it tells that the manager has the end of a job, with so many items.
    async fn acknowledged(&mut self, job: &str, items: u64) {
        self.until(&format!("acknowledged {job} {items}")).await;
    }

    /// Waits until it tells this.
    async fn until(&mut self, wanted: &str) {
        loop {
            let line = self.tells().await;
            assert!(!line.starts_with("strict") && line != "(nothing more)", "{line}");
            if line == wanted {
                return;
            }
        }
    }

    async fn died(mut self) {
        let _status = in_time("the end of the peer", self.child.wait()).await.unwrap();
    }

    /// As a machine that loses its power.
    async fn killed(mut self) {
        self.child.start_kill().unwrap();
        self.died().await;
    }
}

fn spool(world: &World) -> PathBuf {
    world.directory().join("spool")
}

/// How often the procedure of a job was started.
fn starts(world: &World, job: &str) -> usize {
    let text = std::fs::read_to_string(world.directory().join("spool.started")).unwrap_or_default();
    text.lines().filter(|line| *line == job).count()
}

async fn rpctl(world: &World, words: &[&str]) -> (i32, String) {
    let output = world.run_rpctl(words).await;
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Submits a job, and gives its id.
async fn submitted(world: &World, words: &[&str]) -> String {
    let (code, out) = rpctl(world, &[&["run", "--detach", PEER], words].concat()).await;
    assert_eq!(code, 0, "{out}");
    out.trim().to_owned()
}

/// Waits for the end of a job. Gives the exit code of `rpctl`, and its only run as `jobs show` has it.
async fn ended(world: &World, job: &str) -> (i32, Value) {
    let (code, _) = rpctl(world, &["jobs", "result", job, "--wait"]).await;
    (code, shown(world, job).await)
}

/// Waits until the only run of a job runs.
async fn running(world: &World, job: &str) {
    let is_running = async || (shown(world, job).await["state"] == "running").then_some(());
    eventually("the run runs", is_running).await;
}

async fn shown(world: &World, job: &str) -> Value {
    let (_, out) = rpctl(world, &["-o", "json", "jobs", "show", job]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    shown["runs"][0].clone()
}

#[tokio::test]
async fn a_peer_written_from_the_page_takes_jobs() {
    let mut world = World::start(&["access.roles={ deploy = [\"ada\"] }"]).await;
    let (mut peer, acts) = Python::resumed(&world, None).await;
    assert_eq!(acts, Vec::<String>::new());

    let (code, out) = rpctl(&world, &["run", PEER, "app.count", "n:=10"]).await;
    // ten values and the result
    assert_eq!((code, out.lines().collect::<Vec<_>>().join(" ").as_str()), (0, "0 1 2 3 4 5 6 7 8 9 10"));
    assert_eq!(peer.tells().await, "offered 1 1 ada roles");
    for (words, items, outcome, code) in [
        (&["app.print"][..], 3, "succeeded", 0),
        (&["app.fail"], 0, "failed", 1),
        (&["no.such"], 0, "rejected", 3),
    ] {
        let job = submitted(&world, words).await;
        let (exit, run) = ended(&world, &job).await;
        assert_eq!(
            (exit, &run["end"]["outcome"], &run["items"]),
            (code, &json!(outcome), &json!(items)),
            "{run}"
        );
        assert_eq!(run["progress"]["details"], json!((code < 3).then_some("all")));
        assert_eq!(starts(&world, &job), usize::from(code < 3));
    }

    // one with everything that an offer may have, and that ends by a cancel alone
    let durations = ["--start-within", "1h", "--run-timeout", "1h", "--idle-timeout", "1h", "--grace", "1h"];
    let others = ["--output-limit", "1MiB", "--overflow", "kill", "--info", "{}", "app.wait"];
    let job = submitted(&world, &[&durations[..], &others].concat()).await;
    let all = "grace_ms idle_ms info output overflow roles run_ms start_within_ms";
    peer.until(&format!("offered 5 1 ada {all}")).await;
    running(&world, &job).await;
    assert_eq!(rpctl(&world, &["jobs", "cancel", &job, "--grace", "2s"]).await.0, 0);
    peer.until("cancelled 5 2000").await;
    let (exit, run) = ended(&world, &job).await;
    assert_eq!((exit, &run["end"]["started"], &run["items"]), (7, &json!(true), &json!(1)), "{run}");
    peer.acknowledged(&job, 1).await;
    world.nobody_else_noticed().await;
}

/// Where the peer dies, what it shows and is told when it is back, and what came of the run.
struct Death {
    place: &'static str,
    acts: &'static [&'static str],
    outcome: &'static str,
    started: Value,
    starts: usize,
    dno: u64,
}

#[tokio::test]
async fn a_peer_that_is_killed_at_any_place_runs_nothing_twice_and_loses_nothing() {
    let mut world = World::start(&[]).await;
    let whole = |place, acts, dno| {
        let (outcome, started, starts) = ("succeeded", json!(true), 1);
        Death { place, acts, outcome, started, starts, dno }
    };
    let lost = |place, started, starts, dno| Death {
        place,
        acts: &["act send_from 0"],
        outcome: "unknown",
        started,
        starts,
        dno,
    };
    for death in [
        // it never arrived: the same number again
        whole("offered", &[], 1),
        // its number is used up, and nothing was there: another one
        whole("burnt", &[], 3),
        whole("accepted", &["act continue"], 4),
        Death { acts: &["act continue"], ..lost("starting", Value::Null, 0, 5) },
        Death { acts: &["act continue"], ..lost("running", json!(true), 1, 6) },
        whole("ended", &["act continue"], 7),
        // the manager has what the peer does not know to be told
        whole("acked", &["act send_from 4"], 8),
    ] {
        let place = death.place;
        let (peer, _) = Python::resumed(&world, Some(place)).await;
        let job = submitted(&world, &["app.count", "n:=10"]).await;
        peer.died().await;
        let (mut peer, acts) = Python::resumed(&world, None).await;
        assert_eq!(acts, death.acts, "{place}");
        let items = if place == "starting" { 0 } else { 10 };
        peer.acknowledged(&job, items).await;
        let (exit, run) = ended(&world, &job).await;
        assert_eq!(exit, if death.outcome == "unknown" { 8 } else { 0 }, "{place}: {run}");
        let end = &run["end"];
        assert_eq!((&end["outcome"], &end["started"]), (&json!(death.outcome), &death.started), "{place}");
        assert_eq!((&run["items"], &run["dno"]), (&json!(items), &json!(death.dno)), "{place}: {run}");
        assert_eq!((&run["attempt"], starts(&world, &job)), (&json!(1), death.starts), "{place}");
    }
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn what_happened_while_a_peer_was_away_is_told_when_it_is_back() {
    let world = World::quiet(&[]).await;
    // accepted, and cancelled before it was started
    let (peer, _) = Python::resumed(&world, Some("accepted")).await;
    let cancelled = submitted(&world, &["app.count", "n:=2"]).await;
    peer.died().await;
    assert_eq!(rpctl(&world, &["jobs", "cancel", &cancelled]).await.0, 0);
    let (peer, acts) = Python::resumed(&world, None).await;
    assert_eq!(acts, ["act kill"]);
    let (exit, run) = ended(&world, &cancelled).await;
    assert_eq!((exit, &run["end"]["started"], starts(&world, &cancelled)), (7, &json!(false), 0), "{run}");

    // its spool is lost while a run runs: another identity, and nobody can tell
    let job = submitted(&world, &["app.wait"]).await;
    running(&world, &job).await;
    peer.killed().await;
    let older = world.directory().join("older");
    std::fs::rename(spool(&world), &older).unwrap();
    let (peer, acts) = Python::resumed(&world, None).await;
    assert_eq!(acts, Vec::<String>::new());
    let (exit, run) = ended(&world, &job).await;
    assert_eq!((exit, &run["end"]["outcome"], &run["end"]["started"]), (8, &json!("unknown"), &json!(true)));

    // and it comes back when nobody wants the run any more
    peer.killed().await;
    assert_eq!(rpctl(&world, &["jobs", "delete", &job, "--yes"]).await.0, 0);
    std::fs::rename(older, spool(&world)).unwrap();
    let (_peer, acts) = Python::resumed(&world, None).await;
    assert_eq!(acts, ["act drop"]);
}
