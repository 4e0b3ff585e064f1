//! The agent: the daemon on every machine. It dials out, proves who it is, and runs what its owner offers.
//!
//! - [`app`]: assembly, from a configuration to a connected agent and back to an orderly end. Start reading here.
//! - [`link`]: the hello, and the present session. [`service`]: how many calls at a time, and none while stopping.
//! - [`procedures`]: executables as procedures, once and as workers.
//! - [`gate`]: judges every call and every run before anything of it runs: schema, policy, whom it runs as.
//! - [`offered`]: what is offered now, and what changes that while it runs.
//! - [`builtin`]: the built-in procedures; [`exec`] runs processes for them, [`facts`] reads what the machine is.
//!
//! - [`jobs`]: runs of jobs, and what the agent owes the manager about them; [`spool`] keeps it on disk.
//! - [`lint`]: the check of a folder of manifests, without a daemon.
//! - [`trial`]: what the policy says of a call that does not run, without a daemon.
//! - [`clock`]: the clock that goes on while the machine sleeps.
//!
//! - [`sdk`]: an agent of one's own, with procedures in Rust.
//!
//! The protocol is in `redpoll-common`, the connection in `redpoll-net`.

pub mod app;
pub mod builtin;
pub mod clock;
pub mod exec;
pub mod facts;
pub mod gate;
pub mod jobs;
pub mod link;
pub mod lint;
mod offer;
pub mod offered;
pub mod procedures;
pub mod sdk;
pub mod service;
pub mod spool;
pub mod trial;
