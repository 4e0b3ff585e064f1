//! Numbers by what they are, not by how they are written: a policy and a condition compare them by one rule.

use std::cmp::Ordering;

/// A number of MessagePack or JSON.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Whole.
    Integer(i128),
    /// With a fraction, or without.
    Float(f64),
}

impl Number {
    /// Which of two is the greater, exactly: a float above 2^53 is not taken for its neighbours. `None`: one of them is no number.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => Some(one.cmp(&other)),
            (Self::Float(one), Self::Float(other)) => one.partial_cmp(&other),
            (Self::Integer(one), Self::Float(other)) => mixed(one, other),
            (Self::Float(one), Self::Integer(other)) => mixed(other, one).map(Ordering::reverse),
        }
    }
}

/// An integer against a float.
fn mixed(integer: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is beyond becomes the nearest that there is, and fits no u64 or i64"
    )]
    let whole = float.trunc() as i128;
    let fraction = || 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal);
    Some(integer.cmp(&whole).then_with(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_a_float_only_where_that_is_the_same_number() {
        use Ordering::{Equal, Greater, Less};
        for (integer, float, order) in [
            (80, 80.0, Some(Equal)),
            (0, -0.0, Some(Equal)),
            (9_007_199_254_740_993, 9_007_199_254_740_992.0, Some(Greater)),
            (9_007_199_254_740_992, 9_007_199_254_740_992.0, Some(Equal)),
            (9_007_199_254_740_991, 9_007_199_254_740_992.0, Some(Less)),
            (i128::from(u64::MAX), 18_446_744_073_709_551_616.0, Some(Less)),
            (i128::from(i64::MIN), -9_223_372_036_854_775_808.0, Some(Equal)),
            (1, 1.5, Some(Less)),
            (2, 1.5, Some(Greater)),
            (-1, -1.5, Some(Greater)),
            (-2, -1.5, Some(Less)),
            (0, 5e-324, Some(Less)),
            (i128::from(u64::MAX), 1e300, Some(Less)),
            (i128::from(i64::MIN), f64::NEG_INFINITY, Some(Greater)),
            (1, f64::NAN, None),
        ] {
            let (integer, float) = (Number::Integer(integer), Number::Float(float));
            assert_eq!(integer.compare(float), order, "{integer:?} {float:?}");
            assert_eq!(float.compare(integer), order.map(Ordering::reverse), "{float:?} {integer:?}");
        }
        assert_eq!(Number::Float(0.5).compare(Number::Float(0.25)), Some(Greater));
        assert_eq!(Number::Integer(-1).compare(Number::Integer(1)), Some(Less));
    }
}
