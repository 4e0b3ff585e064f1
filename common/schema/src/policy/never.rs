//! What a policy refuses whoever calls, with whatever arguments and whenever, and what it opens wider than it seems.

use super::{Effect, Policy, Request, Rule, by_default};

impl Policy {
    /// Why a procedure may not run for anybody; `None`: for somebody it may. Of the request only what runs matters: the procedure and
    /// its user.
    pub fn never(&self, request: &Request<'_>) -> Option<String> {
        let about = |effect| {
            let rules = self.rules().iter().enumerate();
            rules.filter(move |(_, rule)| rule.effect == effect && rule.covers(request.name, request.version))
        };
        if let Some((_, rule)) = about(Effect::Deny).find(|(_, rule)| rule.is_unconditional()) {
            return Some(format!(
                "rule {:?} of the {}'s policy denies {} to everybody",
                rule.name,
                self.whose(),
                request.name
            ));
        }
        let mut refusal = None;
        for (index, rule) in about(Effect::Allow) {
            let verdict = rule.allow(index, request, self.whose());
            if verdict.allowed {
                return None;
            }
            refusal.get_or_insert(verdict.reason);
            if rule.is_unconditional() {
                // it fits each call before those that follow
                return refusal;
            }
        }
        // what a rule names in another version is not opened by the default
        if let Some(unmet) = self.unmet(request) {
            return Some(refusal.unwrap_or(unmet.reason));
        }
        let operator = request.operator.or(Some("somebody"));
        let default = by_default(&Request { operator, ..request.clone() }, self.whose());
        if default.allowed { None } else { Some(refusal.unwrap_or(default.reason)) }
    }

    /// The allow rules that are about a procedure and say nothing of whom it runs as.
    pub fn as_anybody<'p>(&'p self, name: &'p str, version: u32) -> impl Iterator<Item = &'p Rule> {
        let says_nothing = |rule: &&Rule| rule.run_as.is_none() && rule.users.is_none();
        let allows = move |rule: &&Rule| rule.effect == Effect::Allow && rule.covers(name, version);
        self.rules().iter().filter(allows).filter(says_nothing)
    }
}

impl Rule {
    /// Whether it is about this version of this procedure.
    fn covers(&self, name: &str, version: u32) -> bool {
        self.procedures.iter().any(|pattern| pattern.fits(name, version))
    }

    /// Whether it fits every call of what it is about.
    fn is_unconditional(&self) -> bool {
        self.args.is_empty() && self.operators.is_none() && self.roles.is_none() && self.hours.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Moment, Pattern, Weekday};
    use super::*;
    use crate::Readings;

    fn rule(effect: Effect, pattern: &str) -> Rule {
        Rule {
            name: format!("about {pattern}"),
            effect,
            procedures: vec![Pattern::new(pattern).unwrap()],
            args: BTreeMap::new(),
            operators: None,
            roles: None,
            hours: None,
            users: None,
            run_as: None,
            rate: None,
        }
    }

    fn of_ada(rule: Rule) -> Rule {
        Rule { operators: Some(vec![Pattern::new("ada").unwrap()]), ..rule }
    }

    fn as_users(rule: Rule, users: &[&str]) -> Rule {
        Rule { users: Some(users.iter().map(|&user| user.to_owned()).collect()), ..rule }
    }

    /// What is said of `web.deploy@2`, run as this user.
    fn never(rules: Vec<Rule>, user: &str) -> Option<String> {
        let moment = (Weekday::Mon, 0);
        let request = Request {
            name: "web.deploy",
            version: 2,
            is_manifest: true,
            args: &Readings::default(),
            operator: None,
            roles: None,
            user: Some(user),
            user_is_root: user == "root",
            now: Moment { utc: moment, local: Some(moment) },
        };
        Policy::new(rules).never(&request)
    }

    #[test]
    fn what_somebody_may_call_is_not_told() {
        use Effect::{Allow, Deny};
        for (rules, user) in [
            (vec![], "www"),
            (vec![of_ada(rule(Deny, "web.*"))], "www"),
            (vec![rule(Deny, "web.deploy@1")], "www"),
            (vec![of_ada(rule(Allow, "web.*"))], "www"),
            (vec![as_users(rule(Allow, "web.*"), &["root"])], "root"),
            (vec![of_ada(rule(Allow, "web.*")), as_users(rule(Allow, "*"), &["root"])], "root"),
            // whom the rule is not about, the default lets run
            (vec![of_ada(as_users(rule(Allow, "*"), &["db"]))], "www"),
            (vec![Rule { run_as: Some("www".to_owned()), ..rule(Allow, "web.*") }], "root"),
        ] {
            assert_eq!(never(rules.clone(), user), None, "{rules:?} {user}");
        }
    }

    #[test]
    fn rules_that_say_nothing_of_users_are_found() {
        let allow = |pattern| rule(Effect::Allow, pattern);
        let rules = vec![
            allow("exec.*"),
            rule(Effect::Deny, "exec.run"),
            as_users(allow("exec.run"), &["root"]),
            Rule { run_as: Some("www".to_owned()), ..allow("exec.run") },
            of_ada(allow("*")),
            allow("web.*"),
        ];
        let policy = Policy::new(rules);
        let found: Vec<&str> = policy.as_anybody("exec.run", 1).map(|rule| rule.name.as_str()).collect();
        assert_eq!(found, ["about exec.*", "about *"]);
    }

    #[test]
    fn what_nobody_may_call_is_told_with_the_reason() {
        use Effect::{Allow, Deny};
        let db = |rule| as_users(rule, &["db"]);
        for (rules, user, why) in [
            (vec![], "root", "the default does not; name another user"),
            (vec![rule(Deny, "web.*"), rule(Allow, "*")], "www", "denies web.deploy to everybody"),
            (vec![db(rule(Allow, "web.*"))], "www", "does not let web.deploy run as www"),
            (vec![rule(Allow, "*")], "root", "does not name root"),
            (vec![of_ada(rule(Allow, "*"))], "root", "does not name root"),
            (vec![rule(Allow, "web.deploy@1")], "www", "do not hold: version"),
            // the first fits every call, so the second decides nothing
            (vec![db(rule(Allow, "web.*")), as_users(rule(Allow, "*"), &["www"])], "www", "run as www"),
        ] {
            let said = never(rules.clone(), user).unwrap_or_else(|| unreachable!("{rules:?} {user}"));
            assert!(said.contains(why), "{rules:?} {user}: {said}");
        }
    }
}
