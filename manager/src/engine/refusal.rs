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
        Refusal::TooManyRuns { runs, limit, .. } => no_room(text, "jobs.open_runs", runs > limit),
        Refusal::TooManyBytes { of_job, limit, .. } => no_room(text, "jobs.open_size", of_job > limit),
        Refusal::TooManyRunsOfAgent { runs, limit, .. } => no_room(text, "agents.open_runs", runs > limit),
        Refusal::TooManyBytesOfAgent { of_job, limit, .. } => {
            no_room(text, "agents.open_size", of_job > limit)
        }
        Refusal::StoreFull => {
            let text = "the manager's disk is full: no new jobs; nothing was stored";
            Fault::new(FaultCode::StoreFull, text)
        }
        Refusal::StoreUnreadable => Fault::new(FaultCode::Internal, text),
        Refusal::NotOpen | Refusal::NotHeld | Refusal::StillOpen => Fault::new(FaultCode::WrongState, text),
    }
}

/// There is no place for a job now, or, where it alone is beyond the limit, never.
fn no_room(text: String, key: &str, never: bool) -> Fault {
    let code = if never { FaultCode::TooLarge } else { FaultCode::Overloaded };
    Fault::new(code, format!("{text}, {key} of the manager; nothing was stored"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_never_fits_is_not_told_to_come_again() {
        for (runs, code) in [(10, FaultCode::Overloaded), (11, FaultCode::TooLarge)] {
            let fault = fault(&Refusal::TooManyRunsOfAgent { open: 3, runs, limit: 10 });
            let text = format!("3 open runs, this one has {runs}, and 10 are the limit, agents.open_runs");
            assert!(fault.code == code && fault.message.contains(&text), "{fault}");
        }
        for (of_job, code) in [(10, FaultCode::Overloaded), (11, FaultCode::TooLarge)] {
            let fault = fault(&Refusal::TooManyBytes { bytes: 14, of_job, limit: 10 });
            assert!(
                fault.code == code && fault.message.contains(&format!("has {of_job}, and 10")),
                "{fault}"
            );
        }
    }
}
