//! Numbers nobody can predict from outside, for jitter and ids. Not for secrets.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A random number: the keys of the standard library's hash maps, which it draws from the operating system.
pub fn number() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(0);
    hasher.finish()
}

/// 128 random bits.
pub fn bytes16() -> [u8; 16] {
    ((u128::from(number()) << 64) | u128::from(number())).to_be_bytes()
}
