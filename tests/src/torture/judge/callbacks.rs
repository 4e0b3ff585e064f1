//! Who asked to be told of the end was told, at least once; that it was is recorded once.

use std::collections::{BTreeMap, BTreeSet};

use super::super::evidence::Evidence;
use super::{Finding, option};

pub(super) fn check(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in &evidence.taken {
        *taken.entry(delivery).or_default() += 1;
    }
    let mut owed: BTreeSet<String> = BTreeSet::new();
    for (id, job) in &evidence.jobs {
        let mut wrong = |text: String| findings.push(Finding::of(id, text));
        let asked = option::<String>(job, "callback").is_some();
        let corrected = job.detail.runs.iter().filter(|run| run.corrected).count();
        let callbacks = &job.detail.callbacks;
        if asked && callbacks.is_empty() {
            wrong("callback: nobody is told of its end".to_owned());
        }
        if callbacks.len() > usize::from(asked) * (1 + corrected) {
            wrong(format!("callback: {} were due, {corrected} of its runs were corrected", callbacks.len()));
        }
        for callback in callbacks {
            let delivery = format!("{id}-{}", callback.serial);
            if callback.state != "delivered" {
                wrong(format!("callback: {delivery} is {}: {:?}", callback.state, callback.error));
            } else if !taken.contains_key(delivery.as_str()) {
                wrong(format!("callback: {delivery} is recorded as delivered, and nobody took it"));
            }
            if !owed.insert(delivery.clone()) {
                wrong(format!("callback: {delivery} stands there twice"));
            }
        }
        let recorded = evidence.events.iter().filter(|event| event.job.as_ref() == Some(id));
        let recorded = recorded.filter(|event| event.kind == "callback.delivered").count();
        let delivered = callbacks.iter().filter(|callback| callback.state == "delivered").count();
        if recorded != delivered {
            wrong(format!("callback: {delivered} were delivered, and {recorded} events say so"));
        }
    }
    for delivery in taken.keys().filter(|delivery| !owed.contains(**delivery)) {
        findings.push(Finding::general(format!("callback: {delivery} was delivered, and is not known")));
    }
}
