//! The manager: the daemon that agents and operators dial.
//!
//! - [`app`]: assembly, from a configuration to a running manager and back to an orderly end. Start reading here.
//! - [`state`]: what all sessions share, each part behind one short lock.
//! - [`gate`]: from an accepted connection to an admitted session; [`sessions`]: its life in the roster.
//! - [`service`] and [`methods`]: what peers may ask for.
//! - [`housekeeping`]: what is done once a minute.
//!
//! - [`engine`]: drives the machine of jobs; [`store`]: where they are kept; [`jobs`]: both from a configuration.
//! - [`clock`]: what durations are counted with.
//! - [`catalogue`]: what agents offer, and whether arguments fit it.
//! - [`callbacks`]: telling somebody of the ends of jobs.
//! - [`orders`]: those for agents that go on when nobody waits for them.
//! - [`relay`]: connections between operators and agents whose bytes are passed on unread.
//! - [`procedures`]: executables on the manager that may be called, and named as callbacks. [`lint`]: the check of a folder of them.
//!
//! Rules (who is let in, who may what, who is connected) are in `redpoll-manager-core`, the protocol in
//! `redpoll-common`, transports and drivers in `redpoll-net`.

pub mod app;
pub mod callbacks;
pub mod catalogue;
pub mod clock;
pub mod door;
pub mod engine;
pub mod gate;
pub mod housekeeping;
pub mod jobs;
pub mod lint;
pub mod methods;
pub mod orders;
mod patience;
pub mod procedures;
pub mod relay;
pub mod service;
pub mod sessions;
pub mod state;
pub mod store;
pub mod store_command;
