//! Messages as payloads: what each kind looks like as bytes.
//!
//! Reading: the payload passes the [scan], key `t` picks the kind, and the kind's fields are taken out by name, each
//! in exactly one type. Fields that this build does not know are ignored, kinds that it does not know are
//! [`Message::Unknown`]; a known field of the wrong type makes the payload malformed.
//! There is no serde here: tagged and flattened enums buffer, recurse and accept what they should not.
//!
//! Writing: `t` comes first, every number in its shortest form. Towards a peer of protocol 0 only the oldest fields are written.
//!
//! An example: the ping with number 7 is `82 a1 74 0c a4 64 61 74 61 07`, the map `{"t": 12, "data": 7}`.

use bytes::Bytes;

use super::error::DecodeError;
use super::fields::Fields;
use super::message::kind;
use super::scan;
use super::{
    AgentHello, Bye, ByeCode, Fault, FaultCode, Limits, MAX_METHOD_LEN, ManagerHello, Message, Notification,
    ProtocolRange, Raw, Request, Response,
};
use crate::ids::{MAX_REQUEST_ID_LEN, RequestId};
use crate::roles;

pub use super::encode::{EncodeError, encode, encode_within, within};

/// Bytes the name of an operator may have in a request.
pub const MAX_OPERATOR_LEN: usize = 128;
/// Bytes a text of a hello, a request's `trace` or a goodbye's `reason` may have.
pub const MAX_TEXT_LEN: usize = 1024;
/// Bytes the code of a fault or a goodbye may have.
pub const MAX_CODE_LEN: usize = 128;
/// Abilities a hello may name.
pub const MAX_CAPS: usize = 64;
/// Bytes the name of an ability may have.
pub const MAX_CAP_LEN: usize = 64;

/// Reads a payload.
///
/// # Errors
/// [`DecodeError`] when it is not acceptable MessagePack, not a map, or not what its kind demands.
pub fn decode(payload: &Bytes) -> Result<Message, DecodeError> {
    scan::scan(payload)?;
    let fields = Fields::at(payload, 0)?;
    let number = fields.u64("t")?;
    let (name, message) = match number {
        kind::AGENT_HELLO => {
            ("AgentHello", agent_hello(&fields).map(|hello| Message::AgentHello(Box::new(hello))))
        }
        kind::MANAGER_HELLO => {
            ("ManagerHello", manager_hello(&fields).map(|hello| Message::ManagerHello(Box::new(hello))))
        }
        kind::PING => ("Ping", fields.integer("data").map(Message::Ping)),
        kind::PONG => ("Pong", fields.integer("data").map(Message::Pong)),
        kind::BYE => ("Bye", bye(&fields).map(Message::Bye)),
        kind::REQUEST => ("Request", request(&fields).map(Message::Request)),
        kind::RESPONSE => ("Response", response(&fields).map(Message::Response)),
        kind::NOTIFICATION => ("Notification", notification(&fields).map(Message::Notification)),
        unknown => return Ok(Message::Unknown(unknown)),
    };
    message.map_err(|error| error.within(name))
}

fn agent_hello(fields: &Fields<'_>) -> Result<AgentHello, DecodeError> {
    let protocol = fields.opt_u32_pair("protocol")?;
    Ok(AgentHello {
        id: fields.text("id", MAX_TEXT_LEN)?.to_owned(),
        version: fields.text("version", MAX_TEXT_LEN)?.to_owned(),
        credentials: fields.text("credentials", MAX_TEXT_LEN)?.to_owned(),
        protocol: protocol.map(|(min, max)| ProtocolRange { min, max }),
        caps: fields.texts("caps", MAX_CAPS, MAX_CAP_LEN)?,
        limits: limits(fields)?,
        instance: fields.opt_bin16("instance")?,
        boot: fields.opt_text("boot", MAX_TEXT_LEN)?.map(str::to_owned),
        spool: fields.opt_bin16("spool")?,
        epoch: fields.opt_u64("epoch")?,
        turn: fields.opt_bin16("turn")?,
        max_dno: fields.opt_u64("max_dno")?,
        policy: fields.opt_text("policy", MAX_TEXT_LEN)?.map(str::to_owned),
        wall_ms: fields.opt_u64("wall_ms")?,
    })
}

