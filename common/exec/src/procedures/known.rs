//! The places of what was described, over reloads.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::{Places, Procedure, label};

/// The places of all that was described as long as somebody holds one: a description that comes back finds them.
#[derive(Debug, Default)]
pub struct KnownPlaces(BTreeMap<String, Weak<Places>>);

impl KnownPlaces {
    /// Those of this label, `name@version`.
    pub fn of(&self, label: &str) -> Option<Arc<Places>> {
        self.0.get(label).and_then(Weak::upgrade)
    }

    /// Knows those of what is described now. Those of what is gone stay as long as something runs of it, or waits to.
    pub fn learn<'p>(&mut self, procedures: impl Iterator<Item = &'p Arc<Procedure>>) {
        self.0.retain(|_, places| places.strong_count() > 0);
        self.0.extend(procedures.map(|one| (label(one.manifest()), Arc::downgrade(one.places()))));
    }
}
