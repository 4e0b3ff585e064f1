//! The policy that holds when a run starts decides, whatever it was when the run was accepted.

#![expect(clippy::unwrap_used, reason = "test code")]

mod jobs_support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jobs_support::gate_support::{gate, rule};
use jobs_support::{World, code, ended, eventually, offer, run, shell};
use redpoll_agent::gate::Gate;
use redpoll_agent::spool::{OpenOptions, Spool};
use redpoll_common::api::trial::{PolicyTest, PolicyTestAnswer};
use redpoll_common::job::Outcome;
use redpoll_common::job::spool::{Record, Stamp};
use redpoll_common::job::wire::{Offer, OfferAnswer};
use redpoll_common::wire::{FaultCode, Raw};
use redpoll_config::PolicyConfig;
use redpoll_schema::policy::{Effect, Rate, Rule, Whose};
use serde_json::json;

/// A policy that lets programs run, as whom the agent runs, and one that does not.
const OPEN: &str = "[[rule]]\nname = \"open\"\nallow = [\"exec.run\"]\n";
const SHUT: &str = "[[rule]]\nname = \"shut\"\ndeny = [\"exec.run\"]\n";

fn policy(world: &World, text: &str) -> PathBuf {
    let file = world.folder.path().join("policy.toml");
    fs::write(&file, text).unwrap();
    file
}

fn sync_unless(held: &AtomicBool, file: &File) -> std::io::Result<()> {
    while held.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    file.sync_data()
}

fn touch(dno: u64, oracle: &Path) -> Offer {
    shell(dno, &format!("touch {}", oracle.display()))
}

#[tokio::test]
async fn a_policy_that_changes_between_accept_and_start_keeps_a_run_from_starting() {
    static HELD: AtomicBool = AtomicBool::new(false);
    let sync = |file: &File| sync_unless(&HELD, file);
    let mut world = World::new();
    let file = policy(&world, OPEN);
    world.gate = Arc::new(
        Gate::open(&PolicyConfig { file: file.clone(), ..PolicyConfig::default() }, Whose::Agent).unwrap(),
    );
    let agent = world.agent_with(OpenOptions { sync, ..OpenOptions::default() }).await;
    let link = world.connect(&agent);
    eventually("the session begins", || world.manager.ledger().asked == 1).await;
    let oracle = world.folder.path().join("oracle");

    for (dno, changed) in [(1, false), (2, true)] {
        HELD.store(true, Ordering::SeqCst);
        let run = touch(dno, &oracle);
        let meanwhile = async {
            // requests are taken in order: when this is answered the offer has been judged, and nothing of it is on disk
            link.ask("sys.ping", Raw::empty_map()).await.unwrap();
            assert_eq!(agent.jobs.max_dno().0, dno - 1);
            if changed {
                policy(&world, SHUT);
                world.gate.reload().unwrap();
            }
            HELD.store(false, Ordering::SeqCst);
        };
        let (accepted, ()) = tokio::join!(link.offer(&run), meanwhile);
        assert_eq!(accepted, Ok(OfferAnswer::Accepted));
        let ending = world.manager.ending(dno).await;
        if changed {
            assert_eq!(ended(&ending), (Outcome::Rejected, Some(false), Some(FaultCode::Rejected)));
            assert!(ending.fault.unwrap().message.contains("\"shut\""));
            assert!(!oracle.exists(), "it ran");
        } else {
            assert_eq!((ending.outcome, code(&ending)), (Outcome::Succeeded, None));
            fs::remove_file(&oracle).unwrap();
        }
    }
}

#[tokio::test]
async fn an_agent_says_beforehand_what_becomes_of_an_offer_and_that_it_takes_none_once_it_stops() {
    let mut world = World::new();
    world.gate = gate(vec![rule("open", Effect::Allow, "exec.run")]);
    let agent = world.agent().await;
    let link = world.connect(&agent);
    let oracle = world.folder.path().join("oracle");
    let Offer { procedure, args, kwargs, operator, roles, .. } = touch(1, &oracle);
    let test = PolicyTest { procedure, args, kwargs, operator: Some(operator), roles }.write();
    let said = async || -> PolicyTestAnswer {
        link.ask("rp.policy.test", test.clone()).await.unwrap().decode().unwrap()
    };
    let before = said().await;
    assert_eq!((before.allowed, before.rule.as_deref()), (true, Some("open")), "{before:?}");
    agent.service.start_draining();
    let after = said().await;
    assert_eq!((after.allowed, after.code.as_deref()), (false, Some("shutting_down")), "{after:?}");
    assert_eq!((oracle.exists(), agent.jobs.max_dno().0), (false, 0), "nothing ran, and no number is used");
}

/// As it is on disk when the agent died after it had accepted, and before it started.
async fn accepted_earlier(world: &World, offer: Offer) {
    let opened = Spool::open(&world.spool(), OpenOptions::default(), |_failed| {}).unwrap();
    let received = Record::Received {
        offer: Box::new(offer),
        at: Stamp { boot: [0; 16], boot_ms: 0, wall_ms: redpoll_net::clock::wall_ms() },
        redact: None,
    };
    opened.spool.append(vec![received]).await.unwrap().wait().await.unwrap();
    opened.spool.close().await;
}

