//! Calls, whole: values and progress before the one answer, and every way in which there is no result.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test code")]

use std::time::{Duration, Instant};

use redpoll_common::api::AgentState;
use redpoll_common::wire::{FaultCode, Limits, Message, Notification, Raw};
use redpoll_net::{CallError, CallEvent};
use redpoll_tests::line::{Heard, Line};
use redpoll_tests::operator::Operator;
use redpoll_tests::process::Sleeper;
use redpoll_tests::world::{HONEST, World};
use redpoll_tests::{PATIENCE, SOON, in_time};
use serde_json::{Value, json};
use tokio::task::JoinSet;

fn flight(kind: &str, data: &Value) -> Message {
    Message::Notification(Notification { kind: kind.to_owned(), data: Raw::encode(data).unwrap() })
}

#[tokio::test]
async fn values_and_progress_come_in_order_before_the_one_answer() {
    let mut world = World::start(&[]).await;
    let mut line = world.line("busy-1").await;
    let call = Operator::call_of("busy-1", "count", &json!([1, "two"]), &json!({"k": [null]}), PATIENCE);
    let starting = world.operator.peer().start(call);
    let serving = async {
        let request = line.requested().await;
        assert_eq!(request.method, "count");
        assert_eq!(request.args.decode::<Value>().unwrap(), json!([1, "two"]));
        assert_eq!(request.kwargs.decode::<Value>().unwrap(), json!({"k": [null]}));
        let id = request.id.as_str();
        for n in 0..100 {
            line.say(&flight("rp.value", &json!({"id": id, "n": n, "data": {"number": n}}))).await;
        }
        let progress = json!({"id": id, "completed": 100, "total": 200, "details": "half"});
        line.say(&flight("rp.progress", &progress)).await;
        line.say(&flight("rp.value", &json!({"id": id, "n": 100, "data": "last"}))).await;
        line.answer(&request, Raw::text("done")).await;
    };
    let (stream, ()) = in_time("a call with values", async { tokio::join!(starting, serving) }).await;
    let mut stream = stream.unwrap();
    let (mut values, mut progress, mut end) = (Vec::new(), Vec::new(), None);
    while let Some(event) = in_time("the next event", stream.next()).await {
        assert!(end.is_none(), "{event:?} after the answer");
        match event {
            CallEvent::Value(value) => values.push(value.decode::<Value>().unwrap()),
            CallEvent::Progress(step) => {
                progress.push((step.completed, step.total, step.details.decode().unwrap()))
            }
            CallEvent::End(result) => end = Some(result.unwrap()),
        }
    }
    let expected: Vec<Value> = (0..100).map(|n| json!({"number": n})).chain([json!("last")]).collect();
    assert_eq!(values, expected);
    assert_eq!(progress, [(100, Some(200), json!("half"))]);
    assert_eq!(end.unwrap().as_text(), Some("done"));
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn output_of_programs_is_binary_safe_and_its_streams_are_told_apart() {
    let mut world = World::start(&[]).await;
    let script = r"printf 'a\000\377b'; printf 'oops' >&2; exit 3";
    let mut call = world.operator.exec(HONEST, &["sh", "-c", script]).await;
    let mut seen = Vec::new();
    let end = loop {
        match in_time("the next event", call.next()).await.unwrap() {
            CallEvent::Value(value) => seen.push(value.to_bytes()),
            CallEvent::Progress(_) => {}
            CallEvent::End(end) => break end,
        }
    };
    let with = |stream: &[u8], data: &[u8]| {
        let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        seen.iter().any(|value| holds(value, stream) && holds(value, data))
    };
    assert!(with(b"stdout", b"a\0\xffb") && with(b"stderr", b"oops"), "{seen:?}");
    let Err(CallError::Fault(fault)) = end else { panic!("{end:?}") };
    assert_eq!((fault.code, fault.class.as_deref()), (FaultCode::Failed, Some("ExitStatus")));
    assert!(fault.trace.is_some_and(|trace| trace.contains("oops")));
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn a_timeout_or_a_cancel_ends_what_runs_and_the_answer_says_which() {
    let mut world = World::start(&[]).await;
    let (sleeper, argv) = Sleeper::new(world.directory(), "timed");
    let call = Operator::call_of(HONEST, "exec.run", &json!(argv), &json!({}), Duration::from_millis(700));
    let began = Instant::now();
    let fault = world.operator.peer().call(call).await.map_err(CallError::into_fault).unwrap_err();
    assert_eq!(fault.code, FaultCode::TimedOut, "{fault}");
    assert!(began.elapsed() >= Duration::from_millis(650), "{:?}", began.elapsed());
    sleeper.ended().await;

    let (sleeper, argv) = Sleeper::new(world.directory(), "cancelled");
    let mut call = world.operator.exec(HONEST, &argv).await;
    sleeper.running().await;
    call.cancel();
    let fault = Operator::end_of(&mut call).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Cancelled, "{fault}");
    sleeper.ended().await;
    world.operator.counted("calls_cancelled", 1).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn when_the_callers_connection_dies_what_it_started_is_ended() {
    let mut world = World::start(&[]).await;
    let (sleeper, argv) = Sleeper::new(world.directory(), "orphan");
    let mut rpctl = world.rpctl().args(["call", HONEST, "exec.run", "--"]).args(&argv).spawn().unwrap();
    sleeper.running().await;
    rpctl.start_kill().unwrap();
    rpctl.wait().await.unwrap();
    sleeper.ended().await;

    let (sleeper, argv) = Sleeper::new(world.directory(), "goodbye");
    let bob = world.operator("bob").await;
    let call = bob.exec(HONEST, &argv).await;
    sleeper.running().await;
    bob.leave().await;
    sleeper.ended().await;
    drop(call);
    // an answer that nobody waits for is neither an error nor late
    world.operator.echo(HONEST, "still here").await.unwrap();
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn every_call_that_cannot_be_has_its_own_code() {
    let mut world = World::start(&[]).await;
    drop(world.line("gone-1").await);
    world.operator.until("gone-1", AgentState::Away).await;
    for (agent, procedure, kwargs, code, says) in [
        ("never-1", "sys.echo", json!({}), FaultCode::UnknownAgent, "never-1"),
        ("no/name", "sys.echo", json!({}), FaultCode::BadArguments, "not an agent's name"),
        ("", "sys.echo", json!({}), FaultCode::BadArguments, "not an agent's name"),
        ("gone-1", "sys.echo", json!({}), FaultCode::AgentAway, "nothing was sent"),
        (HONEST, "no.such", json!({}), FaultCode::UnknownProcedure, "no.such"),
        (HONEST, "sys.echo@9", json!({}), FaultCode::UnknownProcedure, "version 9"),
        (HONEST, "rp.status", json!({}), FaultCode::UnknownProcedure, "reserved"),
        (HONEST, "sys.ping", json!({"x": 1}), FaultCode::BadArguments, ""),
        (HONEST, "exec.run", json!({}), FaultCode::BadArguments, "\"argv\" is a required property"),
        (HONEST, "exec.run", json!({"argv": ["/no/such/program"]}), FaultCode::Failed, "/no/such/program"),
    ] {
        let fault = world.operator.call(agent, procedure, &kwargs).await.unwrap_err();
        assert_eq!(fault.code, code, "{agent} {procedure}: {fault}");
        assert!(fault.message.contains(says), "{agent} {procedure}: {fault}");
    }
    let fault = world.operator.ask("rp.call", &json!({"agent": 5})).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::BadArguments, "{fault}");
    let fault = world.operator.ask("sys.echo", &json!({})).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::UnknownProcedure, "{fault}");
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn what_exceeds_a_frame_limit_is_told_and_ends_no_session() {
    let mut world = World::start(&[]).await;
    let mut large = world.line("large-1").await;
    let small = Limits { frame: 64 * 1024, ..Limits::default() };
    let bob = Operator::dial_with(world.address, &world.authority.operator("bob"), small).await;
    let text = "x".repeat(100 * 1024);
    // an answer that the caller would not take
    let serving = async {
        let request = large.requested().await;
        large.answer(&request, Raw::text(&text)).await;
    };
    let calling = async { bob.call("large-1", "big", &json!({})).await };
    let (answer, ()) = in_time("a large answer", async { tokio::join!(calling, serving) }).await;
    assert_eq!(answer.unwrap_err().code, FaultCode::TooLarge);
    // a value that the caller would not take: the call ends, and the agent is told
    let serving = async {
        let request = large.requested().await;
        let value = json!({"id": request.id.as_str(), "n": 0, "data": text});
        large.say(&flight("rp.value", &value)).await;
        match large.hear_within(SOON).await {
            Heard::Message(Message::Notification(notice)) => assert_eq!(notice.kind, "rp.cancel"),
            other => panic!("{other:?}"),
        }
        large.answer(&request, Raw::nil()).await;
    };
    let calling = async { bob.call("large-1", "big", &json!({})).await };
    let (answer, ()) = in_time("a large value", async { tokio::join!(calling, serving) }).await;
    assert_eq!(answer.unwrap_err().code, FaultCode::TooLarge);
    // arguments that the agent would not take
    world.agent("small-1", &["session.frame_limit=32KiB"]).await;
    let fault = world.operator.call("small-1", "sys.echo", &json!({ "text": text })).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::TooLarge, "{fault}");
    world.operator.echo("small-1", "small").await.unwrap();
    bob.echo(HONEST, "small").await.unwrap();
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn more_calls_than_may_be_in_flight_are_refused_and_the_others_are_not() {
    let mut world = World::start(&["session.in_flight=8"]).await;
    world.agent("small-1", &["limits.calls=2"]).await;
    let mut running = Vec::new();
    for name in ["one", "two"] {
        let (sleeper, argv) = Sleeper::new(world.directory(), name);
        running.push(world.operator.exec("small-1", &argv).await);
        sleeper.running().await;
    }
    let fault = world.operator.call("small-1", "exec.run", &json!({"argv": ["true"]})).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Overloaded, "{fault}");
    // those who look after the machine are not kept out
    world.operator.echo("small-1", "three").await.unwrap();
    assert!(fault.message.contains("limits.calls"), "{fault}");
    drop(running);

    // an operator that does not keep to what was agreed
    let mut rude = Line::stranger(world.address, &world.authority.operator("rude")).await;
    rude.say(&Message::AgentHello(Box::new(redpoll_tests::operator::hello("rude")))).await;
    assert!(matches!(rude.hear().await, Heard::Message(Message::ManagerHello(_))));
    world.agent("other-1", &[]).await;
    for number in 0..12 {
        let call = json!({"agent": "other-1", "procedure": "exec.run", "args": ["sleep", "100"]});
        rude.request(&format!("r-{number:02}"), "rp.call", &call).await;
    }
    for _ in 0..4 {
        match rude.hear().await {
            Heard::Message(Message::Response(answer)) => {
                assert!(answer.id.as_str() >= "r-08", "{answer:?}");
                assert_eq!(answer.result.unwrap_err().code, FaultCode::Overloaded);
            }
            other => panic!("{other:?}"),
        }
    }
    drop(rude);
    world.operator.counted("requests_refused", 4).await;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn two_hundred_and_fifty_six_calls_at_once_are_all_answered_each_with_its_own() {
    let mut world = World::start(&[]).await;
    // one that the witness does not call: its places are 256 as well
    world.agent("busy-1", &[]).await;
    let bob = std::sync::Arc::new(world.operator("bob").await);
    let mut calls = JoinSet::new();
    for number in 0..256 {
        let bob = bob.clone();
        calls.spawn(async move { bob.echo("busy-1", &format!("call {number}")).await });
    }
    let mut answered = 0;
    while let Some(call) = in_time("the next answer", calls.join_next()).await {
        call.unwrap().unwrap();
        answered += 1;
    }
    assert_eq!(answered, 256);
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn notifications_go_both_ways_and_nobody_waits_for_them() {
    let mut world = World::start(&[]).await;
    let note = json!({"agent": HONEST, "type": "sys.log", "data": "good\nmorning"});
    world.operator.ask("rp.notify", &note).await.unwrap();
    world.agent_process(HONEST).logged(&["INFO", "good\\nmorning"]).await;
    let mut line = world.line("chatty-1").await;
    line.say(&flight("rp.manager.note", &json!("good\nevening"))).await;
    world.manager.logged(&["INFO", "chatty-1", "good\\nevening"]).await;
    world
        .operator
        .ask("rp.notify", &json!({"agent": "chatty-1", "type": "x.y", "data": {"z": 1}}))
        .await
        .unwrap();
    match line.hear().await {
        Heard::Message(Message::Notification(notice)) => {
            assert_eq!((notice.kind.as_str(), notice.data.decode().unwrap()), ("x.y", json!({"z": 1})));
        }
        other => panic!("{other:?}"),
    }
    for (agent, kind, code) in
        [("never-1", "x.y", FaultCode::UnknownAgent), ("chatty-1", "rp.cancel", FaultCode::BadArguments)]
    {
        let fault =
            world.operator.ask("rp.notify", &json!({"agent": agent, "type": kind})).await.unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
    }
    world.operator.peer().notify("rp.manager.note", Raw::text("an operator has no notes")).await.unwrap();
    world.operator.counted("notifications_forbidden", 1).await;
    // a large one to an agent that takes little is refused; the session goes on
    world.nobody_else_noticed().await;
}
