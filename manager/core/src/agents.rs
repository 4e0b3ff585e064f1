//! What agents may ask of the manager beyond telling what became of their runs: nothing, unless the configuration says so.
//!
//! [`AgentRules`] decides by name; [`Rates`] keeps each agent to a pace, over all its sessions. A refusal names the key
//! of the manager's configuration that would allow it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redpoll_common::ids::PeerId;

use crate::glob;
use redpoll_common::bucket::TokenBucket;

/// Agents whose pace is remembered; those that have rested for long enough make room for others first.
const MAX_PACED: usize = 65_536;

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentRules {
    /// Globs of the types of events that agents may emit.
    pub emit: Vec<String>,
    /// Globs of the procedures that agents may submit jobs of.
    pub submit: Vec<String>,
    /// On which agents.
    pub submit_on: SubmitOn,
    /// Globs of the procedures of which agents may have runs recorded that they made by themselves.
    pub record: Vec<String>,
}

/// The agents that jobs of agents may run on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubmitOn {
    /// The agent that submits, alone.
    #[default]
    Itself,
    /// These, and the one that submits only if it is among them.
    Named(Vec<PeerId>),
    /// Any.
    Any,
}

/// Why an agent is refused something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No glob matches the type.
    #[error("agents may not emit events of the type {kind:?}: agents.emit of the manager does not name it")]
    Emit {
        /// The type, without its prefix.
        kind: String,
    },
    /// No glob matches the procedure.
    #[error("agents may not submit jobs of {procedure:?}: agents.submit of the manager does not name it")]
    Submit {
        /// The procedure.
        procedure: String,
    },
    /// Another agent is meant than may be.
    #[error(
        "the agent {agent} may not submit jobs for {wanted}: agents.submit_on of the manager does not allow it"
    )]
    SubmitOn {
        /// Who asks.
        agent: PeerId,
        /// For whom.
        wanted: String,
    },
    /// No glob matches the procedure.
    #[error(
        "runs of {procedure:?} that agents make by themselves are not recorded: agents.record of the manager does not name it"
    )]
    Record {
        /// The procedure.
        procedure: String,
    },
}

impl AgentRules {
    /// Whether an agent may emit events of this type.
    ///
    /// # Errors
    /// [`Refused::Emit`].
    pub fn may_emit(&self, kind: &str) -> Result<(), Refused> {
        let named = self.emit.iter().any(|glob| glob::matches(glob, kind));
        if named { Ok(()) } else { Err(Refused::Emit { kind: kind.to_owned() }) }
    }

    /// Whether an agent may submit a job of this procedure. A glob without a version means every version.
    ///
    /// # Errors
    /// [`Refused::Submit`].
    pub fn may_submit(&self, procedure: &str) -> Result<(), Refused> {
        if names(&self.submit, procedure) {
            Ok(())
        } else {
            Err(Refused::Submit { procedure: procedure.to_owned() })
        }
    }

    /// Whether `agent` may submit jobs for all of the agents named.
    ///
    /// # Errors
    /// [`Refused::SubmitOn`] names the first that it may not.
    pub fn may_submit_on(&self, agent: &PeerId, wanted: &[String]) -> Result<(), Refused> {
        let allowed = |wanted: &String| match &self.submit_on {
            SubmitOn::Itself => wanted == agent.as_str(),
            SubmitOn::Named(names) => names.iter().any(|name| name.as_str() == wanted),
            SubmitOn::Any => true,
        };
        match wanted.iter().find(|wanted| !allowed(wanted)) {
            None => Ok(()),
            Some(wanted) => Err(Refused::SubmitOn { agent: agent.clone(), wanted: wanted.clone() }),
        }
    }

    /// Whether runs of this procedure that agents make by themselves are recorded.
    ///
    /// # Errors
    /// [`Refused::Record`].
    pub fn may_record(&self, procedure: &str) -> Result<(), Refused> {
        if names(&self.record, procedure) {
            Ok(())
        } else {
            Err(Refused::Record { procedure: procedure.to_owned() })
        }
    }
}

/// Whether a glob names the procedure; one without a version names all of its versions.
fn names(globs: &[String], procedure: &str) -> bool {
    let name = procedure.split_once('@').map_or(procedure, |(name, _version)| name);
    globs.iter().any(|glob| glob::matches(glob, if glob.contains('@') { procedure } else { name }))
}

/// The pace of each agent.
#[derive(Debug)]
pub struct Rates {
    /// Of one that has rested.
    full: TokenBucket,
    agents: BTreeMap<PeerId, TokenBucket>,
}

impl Rates {
    /// Lets each agent do `rate` things per second in the long run, and `burst` at once.
    pub fn new(rate: u32, burst: u32) -> Self {
        Self { full: TokenBucket::new(rate, burst), agents: BTreeMap::new() }
    }

    /// Lets each agent do one thing every `interval` in the long run, and `burst` at once.
    pub fn every(interval: Duration, burst: u32) -> Self {
        Self { full: TokenBucket::every(interval, burst), agents: BTreeMap::new() }
    }

