//! One message of every kind and form, for the tests that need examples.

use redpoll_common::ids::RequestId;
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{
    AgentHello, Bye, ByeCode, Fault, FaultCode, Flight, Integer, Limits, ManagerHello, Message, Notification,
    ProtocolRange, Raw, RawMap, Request, Response,
};

/// A message for a peer of a protocol, and its name among the golden bytes and the seeds.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) protocol: u32,
    pub(crate) message: Message,
}

/// Every kind towards the oldest peers and towards ours, every form of fault and goodbye, every notification of a
/// request in flight.
pub(crate) fn samples() -> Vec<Sample> {
    let sample = |name, protocol, message| Sample { name, protocol, message };
    let mut all = vec![
        sample("oldest-agent-hello", 0, Message::AgentHello(Box::new(agent_hello()))),
        sample("oldest-manager-hello", 0, Message::ManagerHello(Box::new(manager_hello()))),
        sample("oldest-bye", 0, Message::Bye(Bye::new(ByeCode::ShuttingDown, "stopping"))),
        sample("oldest-request", 0, Message::Request(request_for(&["deploy"]))),
        sample("oldest-response", 0, response(Ok(Raw::text("hello")))),
        sample("oldest-response-failed", 0, response(Err(fault()))),
        sample("oldest-notification", 0, notification()),
        sample("agent-hello", 1, Message::AgentHello(Box::new(agent_hello()))),
        sample("agent-hello-least", 1, Message::AgentHello(Box::new(least_agent_hello()))),
        sample("manager-hello", 1, Message::ManagerHello(Box::new(manager_hello()))),
        sample("manager-hello-least", 1, Message::ManagerHello(Box::default())),
        sample("ping", 1, Message::Ping(Integer::from(7_u64))),
        sample("ping-largest", 1, Message::Ping(Integer::from(u64::MAX))),
        sample("pong-smallest", 1, Message::Pong(Integer::from(i64::MIN))),
        sample("bye-retry", 1, Message::Bye(bye_with_hint())),
        sample("bye-without-code", 1, Message::Bye(Bye { code: None, ..bye_with_hint() })),
        sample("request", 1, Message::Request(request())),
        sample("request-of-an-operator", 1, Message::Request(request_for(&["deploy", "on-call"]))),
        sample("request-of-an-operator-without-roles", 1, Message::Request(request_for(&[]))),
        sample("response", 1, response(Ok(Raw::text("hello")))),
        sample("response-nil", 1, response(Ok(Raw::nil()))),
        sample(
            "response-fault-least",
            1,
            response(Err(Fault::new(FaultCode::AgentAway, "web-1 is not connected"))),
        ),
        sample("response-fault-whole", 1, response(Err(fault()))),
        sample("notification", 1, notification()),
        sample("unknown-kind", 1, Message::Unknown(99)),
    ];
    all.extend(
        flights().into_iter().map(|(name, flight)| sample(name, 1, Message::Notification(flight.encode()))),
    );
    for code in ByeCode::ALL {
        all.push(sample(code.as_str(), 1, Message::Bye(Bye::new(*code, ""))));
    }
    all
}

/// Every notification of a request in flight.
pub(crate) fn flights() -> Vec<(&'static str, Flight)> {
    let request = id();
    let progress = |total, details| Progress { completed: 3, total, details };
    vec![
        ("rp-value", Flight::Value { request: request.clone(), n: 0, data: Raw::text("line") }),
        (
            "rp-progress",
            Flight::Progress { request: request.clone(), progress: progress(Some(10), Raw::text("copying")) },
        ),
        (
            "rp-progress-least",
            Flight::Progress { request: request.clone(), progress: progress(None, Raw::nil()) },
        ),
        ("rp-cancel", Flight::Cancel { request: request.clone() }),
        ("rp-credit", Flight::Credit { request, bytes: 65_536 }),
    ]
}

fn id() -> RequestId {
    RequestId::numbered(0x0123_4567_89ab_cdef, 5)
}

fn agent_hello() -> AgentHello {
    AgentHello {
        id: "web-1".into(),
        version: "0.1.0".into(),
        credentials: "secret".into(),
        protocol: Some(ProtocolRange { min: 0, max: 1 }),
        caps: vec!["jobs".into(), "files".into()],
        limits: Some(limits()),
        instance: Some([0x11; 16]),
        boot: Some("5d0c9a6e-0d5c-4b7e-9a55-3f6f0b2c7d11".into()),
        spool: Some([0x22; 16]),
        epoch: Some(3),
        turn: Some([0x33; 16]),
        max_dno: Some(4_294_967_296),
        policy: None,
        wall_ms: Some(1_700_000_000_000),
    }
}

fn least_agent_hello() -> AgentHello {
    AgentHello { id: "web-1".into(), version: "0.1.0".into(), ..AgentHello::default() }
}

fn manager_hello() -> ManagerHello {
    ManagerHello {
        version: "0.1.0".into(),
        protocol: Some(1),
        caps: vec!["jobs".into()],
        manager: Some("manager-1".into()),
        cluster: Some("demo".into()),
        epoch: Some(4),
        turn: Some([0x44; 16]),
        limits: Some(limits()),
        ping_ms: Some(15_000),
        dead_ms: Some(40_000),
        wall_ms: Some(1_700_000_000_000),
    }
}

fn limits() -> Limits {
    Limits { frame: 1_048_576, in_flight: 64, window: 65_536 }
}

fn bye_with_hint() -> Bye {
    Bye {
        reason: "the manager is stopping".into(),
        code: Some(ByeCode::ShuttingDown),
        retry_after_ms: Some(1_500),
    }
}

fn request() -> Request {
    Request {
        id: id(),
        method: "sys.echo".into(),
        args: Raw::encode(&["a", "b"]).unwrap(),
        kwargs: RawMap::new().uint("times", 200).bool("loud", true).finish(),
        timeout_ms: Some(30_000),
        trace: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        operator: None,
        roles: None,
    }
}

/// As a manager asks for an operator.
fn request_for(roles: &[&str]) -> Request {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    Request { operator: Some("ada".into()), roles: Some(roles), ..request() }
}

fn response(result: Result<Raw, Fault>) -> Message {
    Message::Response(Response { id: id(), result })
}

fn fault() -> Fault {
    Fault {
        class: Some("ValueError".into()),
        module: Some("builtins".into()),
        trace: Some("line 1\nline 2".into()),
        args: Some(Raw::encode(&[1, -1]).unwrap()),
        state: Some(RawMap::new().bin("blob", &[0, 255]).finish()),
        data: Some(Raw::text("more")),
        retry_after_ms: Some(250),
        ..Fault::new(FaultCode::Failed, "it broke")
    }
}

fn notification() -> Message {
    Message::Notification(Notification { kind: "app.hello".into(), data: Raw::encode(&-7).unwrap() })
}
