//! Folders of manifests and policies that somebody has filled with everything that a disk can hold: the agent starts or refuses at
//! once, names what is wrong, and offers the rest.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use redpoll_common::api::AgentState;
use redpoll_tests::manifests::Manifests;
use redpoll_tests::process::command;
use redpoll_tests::told::Told;
use redpoll_tests::within;
use redpoll_tests::world::World;
use redpoll_tests::{PATIENCE, SOON};
use serde_json::{Value, json};

const AGENT: &str = "web-1";
const GOOD: &str = r#"echo '{"result":"good"}'"#;

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

async fn reload(world: &World) -> Value {
    let asked = json!({ "agent": AGENT });
    let answer = world.operator.ask("rp.agents.reload", &asked).await.unwrap();
    answer.decode().unwrap()
}

async fn told(world: &World, words: &[&str]) -> Told {
    Told::of(world, &[&[AGENT], words].concat()).await
}

/// Everything that can have the name of a manifest and is none, and how many there are.
fn horrors(manifests: &Manifests) -> usize {
    let at = |name: &str| manifests.path().join(name);
    fs::create_dir(at("folder.toml")).unwrap();
    pipe(&at("pipe.toml"));
    symlink("/nowhere/at/all.toml", at("dangling.toml")).unwrap();
    symlink(at("round.toml"), at("about.toml")).unwrap();
    symlink(at("about.toml"), at("round.toml")).unwrap();
    symlink("/dev/zero", at("endless.toml")).unwrap();
    symlink("/proc/self/mem", at("memory.toml")).unwrap();
    symlink(manifests.path(), at("itself.toml")).unwrap();
    let socket = UnixListener::bind(at("socket.toml")).unwrap();
    drop(socket);
    let deep = |text: &str| format!("x = {}", text.repeat(100_000));
    let keys: String = (0..20_000).map(|n| format!("k{n} = 1\n")).collect();
    for (name, text) in [
        ("empty", String::new()),
        ("lists", deep("[")),
        ("tables", deep("{a=")),
        ("dotted", format!("{}a = 1", "a.".repeat(100_000))),
        ("huge", "#".repeat(10_000_000)),
        ("keys", keys),
        ("nul", "name = \"a\0b\"\ncommand = [\"true\"]\n".to_owned()),
        ("script", "#!/bin/sh\nexit 0\n".to_owned()),
        (
            "pattern",
            format!(
                "name = \"p\"\ncommand = [\"true\"]\nargs.properties.x.pattern = \"{}\"\n",
                "(a*)*".repeat(200)
            ),
        ),
        ("command", "name = \"c\"\ncommand = [\"../../../../../../etc\"]\nfrobnicate = 1\n".to_owned()),
    ] {
        manifests.write(name, &text);
    }
    fs::write(at("binary.toml"), [0xff, 0xfe, 0]).unwrap();
    fs::set_permissions(at("binary.toml"), Permissions::from_mode(0o644)).unwrap();
    let odd = manifests.path().join(OsStr::from_bytes(b"\xff\x1b[2J\nERROR forged.toml"));
    fs::write(odd, "").unwrap();
    fs::read_dir(manifests.path()).unwrap().count()
}

