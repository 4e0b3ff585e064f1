//! What nobody may see of runs of jobs, also when the agent dies and its procedures change meanwhile.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;
mod procedures_support;

use std::sync::Arc;

use jobs_support::{Mood, World, offer, run};
use procedures_support::{json_shell, setting};
use redpoll_agent::procedures::make;
use redpoll_agent::spool::{OpenOptions, Spool};
use redpoll_common::job::spool::{Record, Stamp};
use redpoll_common::job::{Outcome, wire::Offer};
use redpoll_config::Manifest;
use serde_json::{Value, json};

/// Gives its call as a value and as its result.
const CARELESS: &str = r#"read -r call; echo "{\"value\":$call}"; echo "{\"result\":$call}""#;

fn world(manifest: Manifest) -> World {
    let mut world = World::new();
    offers(&mut world, manifest);
    world
}

/// From the next life on the agent offers this.
fn offers(world: &mut World, manifest: Manifest) {
    world.procedures = vec![make(manifest, &Arc::new(setting().0), None).unwrap()];
}

fn hiding(paths: &[&str], script: &str) -> Manifest {
    Manifest { redact: paths.iter().map(|&path| path.to_owned()).collect(), ..json_shell(script) }
}

/// A spool as an agent leaves it that dies.
async fn spooled(world: &World, records: Vec<Record>) {
    let opened = Spool::open(&world.spool(), OpenOptions::default(), |_failed| {}).unwrap();
    opened.spool.append(records).await.unwrap().wait().await.unwrap();
    opened.spool.close().await;
}

fn received(offer: Offer, redact: Option<&[&str]>) -> Record {
    let at = Stamp { boot: [0; 16], boot_ms: 0, wall_ms: redpoll_net::clock::wall_ms() };
    let redact = redact.map(|paths| paths.iter().map(|&path| path.to_owned()).collect());
    Record::Received { offer: Box::new(offer), at, redact }
}

#[tokio::test]
async fn the_end_of_a_run_names_the_secrets_among_its_arguments_and_of_others_nothing() {
    let script = r#"read -r call; echo "{\"result\":$call}""#;
    let world = world(Manifest { redact: vec!["pin".into(), "kwargs.pin".into()], ..json_shell(script) });
    let agent = world.agent().await;
    let link = world.connect(&agent);
    link.offer(&offer(1, "p", json!([]), json!({"pin": "hunter2", "n": 1}))).await.unwrap();
    link.offer(&offer(2, "p@1", json!([]), json!({"n": 1}))).await.unwrap();
    let env = json!({"argv": ["true"], "env": {"PIN": "hunter2"}});
    link.offer(&offer(3, "exec.run", json!([]), env)).await.unwrap();
    link.offer(&offer(4, "exec.run", json!(["true"]), json!({}))).await.unwrap();
    let result: Value = world.manager.ending(1).await.result.unwrap().decode().unwrap();
    assert_eq!(result["kwargs"], json!({"pin": "***", "n": 1}), "what it gives is masked by the same paths");
    for (dno, redact) in [
        (1, &["kwargs.pin", "kwargs.kwargs.pin"][..]),
        (2, &[]),
        (3, &["kwargs.env.*", "kwargs.stdin"]),
        (4, &[]),
    ] {
        world.manager.ending(dno).await;
        assert_eq!(world.manager.seen(dno).redact, redact, "{dno}");
    }
}

