//! The writing half of [`super::codec`].

use bytes::Bytes;

use super::codec::{MAX_CODE_LEN, MAX_OPERATOR_LEN, MAX_TEXT_LEN, cut};
use super::error::DecodeError;
use super::message::kind;
use super::scan::{self, ScanError};
use super::{
    AgentHello, Bye, Fault, Limits, MAX_METHOD_LEN, ManagerHello, Message, Notification, RawMap, Request,
    Response,
};
use crate::roles::{MAX_ROLE_LEN, MAX_ROLES};

/// Why a message cannot be sent: the receiver would end the connection over it, with all else that uses it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The payload exceeds what the receiver takes.
    #[error("the message has {len} bytes, the receiver takes {max}")]
    TooLarge {
        /// The payload's bytes.
        len: usize,
        /// The bytes allowed.
        max: usize,
    },
    /// Its values nest too deep or are too many once they are in the message.
    #[error("the receiver would not accept the message's values")]
    Scan(#[from] ScanError),
    /// One of its fields breaks the receiver's rules.
    #[error("the receiver would not accept one of the message's fields")]
    Field(#[source] DecodeError),
}

/// Writes a message for a peer that speaks `protocol`; the hello itself is written for [`super::PROTOCOL`].
///
/// Believes that the message is one that the peer accepts. Where its parts come from somebody else, use
/// [`encode_within`].
pub fn encode(message: &Message, protocol: u32) -> Bytes {
    let ours = protocol >= 1;
    let map = match message {
        Message::AgentHello(hello) => agent_hello(hello, ours),
        Message::ManagerHello(hello) => manager_hello(hello, ours),
        Message::Ping(n) => begin(kind::PING, 32).integer("data", *n),
        Message::Pong(n) => begin(kind::PONG, 32).integer("data", *n),
        Message::Bye(farewell) => bye(farewell, ours),
        Message::Request(call) => request(call, ours),
        Message::Response(answer) => response(answer, ours),
        Message::Notification(Notification { kind: about, data }) => {
            begin(kind::NOTIFICATION, data.len()).text("type", about).raw("data", data)
        }
        Message::Unknown(number) => begin(*number, 0),
    };
    map.into_bytes()
}

/// Writes a message like [`encode`] and checks that the receiver accepts it: length, nesting, number of values, names.
///
/// Values that are fine alone may nest too deep, or be too many, once they stand in a message; a receiver would take
/// that for a broken peer. So everything that carries values of others goes through here.
///
/// # Errors
/// [`EncodeError`]; nothing may be sent then.
pub fn encode_within(message: &Message, protocol: u32, limit: usize) -> Result<Bytes, EncodeError> {
    check_fields(message).map_err(EncodeError::Field)?;
    within(encode(message, protocol), limit)
}

/// Gives a payload back if it has at most `limit` bytes and passes the receiver's scan.
///
/// # Errors
/// [`EncodeError::TooLarge`] and [`EncodeError::Scan`].
pub fn within(payload: Bytes, limit: usize) -> Result<Bytes, EncodeError> {
    if payload.len() > limit {
        return Err(EncodeError::TooLarge { len: payload.len(), max: limit });
    }
    scan::scan(&payload)?;
    Ok(payload)
}

/// The rules for fields that are not in their types already.
fn check_fields(message: &Message) -> Result<(), DecodeError> {
    let short = |field, text: &str, max| match text.len() {
        len if len > max => Err(DecodeError::TooLong { field, len, max }),
        _ => Ok(()),
    };
    match message {
        Message::Request(call) => {
            short("method", &call.method, MAX_METHOD_LEN)?;
            short("trace", call.trace.as_deref().unwrap_or_default(), MAX_TEXT_LEN)?;
            short("operator", call.operator.as_deref().unwrap_or_default(), MAX_OPERATOR_LEN)?;
            let roles = call.roles.as_deref().unwrap_or_default();
            if roles.len() > MAX_ROLES {
                return Err(DecodeError::TooMany { field: "roles", count: roles.len(), max: MAX_ROLES });
            }
            roles.iter().try_for_each(|role| short("roles", role, MAX_ROLE_LEN))?;
            if !call.args.is_array() {
                return Err(DecodeError::WrongType { field: "args", wanted: "an array" });
            }
            if !call.kwargs.is_map() {
                return Err(DecodeError::WrongType { field: "kwargs", wanted: "a map" });
            }
            Ok(())
        }
        Message::Response(Response { result: Err(fault), .. }) => {
            short("code", fault.code.as_str(), MAX_CODE_LEN)
        }
        Message::Notification(notification) => short("type", &notification.kind, MAX_METHOD_LEN),
        Message::AgentHello(_)
        | Message::ManagerHello(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Bye(_)
        | Message::Response(_)
        | Message::Unknown(_) => Ok(()),
    }
}

/// A payload that begins with its kind, with room for `bytes` bytes of values and some for the rest.
pub(super) fn begin(number: u64, bytes: usize) -> RawMap {
    RawMap::with_capacity(bytes + 123).uint("t", number)
}

fn agent_hello(hello: &AgentHello, ours: bool) -> RawMap {
    let map = begin(kind::AGENT_HELLO, 256)
        .text("id", &hello.id)
        .text("version", &hello.version)
        .text("credentials", &hello.credentials);
    if !ours {
        return map;
    }
    let map = match hello.protocol {
        Some(range) => map.uints("protocol", &[u64::from(range.min), u64::from(range.max)]),
        None => map,
    };
    limits(caps(map, &hello.caps), hello.limits)
        .opt_bin("instance", hello.instance.as_ref().map(<[u8; 16]>::as_slice))
        .opt_text("boot", hello.boot.as_deref())
        .opt_bin("spool", hello.spool.as_ref().map(<[u8; 16]>::as_slice))
        .opt_uint("epoch", hello.epoch)
        .opt_bin("turn", hello.turn.as_ref().map(<[u8; 16]>::as_slice))
        .opt_uint("max_dno", hello.max_dno)
        .opt_text("policy", hello.policy.as_deref())
        .opt_uint("wall_ms", hello.wall_ms)
}

fn manager_hello(hello: &ManagerHello, ours: bool) -> RawMap {
    let map = begin(kind::MANAGER_HELLO, 256).text("version", &hello.version);
    if !ours {
        return map;
    }
    let map = map.opt_uint("protocol", hello.protocol.map(u64::from));
    let map = caps(map, &hello.caps)
        .opt_text("manager", hello.manager.as_deref())
        .opt_text("cluster", hello.cluster.as_deref())
        .opt_uint("epoch", hello.epoch)
        .opt_bin("turn", hello.turn.as_ref().map(<[u8; 16]>::as_slice));
    limits(map, hello.limits)
        .opt_uint("ping_ms", hello.ping_ms)
        .opt_uint("dead_ms", hello.dead_ms)
        .opt_uint("wall_ms", hello.wall_ms)
}

fn caps(map: RawMap, caps: &[String]) -> RawMap {
    if caps.is_empty() { map } else { map.texts("caps", caps) }
}

fn limits(map: RawMap, limits: Option<Limits>) -> RawMap {
    let Some(limits) = limits else { return map };
    map.map("limits", |map| {
        map.uint("frame", limits.frame).uint("in_flight", limits.in_flight).uint("window", limits.window)
    })
}

fn bye(bye: &Bye, ours: bool) -> RawMap {
    let map = begin(kind::BYE, bye.reason.len()).text("reason", cut(&bye.reason));
    if !ours {
        return map;
    }
    map.opt_text("code", bye.code.map(super::ByeCode::as_str)).opt_uint("retry_after_ms", bye.retry_after_ms)
}

fn request(call: &Request, ours: bool) -> RawMap {
    let map = begin(kind::REQUEST, call.args.len() + call.kwargs.len() + call.method.len())
        .text("id", call.id.as_str())
        .text("method", &call.method)
        .raw("args", &call.args)
        .raw("kwargs", &call.kwargs);
    if !ours {
        return map;
    }
    map.opt_uint("timeout_ms", call.timeout_ms)
        .opt_text("trace", call.trace.as_deref())
        .opt_text("operator", call.operator.as_deref())
        .opt_texts("roles", call.roles.as_deref())
}

fn response(answer: &Response, ours: bool) -> RawMap {
    let map = |bytes| begin(kind::RESPONSE, bytes).text("id", answer.id.as_str());
    match &answer.result {
        Ok(data) => map(data.len()).bool("success", true).raw("data", data),
        Err(fault) => {
            let map = map(2 * fault.message.len()).bool("success", false).text("data", &fault.to_string());
            if ours { map.map("fault", |map| write_fault(map, fault)) } else { map }
        }
    }
}

/// The fields of a fault.
pub(crate) fn write_fault(map: RawMap, fault: &Fault) -> RawMap {
    map.text("code", fault.code.as_str())
        .text("message", &fault.message)
        .opt_text("class", fault.class.as_deref())
        .opt_text("module", fault.module.as_deref())
        .opt_text("trace", fault.trace.as_deref())
        .opt_raw("args", fault.args.as_ref())
        .opt_raw("state", fault.state.as_ref())
        .opt_raw("data", fault.data.as_ref())
        .opt_uint("retry_after_ms", fault.retry_after_ms)
}
