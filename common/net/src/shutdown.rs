//! The signals of a daemon: SIGTERM and SIGINT drain, a second one ends now, SIGHUP reloads.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Take no new work, finish what runs, leave.
    Drain,
    /// Read configuration and certificates again.
    Reload,
}

/// The signals, from the moment it was made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts to listen for signals, which no longer end the process by themselves.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::Drain,
            _ = self.interrupt.recv() => Asked::Drain,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Waits for a further signal to end, dropping reloads.
    pub async fn ended(&mut self) {
        while self.next().await != Asked::Drain {}
    }
}
