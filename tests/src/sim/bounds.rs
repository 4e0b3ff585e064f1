//! What is held in memory and on disks, in bytes, against the product's own limits (I16).
//!
//! A direction of a connection holds what the operating system would; what finds no room waits in its session. What waits in
//! queues is counted by `queues`.

use std::collections::{BTreeMap, VecDeque};

use redpoll_common::ids::PeerId;
use redpoll_common::job::spool::{Options, Output, REPORT_BYTES, REPORTS_IN_FLIGHT};
use redpoll_common::job::wire::{Ack, Report, RunRef};
use redpoll_common::job::{Dno, Item, ItemKind, Overflow};
use redpoll_manager::store::queue::{CALL_BYTES, QUEUE_BYTES};
use redpoll_net::driver::DriverOptions;

use super::agent::Agent;
use super::invariant::{Check, Invariant, ensure};
use super::manager::Token;
use super::world::World;

/// What an item counts for beside its content, in bytes.
const ITEM: u64 = 32;

/// What an agent has of a run's items, as its disk and its session show it.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Number and bytes of the items on disk that are not acknowledged.
    unacked: VecDeque<(u64, u64)>,
    /// Bytes of everything that its program wrote and was kept.
    kept: u64,
    /// Bytes that its program wrote after it was to be paused, and before it was.
    late: u64,
}

/// Items in reports that were not answered yet: by the number of the report, of each run number and bytes of each.
pub(super) type UnderWay = BTreeMap<u64, Vec<(RunRef, Vec<(u64, u64)>)>>;

fn cost(item: &Item) -> u64 {
    ITEM + item.data.len() as u64
}

fn bounded(holds: bool, detail: impl FnOnce() -> String) -> Check {
    ensure(holds, Invariant::Bounded, detail)
}

impl Agent {
    /// A program wrote something; if the spool asked for its pause already, that comes too late for it.
    pub(super) fn wrote(&mut self, dno: Dno, len: usize) {
        let paused = |(_, output): &(u64, Output<_>)| matches!(output, Output::Pause(of) if *of == dno);
        if self.outputs.iter().any(paused) {
            self.held.entry(dno).or_default().late += ITEM + len as u64;
        }
    }

    /// The manager has every item of a run below a number, and the disk says so.
    pub(super) fn acknowledged(&mut self, dno: Dno, next_n: u64) {
        if let Some(held) = self.held.get_mut(&dno) {
            held.unacked.retain(|(n, _)| *n >= next_n);
        }
    }

    /// A report was answered, or never will be. An acknowledgement is for everything below it, in whichever report it was.
    pub(super) fn report_answered(&mut self, id: u64, acks: &[Ack]) {
        self.under_way.remove(&id);
        for (run, items) in self.under_way.values_mut().flatten() {
            let acked = acks.iter().filter(|ack| (ack.job, ack.attempt) == (run.job, run.attempt));
            let next_n = acked.map(|ack| ack.next_n).max().unwrap_or(0);
            items.retain(|(n, _)| *n >= next_n);
        }
    }

    /// A report leaves: what is on its way of one run fits the window, or is one item alone.
    pub(super) fn report_leaves(&mut self, id: u64, report: &Report, options: &Options) -> Check {
        let parts = report.reports.iter();
        let parts =
            parts.map(|part| (part.run, part.items.iter().map(|item| (item.n, cost(item))).collect()));
        self.under_way.insert(id, parts.collect());
        for part in &report.reports {
            let all = self.under_way.values().flatten().filter(|(run, _)| *run == part.run);
            let all: Vec<u64> = all.flat_map(|(_, items)| items.iter().map(|(_, bytes)| *bytes)).collect();
            let bytes: u64 = all.iter().sum();
            bounded(all.len() <= 1 || bytes <= options.window, || {
                format!(
                    "{} has {bytes} bytes of {} on their way, and {} may be",
                    self.id, part.run.job, options.window
                )
            })?;
        }
        bounded(self.under_way.len() <= REPORTS_IN_FLIGHT, || {
            format!("{} has {} reports on their way", self.id, self.under_way.len())
        })
    }
}

impl World {
    /// Items reach the disk of an agent: no more of them wait for the manager than may, and no more are kept than the job allows.
    pub(super) fn items_written(&mut self, agent: usize, dno: Dno, items: &[Item]) -> Check {
        let host = &mut self.agents[agent];
        let options = host.options();
        let held = host.held.entry(dno).or_default();
        held.unacked.extend(items.iter().map(|item| (item.n, cost(item))));
        held.kept += items.iter().filter(|item| item.kind != ItemKind::Truncated).map(cost).sum::<u64>();
        let (bytes, kept, late) =
            (held.unacked.iter().map(|(_, bytes)| bytes).sum::<u64>(), held.kept, held.late);
        let run = self.numbers.get(&(host.id.clone(), dno));
        let Some(limits) = run.and_then(|run| self.operators.spec(run.job)).map(|spec| spec.limits) else {
            return Ok(());
        };
        let blocks = limits.overflow == Overflow::Block;
        let limit =
            limits.output.filter(|_| blocks).map_or(options.unacked, |quota| quota.min(options.unacked));
        // the one that reaches the limit is taken
        let most = limit + ITEM + options.max_item as u64 + late;
        let id = &self.agents[agent].id;
        bounded(bytes <= most, || {
            format!("{id} has {bytes} bytes of number {dno} that wait for the manager, and {most} may")
        })?;
        let quota = limits.output.filter(|_| !blocks);
        bounded(quota.is_none_or(|quota| kept <= quota), || {
            format!("{id} kept {kept} bytes of number {dno}, and its job allows {quota:?}")
        })
    }

    /// What waits to be written on an agent's end of its connection, and what it waits for.
    pub(super) fn check_agent_queue(&self, agent: &PeerId, queued: usize, asked: usize) -> Check {
        let reports = u64::try_from(REPORTS_IN_FLIGHT).unwrap_or(u64::MAX);
        // its reports, and answers to what the manager asks
        let most = usize::try_from(REPORT_BYTES * reports).unwrap_or(usize::MAX);
        bounded(queued <= most && asked <= REPORTS_IN_FLIGHT + 1, || {
            format!("the session of {agent} holds {queued} bytes and {asked} requests")
        })
    }

    /// What waits to be written on the manager's end of a connection. Nobody is held back here, so that the limit at which the
    /// driver would is never reached.
    pub(super) fn check_manager_queue(&self, connection: u64, queued: usize) -> Check {
        let limit = DriverOptions::default().queue_limit;
        bounded(queued <= limit, || {
            format!("connection {connection} holds {queued} bytes, and {limit} may wait")
        })
    }

    /// Turns that wait for the disk: the store's queue has room for them. Nobody is held back here, as the real one would do.
    pub(super) fn check_waiting_turns(&self) -> Check {
        let calls = self.manager.turns.iter().filter(|turn| !turn.changes.is_empty()).count();
        let bytes = self.manager.turn_bytes;
        bounded(calls <= QUEUE_BYTES / CALL_BYTES && bytes <= QUEUE_BYTES, || {
            format!("{calls} turns of {bytes} bytes wait for the disk")
        })
    }

    /// What a turn counts for while it waits.
    pub(super) fn turn_bytes(turn: &redpoll_manager_core::jobs::Turn<Token>) -> usize {
        if turn.changes.is_empty() { 0 } else { redpoll_manager::store::queue::counted(&turn.changes) }
    }
}
