//! The agent's local policy: which calls its owner allows, whatever the manager says.
//!
//! [`Policy::judge`] looks at a [`Request`]. Deny wins over allow, wherever it stands; of the rules of one kind the first
//! that fits is named. When no rule fits, the default holds: see [`Policy::judge`].
//!
//! What is not known counts against the call: a deny rule for some operators fits a call whose operator is unknown, an
//! allow rule for some operators does not.

mod bytes;
mod constraint;
mod hours;
mod never;
mod pattern;
mod program;
mod rate;

use std::collections::BTreeMap;

use crate::Readings;

pub use constraint::{Constraint, Limit};
pub use hours::{Hours, Moment, Weekday};
pub use pattern::{MAX_PATTERN, Pattern, PatternError};
pub use rate::{Buckets, Rate};

/// The most rules of a policy.
pub const MAX_RULES: usize = 1000;

/// The default's name in answers, where no rule fits.
pub const DEFAULT_RULE: &str = "default";
/// What shows and ends processes of any job: by default only those may who may see and cancel any job.
pub const LEFTOVERS: [&str; 2] = ["sys.leftovers", "sys.leftovers.stop"];
/// What begins the name of an agent that has a procedure of another run.
const AGENT: &str = "agent:";

/// Whether a rule allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What fits may run.
    Allow,
    /// What fits does not run, whatever others say.
    Deny,
}

/// One rule: it fits a call when all of its conditions do; a condition that is not given fits everything.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, for faults and logs.
    pub name: String,
    /// Allow or deny.
    pub effect: Effect,
    /// Procedures, `name` or `name@version`; at least one has to fit.
    pub procedures: Vec<Pattern>,
    /// What arguments have to be, by dotted path; all have to fit. An allow rule about `argv…` of `exec.run` fits no call with variables or a
    /// working directory that it says nothing of.
    pub args: BTreeMap<String, Constraint>,
    /// Who calls; `None`: anybody.
    pub operators: Option<Vec<Pattern>>,
    /// A role that who calls has to have; `None`: none.
    pub roles: Option<Vec<String>>,
    /// When; `None`: always.
    pub hours: Option<Hours>,
    /// As which users the procedure may run, of an allow rule; `None`: anybody but root.
    pub users: Option<Vec<String>>,
    /// As whom it runs, whatever the manifest says; of an allow rule.
    pub run_as: Option<String>,
    /// How often, of an allow rule.
    pub rate: Option<Rate>,
}

/// A call as a policy sees it.
#[derive(Debug, Clone)]
pub struct Request<'r> {
    /// The procedure's name.
    pub name: &'r str,
    /// Its version, that which will run.
    pub version: u32,
    /// Whether a manifest describes it.
    pub is_manifest: bool,
    /// The named arguments.
    pub args: &'r Readings,
    /// Who calls, if the manager said.
    pub operator: Option<&'r str>,
    /// What that operator is, if the manager said.
    pub roles: Option<&'r [String]>,
    /// As whom it would run; `None`: as the agent itself.
    pub user: Option<&'r str>,
    /// Whether that is root, by whatever name.
    pub user_is_root: bool,
    /// The time on the wall.
    pub now: Moment,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may run.
    pub allowed: bool,
    /// The rule that decided: its name, or [`DEFAULT_RULE`].
    pub rule: String,
    /// Which of the policy's rules that is, for its rate; `None`: the default.
    pub index: Option<usize>,
    /// Why not; empty when it may.
    pub reason: String,
    /// As whom it runs; `None`: as the manifest or the agent says.
    pub user: Option<String>,
}

/// Who may disable procedures of the machine, and enable them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switching {
    /// The manager, for its operators.
    #[default]
    Manager,
    /// Nobody but the owner, who changes the files that describe them.
    Nobody,
}

/// The rules of a machine's owner.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    switching: Switching,
    whose: Whose,
}

/// Whose policy it is, in the words that say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whose {
    /// That of an agent.
    #[default]
    Agent,
    /// That of a manager, about its own procedures.
    Manager,
}

impl Whose {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Manager => "manager",
        }
    }
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Policy {
    /// A policy of these rules, in this order. Without any: the default alone.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, switching: Switching::default(), whose: Whose::default() }
    }

    /// The same with who may switch procedures.
    pub fn with_switching(self, switching: Switching) -> Self {
        Self { switching, ..self }
    }

    /// The same as that of somebody else.
    pub fn of(self, whose: Whose) -> Self {
        Self { whose, ..self }
    }

    /// Whose it is.
    pub fn whose(&self) -> Whose {
        self.whose
    }

    /// Who may disable procedures, and enable them again.
    pub fn switching(&self) -> Switching {
        self.switching
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Judges a call; rates are not asked, see [`Buckets::take`].
    ///
    /// No rule fits: `sys.*` may run, [`LEFTOVERS`] for operators alone, and manifests that do not run as root; nothing else
    /// may, `exec.run` and `file.*` least of all. What an allow rule names, in whatever version and other than by `*` alone, is that rule's
    /// business: when its conditions do not hold, the default does not open it. An allow rule lets a manifest run as root only when it names root among its `users` or in `run_as`.
    pub fn judge(&self, request: &Request<'_>) -> Verdict {
        let first = |effect| {
            let mut rules = self.rules.iter().enumerate();
            rules.find(|(_, rule)| rule.effect == effect && rule.fits(request))
        };
        if let Some((index, rule)) = first(Effect::Deny) {
            let unknown = bytes::unknown(rule, request.args);
            let reason = format!(
                "rule {:?} of the {}'s policy denies {}{unknown}",
                rule.name, self.whose, request.name
            );
            return Verdict {
                allowed: false,
                rule: rule.name.clone(),
                index: Some(index),
                reason,
                user: None,
            };
        }
        match first(Effect::Allow) {
            Some((index, rule)) => rule.allow(index, request, self.whose),
            None => self.unmet(request).unwrap_or_else(|| by_default(request, self.whose)),
        }
    }

    /// The refusal of a call that an allow rule is about, whose conditions do not hold.
    fn unmet(&self, request: &Request<'_>) -> Option<Verdict> {
        let about = |(_, rule): &(usize, &Rule)| rule.effect == Effect::Allow && rule.names(request);
        let mut all = self.rules.iter().enumerate().filter(about);
        let (index, rule) = all.next()?;
        let (name, what, unmet) = (request.name, &rule.name, rule.unmet(request).join(", "));
        let more = match all.count() {
            0 => String::new(),
            more => format!("; nor do those of {more} more that name it"),
        };
        let reason = format!(
            "rule {what:?} of the {}'s policy allows {name} on conditions that do not hold: {unmet}{more}",
            self.whose
        );
        Some(Verdict { allowed: false, rule: rule.name.clone(), index: Some(index), reason, user: None })
    }
}

