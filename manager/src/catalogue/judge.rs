//! What the catalogue means for a call and for a job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redpoll_common::api::trial::Deprecated;
use redpoll_common::ids::PeerId;
use redpoll_common::job::JobSpec;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::catalogue::Standing;

use super::compiled::compile;
use super::procedures::{Procedures, Verdict};
use crate::state::Manager;

/// Agents looked up under one lock of the catalogue.
const CHUNK: usize = 1000;
/// Agents that a refusal names.
const NAMED: usize = 3;
/// Versions that are deprecated, for different reasons, that are told of one job.
const DEPRECATED: usize = 8;
/// Characters of such a reason that are told.
const MAX_WHY: usize = 400;

/// Checks a call to a connected agent, if it is known what it offers. Waits for a schema that has to be compiled.
///
/// # Errors
/// `bad_arguments`; then nothing must be sent.
pub async fn check_call(
    manager: &Manager,
    agent: &PeerId,
    procedure: &str,
    (args, kwargs): (&Raw, &Raw),
) -> Result<(), Fault> {
    let current = manager.with_catalogue(|catalogue| {
        let (list, standing) = catalogue.of(agent)?;
        (standing == Standing::Current).then(|| list.clone())
    });
    let Some(procedures) = current else { return Ok(()) };
    let mut verdict = procedures.judge(procedure, args, kwargs);
    if matches!(verdict, Verdict::NotCompiled) {
        compile(vec![procedures.clone()], procedure).await;
        verdict = procedures.judge(procedure, args, kwargs);
    }
    match verdict {
        Verdict::Said(said) => said.map_err(|fault| *fault),
        Verdict::Silent | Verdict::NotCompiled => Ok(()),
    }
}

/// What the lists of its agents say of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// The paths into the arguments that one of them wants masked.
    pub redact: Vec<String>,
    /// What is deprecated on some of them, in the order of their names, not more than a few.
    pub deprecated: Vec<Deprecated>,
    /// The lists of all of them are known, and say that the procedure may be repeated although it may have run.
    pub idempotent: bool,
    /// The agents whose lists say that it looks after the machine, in the order of their names.
    pub admin: Vec<PeerId>,
}

/// Checks a job on its agents, each with whether it is connected: all of it is refused when every one of them does. Otherwise the job is
/// stored, and those that refuse it refuse their own runs: what one machine says of itself keeps nothing from the rest, also from
/// agents without a schema for it. An agent that is away is judged by its last known list; one that is not known is not judged.
///
/// # Errors
/// `bad_arguments`, which names the agents; then nothing must be stored.
pub async fn check_job(
    manager: &Manager,
    agents: &[(PeerId, bool)],
    spec: &JobSpec,
) -> Result<Checked, Fault> {
    let judged = Judged::of(manager, agents, spec).await;
    judged.refusal().map_or_else(|| Ok(judged.checked()), Err)
}

/// What one list says of a job.
#[derive(Debug)]
struct Said {
    /// By its schema, if it has one for it.
    verdict: Option<Result<(), Fault>>,
    redact: Vec<String>,
    deprecated: Option<(String, String)>,
    idempotent: bool,
    admin: bool,
}

/// What the lists of agents say of a job, each judged once.
#[derive(Debug)]
pub struct Judged<'a> {
    agents: Vec<(&'a PeerId, Arc<Said>)>,
    /// How many agents there are, with a list or without.
    all: usize,
    /// The lists whose schema is not compiled.
    not_compiled: Vec<Arc<Procedures>>,
}

impl<'a> Judged<'a> {
    /// Judges a job on agents, each with whether it is connected, by the lists as they are now. Waits for schemas that have to be
    /// compiled; those that are not within a time say nothing.
    pub async fn of(manager: &Manager, agents: &'a [(PeerId, bool)], spec: &JobSpec) -> Self {
        let judged = Self::at_once(manager, agents, spec);
        if judged.not_compiled.is_empty() {
            return judged;
        }
        compile(judged.not_compiled, &spec.procedure).await;
        Self::at_once(manager, agents, spec)
    }

