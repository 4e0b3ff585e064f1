//! Which roles operators have, as the configuration says. They are told to agents, whose policies may look at them; the manager itself
//! lets every operator do the same.

use std::collections::BTreeMap;

use redpoll_common::job::Submitter;

use crate::glob;

/// Who has which role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    /// Globs of ids of operators, by role.
    holders: BTreeMap<String, Vec<String>>,
}

impl Roles {
    /// The roles of this table: globs of ids of operators, by the name of the role.
    pub fn new(holders: BTreeMap<String, Vec<String>>) -> Self {
        Self { holders }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.holders.len()
    }

    /// What agents are told of somebody: the roles that he has, an empty list when that is none. Agents have none, whatever they
    /// are called. `None` where no role is configured at all: such a manager says nothing of roles. Linear in the table.
    pub fn of(&self, who: &Submitter) -> Option<Vec<String>> {
        if self.holders.is_empty() {
            return None;
        }
        let Some(id) = who.operator_id() else { return Some(Vec::new()) };
        let has = |globs: &[String]| globs.iter().any(|glob| glob::matches(glob, id));
        Some(self.holders.iter().filter(|(_, globs)| has(globs)).map(|(role, _)| role.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(table: &[(&str, &[&str])]) -> Roles {
        let globs = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        Roles::new(table.iter().map(|(role, of)| ((*role).to_owned(), globs(of))).collect())
    }

    fn of(roles: &Roles, who: &str) -> Option<Vec<String>> {
        roles.of(&Submitter::parse(who).unwrap())
    }

    #[test]
    fn an_operator_has_every_role_whose_list_names_him_and_an_agent_has_none() {
        let some = roles(&[("deploy", &["ann", "ci-*"]), ("night", &["a??"]), ("staff", &["*"])]);
        for (who, expected) in [
            ("ann", &["deploy", "night", "staff"][..]),
            ("ci-7", &["deploy", "staff"]),
            ("anna", &["staff"]),
            ("xci-7", &["staff"]),
            ("agent:ann", &[]),
            ("agent:ci-7", &[]),
        ] {
            assert_eq!(of(&some, who).unwrap(), expected, "{who}");
        }
        assert_eq!(of(&roles(&[("deploy", &["ann"])]), "bob"), Some(Vec::new()));
    }

    #[test]
    fn where_no_role_is_configured_nothing_is_said() {
        for who in ["ann", "agent:ann"] {
            assert_eq!(of(&Roles::default(), who), None, "{who}");
        }
    }
}
