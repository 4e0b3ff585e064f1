//! What the catalogue means for a call and for a job.

use std::collections::BTreeMap;
use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::JobSpec;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::catalogue::Standing;

use super::Procedures;
use crate::state::Manager;

/// Agents looked up under one lock of the catalogue.
const CHUNK: usize = 1000;
/// Agents that a refusal names.
const NAMED: usize = 3;

/// Checks a call to a connected agent, if it is known what it offers.
///
/// # Errors
/// `bad_arguments`; then nothing must be sent.
pub fn check_call(
    manager: &Manager,
    agent: &PeerId,
    procedure: &str,
    (args, kwargs): (&Raw, &Raw),
) -> Result<(), Fault> {
    let current = manager.with_catalogue(|catalogue| {
        let (list, standing) = catalogue.of(agent)?;
        (standing == Standing::Current).then(|| list.clone())
    });
    current.map_or(Ok(()), |procedures| procedures.check(procedure, args, kwargs))
}

/// Checks a job on its agents, each with whether it is connected: all of it is refused when the schema of one of them does. An
/// agent that is away is judged by its last known list; one that is not known is not judged.
///
/// Gives the paths into the arguments that one of them wants masked.
///
/// # Errors
/// `bad_arguments`, which names the agents; then nothing must be stored.
pub fn check_job(manager: &Manager, agents: &[(PeerId, bool)], spec: &JobSpec) -> Result<Vec<String>, Fault> {
    let mut refused: Vec<(&PeerId, Fault)> = Vec::new();
    let mut judged: BTreeMap<usize, Option<Fault>> = BTreeMap::new();
    let mut redact = std::collections::BTreeSet::new();
    let mut count = 0_usize;
    for (agent, procedures) in lists(manager, agents) {
        let key = Arc::as_ptr(&procedures).addr();
        let verdict = judged.entry(key).or_insert_with(|| {
            redact.extend(procedures.redact(&spec.procedure));
            procedures.check(&spec.procedure, &spec.args, &spec.kwargs).err()
        });
        if let Some(fault) = verdict {
            count += 1;
            if refused.len() < NAMED {
                refused.push((agent, fault.clone()));
            }
        }
    }
    match refused.first() {
        None => Ok(redact.into_iter().collect()),
        Some((_, why)) => {
            let names: Vec<&str> = refused.iter().map(|(agent, _)| agent.as_str()).collect();
            let more = match count.saturating_sub(names.len()) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let text = format!(
                "{}; so say {count} of {} agents: {}{more}; nothing was stored",
                why.message,
                agents.len(),
                names.join(", ")
            );
            Err(Fault::new(FaultCode::BadArguments, text))
        }
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
