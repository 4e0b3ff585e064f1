//! Ctrl-C and SIGTERM: the first asks what is under way to stop, the second ends the program.
//!
//! Whoever asks may be stuck in a write to a reader that does not read (`rpctl … | less`, Ctrl-S), where no signal
//! reaches it. So the signals are watched from another thread, which ends the process when the asking one does not.

use std::io;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::exit::Exit;

/// How long the program may take to end after the first interrupt: what a cancelled call may take, and a goodbye.
const AFTER_FIRST: Duration = Duration::from_secs(4);
/// The same after the second.
const AFTER_SECOND: Duration = Duration::from_millis(300);
/// Interrupts that may wait to be noticed; further ones add nothing.
const WAITING: usize = 2;

/// The interrupts of this process.
#[derive(Debug)]
pub struct Interrupts {
    coming: mpsc::Receiver<()>,
}

impl Interrupts {
    /// Takes over Ctrl-C and SIGTERM. The watch runs on `runtime`, which needs a thread of its own for it.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn watch(runtime: &Handle) -> io::Result<Self> {
        let _inside = runtime.enter();
        let signals = Signals {
            keyboard: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        let (tell, coming) = mpsc::channel(WAITING);
        runtime.spawn(signals.watch(tell));
        Ok(Self { coming })
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) {
        if self.coming.recv().await.is_none() {
            // The watch has ended with the runtime; nothing comes any more.
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug)]
struct Signals {
    keyboard: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.keyboard.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    async fn watch(mut self, tell: mpsc::Sender<()>) {
        self.next().await;
        // Full means that whoever listens knows already; the same below.
        let _known = tell.try_send(());
        if timeout(AFTER_FIRST, self.next()).await.is_ok() {
            let _known = tell.try_send(());
            tokio::time::sleep(AFTER_SECOND).await;
        }
        leave();
    }
}

#[expect(clippy::exit, reason = "the thread that should return from main is stuck in a write")]
fn leave() {
    std::process::exit(i32::from(Exit::Interrupted.code()));
}
