//! What the spool writes down, and its bytes.
//!
//! Every record says something that stays true, so that neither order nor repetition changes what a journal says; only
//! [`Record::Gone`] comes after all others of its run. Bytes of the disk are read as strictly as bytes of a peer, but for how much they
//! are together: that was bounded as they were written, and by other rules in older versions.

use bytes::Bytes;

use super::fit::{self, to_u64};
use crate::job::ids::Dno;
use crate::job::item::Item;
use crate::job::run::Ending;
use crate::job::wire::report::{
    MAX_REPORT_PATH, MAX_REPORT_REDACT, read_ending, read_item, write_ending, write_item,
};
use crate::job::wire::{Offer, RunRef};
use crate::wire::{DecodeError, Fields, Raw, RawMap};

/// Items that one record may hold.
pub const MAX_RECORD_ITEMS: usize = 8192;

/// About what a record takes beside what it carries, in bytes.
const WEIGHT: u64 = 256;

/// A moment on the clocks of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which boot of the machine it was.
    pub boot: [u8; 16],
    /// Milliseconds of that boot, time asleep included.
    pub boot_ms: u64,
    /// The wall clock in UTC milliseconds.
    pub wall_ms: u64,
}

impl Stamp {
    /// Milliseconds from here to `now`: by the boot-time clock within one boot, by the wall clock across boots. Never
    /// negative.
    pub fn elapsed_ms(&self, now: &Self) -> u64 {
        if self.boot == now.boot {
            now.boot_ms.saturating_sub(self.boot_ms)
        } else {
            now.wall_ms.saturating_sub(self.wall_ms)
        }
    }
}

/// One thing that the spool remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A dispatch number was seen and used up, without more to remember of it.
    Floor {
        /// The number.
        dno: Dno,
    },
    /// An offer came in and is going to be accepted.
    Received {
        /// The offer.
        offer: Box<Offer>,
        /// When.
        at: Stamp,
        /// What nobody may see of it, as its procedure said then: paths with their roots, none if it has none. `None`: nobody kept
        /// it, as spools did not before.
        redact: Option<Vec<String>>,
    },
    /// Its procedure is about to be started. From here on it may have run.
    Starting {
        /// Job, attempt and dispatch number.
        run: RunRef,
        /// Of those paths what leads to something in its arguments, if anything does: the record of the offer may go now.
        redact: Option<Vec<String>>,
    },
    /// Its procedure was started.
    Running {
        /// The dispatch number.
        dno: Dno,
    },
    /// Items, without gaps.
    Items {
        /// The dispatch number.
        dno: Dno,
        /// At least one.
        items: Vec<Item>,
    },
    /// The manager has every item below a number.
    Acked {
        /// The dispatch number.
        dno: Dno,
        /// The number.
        next_n: u64,
    },
    /// It ended, was refused, or was cancelled before it was seen.
    Done {
        /// Job, attempt and dispatch number.
        run: RunRef,
        /// How.
        ending: Box<Ending>,
        /// The answer of the offer or of the cancel told the manager; a report does so only if asked in a resume.
        told: bool,
        /// As of [`Record::Starting`], whose record may go now.
        redact: Option<Vec<String>>,
    },
    /// Nothing needs to be remembered of it but that its number is used up.
    Gone {
        /// The dispatch number.
        dno: Dno,
    },
}

impl Record {
    /// The dispatch number it is about.
    pub fn dno(&self) -> Dno {
        match self {
            Self::Received { offer, .. } => offer.run.dno,
            Self::Starting { run, .. } | Self::Done { run, .. } => run.dno,
            Self::Floor { dno }
            | Self::Running { dno }
            | Self::Items { dno, .. }
            | Self::Acked { dno, .. }
            | Self::Gone { dno } => *dno,
        }
    }

    /// About how many bytes it has, without writing it.
    pub fn weight(&self) -> u64 {
        let own = match self {
            Self::Received { offer, .. } => to_u64(offer.args.len() + offer.kwargs.len() + offer.info.len()),
            Self::Items { items, .. } => items.iter().map(Item::cost).sum(),
            Self::Done { ending, .. } => fit::size(ending),
            Self::Floor { .. }
            | Self::Starting { .. }
            | Self::Running { .. }
            | Self::Acked { .. }
            | Self::Gone { .. } => 0,
        };
        own + WEIGHT
    }

    /// Its bytes: one MessagePack map.
    pub fn write(&self) -> Bytes {
        let map = |kind| RawMap::new().text("r", kind);
        let secret = |map: RawMap, paths: &Option<Vec<String>>| match paths {
            Some(paths) => map.texts("redact", paths),
            None => map,
        };
        let raw = match self {
            Self::Floor { dno } => map("floor").uint("dno", dno.0).finish(),
            Self::Received { offer, at, redact } => {
                let map = offer.write_fields(map("received")).bin("boot", &at.boot);
                secret(map.uint("boot_ms", at.boot_ms).uint("wall_ms", at.wall_ms), redact).finish()
            }
            Self::Starting { run, redact } => secret(run.write(map("starting")), redact).finish(),
            Self::Running { dno } => map("running").uint("dno", dno.0).finish(),
            Self::Items { dno, items } => {
                map("items").uint("dno", dno.0).maps("items", items, write_item).finish()
            }
            Self::Acked { dno, next_n } => map("acked").uint("dno", dno.0).uint("next_n", *next_n).finish(),
            Self::Done { run, ending, told, redact } => {
                let map = write_ending(run.write(map("done")), ending).bool("told", *told);
                secret(map, redact).finish()
            }
            Self::Gone { dno } => map("gone").uint("dno", dno.0).finish(),
        };
        raw.to_bytes()
    }

    /// Reads the bytes. What their writer took for a record is one: a value is checked when it comes in, not here.
    ///
    /// # Errors
    /// [`DecodeError`] when they are not a record.
    pub fn read(bytes: Bytes) -> Result<Self, DecodeError> {
        let raw = Raw::parse_own(bytes)?;
        let fields = Fields::of(&raw)?;
        let dno = || fields.u64("dno").map(Dno);
        let secret = || fields.opt_texts("redact", MAX_REPORT_REDACT, MAX_REPORT_PATH);
        Ok(match fields.text("r", 16)? {
            "floor" => Self::Floor { dno: dno()? },
            "received" => Self::Received {
                offer: Box::new(Offer::read_fields(&fields)?),
                at: Stamp {
                    boot: fields.opt_bin16("boot")?.ok_or(DecodeError::Missing { field: "boot" })?,
                    boot_ms: fields.u64("boot_ms")?,
                    wall_ms: fields.u64("wall_ms")?,
                },
                redact: secret()?,
            },
            "starting" => Self::Starting { run: RunRef::read(&fields)?, redact: secret()? },
            "running" => Self::Running { dno: dno()? },
            "items" => Self::Items { dno: dno()?, items: fields.maps("items", MAX_RECORD_ITEMS, read_item)? },
            "acked" => Self::Acked { dno: dno()?, next_n: fields.u64("next_n")? },
            "done" => Self::Done {
                run: RunRef::read(&fields)?,
                ending: Box::new(read_ending(&fields)?),
                told: fields.bool("told")?,
                redact: secret()?,
            },
            "gone" => Self::Gone { dno: dno()? },
            _ => return Err(DecodeError::WrongType { field: "r", wanted: "a kind of record" }),
        })
    }
}
