//! Names of runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A name that no other run on this machine has, also not one of another agent or of one that died.
pub(crate) fn unique_name() -> String {
    static SINCE: OnceLock<u128> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SINCE
        .get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos()));
    format!("{}.{since:x}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
