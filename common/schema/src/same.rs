//! Whether two values of JSON are the same: numbers by what they are, not by how they are written.

use std::cmp::Ordering;

use redpoll_common::number;
use serde_json::{Number, Value};

/// Equal, at all levels. It is called as deep as the shallower of the two.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_),
            _,
        ) => a == b,
    }
}

/// Which of two numbers is the greater.
pub(crate) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    let number = |of: &Number| {
        of.as_i128().map(number::Number::Integer).or_else(|| of.as_f64().map(number::Number::Float))
    };
    number(a)?.compare(number(b)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_the_same_however_they_are_written_also_in_lists_and_maps() {
        let list = json!([[80, 443], {"a": 1, "b": [0.5]}]);
        assert!(same(&list, &json!([[80.0, 443.0], {"b": [0.5], "a": 1.0}])));
        for other in [
            json!([[80, 443], {"a": 1}]),
            json!([[80, 443, 1], {"a": 1, "b": [0.5]}]),
            json!([[80, 444], {"a": 1, "b": [0.5]}]),
            json!([[80, 443], {"a": "1", "b": [0.5]}]),
            json!([[80, 443], {"a": true, "b": [0.5]}]),
            json!([[80, 443], {"c": 1, "b": [0.5]}]),
        ] {
            assert!(!same(&list, &other) && !same(&other, &list), "{other}");
        }
        assert!(!same(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992.0)));
        assert!(same(&json!(null), &json!(null)) && !same(&json!(null), &json!(0)));
    }
}
