//! Wakes when a program ends.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What tells of the end of one child of this process.
#[derive(Debug)]
pub(super) enum Death {
    /// Its own descriptor: many that run at a time do not wake each other.
    Own(AsyncFd<OwnedFd>),
    /// The signal, which tells of the end of any child: before Linux 5.3, and when there is no descriptor to be had.
    Any(Signal),
}

impl Death {
    /// Of a child that is not reaped yet. Within a runtime.
    pub(super) fn of(child: Pid) -> io::Result<Self> {
        let own = pidfd_open(child, PidfdFlags::empty()).map_err(io::Error::from);
        match own.and_then(watched) {
            Ok(own) => Ok(Self::Own(own)),
            Err(_none) => Ok(Self::Any(signal(SignalKind::child())?)),
        }
    }

    /// Completes when it has ended, which `has_ended` looks up, or when the runtime is going down. Cancel-safe.
    pub(super) async fn come(&mut self, has_ended: impl Fn() -> bool) {
        match self {
            // the descriptor tells also of an end that came before it was opened: whoever asks often need not look
            Self::Own(own) => {
                while let Ok(mut ready) = own.readable().await {
                    if has_ended() {
                        return; // and stays ready
                    }
                    ready.clear_ready();
                }
            }
            Self::Any(deaths) => while !has_ended() && deaths.recv().await.is_some() {},
        }
    }
}

#[expect(unsafe_code, reason = "no safe way has a descriptor watched by the runtime")]
fn watched(own: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and names the same description for as long as it lives, and `AsyncFd` owns it from here on:
    // nothing takes it out again, and the two are dropped together.
    unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }.map_err(io::Error::from)
}
