//! How large the chunks of an upload are. A few of them are on the way at a time, so their size decides how much waits in
//! queues: as much as keeps the line busy, and no more than others can stand before them.

use std::time::Duration;

/// Chunks on the way at a time.
pub const AT_ONCE: usize = 8;
/// The smallest chunk, in bytes.
pub const LEAST: usize = 16 * 1024;
/// The largest, in bytes.
pub const MOST: usize = 256 * 1024;
/// An answer that takes so much longer than the fastest did waited for nothing.
const IDLE: Duration = Duration::from_millis(60);
/// One that takes so much longer stood in a queue that we made.
const QUEUED: Duration = Duration::from_millis(500);

/// Learns from the answers.
#[derive(Debug)]
pub struct Pace {
    chunk: usize,
    most: usize,
    fastest: Option<Duration>,
}

impl Pace {
    /// Begins in the middle; never beyond `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let most = limit.clamp(1, MOST);
        Self { chunk: (LEAST * 4).min(most), most, fastest: None }
    }

    /// Bytes of the next chunk.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// A chunk was answered after this long.
    pub fn answered(&mut self, after: Duration) {
        let fastest = self.fastest.map_or(after, |fastest| fastest.min(after));
        self.fastest = Some(fastest);
        let waited = after.saturating_sub(fastest);
        if waited < IDLE {
            self.chunk = self.chunk.saturating_mul(2).min(self.most);
        } else if waited > QUEUED {
            self.chunk = (self.chunk / 2).max(LEAST.min(self.most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_on_a_fast_line_however_long_it_is_and_shrink_on_a_slow_one() {
        let mut pace = Pace::new(usize::MAX);
        assert_eq!(pace.chunk(), 64 * 1024);
        for _ in 0..4 {
            pace.answered(Duration::from_millis(300));
        }
        assert_eq!(pace.chunk(), MOST);
        for _ in 0..9 {
            pace.answered(Duration::from_secs(1));
        }
        assert_eq!(pace.chunk(), LEAST);
        pace.answered(Duration::from_millis(500));
        assert_eq!(pace.chunk(), LEAST, "neither idle nor queued");
        let mut small = Pace::new(5000);
        small.answered(Duration::from_secs(1));
        small.answered(Duration::from_secs(9));
        assert_eq!(small.chunk(), 5000);
    }
}
