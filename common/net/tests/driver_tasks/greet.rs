//! The handshake on connections: what each side says when the other does not keep the rules.

use redpoll_common::session::handshake::HandshakeError;
use redpoll_common::wire::{
    AgentHello, Bye, ByeCode, HELLO_LIMIT, Integer, Message, Notification, ProtocolRange, Raw, codec,
};
use redpoll_net::greet::{self, GreetError};
use redpoll_net::memory;
use redpoll_net::transport::{BoxConnection, receive, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::dial::{hello, offer};
use crate::support::*;

fn pairs() -> Vec<(BoxConnection, BoxConnection)> {
    let mut pairs = vec![memory::pair(agent(), manager())];
    pairs.extend([7, 64 * 1024].map(|pipe| memory::framed_pair(agent(), manager(), pipe)));
    pairs
}

/// The manager's side against a peer that sends this and listens.
async fn against(first: Option<bytes::Bytes>) -> (GreetError, Vec<Message>) {
    let (mut theirs, ours) = memory::framed_pair(agent(), manager(), 64 * 1024);
    theirs.set_payload_limit(1 << 20);
    let speaking = async {
        if let Some(first) = first {
            send(&mut *theirs, first).await.unwrap();
        }
        let mut heard = Vec::new();
        while let Some(message) = hear(&mut theirs).await {
            heard.push(message);
        }
        heard
    };
    let (result, heard) = tokio::join!(greet::expect_hello(ours, 5 * SECOND), speaking);
    (result.map(drop).unwrap_err(), heard)
}

fn code(heard: &[Message]) -> Option<ByeCode> {
    match heard {
        [Message::Bye(bye)] => bye.code,
        other => panic!("expected one goodbye, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn two_sides_greet_each_other_and_then_call() {
    for (dialler, acceptor) in pairs() {
        let accepting = async {
            let (connection, admission) = greet::expect_hello(acceptor, SECOND).await.unwrap();
            assert_eq!(admission.hello().id, "web-1");
            greet::accept(connection, admission, &offer(), SECOND).await.unwrap()
        };
        let (dialled, accepted) = tokio::join!(greet::hello(dialler, hello(), SECOND), accepting);
        let (dialler, ours) = dialled.unwrap();
        let (acceptor, theirs) = accepted;
        let (one, other) = (End::new(dialler, &ours, options(1)), End::new(acceptor, &theirs, options(2)));
        let large = Raw::encode(&["x".repeat(50_000)]).unwrap();
        assert_eq!(one.peer.call(call("echo").with_args(large.clone())).await, Ok(large.clone()));
        assert_eq!(other.peer.call(call("echo").with_args(large.clone())).await, Ok(large));
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_keep_the_rules_is_told_and_closed() {
    let agent = |hello: AgentHello| codec::encode(&Message::AgentHello(Box::new(hello)), 1);
    let (error, heard) = against(Some(agent(AgentHello { id: "web-2".into(), ..hello() }))).await;
    assert!(matches!(error, GreetError::Handshake(HandshakeError::WrongId { .. })), "{error:?}");
    assert_eq!(code(&heard), Some(ByeCode::Unauthorized));
    let future = Some(ProtocolRange { min: 7, max: 9 });
    let (_, heard) = against(Some(agent(AgentHello { protocol: future, ..hello() }))).await;
    assert_eq!(code(&heard), Some(ByeCode::Version));
    let (_, heard) = against(Some(codec::encode(&Message::Ping(Integer::from(1u64)), 1))).await;
    assert_eq!(code(&heard), Some(ByeCode::Protocol));
    let (error, heard) = against(Some(bytes::Bytes::from_static(b"\x81\xa1t\xa1x"))).await;
    assert!(matches!(error, GreetError::Malformed(_)), "{error:?}");
    assert_eq!(code(&heard), Some(ByeCode::Malformed));
    let (_, heard) = against(Some(vec![0xc0; HELLO_LIMIT + 1].into())).await;
    assert_eq!(code(&heard), Some(ByeCode::TooLarge));
    let bye = Message::Bye(Bye::new(ByeCode::Idle, "never mind"));
    let (error, heard) = against(Some(codec::encode(&bye, 1))).await;
    assert_eq!((error.their_bye().and_then(|bye| bye.code), heard), (Some(ByeCode::Idle), vec![]));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_told_at_the_deadline() {
    let begin = Instant::now();
    let (error, heard) = against(None).await;
    assert!(matches!(error, GreetError::Silent(after) if after == 5 * SECOND), "{error:?}");
    assert_eq!(code(&heard), Some(ByeCode::Protocol));
    assert!(begin.elapsed() < 7 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_speaks_http_gets_no_answer_that_never_ends() {
    let (mut stranger, ours) = tokio::io::duplex(4096);
    let stream = redpoll_net::stream::Metered::new(ours);
    let ours = Box::new(redpoll_net::framed::Framed::new(stream, agent()));
    let talking = async {
        stranger.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _closed = stranger.read_to_end(&mut answer).await;
        answer
    };
    let (result, answer) = tokio::join!(greet::expect_hello(ours, 5 * SECOND), talking);
    assert!(matches!(result, Err(GreetError::Transport(_))));
    let bye = codec::decode(&bytes::Bytes::from(answer).slice(4..)).unwrap();
    assert!(matches!(&bye, Message::Bye(bye) if bye.code == Some(ByeCode::Malformed)), "{bye:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dialler_hears_why_it_was_turned_away() {
    for (dialler, acceptor) in pairs() {
        let why = Bye::new(ByeCode::Overloaded, "later").retry_after(3 * SECOND);
        let refusing = async {
            let (connection, admission) = greet::expect_hello(acceptor, SECOND).await.unwrap();
            greet::refuse(connection, admission, why.clone()).await;
        };
        let (dialled, ()) = tokio::join!(greet::hello(dialler, hello(), SECOND), refusing);
        assert_eq!(dialled.map(drop).unwrap_err().their_bye(), Some(&why));
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_just_closes_is_an_error_of_its_own() {
    for (dialler, acceptor) in pairs() {
        let closing = redpoll_net::transport::close(acceptor, SECOND);
        let (dialled, ()) = tokio::join!(greet::hello(dialler, hello(), SECOND), closing);
        let error = dialled.map(drop).unwrap_err();
        assert!(matches!(error, GreetError::Ended), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_message_right_behind_the_acceptance_is_taken() {
    let (dialler, mut acceptor) = memory::framed_pair(agent(), manager(), 1 << 20);
    let speaking = async {
        receive(&mut *acceptor).await.unwrap().unwrap();
        acceptor.set_payload_limit(1 << 20);
        let (answer, note) = (redpoll_common::wire::ManagerHello::default(), Raw::text(&"x".repeat(100_000)));
        let answer = redpoll_common::wire::ManagerHello { version: "1".into(), protocol: Some(1), ..answer };
        for message in [
            Message::ManagerHello(Box::new(answer)),
            Message::Notification(Notification { kind: "x".into(), data: note }),
        ] {
            std::future::poll_fn(|cx| acceptor.poll_ready(cx)).await.unwrap();
            acceptor.start_send(codec::encode(&message, 1)).unwrap();
        }
        std::future::poll_fn(|cx| acceptor.poll_flush(cx)).await.unwrap();
        acceptor
    };
    let (dialled, acceptor) = tokio::join!(greet::hello(dialler, hello(), SECOND), speaking);
    let (dialler, terms) = dialled.unwrap();
    let end = End::new(dialler, &terms, options(1));
    let notes = end.notes.clone();
    eventually("it arrives", || notes.notified.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    drop(acceptor);
}
