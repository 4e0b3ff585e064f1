//! How much of a request's values may be on the way: flow control per request.
//!
//! The caller grants bytes; the callee spends them. Both start at the agreed window. A value costs its length, at
//! least [`MIN_COST`] and at most half the window, so that neither many tiny values nor one large one breaks the
//! bound. (Half, because grants are held back until half the window is worth a message.)

/// What the smallest value costs, in bytes: bounds how many values can be on the way.
pub const MIN_COST: u64 = 256;

/// What a value of `len` bytes costs under a window.
pub fn cost(len: usize, window: u64) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX).max(MIN_COST).min(window / 2)
}

/// The callee's side: what it may still send.
#[derive(Debug, Clone, Copy)]
pub struct Spending {
    left: u64,
    window: u64,
}

/// The peer granted more than the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("credit beyond the window of {window} bytes")]
pub struct TooMuchCredit {
    /// The window.
    pub window: u64,
}

impl Spending {
    /// Starts with a full window.
    pub fn new(window: u64) -> Self {
        Self { left: window, window }
    }

    /// Pays for a value, or says that the credit does not suffice.
    #[must_use = "without credit the value must not be sent"]
    pub fn spend(&mut self, len: usize) -> bool {
        let cost = cost(len, self.window);
        if cost > self.left {
            return false;
        }
        self.left -= cost;
        true
    }

    /// Takes a grant.
    ///
    /// # Errors
    /// [`TooMuchCredit`] when the sum exceeds the window: the peer miscounts.
    pub fn grant(&mut self, bytes: u64) -> Result<(), TooMuchCredit> {
        let sum = self.left.saturating_add(bytes);
        if sum > self.window {
            return Err(TooMuchCredit { window: self.window });
        }
        self.left = sum;
        Ok(())
    }
}

/// The caller's side: what the peer may still send, and what to grant.
#[derive(Debug, Clone, Copy)]
pub struct Granting {
    outstanding: u64,
    consumed: u64,
    window: u64,
}

/// The peer sent more than it had credit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("values beyond the credit of {window} bytes")]
pub struct Overdrawn {
    /// The window.
    pub window: u64,
}

impl Granting {
    /// Starts with a full window.
    pub fn new(window: u64) -> Self {
        Self { outstanding: 0, consumed: 0, window }
    }

    /// A value came.
    ///
    /// # Errors
    /// [`Overdrawn`] when the peer had no credit for it.
    pub fn receive(&mut self, len: usize) -> Result<(), Overdrawn> {
        let sum = self.outstanding + cost(len, self.window);
        if sum > self.window {
            return Err(Overdrawn { window: self.window });
        }
        self.outstanding = sum;
        Ok(())
    }

    /// A value was taken by whoever waited for it: what to grant now, if it is worth a message.
    pub fn consume(&mut self, len: usize) -> Option<u64> {
        self.consumed = (self.consumed + cost(len, self.window)).min(self.outstanding);
        if self.consumed < self.window / 2 {
            return None;
        }
        let grant = std::mem::take(&mut self.consumed);
        self.outstanding -= grant;
        Some(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_honest_pair_never_stalls_and_never_exceeds_the_window(
            lens in proptest::collection::vec(0usize..400_000, 1..200),
            lag in 0usize..50,
        ) {
            let window = 65_536;
            let (mut spending, mut granting) = (Spending::new(window), Granting::new(window));
            let mut on_the_way: std::collections::VecDeque<usize> = Default::default();
            let mut sent = 0;
            while sent < lens.len() || !on_the_way.is_empty() {
                let mut moved = false;
                while sent < lens.len() && spending.spend(lens[sent]) {
                    granting.receive(lens[sent]).unwrap();
                    on_the_way.push_back(lens[sent]);
                    sent += 1;
                    moved = true;
                }
                for _ in 0..=lag {
                    let Some(len) = on_the_way.pop_front() else { break };
                    moved = true;
                    if let Some(bytes) = granting.consume(len) {
                        spending.grant(bytes).unwrap();
                    }
                }
                prop_assert!(moved, "both sides wait for each other");
            }
        }
    }

    #[test]
    fn cheats_are_seen() {
        let mut granting = Granting::new(1024);
        for _ in 0..4 {
            granting.receive(0).unwrap();
        }
        assert_eq!(granting.receive(0), Err(Overdrawn { window: 1024 }));
        assert_eq!(Spending::new(1024).grant(1), Err(TooMuchCredit { window: 1024 }));
    }
}
