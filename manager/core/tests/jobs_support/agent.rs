//! An agent as the contract describes it: what is on its disk, what is on the wire, and what really ran.

use std::collections::{BTreeMap, VecDeque};

use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::{Ack, Act, ResumeAnswer, ResumeRow, RunRef, RunReport, SpoolState};
use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, JobId, Outcome};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::OfferAnswer;

#[derive(Debug, Clone)]
pub(crate) enum ToAgent {
    Offer(RunRef),
    Cancel(RunRef),
    Acks(Vec<Ack>),
    Resumed(ResumeAnswer, bool),
}

#[derive(Debug, Clone)]
pub(crate) enum ToManager {
    Resume(Vec<ResumeRow>, bool),
    OfferAnswer(RunRef, Box<OfferAnswer>),
    CancelAnswer(RunRef, SpoolState),
    Report(Vec<RunReport>),
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) run: RunRef,
    pub(crate) state: SpoolState,
    /// It may start: accepted by this process, or told to go on.
    pub(crate) go: bool,
    pub(crate) items: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) end: Option<Ending>,
    pub(crate) end_sent: bool,
}

/// What happened in the world, whatever anybody's records say.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) starts: BTreeMap<(JobId, PeerId, Attempt), u32>,
    pub(crate) running: Vec<(JobId, PeerId, Attempt, Dno)>,
    pub(crate) written: BTreeMap<(JobId, PeerId, Attempt), u64>,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: PeerId,
    pub(crate) spool: [u8; 16],
    pub(crate) max_dno: Dno,
    pub(crate) rows: BTreeMap<Dno, Row>,
    pub(crate) connection: Option<u64>,
    pub(crate) resumed: bool,
    pub(crate) inbox: VecDeque<ToAgent>,
    pub(crate) outbox: VecDeque<ToManager>,
    last_offer: Dno,
}

impl Agent {
    pub(crate) fn new(id: PeerId) -> Self {
        Self {
            id,
            spool: [1; 16],
            max_dno: Dno(0),
            rows: BTreeMap::new(),
            connection: None,
            resumed: false,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            last_offer: Dno(0),
        }
    }

    pub(crate) fn cut(&mut self) -> Option<u64> {
        self.inbox.clear();
        self.outbox.clear();
        self.resumed = false;
        self.connection.take()
    }

    pub(crate) fn connect(&mut self, connection: u64) {
        self.cut();
        self.connection = Some(connection);
        self.last_offer = Dno(0);
        for row in self.rows.values_mut() {
            (row.sent, row.end_sent) = (row.acked, false);
        }
        let rows: Vec<ResumeRow> = self
            .rows
            .values()
            .map(|row| ResumeRow { run: row.run, state: row.state, next_n: row.items, acked_n: row.acked })
            .collect();
        let pages: Vec<_> = rows.chunks(2).map(<[_]>::to_vec).collect();
        let count = pages.len();
        for (n, page) in pages.into_iter().enumerate() {
            self.outbox.push_back(ToManager::Resume(page, n + 1 == count));
        }
        if count == 0 {
            self.outbox.push_back(ToManager::Resume(Vec::new(), true));
        }
    }

    /// Takes the next message. `dice` decides whether an offer is refused.
    pub(crate) fn receive(&mut self, dice: u16, oracle: &mut Oracle) {
        match self.inbox.pop_front() {
            None => {}
            Some(ToAgent::Offer(run)) => {
                assert!(
                    run.dno > self.last_offer,
                    "offers came out of order: {} after {}",
                    run.dno,
                    self.last_offer
                );
                self.last_offer = run.dno;
                let answer = self.offered(run, dice);
                self.outbox.push_back(ToManager::OfferAnswer(run, Box::new(answer)));
            }
            Some(ToAgent::Cancel(run)) => {
                let state = self.cancelled(run, oracle);
                self.outbox.push_back(ToManager::CancelAnswer(run, state));
            }
            Some(ToAgent::Acks(acks)) => {
                for ack in acks {
                    self.acked(ack, oracle);
                }
            }
            Some(ToAgent::Resumed(answer, last)) => {
                for act in answer.jobs {
                    self.act(act.job, act.attempt, act.act, oracle);
                }
                self.resumed |= last;
            }
        }
    }

    fn offered(&mut self, run: RunRef, dice: u16) -> OfferAnswer {
        if run.dno <= self.max_dno {
            let state = self.rows.get(&run.dno).map_or(SpoolState::Absent, |row| row.state);
            return OfferAnswer::Known(state);
        }
        self.max_dno = run.dno;
        match dice % 8 {
            0 => return OfferAnswer::Refused(Fault::new(FaultCode::Rejected, "policy")),
            1 => return OfferAnswer::Refused(Fault::new(FaultCode::Overloaded, "busy")),
            _ => {}
        }
        let row = Row {
            run,
            state: SpoolState::Received,
            go: true,
            items: 0,
            sent: 0,
            acked: 0,
            end: None,
            end_sent: false,
        };
        self.rows.insert(run.dno, row);
        OfferAnswer::Accepted
    }

    fn cancelled(&mut self, run: RunRef, oracle: &mut Oracle) -> SpoolState {
        self.max_dno = self.max_dno.max(run.dno);
        if !self.rows.contains_key(&run.dno) {
            return SpoolState::Absent;
        }
        self.kill(run.dno, oracle);
        SpoolState::Done
    }