impl Rule {
    fn fits(&self, request: &Request<'_>) -> bool {
        self.procedures.iter().any(|pattern| pattern.fits(request.name, request.version))
            && self.is_for(request)
            && self.is_for_roles(request)
            && self.is_at(request)
            && self.args.iter().all(|(path, constraint)| self.holds(path, constraint, request.args))
            && self.unsaid(request).next().is_none()
    }

    fn is_for(&self, request: &Request<'_>) -> bool {
        let unknown = self.effect == Effect::Deny;
        self.operators.as_ref().is_none_or(|wanted| {
            request.operator.map_or(unknown, |name| wanted.iter().any(|pattern| pattern.fits_text(name)))
        })
    }

    fn is_for_roles(&self, request: &Request<'_>) -> bool {
        let unknown = self.effect == Effect::Deny;
        self.roles.as_ref().is_none_or(|wanted| {
            request.roles.map_or(unknown, |has| has.iter().any(|role| wanted.contains(role)))
        })
    }

    fn is_at(&self, request: &Request<'_>) -> bool {
        let unknown = self.effect == Effect::Deny;
        self.hours.as_ref().is_none_or(|hours| hours.hold(request.now).unwrap_or(unknown))
    }

    /// Whether it is about this procedure, in whatever version, and not about all there are.
    fn names(&self, request: &Request<'_>) -> bool {
        self.procedures.iter().any(|pattern| !pattern.is_everything() && pattern.fits_name(request.name))
    }

    /// Which of its conditions do not hold.
    fn unmet(&self, request: &Request<'_>) -> Vec<String> {
        let version = self.procedures.iter().any(|pattern| pattern.fits(request.name, request.version));
        let held = [
            ("version", version),
            ("operators", self.is_for(request)),
            ("roles", self.is_for_roles(request)),
            ("hours", self.is_at(request)),
        ];
        let kinds = held.into_iter().filter(|(_, holds)| !holds).map(|(what, _)| what.to_owned());
        let args = self.args.iter().filter(|(path, constraint)| !self.holds(path, constraint, request.args));
        let unsaid = self.unsaid(request).map(|what| what.told().to_owned());
        let args = args.map(|(path, _)| format!("args.{path}{}", bytes::told(path, request.args)));
        kinds.chain(args).chain(unsaid).collect()
    }

    /// Whether it says that what it allows may run as root.
    pub fn names_root(&self) -> bool {
        self.run_as.iter().chain(self.users.iter().flatten()).any(|user| is_root_name(user))
    }

    fn allow(&self, index: usize, request: &Request<'_>, whose: Whose) -> Verdict {
        let user = self.run_as.as_deref().or(request.user);
        let is_root = self.run_as.as_deref().map_or(request.user_is_root, is_root_name);
        let listed = match &self.users {
            Some(users) => user.is_none_or(|user| users.iter().any(|name| name == user)),
            None => true,
        };
        let shown = user.unwrap_or("the agent's own user");
        let reason = if !listed {
            format!(
                "rule {:?} of the {whose}'s policy does not let {} run as {shown}",
                self.name, request.name
            )
        } else if request.is_manifest && is_root && !self.names_root() {
            let name = &self.name;
            format!(
                "rule {name:?} of the {whose}'s policy does not name root, as which {} would run",
                request.name
            )
        } else {
            String::new()
        };
        Verdict {
            allowed: reason.is_empty(),
            rule: self.name.clone(),
            index: Some(index),
            user: if reason.is_empty() { self.run_as.clone() } else { None },
            reason,
        }
    }
}

fn by_default(request: &Request<'_>, whose: Whose) -> Verdict {
    let name = request.name;
    let by_an_operator = request.operator.is_some_and(|who| !who.starts_with(AGENT));
    let reason = if request.is_manifest && request.user_is_root {
        format!(
            "no rule of the {whose}'s policy lets {name} run as root, and the default does not; name another user in its \
             manifest, or allow it in the policy with users = [\"root\"]"
        )
    } else if LEFTOVERS.contains(&name) && !by_an_operator {
        format!("no rule of the {whose}'s policy allows {name}, and the default lets operators call it alone")
    } else if request.is_manifest || name.starts_with("sys.") {
        String::new()
    } else {
        format!("no rule of the {whose}'s policy allows {name}, and the default does not")
    };
    let (allowed, rule) = (reason.is_empty(), DEFAULT_RULE.to_owned());
    Verdict { allowed, rule, index: None, reason, user: None }
}

/// Root by name or by number.
fn is_root_name(user: &str) -> bool {
    user == "root" || user == "0"
}
