//! What an agent's coming and going means for its runs: in doubt while it is away, settled by what its spool shows.
//!
//! | the spool | then |
//! |---|---|
//! | is another one, or an older state of its own | `unknown`: it may have run, and the evidence is lost |
//! | has the row | follow it |
//! | has no row, `max_dno < dno` | provably never received: the same attempt and number again |
//! | has no row, `max_dno ≥ dno` | never accepted, and never will be: the same attempt, a new number |
//! | has no row of a run it accepted | as if the spool were another one |
//! | has seen numbers that were never given out | the store is an older copy: see [`behind`](super::behind) |
//! | runs, or has the end of, an attempt that was given up, and the next one waits | follow it: see `Jobs::find` |
//! | has not started a run that ended as `unknown` | it stays so, and never starts: see `Jobs::correct` |
//!
//! That holds for the first telling in a session, when nothing is on its way to the agent. A page that is told again, because
//! its answer came too late, is answered and settles nothing.

use std::collections::BTreeSet;
use std::mem;

use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::{Act, ResumeAct, ResumeAnswer, ResumeRow, SpoolState};
use redpoll_common::job::{Dno, Outcome};
use redpoll_common::text::tidy;

use super::Jobs;
use super::agents::Link;
use super::behind::{STORE_BEHIND, behind, is_possible};
use super::effect::Effect;
use super::input::ResumePage;
use super::model::{At, Phase, stamp};
use super::output::MAX_ITEMS;
use super::record::{Change, EventKind};
use crate::roster::MAX_REASON_LEN;

const SPOOL_LOST: &str = "the agent came back without its records of this run (spool_lost)";

impl<T> Jobs<T> {
    /// An agent's session began. `false` when a newer one, or the same, is in place or was: who tells of beginnings and ends
    /// need not keep their order.
    pub(super) fn agent_up(&mut self, agent: &PeerId, connection: ConnectionId, now_ms: u64) -> bool {
        let entry = self.agent_mut(agent);
        if Some(connection) <= entry.newest {
            return false;
        }
        entry.newest = Some(connection);
        self.detach(agent, now_ms);
        self.agent_mut(agent).link =
            Link::Resuming { connection, same_spool: None, behind: None, told: BTreeSet::new() };
        self.event(now_ms, EventKind::AgentConnected, |event| event.agent = Some(agent.clone()));
        true
    }

    pub(super) fn agent_down(
        &mut self,
        agent: &PeerId,
        connection: ConnectionId,
        reason: String,
        now_ms: u64,
    ) {
        let entry = self.agent_mut(agent);
        entry.newest = entry.newest.max(Some(connection));
        if entry.connection() != Some(connection) {
            return;
        }
        self.detach(agent, now_ms);
        self.event(now_ms, EventKind::AgentDisconnected, |event| {
            event.agent = Some(agent.clone());
            event.detail = Some(tidy(&reason, MAX_REASON_LEN));
        });
    }

    /// Nothing is offered to the agent from here on, and what it has is in doubt.
    fn detach(&mut self, agent: &PeerId, now_ms: u64) {
        self.leave_heads(agent);
        self.returns(agent);
        let entry = self.agent_mut(agent);
        entry.link = Link::Away;
        let has: Vec<At> = entry.has.values().copied().collect();
        for at in has {
            if self.run(at).is_some_and(|run| run.phase != Phase::InDoubt) {
                self.change(at, now_ms, |run| {
                    run.phase = Phase::InDoubt;
                    run.doubt = stamp(now_ms);
                });
                self.write(at);
                self.run_event(at, EventKind::RunInDoubt, None, None, now_ms);
            }
        }
        self.crowd_goes(agent, now_ms);
    }

