//! Times in criteria: what callers give is clock time, what jobs have is the manager's [count](crate::clock).

use redpoll_common::wire::Raw;

use super::{Criteria, CriteriaError};

/// The field that is a time.
pub(super) const TIME: &str = "submitted_ms";
/// Above it a float stands for several whole numbers.
const EXACT: f64 = (1_u64 << 53) as f64;

impl Criteria {
    /// The same with times as `counted` says them.
    #[must_use]
    pub fn with_times(self, counted: &impl Fn(u64) -> u64) -> Self {
        let all = |list: Vec<Self>| list.into_iter().map(|one| one.with_times(counted)).collect();
        match self {
            Self::And(list) => Self::And(all(list)),
            Self::Or(list) => Self::Or(all(list)),
            Self::Field(field, comparison, values) if field == TIME => {
                // each was read as a time
                let time =
                    |value: &Raw| value.decode::<u64>().ok().and_then(|ms| Raw::encode(&counted(ms)).ok());
                let values = values.into_iter().map(|value| time(&value).unwrap_or(value)).collect();
                Self::Field(field, comparison, values)
            }
            other @ Self::Field(..) => other,
        }
    }
}

/// A time as somebody gave it: a whole number, which some programs write as a float.
#[expect(clippy::cast_possible_truncation, reason = "a whole number within what is exact")]
pub(super) fn time(value: &Raw) -> Result<Raw, CriteriaError> {
    let whole = value.decode::<u64>().ok().or_else(|| {
        let float = value.decode::<f64>().ok().filter(|float| float.fract() == 0.0)?;
        (0.0..=EXACT).contains(&float).then_some(float as u64)
    });
    whole.and_then(|ms| Raw::encode(&ms).ok()).ok_or(CriteriaError::NoTime)
}
