//! The same agent twice: the newest connection wins, the older is told, and its late end changes nothing.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test code")]

use redpoll_common::api::AgentState;
use redpoll_common::wire::{ByeCode, FaultCode, Message, Raw};
use redpoll_tests::line::{Heard, Line};
use redpoll_tests::world::World;
use redpoll_tests::{SOON, in_time};
use serde_json::json;

/// Calls the agent and answers on `line`, which must be where the call goes.
async fn called_here(world: &World, line: &mut Line) {
    let calling = async { world.operator.call("twin-1", "who", &json!({})).await };
    let answering = async {
        let request = line.requested().await;
        assert_eq!(request.method, "who");
        line.answer(&request, Raw::text("newest")).await;
    };
    let (answer, ()) = in_time("a call to the newest", async { tokio::join!(calling, answering) }).await;
    assert_eq!(answer.unwrap().as_text(), Some("newest"));
}

#[tokio::test]
async fn the_newest_connection_of_an_agent_wins_and_the_late_end_of_the_older_changes_nothing() {
    let mut world = World::start(&[]).await;
    let own = world.certificate("twin-1");
    let mut first = world.line("twin-1").await;
    called_here(&world, &mut first).await;
    // a call that the older connection does not answer any more
    let call = async { world.operator.call("twin-1", "never", &json!({})).await };
    let take_over = Box::pin(async {
        first.requested().await;
        Line::agent(world.address, &own, "twin-1").await
    });
    let (lost, mut second) = in_time("the older's call", async { tokio::join!(call, take_over) }).await;
    assert_eq!(lost.unwrap_err().code, FaultCode::AgentGone);
    match first.hear_within(SOON).await {
        Heard::Message(Message::Bye(bye)) => assert_eq!(bye.code, Some(ByeCode::Replaced), "{bye}"),
        other => panic!("{other:?}"),
    }
    called_here(&world, &mut second).await;
    // the older does not close: the manager's patience ends it, long after the newer began
    world.manager.logged(&["session ends", "twin-1", "replaced"]).await;
    called_here(&world, &mut second).await;
    let agent = world.operator.agent("twin-1").await.unwrap();
    assert_eq!(agent.state, AgentState::Connected);
    // whatever the older still says is not heard
    first.say(&Message::Bye(redpoll_common::wire::Bye::new(ByeCode::Idle, "late"))).await;
    drop(first);
    called_here(&world, &mut second).await;
    world.operator.counted("sessions_replaced", 1).await;
    assert_eq!(world.operator.counter("sessions_closed").await, 1);
    // and the end of the newest is an end
    drop(second);
    world.operator.until("twin-1", AgentState::Away).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_real_agent_that_is_replaced_comes_back_and_replaces_in_turn() {
    let mut world = World::start(&[]).await;
    world.agent("twin-1", &[]).await;
    let own = world.certificate("twin-1");
    let mut thief = Line::agent(world.address, &own, "twin-1").await;
    world.agent_process("twin-1").logged(&["disconnected", "replaced"]).await;
    assert_eq!(thief.farewell(SOON).await.code, Some(ByeCode::Replaced));
    world.operator.until("twin-1", AgentState::Connected).await;
    world.operator.echo("twin-1", "it is me").await.unwrap();
    world.nobody_else_noticed().await;
}