    pub(super) fn resume(&mut self, page: ResumePage<T>, now_ms: u64) {
        let ResumePage { token, agent, connection, spool, max_dno, last, rows } = page;
        self.agent_up(&agent, connection, now_ms);
        if self.agent_mut(&agent).connection() != Some(connection) {
            // a connection that was replaced, or is over: nobody reads the answer
            let answer = ResumeAnswer { jobs: Vec::new(), purge_below_dno: Dno(0) };
            self.effects.push(Effect::ResumeAnswer(token, answer));
            return;
        }
        let ours = self.agent_mut(&agent).counters.last_dno;
        if !rows.iter().map(|row| row.run.dno).chain([max_dno]).all(|dno| is_possible(ours, dno)) {
            let first = self.agent_mut(&agent).impossible.replace(connection) != Some(connection);
            self.effects.push(Effect::RefuseResume { token, agent, first });
            return;
        }
        // told again: offers of this session may be on their way, so that what a page leaves out proves nothing now
        let again = self.agent_mut(&agent).is_live();
        let same = again || self.same_spool(&agent, spool, max_dno, now_ms);
        let jobs = rows.iter().map(|row| self.resume_row(&agent, row, same, now_ms)).collect();
        let purge_below_dno = self.agents.get(&agent).map_or(Dno(0), |entry| self.lowest_dno(entry));
        self.effects.push(Effect::ResumeAnswer(token, ResumeAnswer { jobs, purge_below_dno }));
        if last && !again {
            self.resumed(&agent, connection, max_dno, now_ms);
        }
    }

    /// Decides on the first page whether the spool is the one that we know.
    fn same_spool(&mut self, agent: &PeerId, spool: [u8; 16], max_dno: Dno, now_ms: u64) -> bool {
        let entry = self.agent_mut(agent);
        if let Link::Resuming { same_spool: Some(same), .. } = entry.link {
            return same;
        }
        let counters = &mut entry.counters;
        let same = counters.spool.is_none_or(|known| known == spool) && max_dno >= counters.seen_dno;
        counters.spool = Some(spool);
        counters.seen_dno = max_dno;
        let (ours, counters) = (counters.last_dno, counters.clone());
        if let Link::Resuming { same_spool, behind: since, .. } = &mut entry.link {
            (*same_spool, *since) = (Some(same), behind(ours, max_dno));
        }
        let has: Vec<At> = entry.has.values().copied().collect();
        self.changes.push(Change::AgentCounters(counters));
        if max_dno > ours {
            self.event(now_ms, EventKind::StoreBehind, |event| {
                event.agent = Some(agent.clone());
                event.detail = Some(format!("it has seen number {max_dno}, this store knows of {ours}"));
            });
        }
        if !same {
            self.event(now_ms, EventKind::SpoolLost, |event| event.agent = Some(agent.clone()));
            for at in has {
                self.end_unknown(at, SPOOL_LOST, now_ms);
            }
        }
        same
    }

    fn resume_row(&mut self, agent: &PeerId, row: &ResumeRow, same: bool, now_ms: u64) -> ResumeAct {
        let act = self.act(agent, row, same, now_ms).unwrap_or(Act::Drop);
        ResumeAct { job: row.run.job, attempt: row.run.attempt, act }
    }

    /// What becomes of a row; `None` when nobody wants it.
    fn act(&mut self, agent: &PeerId, row: &ResumeRow, same: bool, now_ms: u64) -> Option<Act> {
        let at = self.place(row.run.job, agent)?;
        self.adopt(at, agent, row, now_ms);
        self.find(at, row, same, now_ms);
        let job = self.jobs.get_mut(&at.job)?;
        let run = job.run_mut(at.index).filter(|run| run.is_about(&row.run))?;
        if row.state == SpoolState::Absent || !(run.phase.is_dispatched() || run.is_replaceable()) {
            return None;
        }
        // acknowledged items are gone from the agent, and from a store that was restored from a backup
        run.items = run.items.max(row.acked_n.min(MAX_ITEMS));
        let (items, has_begun) = (run.items, run.started.is_some());
        let kill = run.cancel.map(|cancel| Act::Kill { grace_ms: cancel.grace_ms.map(u64::from) });
        let follow = if row.acked_n == items { Act::Continue } else { Act::SendFrom(items) };
        if run.is_replaceable() {
            return match row.state {
                // an end is true in whatever spool it is
                SpoolState::Done => Some(follow),
                SpoolState::Running | SpoolState::Starting if same => Some(kill.unwrap_or(follow)),
                // it must not start now; and that it never did, a spool can say which is an older state of itself
                SpoolState::Received | SpoolState::Running | SpoolState::Starting | SpoolState::Absent => {
                    None
                }
            };
        }
        if row.state == SpoolState::Received && has_begun {
            // it had begun: this is an older state of the spool, and it would start a second time
            self.end_unknown(at, SPOOL_LOST, now_ms);
            return None;
        }
        if let Some(Link::Resuming { told, .. }) = self.agents.get_mut(agent).map(|entry| &mut entry.link) {
            told.insert(row.run.dno);
        }
        self.follow(at, row.state == SpoolState::Running, now_ms);
        match row.state {
            SpoolState::Received | SpoolState::Starting | SpoolState::Running => Some(kill.unwrap_or(follow)),
            SpoolState::Done | SpoolState::Absent => Some(follow),
        }
    }

