//! Ctrl-C and SIGTERM: the first asks what is under way to stop, the second ends the program.
//!
//! Whoever asks may be stuck in a write to a reader that does not read (`rpctl … | less`, Ctrl-S), where no signal
//! reaches it. So the signals are watched from another thread, which ends the process when the asking one does not.
//! Verbs that ask a person first, or go on, say so with [`Interrupts::heard`]: whoever says that is not stuck, and decides
//! itself when the program ends.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::exit::Exit;

/// How long the program may take to end after the first interrupt: what a cancelled call may take, and a goodbye.
const AFTER_FIRST: Duration = Duration::from_secs(4);
/// The same after the second.
const AFTER_SECOND: Duration = Duration::from_millis(300);
/// How long the last words may take: standard error may be what nobody reads.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Interrupts that may wait to be noticed; further ones add nothing.
const WAITING: usize = 2;

/// What interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C: somebody sits there.
    Keyboard,
    /// SIGTERM: nobody does.
    Terminate,
}

/// The interrupts of this process.
#[derive(Debug)]
pub struct Interrupts {
    coming: mpsc::Receiver<Interrupt>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Notify,
    last_words: Mutex<String>,
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
        let shared = Arc::new(Shared::default());
        runtime.spawn(signals.watch(tell, shared.clone()));
        Ok(Self { coming, shared })
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) -> Interrupt {
        match self.coming.recv().await {
            Some(interrupt) => interrupt,
            // The watch has ended with the runtime; nothing comes any more.
            None => std::future::pending().await,
        }
    }

    /// Stops the clock that the last interrupt started: it was heard, and the program ends when it is time. The next
    /// interrupt starts the clock again.
    pub fn heard(&self) {
        self.shared.heard.notify_one();
    }

    /// What standard error is told when the program has to be ended although it is stuck.
    pub fn set_last_words(&self, words: String) {
        *self.shared.last_words.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }
}

#[derive(Debug)]
struct Signals {
    keyboard: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.keyboard.recv() => Interrupt::Keyboard,
            _ = self.terminate.recv() => Interrupt::Terminate,
        }
    }

    async fn watch(mut self, tell: mpsc::Sender<Interrupt>, shared: Arc<Shared>) {
        loop {
            let first = self.next().await;
            // Full means that whoever listens knows already; the same below.
            let _known = tell.try_send(first);
            let second = tokio::select! {
                biased;
                () = shared.heard.notified() => continue,
                second = timeout(AFTER_FIRST, self.next()) => second,
            };
            if let Ok(second) = second {
                let _known = tell.try_send(second);
                tokio::time::sleep(AFTER_SECOND).await;
            }
            leave(&shared);
        }
    }
}

#[expect(clippy::exit, reason = "the thread that should return from main is stuck in a write")]
fn leave(shared: &Shared) {
    let words = shared.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !words.is_empty() {
        let (done, told) = std::sync::mpsc::sync_channel(1);
        let tell = move || {
            let _nobody = io::stderr().write_all(words.as_bytes());
            let _late = done.try_send(());
        };
        if std::thread::Builder::new().spawn(tell).is_ok() {
            let _in_time = told.recv_timeout(LAST_WORDS);
        }
    }
    std::process::exit(i32::from(Exit::Interrupted.code()));
}
