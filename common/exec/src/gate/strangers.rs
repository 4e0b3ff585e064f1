//! Names in a policy that nothing has: most are misspelt, and a deny rule with such a name denies nothing.

use std::collections::BTreeSet;

use redpoll_common::nearest::nearest;
use redpoll_schema::policy::{Pattern, Policy};

/// What is to be said of each name of a policy that fits no procedure: `known` are those that are described here, offered or not. What
/// is built in has a name also where it is not offered.
pub(super) fn strangers(policy: &Policy, known: &[(String, u32)], built_in: &[&str]) -> Vec<String> {
    let fits = |pattern: &Pattern| {
        pattern.is_everything()
            || known.iter().any(|(name, version)| pattern.fits(name, *version))
            || built_in.iter().any(|name| pattern.fits(name, 1))
    };
    let candidates = candidates(known, built_in);
    let mut said = Vec::new();
    for rule in policy.rules() {
        for pattern in rule.procedures.iter().filter(|pattern| !fits(pattern)) {
            let text = pattern.as_str();
            let near = nearest(text, candidates.iter().map(String::as_str));
            let meant = match near {
                Some(name) => format!("; did you mean {name:?}?"),
                None => in_other_case(pattern, &candidates)
                    .map(|name| format!("; case counts: it does not fit {name:?}"))
                    .unwrap_or_default(),
            };
            said.push(format!(
                "rule {:?} names {text:?}, and no procedure here has such a name{meant}",
                rule.name
            ));
        }
    }
    said
}

/// What the pattern would fit if case did not count.
fn in_other_case<'c>(pattern: &Pattern, candidates: &'c BTreeSet<String>) -> Option<&'c str> {
    let lower = Pattern::new(&pattern.as_str().to_ascii_lowercase()).ok()?;
    candidates
        .iter()
        .map(String::as_str)
        .filter(|name| !name.contains('*'))
        .find(|name| lower.fits_text(&name.to_ascii_lowercase()))
}

/// What may have been meant: names, with their versions too, and their families.
fn candidates(known: &[(String, u32)], built_in: &[&str]) -> BTreeSet<String> {
    let built_in = built_in.iter().map(|name| ((*name).to_owned(), 1));
    let mut all = BTreeSet::new();
    for (name, version) in known.iter().cloned().chain(built_in) {
        for (dot, _) in name.match_indices('.') {
            all.extend(name.get(..dot).map(|family| format!("{family}.*")));
        }
        all.insert(format!("{name}@{version}"));
        all.insert(name);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use redpoll_schema::policy::{Effect, Rule};

    fn said(patterns: &[&str]) -> Vec<String> {
        let rule = Rule {
            name: "r".to_owned(),
            effect: Effect::Deny,
            procedures: patterns.iter().map(|text| Pattern::new(text).unwrap()).collect(),
            args: std::collections::BTreeMap::new(),
            operators: None,
            roles: None,
            hours: None,
            users: None,
            run_as: None,
            rate: None,
        };
        let known = [("web.deploy", 2), ("db.dump", 1), ("Dog.bark", 3)]
            .map(|(name, version)| (name.to_owned(), version));
        strangers(&Policy::new(vec![rule]), &known, &["exec.run", "file.read", "sys.ping"])
    }

    #[test]
    fn names_that_nothing_has_are_told_with_the_nearest() {
        for (pattern, meant) in [
            ("web.depoly", "\"web.deploy\"?"),
            ("web.deploy@3", "\"web.deploy@2\"?"),
            ("webb.*", "\"web.*\"?"),
            ("exec.rum", "\"exec.run\"?"),
            ("dog.bark", "\"Dog.bark\"?"),
            ("DOG.BARK@3", "\"Dog.bark@3\"?"),
            ("dog.*", "\"Dog.*\"?"),
            ("WEB.*", "\"web.*\"?"),
            ("WEB*", "case counts: it does not fit \"web.deploy\""),
            ("dog*K", "case counts: it does not fit \"Dog.bark\""),
        ] {
            let [said] = &said(&[pattern])[..] else { unreachable!("{pattern}") };
            assert!(said.starts_with("rule \"r\" names ") && said.ends_with(meant), "{said}");
        }
        assert!(said(&["something.else"])[0].ends_with("has such a name"));
    }

    #[test]
    fn names_that_something_has_are_not_told_nor_built_in_ones_that_are_not_offered() {
        let good = [
            "*",
            "**",
            "web.deploy",
            "web.deploy@2",
            "web.*",
            "*.dump",
            "exec.run",
            "file.*",
            "sys.*",
            "Dog.bark",
            "Dog.*",
            "D*@3",
        ];
        assert_eq!(said(&good), Vec::<String>::new());
    }
}
