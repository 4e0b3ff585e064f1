//! Two drivers and a connection between them, in one process and mostly on a paused clock.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod calls;
mod ending;
mod pressure;
mod support;
mod values;
