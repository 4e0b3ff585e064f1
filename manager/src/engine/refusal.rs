//! The machine's refusals as faults for whoever asked.

use redpoll_common::ids::PeerId;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::Refusal;

/// Agents that a fault names.
const NAMED: usize = 10;
/// When to ask again after a certificate of the caller's was revoked: it is over by then.
const CUT_RETRY_MS: u64 = 100;

/// What the caller is told.
pub(crate) fn fault(refusal: &Refusal) -> Fault {
    let text = refusal.to_string();
    match refusal {
        Refusal::IdemConflict { .. } => Fault::new(FaultCode::IdemConflict, text),
        Refusal::AgentsAway { agents } => {
            let text = format!("{text}: {}; nothing was stored", some(agents));
            Fault::new(FaultCode::AgentAway, text)
        }
        Refusal::AgentsRevoked { agents } => {
            let text = format!("{text}: {}; nothing was stored", some(agents));
            Fault::new(FaultCode::AgentAway, text)
        }
        Refusal::Revoked => Fault::new(FaultCode::Forbidden, format!("{text}; nothing was changed")),
        Refusal::CertificateRevoked => {
            let mut fault =
                Fault::new(FaultCode::Overloaded, format!("{text}; nothing was stored: ask again"));
            fault.retry_after_ms = Some(CUT_RETRY_MS);
            fault
        }
        Refusal::NotRevoked => Fault::new(FaultCode::WrongState, text),
        Refusal::ListFull => {
            let text = format!("{text}: restore what is not needed any more, or make a new authority");
            Fault::new(FaultCode::WrongState, text)
        }
        Refusal::NoAgents => Fault::new(FaultCode::BadArguments, text),
        Refusal::TooManyComparisons { .. } => {
            Fault::new(FaultCode::BadArguments, format!("where: {text}; nothing was changed"))
        }
        Refusal::TooManyRuns { .. } => {
            let text = format!("{text}, jobs.open_runs of the manager; nothing was stored");
            Fault::new(FaultCode::Overloaded, text)
        }
        Refusal::TooManyBytes { .. } => {
            let text = format!("{text}, jobs.open_size of the manager; nothing was stored");
            Fault::new(FaultCode::Overloaded, text)
        }
        Refusal::TooManyRunsOfAgent { .. } => {
            let text = format!("{text}, agents.open_runs of the manager; nothing was stored");
            Fault::new(FaultCode::Overloaded, text)
        }
        Refusal::TooManyBytesOfAgent { .. } => {
            let text = format!("{text}, agents.open_size of the manager; nothing was stored");
            Fault::new(FaultCode::Overloaded, text)
        }
        Refusal::StoreFull => {
            let text = "the manager's disk is full: no new jobs; nothing was stored";
            Fault::new(FaultCode::StoreFull, text)
        }
        Refusal::StoreUnreadable => Fault::new(FaultCode::Internal, text),
        Refusal::NotOpen | Refusal::NotHeld | Refusal::StillOpen => Fault::new(FaultCode::WrongState, text),
    }
}

/// The first of them.
fn some(agents: &[PeerId]) -> String {
    let names: Vec<&str> = agents.iter().take(NAMED).map(|agent| agent.as_str()).collect();
    let more = if agents.len() > NAMED { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}

/// The fault for an answer that answers something else.
pub(super) fn wrong_answer() -> Fault {
    Fault::new(FaultCode::Internal, "the machine of jobs gave another answer than was asked for")
}