#[tokio::test]
async fn the_next_life_of_the_agent_hides_what_was_secret_then_and_what_is_secret_now() {
    let sleeps = "read -r call; exec sleep 300";
    let arguments = json!({"pin": "hunter2", "door": 7});
    for (now, redact) in [
        (Some(&["pin"][..]), &["kwargs.pin"][..]),
        (Some(&[]), &["kwargs.pin"]),
        (Some(&["door"]), &["kwargs.pin", "kwargs.door"]),
        (Some(&["nothing.there"]), &["kwargs.pin"]),
        // the procedure is gone
        (None, &["kwargs.pin"]),
    ] {
        let mut world = world(hiding(&["pin"], sleeps));
        let agent = world.agent().await;
        let link = world.connect(&agent);
        link.offer(&offer(1, "p", json!([]), arguments.clone())).await.unwrap();
        link.offer(&offer(2, "exec.run", json!(["sleep", "300"]), json!({}))).await.unwrap();
        agent.die().await;
        match now {
            Some(paths) => offers(&mut world, hiding(paths, sleeps)),
            None => world.procedures.clear(),
        }
        let agent = world.agent().await;
        let _link = world.connect(&agent);
        assert_eq!(world.manager.ending(1).await.outcome, Outcome::Unknown);
        assert_eq!(world.manager.seen(1).redact, redact, "{now:?}");
        world.manager.ending(2).await;
        assert!(world.manager.seen(2).redact.is_empty());
    }
}

#[tokio::test]
async fn an_end_that_was_recorded_and_not_told_is_told_with_what_was_secret_when_it_was_accepted() {
    let mut world = world(hiding(&["pin", "kwargs.pin"], CARELESS));
    world.manager.ledger().mood = Mood::Forgetful;
    let mut agent = world.agent().await;
    let link = world.connect(&agent);
    link.offer(&offer(1, "p", json!([]), json!({"pin": "hunter2"}))).await.unwrap();
    world.manager.ending(1).await;
    for paths in [&["door"][..], &[]] {
        agent.die().await;
        world.manager.ledger().runs.clear();
        // the record of the end says it too: that of the offer may be gone
        let opened = Spool::open(&world.spool(), OpenOptions::default(), |_failed| {}).unwrap();
        let kept = opened.image.rows()[&redpoll_common::job::Dno(1)].secret.clone();
        assert_eq!(kept.unwrap(), ["kwargs.pin", "kwargs.kwargs.pin"]);
        opened.spool.close().await;
        offers(&mut world, hiding(paths, CARELESS));
        agent = world.agent().await;
        let _link = world.connect(&agent);
        world.manager.ending(1).await;
        let seen = world.manager.seen(1);
        assert_eq!(seen.redact, ["kwargs.pin", "kwargs.kwargs.pin"], "now: {paths:?}");
        let shown: Value = seen.items[0].data.decode().unwrap();
        assert_eq!(shown["kwargs"], json!({"pin": "***"}));
    }
}

#[tokio::test]
async fn of_a_run_of_an_older_spool_the_present_procedure_decides_and_nothing_is_shown_without_one() {
    for (offered, redact) in [(true, &["kwargs.door"][..]), (false, &["args.*", "kwargs.*"])] {
        let mut world = world(hiding(&["door"], CARELESS));
        let older = received(offer(1, "p", json!([]), json!({"pin": "hunter2", "door": 7})), None);
        spooled(&world, vec![older, Record::Starting { run: run(1), redact: None }]).await;
        if !offered {
            world.procedures.clear();
        }
        let agent = world.agent().await;
        let _link = world.connect(&agent);
        world.manager.ending(1).await;
        assert_eq!(world.manager.seen(1).redact, redact, "offered: {offered}");
    }
}

#[tokio::test]
async fn what_starts_in_the_next_life_gives_nothing_that_was_secret_when_it_was_accepted() {
    let world = world(hiding(&["kwargs.door"], CARELESS));
    let accepted = offer(1, "p", json!([]), json!({"pin": "hunter2", "door": 7}));
    spooled(&world, vec![received(accepted, Some(&["kwargs.kwargs.pin", "kwargs.pin"]))]).await;
    let agent = world.agent().await;
    let _link = world.connect(&agent);
    let ending = world.manager.ending(1).await;
    let result: Value = ending.result.unwrap().decode().unwrap();
    let value: Value = world.manager.seen(1).items[0].data.decode().unwrap();
    for shown in [result, value] {
        assert_eq!(
            shown["kwargs"],
            json!({"pin": "***", "door": "***"}),
            "by what it said then, and by what it says now"
        );
    }
    assert_eq!(world.manager.seen(1).redact, ["kwargs.kwargs.pin", "kwargs.pin"]);
}
