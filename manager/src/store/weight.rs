//! What a change counts for in the queue to the writer.

use redpoll_common::job::{Ending, RunState};
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::jobs::record::{Change, RunRecord};

use super::{MAX_PAGE, MAX_RUN_BYTES};

/// What a row counts for beside the bytes of callers and procedures in it.
const ROW: usize = 256;

/// About how many bytes a change has in memory, and on disk.
pub(super) fn weight(change: &Change) -> usize {
    ROW + match change {
        Change::JobSubmitted(job) => {
            let spec = &job.spec;
            let names: usize = job.agents.iter().map(|agent| agent.as_str().len() + 1).sum();
            spec.args.len() + spec.kwargs.len() + spec.info.len() + names
        }
        Change::RunChanged(run) => match &run.state {
            RunState::Ended(ending) => ending_weight(ending),
            RunState::Held
            | RunState::Queued
            | RunState::Offered(..)
            | RunState::Accepted(..)
            | RunState::Running(..)
            | RunState::InDoubt(..) => 0,
        },
        Change::Items { items, .. } => items.iter().map(|item| item.data.len() + 64).sum(),
        Change::Event(event) => event.custom.as_ref().map_or(0, |custom| custom.data.len()),
        Change::Progress { progress, .. } => raw_weight(progress.details.as_ref()),
        Change::AttemptEnded { fault, .. } => fault.as_deref().map_or(0, fault_weight),
        Change::JobReleased { .. }
        | Change::QueueOpened(_)
        | Change::QueueClosed(_)
        | Change::AgentCounters(_)
        | Change::JobEnded { .. }
        | Change::ArgumentsMasked(_)
        | Change::JobRedacted(_)
        | Change::JobDeleted(_)
        | Change::EventsPruned { .. }
        | Change::CallbackChanged(_)
        | Change::Denied(_)
        | Change::Allowed(_)
        | Change::Clock(_) => 0,
    }
}

/// Bytes of what a run's agent says of its end.
pub(super) fn run_weight(run: &RunRecord) -> usize {
    run.state.ending().map_or(0, ending_weight)
}

/// Whether there may be more after a page of runs that was asked for with this limit: it is full, by number or by bytes.
pub fn may_go_on(page: &[RunRecord], limit: usize) -> bool {
    page.len() >= limit.min(MAX_PAGE) || page.iter().map(run_weight).sum::<usize>() >= MAX_RUN_BYTES
}

fn ending_weight(ending: &Ending) -> usize {
    raw_weight(ending.result.as_ref()) + ending.fault.as_ref().map_or(0, fault_weight)
}

fn fault_weight(fault: &Fault) -> usize {
    let texts = [&fault.class, &fault.module, &fault.trace];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let values: usize =
        [&fault.args, &fault.state, &fault.data].into_iter().map(|raw| raw_weight(raw.as_ref())).sum();
    fault.message.len() + texts + values
}

fn raw_weight(raw: Option<&Raw>) -> usize {
    raw.map_or(0, Raw::len)
}
