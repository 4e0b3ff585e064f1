//! The numbers behind the rules.

use redpoll_common::wire::Fault;

/// The longest wait that an agent's word counts for: a day. Beyond, a run would be parked for as long as the agent likes.
pub(super) const MAX_HINT_MS: u64 = 86_400_000;

/// How long a fault asks to wait.
pub(super) fn hint_of(fault: &Fault) -> u64 {
    fault.retry_after_ms.unwrap_or(0).min(MAX_HINT_MS)
}

/// Limits and times of the machine. A reload may change any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many offers to one agent may wait for their answer. Beyond, runs wait in the manager; must be below what
    /// a session lets through at a time.
    pub offers_per_agent: usize,
    /// How many runs one agent may have at a time, running or not. Beyond, runs wait in the manager.
    pub runs_per_agent: usize,
    /// How many of either of these an agent may have more of procedures that look after the machine.
    pub admin_reserve: usize,
    /// How many runs may be open at a time; a submit beyond is refused.
    pub open_runs: usize,
    /// How many bytes of arguments and info the jobs in memory may have together; a submit beyond is refused.
    pub open_bytes: u64,
    /// How many of these runs may be of jobs of one agent.
    pub open_runs_of_agent: usize,
    /// How many of these bytes may be of jobs of one agent.
    pub open_bytes_of_agent: u64,
    /// After how long in doubt a run ends as unknown; `None` is never: the agent decides when it returns.
    pub unknown_after_ms: Option<u64>,
    /// How long after the start of a manager no run ends for that, so that agents can return; no longer than the time itself.
    pub return_ms: u64,
    /// The wait before the second attempt; doubled with each further one.
    pub retry_first_ms: u64,
    /// The longest wait between attempts.
    pub retry_max_ms: u64,
    /// How many callbacks may be under way at a time.
    pub callbacks_at_once: usize,
    /// How often a callback is tried.
    pub callback_tries: u32,
    /// The wait after the first failed try of a callback; doubled with each further one.
    pub callback_first_ms: u64,
    /// The longest wait between two tries.
    pub callback_max_ms: u64,
    /// How long ended jobs are kept; `None` is for ever.
    pub keep_ms: Option<u64>,
    /// How many ended jobs of operators are kept.
    pub keep_jobs: u64,
    /// How many ended jobs are kept that agents submitted or had recorded.
    pub keep_of_agents: u64,
    /// How many of these are kept of one agent.
    pub keep_per_agent: u64,
    /// How often ended jobs are looked through for those that are too old.
    pub prune_every_ms: u64,
    /// How many ended jobs are deleted in one go.
    pub prune_at_once: usize,
    /// How many runs the jobs may have that are deleted in one transaction; a hundredth of it while the disk is full. One job is always
    /// deleted as a whole.
    pub prune_runs: usize,
    /// How many events are deleted in one go.
    pub prune_events: u64,
    /// How many events are kept.
    pub keep_events: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            offers_per_agent: 16,
            runs_per_agent: 500,
            admin_reserve: 4,
            open_runs: 1_000_000,
            open_bytes: 1024 * 1024 * 1024,
            open_runs_of_agent: 10_000,
            open_bytes_of_agent: 16 * 1024 * 1024,
            unknown_after_ms: None,
            return_ms: 600_000,
            retry_first_ms: 1_000,
            retry_max_ms: 300_000,
            callbacks_at_once: 64,
            callback_tries: 20,
            callback_first_ms: 1_000,
            callback_max_ms: 3_600_000,
            keep_ms: Some(30 * 24 * 3_600_000),
            keep_jobs: 1_000_000,
            keep_of_agents: 1_000_000,
            keep_per_agent: 10_000,
            prune_every_ms: 60_000,
            prune_at_once: 500,
            prune_runs: 10_000,
            prune_events: 16_384,
            keep_events: 1_000_000,
        }
    }
}

/// `first_ms` doubled with each failure after the first one, at most `max_ms`, of which the upper half is by lot, so that what
/// failed together does not come back together. `random` decides the lot.
pub(super) fn backoff(first_ms: u64, max_ms: u64, failures: u32, random: u64) -> u64 {
    let full = doubled(first_ms, max_ms, failures);
    full - full / 2 + random % (full / 2 + 1)
}

/// `first_ms`, twice as much with each time after the first one, at most `max_ms`.
pub(super) fn doubled(first_ms: u64, max_ms: u64, times: u32) -> u64 {
    let factor = 1_u64.checked_shl(times.saturating_sub(1)).unwrap_or(u64::MAX);
    first_ms.saturating_mul(factor).min(max_ms)
}

/// Spreads the random bits of a job's id over one more number (splitmix64's last step).
pub(super) fn lot(id: [u8; 16], salt: u64) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = id;
    let mut z =
        u64::from_be_bytes([a, b, c, d, e, f, g, h]).wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
