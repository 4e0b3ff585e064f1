//! A world to test in: a real manager, real agents and a real `rpctl` as processes, and peers that misbehave.
//!
//! - [`world`]: a folder, an authority, a manager and its agents; everything ends with it.
//! - [`process`]: one program of ours as a process, with its log.
//! - [`operator`]: a well-behaved operator.
//! - [`fleet`]: many agents in one process.
//! - [`mod@line`]: one end of a connection in the hands of a test, which may say whatever it likes, byte by byte.
//! - [`middle`]: somebody between an agent or operator and the manager who reads every message, and loses one.
//! - [`cutter`]: somebody between them who understands nothing, and cuts a connection at a byte.
//! - [`disk`]: small disks, and disks that fail.
//! - [`manifests`]: folders of manifests of agents.
//! - [`policy`]: policies of agents.
//! - [`power`]: what a disk has after a power failure at any moment.
//! - [`work`]: jobs, and a file outside of everything that knows how often each was started.
//! - [`site`]: an agent that gives and takes files, and copies in it.
//! - [`secret`]: a word that must be in no file.
//! - [`told`]: what `rpctl` tells of a call.
//! - [`torture`]: real daemons killed at random moments and at named places, and an oracle outside that knows what ran.
//! - [`sim`]: the whole system simulated, decided by a seed.
//! - [`witness`]: an honest operator who calls an honest agent all the time, to show that nobody else notices.
//!
//! The tests are in `tests/tests`, one file for each kind of trouble. They wait for conditions, never for time.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "test code: whatever cannot be done is a failure of the test"
)]

mod credulous;
pub mod cutter;
pub mod disk;
pub mod fleet;
pub mod line;
pub mod manifests;
pub mod middle;
pub mod operator;
pub mod policy;
pub mod port;
pub mod power;
pub mod process;
pub mod secret;
pub mod sim;
pub mod site;
pub mod slow;
pub mod told;
pub mod torture;
pub mod witness;
pub mod work;
pub mod world;

use std::time::Duration;

use tokio::time::Instant;

/// Longer than anything takes on a busy machine. What is waited for comes much sooner, or never.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How soon something must happen that needs no timer to run out: a refusal, a close, an answer. Generous, because a
/// test machine may be busy; every timer that could be mistaken for it is set to much more.
pub const SOON: Duration = Duration::from_secs(3);

/// Waits until `condition` gives something, and gives it on.
///
/// # Panics
/// With `what` when it does not happen within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// Waits for a future, no longer than [`PATIENCE`].
///
/// # Panics
/// With `what` when it takes longer.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// Waits for a future, no longer than `limit`.
///
/// # Panics
/// With `what` when it takes longer.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(done) => done,
        Err(_elapsed) => panic!("not within {limit:?}: {what}"),
    }
}
