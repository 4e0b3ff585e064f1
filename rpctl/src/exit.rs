//! Exit codes, and which failure ends in which. Scripts rely on them.

use std::process::ExitCode;

use redpoll_common::wire::FaultCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: what was asked for was done.
    Good,
    /// 1: the procedure failed by its own account, or what it answered cannot be delivered.
    Failed,
    /// 2: the command line, the configuration or a local file is wrong. Nothing was sent.
    Usage,
    /// 3: refused: rights, policy, arguments, no such procedure. It did not run.
    Refused,
    /// 4: the manager cannot be reached, or refused us, or has no room. It did not run.
    Unreachable,
    /// 5: the agent is unknown or away. It did not run.
    Away,
    /// 6: a time limit passed, of the command or of the job.
    TimedOut,
    /// 7: cancelled by somebody else.
    Cancelled,
    /// 8: the agent or the manager was lost: it may have run. Or a revocation is not settled.
    Unknown,
    /// 70: the system around the procedure failed.
    Internal,
    /// 130: interrupted at the keyboard.
    Interrupted,
}

impl Exit {
    /// Every way to end, with what it means, in the order of the numbers.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Good, "good"),
        (Self::Failed, "the procedure failed"),
        (Self::Usage, "wrong usage, configuration or local file; nothing was sent"),
        (Self::Refused, "refused: rights, policy, arguments; it did not run"),
        (Self::Unreachable, "the manager is unreachable or refused us"),
        (Self::Away, "the agent is unknown or away"),
        (Self::TimedOut, "timed out or expired"),
        (Self::Cancelled, "cancelled"),
        (Self::Unknown, "outcome unknown: the agent or the manager was lost during the call"),
        (Self::Internal, "the system around the procedure failed"),
        (Self::Interrupted, "interrupted"),
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::Away => 5,
            Self::TimedOut => 6,
            Self::Cancelled => 7,
            Self::Unknown => 8,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }

    /// How a call ends that got a fault with this code.
    pub fn of_fault(code: &FaultCode) -> Self {
        match code {
            // An answer that no frame can carry is the procedure's doing, and it has run.
            FaultCode::Failed | FaultCode::TooLarge => Self::Failed,
            FaultCode::Rejected
            | FaultCode::Forbidden
            | FaultCode::UnknownMethod
            | FaultCode::UnknownProcedure
            | FaultCode::BadArguments
            | FaultCode::UnknownJob
            | FaultCode::IdemConflict
            | FaultCode::WrongState => Self::Refused,
            FaultCode::UnknownAgent | FaultCode::AgentAway => Self::Away,
            // Nothing ran and nothing is wrong with the call: try again.
            FaultCode::Overloaded | FaultCode::ShuttingDown | FaultCode::StoreFull => Self::Unreachable,
            FaultCode::TimedOut => Self::TimedOut,
            FaultCode::Cancelled => Self::Cancelled,
            FaultCode::Internal => Self::Internal,
            // A code of a newer manager: this build cannot tell whether anything ran.
            FaultCode::AgentGone | FaultCode::Unsettled | FaultCode::Other(_) => Self::Unknown,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_code_has_its_exit_code() {
        let table = [
            ("failed", 1),
            ("rejected", 3),
            ("forbidden", 3),
            ("unknown_method", 3),
            ("unknown_procedure", 3),
            ("bad_arguments", 3),
            ("unknown_agent", 5),
            ("agent_away", 5),
            ("agent_gone", 8),
            ("timed_out", 6),
            ("cancelled", 7),
            ("too_large", 1),
            ("overloaded", 4),
            ("shutting_down", 4),
            ("internal", 70),
            ("unknown_job", 3),
            ("idem_conflict", 3),
            ("wrong_state", 3),
            ("store_full", 4),
            ("unsettled", 8),
        ];
        let found: Vec<_> =
            FaultCode::ALL.iter().map(|code| (code.as_str(), Exit::of_fault(code).code())).collect();
        assert_eq!(found, table);
        assert_eq!(Exit::of_fault(&FaultCode::from_wire("from_the_future")), Exit::Unknown);
    }

    #[test]
    fn five_kinds_of_end_have_five_numbers() {
        let failure = Exit::of_fault(&FaultCode::Failed);
        let refusal = Exit::of_fault(&FaultCode::Rejected);
        let system = Exit::of_fault(&FaultCode::Internal);
        let cancellation = Exit::of_fault(&FaultCode::Cancelled);
        let loss = Exit::of_fault(&FaultCode::AgentGone);
        let mut codes = [failure, refusal, system, cancellation, loss].map(Exit::code).to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 5);
    }

    #[test]
    fn the_table_for_people_is_sorted_and_whole() {
        let codes = Exit::ALL.map(|(exit, _)| exit.code());
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 70, 130]);
    }
}
