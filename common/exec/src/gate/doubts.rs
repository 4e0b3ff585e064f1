//! Rules of a policy that allow more, or less, than they seem to, and procedures that it refuses whoever calls.

use redpoll_common::wire::Raw;
use redpoll_net::ProcedureInfo;
use redpoll_schema::Readings;
use redpoll_schema::policy::{Effect, Rule, Whose};

use super::paths::never_a_path;
use super::wall::local;
use super::{Asked, Counting, Gate, Subject, moment};

/// What runs any program.
const EXEC: &str = "exec.run";

impl Gate {
    /// What is to be known of the rules that hold, each in a line. `known` are the procedures that are described here, offered or not.
    pub fn doubts(&self, known: &[(String, u32)]) -> Vec<String> {
        let rules = self.rules.load();
        let cannot = |rule: &Rule| {
            let fault = self.other_user(&rule.name, rule.run_as.as_deref()?, rule.names_root()).err()?;
            Some(format!("{}; so what it allows is refused", fault.message))
        };
        let mut said: Vec<String> = rules.policy.rules().iter().filter_map(cannot).collect();
        if self.own.is_root && known.iter().any(|(name, _)| name == EXEC) {
            said.extend(rules.policy.as_anybody(EXEC, 1).map(|rule| {
                format!(
                    "rule {:?} allows {EXEC} and says nothing of users: any program that it lets pass runs as root; name \
                     another user with run_as, or say that it is meant with users = [\"root\"]",
                    rule.name
                )
            }));
        }
        said.extend(rules.policy.rules().iter().filter_map(never_a_path));
        said.extend(self.replaceable());
        if let Err(why) = local() {
            said.extend(rules.policy.rules().iter().filter_map(|rule| untimed(rule, &why)));
        }
        said
    }

    /// That programs which run as the agent can change the policy, where the agent is not root.
    pub fn replaceable(&self) -> Option<String> {
        let rules = self.rules.load();
        let why = rules.replaceable.as_ref().filter(|_| !self.own.is_root)?;
        let (whose, key) = match self.whose {
            Whose::Agent => ("agent", "policy.owner"),
            Whose::Manager => ("manager", "procedures.policy_owner"),
        };
        Some(format!(
            "{why}: a program that runs as the {whose}, {}, may be able to put other rules in the place of these; have root own \
             the policy and the folders above it, and say {key} = \"root\"",
            self.own.name
        ))
    }

    /// Why nobody may call a procedure, with whatever arguments and whenever; `None`: somebody may.
    pub fn never(&self, info: &ProcedureInfo, subject: &Subject) -> Option<String> {
        let (args, kwargs) = (&Raw::empty_array(), &Raw::empty_map());
        let counting = Counting::Looks;
        let asked = Asked { args, kwargs, operator: None, roles: None, now: moment(), counting };
        self.rules.load().policy.never(&self.request(info, subject, asked, &Readings::default()))
    }
}

/// That nobody knows when the hours of a rule are.
fn untimed(rule: &Rule, why: &str) -> Option<String> {
    rule.hours.as_ref().filter(|hours| !hours.utc)?;
    let meaning = match rule.effect {
        Effect::Allow => "allows nothing",
        Effect::Deny => "denies at any time",
    };
    Some(format!(
        "rule {:?} has hours of the local clock, and {why}: it {meaning}; say zone = \"utc\", or give the machine its time zone",
        rule.name
    ))
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use redpoll_schema::policy::Policy;

    use redpoll_config::{PolicyConfig, PolicyOwner, load_policy};

    use super::super::refusals::Refusals;
    use super::super::{Own, Rules};
    use super::*;

    #[test]
    fn a_policy_that_programs_of_the_agent_could_replace_is_told_of_where_the_agent_is_not_root() {
        let gate = |is_root, why: Option<&str>| {
            let mut rules = Rules::fixed(Policy::new(Vec::new()));
            rules.replaceable = why.map(str::to_owned);
            let own = Own { name: "redpoll".to_owned(), is_root };
            Gate {
                rules: ArcSwap::from_pointee(rules),
                file: None,
                whose: Whose::Agent,
                own,
                refusals: Refusals::default(),
            }
        };
        let said = gate(false, Some("/etc/p belongs to user 7")).doubts(&[]);
        let [said] = &said[..] else { unreachable!("{said:?}") };
        assert!(said.starts_with("/etc/p belongs to user 7") && said.contains("policy.owner"), "{said}");
        assert_eq!(gate(false, None).doubts(&[]), Vec::<String>::new());
        assert_eq!(
            gate(true, Some("x")).doubts(&[]),
            Vec::<String>::new(),
            "what runs as root may do all anyway"
        );
    }
    #[test]
    fn whose_a_policy_is_is_told_as_it_was_found_last_also_where_its_rules_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, "[[rule]]\nname = \"r\"\nallow = [\"web.*\"]\nrate = \"1/1h\"\n").unwrap();
        let config = PolicyConfig { file, owner: PolicyOwner::Agent };
        let mut rules = Rules::of(load_policy(&config.file, config.owner).unwrap(), Whose::Agent);
        rules.replaceable = Some("before".to_owned());
        rules.take(Some(0), std::time::Instant::now()).unwrap();
        let own = Own { name: "redpoll".to_owned(), is_root: false };
        let gate = Gate {
            rules: ArcSwap::from_pointee(rules),
            file: Some(config),
            whose: Whose::Agent,
            own,
            refusals: Refusals::default(),
        };
        assert!(gate.doubts(&[])[0].starts_with("before"));
        gate.reload().unwrap();
        let said = gate.doubts(&[]);
        assert!(said.iter().all(|said| !said.starts_with("before")), "{said:?}");
        let rules = gate.rules.load();
        assert!(rules.look(Some(0), std::time::Instant::now()).is_err(), "a reload fills no bucket");
    }
}
