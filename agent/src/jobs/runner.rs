//! The task that owns the rules: takes in what happens, one thing after the other, and does what follows.
//!
//! It never waits for a run, a manager or the disk: while a commit is on its way it goes on taking things in, and what
//! follows from them queues up behind the commit. When that is too much, output of runs is not taken any more until the
//! disk has caught up; requests, answers and time always are.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redpoll_common::job::Dno;
use redpoll_common::job::spool as rules;
use redpoll_net::transport::PeerInfo;
use redpoll_net::{Peer, failpoint};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::execution::Execution;
use super::notes::Notes;
use super::secrets::Secret;
use super::session::Session;
use super::taken::Taken;
use super::{Answer, Control, Input, JobsOptions, Output, Status, Token};
use crate::clock::{boot_time, now};
use crate::leftovers::Leftovers;
use crate::offered::Offered;
use crate::spool::{self, SpoolError};

/// Events of runs that may wait; then the runs wait, and all get the same share. What one run has in here is what the
/// next waits for, so it is little.
pub const WORK: usize = 32;
/// Events of runs that are taken in at a time.
pub(super) const BATCH: usize = 32;
/// Answers that may wait; then those who bring them wait.
const ANSWERS: usize = 64;
/// Bytes of items that may wait for the disk; then the runs wait. An offer waits behind them too.
pub const BACKLOG: u64 = 4 * rules::BATCH_BYTES;
/// How often to look whether a full disk has room again.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// The runner's ends of the channels to the handles.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) controls: mpsc::Receiver<Control>,
    pub(super) sessions: watch::Receiver<Option<Peer>>,
    pub(super) status: watch::Sender<Status>,
    pub(super) max_dno: Arc<AtomicU64>,
}

/// Drives the rules: takes in what happens, and does what follows.
pub struct Runner {
    pub(super) machine: rules::Spool<Token>,
    pub(super) journal: spool::Spool,
    ends: Ends,
    pub(super) options: JobsOptions,
    pub(super) offered: Arc<Offered>,
    pub(super) tracker: TaskTracker,
    /// What the rules want done, in order.
    pub(super) outputs: VecDeque<Output>,
    /// Bytes of items in the commits among them, and in the one on its way.
    pub(super) backlog: u64,
    pub(super) commit: Option<(BoxFuture<'static, Result<(), SpoolError>>, Notes)>,
    /// Accepted, on disk and started, but not told: see `accepts`. No more than runs may be here.
    pub(super) accepts: Vec<(Token, Answer)>,
    /// What nobody may see of runs.
    pub(super) secrets: BTreeMap<Dno, Secret>,
    /// What runs that have not begun took of the rates of rules.
    pub(super) taken: BTreeMap<Dno, Taken>,
    /// What still runs of runs of an earlier life.
    pub(super) leftovers: Option<Leftovers>,
    pub(super) executions: BTreeMap<Dno, Execution>,
    /// How many of them are not over.
    pub(super) running: usize,
    pub(super) session: Option<Session>,
    /// Who offered the last run, or whose session is the last.
    pub(super) caller: Option<Arc<PeerInfo>>,
    /// The agent ends: nothing is started any more.
    pub(super) ending: bool,
    kill_at: Option<Instant>,
    closing: Option<oneshot::Sender<()>>,
    pub(super) full: watch::Receiver<bool>,
    look_for_room: Option<Instant>,
    pub(super) work: mpsc::Sender<Input>,
    pub(super) worked: mpsc::Receiver<Input>,
    batch: Vec<Input>,
    pub(super) answers: mpsc::Sender<Input>,
    answered: mpsc::Receiver<Input>,
}

/// What the runner waits for.
enum Event {
    Committed(Result<(), SpoolError>),
    Control(Option<Control>),
    Session(Option<Peer>),
    SessionEnded,
    Answer(Input),
    Full(bool),
    LookForRoom,
    Time,
    KillAll,
    Work,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("executions", &self.executions.len()).finish_non_exhaustive()
    }
}

impl Runner {
    pub(super) fn new(
        machine: rules::Spool<Token>,
        journal: spool::Spool,
        ends: Ends,
        options: JobsOptions,
        offered: Arc<Offered>,
    ) -> Self {
        let (work, worked) = mpsc::channel(WORK);
        let (answers, answered) = mpsc::channel(ANSWERS);
        Self {
            full: journal.full(),
            machine,
            journal,
            ends,
            options,
            offered,
            tracker: TaskTracker::new(),
            outputs: VecDeque::new(),
            backlog: 0,
            commit: None,
            accepts: Vec::new(),
            executions: BTreeMap::new(),
            secrets: BTreeMap::new(),
            taken: BTreeMap::new(),
            leftovers: None,
            running: 0,
            session: None,
            caller: None,
            ending: false,
            kill_at: None,
            closing: None,
            look_for_room: None,
            work,
            worked,
            batch: Vec::with_capacity(BATCH),
            answers,
            answered,
        }
    }

    /// Runs until [`close`](super::Jobs::close) or until all handles are gone; tasks of runs go onto `tracker`.
    ///
    /// When the journal fails it stops at once, and nothing that relied on the failed commit happens: whoever opened
    /// the journal was told, and ends the process.
    pub async fn run(mut self, tracker: TaskTracker) {
        self.tracker = tracker;
        let (live, untold) = self.machine.counts();
        if live + untold > 0 {
            info!(received = live, ended = untold, "runs from before the start are in the spool");
        }
        let is_full = *self.full.borrow_and_update();
        if is_full {
            self.filled(true);
        }
        loop {
            self.perform();
            self.settle().await;
            self.publish();
            if self.closing.is_some() && self.ends.status.borrow().settled && self.running == 0 {
                break;
            }
            let event = self.next().await;
            if !self.on(event) {
                return;
            }
        }
        self.journal.close().await;
        if let Some(closed) = self.closing {
            // whoever waited may have given up
            let _told = closed.send(());
        }
    }

