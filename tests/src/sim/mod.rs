//! The whole system in one thread, without a clock, a network or a disk: the real manager machine, the real spools and the
//! real sessions between them, exchanging real bytes, in a world that decides by the dice of one seed what goes wrong.
//!
//! [`run`] is one world from its beginning to its end. In it crash the manager and the agents, at any moment and between two
//! effects of a turn, and lose what was not synced; machines reboot, spools are lost or taken back to older states of
//! themselves; networks part, connections are cut, replaced and noticed late; disks fill up; wall clocks jump. Operators submit
//! jobs with every field of a spec, cancel, release and delete; readers join anywhere. An `oracle` outside of the product
//! counts what really ran. After every step hold the [`Invariant`]s; then the faults stop, and everything has to come to its
//! end.
//!
//! - `clock`, `dice`, `trace`: time, chance, and the sum of all events.
//! - `network`: connections. `weather`, `faults`: what goes wrong.
//! - `manager`, `manager_link`, `store`, `transitions`: the manager's process, its sessions, its disk, what rows may become.
//! - `agent`, `agent_link`, `agent_disk`, `programs`: an agent's process, its session, its disk, what it runs.
//! - `operators`, `plan`, `readers`: who asks for what.
//! - `liveness`: that everything comes to its end, and when.
//! - `oracle`, `judge`, `contracts`, `limits`: what happened, and what must be true of it.
//! - `bounds`, `queues`: what is held, in bytes and in number. `leaps`: clocks that are set. `shut_out`: who has no say any more.
//! - `count`: the manager's count of time. `history`, `told`, `presence`: the events, against all of it. `chained`: their hashes.
//!
//! Not here, because the product does not have them yet: records of what changes no state (of I15 the history of events and its hashes
//! are judged), more than one manager (of I9 what a dead one had still sent; that two never have one store, real processes show). Not
//! here at all: what the engine's own queues hold back when they are full; here they never are; and who works for a session that is
//! being cut. Over a reboot of the manager's machine the count of time goes by a wall clock that may have been
//! set, so that I13 is judged by the count then.
//!
//! One thing is left out because the product does not promise it: that a run which was given up as unknown and still runs can
//! be cancelled, or is ended when its job is deleted.

#![expect(clippy::indexing_slicing, reason = "the world numbers its agents itself")]

mod agent;
mod agent_disk;
mod agent_link;
mod bounds;
#[cfg(test)]
mod breaks;
mod chained;
mod clock;
mod contracts;
mod count;
mod dice;
mod faults;
mod history;
mod invariant;
mod judge;
mod leaps;
mod limits;
mod liveness;
mod manager;
mod manager_link;
mod network;
mod operators;
mod oracle;
mod plan;
mod presence;
mod programs;
mod queues;
mod readers;
mod refused;
mod report;
mod revoked;
mod shut_out;
mod store;
mod told;
mod trace;
mod transitions;
mod weather;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::invariant::{Invariant, Violation};
pub use self::report::{Report, Tally};

use self::world::World;

/// One world, decided by its seed alone. With `trace` the report has a line for everything that happened.
pub fn run(seed: u64, trace: bool) -> Report {
    judged(seed, trace, World::run)
}

/// What is found of a world while it goes on.
fn judged(seed: u64, trace: bool, goes_on: impl FnOnce(&mut World)) -> Report {
    let mut world = World::new(seed, trace);
    let ended = catch_unwind(AssertUnwindSafe(|| goes_on(&mut world)));
    if let Err(panic) = ended {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.fail(Invariant::NoPanic, said.unwrap_or_else(|| "a panic".to_owned()));
    }
    world.into_report(seed)
}
