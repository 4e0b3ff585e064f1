//! The protocol state of one connection, without the connection.
//!
//! - [`handshake`]: from the first message to [`Terms`], as types that can only be used in order.
//! - [`Session`]: what holds afterwards: keep-alive, calls both ways, values, credit, the order of writing.
//! - [`backoff`]: when a dialler tries again.
//!
//! All of them are machines: input through `handle_*` with the time as an argument, output through `poll_*`, never
//! a wait. `redpoll-net` drives them on real connections; tests drive them by hand.

pub mod backoff;
pub mod calls;
pub mod close;
pub mod credit;
pub mod handshake;
pub mod inbound;
pub mod keepalive;
pub mod machine;
pub mod outbox;
pub mod terms;

pub use calls::CallId;
pub use close::CloseReason;
pub use inbound::{Incoming, StopReason};
pub use machine::{Event, MAX_TIMEOUT, OutgoingCall, Refusal, Session, ValueError};
pub use outbox::{Class, SMALL};
pub use terms::Terms;

/// Mixes a counter into a well-spread number (SplitMix64, Steele et al. 2014): jitter, not secrecy.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An error and everything that caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // transparent errors repeat their source
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