#[tokio::test]
async fn a_folder_of_horrors_is_named_piece_by_piece_and_the_good_one_is_offered() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let count = horrors(&manifests);
    manifests.shell("good.one", "", GOOD);
    within(PATIENCE, "the agent starts", world.agent(AGENT, &[&manifests.setting()])).await;
    assert_eq!(told(&world, &["good.one"]).await.result(), "good");
    let answer = within(SOON * 3, "the answer of a reload", reload(&world)).await;
    let problems: Vec<&str> =
        answer["problems"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for entry in fs::read_dir(manifests.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_str().unwrap_or("forged").trim_end_matches(".toml").to_owned();
        let named = problems.iter().any(|problem| problem.contains(&name));
        assert_eq!(named, !["good.one", "pattern"].contains(&name.as_str()), "{name}: {problems:#?}");
    }
    assert!(problems.len() >= count, "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.contains(char::is_control)), "{problems:#?}");
    let log = world.agent_process(AGENT).log();
    assert!(
        !log.lines().any(|line| line.starts_with("ERROR")) && !log.contains('\u{1b}'),
        "nobody forges a line"
    );
    assert!(!log.contains("panicked"), "{log}");
    let shown = world.run_rpctl(&["agents", "reload", AGENT]).await;
    let text = String::from_utf8(shown.stdout).unwrap() + &String::from_utf8(shown.stderr).unwrap();
    assert!(text.contains("pipe.toml") && !text.contains('\u{1b}'), "{text}");
    let (rss, descriptors) = {
        let agent = world.agent_process(AGENT);
        (agent.resident_kib(), agent.descriptors())
    };
    assert!(rss < 128 * 1024 && descriptors < 100, "{rss} KiB, {descriptors} descriptors");

    // once anybody may put a manifest there, none of them counts
    fs::set_permissions(manifests.path(), Permissions::from_mode(0o777)).unwrap();
    let answer = reload(&world).await;
    assert!(answer["problems"].to_string().contains("chmod go-w"), "{answer}");
    assert_eq!(told(&world, &["good.one"]).await.said("code"), "unknown_procedure");
}

#[tokio::test]
async fn ten_thousand_manifests_are_too_many_and_a_thousand_are_offered_in_a_storm_of_reloads() {
    let mut world = World::quiet(&[]).await;
    let manifests = Manifests::new(world.directory());
    let one = |n: usize| format!("name = \"many.n{n}\"\ncommand = [\"/bin/sh\", \"-c\", '''{GOOD}''']\n");
    for n in 0..10_000 {
        manifests.write(&format!("n{n}"), &one(n));
    }
    world.agent(AGENT, &[&manifests.setting()]).await;
    let said = world.agent_process(AGENT).logged(&["ERROR", "more than 1000 manifests"]).await;
    assert!(said.contains("procedures.d"), "{said}");
    assert!(told(&world, &["sys.ping"]).await.end.is_ok(), "what is built in is there");
    assert_eq!(told(&world, &["many.n1"]).await.said("code"), "unknown_procedure");

    for n in 1000..10_000 {
        fs::remove_file(manifests.path().join(format!("n{n}.toml"))).unwrap();
    }
    let answer = reload(&world).await;
    assert_eq!((&answer["added"], &answer["problems"]), (&json!(1000), &json!([])));
    // everybody reloads at once, while others call
    let storm = (0..40).map(|_| reload(&world));
    let calls = async {
        for n in [0, 500, 999] {
            assert_eq!(told(&world, &[&format!("many.n{n}")]).await.result(), "good");
            world.operator.echo(AGENT, "still here").await.unwrap();
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(storm), calls);
    assert!(
        answers.iter().all(|answer| answer["problems"] == json!([]) && answer["changed"] == 0),
        "{answers:?}"
    );
    for _ in 0..50 {
        world.agent_process(AGENT).signal(rustix::process::Signal::HUP);
    }
    assert_eq!(told(&world, &["many.n7"]).await.result(), "good");
    let troubles = world.agent_process(AGENT).troubles();
    assert!(troubles.iter().all(|line| line.contains("more than 1000 manifests")), "{troubles:?}");
}

#[tokio::test]
async fn a_policy_that_is_no_file_refuses_the_start_at_once() {
    let mut world = World::quiet(&[]).await;
    world.agent(AGENT, &[]).await;
    drop(world.take_agent(AGENT));
    world.operator.until(AGENT, AgentState::Away).await;
    let policy = world.directory().join("policy.toml");
    let write = |bytes: &[u8]| {
        fs::write(&policy, bytes).unwrap();
        fs::set_permissions(&policy, Permissions::from_mode(0o600)).unwrap();
    };
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), Permissions::from_mode(0o777)).unwrap();
    let shared = outside.path().join("policy.toml");
    let rules = "[[rule]]\nname = \"all\"\nallow = [\"*\"]\n";
    fs::write(&shared, rules).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o600)).unwrap();
    let nested = "a.".repeat(50_000) + "a = 1";
    for what in ["pipe", "folder", "round", "device", "foreign", "huge", "binary", "nul", "nested", "lists"] {
        let _old = fs::remove_file(&policy).or_else(|_| fs::remove_dir(&policy));
        match what {
            "pipe" => pipe(&policy),
            "folder" => fs::create_dir(&policy).unwrap(),
            "round" => symlink(&policy, &policy).unwrap(),
            "device" => symlink("/dev/zero", &policy).unwrap(),
            "foreign" => symlink(&shared, &policy).unwrap(),
            "huge" => write(rules.repeat(100_000).as_bytes()),
            "binary" => write(b"\xff\xfe"),
            "nul" => write(b"switches = \"nobody\0\""),
            "nested" => write(nested.as_bytes()),
            _ => write(format!("x = {}", "[".repeat(100_000)).as_bytes()),
        }
        let mut agent = command("redpoll-agent");
        agent.arg("--config").arg(world.directory().join(format!("agent-{AGENT}.toml")));
        let ended = within(SOON, "the refusal", agent.output()).await.unwrap();
        let (code, said) = (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned());
        assert!([Some(64), Some(77)].contains(&code), "{what}: {code:?} {said}");
        assert!(!said.contains("panicked") && said.contains("policy.toml"), "{what}: {said}");
    }
}
