//! Judges every call and every run of a job before anything of it runs: the schema of its arguments, the policy of the
//! machine's owner, and the user it runs as, in this order. An agent judges all of them by it, a manager calls of its own procedures.
//!
//! - [`Gate`]: the policy that holds now, and who the agent itself is. [`Gate::judge`] is the only way in.
//! - [`Subject`]: what of a procedure matters for that. [`Asked`]: a call as it came, or a trial of one. [`Leave`]: it may run, and
//!   as whom; [`Refused`]: it may not.
//! - `rules`: a policy as it was read, with what is left of its rates. `strangers`: names in it that nothing has. `doubts`: what it allows
//!   more or less than it seems to. `paths`: those of `file.*`. `notices`: what is no call. `refusals`: which of them are in the log. `wall`: the time of the day.
//!
//! What the agent does for the manager itself (`rp.…`) is no procedure and is not judged here.

mod doubts;
mod notices;
mod paths;
mod refusals;
mod rules;
mod strangers;
mod subject;
mod wall;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::{ManifestProblem, PolicyConfig, load_policy};
use redpoll_net::{CallContext, ProcedureInfo};
use redpoll_schema::Readings;
use redpoll_schema::policy::{Moment, Policy, Request, Rule, Switching, Verdict, Whose};
use tracing::{error, info};

use crate::exec::account::Account;
use refusals::Refusals;
use rules::{Rules, refuse_hidden};
pub use subject::{Kind, Subject};
pub use wall::{at, local, moment};

/// A call, or a run of a job, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Positional arguments.
    pub args: &'a Raw,
    /// Named arguments.
    pub kwargs: &'a Raw,
    /// For whom the manager asks, if it said so.
    pub operator: Option<&'a str>,
    /// What that operator is, if the manager said so.
    pub roles: Option<&'a [String]>,
    /// The time on the wall.
    pub now: Moment,
    /// What it does to the rate of the rule that allows it.
    pub counting: Counting,
}

/// What a judgement does to the rate of the rule that allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// It takes one: a call, and a run of a job when it is offered, which [gives it back](Gate::give_back) when it does not begin.
    Takes,
    /// The rate does not matter: a run of a job when it starts, which counted when it was offered.
    Ignores,
    /// It is told whether one is left, and takes none: a trial, of which nothing will run.
    Looks,
}

impl<'a> Asked<'a> {
    /// A call that begins now.
    pub fn of(call: &'a CallContext) -> Self {
        let CallContext { args, kwargs, operator, roles, .. } = call;
        Self {
            args,
            kwargs,
            operator: operator.as_deref(),
            roles: roles.as_deref(),
            now: moment(),
            counting: Counting::Takes,
        }
    }
}

/// It may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    /// The rule that says so.
    pub rule: String,
    /// As whom it runs, whatever describes it; `None`: as that says, or as the agent.
    pub run_as: Option<String>,
}

/// It may not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The rule that says so, if it was one.
    pub rule: Option<String>,
    /// What the caller is answered.
    pub fault: Box<Fault>,
}

impl From<Fault> for Refused {
    /// No rule decided.
    fn from(fault: Fault) -> Self {
        Self { rule: None, fault: Box::new(fault) }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        *refused.fault
    }
}

/// The policy that holds, and what it is about.
#[derive(Debug)]
pub struct Gate {
    rules: ArcSwap<Rules>,
    /// `None`: it stays as it is.
    file: Option<PolicyConfig>,
    whose: Whose,
    own: Own,
    refusals: Refusals,
}

/// Who this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The user's name, or its number where it has no name.
    pub name: String,
    /// Whether that is root.
    pub is_root: bool,
}

impl Own {
    /// The user of this process.
    pub fn of_process() -> Self {
        let uid = rustix::process::geteuid();
        let number = uid.as_raw().to_string();
        let name = Account::find(&number, None).map_or(number, |account| account.name);
        Self { name, is_root: uid.is_root() }
    }
}

impl Gate {
    /// Reads the policy of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing of such a file is used.
    pub fn open(config: &PolicyConfig, whose: Whose) -> Result<Self, Vec<ManifestProblem>> {
        let rules = Rules::of(load_policy(&config.file, config.owner)?, whose);
        if rules.policy.rules().is_empty() && whose == Whose::Agent {
            info!(file = %config.file.display(), "no rules of a policy: the safe default holds");
        }
        Ok(Self {
            rules: ArcSwap::from_pointee(rules),
            file: Some(config.clone()),
            whose,
            own: Own::of_process(),
            refusals: Refusals::default(),
        })
    }

