//! What of a manifest's limits nothing keeps without control groups: those of memory and processes are kept for each process by itself then.

use redpoll_config::{Manifest, ManifestProblem};

use super::as_warning;
use crate::exec::cgroup::Hierarchy;

/// That nothing keeps the limit of `cpu` by these groups, a warning.
pub fn ungrouped(manifest: &Manifest, groups: Option<&Hierarchy>) -> Vec<ManifestProblem> {
    let is_kept = groups.is_some_and(|groups| groups.has("cpu"));
    let found = manifest.limits.cpu.filter(|_| !is_kept).map(|_| {
        let what = "control groups alone keep it, and there are none with cpu here: it is not limited; give the unit Delegate=yes where the \
                    machine has them, or leave it out";
        ("limits.cpu".to_owned(), what.to_owned())
    });
    ManifestProblem::of_fields(&manifest.file, found).into_iter().map(as_warning).collect()
}
