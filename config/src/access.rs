//! `[access]`: what operators are, for the policies of machines.

use std::collections::BTreeMap;

use redpoll_common::ids::MAX_NAME_LEN;
use redpoll_common::roles::{MAX_ROLE_LEN, MAX_ROLES, is_role};
use serde::{Deserialize, Serialize};

use crate::checks::Checks;
use crate::values::roles;

/// The most entries of the list of one role.
const MAX_HOLDERS: usize = 256;

/// `[access]`: what operators are, for the policies of machines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    /// Who has which role: ids of operators and globs, by the name of the role. Agents are told, and their policies may look at it.
    #[serde(with = "roles")]
    pub roles: BTreeMap<String, Vec<String>>,
}

impl AccessConfig {
    pub(crate) fn check(&self, checks: &mut Checks) {
        let key = "access.roles";
        if self.roles.len() > MAX_ROLES {
            checks.add(key, format!("{} roles, and at most {MAX_ROLES} are allowed", self.roles.len()));
        }
        for (role, holders) in &self.roles {
            if !is_role(role) {
                let what =
                    format!("{role:?} is not a name of 1 to {MAX_ROLE_LEN} letters, digits, '.', '_', '-'");
                checks.add(key, what);
            }
            if let Err(what) = check_holders(role, holders) {
                checks.add(key, what);
            }
        }
    }
}

fn check_holders(role: &str, holders: &[String]) -> Result<(), String> {
    if holders.is_empty() {
        return Err(format!(
            "nobody has {role:?}; name operators, such as [\"ann\", \"ci-*\"], or delete the role"
        ));
    }
    if holders.len() > MAX_HOLDERS {
        return Err(format!("{role:?} has {} entries, and at most {MAX_HOLDERS} are allowed", holders.len()));
    }
    // what no name can have would never fit, and whoever wrote it would wait for the role in vain
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*' | b'?');
    let wrong = |holder: &&String| !(1..=MAX_NAME_LEN).contains(&holder.len()) || !holder.bytes().all(good);
    if let Some(holder) = holders.iter().find(wrong) {
        return Err(format!(
            "{role:?}: {holder:?} is no operator; write an id of 1 to {MAX_NAME_LEN} letters, digits, '.', '_', '-', \
             with * for any characters and ? for one"
        ));
    }
    let mut earlier = std::collections::BTreeSet::new();
    match holders.iter().find(|holder| !earlier.insert(holder.as_str())) {
        Some(twice) => Err(format!("{role:?}: {twice:?} is named twice; delete one of them")),
        None => Ok(()),
    }
}
