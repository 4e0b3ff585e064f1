//! Legs: connections that a manager joins in pairs and moves bytes between, without reading them.
//!
//! A file that goes between an operator and an agent needs nobody in the middle to see it. Both dial the manager, with their
//! certificates as always and another application protocol, [`ALPN`]; each says a [`LegHello`] with the same [`Ticket`], and when both
//! are there the manager answers [`LegAnswer::Go`]. With that the TLS to the manager is over: each side sends [`READY`] in the
//! clear, and from there on the bytes of one are those of the other. What they speak is TLS of their own, [`DATA_ALPN`], agent and operator
//! each with the certificate it has, so that nobody between them reads or changes anything.
//!
//! A message on a leg is a frame as everywhere: four bytes of length, then one MessagePack map.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::PeerId;
use crate::wire::FaultCode;

/// The application protocol of a leg, agreed upon with the manager.
pub const ALPN: &[u8] = b"rp-leg/1";
/// The application protocol between operator and agent.
pub const DATA_ALPN: &[u8] = b"rp-data/1";
/// The most bytes of a message on a leg, without its length.
pub const MAX_MESSAGE: usize = 4096;
/// What each side of a leg sends once, outside of TLS, when it has given up TLS.
pub const READY: u8 = 0x06;

/// What joins two legs: made at random by the operator, told to the agent in a call, good for one use. Only the operator who made it
/// and the agent it was made for can use it, so knowing it gives nobody else anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket([u8; 16]);

impl Ticket {
    /// A ticket of these random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads 32 hexadecimal digits, lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let value = |digit: &u8| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            let [high, low] = pair else { return None };
            *byte = value(high)? << 4 | value(low)?;
        }
        Some(Self(bytes))
    }

    /// The 32 digits.
    pub fn text(&self) -> String {
        self.0
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|n| char::from_digit(n.into(), 16))
            .collect()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

impl Serialize for Ticket {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Ticket {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("a ticket is 32 digits of 0 to 9 and a to f"))
    }
}

/// The first message on a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegHello {
    /// What joins it with the other leg.
    pub ticket: Ticket,
    /// Of an operator: the agent that is to come. Of an agent: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<PeerId>,
}

/// What the manager answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegAnswer {
    /// To an operator: the leg is known, and the agent may be told of the ticket.
    Waiting,
    /// Both are there; this was the last message.
    Go,
    /// Nothing comes of it.
    Refused {
        /// Why, for programs.
        code: FaultCode,
        /// Why, for people.
        message: String,
    },
}

/// The same as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct AnswerFields {
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Serialize for LegAnswer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = |state: &str| AnswerFields { state: state.to_owned(), code: None, message: None };
        let fields = match self {
            Self::Waiting => plain("waiting"),
            Self::Go => plain("go"),
            Self::Refused { code, message } => AnswerFields {
                code: Some(code.as_str().to_owned()),
                message: Some(message.clone()),
                ..plain("refused")
            },
        };
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LegAnswer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = AnswerFields::deserialize(deserializer)?;
        match fields.state.as_str() {
            "waiting" => Ok(Self::Waiting),
            "go" => Ok(Self::Go),
            "refused" => {
                let code = FaultCode::from_wire(fields.code.as_deref().unwrap_or("internal"));
                Ok(Self::Refused { code, message: fields.message.unwrap_or_default() })
            }
            other => Err(serde::de::Error::custom(format!("{other:?} is no state of a leg"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Raw;

    #[test]
    fn a_ticket_is_its_digits_and_is_not_shown() {
        let ticket = Ticket::new([0x0f, 0xa5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xff]);
        assert_eq!(ticket.text(), "0fa50102030405060708090a0b0c0dff");
        assert_eq!(Ticket::parse(&ticket.text()), Some(ticket));
        assert_eq!(format!("{ticket:?}"), "Ticket(…)");
        for bad in ["", "0f", "0FA50102030405060708090A0B0C0DFF", "0fa50102030405060708090a0b0c0dfg", "é"] {
            assert_eq!(Ticket::parse(bad), None, "{bad}");
        }
        assert_eq!(Ticket::parse(&"0".repeat(33)), None);
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let ticket = Ticket::new([7; 16]);
        for agent in [None, PeerId::parse("web-1").ok()] {
            let hello = LegHello { ticket, agent };
            let raw = Raw::encode(&hello).unwrap();
            assert!(raw.len() <= MAX_MESSAGE);
            assert_eq!(raw.decode::<LegHello>().unwrap(), hello);
        }
        let refused = LegAnswer::Refused { code: FaultCode::Overloaded, message: "full".to_owned() };
        for answer in [LegAnswer::Waiting, LegAnswer::Go, refused] {
            assert_eq!(Raw::encode(&answer).unwrap().decode::<LegAnswer>().unwrap(), answer);
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let bad = [
            Raw::text("go"),
            Raw::empty_map(),
            Raw::encode(&serde_json::json!({"state": "gone"})).unwrap(),
            Raw::encode(&serde_json::json!({"state": 1})).unwrap(),
        ];
        for raw in &bad {
            assert!(raw.decode::<LegAnswer>().is_err(), "{raw:?}");
            assert!(raw.decode::<LegHello>().is_err(), "{raw:?}");
        }
        let bad = serde_json::json!({"ticket": "short"});
        assert!(Raw::encode(&bad).unwrap().decode::<LegHello>().is_err());
    }
}
