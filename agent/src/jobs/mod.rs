//! The agent's side of jobs: takes offers, runs them, and owes the manager the truth about each until it has it on disk.
//!
//! The rules are the machine [`redpoll_common::job::spool`], its memory is the [journal](crate::spool). Here is what
//! drives the machine and does as it says:
//!
//! - [`Jobs`]: the handle that service, link and application hold.
//! - `runner`: the one task that owns the machine. `perform`: what it does with the machine's outputs.
//! - `work`: what runs do. `given`: what of it the runner has not taken in. `execution`: a run of a procedure.
//! - `session`: what is asked of the manager; `split`: reports that fit a frame.
//! - `accepts`: when an accept is told. `secrets`: what nobody may see of runs.
//! - `requests`: `rp.job.offer` and `rp.job.cancel`. `taken`: what offers take of rates. `notes`: what commits say, for the log.

mod accepts;
mod execution;
mod given;
mod notes;
mod perform;
mod requests;
mod runner;
mod secrets;
mod session;
mod split;
mod taken;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::spool::{self as rules, ImageError};
use redpoll_common::job::wire::{Cancel, Offer};
use redpoll_common::job::{Dno, Limits};
use redpoll_common::wire::{Fault, Raw};
use redpoll_config::AgentConfig;
use redpoll_exec::places;
use redpoll_net::transport::PeerInfo;
use redpoll_net::{Peer, random};
use tokio::sync::{mpsc, oneshot, watch};

pub use runner::{BACKLOG, Runner, WORK};
pub use session::ASKS;

use crate::leftovers::Leftovers;
use crate::offered::Offered;
use crate::{clock, spool};
use taken::Taken;

/// Requests and orders that may wait for the runner. The manager has fewer requests in flight; what comes beyond is
/// answered `overloaded`.
pub const CONTROL: usize = 4096 + 16;

/// The answer to an offer or a cancel.
type Answer = Result<Raw, Fault>;
/// Where it goes.
type Token = oneshot::Sender<Answer>;
/// What happens to the machine.
type Input = rules::Input<Token>;
/// What the machine wants done.
type Output = rules::Output<Token>;

/// How jobs are run here.
#[derive(Debug, Clone)]
pub struct JobsOptions {
    /// The agent's name.
    pub agent: PeerId,
    /// Runs that may be here at a time.
    pub runs: usize,
    /// Bytes of one run's items that may be on their way to the manager.
    pub window: u64,
    /// Bytes of one run's items that may wait for the manager's acknowledgement.
    pub unacked: u64,
    /// The largest frame that the agent sends, in bytes.
    pub frame_limit: usize,
    /// How long the manager may take for an answer; then the same is sent again. It commits first, and may be busy.
    pub answer_timeout: Duration,
    /// What no run may exceed.
    pub limits: RunLimits,
}

/// What no run may exceed, whatever its offer allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Bytes of items of an attempt.
    pub output: u64,
    /// The longest run; `None`: no limit.
    pub run_timeout: Option<Duration>,
    /// The longest time between TERM and KILL.
    pub grace: Duration,
}

impl RunLimits {
    /// The limits of an offer, as they hold here.
    fn cap(&self, limits: &mut Limits) {
        limits.output = Some(limits.output.unwrap_or(u64::MAX).min(self.output));
        limits.run_timeout = [limits.run_timeout, self.run_timeout].into_iter().flatten().min();
        limits.grace = Some(limits.grace.unwrap_or(self.grace).min(self.grace));
    }

    fn grace_ms(&self) -> u64 {
        u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX)
    }
}

impl JobsOptions {
    /// As the configuration says.
    pub fn new(agent: PeerId, config: &AgentConfig) -> Self {
        let AgentConfig { limits, session, manager, .. } = config;
        Self {
            agent,
            runs: limits.jobs,
            window: limits.job_window,
            unacked: limits.job_unacked,
            frame_limit: usize::try_from(session.frame_limit).unwrap_or(usize::MAX),
            answer_timeout: manager.answer_timeout,
            limits: RunLimits {
                output: limits.output,
                run_timeout: Some(limits.run_timeout).filter(|limit| !limit.is_zero()),
                grace: limits.grace,
            },
        }
    }

    /// The largest item or result. A report with an ending may take half as much again, and needs an envelope.
    fn max_item(&self) -> usize {
        self.frame_limit.saturating_sub(4096) / 3 * 2
    }

    fn rules(&self, spool: [u8; 16]) -> rules::Options {
        rules::Options {
            spool,
            // a machine that does not name its boots: each start is another one, and the wall clock counts
            boot: clock::boot_bytes().unwrap_or_else(random::bytes16),
            max_runs: self.runs,
            admin_reserve: places::RESERVE,
            window: self.window,
            unacked: self.unacked,
            max_item: self.max_item(),
            grace_ms: self.limits.grace_ms(),
        }
    }
}

