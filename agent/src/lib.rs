//! The agent: the daemon on every machine. It dials out, proves who it is, and runs what its owner offers.
//!
//! - [`app`]: assembly, from a configuration to a connected agent and back to an orderly end. Start reading here.
//! - [`link`]: the hello, and the present session. [`service`]: how many calls at a time, and none while stopping.
//! - [`gate`]: judges every call and every run before anything of it runs: schema, policy, whom it runs as.
//! - [`offered`]: what is offered now, and what changes that while it runs.
//! - [`builtin`]: the built-in procedures; [`facts`] reads what the machine is.
//!
//! - [`jobs`]: runs of jobs, and what the agent owes the manager about them; [`spool`] keeps it on disk.
//! - [`leftovers`]: what still runs of runs whose agent died.
//! - [`lint`]: the check of a folder of manifests, without a daemon.
//! - [`trial`]: what the policy says of a call that does not run, without a daemon.
//! - [`schedule`]: procedures that run by themselves; [`manager`]: asking the manager.
//!
//! - [`sdk`]: an agent of one's own, with procedures in Rust.
//!
//! The protocol is in `redpoll-common`, the connection in `redpoll-net`, and programs are run, as procedures too, by `redpoll-exec`: its modules
//! [`exec`], [`procedures`] and [`clock`] are here under their names.

pub mod app;
pub mod builtin;
pub mod facts;
mod footprint;
pub mod jobs;
pub mod leftovers;
pub mod link;
pub mod lint;
pub mod manager;
mod offer;
pub mod offered;
pub mod recurring;
mod renewal;
pub mod schedule;
pub mod sdk;
pub mod service;
pub mod spool;
pub mod trial;
mod typed;

pub use redpoll_exec::{clock, exec, gate, procedures};
