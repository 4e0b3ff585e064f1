//! Sessions in one process, mostly on a paused clock: greeting, two drivers, what they serve, dialling again and again.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod calls;
mod dial;
mod ending;
mod expiry;
mod greet;
mod pressure;
mod registry;
mod support;
mod values;
