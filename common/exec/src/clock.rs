//! The clock that jobs are timed with.

use std::time::Duration;

use redpoll_common::job::spool::Now;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// Timers stand still while the machine sleeps: the boot-time clock is looked at so often while somebody waits for it.
const LOOK: u64 = 1_000;

/// The boot-time clock in milliseconds. Unlike that of timers it goes on while the machine sleeps.
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// Waits for a moment of the boot-time clock, in milliseconds; without one for ever. Cancel-safe.
pub async fn boot_time(moment: Option<u64>) {
    let Some(moment) = moment else { return std::future::pending().await };
    loop {
        match moment.saturating_sub(boot_ms()) {
            0 => return,
            left => sleep(Duration::from_millis(left.min(LOOK))).await,
        }
    }
}

/// The present moment on both clocks.
pub fn now() -> Now {
    Now { boot_ms: boot_ms(), wall_ms: redpoll_net::clock::wall_ms() }
}

/// The kernel's name for this boot; `None` where it has none.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().chars().take(64).collect())
}

/// The same as the bytes that it stands for.
pub fn boot_bytes() -> Option<[u8; 16]> {
    let digits: String = boot_id()?.chars().filter(|digit| *digit != '-').collect();
    (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_from_the_boot_and_never_back() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let (first, second) = (boot_ms(), boot_ms());
        assert!(second >= first);
        assert!((first as f64 / 1000.0 - seconds).abs() < 60.0, "{first} ms, {seconds} s");
        assert!(boot_bytes().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_comes_when_the_boot_time_clock_says_so_and_not_when_a_timer_does() {
        let moment = boot_ms() + 50;
        boot_time(Some(moment)).await; // timers fire at once here
        assert!(boot_ms() >= moment);
    }
}