fn manager_hello(fields: &Fields<'_>) -> Result<ManagerHello, DecodeError> {
    Ok(ManagerHello {
        version: fields.text("version", MAX_TEXT_LEN)?.to_owned(),
        protocol: fields.opt_u32("protocol")?,
        caps: fields.texts("caps", MAX_CAPS, MAX_CAP_LEN)?,
        manager: fields.opt_text("manager", MAX_TEXT_LEN)?.map(str::to_owned),
        cluster: fields.opt_text("cluster", MAX_TEXT_LEN)?.map(str::to_owned),
        epoch: fields.opt_u64("epoch")?,
        turn: fields.opt_bin16("turn")?,
        limits: limits(fields)?,
        ping_ms: fields.opt_u64("ping_ms")?,
        dead_ms: fields.opt_u64("dead_ms")?,
        wall_ms: fields.opt_u64("wall_ms")?,
    })
}

fn limits(fields: &Fields<'_>) -> Result<Option<Limits>, DecodeError> {
    let Some(limits) = fields.opt_fields("limits")? else { return Ok(None) };
    Ok(Some(Limits {
        frame: limits.u64("frame")?,
        in_flight: limits.u64("in_flight")?,
        window: limits.u64("window")?,
    }))
}

fn bye(fields: &Fields<'_>) -> Result<Bye, DecodeError> {
    Ok(Bye {
        // the connection is over either way: a long reason is cut rather than refused
        reason: cut(fields.text("reason", usize::MAX)?).to_owned(),
        code: fields.opt_text("code", MAX_CODE_LEN)?.map(ByeCode::from_wire),
        retry_after_ms: fields.opt_u64("retry_after_ms")?,
    })
}

/// The front of a text, at most [`MAX_TEXT_LEN`] bytes of whole characters.
pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT_LEN)).unwrap_or_default()
}

/// The `id` of a request.
pub(super) fn request_id(fields: &Fields<'_>) -> Result<RequestId, DecodeError> {
    let text = fields.text("id", MAX_REQUEST_ID_LEN)?;
    RequestId::parse(text).ok_or(DecodeError::WrongType { field: "id", wanted: "a text of 1 to 128 bytes" })
}

fn request(fields: &Fields<'_>) -> Result<Request, DecodeError> {
    Ok(Request {
        id: request_id(fields)?,
        method: fields.text("method", MAX_METHOD_LEN)?.to_owned(),
        args: fields.array("args")?,
        kwargs: fields.map("kwargs")?,
        timeout_ms: fields.opt_u64("timeout_ms")?,
        trace: fields.opt_text("trace", MAX_TEXT_LEN)?.map(str::to_owned),
        operator: fields.opt_text("operator", MAX_OPERATOR_LEN)?.map(str::to_owned),
        roles: roles::read(fields)?,
    })
}

fn response(fields: &Fields<'_>) -> Result<Response, DecodeError> {
    let id = request_id(fields)?;
    let success = fields.bool("success")?;
    let data = fields.raw("data")?;
    if success {
        return Ok(Response { id, result: Ok(data) });
    }
    let fault = match fields.opt_fields("fault")? {
        Some(fault) => read_fault(&fault)?,
        None => oldest_fault(data),
    };
    Ok(Response { id, result: Err(fault) })
}

/// The fields of a fault.
pub(crate) fn read_fault(fields: &Fields<'_>) -> Result<Fault, DecodeError> {
    let code = fields.text("code", MAX_CODE_LEN)?;
    // these texts are as long as the frame allows
    let text = |field| fields.opt_text(field, usize::MAX).map(|text| text.map(str::to_owned));
    let message = match fields.text("message", usize::MAX)? {
        "" => code,
        message => message,
    };
    Ok(Fault {
        code: FaultCode::from_wire(code),
        message: message.to_owned(),
        class: text("class")?,
        module: text("module")?,
        trace: text("trace")?,
        args: fields.opt_raw("args")?,
        state: fields.opt_raw("state")?,
        data: fields.opt_raw("data")?,
        retry_after_ms: fields.opt_u64("retry_after_ms")?,
    })
}

/// What a peer of protocol 0 says when a call failed: a text, by its rules.
fn oldest_fault(data: Raw) -> Fault {
    match data.as_text() {
        Some("") => Fault::new(FaultCode::Failed, "the call failed"),
        Some(text) => Fault::new(FaultCode::Failed, text),
        None if data.is_nil() => Fault::new(FaultCode::Failed, "the call failed"),
        None => Fault::new(FaultCode::Failed, "the call failed").with_data(data),
    }
}

fn notification(fields: &Fields<'_>) -> Result<Notification, DecodeError> {
    Ok(Notification { kind: fields.text("type", MAX_METHOD_LEN)?.to_owned(), data: fields.raw("data")? })
}
