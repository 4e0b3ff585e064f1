//! Places where a test lets a daemon die as `kill -9` would, to see what the others make of it.
//!
//! Without the feature `failpoints` the functions are empty; it is on only where the tests of the whole workspace are built, never
//! in a program that ships. `REDPOLL_FAILPOINT=NAME` in the daemon's environment arms one place, `NAME:N` its N-th passing.

/// The places, by the names of the fault model: what was written down last, and what was about to follow.
///
/// | name | the daemon dies |
/// |---|---|
/// | `M1` | a submit is on disk, its answer is not sent |
/// | `M2` | a dispatch is on disk, its offer is not sent |
/// | `M3` | an offer was sent, its answer is not read |
/// | `M4` | items are on disk, their acknowledgement is not sent |
/// | `M5` | an end is on disk, its acknowledgement is not sent |
/// | `M7` | the answer to an offer was read, nothing of it is on disk |
/// | `A1` | an offer was read, nothing is on disk |
/// | `A2` | `received` and `starting` are on disk, the accept is not sent |
/// | `A3` | `starting` is on disk, nothing was started |
/// | `A4` | the program was started, `running` is not on disk |
/// | `A5` | the program ended, `done` is not on disk |
/// | `A6` | `done` is on disk, the report is not sent |
/// | `A7` | the last acknowledgement was read, that is not on disk |
/// | `R1` | a recurring run is noted, nothing was started |
/// | `R2` | it ended, its end is not on disk |
/// | `R3` | the manager has it, that is not on disk |
pub const NAMES: [&str; 16] =
    ["M1", "M2", "M3", "M4", "M5", "M7", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "R1", "R2", "R3"];

/// Dies here if the place is armed.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn reached(_name: &'static str) {}

/// The place that is reached once this message has left the process, if there is one.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn leaving(_payload: &[u8]) -> Option<&'static str> {
    None
}

/// The place that is reached once this message has left the process, if there is one: only the connection's driver knows when an
/// offer is the system's to deliver.
#[cfg(feature = "failpoints")]
pub fn leaving(payload: &[u8]) -> Option<&'static str> {
    const OFFER: &[u8] = b"rp.job.offer";
    let head = payload.get(..HEAD).unwrap_or(payload);
    head.windows(OFFER.len()).any(|word| word == OFFER).then_some("M3")
}

/// The name of a request's method stands among its first bytes.
#[cfg(feature = "failpoints")]
const HEAD: usize = 96;

/// Dies here if the place is armed.
#[cfg(feature = "failpoints")]
pub fn reached(name: &'static str) {
    armed::reached(name);
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Which place, and how often it may still be passed.
    static ARMED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let order = std::env::var("REDPOLL_FAILPOINT").ok()?;
        let (name, passing) = order.split_once(':').unwrap_or((&order, "1"));
        let passing = passing.parse::<u64>().ok().filter(|passing| *passing > 0);
        let passing = passing.filter(|_| super::NAMES.contains(&name));
        if passing.is_none() {
            tracing::error!(%order, "REDPOLL_FAILPOINT names no place, and is ignored");
        }
        Some((name.to_owned(), AtomicU64::new(passing?)))
    });

    pub(super) fn reached(name: &'static str) {
        let Some((place, left)) = &*ARMED else { return };
        let step = |left: u64| left.checked_sub(1);
        if place == name && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step) == Ok(1) {
            die();
        }
    }

    /// As `kill -9`: nothing is flushed, nobody is told.
    fn die() -> ! {
        loop {
            let _refused =
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::thread::park();
        }
    }
}
