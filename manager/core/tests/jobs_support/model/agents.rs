//! What agents say, and what it proves.

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::{Ack, Act, ResumeAct, ResumeAnswer, ResumeRow, RunReport, SpoolState};
use redpoll_common::job::{Dno, Ending, JobId, Outcome};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::{OfferAnswer, ResumePage};

use super::{At, End, Link, Model, State};

fn is_passing(fault: &Fault) -> bool {
    matches!(fault.code, FaultCode::Overloaded | FaultCode::ShuttingDown)
}

impl Model {
    pub(super) fn up(&mut self, id: &PeerId, connection: u64) {
        if connection > self.agent(id).newest {
            self.leave(id);
            let agent = self.agent(id);
            (agent.newest, agent.connection) = (connection, connection);
            agent.link = Link::Resuming(Vec::new(), None, None);
        }
    }

    pub(super) fn down(&mut self, id: &PeerId, connection: u64) {
        let agent = self.agent(id);
        agent.newest = agent.newest.max(connection);
        if agent.link != Link::Away && agent.connection == connection {
            self.leave(id);
        }
    }

    pub(super) fn leave(&mut self, id: &PeerId) {
        let now = self.now;
        let agent = self.agent(id);
        (agent.link, agent.stops) = (Link::Away, None);
        for at in self.all() {
            let run = self.run(at);
            if run.agent == *id && (run.put_off.take().is_some() || run.told_when) {
                (run.not_before, run.told_when) = (0, false);
            }
        }
        for at in self.has(id) {
            let run = self.run(at);
            if run.state != State::Doubt {
                (run.state, run.doubt) = (State::Doubt, now);
            }
        }
    }

    pub(super) fn resume(&mut self, page: ResumePage<u32>) {
        let ResumePage { token, agent: id, connection, spool, max_dno, last, rows } = page;
        self.up(&id, connection.0);
        let mut answer = ResumeAnswer { jobs: Vec::new(), purge_below_dno: Dno(0) };
        let agent = self.agent(&id);
        if agent.link == Link::Away || agent.connection != connection.0 {
            return self.said.push(format!("resume {token} {answer:?}"));
        }
        let same = match &agent.link {
            Link::Resuming(_, Some(same), _) => *same,
            Link::Resuming(told, None, _) => {
                let same = agent.spool.is_none_or(|known| known == spool) && max_dno.0 >= agent.seen;
                let behind = (max_dno.0 > agent.last).then_some(agent.last);
                (agent.link, agent.spool) = (Link::Resuming(told.clone(), Some(same), behind), Some(spool));
                agent.seen = max_dno.0;
                let lost = if same { Vec::new() } else { self.has(&id) };
                lost.into_iter().for_each(|at| self.unknown(at));
                same
            }
            // told again: it is answered, and proves nothing by what it leaves out
            Link::Live | Link::Away => true,
        };
        for row in rows {
            let act = self.row(&id, &row, same).unwrap_or(Act::Drop);
            answer.jobs.push(ResumeAct { job: row.run.job, attempt: row.run.attempt, act });
        }
        let first = self.has(&id).first().map(|at| self.run(*at).dno);
        let next = self.agent(&id).last + 1;
        answer.purge_below_dno = Dno(first.unwrap_or(next));
        self.said.push(format!("resume {token} {answer:?}"));
        let Link::Resuming(told, _, behind) = self.agent(&id).link.clone() else { return };
        if last {
            let agent = self.agent(&id);
            agent.link = Link::Live;
            if behind.is_some() {
                agent.last = agent.last.max(max_dno.0);
            }
            agent.first = agent.last + 1;
            for at in self.has(&id) {
                let run = self.run(at).clone();
                if told.contains(&run.dno) {
                } else if run.accepted || behind.is_some() {
                    self.unknown(at);
                } else if run.asked {
                    self.end(at, Outcome::Cancelled, Some(false));
                } else {
                    self.offer_again(at, (run.dno > max_dno.0).then_some(run.dno));
                }
            }
            if behind.is_some() {
                self.doubt_waiting(&id);
            }
        }
    }

