//! What a commit says, kept until it is durable: only then it is true, and told.

use std::collections::BTreeMap;

use redpoll_common::job::spool::Record;
use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Dno, Outcome};
use redpoll_common::wire::FaultCode;
use tracing::{debug, info};

use super::execution::Execution;

/// The notes of a commit.
#[derive(Debug, Default)]
pub(super) struct Notes {
    max_dno: Dno,
    /// Bytes of items.
    pub(super) bytes: u64,
    received: Vec<(RunRef, String)>,
    done: Vec<(RunRef, Outcome, Option<FaultCode>)>,
    gone: Vec<Dno>,
}

/// Bytes of the items in records.
pub(super) fn bytes(records: &[Record]) -> u64 {
    let bytes = |record: &Record| match record {
        Record::Items { items, .. } => items.iter().map(|item| item.data.len()).sum(),
        Record::Floor { .. }
        | Record::Received { .. }
        | Record::Starting { .. }
        | Record::Running { .. }
        | Record::Acked { .. }
        | Record::Done { .. }
        | Record::Gone { .. } => 0,
    };
    u64::try_from(records.iter().map(bytes).sum::<usize>()).unwrap_or(u64::MAX)
}

impl Notes {
    pub(super) fn of(records: &[Record]) -> Self {
        let mut notes = Self { bytes: bytes(records), ..Self::default() };
        for record in records {
            notes.max_dno = notes.max_dno.max(record.dno());
            match record {
                Record::Received { offer, .. } => notes.received.push((offer.run, offer.procedure.clone())),
                Record::Done { run, ending, .. } => {
                    let code = ending.fault.as_ref().map(|fault| fault.code.clone());
                    notes.done.push((*run, ending.outcome, code));
                }
                Record::Gone { dno } => notes.gone.push(*dno),
                Record::Floor { .. }
                | Record::Starting { .. }
                | Record::Running { .. }
                | Record::Items { .. }
                | Record::Acked { .. } => {}
            }
        }
        notes
    }

    /// Writes them into the log, lets go of runs that ended, and gives the highest dispatch number.
    pub(super) fn told(self, executions: &mut BTreeMap<Dno, Execution>) -> Dno {
        for (run, procedure) in self.received {
            debug!(job = %run.job, attempt = %run.attempt, dno = %run.dno, ?procedure, "run received");
        }
        for (run, outcome, code) in self.done {
            let procedure = executions.remove(&run.dno).map(|execution| execution.procedure);
            let (procedure, code) = (procedure.as_deref(), code.as_ref().map(FaultCode::as_str));
            info!(job = %run.job, attempt = %run.attempt, dno = %run.dno, procedure, %outcome, code, "run ended");
        }
        for dno in self.gone {
            executions.remove(&dno);
        }
        self.max_dno
    }
}