    fn at_once(manager: &Manager, agents: &'a [(PeerId, bool)], spec: &JobSpec) -> Self {
        let mut known: BTreeMap<usize, Arc<Said>> = BTreeMap::new();
        let mut not_compiled = Vec::new();
        let judged = lists(manager, agents).into_iter().map(|(agent, procedures)| {
            let said = known.entry(Arc::as_ptr(&procedures).addr()).or_insert_with(|| {
                let procedure = &spec.procedure;
                let verdict = match procedures.judge(procedure, &spec.args, &spec.kwargs) {
                    Verdict::Said(said) => Some(said.map_err(|fault| *fault)),
                    Verdict::Silent => None,
                    Verdict::NotCompiled => {
                        not_compiled.push(procedures.clone());
                        None
                    }
                };
                Arc::new(Said {
                    verdict,
                    redact: procedures.redact(procedure),
                    deprecated: procedures.deprecated(procedure),
                    idempotent: procedures.is_idempotent(procedure),
                    admin: procedures.is_admin(procedure),
                })
            });
            (agent, said.clone())
        });
        Self { agents: judged.collect(), all: agents.len(), not_compiled }
    }

    /// Why the job as a whole is refused: `bad_arguments`, which names the first agents. Not when one of them does not refuse it.
    pub fn refusal(&self) -> Option<Fault> {
        let refusals = self.refusals();
        if refusals.len() < self.all {
            return None;
        }
        let why = refusals.values().next()?;
        let names: Vec<&str> = refusals.keys().take(NAMED).map(|agent| agent.as_str()).collect();
        let more = match refusals.len().saturating_sub(names.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (message, count, all, names) = (&why.message, refusals.len(), self.all, names.join(", "));
        let text = format!("{message}; so say {count} of {all} agents: {names}{more}; nothing was stored");
        Some(Fault::new(FaultCode::BadArguments, text))
    }

    /// The refusals, of each agent whose list refuses it.
    pub fn refusals(&self) -> BTreeMap<&'a PeerId, &Fault> {
        self.agents
            .iter()
            .filter_map(|(agent, said)| Some((*agent, said.verdict.as_ref()?.as_ref().err()?)))
            .collect()
    }

    fn checked(&self) -> Checked {
        let admin = self.agents.iter().filter(|(_, said)| said.admin).map(|(agent, _)| (*agent).clone());
        let redact: BTreeSet<&String> = self.agents.iter().flat_map(|(_, said)| &said.redact).collect();
        Checked {
            redact: redact.into_iter().cloned().collect(),
            deprecated: self.deprecated(),
            admin: admin.collect(),
            idempotent: self.agents.len() == self.all && self.agents.iter().all(|(_, said)| said.idempotent),
        }
    }

    /// What is deprecated on some of the agents, not more than a few.
    pub fn deprecated(&self) -> Vec<Deprecated> {
        let mut counts: BTreeMap<&(String, String), u64> = BTreeMap::new();
        for one in self.agents.iter().filter_map(|(_, said)| said.deprecated.as_ref()) {
            *counts.entry(one).or_default() += 1;
        }
        let each = counts.into_iter().take(DEPRECATED);
        each.map(|((procedure, why), agents)| Deprecated {
            procedure: procedure.clone(),
            why: why.chars().take(MAX_WHY).collect(),
            agents,
        })
        .collect()
    }
}

/// The paths into the arguments of a procedure that one of these agents wants masked, by what is known now.
pub fn redact_of(manager: &Manager, agents: &[PeerId], procedure: &str) -> Vec<String> {
    let agents: Vec<(PeerId, bool)> = agents.iter().map(|agent| (agent.clone(), false)).collect();
    let mut lists: Vec<Arc<Procedures>> =
        lists(manager, &agents).into_iter().map(|(_, procedures)| procedures).collect();
    lists.sort_by_key(|list| Arc::as_ptr(list).addr());
    lists.dedup_by(|one, other| Arc::ptr_eq(one, other));
    let mut redact: Vec<String> = lists.iter().flat_map(|list| list.redact(procedure)).collect();
    redact.sort_unstable();
    redact.dedup();
    redact
}

