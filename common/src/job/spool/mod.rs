//! The agent's spool: which runs it has, and what it owes the manager about them. Rules only; the disk, the processes and
//! the session belong to whoever drives it.
//!
//! ```text
//!           offer with a new dno
//!  (none) ------------------------> RECEIVED --start--> STARTING --spawned--> RUNNING
//!    | refused: dno used up            | start_within, cancel  |                 |
//!    | cancel for an unseen dno        v                       v                 v
//!    '------------------------------> DONE <-------------------------------------'
//!                                     DONE --acknowledged--> GONE --below purge_below_dno--> forgotten
//! ```
//!
//! 1. What leads to `RECEIVED`, `STARTING`, `DONE` is a [`Output::Commit`] that stands before the answer, the spawn or
//!    the report it allows: the driver performs outputs in order and goes past a commit only once it is durable.
//! 2. `max_dno` moves in the same commit.
//! 3. An offer with `dno ≤ max_dno` is answered from the spool and never executed, for ever: no time window.
//! 4. An ending is reported again after each reconnect until it is acknowledged, always the same.
//! 5. What a run brought along is dropped as soon as it is not needed; what is left of it goes at `purge_below_dno`, or
//!    earlier when too much of it piles up, which `max_dno` makes safe.
//!
//! After a restart of the agent ([`Spool::recover`]) a received run waits for the manager's `continue`; one that was starting or
//! running ended as unknown. Nothing is run again.
//!
//! A cancel may overtake its offer and offers before it: those are answered `absent` and the manager offers them anew
//! under new numbers.

mod ending;
mod fit;
mod given;
mod image;
mod machine;
mod reach;
mod record;
mod report;
mod resume;
mod row;
mod stream;

pub use fit::{fit, fits};
pub use image::{Image, ImageError, ImageRow};
pub use machine::Spool;
pub use record::{MAX_RECORD_ITEMS, Record, Stamp};

use std::time::Duration;

use super::ids::Dno;
use super::item::{ITEM_OVERHEAD, Item, ItemKind};
use super::run::Outcome;
use super::wire::{Cancel, Offer, OfferAnswer, Report, ReportAnswer, Resume, ResumeAnswer, SpoolState};
use crate::wire::flight::Progress;
use crate::wire::{Fault, FaultCode, Raw};

/// How long something new may wait for more before it is written and reported, in milliseconds.
pub const BATCH_MS: u64 = 5;
/// How long what nothing waits for, that a run is acknowledged say, may wait for something else to be written with it, in
/// milliseconds. A crash before costs that it is reported once more.
pub const TIDY_MS: u64 = 1_000;
/// Records of that kind that may wait.
const MAX_LAZY: usize = 1_024;
/// Bytes of items that are written and reported without waiting for more.
pub const BATCH_BYTES: u64 = 64 * 1024;
/// Bytes of items in one report. What has begun to leave cannot be overtaken: on a full line of 2 Mbit/s a ping waits for an eighth of a second
/// for one.
pub const REPORT_BYTES: u64 = 32 * 1024;
/// Reports that may wait for their answer at a time.
pub const REPORTS_IN_FLIGHT: usize = 8;
/// How long to wait before something is sent again that the manager refused, in milliseconds, unless it says otherwise.
pub const RETRY_MS: u64 = 1_000;
/// Refused offers and acknowledged runs that are remembered, each; the oldest beyond are forgotten, which is safe.
pub const KEPT: usize = 1_024;
/// Bytes of items in one record, unless a single one has more.
pub const RECORD_BYTES: u64 = 1024 * 1024;
/// Bytes of the records in one commit, unless a single one has more. A disk that has room again is given what waited in pieces, and
/// each of them can be read back.
pub const COMMIT_BYTES: u64 = 16 * 1024 * 1024;
/// Records in one commit beside those that nothing waits for: each may be given what nobody may see of its run, 64 KiB at most.
pub const COMMIT_RECORDS: usize = 1_024;
/// The largest ending that is written while the disk is full, in bytes. Larger ones wait.
pub const SMALL_ENDING: usize = 4 * 1024;

/// The present moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on the boot-time clock, which goes on while the machine sleeps.
    pub boot_ms: u64,
    /// The wall clock in UTC milliseconds: only for what outlives a boot.
    pub wall_ms: u64,
}

impl Now {
    fn after(self, ms: u64) -> u64 {
        self.boot_ms.saturating_add(ms)
    }
}

/// What a spool is told once.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which spool it is.
    pub spool: [u8; 16],
    /// Which boot of the machine this is.
    pub boot: [u8; 16],
    /// Runs that may be there at a time, ended ones included of which no report is on its way; offers beyond are refused as
    /// `overloaded`. With those on their way it may be twice as many.
    pub max_runs: usize,
    /// How many more there may be of procedures that look after the machine.
    pub admin_reserve: usize,
    /// Bytes of one run's items that may be on their way to the manager.
    pub window: u64,
    /// Bytes of one run's items that may wait for the manager's acknowledgement. Beyond, its program waits, whatever its
    /// overflow rule.
    pub unacked: u64,
    /// The largest item or result, in bytes: what fits a frame with its surroundings.
    pub max_item: usize,
    /// Milliseconds from TERM to KILL when nobody said, and the most that the answer to a resume may ask for.
    pub grace_ms: u64,
}

