//! TLS over TCP: the transport that is always there.
//!
//! TLS 1.3 alone, both ends with a certificate of the cluster's authority, no tickets, no resumption, no early
//! data: a resumed session would skip the verification of certificates. Who a peer is follows from the one URI in
//! its certificate; host names are never compared, so a manager may move, and nobody gets in by owning a name.
//!
//! - [`TlsServer`], [`TlsClient`]: what one end needs; `reload` exchanges it for the next handshakes.
//! - [`TlsListener`], [`TlsTransport`]: arriving and dialling.
//! - [`Leg`], and [`TlsTransport::leg`]: the two ends of a connection whose bytes a manager passes on; [`DataEnd`]: what goes over two of them.

mod config;
mod data;
mod dialer;
mod error;
mod flow;
mod identity;
mod leg;
mod listener;
mod verify;

pub use config::{ALPN, TlsClient, TlsServer, TlsSetupError};
pub use data::{Cutter, DataEnd, DataError, Receipt, call_digest};
pub use dialer::{DialOptions, TlsTransport};
pub use flow::Stopped;
pub use leg::{Leg, LegError, Pending};
pub use listener::{ListenOptions, TlsListener};
pub use verify::{MAX_CHAIN_BYTES, MAX_CHAIN_LEN};
