//! What a manager decides, without I/O: no socket, no clock, no random number, no lock.
//!
//! - [`admission`]: which connections get a handshake slot and which peers a seat;
//!   [`address`] is what it counts as one address.
//! - [`roster`]: which agents are connected, which were; the newest connection wins.
//! - [`catalogue`]: what each agent offers; equal lists are one.
//! - [`jobs`]: which run goes to which agent when, and what became of it.
//! - [`chain`]: the hashes over the history of events, and where they do not fit.
//! - [`access`]: which role may use which method of the manager, one table; [`agents`]: what agents may ask for through it;
//!   [`glob`]: names that match.
//! - [`revoked`]: who is shut out.
//! - [`roles`]: which roles operators have, for the policies of agents.
//! - [`parking`]: operators' legs that wait for an agent's.
//! - [`spread`]: when somebody who is sent away should come back, so that a fleet does not return in one moment.
//! - [`counters`]: what the manager counts for `rp.status`.
//!
//! Time and randomness are arguments: `now: Instant`, `random: u64`. Every rule has one owner; the manager keeps
//! [`roster::Roster`] and [`admission::Admission`] behind one mutex each, locked inside single short functions.
//! Everything here takes O(log n) but the listings, which say so.
//! Tasks, sockets and logs are in `redpoll-manager`; the protocol is in `redpoll-common`.
//! Start reading at [`roster::Roster::connect`].

pub mod access;
pub mod address;
pub mod admission;
pub mod agents;
pub mod catalogue;
pub mod chain;
pub mod clock;
pub mod counters;
pub mod glob;
pub mod jobs;
pub mod parking;
mod recent;
pub mod revoked;
pub mod roles;
pub mod roster;
pub mod spread;
