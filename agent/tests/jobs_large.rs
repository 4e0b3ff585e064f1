//! Runs that give more than a record or a frame holds: they end, are told, and are in nobody's way.

mod jobs_support;

use jobs_support::{Mood, World, ended, offer, terms};
use redpoll_common::job::{Item, ItemKind, Outcome};
use redpoll_common::wire::FaultCode;
use serde_json::{Value, json};

fn kinds(items: &[Item]) -> Vec<ItemKind> {
    items.iter().map(|item| item.kind).collect()
}

#[tokio::test]
async fn lists_of_many_small_values_are_told_also_by_the_next_life() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect(&agent);
    world.manager.ledger().mood = Mood::Forgetful;
    link.offer(&offer(1, "test.large", json!([3, 0, 22_000]), json!({}))).await.unwrap();
    let first = world.manager.ending(1).await;
    assert_eq!(ended(&first), (Outcome::Succeeded, Some(true), None));
    link.cut().await;
    agent.die().await;
    world.manager.ledger().runs.clear();
    world.manager.ledger().mood = Mood::Good;
    let agent = world.agent().await;
    let _link = world.connect(&agent);
    assert_eq!(world.manager.ending(1).await, first);
    let items = world.manager.seen(1).items;
    assert_eq!(kinds(&items), [ItemKind::Value; 3]);
    assert!(items.iter().all(|item| Some(&item.data) == first.result.as_ref()));
}

#[tokio::test]
async fn what_is_too_large_for_the_manager_ends_its_run_and_holds_up_no_other() {
    let world = World::new();
    let agent = world.agent().await;
    let link = world.connect_with(&agent, terms(64 * 1024));
    link.offer(&offer(1, "test.large", json!([1, 100_000, 0]), json!({}))).await.unwrap();
    let ending = world.manager.ending(1).await;
    assert_eq!(ended(&ending), (Outcome::Failed, Some(true), Some(FaultCode::TooLarge)));
    assert!(ending.fault.unwrap().message.contains("session.frame_limit"));
    let items = world.manager.seen(1).items;
    assert_eq!(kinds(&items), [ItemKind::Truncated]);
    let mark: Value = items[0].data.decode().unwrap();
    assert_eq!(mark, json!({"stream": "value", "bytes": 100_007}));
    link.offer(&offer(2, "sys.echo", json!(["small"]), json!({}))).await.unwrap();
    assert_eq!(ended(&world.manager.ending(2).await), (Outcome::Succeeded, Some(true), None));
}
