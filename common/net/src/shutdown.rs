//! The signals of a daemon: SIGTERM and SIGINT drain, a second one ends now, SIGHUP reloads. And the runtime around it.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long threads that block may go on when everything else has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Why a daemon's runtime does not start.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There are no threads or no I/O.
    #[error("the operating system gives no runtime")]
    Runtime(#[source] io::Error),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

/// The runtime of a daemon that has not begun: a reload that is asked for meanwhile does not end the process, and comes then. Whoever
/// wants it to end is heard as by any other process.
#[derive(Debug)]
pub struct Early {
    runtime: Runtime,
    hangup: Signal,
}

impl Early {
    /// Makes it. The first thing in a `main`: reading a configuration takes its time.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn new(runtime: &mut Builder) -> Result<Self, RuntimeError> {
        let runtime = runtime.enable_all().build().map_err(RuntimeError::Runtime)?;
        let hangup = {
            let _entered = runtime.enter();
            signal(SignalKind::hangup()).map_err(RuntimeError::Signals)?
        };
        Ok(Self { runtime, hangup })
    }

    /// Runs a daemon to its end, with the signals that it gets.
    ///
    /// # Errors
    /// [`RuntimeError`]; `daemon` was not begun then.
    pub fn run<T>(self, daemon: impl AsyncFnOnce(Signals) -> T) -> Result<T, RuntimeError> {
        let Self { runtime, hangup } = self;
        let ended = runtime.block_on(async {
            let signals = Signals::new(hangup).map_err(RuntimeError::Signals)?;
            Ok(daemon(signals).await)
        });
        // a blocking thread that hangs, on a dead network file system say, must not keep the process
        runtime.shutdown_timeout(LAST_WAIT);
        ended
    }
}

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
    fn new(hangup: Signal) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
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

    /// Waits for an order to drain. A reload that is asked for meanwhile comes with [`Signals::next`]. Cancel-safe.
    pub async fn drain(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for a further signal to end, dropping reloads.
    pub async fn ended(&mut self) {
        while self.next().await != Asked::Drain {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_that_is_asked_for_before_the_daemon_has_begun_comes_when_it_has() {
        let early = Early::new(&mut Builder::new_current_thread()).unwrap();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
        assert_eq!(early.run(async |mut signals| signals.next().await).unwrap(), Asked::Reload);
    }
}
