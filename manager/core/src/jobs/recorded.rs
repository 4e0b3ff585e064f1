//! What agents tell of their own accord: runs that they made by themselves, and events.
//!
//! A recorded run becomes a job that has ended, in one turn: once per key of its agent, whether the job is still in memory or in
//! the store alone. It was never offered, so it has no dispatch number, takes no room among the open runs, and has no part in
//! what the agent's spool and the manager owe each other: however it ended, no later evidence can name it, and it is over.

use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Dno, JobId, RunKey, RunState, secret};
use redpoll_common::wire::Raw;

use super::Jobs;
use super::effect::{Answer, Refusal};
use super::event::CustomEvent;
use super::input::{Ended, Submit};
use super::record::{Change, Digest, EventKind, JobRecord, RunRecord, Summary};

impl<T> Jobs<T> {
    /// Stores an ended job, unless the disk is full.
    pub(super) fn store_ended(
        &mut self,
        submit: Submit<T>,
        ended: Ended,
        now_ms: u64,
    ) -> Option<(JobId, Digest)> {
        let Submit { token, id, submitter, spec, digest, agents, admin, idempotent, redact } = submit;
        let refusal = match agents.as_slice() {
            _ if self.store_full => Some(Refusal::StoreFull),
            _ if self.jobs.contains_key(&id) => Some(Refusal::IdemConflict { job: id }),
            [_one] => None,
            [] | [_, _, ..] => Some(Refusal::NoAgents),
        };
        let (Some((agent, _here)), None) = (agents.into_iter().next(), &refusal) else {
            self.answer(token, Err(refusal.unwrap_or(Refusal::NoAgents)));
            return None;
        };
        let outcome = ended.ending.outcome;
        let mut summary = Summary::default();
        summary.add(outcome);
        let record = Arc::new(JobRecord {
            id,
            submitter,
            digest,
            idempotent,
            admin,
            redact: secret::bounded(redact.to_vec()).into(),
            agents: Arc::from([agent.clone()]),
            submitted_ms: now_ms,
            released_ms: Some(now_ms),
            ended_ms: None,
            summary: None,
            spec,
        });
        self.write_ended(&record, &agent, ended, now_ms);
        self.changes.push(Change::JobEnded { job: id, ended_ms: now_ms, summary });
        if !record.redact.is_empty() {
            self.changes.push(Change::ArgumentsMasked(id));
        }
        self.shelve(&record.submitter);
        self.answer(token, Ok(Answer::Submitted { job: id, existing: false }));
        Some((id, digest))
    }

    /// The changes and the event. The job is written as it is when it has just begun: how it ended follows in the same turn.
    fn write_ended(&mut self, record: &Arc<JobRecord>, agent: &PeerId, ended: Ended, now_ms: u64) {
        let Ended { mut ending, started_ms_ago, items, dropped } = ended;
        // it is over: it began before it took its time. Before the count began nobody knows
        let lasted = ending.duration_ms.unwrap_or(0);
        let started_ms = started_ms_ago.and_then(|ago| now_ms.checked_sub(ago.max(lasted)));
        let (id, outcome, attempt) = (record.id, ending.outcome, Attempt(1));
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        ending.items = count;
        let code = ending.fault.as_ref().map(|fault| fault.code.to_string());
        let lost = (dropped > 0).then(|| format!("{dropped} older ones were lost on the agent"));
        let detail: Vec<String> = code.into_iter().chain(lost).collect();
        let key = RunKey { job: id, agent: agent.clone() };
        let run = RunRecord {
            key: key.clone(),
            seq: 0,
            state: RunState::Ended(Box::new(ending)),
            attempt,
            dno: Dno(0),
            queued_ms: None,
            offered_ms: None,
            accepted_ms: None,
            started_ms,
            doubt_ms: None,
            ended_ms: Some(now_ms),
            not_before_ms: 0,
            items: count,
            cancel: None,
            corrected: false,
            earlier: None,
            put_back: 0,
        };
        self.changes.push(Change::JobSubmitted(Arc::clone(record)));
        self.changes.push(Change::RunChanged(Box::new(run)));
        if !items.is_empty() {
            self.changes.push(Change::Items { key, attempt, from: 0, items });
        }
        self.event(now_ms, EventKind::JobRecorded, |event| {
            event.job = Some(id);
            event.agent = Some(agent.clone());
            event.outcome = Some(outcome);
            event.detail = (!detail.is_empty()).then(|| detail.join("; "));
        });
    }

    /// Puts an event of an agent into the history.
    pub(super) fn emit(&mut self, token: T, agent: PeerId, name: String, data: Raw, now_ms: u64) {
        if self.store_full {
            return self.answer(token, Err(Refusal::StoreFull));
        }
        self.event(now_ms, EventKind::Custom, |event| {
            event.agent = Some(agent);
            event.custom = Some(Box::new(CustomEvent { name, data }));
        });
        self.answer(token, Ok(Answer::Emitted { n: self.last_event }));
    }
}
