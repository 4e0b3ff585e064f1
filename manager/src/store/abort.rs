//! The end of a process whose store cannot be trusted any more.

use std::fmt;
use std::sync::Arc;

/// Is told why the process cannot go on, and ends it. One that returns (in a test) leaves a store that has stopped.
#[derive(Clone)]
pub struct AbortHook(Arc<dyn Fn(&str) + Send + Sync>);

impl AbortHook {
    /// A hook of one's own.
    pub fn new(hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// The last word.
    pub(crate) fn call(&self, last_word: &str) {
        (self.0)(last_word);
    }
}

impl Default for AbortHook {
    /// Logs the last word and aborts: no clean-up may run that believes in what is in memory.
    fn default() -> Self {
        Self::new(|last_word| {
            tracing::error!("{last_word}");
            std::process::abort()
        })
    }
}

impl fmt::Debug for AbortHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AbortHook")
    }
}
