//! What an operator is beyond being one: names that the configuration of a manager gives, and that policies of machines look at.
//!
//! A list that is empty says that the operator has none; one that is absent, that the manager does not say. What is not known counts
//! against a call, so the two are never taken for each other.

use crate::wire::{DecodeError, Fields};

/// The most roles of an operator, and the most that a manager gives names to.
pub const MAX_ROLES: usize = 64;
/// The longest name of a role, in bytes.
pub const MAX_ROLE_LEN: usize = 64;

/// Whether this can be the name of a role: 1 to [`MAX_ROLE_LEN`] letters, digits, `.`, `_` and `-`.
pub fn is_role(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_ROLE_LEN).contains(&name.len()) && name.bytes().all(good)
}

/// The roles of a message, if it says them.
pub(crate) fn read(fields: &Fields<'_>) -> Result<Option<Vec<String>>, DecodeError> {
    fields.opt_texts("roles", MAX_ROLES, MAX_ROLE_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Raw, RawMap};

    #[test]
    fn a_role_has_a_name_as_peers_have() {
        for good in ["deploy", "on-call", "a.b_C-9", &"x".repeat(64)] {
            assert!(is_role(good), "{good}");
        }
        for bad in ["", "a b", "a,b", "deploy*", "ä", &"x".repeat(65)] {
            assert!(!is_role(bad), "{bad}");
        }
    }

    #[test]
    fn none_and_not_said_are_told_apart() {
        let read_of = |raw: &Raw| read(&Fields::of(raw).unwrap());
        assert_eq!(read_of(&RawMap::new().finish()), Ok(None));
        assert_eq!(read_of(&RawMap::new().raw("roles", &Raw::nil()).finish()), Ok(None));
        assert_eq!(read_of(&RawMap::new().texts("roles", &[]).finish()), Ok(Some(Vec::new())));
        assert_eq!(read_of(&RawMap::new().opt_texts("roles", None).finish()), Ok(None));
        let most = vec!["x".repeat(MAX_ROLE_LEN); MAX_ROLES];
        assert_eq!(read_of(&RawMap::new().opt_texts("roles", Some(&most)).finish()), Ok(Some(most.clone())));
        for bad in [vec!["x".repeat(MAX_ROLE_LEN + 1)], vec!["x".to_owned(); MAX_ROLES + 1]] {
            assert!(read_of(&RawMap::new().texts("roles", &bad).finish()).is_err());
        }
        assert!(read_of(&RawMap::new().text("roles", "deploy").finish()).is_err());
    }
}
