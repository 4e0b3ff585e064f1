//! Answers after their time.
#![expect(clippy::wildcard_enum_match_arm, reason = "test code")]

use std::time::Duration;

use redpoll_common::wire::{FaultCode, Message, Notification, Raw};
use redpoll_net::CallError;
use redpoll_tests::line::Heard;
use redpoll_tests::operator::Operator;
use redpoll_tests::world::World;
use serde_json::{Value, json};

#[tokio::test]
async fn an_answer_after_its_timeout_is_dropped_and_counted() {
    let mut world = World::start(&[]).await;
    let mut line = world.line("slow-1").await;
    let call = |timeout| {
        let call =
            Operator::call_of("slow-1", "think", &json!([]), &json!({}), Duration::from_millis(timeout));
        world.operator.peer().call(call)
    };
    let (answer, request) = tokio::join!(call(200), line.requested());
    let fault = answer.map_err(CallError::into_fault).unwrap_err();
    assert_eq!(fault.code, FaultCode::TimedOut, "{fault}");
    // the time that is left went with the request, and its end is told
    assert!((1..=200).contains(&request.timeout_ms.unwrap()), "{request:?}");
    match line.hear().await {
        Heard::Message(Message::Notification(Notification { kind, data })) => {
            assert_eq!(kind, "rp.cancel");
            assert_eq!(data.decode::<Value>().unwrap(), json!({"id": request.id.as_str()}));
        }
        other => panic!("{other:?}"),
    }
    // the caller's clock ran out a moment before the manager's: only now nobody waits any more
    world.operator.counted("calls_timed_out", 1).await;
    assert_eq!(world.operator.counter("answers_late").await, 0);
    line.answer(&request, Raw::text("at last")).await;
    world.operator.counted("answers_late", 1).await;
    // a second answer to the same is as late; a value for it too
    line.answer(&request, Raw::text("once more")).await;
    let late = world.operator.counter("flights_late").await;
    let value = json!({"id": request.id.as_str(), "n": 0, "data": 1});
    let value = Notification { kind: "rp.value".to_owned(), data: Raw::encode(&value).unwrap() };
    line.say(&Message::Notification(value)).await;
    world.operator.counted("answers_late", 2).await;
    world.operator.counted("flights_late", late + 1).await;

    // the session goes on
    let answering = async {
        let request = line.requested().await;
        line.answer(&request, Raw::text("in time")).await;
    };
    let (answer, ()) = tokio::join!(call(10_000), answering);
    assert_eq!(answer.unwrap().as_text(), Some("in time"));
    assert_eq!(world.operator.counter("calls_timed_out").await, 1);
    world.nobody_else_noticed().await;
}
