//! Whether this machine has what a manifest names, and what in a manifest does less than it seems to.

use std::ffi::OsStr;

use redpoll_config::{Manifest, ManifestProblem, ProcedureOutput, Side};

use super::{as_warning, keywords};
use crate::exec::account::{Account, AccountError};
use crate::exec::{ExecError, cgroup, find_program};

/// Why it would not run here.
pub(super) fn failures(manifest: &Manifest, side: Side) -> Vec<ManifestProblem> {
    let found = program(manifest, side).into_iter().chain(accounts(manifest));
    ManifestProblem::of_fields(&manifest.file, found)
}

/// What is to be known although it runs.
pub(super) fn warnings(manifest: &Manifest, side: Side) -> Vec<ManifestProblem> {
    let mut found = keywords::unknown(&manifest.args, "args");
    if !manifest.redact.is_empty() && manifest.output == ProcedureOutput::Text {
        let what = "with output = \"text\" there are no paths in what it writes: only what it repeats of the secrets in its arguments is masked; \
                    use output = \"json\", or have it write no other secret";
        found.push(("redact".to_owned(), what.to_owned()));
    }
    if manifest.manager.as_ref().is_some_and(|rights| !rights.submit && rights.calls().is_empty()) {
        let what = "it allows nothing, and keeps the standard input open all the same; say submit = true or calls = [\"site.*\"], \
                    or leave the table out";
        found.push(("manager".to_owned(), what.to_owned()));
    }
    if side == Side::Manager && manifest.callers.is_nobody() && !manifest.callback {
        let what = "nobody may call it; say who with callers = [\"operator:*\"], or callback = true for jobs that name it";
        found.push(("callers".to_owned(), what.to_owned()));
    }
    if manifest.limits.cpu.is_some() && !cgroup::is_on_machine("cpu") {
        let what = "control groups (version 2) alone keep it, and this machine has none with cpu: it is not limited here";
        found.push(("limits.cpu".to_owned(), what.to_owned()));
    }
    ManifestProblem::of_fields(&manifest.file, found).into_iter().map(as_warning).collect()
}

/// The program, as it is looked up at a start.
fn program(manifest: &Manifest, side: Side) -> Option<(String, String)> {
    let who = match side {
        Side::Agent => "agent",
        Side::Manager => "manager",
    };
    let program = manifest.command.first()?;
    let path = manifest.env.get("PATH").map(OsStr::new);
    let error = find_program(OsStr::new(program), None, path).err()?;
    let is_path = program.contains('/');
    let what = if matches!(error, ExecError::NotFound { .. }) && is_path {
        format!("{program:?} was not found; install it, or correct the path")
    } else if matches!(error, ExecError::NotFound { .. }) {
        let path = path.map(OsStr::to_owned).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        format!("{error} (looked up in {}; the {who} may have another PATH)", path.to_string_lossy())
    } else if matches!(error, ExecError::Denied { .. }) {
        format!("{program:?} is no executable file; let it be executed (chmod +x)")
    } else {
        error.to_string()
    };
    Some(("command".to_owned(), what))
}

/// The user and the group, each of which may be missing. Whether whoever offers it may become them is that one's matter.
fn accounts(manifest: &Manifest) -> Vec<(String, String)> {
    let (user, group) = (manifest.user.as_deref(), manifest.group.as_deref());
    if user.is_none() && group.is_none() {
        return Vec::new();
    }
    let told = |field: &str, error: AccountError| {
        (field.to_owned(), format!("{error}; create it, or name one that exists"))
    };
    let own = rustix::process::geteuid().as_raw().to_string();
    match (Account::find(user.unwrap_or(&own), group), user, group) {
        (Ok(_), ..) => Vec::new(),
        (Err(error @ AccountError::NoGroup { .. }), ..) | (Err(error), None, _) => vec![told("group", error)],
        // who is looked up first says nothing of the group
        (Err(error), Some(_), Some(group)) => {
            let group = Account::check_group(group).err().map(|error| told("group", error));
            [told("user", error)].into_iter().chain(group).collect()
        }
        (Err(error), Some(_), None) => vec![told("user", error)],
    }
}
