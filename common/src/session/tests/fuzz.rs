//! Any message at any time: a session never panics, and either goes on or says what was wrong.

use proptest::prelude::*;

use super::*;
use crate::wire::flight::{Flight, Progress};
use crate::wire::{Bye, ByeCode, Fault, FaultCode, Integer, Notification, Response};

/// Ids that hit: those of the session's own first requests, and a few of the peer's.
fn id() -> impl Strategy<Value = RequestId> {
    prop_oneof![
        (0u64..6).prop_map(|n| wire_id(1, CallId(n))),
        "[a-c]".prop_map(|text| RequestId::parse(&text).unwrap()),
    ]
}

fn flight() -> impl Strategy<Value = Flight> {
    prop_oneof![
        4 => (id(), 0u64..3, 0usize..9000).prop_map(|(request, n, len)| Flight::Value { request, n, data: text(len) }),
        1 => (id(), any::<u64>()).prop_map(|(request, completed)| {
            Flight::Progress { request, progress: Progress { completed, total: None, details: Raw::nil() } }
        }),
        1 => id().prop_map(|request| Flight::Cancel { request }),
        1 => (id(), prop_oneof![Just(0), 0u64..20_000, any::<u64>()])
            .prop_map(|(request, bytes)| Flight::Credit { request, bytes }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        2 => any::<u64>().prop_map(|n| Message::Ping(Integer::from(n))),
        1 => (0u64..3).prop_map(|n| Message::Pong(Integer::from(n))),
        8 => (id(), proptest::option::of(any::<u64>())).prop_map(|(id, timeout_ms)| {
            let Message::Request(request) = request("x") else { unreachable!() };
            Message::Request(Request { id, timeout_ms, ..request })
        }),
        6 => (id(), any::<bool>()).prop_map(|(id, good)| {
            let result = if good { Ok(text(10)) } else { Err(Fault::new(FaultCode::Failed, "no")) };
            Message::Response(Response { id, result })
        }),
        10 => flight().prop_map(|flight| Message::Notification(flight.encode())),
        1 => prop_oneof![Just("x"), Just("rp.value"), Just("rp.other")].prop_map(|kind| {
            Message::Notification(Notification { kind: kind.into(), data: Raw::nil() })
        }),
        1 => any::<u64>().prop_filter("unknown", |n| *n > 22).prop_map(Message::Unknown),
    ]
}

/// These end every session, so they come seldom.
fn last() -> impl Strategy<Value = Message> {
    prop_oneof![
        Just(Message::Bye(Bye::new(ByeCode::Idle, "x"))),
        Just(Message::AgentHello(Box::default())),
        Just(Message::ManagerHello(Box::default())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_at_any_time_is_taken_or_is_a_violation(
        messages in proptest::collection::vec((message(), 0u64..2000, 0usize..4), 1..60),
        end in last(),
        oldest in any::<bool>(),
    ) {
        let mut now = start();
        let terms = Terms { protocol: u32::from(!oldest), ..terms() };
        let mut session = Session::<u32>::new(terms, 1, now);
        let (mut waiting, mut owed, mut token) = (0usize, Vec::new(), 0u32);
        for (message, wait, action) in messages.into_iter().chain([(end, 0, 0)]) {
            now += Duration::from_millis(wait);
            session.handle_payload(&codec::encode(&message, 1), now);
            session.handle_timeout(now);
            let mut closed = false;
            for event in events(&mut session) {
                match event {
                    Event::Request(incoming) => owed.push(incoming.id),
                    Event::Answered(..) | Event::Expired(_) => waiting -= 1,
                    Event::Stop(id, super::super::StopReason::Closed) => owed.retain(|o| *o != id),
                    Event::Closed(_, waiters) => {
                        prop_assert_eq!(waiters.len(), waiting);
                        closed = true;
                    }
                    Event::Stop(id, _) | Event::Credit(id, _) => prop_assert!(owed.contains(&id)),
                    Event::Value(call, data) if action == 0 => session.consumed(call, data.len()),
                    Event::Value(..) | Event::Progress(..) | Event::Notification(_) | Event::Pong(..) => {}
                }
            }
            if closed {
                prop_assert!(owed.is_empty());
                let messages = written(&mut session);
                let byes = messages.iter().filter(|m| matches!(m, Message::Bye(_))).count();
                let violated = matches!(session.closed(), Some(CloseReason::Violation(_)));
                prop_assert_eq!((byes, messages.len()), (usize::from(violated), usize::from(violated)));
                return Ok(());
            }
            prop_assert_eq!(session.in_flight(), (waiting, owed.len()));
            match action {
                1 => {
                    token += 1;
                    waiting += usize::from(session.call(outgoing(SECOND), token, now).is_ok());
                }
                2 => if let Some(id) = owed.pop() {
                    prop_assert!(session.respond(&id, Ok(Raw::nil())));
                },
                3 => drop(written(&mut session)),
                _ => {}
            }
        }
        prop_assert!(session.closed().is_some());
    }
}
