//! No queue ran more than it lets at a time (I11), as far as that can be seen from outside.
//!
//! A program counts from its start until its end, or until its agent is dead: from then on the run is in doubt and keeps its
//! slot, until the agent's successor, which is started only later, says that it cannot know. A program whose parent is no
//! agent that lives counts not at all, and neither does one that was killed before it came to its last line, by a limit or a
//! cancel that its agent lived to tell of: it ended early, and nobody saw when.

use std::collections::{BTreeMap, BTreeSet};

use super::super::evidence::Evidence;
use super::super::ledger::AttemptKey;
use super::super::oracle::{Line, Mark};
use super::{Finding, attempts, option, starts};

pub(super) fn check(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let seen = starts(&evidence.oracle);
    let mut dead: BTreeSet<u32> = BTreeSet::new();
    // per queue: who runs, and under which agent
    let mut running: BTreeMap<String, BTreeMap<AttemptKey, u32>> = BTreeMap::new();
    for line in &evidence.oracle {
        match line {
            Line::Start { mark, parent, .. } => {
                let Some((name, concurrency)) = queue(evidence, mark) else { continue };
                let vanished = |start: &super::Start| !start.ended && start.stopped_ms.is_none();
                let lives = evidence.is_agent(*parent) && !dead.contains(parent);
                if !lives
                    || (!is_unknown(evidence, mark)
                        && seen.get(&key(mark)).is_some_and(|all| all.iter().any(vanished)))
                {
                    continue;
                }
                let queue = running.entry(name.clone()).or_default();
                queue.insert(key(mark), *parent);
                if queue.len() > concurrency {
                    let others: Vec<_> = queue.keys().collect();
                    let text = format!("I11: {name} lets {concurrency} run, and these ran: {others:?}");
                    findings.push(Finding::of(&mark.job, text));
                }
            }
            Line::End(mark) | Line::Stop { mark, .. } => {
                running.values_mut().for_each(|queue| queue.retain(|other, _| *other != key(mark)));
            }
            Line::Killed { pid, .. } => {
                dead.insert(*pid);
                running.values_mut().for_each(|queue| queue.retain(|_, parent| parent != pid));
            }
        }
    }
}

/// Whether the manager says that nobody knows how the attempt ended: then its agent died under it, and not before.
fn is_unknown(evidence: &Evidence, mark: &Mark) -> bool {
    let Some(job) = evidence.jobs.get(&mark.job) else { return false };
    let run = job.detail.runs.iter().find(|run| run.agent == mark.agent);
    let attempts = run.map(|run| attempts(job, run)).unwrap_or_default();
    attempts.iter().any(|attempt| attempt.number == mark.attempt && attempt.outcome == "unknown")
}

fn key(mark: &Mark) -> AttemptKey {
    (mark.job.clone(), mark.agent.clone(), mark.attempt)
}

fn queue(evidence: &Evidence, mark: &Mark) -> Option<(String, usize)> {
    let job = evidence.jobs.get(&mark.job)?;
    let name = job.detail.job.queue.as_ref()?.as_text()?.to_owned();
    Some((name, option::<usize>(job, "concurrency")?))
}