    /// A policy that stays as it is, for an agent of one's own and for tests.
    pub fn fixed(policy: Policy, own: Own) -> Self {
        let rules = ArcSwap::from_pointee(Rules::fixed(policy));
        Self { rules, file: None, whose: Whose::Agent, own, refusals: Refusals::default() }
    }

    /// Reads the file again. Blocks.
    ///
    /// # Errors
    /// What is wrong with it, each in a line: then the policy that holds goes on to hold, as a whole.
    pub fn reload(&self) -> Result<(), Vec<String>> {
        let Some(PolicyConfig { file, owner }) = &self.file else { return Ok(()) };
        match load_policy(file, *owner) {
            Ok(loaded) => {
                let old = self.rules.load_full();
                let new = Rules::of(loaded, self.whose);
                // the same rules keep what is left of their rates, which a reload must not fill; whose file it is may be another matter
                let new = if new.digest == old.digest {
                    new.with_rates_of(&old)
                } else {
                    info!(rules = new.policy.rules().len(), digest = new.digest, "another policy holds");
                    new
                };
                self.rules.store(Arc::new(new));
                Ok(())
            }
            Err(problems) => {
                error!(
                    problems = problems.len(),
                    "the policy cannot be used; the one that was read before goes on to hold"
                );
                let told = |problem: &ManifestProblem| format!("the old policy goes on to hold: {problem}");
                Err(problems.iter().map(told).collect())
            }
        }
    }

    /// Whether there are rules: without any the default holds alone.
    pub fn has_rules(&self) -> bool {
        !self.rules.load().policy.rules().is_empty()
    }

    /// A digest of the policy that holds: equal policies have equal ones.
    pub fn digest(&self) -> String {
        self.rules.load().digest.clone()
    }

    /// What of the policy that holds names no procedure, each in a line; `known` are those that are described, offered or not.
    /// What is built in has a name also where it is not offered.
    pub fn strangers(&self, known: &[(String, u32)], built_in: &[&str]) -> Vec<String> {
        strangers::strangers(&self.rules.load().policy, known, built_in)
    }

    /// The policy that holds, as JSON.
    pub fn canonical(&self) -> String {
        self.rules.load().canonical.clone()
    }

    /// Whether the manager may switch procedures.
    ///
    /// # Errors
    /// The fault `rejected`.
    pub fn may_switch(&self, procedure: &str, on: bool) -> Result<(), Fault> {
        match self.rules.load().policy.switching() {
            Switching::Manager => Ok(()),
            Switching::Nobody => {
                let word = if on { "enabled" } else { "disabled" };
                let text = format!(
                    "switches = \"nobody\" in the agent's policy: {procedure} cannot be {word} from afar"
                );
                Err(Fault::new(FaultCode::Rejected, text))
            }
        }
    }

    /// Judges a call of a procedure.
    ///
    /// # Errors
    /// `bad_arguments` when they do not fit the schema, `rejected` with the rule's name when the policy forbids it, `internal`
    /// when the schema cannot be used. Nothing must run then.
    pub fn judge(&self, info: &ProcedureInfo, subject: &Subject, asked: Asked<'_>) -> Result<Leave, Refused> {
        let label = format!("{}@{}", info.name, info.version);
        let rules = self.rules.load();
        let looks = rules.looks_at_arguments(info);
        let mut named = Readings::default();
        subject.refuse_names(&label, asked.args, asked.kwargs)?;
        // what is built in reads its arguments strictly itself, and a piece of a file is not turned into JSON for nothing;
        // of a trial nothing runs that could
        let is_trial = asked.counting == Counting::Looks;
        let checks_itself = matches!(&subject.kind, Kind::Inside | Kind::Program) && !is_trial;
        if looks.is_some() || !checks_itself {
            let schema = subject.schema(&info.args, &info.redact).map_err(|why| {
                let text = format!("the schema of {label} cannot be used, and nothing ran: {why}");
                Fault::new(FaultCode::Internal, text)
            })?;
            let bad = |error: redpoll_schema::ArgumentError| {
                Fault::new(FaultCode::BadArguments, format!("{label}: {error}"))
            };
            if !checks_itself {
                schema.verify(asked.args, asked.kwargs).map_err(bad)?;
            }
            if let Some(rule) = looks {
                refuse_hidden((rule, rules.policy.whose()), info, schema, asked.args)
                    .map_err(|fault| Refused { rule: Some(rule.name.clone()), fault: Box::new(fault) })?;
                // what is left out is what the procedure says it is: no rule is passed by with it
                let about = |name: &str| rules.are_about(name);
                named = schema.readings(&info.args, (asked.args, asked.kwargs), about).map_err(bad)?;
                if let Some(path) = subject.plain_path(info, asked.kwargs) {
                    named.set("path", &path);
                }
            }
        }
        let verdict = rules.policy.judge(&self.request(info, subject, asked, &named));
        let judged = self.permit(&rules, subject, &verdict, asked.counting);
        if let Err(fault) = &judged
            && !is_trial
        {
            let operator = asked.operator.unwrap_or("unknown");
            self.refusals.note((operator, &verdict.rule), &label, &fault.message, Instant::now());
        }
        judged.map_err(|fault| Refused { rule: Some(verdict.rule), fault: Box::new(fault) })
    }