    async fn next(&mut self) -> Event {
        let due = self.machine.poll_timeout();
        let Self { commit, ends, session, answered, full, worked, batch, .. } = self;
        let (kill_at, look_for_room, backlog) = (self.kill_at, self.look_for_room, self.backlog);
        tokio::select! {
            // a flood of output comes last: it must delay nothing else
            biased;
            done = durable(commit) => Event::Committed(done),
            control = ends.controls.recv() => Event::Control(control),
            () = closed(session.as_ref()) => Event::SessionEnded,
            Ok(()) = ends.sessions.changed() => Event::Session(ends.sessions.borrow_and_update().clone()),
            Some(answer) = answered.recv() => Event::Answer(answer),
            Ok(()) = full.changed() => Event::Full(*full.borrow_and_update()),
            () = at(kill_at) => Event::KillAll,
            () = at(look_for_room) => Event::LookForRoom,
            () = boot_time(due) => Event::Time,
            _taken = worked.recv_many(batch, BATCH), if backlog < BACKLOG => Event::Work,
        }
    }

    /// Gives whether to go on.
    fn on(&mut self, event: Event) -> bool {
        match event {
            Event::Committed(Ok(())) => self.committed(),
            Event::Committed(Err(error)) => {
                error!(%error, "jobs stop");
                return false;
            }
            Event::Control(None) => return false,
            Event::Control(Some(control)) => self.control(control),
            Event::Session(peer) => self.connected(peer),
            Event::SessionEnded => self.disconnected(),
            Event::Answer(answer) => {
                if let rules::Input::Reported(_, Ok(answer)) = &answer
                    && answer.acks.iter().any(|ack| ack.done)
                {
                    failpoint::reached("A7");
                }
                self.machine.handle(answer, now());
            }
            Event::Full(full) => self.filled(full),
            Event::LookForRoom => self.look_for_room(),
            Event::Time => self.time_passed(),
            Event::KillAll => {
                self.kill_at = None;
                self.executions.values().filter(|execution| !execution.over).for_each(Execution::kill);
            }
            Event::Work => {
                for input in std::mem::take(&mut self.batch) {
                    self.worked(input);
                }
            }
        }
        true
    }

    fn committed(&mut self) {
        self.tell_accepts();
        if let Some((_, notes)) = self.commit.take() {
            self.backlog = self.backlog.saturating_sub(notes.bytes);
            let dno = notes.told(&mut self.executions);
            self.ends.max_dno.fetch_max(dno.0, Ordering::AcqRel);
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Offer { token, offer, caller, admin, verdict } => {
                failpoint::reached("A1");
                self.caller = Some(caller);
                self.offer((token, offer), admin, verdict);
            }
            Control::Cancel { token, cancel } => {
                self.machine.handle(rules::Input::Cancel { token, cancel }, now());
            }
            Control::Drain => self.machine.handle(rules::Input::Draining, now()),
            Control::End(grace) => {
                self.machine.handle(rules::Input::Draining, now());
                self.ending = true;
                let left = self.executions.values().filter(|execution| !execution.over);
                left.for_each(Execution::shut_down);
                let kill_at = Instant::now() + grace;
                self.kill_at = Some(self.kill_at.map_or(kill_at, |at| at.min(kill_at)));
            }
            Control::Leave => self.disconnected(),
            Control::Close(closed) => {
                self.machine.write_all(now());
                self.closing = Some(closed);
            }
        }
    }

    fn connected(&mut self, peer: Option<Peer>) {
        self.disconnected();
        let Some(peer) = peer else { return };
        if peer.terms().is_oldest() {
            info!("the manager speaks the oldest protocol and knows no jobs");
            return;
        }
        self.caller = Some(Arc::new(peer.info().clone()));
        self.session =
            Some(Session::new(peer, self.options.answer_timeout, self.answers.clone(), &self.tracker));
        self.machine.handle(rules::Input::Connected, now());
    }

    fn disconnected(&mut self) {
        if self.session.take().is_some() {
            self.machine.handle(rules::Input::Disconnected, now());
        }
    }

    fn filled(&mut self, full: bool) {
        if full {
            warn!("the disk of the spool is full: no new runs, and programs that give output wait");
        } else {
            info!("the disk of the spool has room again");
        }
        self.look_for_room = full.then(|| Instant::now() + LOOK_FOR_ROOM);
        self.machine.handle(rules::Input::Full(full), now());
    }

    fn look_for_room(&mut self) {
        self.look_for_room = Some(Instant::now() + LOOK_FOR_ROOM);
        if self.commit.is_some() {
            return; // its writer looks by itself; and if it waits for room, these would pile up behind it
        }
        let journal = self.journal.clone();
        self.tracker.spawn(async move {
            // an error means that the journal has failed, which others are told
            let _closed = journal.check_space().await;
        });
    }

    fn publish(&self) {
        let (_, untold) = self.machine.counts();
        let writes = self.commit.is_some();
        let (settled, no_room) = (!writes && self.outputs.is_empty(), writes && *self.full.borrow());
        let status = Status { running: self.running, untold, settled, no_room };
        self.ends.status.send_if_modified(|was| std::mem::replace(was, status) != status);
    }
}

async fn durable(
    commit: &mut Option<(BoxFuture<'static, Result<(), SpoolError>>, Notes)>,
) -> Result<(), SpoolError> {
    match commit {
        Some((commit, _)) => commit.await,
        None => pending().await,
    }
}

async fn closed(session: Option<&Session>) {
    match session {
        Some(session) => drop(session.peer().closed().await),
        None => pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
