//! Numbers that look random and follow from a seed.

use redpoll_net::random;

/// Dice: SplitMix64. The same seed gives the same throws.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that nobody chose.
    pub fn any_seed() -> u64 {
        // short enough to be typed
        random::number() % 1_000_000_000
    }

    /// Dice of their own for a part, so that one part's throws do not move another's.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        let width = u64::from(high.saturating_sub(low)) + 1;
        low + u32::try_from(self.next() % width).unwrap_or(0)
    }

    /// True in so many of a hundred throws.
    pub fn percent(&mut self, chance: u32) -> bool {
        self.between(0, 99) < chance
    }

    /// One of them.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let last = u32::try_from(from.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let place = usize::try_from(self.between(0, last)).unwrap_or(0);
        from.get(place).expect("something to pick from")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_throws_within_their_bounds() {
        let throws = |seed| {
            let mut dice = Dice::new(seed);
            (0..1000).map(|_| dice.between(3, 9)).collect::<Vec<_>>()
        };
        assert_eq!(throws(7), throws(7));
        assert_ne!(throws(7), throws(8));
        let all: std::collections::BTreeSet<u32> = throws(7).into_iter().collect();
        assert_eq!(all, (3..=9).collect());
    }
}
