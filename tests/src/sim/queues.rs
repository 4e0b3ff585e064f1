//! How much waits in each queue and buffer of the manager and the agents, against the limit that the product gives it by name (I16).
//!
//! | of | what waits | limit |
//! |---|---|---|
//! | manager | inputs for the machine | `engine::INBOX` |
//! | manager | turns for their commit, in number and bytes | `engine::TURNS`, `store::queue::QUEUE_BYTES` |
//! | manager | orders and requests of one connection | `engine::LINE`, the terms of the session |
//! | manager | callbacks under way | `Settings::callbacks_at_once` |
//! | manager | what a follower has not taken: one page, one value | `methods::FOLLOW_PAGE`, `methods::FOLLOW_BATCH` |
//! | manager | payloads of a connection | `DriverOptions::queue_limit` |
//! | agent | requests and orders for the spool | `jobs::CONTROL` |
//! | agent | commits for the disk | `spool::QUEUE` |
//! | agent | items for the disk, in bytes | `jobs::BACKLOG`, and what the runs may add meanwhile: `jobs::WORK` |
//! | agent | pages and reports for the manager | `jobs::ASKS`, `spool::REPORTS_IN_FLIGHT` |
//!
//! Here nobody is held back by a full queue: the limits hold because the rules ask for no more.

use redpoll_agent::jobs::{ASKS, BACKLOG, CONTROL, WORK};
use redpoll_agent::spool::QUEUE;
use redpoll_common::job::spool::{Output, Record};
use redpoll_manager::engine::{INBOX, LINE, TURNS};
use redpoll_manager::methods::{FOLLOW_BATCH, FOLLOW_PAGE};

use super::agent::Agent;
use super::invariant::{Check, Invariant, ensure};
use super::world::{Event, World};

fn at_most(held: usize, limit: usize, what: impl FnOnce() -> String) -> Check {
    ensure(held <= limit, Invariant::Bounded, || format!("{held} {}, and {limit} may", what()))
}

impl World {
    /// Every queue, after every step.
    pub(super) fn judge_queues(&self) -> Check {
        let life = self.manager.life;
        let inputs = self
            .calendar
            .planned()
            .filter(|event| matches!(event, Event::ManagerInput(of, _) if *of == life));
        at_most(inputs.count(), INBOX, || "inputs wait for the machine".to_owned())?;
        at_most(self.manager.turns.len(), TURNS, || "turns wait for their commit".to_owned())?;
        let callbacks = self.callbacks_under_way.len();
        at_most(callbacks, self.callbacks_most, || "callbacks are under way".to_owned())?;
        for (connection, end) in &self.manager.sessions {
            let asked = end.session.as_ref().map_or(0, |session| session.in_flight().0);
            at_most(asked, LINE, || format!("requests wait on connection {connection}"))?;
        }
        self.agents.iter().try_for_each(judge_agent)?;
        self.readers.iter().try_for_each(|reader| {
            let (items, bytes, largest) = reader.holds();
            at_most(items, FOLLOW_PAGE, || "items wait for a reader".to_owned())?;
            at_most(bytes, FOLLOW_BATCH + largest, || "bytes wait for a reader".to_owned())
        })
    }
}

fn judge_agent(host: &Agent) -> Check {
    let (mut answers, mut commits, mut bytes) = (0, 0, 0);
    for (_, output) in &host.outputs {
        match output {
            Output::OfferAnswer(..) | Output::CancelAnswer(..) => answers += 1,
            Output::Commit(records) => {
                commits += 1;
                bytes += records.iter().map(item_bytes).sum::<usize>();
            }
            Output::Spawn { .. }
            | Output::Terminate(_)
            | Output::Kill(_)
            | Output::Pause(_)
            | Output::Unpause(_)
            | Output::Resume(..)
            | Output::Report(..)
            | Output::Load { .. } => {}
        }
    }
    let id = &host.id;
    at_most(answers, CONTROL, || format!("requests wait for the spool of {id}"))?;
    at_most(commits, QUEUE, || format!("commits wait for the disk of {id}"))?;
    let backlog = usize::try_from(BACKLOG).unwrap_or(usize::MAX);
    let most = backlog + WORK * (32 + host.options().max_item);
    at_most(bytes, most, || format!("bytes of items wait for the disk of {id}"))?;
    at_most(host.under_way.len(), ASKS, || format!("reports of {id} wait"))
}

fn item_bytes(record: &Record) -> usize {
    let Record::Items { items, .. } = record else { return 0 };
    items.iter().map(|item| 32 + item.data.len()).sum()
}