/// What the runner is told by others of the agent.
#[derive(Debug)]
enum Control {
    /// The manager offers a run.
    Offer {
        token: Token,
        offer: Box<Offer>,
        caller: Arc<PeerInfo>,
        admin: bool,
        verdict: Result<Taken, Box<Fault>>,
    },
    /// The manager cancels a run.
    Cancel { token: Token, cancel: Cancel },
    /// No new runs.
    Drain,
    /// End what runs: TERM, and KILL after this long.
    End(Duration),
    /// Ask the manager nothing more, and wait for none of its answers.
    Leave,
    /// Finish what is begun, close the journal, tell.
    Close(oneshot::Sender<()>),
}

/// How far the runner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Procedures that run.
    pub running: usize,
    /// Runs that ended, without the manager's acknowledgement.
    pub untold: usize,
    /// Everything that happened is on disk, and done.
    pub settled: bool,
    /// It is not, and the disk has no room.
    pub no_room: bool,
}

/// A handle on the agent's jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    control: mpsc::Sender<Control>,
    sessions: watch::Sender<Option<Peer>>,
    status: watch::Receiver<Status>,
    offered: Arc<Offered>,
    leftovers: Leftovers,
    limits: RunLimits,
    spool: [u8; 16],
    max_dno: Arc<AtomicU64>,
}

impl Jobs {
    /// Takes a spool as it was found, and looks for what is `left` of the runs in it. Nothing else happens before the [`Runner`] is
    /// run. Blocks.
    ///
    /// # Errors
    /// [`ImageError`] when the journal makes no sense.
    pub fn new(
        opened: spool::Opened,
        options: JobsOptions,
        offered: Arc<Offered>,
        leftovers: Leftovers,
    ) -> Result<(Self, Runner), ImageError> {
        let spool::Opened { spool: journal, id, mut image } = opened;
        let max_dno = Arc::new(AtomicU64::new(image.max_dno().0));
        let secrets = secrets::of_image(&image, &offered.now());
        leftovers.recover(&mut image);
        let machine = rules::Spool::recover(options.rules(id), image, clock::now())?;
        let (control, controls) = mpsc::channel(CONTROL);
        let (sessions, session) = watch::channel(None);
        let (status_sender, status) = watch::channel(Status::default());
        let limits = options.limits;
        let ends =
            runner::Ends { controls, sessions: session, status: status_sender, max_dno: max_dno.clone() };
        let mut runner = Runner::new(machine, journal, ends, options, offered.clone());
        runner.secrets = secrets;
        runner.leftovers = Some(leftovers.clone());
        let shared = Shared { control, sessions, status, offered, leftovers, limits, spool: id, max_dno };
        Ok((Self { shared: Arc::new(shared) }, runner))
    }

    /// A session with the manager began. Its end is noticed.
    pub fn connected(&self, peer: &Peer) {
        self.shared.sessions.send_replace(Some(peer.clone()));
    }

    /// Which spool it is, for the hello.
    pub fn spool(&self) -> [u8; 16] {
        self.shared.spool
    }

    /// The highest dispatch number on disk, for the hello.
    pub fn max_dno(&self) -> Dno {
        Dno(self.shared.max_dno.load(Ordering::Acquire))
    }

    /// How far the runner is.
    pub fn status(&self) -> Status {
        *self.shared.status.borrow()
    }

    /// Waits until the status is such. Returns at once when the runner has ended.
    pub async fn until(&self, mut such: impl FnMut(&Status) -> bool) {
        let mut status = self.shared.status.clone();
        // an error means that the runner has ended
        let _reached = status.wait_for(|status| such(status)).await;
    }

    /// From now on nothing new is run.
    pub async fn drain(&self) {
        self.order(Control::Drain).await;
    }

    /// Ends what runs, with so long between TERM and KILL; the runs are recorded as ended by the agent's stop. Returns
    /// when that is on disk.
    pub async fn end(&self, grace: Duration) {
        self.order(Control::End(grace)).await;
        self.until(|status| status.running == 0 && status.settled).await;
    }

    /// Asks the manager nothing more; questions that it has not answered are withdrawn. The next session begins anew.
    pub async fn leave(&self) {
        self.order(Control::Leave).await;
    }

    /// Finishes what is begun and closes the journal; nothing must run any more.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.order(Control::Close(done)).await;
        // an error means that the runner ended before
        let _ended = closed.await;
    }

    async fn order(&self, control: Control) {
        // an error means that the runner has ended
        let _ended = self.shared.control.send(control).await;
    }
}
