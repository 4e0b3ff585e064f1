//! Orders that switch procedures of agents go on when nobody waits for them any more: the history says who gave them, and no revocation
//! is answered before.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: whatever cannot be done is a failure of the test"
)]

mod sessions_common;

use futures_util::FutureExt as _;
use redpoll_common::api::revoked::{RevokeAnswer, RevokeArguments};
use redpoll_common::api::{SwitchAnswer, SwitchArguments, agent_method, method};
use redpoll_common::identity::Role;
use redpoll_common::ids::{PeerId, RequestId};
use redpoll_common::wire::{Bye, ByeCode, FaultCode, Message, Raw, Request};
use redpoll_manager_core::revoked::Denied;
use redpoll_net::{CallContext, Peer, ProcedureInfo, Registry};
use sessions_common::{PATIENCE, World, call, hear, say};
use tokio::sync::watch;

/// An agent that switches a procedure off, and answers when it is let.
struct Slow {
    _peer: Peer,
    asked: watch::Receiver<bool>,
    answer: watch::Sender<bool>,
}

impl Slow {
    async fn of(world: &World) -> Self {
        let (told, asked) = watch::channel(false);
        let (answer, answered) = watch::channel(false);
        let info = ProcedureInfo::new(agent_method::DISABLE, "Switches.", serde_json::json!({}));
        let run = move |_call: CallContext| {
            let (told, mut answered) = (told.clone(), answered.clone());
            async move {
                told.send_replace(true);
                answered.wait_for(|now| *now).await.unwrap();
                let answer = SwitchAnswer { procedure: "p".to_owned(), enabled: false, changed: true };
                Ok(Raw::encode(&answer).unwrap())
            }
        };
        let peer = world.agent("web-1", Registry::new().with_graceful(info, run).unwrap()).await;
        Self { _peer: peer, asked, answer }
    }
}

fn request(method: &str, kwargs: Raw, timeout_ms: Option<u64>) -> Message {
    let request = call(&RequestId::numbered(1, 1), "p", timeout_ms);
    Message::Request(Request { method: method.to_owned(), kwargs, ..request })
}

fn disable(timeout_ms: Option<u64>) -> Message {
    let arguments = SwitchArguments { agent: "web-1".to_owned(), procedure: "p".to_owned() };
    request(method::PROCEDURES_DISABLE, Raw::encode(&arguments).unwrap(), timeout_ms)
}

/// Who switched it, by the history, if it is in there.
async fn switched(world: &World) -> Option<String> {
    let events = world.engine.store().events(0, 1000).await.unwrap();
    let event = events.into_iter().find(|event| event.kind_text() == "procedure.disabled")?;
    event.record.unwrap().detail
}

/// The same, when it is.
async fn until_switched(world: &World) -> String {
    let mut last = world.engine.last_event();
    let noted = async {
        loop {
            if let Some(who) = switched(world).await {
                return who;
            }
            last.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, noted).await.unwrap()
}

/// Waits until no more than so many requests are being served.
async fn until_served(world: &World, left: usize) {
    let served = async {
        while world.sessions.requests.len() > left {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
}

#[tokio::test]
async fn who_switched_a_procedure_is_in_the_history_also_when_they_leave_before_the_answer() {
    let world = World::new().await;
    let mut agent = Slow::of(&world).await;
    let mut operator = world.operator("ada").await;
    say(&mut operator, &disable(None)).await;
    agent.asked.wait_for(|asked| *asked).await.unwrap();
    drop(operator);
    until_served(&world, 0).await;
    agent.answer.send_replace(true);
    assert_eq!(until_switched(&world).await, "p by ada");
}

#[tokio::test]
async fn the_time_that_an_operator_waits_is_not_that_of_the_agent() {
    let world = World::new().await;
    let mut agent = Slow::of(&world).await;
    let mut operator = world.operator("ada").await;
    say(&mut operator, &disable(Some(300))).await;
    let Message::Response(answer) = hear(&mut operator).await else { panic!("no answer") };
    assert_eq!(answer.result.unwrap_err().code, FaultCode::TimedOut);
    agent.asked.wait_for(|asked| *asked).await.unwrap();
    agent.answer.send_replace(true);
    assert_eq!(until_switched(&world).await, "p by ada");
}

#[tokio::test]
async fn a_revocation_waits_for_what_an_order_of_the_revoked_operator_does() {
    let world = World::new().await;
    let mut agent = Slow::of(&world).await;
    let (mut mallory, mut ada) = (world.operator("mallory").await, world.operator("ada").await);
    say(&mut mallory, &disable(None)).await;
    agent.asked.wait_for(|asked| *asked).await.unwrap();
    let denied = Denied { role: Role::Operator, id: PeerId::parse("mallory").unwrap(), certificate: None };
    let guest = world.sessions.manager.door.inside(&denied).pop().unwrap();

    let whom = RevokeArguments { id: "mallory".to_owned(), certificate: None, reason: None };
    say(&mut ada, &request(method::OPERATORS_REVOKE, Raw::encode(&whom).unwrap(), None)).await;
    let Message::Bye(Bye { code, .. }) = hear(&mut mallory).await else { panic!("no goodbye") };
    assert_eq!(code, Some(ByeCode::Revoked));
    drop(mallory);
    // the request is gone, and what it had done is not
    until_served(&world, 1).await;
    assert!(guest.ended().now_or_never().is_none());

    agent.answer.send_replace(true);
    let Message::Response(answer) = hear(&mut ada).await else { panic!("no answer") };
    let answer: RevokeAnswer = answer.result.unwrap().decode().unwrap();
    assert_eq!((answer.cut, answer.ending), (1, 0));
    assert_eq!(switched(&world).await.as_deref(), Some("p by mallory"), "nothing comes after the answer");
}
