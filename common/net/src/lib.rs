//! Redpoll's effects on the network: transports, the driver of a connection, dialling and being dialled.
//!
//! - [`transport`]: what moves payloads; [`memory`] and [`tls`] implement it, [`conformance`] is what they must pass.
//! - [`driver`]: the one task per connection that drives a [`redpoll_common::session::Session`]; [`peer`] is its handle.
//! - [`service`] and [`registry`]: what answers a peer's requests, the same type on agents and on the manager.
//! - [`serving`]: which request a thread serves at the moment, for the log.
//! - [`listing`]: what a registry has, as a list that travels.
//! - [`greet`]: the two sides of the handshake on a connection.
//! - [`dial`]: connecting again and again, with back-off.
//! - [`expiry`]: what the end of a certificate means for a session.
//! - [`failpoint`]: where tests let a daemon die.
//! - [`shutdown`]: the signals of a daemon, and the runtime around it; [`allocator`]: what its memory keeps.
//!
//! Rules live in `redpoll-common`; who is let in and what is run is the programs' business. Start with [`driver`].

pub mod allocator;
pub mod clock;
mod command;
pub mod conformance;
pub mod dial;
pub mod driver;
pub mod expiry;
pub mod failpoint;
pub mod framed;
pub mod greet;
pub mod listing;
pub mod memory;
mod outgoing;
pub mod peer;
pub mod random;
pub mod registry;
pub mod service;
pub mod serving;
pub mod shutdown;
mod slot;
pub mod socket;
pub mod stream;
pub mod tls;
pub mod transport;

pub use driver::{DriverOptions, drive};
pub use peer::{Call, CallError, CallEvent, CallStream, Peer};
pub use registry::{ProcedureInfo, Registry};
pub use service::{CallContext, Service};
