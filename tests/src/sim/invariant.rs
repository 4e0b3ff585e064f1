//! What must hold, by name.

use std::fmt;

/// What must hold after every step. The names are those of the product's design.
///
/// Of one there is only a part: there is no audit of what changes nothing (I15) yet to hold it against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// I1: a job whose id was given out is stored, until somebody deletes it.
    AcknowledgedIsStored,
    /// I2: the same key is the same job; the same key with another spec is refused.
    OneKeyOneJob,
    /// I3: an attempt is started at most once.
    StartedOnce,
    /// I4: attempts of a run do not overlap, and nothing starts after the end, unless it may be repeated.
    NoOverlap,
    /// I5: only legal transitions; an end is final but for `unknown`, once.
    LegalTransitions,
    /// I6: the end tells what happened.
    TruthfulEnd,
    /// I7: what a reader sees is a prefix of what the procedure wrote, without gap and repetition.
    GaplessItems,
    /// I8: what an agent forgets, the manager has on disk, or does not want.
    ForgottenIsStored,
    /// I9: an agent has one live session, the newest, is offered nothing on any other, and nothing that it says on an older one does
    /// anything.
    OneLiveSession,
    /// I10: dispatch numbers grow, and each stands for one thing.
    NumbersGrow,
    /// I11: agents have no more runs of a queue than it has slots, but for those that were given up and are found again.
    SlotsHold,
    /// I12: what was cancelled before its start never starts, and what was cancelled is not tried again.
    CancelHolds,
    /// I13: nothing starts after `start_within` on the boot-time clock.
    StartsInTime,
    /// I14: nothing of somebody who is shut out has an effect, nor of a connection that the manager closed.
    ///
    /// From the answer to a revocation until somebody asks for the restoration the agent is not let in, also by a manager that was
    /// killed meanwhile, and no word of it is taken, on whatever connection it comes and however late it is heard. The same holds from
    /// the end of a certificate until the machine has another one. What is read from any connection after the manager has closed it
    /// does nothing either, and a connection that was replaced settles nothing.
    ShutOut,
    /// I15: every change of a state has its record, and no record tells of anything else.
    ///
    /// Held against the history of events: in each transaction exactly those events which tell what it changes, of the right
    /// kind, agent, attempt and outcome; numbers without gaps, also across restarts; and whenever the manager comes back, the
    /// history from its beginning gives the states of the rows. Each event follows on all before it by its hash, after each transaction
    /// and, as far as it is kept, whenever the manager comes back. Still to come with the product's audit: who asked for it.
    HistoryTells,
    /// I16: what is held in memory is bounded.
    Bounded,
    /// I17: when the faults stop, everything comes to its end.
    Liveness,
    /// I18: what is known to be secret is in no event, and not stored once its job has ended.
    Masked,
    /// I19: nothing panics, and honest sides never break the protocol.
    NoPanic,
    /// A callback is recorded as delivered once, after its receiver took it, and not told again afterwards.
    CallbackOnce,
    /// What runs is what was submitted.
    SpecIntact,
}

impl Invariant {
    /// Its name in failure messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcknowledgedIsStored => "I1 acknowledged is stored",
            Self::OneKeyOneJob => "I2 one key, one job",
            Self::StartedOnce => "I3 started once",
            Self::NoOverlap => "I4 no overlap",
            Self::LegalTransitions => "I5 legal transitions",
            Self::TruthfulEnd => "I6 truthful end",
            Self::GaplessItems => "I7 gapless items",
            Self::ForgottenIsStored => "I8 forgotten is stored",
            Self::OneLiveSession => "I9 one live session",
            Self::NumbersGrow => "I10 numbers grow",
            Self::SlotsHold => "I11 slots hold",
            Self::CancelHolds => "I12 cancel holds",
            Self::StartsInTime => "I13 starts in time",
            Self::ShutOut => "I14 shut out",
            Self::HistoryTells => "I15 history tells",
            Self::Bounded => "I16 bounded",
            Self::Liveness => "I17 liveness",
            Self::Masked => "I18 masked",
            Self::NoPanic => "I19 no panic",
            Self::CallbackOnce => "callback once",
            Self::SpecIntact => "spec intact",
        }
    }
}

/// Something that must not happen did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// How that shows.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.detail)
    }
}

/// The outcome of a check.
pub(super) type Check = Result<(), Violation>;

/// `Err` unless the condition holds.
pub(super) fn ensure(holds: bool, invariant: Invariant, detail: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Violation { invariant, detail: detail() }) }
}
