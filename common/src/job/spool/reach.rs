//! How far a dispatch number may be above those that were seen. Whoever may be heard as a manager for a moment could otherwise burn all
//! numbers with one offer, and the true manager could give out none any more.

use super::Spool;
use crate::job::ids::Dno;
use crate::wire::{Fault, FaultCode};

/// How far above the highest that was seen: far more than a manager gives out to one agent while that is away.
const REACH: u64 = 1 << 32;
/// The highest that a new spool takes: it knows nothing of what the manager has given out. More than what a manager goes on from that an
/// older spool has shown it, or a new spool would not help where numbers were burnt.
const FIRST_REACH: u64 = (1 << 62) + (1 << 61);

impl<T> Spool<T> {
    /// Whether a manager can have come to this number.
    pub(super) fn in_reach(&self, dno: Dno) -> Result<(), Fault> {
        let seen = self.max_dno;
        let most = if seen == Dno(0) { FIRST_REACH } else { seen.0.saturating_add(REACH) };
        if dno.0 <= most {
            return Ok(());
        }
        let text = format!(
            "dispatch number {dno} is far beyond {seen}, the highest that this agent has seen; nothing is done about it"
        );
        Err(Fault::new(FaultCode::BadArguments, text))
    }
}