    fn kill(&mut self, dno: Dno, oracle: &mut Oracle) {
        match self.rows.get(&dno).unwrap().state {
            SpoolState::Received => self.end(dno, Outcome::Cancelled, Some(false), oracle),
            SpoolState::Starting => self.end(dno, Outcome::Cancelled, Some(false), oracle),
            SpoolState::Running => self.end(dno, Outcome::Cancelled, Some(true), oracle),
            SpoolState::Done | SpoolState::Absent => {}
        }
    }

    pub(crate) fn end(&mut self, dno: Dno, outcome: Outcome, started: Option<bool>, oracle: &mut Oracle) {
        let id = self.id.clone();
        let row = self.rows.get_mut(&dno).unwrap();
        oracle.running.retain(|(_, agent, _, other)| (agent, other) != (&id, &dno));
        row.state = SpoolState::Done;
        let fault = (outcome != Outcome::Succeeded).then(|| Fault::new(FaultCode::Failed, "it failed"));
        row.end =
            Some(Ending { outcome, started, result: None, fault, items: row.items, duration_ms: Some(1) });
    }

    fn find(&self, job: JobId, attempt: Attempt) -> Option<Dno> {
        self.rows.values().find(|row| row.run.job == job && row.run.attempt == attempt).map(|row| row.run.dno)
    }

    fn acked(&mut self, ack: Ack, oracle: &mut Oracle) {
        let Some(dno) = self.find(ack.job, ack.attempt) else { return };
        if ack.stop {
            self.kill(dno, oracle);
        }
        let row = self.rows.get_mut(&dno).unwrap();
        row.acked = row.acked.max(ack.next_n);
        row.sent = ack.next_n.min(row.items);
        row.end_sent &= ack.done;
        if ack.done && row.state == SpoolState::Done {
            self.rows.remove(&dno);
        }
    }

    fn act(&mut self, job: JobId, attempt: Attempt, act: Act, oracle: &mut Oracle) {
        let Some(dno) = self.find(job, attempt) else { return };
        let row = self.rows.get_mut(&dno).unwrap();
        match act {
            Act::Continue => row.go = true,
            Act::SendFrom(n) => {
                assert!(n <= row.items, "asked for items that were never written");
                (row.go, row.sent) = (true, n);
            }
            Act::Kill { .. } => self.kill(dno, oracle),
            Act::Drop => {
                self.kill(dno, oracle);
                self.rows.remove(&dno);
            }
        }
    }

    /// The process dies; what was starting or running is never known again. `wiped`: its disk too.
    pub(crate) fn restart(&mut self, wiped: bool, oracle: &mut Oracle) -> Option<u64> {
        let dnos: Vec<Dno> = self.rows.keys().copied().collect();
        for dno in dnos {
            let row = self.rows.get_mut(&dno).unwrap();
            row.go = false;
            if matches!(row.state, SpoolState::Starting | SpoolState::Running) {
                self.end(dno, Outcome::Unknown, None, oracle);
            }
        }
        if wiped {
            self.rows.clear();
            self.max_dno = Dno(0);
            self.spool = [self.spool[0] + 1; 16];
        }
        self.cut()
    }

    /// Commits that it starts a run, or, the second time, starts it. Gives what was started.
    pub(crate) fn start(&mut self, dno: Dno, oracle: &mut Oracle) -> Option<RunRef> {
        let row = self.rows.get_mut(&dno)?;
        match row.state {
            SpoolState::Received if row.go => row.state = SpoolState::Starting,
            SpoolState::Starting => {
                row.state = SpoolState::Running;
                let RunRef { job, attempt, dno } = row.run;
                *oracle.starts.entry((job, self.id.clone(), attempt)).or_default() += 1;
                oracle.running.push((job, self.id.clone(), attempt, dno));
                return Some(row.run);
            }
            SpoolState::Received | SpoolState::Running | SpoolState::Done | SpoolState::Absent => {}
        }
        None
    }

    pub(crate) fn write_item(&mut self, dno: Dno, oracle: &mut Oracle) {
        let id = self.id.clone();
        if let Some(row) = self.rows.get_mut(&dno).filter(|row| row.state == SpoolState::Running) {
            row.items += 1;
            *oracle.written.entry((row.run.job, id, row.run.attempt)).or_default() += 1;
        }
    }

    /// Reports one run; `skip` leaves the first of the items out, `again` sends acknowledged ones once more.
    pub(crate) fn report(&mut self, dno: Dno, skip: bool, again: bool) {
        if !self.resumed {
            return;
        }
        let Some(row) = self.rows.get_mut(&dno) else { return };
        let from = if again { row.acked.saturating_sub(1) } else { row.sent + u64::from(skip) };
        let items = (from..row.items).map(|n| Item {
            n,
            kind: ItemKind::Value,
            data: Raw::text(&format!("{}/{n}", row.run.attempt)),
        });
        let started = matches!(row.state, SpoolState::Running)
            || row.end.as_ref().is_some_and(|end| end.started == Some(true));
        let report = RunReport {
            run: row.run,
            started_ms_ago: started.then_some(0),
            items: items.collect(),
            progress: None,
            done: row.end.clone(),
            newer_outcome: false,
            redact: Vec::new(),
        };
        row.sent = row.items;
        row.end_sent = row.end.is_some();
        self.outbox.push_back(ToManager::Report(vec![report]));
    }
}