    /// The store is an older copy: what waited in it when the manager began may have run since.
    fn doubt_waiting(&mut self, id: &PeerId) {
        for at in self.all() {
            let job = &self.jobs[at.0];
            let again = job.is_repeatable() && job.submit.spec.max_attempts > 1;
            let old = job.submitted < self.began;
            let run = self.run(at);
            if old && run.agent == *id && matches!(run.state, State::Held | State::Queued) {
                if again {
                    run.earlier = run.earlier.or(Some(Outcome::Unknown));
                    run.former = run.former.or(run.earlier);
                    continue;
                }
                let started = run.started.then_some(true);
                self.end(at, Outcome::Unknown, started);
            }
        }
    }

    /// What an agent shows of a run; `None` when nobody wants it.
    fn row(&mut self, id: &PeerId, row: &ResumeRow, same: bool) -> Option<Act> {
        let at = self.find(row.run.job, id)?;
        let ours = match &self.agent(id).link {
            Link::Resuming(_, _, Some(ours)) => *ours,
            _ => u64::MAX,
        };
        let (attempt, dno) = (row.run.attempt.0, row.run.dno.0);
        let run = self.run(at);
        if row.state == SpoolState::Absent {
            return None;
        }
        if dno > ours.max(run.dno) && run.is_open() && run.state != State::Held {
            (run.state, run.attempt, run.dno, run.items) = (State::Offered, attempt, dno, 0);
            (run.accepted, run.started, run.given_up) = (false, false, false);
            run.earlier = run.earlier.or_else(|| (attempt > 1).then_some(Outcome::Unknown));
            let agent = self.agent(id);
            agent.last = agent.last.max(dno);
        }
        let run = self.run(at);
        if (run.attempt, run.dno) != (attempt, dno) {
            return None;
        }
        let there = match row.state {
            SpoolState::Done => true,
            SpoolState::Starting | SpoolState::Running => same,
            SpoolState::Received | SpoolState::Absent => false,
        };
        if run.state == State::Queued && run.given_up && there {
            (run.state, run.not_before, run.given_up) = (State::Accepted, 0, false);
            // what was unknown is this attempt, which is there
            run.earlier =
                if run.attempt - run.put_back > 1 { run.former.or(run.earlier) } else { run.former };
        }
        if run.is_replaceable() || run.is_out() {
            // what the agent was told to be stored it does not have any more
            run.items = run.items.max(row.acked_n);
        }
        let begun = matches!(row.state, SpoolState::Starting | SpoolState::Running);
        let from = |n| if row.acked_n == n { Act::Continue } else { Act::SendFrom(n) };
        if run.is_replaceable() {
            return match row.state {
                SpoolState::Done => Some(from(run.items)),
                _ if !same => None,
                // a spool that was taken back says so as well
                SpoolState::Received => None,
                _ if begun && !run.asked => Some(from(run.items)),
                _ => Some(Act::Kill { grace_ms: run.grace.map(u64::from) }),
            };
        }
        if !run.is_out() {
            return None;
        }
        if row.state == SpoolState::Received && run.started {
            self.unknown(at);
            return None;
        }
        let (items, kill) = (run.items, run.asked && row.state != SpoolState::Done);
        let grace_ms = run.grace.map(u64::from);
        self.took(at, row.state == SpoolState::Running);
        if let Link::Resuming(told, ..) = &mut self.agent(id).link {
            told.push(row.run.dno.0);
        }
        Some(if kill { Act::Kill { grace_ms } } else { from(items) })
    }

    /// The agent has it, and runs it or will.
    fn took(&mut self, at: At, running: bool) {
        let run = self.run(at);
        run.state = if running || run.started { State::Running } else { State::Accepted };
        run.accepted = true;
    }

    fn saw(&mut self, id: &PeerId, dno: u64) {
        let agent = self.agent(id);
        agent.seen = agent.seen.max(dno);
    }

    fn dispatched(&mut self, id: &PeerId, job: JobId, dno: u64) -> Option<At> {
        self.find(job, id).filter(|at| self.run(*at).is_out() && self.run(*at).dno == dno)
    }

