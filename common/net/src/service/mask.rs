//! What of a procedure's values nobody may see, taken out before they leave the process.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redpoll_common::job::ItemKind;
use redpoll_common::wire::{Fault, Raw};
use redpoll_common::words::{Stream, Words};

/// Takes secrets out of values, and out of texts.
#[derive(Clone)]
pub struct Mask {
    value: Arc<dyn Fn(&Raw) -> Raw + Send + Sync>,
    words: Arc<Words>,
}

impl Mask {
    /// A mask that gives each value without its secrets.
    pub fn new(mask: impl Fn(&Raw) -> Raw + Send + Sync + 'static) -> Self {
        Self { value: Arc::new(mask), words: Arc::default() }
    }

    /// The same, which masks these words in texts and in streams. In values the mask itself has to.
    #[must_use]
    pub fn with_words(self, words: Words) -> Self {
        Self { words: Arc::new(words), ..self }
    }

    /// The same, and what another masks then.
    #[must_use]
    pub fn and(self, then: Self) -> Self {
        let mut words = Words::clone(&self.words);
        words.extend(&then.words);
        Self::new(move |value| then.apply(&self.apply(value))).with_words(words)
    }

    /// A text without secrets.
    pub fn text(&self, text: &str) -> String {
        self.words.text(text)
    }

    /// A value without its secrets.
    pub fn apply(&self, value: &Raw) -> Raw {
        (self.value)(value)
    }

    /// An answer without its secrets.
    pub fn answer(&self, answer: Result<Raw, Fault>) -> Result<Raw, Fault> {
        let part = |value: Option<Raw>| value.map(|value| self.apply(&value));
        match answer {
            Ok(result) => Ok(self.apply(&result)),
            Err(fault) => Err(Fault {
                message: self.text(&fault.message),
                class: fault.class.map(|class| self.text(&class)),
                module: fault.module.map(|module| self.text(&module)),
                trace: fault.trace.map(|trace| self.text(&trace)),
                args: part(fault.args),
                state: part(fault.state),
                data: part(fault.data),
                ..fault
            }),
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask")
    }
}

/// The streams of a request, whose words are masked also where one comes in two pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams {
    words: Arc<Words>,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    stdout: Stream,
    stderr: Stream,
    /// What is masked in the standard error in place of the words.
    stderr_words: Option<Words>,
}

/// What is done to a stream.
pub(super) enum Piece<'a> {
    /// More of it came.
    More(&'a [u8]),
    /// It came to its end.
    End,
    /// The rest of it was thrown away.
    Cut,
}

impl Streams {
    pub(super) fn new(mask: &Mask) -> Self {
        Self { words: mask.words.clone(), held: Arc::default() }
    }

    /// Whether pieces pass as they are.
    pub(super) fn is_open(&self) -> bool {
        self.words.is_empty() && self.held().stderr_words.is_none()
    }

    pub(super) fn words(&self) -> &Arc<Words> {
        &self.words
    }

    /// Masks these in the standard error, in place of the words. It goes on as this one.
    pub(super) fn mask_stderr(&self, words: Words, from: Stream) {
        let mut held = self.held();
        held.stderr_words = Some(words);
        held.stderr = from;
    }

    /// What of a stream can be passed on.
    pub(super) fn take(&self, stream: ItemKind, piece: Piece<'_>) -> Vec<u8> {
        let Held { stdout, stderr, stderr_words } = &mut *self.held();
        let (stream, words) = match stream {
            ItemKind::Stdout => (stdout, &*self.words),
            ItemKind::Stderr => (stderr, stderr_words.as_ref().unwrap_or(&self.words)),
            ItemKind::Value | ItemKind::Truncated => return Vec::new(),
        };
        match piece {
            Piece::More(data) => stream.push(words, data),
            Piece::End => stream.finish(words),
            Piece::Cut => stream.cut(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // nothing panics while it holds the lock
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
