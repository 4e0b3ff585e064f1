//! A run as it lies in the outbox: what will be told of it, and when it began on which clock.

use redpoll_common::api::record::RecordArguments;
use redpoll_common::wire::{DecodeError, Fields, Raw, RawMap};

use crate::clock;

/// A run that began longer ago than this, by the wall clock alone, began while that was wrong.
const ABSURD_MS: u64 = 366 * 24 * 3_600_000;

/// When a run began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Began {
    /// The boot during which it did; `None` where boots have no names.
    pub boot: Option<[u8; 16]>,
    /// The boot-time clock then, in milliseconds.
    pub boot_ms: u64,
    /// The wall clock then, for when the machine has booted since.
    pub wall_ms: u64,
}

impl Began {
    /// Now.
    pub fn now() -> Self {
        let now = clock::now();
        Self { boot: clock::boot_bytes(), boot_ms: now.boot_ms, wall_ms: now.wall_ms }
    }

    /// How long ago it was. After another boot the wall clock has to do, which may have been set: `None` when it cannot be so.
    pub fn age_ms(&self, now: &Self) -> Option<u64> {
        let same_boot = self.boot.is_some() && self.boot == now.boot;
        if same_boot {
            Some(now.boot_ms.saturating_sub(self.boot_ms))
        } else {
            now.wall_ms.checked_sub(self.wall_ms).filter(|age| *age <= ABSURD_MS)
        }
    }
}

/// What lies in one file of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What is told; how long ago it began is filled in then.
    pub run: RecordArguments,
    /// When it began.
    pub began: Began,
}

impl Kept {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DecodeError`] when it holds something else.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(data)?;
        let written = fields.opt_fields("began")?.ok_or(DecodeError::Missing { field: "began" })?;
        let began = Began {
            boot: written.opt_bin16("boot")?,
            boot_ms: written.u64("boot_ms")?,
            wall_ms: written.u64("wall_ms")?,
        };
        Ok(Self { run: RecordArguments::read(&fields.map("run")?)?, began })
    }

    /// Writes a file.
    pub fn write(&self) -> Raw {
        let run = self.run.write();
        let began = |map: RawMap| {
            let Began { boot, boot_ms, wall_ms } = &self.began;
            map.opt_bin("boot", boot.as_ref().map(<[u8; 16]>::as_slice))
                .uint("boot_ms", *boot_ms)
                .uint("wall_ms", *wall_ms)
        };
        RawMap::with_capacity(run.len() + 128).raw("run", &run).map("began", began).finish()
    }

    /// What is told now.
    pub fn told(mut self, now: &Began, dropped: u64) -> RecordArguments {
        let started = self.run.ending.started != Some(false);
        // it is over: it began before it took its time
        let lasted = self.run.ending.duration_ms.unwrap_or(0);
        let age = self.began.age_ms(now).map(|age| age.max(lasted));
        self.run.started_ms_ago = age.filter(|_| started);
        self.run.dropped = dropped;
        self.run
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::job::{Ending, Outcome};
    use redpoll_common::wire::{Fault, FaultCode};

    use super::*;

    #[test]
    fn the_age_is_by_the_clock_of_the_boot_and_after_another_boot_by_the_wall() {
        let began = Began { boot: Some([1; 16]), boot_ms: 5_000, wall_ms: 1_000_000 };
        let same = Began { boot: Some([1; 16]), boot_ms: 7_000, wall_ms: 9_000_000 };
        let other = Began { boot: Some([2; 16]), boot_ms: 1, wall_ms: 1_060_000 };
        let set_back = Began { boot: None, boot_ms: 1, wall_ms: 7 };
        let in_1970 = Began { boot: Some([2; 16]), boot_ms: 1, wall_ms: 1_000_000 + ABSURD_MS + 1 };
        assert_eq!(began.age_ms(&same), Some(2_000), "a wall clock that was set does not matter");
        assert_eq!(began.age_ms(&other), Some(60_000));
        assert_eq!((began.age_ms(&set_back), began.age_ms(&in_1970)), (None, None), "nobody knows");
    }

    #[test]
    fn a_run_that_is_over_began_no_later_than_it_took_its_time() {
        let ending = Ending { duration_ms: Some(90_000), ..Ending::unstarted(Outcome::Succeeded, fault()) };
        let run = RecordArguments {
            key: "k".into(),
            schedule: "s".into(),
            procedure: "p".into(),
            kwargs: Raw::empty_map(),
            started_ms_ago: None,
            ending: Ending { started: Some(true), ..ending },
            items: Vec::new(),
            dropped: 0,
        };
        let began = Began { boot: Some([1; 16]), boot_ms: 5_000, wall_ms: 1_000_000 };
        let kept = Kept { run, began };
        for (wall_ms, told) in [(1_100_000, Some(100_000)), (1_060_000, Some(90_000)), (7, None)] {
            let now = Began { boot: Some([2; 16]), boot_ms: 1, wall_ms };
            assert_eq!(kept.clone().told(&now, 0).started_ms_ago, told, "{wall_ms}");
        }
    }

    fn fault() -> Fault {
        Fault::new(FaultCode::Failed, "none")
    }
}
