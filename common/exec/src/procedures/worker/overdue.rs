//! What is due while a worker writes without a pause.

/// How often what is due waits for what a worker has said by then: that often a full pipe can be read.
const STEPS: u8 = 8;

/// Lets a worker that has something to say be heard before what is due, but not on and on: its pipe can be full at any time, and then
/// neither a clock nor a channel would have its turn.
#[derive(Debug, Default)]
pub(super) struct Overdue(u8);

impl Overdue {
    /// Whether what is due comes first now. To be asked before each step.
    pub(super) fn is_over(&mut self, is_due: bool) -> bool {
        self.0 = if is_due { self.0.saturating_add(1) } else { 0 };
        self.0 > STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_waits_for_a_full_pipe_and_no_longer() {
        let mut overdue = Overdue::default();
        for _ in 0..2 {
            assert!((0..STEPS).all(|_| !overdue.is_over(true)));
            assert!(overdue.is_over(true));
            assert!(!overdue.is_over(false), "what was done is not due any more");
        }
        // the buffer of a step, and what a pipe holds unless it was asked for more
        assert!(usize::from(STEPS) * crate::exec::CHUNK >= 64 * 1024);
    }
}
