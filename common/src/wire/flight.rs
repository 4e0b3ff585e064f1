//! The notifications that belong to a request in flight: `rp.value`, `rp.progress`, `rp.cancel`, `rp.credit`.

use bytes::Bytes;

use super::codec::request_id;
use super::encode::begin;
use super::error::DecodeError;
use super::fields::Fields;
use super::message::kind;
use super::{Notification, Raw, RawMap};
use crate::ids::RequestId;

/// The notification type of [`Flight::Value`].
pub const VALUE: &str = "rp.value";
/// The notification type of [`Flight::Progress`].
pub const PROGRESS: &str = "rp.progress";
/// The notification type of [`Flight::Cancel`].
pub const CANCEL: &str = "rp.cancel";
/// The notification type of [`Flight::Credit`].
pub const CREDIT: &str = "rp.credit";

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Items done.
    pub completed: u64,
    /// Items in all, if known.
    pub total: Option<u64>,
    /// Anything else; `nil` if there is nothing.
    pub details: Raw,
}

/// A notification about a request in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flight {
    /// From the callee: value number `n` (from 0, without gaps) of the request.
    Value {
        /// The request.
        request: RequestId,
        /// The number of the value.
        n: u64,
        /// The value.
        data: Raw,
    },
    /// From the callee: how far it is; only the newest counts.
    Progress {
        /// The request.
        request: RequestId,
        /// How far.
        progress: Progress,
    },
    /// From the caller: stop. The response still comes.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// From the caller: this many more bytes of values may be sent.
    Credit {
        /// The request.
        request: RequestId,
        /// The bytes granted in addition.
        bytes: u64,
    },
}

impl Flight {
    /// The request that it belongs to.
    pub fn request(&self) -> &RequestId {
        match self {
            Self::Value { request, .. }
            | Self::Progress { request, .. }
            | Self::Cancel { request }
            | Self::Credit { request, .. } => request,
        }
    }

    /// The notification's type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Value { .. } => VALUE,
            Self::Progress { .. } => PROGRESS,
            Self::Cancel { .. } => CANCEL,
            Self::Credit { .. } => CREDIT,
        }
    }

    /// As a notification, for everything that handles messages.
    pub fn encode(&self) -> Notification {
        let data = self.write(RawMap::with_capacity(self.size())).into_bytes();
        Notification { kind: self.kind().to_owned(), data: Raw::scanned(data) }
    }

    /// As a payload, without a notification in between.
    ///
    /// A value of somebody else may be too deep or too large for the receiver once it is in a message: give the result to
    /// [`within`](super::codec::within).
    pub fn payload(&self) -> Bytes {
        let map = begin(kind::NOTIFICATION, self.size()).text("type", self.kind());
        map.map("data", |map| self.write(map)).into_bytes()
    }

    /// About how many bytes it takes.
    fn size(&self) -> usize {
        let value = match self {
            Self::Value { data, .. } => data.len(),
            Self::Progress { progress, .. } => progress.details.len(),
            Self::Cancel { .. } | Self::Credit { .. } => 0,
        };
        value + self.request().as_str().len() + 64
    }

    fn write(&self, map: RawMap) -> RawMap {
        let map = map.text("id", self.request().as_str());
        match self {
            Self::Value { n, data, .. } => map.uint("n", *n).raw("data", data),
            Self::Progress { progress, .. } => map
                .uint("completed", progress.completed)
                .opt_uint("total", progress.total)
                .opt_raw("details", Some(&progress.details).filter(|details| !details.is_nil())),
            Self::Cancel { .. } => map,
            Self::Credit { bytes, .. } => map.uint("bytes", *bytes),
        }
    }

    /// Reads a notification; `None` if it is not about a request in flight.
    ///
    /// # Errors
    /// [`DecodeError`] when its type is one of the four and its fields do not fit.
    pub fn decode(notification: &Notification) -> Result<Option<Self>, DecodeError> {
        let kind = match notification.kind.as_str() {
            VALUE => VALUE,
            PROGRESS => PROGRESS,
            CANCEL => CANCEL,
            CREDIT => CREDIT,
            _ => return Ok(None),
        };
        let flight = Fields::of(&notification.data).and_then(|fields| read(kind, &fields));
        flight.map(Some).map_err(|error| error.within(kind))
    }
}

/// Reads the fields of one of the four types.
fn read(kind: &'static str, fields: &Fields<'_>) -> Result<Flight, DecodeError> {
    let request = request_id(fields)?;
    Ok(match kind {
        VALUE => Flight::Value { request, n: fields.u64("n")?, data: fields.raw("data")? },
        PROGRESS => Flight::Progress {
            request,
            progress: Progress {
                completed: fields.u64("completed")?,
                total: fields.opt_u64("total")?,
                details: fields.opt_raw("details")?.unwrap_or_else(Raw::nil),
            },
        },
        CREDIT => Flight::Credit { request, bytes: fields.u64("bytes")? },
        _ => Flight::Cancel { request },
    })
}
