//! The check of a folder together with the policy of its machine: what the rules make of each manifest, and what is to be known of the
//! rules themselves.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use redpoll_config::{Manifest, ManifestProblem, PolicyConfig, Side};
use redpoll_schema::policy::Whose;

use super::{Checked, as_warning, check_folder};
use crate::gate::{Gate, Kind, Subject};
use crate::procedures::{account_of, info};

/// Where the rules are that judge a folder, and what they may name beside it.
#[derive(Debug)]
pub struct Judges<'a> {
    /// The policy.
    pub policy: PolicyConfig,
    /// A person named the file, so it has to exist; otherwise the default holds without it.
    pub is_named: bool,
    /// Procedures without a manifest that are offered.
    pub offered: Vec<(String, u32)>,
    /// What has a name there, offered or not.
    pub built_in: &'a [&'a str],
}

/// Checks a folder as [`check_folder`] does, and what the policy would refuse to everybody; then tells what is to be known of the policy. A
/// policy that cannot be used is a mistake. `more` is what else the side has to say of a manifest.
///
/// # Errors
/// When what was found cannot be written.
pub fn check_judged(
    folder: &Path,
    side: Side,
    judges: Judges<'_>,
    more: impl Fn(&Manifest) -> Vec<ManifestProblem>,
    (good, bad): (&mut impl Write, &mut impl Write),
) -> io::Result<Checked> {
    let Judges { policy, is_named, offered, built_in } = judges;
    let is_missing =
        fs::symlink_metadata(&policy.file).is_err_and(|why| why.kind() == io::ErrorKind::NotFound);
    if is_named && is_missing {
        writeln!(bad, "{}: there is no such policy; the folder was not checked", policy.file.display())?;
        return Ok(Checked { is_good: false, manifests: Vec::new(), is_whole: false });
    }
    let whose = match side {
        Side::Agent => Whose::Agent,
        Side::Manager => Whose::Manager,
    };
    let gate = Gate::open(&policy, whose);
    let with_rules = |manifest: &Manifest| {
        let refused = gate.as_ref().ok().and_then(|gate| never(gate, side, manifest));
        refused.into_iter().chain(more(manifest)).collect()
    };
    let checked = check_folder(folder, side, with_rules, (good, bad))?;
    match &gate {
        Err(problems) => {
            for problem in problems {
                writeln!(bad, "{problem}")?;
            }
        }
        // of a file with a mistake the name may be another
        Ok(gate) if checked.is_whole => {
            let described =
                checked.manifests.iter().map(|manifest| (manifest.name.clone(), manifest.version));
            let known: Vec<_> = described.chain(offered).collect();
            for said in gate.strangers(&known, built_in).into_iter().chain(gate.doubts(&known)) {
                writeln!(bad, "{}: warning: {said}", policy.file.display())?;
            }
        }
        Ok(_) => {}
    }
    Ok(Checked { is_good: checked.is_good && gate.is_ok(), ..checked })
}

/// That nobody may call it by the rules.
fn never(gate: &Gate, side: Side, manifest: &Manifest) -> Option<ManifestProblem> {
    // without rules `callers` decides alone on a manager, and who has no callers is told of that
    if side == Side::Manager && (!gate.has_rules() || manifest.callers.is_nobody()) {
        return None;
    }
    let subject = Subject::new(Kind::Manifest(account_of(manifest).ok()?));
    let why = gate.never(&info(manifest), &subject)?;
    let what = format!("nobody may call {}@{}: {why}", manifest.name, manifest.version);
    let field = if manifest.user.is_some() { "user" } else { "name" }.to_owned();
    ManifestProblem::of_fields(&manifest.file, [(field, what)]).into_iter().next().map(as_warning)
}