    /// Has an attempt back that was given up, if it runs or has ended: whoever may be tried again is not started a second time for
    /// nothing, and no result is thrown away. It takes its place in its queue again, which may have more than its concurrency by that.
    fn find(&mut self, at: At, row: &ResumeRow, same: bool, now_ms: u64) {
        let is_there = match row.state {
            // an end is true in whatever spool it is
            SpoolState::Done => true,
            SpoolState::Starting | SpoolState::Running => same,
            // it has not begun, and the next attempt will
            SpoolState::Received | SpoolState::Absent => false,
        };
        if !is_there || !self.run(at).is_some_and(|run| run.is_given_up() && run.is_about(&row.run)) {
            return;
        }
        self.change(at, now_ms, |run| {
            (run.phase, run.not_before, run.doubt) = (Phase::Accepted, 0, None);
            // it is this attempt that was called unknown, and no earlier one
            let first = run.attempt.0.saturating_sub(run.put_back) <= 1;
            run.earlier = if first { run.former } else { run.former.or(run.earlier) };
        });
        self.write(at);
        self.run_event(at, EventKind::RunFound, None, None, now_ms);
    }

    /// The agent has told everything: settles what it did not tell of, and offers again.
    fn resumed(&mut self, agent: &PeerId, connection: ConnectionId, max_dno: Dno, now_ms: u64) {
        let entry = self.agent_mut(agent);
        let Link::Resuming { told, behind, .. } = mem::replace(&mut entry.link, Link::Live(connection))
        else {
            return;
        };
        let behind = behind.is_some();
        if behind {
            // numbers must not be used twice. Not before now: until then a session that breaks off leaves the store behind
            entry.counters.last_dno = entry.counters.last_dno.max(max_dno);
            let counters = entry.counters.clone();
            self.changes.push(Change::AgentCounters(counters));
        }
        let entry = self.agent_mut(agent);
        entry.first_dno = entry.next_dno();
        let untold = entry.has.iter().filter(|(dno, _)| !told.contains(dno)).map(|(dno, at)| (*dno, *at));
        // numbers that are used again first: offers leave in the order of their numbers
        let (burnt, unseen): (Vec<_>, Vec<_>) = untold.partition(|(dno, _)| *dno <= max_dno);
        for (dno, at) in unseen.into_iter().chain(burnt) {
            let Some(run) = self.run(at) else { continue };
            let (attempt, accepted, cancelling) = (run.attempt, run.accepted.is_some(), run.cancel.is_some());
            if behind {
                self.end_unknown(at, STORE_BEHIND, now_ms);
            } else if accepted {
                // it was there, and an end is not forgotten before it was acknowledged
                self.end_unknown(at, SPOOL_LOST, now_ms);
            } else if cancelling {
                self.end_unstarted(at, Outcome::Cancelled, "cancelled before it started", now_ms);
            } else {
                self.offer(at, attempt, (dno > max_dno).then_some(dno), now_ms);
            }
        }
        if behind {
            self.end_stale(agent, now_ms);
        }
        self.enter_heads(agent);
    }
}
