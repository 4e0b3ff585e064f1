//! Operators who shut themselves out, with real processes: they hear the answer, and are out soon after it.
#![expect(clippy::wildcard_enum_match_arm, reason = "test code")]

use redpoll_common::api::method;
use redpoll_common::api::revoked::{RevokeAnswer, RevokedList};
use redpoll_common::wire::Message;
use redpoll_tests::line::Heard;
use redpoll_tests::operator::Operator;
use redpoll_tests::world::World;
use redpoll_tests::{SOON, in_time};
use serde_json::json;

#[tokio::test]
async fn who_revokes_themselves_is_out_soon_after_the_answer_whatever_else_they_have_under_way() {
    let mut world = World::start(&[]).await;
    let mut line = world.line("web-1").await;
    let bob = world.operator("bob").await;
    let call = Operator::call_of("web-1", "never", &json!([]), &json!({}), SOON * 20);
    let mut call = bob.peer().start(call).await.unwrap();
    let request = line.requested().await;
    let answer = bob.ask(method::OPERATORS_REVOKE, &json!({"id": "bob"})).await.unwrap();
    let answer: RevokeAnswer = answer.decode().unwrap();
    assert_eq!((answer.changed, answer.cut, answer.ending), (true, 1, 0));
    in_time("his session's end", bob.peer().closed()).await;
    assert!(Operator::end_of(&mut call).await.is_err());
    loop {
        match line.hear().await {
            Heard::Message(Message::Notification(notification)) if notification.kind == "rp.cancel" => break,
            Heard::Message(_) => {}
            other => panic!("{other:?}, and {} is not cancelled", request.id),
        }
    }
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn two_sessions_that_revoke_themselves_at_once_do_not_wait_for_each_other() {
    let mut world = World::start(&[]).await;
    for round in 0..8 {
        let (one, two) = (world.operator("bob").await, world.operator("bob").await);
        let kwargs = json!({"id": "bob"});
        let asking = async {
            tokio::join!(
                one.ask(method::OPERATORS_REVOKE, &kwargs),
                two.ask(method::OPERATORS_REVOKE, &kwargs)
            )
        };
        let (first, second) = in_time("the answers", asking).await;
        // whose question comes late is shut out before it asks
        let answers: Vec<RevokeAnswer> =
            [first, second].into_iter().flatten().map(|answer| answer.decode().unwrap()).collect();
        assert!(!answers.is_empty(), "round {round}");
        assert!(answers.iter().all(|answer| answer.ending == 0), "round {round}: {answers:?}");
        in_time("their ends", async { tokio::join!(one.peer().closed(), two.peer().closed()) }).await;
        world.operator.ask(method::OPERATORS_RESTORE, &kwargs).await.unwrap();
    }
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn rpctl_shuts_whoever_asks_out_last_and_does_not_say_that_it_is_for_ever() {
    let world = World::start(&[]).await;
    let unsure = world.run_rpctl(&["operators", "revoke", "ada", "bob"]).await;
    let told = String::from_utf8_lossy(&unsure.stderr).into_owned();
    assert!(unsure.status.code() == Some(2) && !told.contains("undone") && told.contains("--yes"), "{told}");
    let eve = world.operator("eve").await;
    let both = world.run_rpctl(&["operators", "revoke", "ada", "bob", "--yes"]).await;
    assert!(both.status.success(), "{both:?}");
    let listed: RevokedList = eve.ask(method::OPERATORS_REVOKED, &json!({})).await.unwrap().decode().unwrap();
    let ids: Vec<&str> = listed.revoked.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["ada", "bob"]);
}
