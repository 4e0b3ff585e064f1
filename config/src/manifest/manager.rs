//! What a procedure may ask the manager for: `[manager]` of its manifest.

use redpoll_common::wire::MAX_METHOD_LEN;
use redpoll_schema::policy::Pattern;

use super::folder::Side;
use super::table::Fields;
use super::{ProcedureMode, ProcedureOutput};

/// The most entries of `calls`.
const MAX_CALLS: usize = 256;

/// What the machine's owner lets a procedure ask the manager for, which has the last word.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ManagerRights {
    /// Whether it may submit jobs.
    pub submit: bool,
    calls: Vec<Pattern>,
}

impl ManagerRights {
    /// Rights to submit jobs or not, and to call what fits one of the patterns.
    pub fn new(submit: bool, calls: Vec<Pattern>) -> Self {
        Self { submit, calls }
    }

    /// Whether it may call a procedure of the manager, `name` or `name@version`. A pattern with a version fits a name with that
    /// version alone: which one the manager would take for a bare name is not known here.
    pub fn may_call(&self, procedure: &str) -> bool {
        let (name, version) = match procedure.split_once('@') {
            None => (procedure, Some(0)),
            Some((name, version)) => (name, version.parse().ok()),
        };
        // methods of the manager itself are no procedures
        let is_own = name.split('.').next() == Some("rp");
        version.is_some_and(|version| !is_own && self.calls.iter().any(|glob| glob.fits(name, version)))
    }

    /// The patterns of what it may call.
    pub fn calls(&self) -> &[Pattern] {
        &self.calls
    }
}

/// Reads the table. `None`: there is none, and it may ask for nothing.
pub(super) fn rights(
    fields: &mut Fields<'_>,
    side: Side,
    (mode, output): (ProcedureMode, ProcedureOutput),
) -> Option<ManagerRights> {
    let table = fields.table("manager")?;
    if side == Side::Manager {
        fields.wrong("manager", "procedures of the manager ask nothing of it: no certificate says who would, and nothing limits what; have an agent do it, or let the program run rpctl with the certificate of an operator of its own");
    } else if output == ProcedureOutput::Text && mode == ProcedureMode::Once {
        fields.wrong("manager", "with output = \"text\" it can ask for nothing; use output = \"json\"");
    }
    let rights = fields.inner("manager", table, |inner| {
        let submit = inner.flag("submit").unwrap_or(false);
        let calls = inner.texts("calls", MAX_CALLS).unwrap_or_default();
        match calls.iter().map(|entry| pattern(entry)).collect() {
            Ok(calls) => ManagerRights { submit, calls },
            Err(what) => {
                inner.wrong("calls", what);
                ManagerRights::default()
            }
        }
    });
    Some(rights)
}

fn pattern(entry: &str) -> Result<Pattern, String> {
    if entry.split('.').next().is_some_and(|family| family.eq_ignore_ascii_case("rp")) {
        return Err(format!(
            "{entry:?}: the methods of the manager itself are no procedures; jobs are submitted with submit = true"
        ));
    }
    // what no name can have would never fit, and whoever wrote it would wonder why
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '@');
    let pattern =
        Pattern::new(entry).ok().filter(|_| entry.len() <= MAX_METHOD_LEN && entry.chars().all(good));
    pattern.ok_or_else(|| {
        format!(
            "{entry:?} is no procedure of the manager; write its name, with * for any characters, or with a version, \
             such as \"site.*\" or \"site.note@1\", at most {MAX_METHOD_LEN} bytes"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(calls: &[&str]) -> ManagerRights {
        ManagerRights::new(false, calls.iter().map(|entry| pattern(entry).unwrap()).collect())
    }

    #[test]
    fn a_call_fits_by_name_and_version_and_by_default_none_does() {
        let some = rights(&["site.*", "note@2"]);
        for (procedure, expected) in [
            ("site.note", true),
            ("site.note@7", true),
            ("note@2", true),
            ("note", false),
            ("note@1", false),
            ("note@02x", false),
            ("Note@2", false),
            ("Site.note", false),
            ("site", false),
            ("", false),
        ] {
            assert_eq!(some.may_call(procedure), expected, "{procedure}");
            assert!(!ManagerRights::default().may_call(procedure));
        }
        let all = rights(&["*"]);
        assert!(all.may_call("sys.procedures") && all.may_call("rpm.build"));
        for own in ["rp.jobs.submit", "rp.call", "rp.jobs.submit@1", "rp"] {
            assert!(!all.may_call(own), "{own}");
        }
    }

    #[test]
    fn what_could_be_no_procedure_of_the_manager_is_refused() {
        for wrong in ["", "site note", "note@x", "note@0", "rp.jobs.submit", "rp.*", "Rp.*", &"x".repeat(129)]
        {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
    }
}