/// The lists by which agents are judged.
fn lists<'a>(manager: &Manager, agents: &'a [(PeerId, bool)]) -> Vec<(&'a PeerId, Arc<Procedures>)> {
    let mut found = Vec::new();
    for chunk in agents.chunks(CHUNK) {
        manager.with_catalogue(|catalogue| {
            for (agent, connected) in chunk {
                match catalogue.of(agent) {
                    // what is connected and has not said it yet may be another agent than before
                    Some((_, Standing::LastKnown)) if *connected => {}
                    Some((list, Standing::Current | Standing::LastKnown)) => {
                        found.push((agent, list.clone()))
                    }
                    None => {}
                }
            }
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use redpoll_common::api::submit::SubmitArguments;
    use redpoll_common::identity::Identity;
    use redpoll_common::ids::ConnectionId;
    use redpoll_config::ManagerConfig;
    use redpoll_net::ProcedureInfo;
    use serde_json::json;

    use super::*;

    fn agent(name: &str) -> PeerId {
        PeerId::parse(name).unwrap()
    }

    /// Agents whose lists have this schema for `p`; one without a schema offers it all the same.
    fn manager(lists: &[(&str, serde_json::Value)]) -> Manager {
        let identity = Identity::parse("spiffe://home/manager/m1").unwrap();
        let manager = Manager::new(identity, ManagerConfig::default());
        for (n, (name, schema)) in (1..).zip(lists) {
            let info = ProcedureInfo::new("p", "", schema.clone());
            let list = Arc::new(Procedures::read(vec![Raw::encode(&info).unwrap()]));
            let connection = ConnectionId(1);
            manager.with_catalogue(|catalogue| {
                catalogue.arrive(&agent(name), connection);
                catalogue.learn((&agent(name), connection), [n; 32], &list, 100).unwrap()
            });
        }
        manager
    }

    async fn checked(manager: &Manager, on: &[&str]) -> Result<Checked, Fault> {
        let agents: Vec<(PeerId, bool)> = on.iter().map(|name| (agent(name), true)).collect();
        check_job(manager, &agents, &SubmitArguments::new(Vec::new(), "p").spec).await
    }

    #[tokio::test]
    async fn a_schema_refuses_no_job_for_an_agent_that_does_not_refuse_it() {
        let (takes, refuses) = (json!({"type": "object"}), json!({"not": {}}));
        let none = serde_json::Value::Null;
        let manager = manager(&[("a", takes), ("b", refuses.clone()), ("c", refuses), ("free", none)]);
        for (on, refused) in [
            (&["a", "b"][..], None),
            (&["a", "b", "c", "free", "unknown"], None),
            (&["b"], Some("1 of 1 agents: b")),
            (&["b", "c"], Some("2 of 2 agents: b, c")),
            // nothing speaks for the arguments, and nothing against them but what two machines say of themselves
            (&["b", "free"], None),
            (&["b", "c", "unknown"], None),
            (&["free", "unknown"], None),
        ] {
            let found = checked(&manager, on).await.err().map(|fault| fault.message);
            assert_eq!(found.is_some(), refused.is_some(), "{on:?}: {found:?}");
            assert!(refused.is_none_or(|text| found.unwrap().contains(text)), "{on:?}");
        }
        let agents = [(agent("a"), true), (agent("b"), true)];
        let spec = SubmitArguments::new(Vec::new(), "p").spec;
        let judged = Judged::of(&manager, &agents, &spec).await;
        assert_eq!(judged.refusals().keys().map(|agent| agent.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
