//! Gathers what is wrong with values that are readable but make no sense.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use crate::error::{Origin, Problem};
use crate::values::duration::format_duration;
use crate::values::size::format_size;

/// The problems found so far in one configuration.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    problems: Vec<Problem>,
}

impl Checks {
    /// Notes a problem. The loader fills in where the value came from.
    pub(crate) fn add(&mut self, key: &str, what: impl Into<String>) {
        self.problems.push(Problem { key: key.to_owned(), origin: Origin::Default, what: what.into() });
    }

    /// A number has to lie within limits.
    pub(crate) fn number<T: PartialOrd + Display>(&mut self, key: &str, value: T, limits: RangeInclusive<T>) {
        if !limits.contains(&value) {
            self.add(key, format!("{value} is outside {} to {}", limits.start(), limits.end()));
        }
    }

    /// A size in bytes has to lie within limits.
    pub(crate) fn size(&mut self, key: &str, value: u64, limits: RangeInclusive<u64>) {
        if !limits.contains(&value) {
            let (low, high) = (format_size(*limits.start()), format_size(*limits.end()));
            self.add(key, format!("{} is outside {low} to {high}", format_size(value)));
        }
    }

    /// A size in bytes has to lie within limits, or be 0, which turns something off.
    pub(crate) fn size_or_off(&mut self, key: &str, value: u64, limits: RangeInclusive<u64>) {
        if value != 0 {
            self.size(key, value, limits);
        }
    }

    /// A duration has to lie within limits.
    pub(crate) fn duration(&mut self, key: &str, value: Duration, limits: RangeInclusive<Duration>) {
        if !limits.contains(&value) {
            let (low, high) = (format_duration(*limits.start()), format_duration(*limits.end()));
            self.add(key, format!("{} is outside {low} to {high}", format_duration(value)));
        }
    }

    /// A duration has to lie within limits, or be 0, which turns something off.
    pub(crate) fn duration_or_off(&mut self, key: &str, value: Duration, limits: RangeInclusive<Duration>) {
        if !value.is_zero() {
            self.duration(key, value, limits);
        }
    }

    /// A path has to be there.
    pub(crate) fn path(&mut self, key: &str, path: &Path) {
        if path.as_os_str().is_empty() {
            self.add(key, "the path is empty");
        }
    }

    /// Everything that was noted.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