    pub(super) fn offer_answered(&mut self, id: &PeerId, job: JobId, dno: u64, answer: OfferAnswer) {
        let Some(at) = self.dispatched(id, job, dno) else { return };
        let run = self.run(at).clone();
        if run.accepted {
            return;
        }
        let refused = |fault: &Fault| End {
            outcome: Outcome::Rejected,
            started: Some(false),
            passing: is_passing(fault),
            stops: fault.code == FaultCode::ShuttingDown,
            hint: fault.retry_after_ms.unwrap_or(0),
        };
        match answer {
            OfferAnswer::Refused(fault) if fault.code != FaultCode::Internal => {
                if !is_passing(&fault) {
                    self.saw(id, dno);
                }
                let until = self.now + self.settings.retry_max_ms;
                let agent = self.agent(id);
                if fault.code == FaultCode::ShuttingDown && agent.link == Link::Live {
                    agent.stops = agent.stops.or(Some(until));
                }
                self.conclude(at, refused(&fault));
            }
            OfferAnswer::Unsendable(fault) => self.conclude(at, refused(&fault)),
            OfferAnswer::Known(SpoolState::Absent) if run.state == State::Offered => {
                self.saw(id, dno);
                if run.asked {
                    self.end(at, Outcome::Cancelled, Some(false));
                } else if run.absent[0] {
                    let fault = Fault::new(FaultCode::Overloaded, "");
                    self.conclude(at, refused(&fault));
                } else {
                    self.offer_again(at, None);
                    self.run(at).absent[1] = true;
                }
            }
            OfferAnswer::Accepted | OfferAnswer::Known(_)
                if answer != OfferAnswer::Known(SpoolState::Absent) =>
            {
                self.saw(id, dno);
                if run.state == State::Offered {
                    self.took(at, answer == OfferAnswer::Known(SpoolState::Running));
                }
                self.run(at).accepted = true;
            }
            OfferAnswer::Refused(_) | OfferAnswer::Lost if run.state == State::Offered => {
                let connection = self.agent(id).connection;
                self.said.push(format!("close {id} {connection}"));
            }
            _ => {}
        }
    }

    pub(super) fn cancel_answered(&mut self, id: &PeerId, job: JobId, dno: u64, state: SpoolState) {
        let Some(at) = self.dispatched(id, job, dno) else { return };
        if state == SpoolState::Absent && self.run(at).asked && !self.run(at).accepted {
            self.saw(id, dno);
            self.end(at, Outcome::Cancelled, Some(false));
        }
    }

    pub(super) fn report(&mut self, id: &PeerId, report: RunReport) -> Ack {
        let (job, attempt) = (report.run.job, report.run.attempt);
        let told = report.items.last().map_or(0, |item| item.n + 1);
        let told = told.max(report.done.as_ref().map_or(0, |done| done.items));
        let over = Ack { job, attempt, next_n: told, done: true, stop: report.done.is_none() };
        let Some(at) = self.find(job, id) else { return over };
        let live = self.agent(id).link == Link::Live;
        let run = self.run(at);
        let about = (run.attempt, run.dno) == (attempt.0, report.run.dno.0);
        if !about || !(run.is_out() || run.is_replaceable()) {
            return over;
        }
        let run = self.run(at);
        if run.is_out() {
            let begun = report.started_ms_ago.is_some();
            run.started |= begun;
            run.accepted = true;
            if live && (run.state == State::Offered || (begun && run.state == State::Accepted)) {
                run.state = if begun { State::Running } else { State::Accepted };
            }
        }
        for item in report.items {
            if item.n > run.items {
                break;
            }
            run.items = run.items.max(item.n + 1);
        }
        let (next_n, started) = (run.items, run.started);
        self.saw(id, report.run.dno.0);
        let done = report.done.filter(|done| done.items <= next_n);
        let ack = Ack { job, attempt, next_n, done: done.is_some(), stop: false };
        if let Some(done) = done {
            self.redact(job, report.redact);
            self.conclude(at, plausible(&done, started));
        }
        ack
    }
}

/// What an agent's account comes to: a success ran, a refusal did not, and what was told to have begun began.
fn plausible(done: &Ending, begun: bool) -> End {
    let passing = done.fault.as_ref().is_some_and(is_passing);
    let hint = done.fault.as_ref().and_then(|fault| fault.retry_after_ms).unwrap_or(0);
    let (outcome, started) = match (done.outcome, done.started) {
        (_, Some(false)) | (Outcome::Rejected | Outcome::Expired, _) if begun => {
            (Outcome::Unknown, Some(true))
        }
        (Outcome::Succeeded, _) => (Outcome::Succeeded, Some(true)),
        (Outcome::Rejected | Outcome::Expired, _) => (done.outcome, Some(false)),
        (Outcome::Unknown, started) => (Outcome::Unknown, started.filter(|started| *started)),
        (outcome, started) => (outcome, started),
    };
    let stops = done.fault.as_ref().is_some_and(|fault| fault.code == FaultCode::ShuttingDown);
    End { outcome, started, passing, stops, hint }
}
