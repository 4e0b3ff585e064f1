//! Runs programs for those who offer them: agents, and the manager.
//!
//! - [`exec`]: one program: its start, its streams, its limits, and an end that leaves nothing behind.
//! - [`procedures`]: executables as procedures, once and as workers.
//! - [`check`]: a folder of manifests without a daemon.
//! - [`limits`]: what no call may exceed. [`places`]: how many at a time. [`telling`]: how a program's streams and failures are told to a caller.
//! - [`gate`]: the schema of a call's arguments, the policy, and the user it runs as.
//! - [`clock`]: the clock that goes on while the machine sleeps.
//!
//! What the two sides of a procedure say to each other is a machine without I/O, [`redpoll_common::procedure`]; what describes
//! one is [`redpoll_config::Manifest`]. Who may call it is decided by whoever offers it.

mod asker;
pub mod check;
pub mod clock;
mod emitter;
pub mod exec;
pub mod gate;
pub mod limits;
pub mod places;
pub mod procedures;
pub mod telling;

pub use asker::{Answering, Asker, Question, Wanted};
pub use emitter::{Emitter, Losses};
pub use limits::ExecLimits;
pub use places::{Claim, Places};
