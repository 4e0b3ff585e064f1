//! What agents offer, as the manager knows it: asked for when an agent announces a list that is not known, and shared by all agents
//! that have the same.
//!
//! - [`Procedures`]: one list, and the check of arguments by it. `learn`: asking an agent, and `again`: when to repeat that. `judge`: what follows for calls and jobs. `compiled`: the schemas.
//!
//! The rules, who holds which list and what is forgotten, are [`redpoll_manager_core::catalogue`].

mod again;
mod compiled;
mod judge;
mod learn;
mod procedures;

pub use judge::{Checked, Judged, check_call, check_job, redact_of};
pub use learn::Announcements;
pub use procedures::Procedures;
