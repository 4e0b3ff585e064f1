//! The wall clock as it travels, and how long the machine has slept.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The wall clock in UTC milliseconds since 1970.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// This instant on a clock that goes on while the machine sleeps: to be compared with others of this function alone.
pub fn awake_or_not() -> Instant {
    Instant::now() + slept()
}

/// For how long the machine has slept since its boot. The clock of timers first: an interruption then adds to it, and takes nothing away.
pub fn slept() -> Duration {
    let awake = since_boot(clock_gettime(ClockId::Monotonic));
    since_boot(clock_gettime(ClockId::Boottime)).saturating_sub(awake)
}

fn since_boot(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_sleep_is_what_the_boot_time_clock_is_ahead() {
        let (first, second) = (slept(), slept());
        assert!(first.abs_diff(second) < Duration::from_secs(60), "{first:?} {second:?}");
        assert!(awake_or_not() <= awake_or_not());
    }
}
