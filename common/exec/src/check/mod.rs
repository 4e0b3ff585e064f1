//! The check of a folder of manifests without a daemon: what is wrong with each, what it names that this machine does not have, and
//! what does less than it seems to. `redpoll-agent procedures check` and `redpoll-manager procedures check` are this.
//!
//! `machine`: what a manifest names that is not here. `keywords`: what is in a schema and checks nothing. `capped`: what limits do not let be. `ungrouped`: what
//! nothing keeps without control groups. `judged`: what the
//! policy makes of it.

mod capped;
mod judged;
mod keywords;
mod machine;
mod ungrouped;

use std::io::{self, Write};
use std::path::Path;

use redpoll_config::{Manifest, ManifestProblem, Side, load_folder_of};

pub use capped::capped;
pub use judged::{Judges, check_judged};
pub use ungrouped::ungrouped;

/// What was found in a folder.
#[derive(Debug)]
pub struct Checked {
    /// Nothing is wrong; there may be warnings.
    pub is_good: bool,
    /// The manifests that can be read, those that are not enabled included.
    pub manifests: Vec<Manifest>,
    /// Every file could be read.
    pub is_whole: bool,
}

/// Checks a folder as one side offers it. Each good manifest is a line on `good`, each problem and each warning one on `bad`; `more` is what
/// else the side has to say of a manifest that is offered.
///
/// # Errors
/// When nobody reads it.
pub fn check_folder(
    folder: &Path,
    side: Side,
    more: impl Fn(&Manifest) -> Vec<ManifestProblem>,
    (good, bad): (&mut impl Write, &mut impl Write),
) -> io::Result<Checked> {
    if !folder.is_dir() {
        let why = match folder.is_file() {
            true => "it is a file; give the folder that it is in",
            false => "there is no such folder",
        };
        writeln!(bad, "{}: {why}", folder.display())?;
        return Ok(Checked { is_good: false, manifests: Vec::new(), is_whole: false });
    }
    let loaded = load_folder_of(folder, side);
    let is_whole = loaded.problems.is_empty();
    let mut is_good = is_whole;
    for manifest in &loaded.manifests {
        let (mut failures, mut warnings) =
            (machine::failures(manifest, side), machine::warnings(manifest, side));
        if !manifest.enabled {
            // it is not run, so nothing fails for want of what it names
            warnings.extend(std::mem::take(&mut failures).into_iter().map(as_warning));
        } else if failures.is_empty() {
            warnings.extend(more(manifest));
        }
        if failures.is_empty() {
            let note = if manifest.enabled { "" } else { " (not enabled)" };
            writeln!(good, "{}@{}{note}", manifest.name, manifest.version)?;
        }
        is_good &= failures.is_empty();
        for problem in failures.iter().chain(&warnings) {
            writeln!(bad, "{problem}")?;
        }
    }
    for problem in &loaded.problems {
        writeln!(bad, "{problem}")?;
    }
    Ok(Checked { is_good, manifests: loaded.manifests, is_whole })
}

/// Has a problem begin with what it is.
pub fn as_warning(problem: ManifestProblem) -> ManifestProblem {
    ManifestProblem { what: format!("warning: {}", problem.what), ..problem }
}
