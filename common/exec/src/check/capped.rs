//! What a manifest says beyond the limits of whoever offers it, which hold in its place.

use std::time::Duration;

use redpoll_config::{Manifest, ManifestProblem, Side, format_duration};

use super::as_warning;
use crate::limits::ExecLimits;

/// What of a manifest is not as it says, a warning each: the limits of the side that offers it are lower.
pub fn capped(manifest: &Manifest, limits: &ExecLimits, side: Side) -> Vec<ManifestProblem> {
    let (whose, section) = match side {
        Side::Agent => ("agent", "limits"),
        Side::Manager => ("manager", "procedures"),
    };
    let said = |field: &str, own: &str, said: String, limit: String| {
        let what = format!(
            "it says {said}, and the {whose}'s {section}.{own} of {limit} holds; raise that, or say no more than it"
        );
        (field.to_owned(), what)
    };
    let time = |field: &str, wanted: Option<Duration>, limit: Option<Duration>| {
        let (wanted, limit) = (wanted?, limit?);
        (wanted > limit).then(|| said(field, field, format_duration(wanted), format_duration(limit)))
    };
    let output = manifest.limits.output.filter(|wanted| *wanted > limits.output);
    let found = [
        time("run_timeout", manifest.run_timeout, limits.run_timeout),
        time("grace", manifest.grace, Some(limits.grace)),
        output.map(|wanted| {
            let bytes = |n: u64| format!("{n} bytes");
            said("limits.output", "output", bytes(wanted), bytes(limits.output))
        }),
    ];
    ManifestProblem::of_fields(&manifest.file, found.into_iter().flatten())
        .into_iter()
        .map(as_warning)
        .collect()
}