    /// Gives back what a leave took of the rate of its rule, as nothing ran by it. Where another policy holds meanwhile, its rule of this
    /// name gets it.
    pub fn give_back(&self, leave: &Leave) {
        self.rules.load().give_back(&leave.rule);
    }

    /// As which user a procedure runs when no rule says otherwise; `None`: within the agent, where nobody else can run it.
    pub fn user_of(&self, subject: &Subject) -> Option<String> {
        self.runs_as(subject).map(|(user, _is_root)| user.to_owned())
    }

    fn runs_as<'s>(&'s self, subject: &'s Subject) -> Option<(&'s str, bool)> {
        match &subject.kind {
            Kind::Inside | Kind::Own => None,
            Kind::Program | Kind::Manifest(None) => Some((&self.own.name, self.own.is_root)),
            Kind::Manifest(Some(account)) => Some((&account.name, account.uid == 0)),
        }
    }

    /// The call as the policy sees it.
    fn request<'r>(
        &'r self,
        info: &'r ProcedureInfo,
        subject: &'r Subject,
        asked: Asked<'r>,
        args: &'r Readings,
    ) -> Request<'r> {
        let (user, user_is_root) = match self.runs_as(subject) {
            Some((user, is_root)) => (Some(user), is_root),
            None => (None, false),
        };
        let is_manifest = match &subject.kind {
            // the owner's own code, as what the owner describes
            Kind::Own | Kind::Manifest(_) => true,
            Kind::Inside | Kind::Program => false,
        };
        Request {
            name: &info.name,
            version: info.version,
            is_manifest,
            args,
            operator: asked.operator,
            roles: asked.roles,
            user,
            user_is_root,
            now: asked.now,
        }
    }

    /// What follows from a verdict.
    fn permit(
        &self,
        rules: &Rules,
        subject: &Subject,
        verdict: &Verdict,
        counting: Counting,
    ) -> Result<Leave, Fault> {
        let rejected = |text: String| Fault::new(FaultCode::Rejected, text);
        if !verdict.allowed {
            return Err(rejected(verdict.reason.clone()));
        }
        let (rule, whose) = (verdict.rule.clone(), rules.policy.whose());
        let run_as = match (&verdict.user, &subject.kind) {
            (None, _) | (Some(_), Kind::Inside) => None,
            (Some(user), Kind::Own) => {
                return Err(rejected(format!(
                    "rule {rule:?} of the {whose}'s policy says that it runs as {user}, and it runs within it"
                )));
            }
            (Some(user), Kind::Program | Kind::Manifest(_)) => {
                let names_root = verdict.index.and_then(|index| rules.policy.rules().get(index));
                let names_root = names_root.is_some_and(Rule::names_root);
                Some(self.other_user(&rule, user, names_root)?)
            }
        };
        let taken = match counting {
            Counting::Takes => rules.take(verdict.index, Instant::now()),
            Counting::Looks => rules.look(verdict.index, Instant::now()),
            Counting::Ignores => Ok(()),
        };
        match taken {
            Ok(()) => Ok(Leave { rule, run_as }),
            Err(wait) => {
                let text =
                    format!("rule {rule:?} of the {whose}'s policy allows no more for now, by its rate");
                let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                Err(Fault { retry_after_ms: Some(wait), ..rejected(text) })
            }
        }
    }

    /// A user of a rule, if this agent can start something as that, and root only where the rule names root.
    fn other_user(&self, rule: &str, user: &str, names_root: bool) -> Result<String, Fault> {
        let why = match Account::find(user, None) {
            Ok(account) if account.uid == 0 && !names_root => {
                "that is root by another name; if it is meant, write run_as = \"root\"".to_owned()
            }
            Ok(account) if self.own.is_root || account.is_own() => return Ok(user.to_owned()),
            Ok(_) => "only an agent that runs as root can start it as somebody else".to_owned(),
            Err(error) => error.to_string(),
        };
        let whose = self.whose;
        let text = format!("rule {rule:?} of the {whose}'s policy says that it runs as {user}: {why}");
        Err(Fault::new(FaultCode::Rejected, text))
    }
}
