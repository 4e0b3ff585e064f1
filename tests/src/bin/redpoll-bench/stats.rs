//! Numbers out of repeated measurements.

use std::time::Duration;

use serde_json::{Value, json};

/// What several rounds gave: the middle, and how far they lie apart.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value; of none it is zero.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), min: at(0), max: at(last) }
    }

    pub(crate) fn json(self) -> Value {
        json!({ "median": round(self.median), "min": round(self.min), "max": round(self.max) })
    }

    /// `1.52 [1.40..1.66]`
    pub(crate) fn text(self) -> String {
        let Self { median, min, max } = self;
        format!("{} [{}..{}]", short(median), short(min), short(max))
    }
}

/// The latency in nanoseconds below which `per_mille` of a thousand lie. Sorts.
pub(crate) fn percentile(latencies: &mut [u64], per_mille: usize) -> u64 {
    latencies.sort_unstable();
    let index = (latencies.len() * per_mille / 1000).min(latencies.len().saturating_sub(1));
    latencies.get(index).copied().unwrap_or_default()
}

/// Nanoseconds of a duration.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Three digits, or all before the point.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        n if n >= 100.0 => format!("{value:.0}"),
        n if n >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
