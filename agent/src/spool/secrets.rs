//! Which runs have arguments that must not stay in the journal once the run is gone, and whether files have to go for that.

use std::collections::BTreeSet;

/// The runs with secrets that are not gone yet, and the files that hold secrets of those that are.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    runs: BTreeSet<u64>,
    /// Files up to this number hold secrets of runs that are gone.
    until: Option<u64>,
}

impl Secrets {
    /// When a journal is opened: each of its runs may have secrets.
    pub(super) fn of_unknown(runs: impl Iterator<Item = u64>) -> Self {
        Self { runs: runs.collect(), until: None }
    }

    /// A run has secrets.
    pub(super) fn add(&mut self, run: u64) {
        self.runs.insert(run);
    }

    /// A run is gone; `active` is the file that is written.
    pub(super) fn gone(&mut self, run: u64, active: u64) {
        if self.runs.remove(&run) {
            self.until = Some(self.until.map_or(active, |until| until.max(active)));
        }
    }

    /// The last file that has to go; `None` when none has to.
    pub(super) fn due(&self) -> Option<u64> {
        self.until
    }

    /// All these files are gone.
    pub(super) fn done(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_to_go_once_a_run_with_secrets_is_gone_and_not_before() {
        let mut secrets = Secrets::default();
        secrets.gone(1, 7);
        assert_eq!(secrets.due(), None, "a run without secrets");
        secrets.add(2);
        assert_eq!(secrets.due(), None, "a run that is needed");
        secrets.gone(2, 8);
        assert_eq!(secrets.due(), Some(8));
        secrets.done();
        assert_eq!(secrets.due(), None);
    }

    #[test]
    fn a_run_of_an_earlier_life_may_have_secrets() {
        let mut secrets = Secrets::of_unknown([3].into_iter());
        assert_eq!(secrets.due(), None);
        secrets.gone(3, 5);
        assert_eq!(secrets.due(), Some(5));
    }
}