    /// Lets an agent do one thing more, if it is not too fast. O(log n), and O(n) when the memory is full.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn take(&mut self, agent: &PeerId, now: Instant) -> Result<(), Duration> {
        if self.agents.len() >= MAX_PACED && !self.agents.contains_key(agent) {
            // a full bucket says no more than none
            self.agents.retain(|_, bucket| !bucket.is_full(now));
            if self.agents.len() >= MAX_PACED {
                self.agents.pop_first();
            }
        }
        let fresh = || self.full.clone();
        self.agents.entry(agent.clone()).or_insert_with(fresh).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> AgentRules {
        AgentRules {
            emit: vec!["disk.*".into(), "door.opened".into()],
            submit: vec!["web.*".into(), "db.dump@2".into()],
            submit_on: SubmitOn::Named(vec![PeerId::parse("web-1").unwrap(), PeerId::parse("db-1").unwrap()]),
            record: Vec::new(),
        }
    }

    fn text<T>(result: Result<T, Refused>) -> String {
        result.err().map(|refused| refused.to_string()).unwrap_or_default()
    }

    #[test]
    fn nothing_is_allowed_unless_it_is_named_and_refusals_name_the_key() {
        let (none, web) = (AgentRules::default(), PeerId::parse("web-1").unwrap());
        assert!(text(none.may_emit("disk.full")).contains("agents.emit"));
        assert!(text(none.may_submit("web.deploy")).contains("agents.submit "));
        assert!(text(none.may_submit_on(&web, &["db-1".into()])).contains("agents.submit_on"));
        assert!(text(none.may_record("sys.facts")).contains("agents.record"));
        assert_eq!(none.may_submit_on(&web, &["web-1".into()]), Ok(()), "itself, when it may submit at all");
    }

    #[test]
    fn globs_match_whole_types_and_procedures() {
        let rules = rules();
        for (kind, allowed) in [
            ("disk.full", true),
            ("disk", false),
            ("door.opened", true),
            ("door.opened.x", false),
            ("xdisk.a", false),
        ] {
            assert_eq!(rules.may_emit(kind).is_ok(), allowed, "{kind}");
        }
        for (procedure, allowed) in [
            ("web.deploy", true),
            ("web.deploy@3", true),
            ("db.dump@2", true),
            ("db.dump", false),
            ("db.dump@1", false),
            ("exec.run", false),
        ] {
            assert_eq!(rules.may_submit(procedure).is_ok(), allowed, "{procedure}");
        }
    }

    #[test]
    fn all_agents_named_must_be_allowed_and_the_star_is_one_of_them() {
        let (web, names) = (PeerId::parse("web-1").unwrap(), |names: &[&str]| -> Vec<String> {
            names.iter().map(|&name| name.to_owned()).collect()
        });
        for (on, wanted, allowed) in [
            (SubmitOn::Itself, names(&["web-1"]), true),
            (SubmitOn::Itself, names(&["web-1", "db-1"]), false),
            (SubmitOn::Itself, names(&["*"]), false),
            (rules().submit_on, names(&["db-1", "web-1"]), true),
            (rules().submit_on, names(&["db-1", "db-2"]), false),
            (rules().submit_on, names(&["*"]), false),
            (SubmitOn::Any, names(&["*"]), true),
            (SubmitOn::Any, names(&["db-2"]), true),
        ] {
            let rules = AgentRules { submit_on: on, ..rules() };
            assert_eq!(
                rules.may_submit_on(&web, &wanted).is_ok(),
                allowed,
                "{:?} {wanted:?}",
                rules.submit_on
            );
        }
    }

    #[test]
    fn one_agent_that_is_too_fast_slows_down_no_other() {
        #[expect(clippy::disallowed_methods, reason = "some moment to count from; no rule reads it")]
        let now = Instant::now();
        let (mut rates, web, db) =
            (Rates::new(10, 2), PeerId::parse("web-1").unwrap(), PeerId::parse("db-1").unwrap());
        assert_eq!((rates.take(&web, now), rates.take(&web, now)), (Ok(()), Ok(())));
        assert_eq!(rates.take(&web, now), Err(Duration::from_millis(100)));
        assert_eq!(rates.take(&db, now), Ok(()));
        assert_eq!(rates.take(&web, now + Duration::from_millis(100)), Ok(()));
    }

    #[test]
    fn runs_are_recorded_of_what_the_rules_name_in_its_versions() {
        let rules = AgentRules { record: vec!["backup.*".into(), "db.dump@2".into()], ..rules() };
        for (procedure, allowed) in [
            ("backup.home", true),
            ("backup.home@7", true),
            ("db.dump@2", true),
            ("db.dump@1", false),
            ("db.dump", false),
            ("web.deploy", false),
        ] {
            assert_eq!(rules.may_record(procedure).is_ok(), allowed, "{procedure}");
        }
    }

    #[test]
    fn only_so_many_agents_are_remembered_and_those_first_that_have_not_rested() {
        #[expect(clippy::disallowed_methods, reason = "some moment to count from; no rule reads it")]
        let now = Instant::now();
        let name = |n: usize| PeerId::parse(&format!("a-{n:05}")).unwrap();
        let mut rates = Rates::new(1, 1);
        for n in 0..MAX_PACED {
            assert_eq!(rates.take(&name(n), now), Ok(()));
        }
        assert!(rates.take(&name(9), now).is_err(), "it is known when the memory is full, too");
        assert_eq!(rates.agents.len(), MAX_PACED);
        // nobody has rested: one is forgotten for the new one
        assert_eq!(rates.take(&name(MAX_PACED), now), Ok(()));
        assert_eq!(rates.agents.len(), MAX_PACED);
        assert!(rates.take(&name(9), now).is_err());
        // all have
        let later = now + Duration::from_secs(2);
        assert_eq!(rates.take(&name(MAX_PACED + 1), later), Ok(()));
        assert_eq!(rates.agents.len(), 1);
    }
}