/// What happened. `T` is what the driver needs to answer a request.
#[derive(Debug)]
pub enum Input<T> {
    /// The manager offers a run; `verdict` is what registry, arguments and policy say, and counts only if the offer is new.
    Offer {
        /// Where the answer goes.
        token: T,
        /// The offer.
        offer: Box<Offer>,
        /// Whether its procedure looks after the machine, and may have a place of the reserve.
        admin: bool,
        /// Whether the agent would run it.
        verdict: Result<(), Fault>,
    },
    /// The manager cancels a run.
    Cancel {
        /// Where the answer goes.
        token: T,
        /// Which.
        cancel: Cancel,
    },
    /// The program was started.
    Spawned(Dno),
    /// The program was not started: nothing ran.
    NotSpawned(Dno, NotSpawned),
    /// The program gave a value or output.
    Item {
        /// Whose.
        dno: Dno,
        /// What it is.
        kind: ItemKind,
        /// Its content.
        data: Raw,
    },
    /// The program told how far it is; only the newest counts.
    Progress(Dno, Progress),
    /// The program ended, and all of its output was given before.
    Exited(Dno, Exit),
    /// A session with the manager began.
    Connected,
    /// The session ended; answers of it will not come.
    Disconnected,
    /// The answer to [`Output::Resume`] with this number, or after how many milliseconds to ask again.
    Resumed(u64, Result<ResumeAnswer, Option<u64>>),
    /// The answer to [`Output::Report`] with this number, or after how many milliseconds to try again.
    Reported(u64, Result<ReportAnswer, Option<u64>>),
    /// What [`Output::Load`] asked for.
    Loaded(Dno, Vec<Item>),
    /// The disk is full down to its reserve, or is not any more.
    Full(bool),
    /// The agent stops: no new runs.
    Draining,
}

/// What a program did that waits to be taken in: see [`Spool::handle_untaken`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untaken {
    /// It gave output, the last at this moment of the boot-time clock.
    Gave(u64),
    /// It ended, at this moment of the boot-time clock.
    Ended(u64),
}

/// Why nothing was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSpawned {
    /// `not_after` had passed.
    Late,
    /// It could not be started.
    Refused(Box<Fault>),
}

/// How a program ended by its own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With a result.
    Succeeded(Raw),
    /// Without.
    Failed(Fault),
    /// At a time limit of its own procedure.
    TimedOut(Fault),
}

/// What to do, in this order: nothing after a [`Output::Commit`] happens before it is durable, and none of it if it never is.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<T> {
    /// Write this down, all of it or nothing. What nobody may see of a run these rules do not know: the driver puts it into the
    /// records that have a place for it.
    Commit(Vec<Record>),
    /// Answer an offer.
    OfferAnswer(T, Result<OfferAnswer, Fault>),
    /// Answer a cancel.
    CancelAnswer(T, Result<SpoolState, Fault>),
    /// Start the program, unless the boot-time clock is past `not_after`; then, or if it cannot be started, say
    /// [`Input::NotSpawned`].
    Spawn {
        /// What to run.
        offer: Box<Offer>,
        /// The boot-time clock at which it is too late, in milliseconds.
        not_after: Option<u64>,
    },
    /// Ask the program, with all of its processes, to end.
    Terminate(Dno),
    /// End the program with all of its processes.
    Kill(Dno),
    /// Read nothing more from the program for now.
    Pause(Dno),
    /// Read on.
    Unpause(Dno),
    /// Send this page and say how it was answered.
    Resume(u64, Resume),
    /// Send this report and say how it was answered.
    Report(u64, Report),
    /// Read items back from the disk: from item `from` on, about `bytes` bytes, at least one item. Always answered, with
    /// [`Input::Loaded`], also when the session has ended meanwhile: the run's items wait for it.
    Load {
        /// Whose.
        dno: Dno,
        /// The first item.
        from: u64,
        /// How much.
        bytes: u64,
    },
}

/// Why a program is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Cancelled,
    /// With the limit that held, as the next two.
    RunTimeout(Duration),
    IdleTimeout(Duration),
    OutputLimit(u64),
    ItemTooLarge,
}

impl Cause {
    fn outcome(self) -> Outcome {
        match self {
            Self::Cancelled => Outcome::Cancelled,
            Self::RunTimeout(_) | Self::IdleTimeout(_) => Outcome::TimedOut,
            Self::OutputLimit(_) | Self::ItemTooLarge => Outcome::Failed,
        }
    }

    fn fault(self) -> Fault {
        let (code, text) = match self {
            Self::Cancelled => (FaultCode::Cancelled, "it was cancelled"),
            Self::RunTimeout(limit) => {
                // which of the two it was shows by its value: the smaller one holds
                let text = format!(
                    "it ran longer than {limit:?}: the run_timeout of the job, or limits.run_timeout of the agent if that is less"
                );
                return Fault::new(FaultCode::TimedOut, text);
            }
            Self::IdleTimeout(limit) => {
                let text = format!("it gave nothing for longer than {limit:?}, its idle_timeout");
                return Fault::new(FaultCode::TimedOut, text);
            }
            Self::OutputLimit(limit) => {
                let text = format!(
                    "it gave more than the {limit} bytes of its output limit; each item counts {ITEM_OVERHEAD} bytes besides its own"
                );
                return Fault::new(FaultCode::TooLarge, text);
            }
            Self::ItemTooLarge => {
                (FaultCode::TooLarge, "it gave a value that is too large or nests too deep")
            }
        };
        Fault::new(code, text)
    }
}