#[tokio::test]
async fn what_an_earlier_life_accepted_is_judged_by_the_policy_of_this_one() {
    for (shut, expected) in [(false, Outcome::Succeeded), (true, Outcome::Rejected)] {
        let mut world = World::new();
        let oracle = world.folder.path().join("oracle");
        accepted_earlier(&world, touch(1, &oracle)).await;
        if shut {
            world.gate = gate(vec![rule("shut", Effect::Deny, "exec.run")]);
        }
        let agent = world.agent().await;
        let _link = world.connect(&agent);
        let ending = world.manager.ending(1).await;
        assert_eq!((ending.outcome, ending.started), (expected, Some(!shut)), "{ending:?}");
        assert_eq!(oracle.exists(), !shut);
        if shut {
            assert!(ending.fault.unwrap().message.contains("\"shut\""));
        }
    }
}

#[tokio::test]
async fn roles_decide_when_a_run_is_offered_and_again_when_a_later_life_starts_it() {
    let roles = |roles: &[&str]| Some(roles.iter().map(|&role| role.to_owned()).collect::<Vec<_>>());
    let allow = || Rule { roles: roles(&["deploy"]), ..rule("deployers", Effect::Allow, "exec.run") };
    let deny = || Rule { roles: roles(&["contractor"]), ..rule("contractors", Effect::Deny, "exec.run") };
    for (has, runs) in [
        (roles(&["deploy", "staff"]), true),
        (roles(&["staff"]), false),
        (roles(&[]), false),
        (roles(&["deploy", "contractor"]), false),
        (None, false),
    ] {
        for is_earlier in [false, true] {
            let mut world = World::new();
            world.gate = gate(vec![deny(), allow()]);
            let oracle = world.folder.path().join("oracle");
            let offer = Offer { roles: has.clone(), ..touch(1, &oracle) };
            if is_earlier {
                accepted_earlier(&world, offer.clone()).await;
            }
            let agent = world.agent().await;
            let link = world.connect(&agent);
            if is_earlier {
                let ending = world.manager.ending(1).await;
                assert_eq!(ending.outcome == Outcome::Succeeded, runs, "{has:?} {ending:?}");
                assert_eq!(ending.outcome == Outcome::Rejected, !runs, "{has:?} {ending:?}");
            } else {
                eventually("the session begins", || world.manager.ledger().asked == 1).await;
                match link.offer(&offer).await {
                    Ok(answer) => {
                        assert!(answer == OfferAnswer::Accepted && runs, "{has:?} {answer:?}");
                        assert_eq!(world.manager.ending(1).await.outcome, Outcome::Succeeded);
                    }
                    Err(fault) => assert!(fault.code == FaultCode::Rejected && !runs, "{has:?} {fault}"),
                }
            }
            assert_eq!(oracle.exists(), runs, "{has:?} {is_earlier}");
        }
    }
}

#[tokio::test]
async fn what_is_put_off_or_cannot_begin_takes_nothing_of_a_rate() {
    let mut world = World::new();
    let rate = Rate { count: 1, per: Duration::from_secs(3600) };
    let rare = Rule { rate: Some(rate), ..rule("rare", Effect::Allow, "exec.run") };
    world.gate = gate(vec![rule("open", Effect::Allow, "test.*"), rare]);
    world.options.runs = 1;
    let agent = world.agent().await;
    let link = world.connect(&agent);
    eventually("the session begins", || world.manager.ledger().asked == 1).await;
    let oracle = world.folder.path().join("oracle");

    // another run has the only place
    let other = offer(1, "test.wait", json!([]), json!({}));
    assert_eq!(link.offer(&other).await, Ok(OfferAnswer::Accepted));
    for _ in 0..3 {
        let answer = link.offer(&touch(2, &oracle)).await;
        assert_eq!(answer.map_err(|fault| fault.code), Err(FaultCode::Overloaded));
    }
    link.cancel(run(1), None).await;
    world.manager.ending(1).await;
    eventually("there is room", || agent.jobs.status().untold == 0).await;
    // accepted, and there is no such program
    let missing = offer(2, "exec.run", json!(["/no/such/program"]), json!({}));
    assert_eq!(link.offer(&missing).await, Ok(OfferAnswer::Accepted));
    assert_eq!(world.manager.ending(2).await.started, Some(false));
    eventually("there is room", || agent.jobs.status().untold == 0).await;

    assert_eq!(link.offer(&touch(3, &oracle)).await, Ok(OfferAnswer::Accepted));
    assert_eq!(world.manager.ending(3).await.outcome, Outcome::Succeeded);
    assert!(matches!(link.offer(&touch(3, &oracle)).await, Ok(OfferAnswer::Known(_))), "and that neither");
    // what ran has used it
    let answer = link.offer(&touch(4, &oracle)).await;
    assert_eq!(answer.map_err(|fault| fault.code), Err(FaultCode::Rejected));
}
