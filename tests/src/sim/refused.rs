//! Under which words refusals are counted.

use redpoll_manager_core::jobs::Refusal;

/// What a refusal is in the tally.
pub(super) fn refusal_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::IdemConflict { .. } => "refused: key in use",
        Refusal::AgentsAway { .. } => "refused: agents away",
        Refusal::AgentsRevoked { .. } => "refused: agents revoked",
        Refusal::Revoked | Refusal::CertificateRevoked | Refusal::NotRevoked | Refusal::ListFull => {
            "refused: not in this world"
        }
        Refusal::NoAgents => "refused: no agents",
        Refusal::TooManyRuns { .. } | Refusal::TooManyBytes { .. } => "refused: too many runs",
        Refusal::TooManyRunsOfAgent { .. } | Refusal::TooManyBytesOfAgent { .. } => {
            "refused: too many runs of an agent"
        }
        Refusal::StoreFull => "refused: store full",
        Refusal::StoreUnreadable => "refused: store unreadable",
        Refusal::NotOpen | Refusal::NotHeld | Refusal::StillOpen => "refused: not in its state",
        Refusal::TooManyComparisons { .. } => "refused: too much to compare",
    }
}
