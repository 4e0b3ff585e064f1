//! How well programs can be confined here: what the kernel, and whoever started the agent, allow it.

use std::sync::Arc;

use redpoll_exec::exec::cgroup::Hierarchy;
use serde::Serialize;

/// The bits of the capabilities that a change of user needs.
const CAP_SETGID: u64 = 1 << 6;
const CAP_SETUID: u64 = 1 << 7;

/// What holds of the agent from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Confinement {
    /// The controllers of cgroup v2 that keep limits of a procedure for its whole tree. Without any, the kernel limits each process
    /// by itself, and `cpu` is not limited.
    pub cgroups: Vec<String>,
    /// Why there are none, or not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups_missing: Option<String>,
    /// Whether procedures can have users, groups and limits at all: an agent of one's own has to see to that.
    pub helper: bool,
    /// Whether programs can run as other users.
    pub users: bool,
    /// Whether the agent becomes the parent of orphans, so that nothing of a tree that is ended escapes unseen.
    pub subreaper: bool,
    /// Whether nothing that runs here can gain privileges, by `sudo` and the like. Procedures with a user of their own cannot in
    /// any case.
    pub no_new_privs: bool,
}

impl Confinement {
    /// Of this process, with what came of its preparations.
    pub fn of(cgroups: &Result<Arc<Hierarchy>, String>, helper: bool, subreaper: bool) -> Self {
        let status = super::read(std::path::Path::new("/proc/self/status")).unwrap_or_default();
        let own = Own::read(&status);
        let missing = match cgroups {
            Ok(groups) => Some(groups.missing())
                .filter(|missing| !missing.is_empty())
                .map(|missing| format!("{} of the control groups are not the agent's", missing.join(", "))),
            Err(why) => Some(why.clone()),
        };
        Self {
            cgroups: cgroups.as_ref().map(|groups| groups.controllers().to_vec()).unwrap_or_default(),
            cgroups_missing: missing.and_then(|why| super::clean(&why)),
            helper,
            users: helper && rustix::process::geteuid().is_root() && own.may_change_user,
            subreaper,
            no_new_privs: own.no_new_privs,
        }
    }
}

/// What `/proc/self/status` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Own {
    may_change_user: bool,
    no_new_privs: bool,
}

impl Own {
    /// What is not there or not a number counts as not so.
    fn read(status: &str) -> Self {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let capabilities = field("CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        let both = CAP_SETUID | CAP_SETGID;
        Self { may_change_user: capabilities & both == both, no_new_privs: field("NoNewPrivs:") == Some("1") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_and_privileges_are_read_from_the_status() {
        let own = |capabilities: &str, privileges: &str| {
            Own::read(&format!("Name:\tx\nCapEff:\t{capabilities}\nNoNewPrivs:\t{privileges}\n"))
        };
        let all = Own { may_change_user: true, no_new_privs: false };
        assert_eq!(own("000001ffffffffff", "0"), all);
        assert_eq!(own("00000000000000c0", "1"), Own { no_new_privs: true, ..all });
        for little in ["0000000000000000", "0000000000000040", "0000000000000080", "rubbish", ""] {
            assert!(!own(little, "0").may_change_user, "{little}");
        }
        assert_eq!(Own::read(""), Own { may_change_user: false, no_new_privs: false });
    }

    #[test]
    fn why_there_are_no_control_groups_is_told() {
        let none = Confinement::of(&Err("no cgroup v2 is mounted".to_owned()), false, false);
        assert_eq!(none.cgroups_missing.as_deref(), Some("no cgroup v2 is mounted"));
        assert!(!none.users && none.cgroups.is_empty(), "without a helper nothing is confined: {none:?}");
    }
}
