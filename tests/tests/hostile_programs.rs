//! Programs behind manifests that do their worst: each call ends, soon, with a fault that says what was wrong; nothing of them is left, and
//! the agent neither grows nor writes without end.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::Path;

use redpoll_tests::manifests::Manifests;
use redpoll_tests::process::lives;
use redpoll_tests::told::Told;
use redpoll_tests::world::World;
use redpoll_tests::{eventually, within};
use rustix::process::{Pid, Signal};
use std::time::Duration;

const AGENT: &str = "web-1";
/// No program gets more than this, whatever it does; each limit below is far less.
const LONG: Duration = Duration::from_secs(30);
const SHORT: [&str; 2] = ["limits.grace=300ms", "limits.output=1MiB"];
/// Writes the number of the process down.
const MARK: &str = r#"echo $$ > MARK; "#;

async fn told(world: &World, procedure: &str) -> Told {
    within(LONG, &format!("the end of {procedure}"), Told::of(world, &[AGENT, procedure])).await
}

/// Waits until the process that wrote its number there is gone.
async fn gone(mark: &Path) {
    let pid = fs::read_to_string(mark).unwrap().trim().parse().ok().and_then(Pid::from_raw).unwrap();
    eventually("the process is gone", async || (!lives(pid)).then_some(())).await;
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_told_and_nothing_of_it_is_left() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let mark = world.directory().join("mark");
    let ready = r#"echo '{"ready":true}'; read -r line; "#;
    let worker = "mode = \"worker\"";
    let cases = [
        // name, fields, script, class, a part of the message
        ("flood.endless", "", "tr '\\0' 'x' < /dev/zero", "ProtocolError", "long"),
        (
            "flood.short",
            "limits = { line = \"1KiB\" }",
            "head -c 2000 /dev/zero | tr '\\0' ' '; sleep 1000",
            "ProtocolError",
            "1024",
        ),
        ("line.nul", "", r#"printf '{"result":"a\0b"}\n'; sleep 1000"#, "ProtocolError", ""),
        ("line.zeroes", "", "head -c 100 /dev/zero; echo; sleep 1000", "ProtocolError", ""),
        ("line.latin", "", r#"printf '{"result":"\377"}\n'; sleep 1000"#, "ProtocolError", ""),
        (
            "line.deep",
            "",
            r#"printf '{"result":'; head -c 100000 /dev/zero | tr '\0' '['; echo; sleep 1000"#,
            "ProtocolError",
            "",
        ),
        ("line.twice", "", r#"echo '{"result":1,"result":2}'; sleep 1000"#, "ProtocolError", ""),
        ("end.twice", "", r#"echo '{"result":1}'; echo '{"result":2}'; sleep 1000"#, "ProtocolError", ""),
        ("call.other", "", r#"echo '{"call":77,"result":1}'; sleep 1000"#, "ProtocolError", ""),
        (
            "worker.other",
            worker,
            r#"echo '{"call":77,"result":"stolen"}'; sleep 1000"#,
            "ProtocolError",
            "77",
        ),
        ("worker.silent", worker, "exec >&-; sleep 1000", "ProtocolError", ""),
        ("worker.dies", worker, "kill -9 $$", "ExitStatus", "signal 9"),
        ("worker.flood", worker, "tr '\\0' 'x' < /dev/zero", "ProtocolError", "long"),
        ("worker.nul", worker, "head -c 100 /dev/zero; echo; sleep 1000", "ProtocolError", ""),
    ];
    for (name, fields, script, ..) in &cases {
        let begin = if fields == &worker { ready } else { "" };
        let script = format!("{}{begin}{script}", MARK.replace("MARK", &mark.display().to_string()));
        manifests.shell(name, fields, &script);
    }
    world.agent(AGENT, &[&[manifests.setting().as_str()], &SHORT[..]].concat()).await;
    assert!(
        !world.agent_process(AGENT).log().contains("is not offered as described"),
        "all of them are offered"
    );
    for (name, _, _, class, part) in cases {
        let failed = told(&world, name).await;
        let said = (failed.said("code"), failed.said("class"));
        assert!(said == ("failed", class) && failed.said("message").contains(part), "{name}: {failed:?}");
        assert!(!failed.said("message").contains("xxxx"), "what it said is not repeated: {failed:?}");
        gone(&mark).await;
    }
    world.operator.echo(AGENT, "unharmed").await.unwrap();
    assert_eq!(world.agent_process(AGENT).troubles(), Vec::<String>::new());
    let rss = world.agent_process(AGENT).resident_kib();
    assert!(rss < 128 * 1024, "{rss} KiB");
}

#[tokio::test]
async fn what_cannot_be_started_is_a_fault_that_says_why() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    manifests.program("plain", "echo '{\"result\":1}'\n");
    let plain = manifests.path().join("bin/plain");
    fs::set_permissions(&plain, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    manifests.program("orphan", "#!/no/such/interpreter\n");
    manifests.program("nothing", "");
    manifests.program("garbage", "\u{7f}ELF nonsense");
    let held = "limits = { memory = \"256MiB\" }";
    for (name, program) in [
        ("start.plain", "./bin/plain"),
        ("start.orphan", "./bin/orphan"),
        ("start.garbage", "./bin/garbage"),
        ("start.folder", "./bin"),
        ("start.missing", "./bin/missing"),
        ("start.unknown", "no-such-program-anywhere"),
    ] {
        manifests.write(name, &format!("name = \"{name}\"\ncommand = [\"{program}\"]\n"));
        manifests.write(
            &format!("{name}2"),
            &format!("name = \"{name}\"\nversion = 2\ncommand = [\"{program}\"]\n{held}\n"),
        );
    }
    world.agent(AGENT, &[&manifests.setting()]).await;
    for (name, part) in [
        ("start.plain", "may not be executed"),
        ("start.orphan", "interpreter"),
        ("start.garbage", "format"),
        ("start.folder", "may not be executed"),
        ("start.missing", "not found"),
        ("start.unknown", "not found"),
    ] {
        for version in [1, 2] {
            let failed = told(&world, &format!("{name}@{version}")).await;
            let all = format!("{} {}", failed.said("message"), failed.said("trace"));
            assert_eq!(
                (failed.code, failed.said("code")),
                (Some(1), "failed"),
                "{name}@{version}: {failed:?}"
            );
            // one that is confined is started by another program, and refused all the same
            assert!(all.contains(part), "{name}@{version}: {all}");
        }
        let run = world.run_rpctl(&["run", AGENT, &format!("{name}@1")]).await;
        assert!(!run.status.success());
        let listed = world.run_rpctl(&["-o", "json", "jobs", "list"]).await;
        let jobs: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(jobs[0]["outcome"], "rejected", "in a job, nothing ran: {name} {}", jobs[0]);
    }
}

#[tokio::test]
async fn a_program_that_never_stops_talking_fills_neither_the_agent_nor_its_log() {
    let mut world = World::quiet(&["agents.emit=disk.*"]).await;
    let manifests = Manifests::new(world.directory());
    let lines =
        "i=0; while [ $i -lt 20000 ]; do echo \"$line\"; i=$((i+1)); done; echo '{\"result\":\"enough\"}'";
    let event = r#"line='{"emit":{"type":"door.open","data":1}}'; "#;
    let large = format!(r#"line='{{"emit":{{"type":"disk.full","data":"{}"}}}}'; "#, "x".repeat(20_000));
    let progress = r#"line='{"progress":{"completed":1}}'; "#;
    manifests.shell("talk.events", "", &format!("{event}{lines}"));
    manifests.shell("talk.large", "", &format!("{large}{}", lines.replace("20000", "2000")));
    manifests.shell("talk.progress", "", &format!("{progress}{lines}"));
    manifests.shell(
        "talk.errors",
        "",
        &format!("line=oops; {{ {lines}; }} >&2; echo '{{\"result\":\"enough\"}}'"),
    );
    world.agent(AGENT, &[&[manifests.setting().as_str()], &SHORT[..]].concat()).await;
    for name in ["talk.events", "talk.large", "talk.progress", "talk.errors"] {
        assert_eq!(told(&world, name).await.result(), "enough", "{name}");
    }
    let agent = world.agent_process(AGENT);
    let (log, rss) = (agent.log(), agent.resident_kib());
    assert!(log.contains("an event of a procedure is lost"), "{log}");
    assert!(
        log.lines().count() < 200 && log.len() < 100_000,
        "{} lines, {} bytes",
        log.lines().count(),
        log.len()
    );
    assert!(rss < 128 * 1024, "{rss} KiB");
}

/// A worker that ignores TERM goes when its agent stops, when its definition goes, and when its call is cancelled.
#[tokio::test]
async fn a_worker_that_ignores_every_hint_is_killed() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let mark = world.directory().join("mark");
    let script = format!(
        r#"trap '' TERM HUP INT; {}echo '{{"ready":true}}'
        while :; do read -r line || continue; case "$line" in *'"call"'*)
        n=$(echo "$line" | sed 's/.*"call":\([0-9]*\).*/\1/'); echo "{{\"call\":$n,\"result\":1}}" ;; esac; done"#,
        MARK.replace("MARK", &mark.display().to_string())
    );
    let deaf = script.replace(
        "echo \"{\\\"call\\\"",
        "touch MARK.deaf; while :; do sleep 0.05; done; echo \"{\\\"call\\\"",
    );
    let deaf = deaf.replace("MARK", &mark.display().to_string());
    manifests.shell("worker.stubborn", "mode = \"worker\"", &script);
    world.agent(AGENT, &[&[manifests.setting().as_str()], &SHORT[..]].concat()).await;
    assert_eq!(told(&world, "worker.stubborn").await.result(), 1);
    // its definition goes
    fs::remove_file(manifests.path().join("worker.stubborn.toml")).unwrap();
    assert!(world.run_rpctl(&["agents", "reload", AGENT]).await.status.success());
    gone(&mark).await;
    // its call is cancelled
    manifests.shell("worker.deaf", "mode = \"worker\"", &deaf);
    assert!(world.run_rpctl(&["agents", "reload", AGENT]).await.status.success());
    let run = world.run_rpctl(&["run", "--detach", AGENT, "worker.deaf"]).await;
    let job = String::from_utf8(run.stdout).unwrap().trim().to_owned();
    let busy = world.directory().join("mark.deaf");
    eventually("it has its call", async || busy.exists().then_some(())).await;
    assert!(world.run_rpctl(&["jobs", "cancel", &job]).await.status.success());
    assert_eq!(world.operator.job_ended(&job).await.end.unwrap().outcome, "cancelled");
    gone(&mark).await;
    // its agent stops
    manifests.shell("worker.stubborn", "mode = \"worker\"", &script);
    assert!(world.run_rpctl(&["agents", "reload", AGENT]).await.status.success());
    assert_eq!(told(&world, "worker.stubborn").await.result(), 1);
    world.agent_process(AGENT).signal(Signal::TERM);
    assert!(world.agent_process(AGENT).ended().await.success());
    gone(&mark).await;
}
