//! Does what the machine decided, turn by turn, each after its changes are on disk. After one that is lost nothing more of that
//! machine is done: what it decides builds on what it believes to be on disk.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Callback, JobId, Submitter};
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_manager_core::jobs::{Answer, Effect, Found, Input, Offer, Whose};
use redpoll_net::failpoint;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::comings::Comings;
use super::deliveries::Deliveries;
use super::feed::{Feed, Touched};
use super::lines::{Lines, Order};
use super::listed::Listed;
use super::task::Message;
use super::{Agents, Callbacks, Waiter};
use crate::store::{CommitError, Durable, Store};

/// When an agent that shows numbers that nobody gave out should tell again what it has, in milliseconds.
const RESUME_AGAIN_MS: u64 = 60_000;

/// Everything around the engine.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) store: Arc<dyn Store>,
    pub(super) agents: Arc<dyn Agents>,
    pub(super) callbacks: Arc<dyn Callbacks>,
    pub(super) feed: Arc<Feed>,
    pub(super) listed: Arc<Listed>,
    pub(super) comings: Arc<Comings>,
    pub(super) last_event: watch::Sender<u64>,
    /// Weak: the engine ends when nobody else has a handle.
    pub(super) inbox: mpsc::WeakSender<Message>,
    pub(super) offer_timeout: Duration,
}

/// What comes to the performer, in its order.
#[derive(Debug)]
pub(super) enum Step {
    /// The next turn of the machine.
    Turn(Committing),
    /// What follows is of a new machine, which knows what is on disk and no more.
    Anew,
}

/// A turn whose changes the store has.
#[derive(Debug)]
pub(super) struct Committing {
    /// `None` when it changes nothing.
    pub(super) durable: Option<Durable>,
    pub(super) effects: Vec<Effect<Waiter>>,
    pub(super) touched: Vec<Touched>,
}

pub(super) struct Performer {
    outside: Outside,
    steps: mpsc::Receiver<Step>,
    lost: mpsc::Sender<()>,
    /// A turn was lost, and with it all that come before the next [`Step::Anew`].
    is_behind: bool,
    lines: Lines,
    deliveries: Deliveries,
    tracker: TaskTracker,
}

impl Performer {
    pub(super) fn new(
        outside: Outside,
        steps: mpsc::Receiver<Step>,
        lost: mpsc::Sender<()>,
        deliveries: Deliveries,
        tracker: TaskTracker,
    ) -> Self {
        let lines = Lines::new(
            outside.inbox.clone(),
            outside.store.clock().clone(),
            outside.offer_timeout,
            tracker.clone(),
        );
        Self { outside, steps, lost, is_behind: false, lines, deliveries, tracker }
    }

    pub(super) async fn run(mut self) {
        while let Some(step) = self.steps.recv().await {
            match step {
                Step::Anew => self.is_behind = false,
                // also one that changes nothing: it may tell of what was lost. Whoever waits hears that nothing was stored, because
                // the effects are dropped
                Step::Turn(_) if self.is_behind => {}
                Step::Turn(turn) => self.turn(turn).await,
            }
        }
    }

    async fn turn(&mut self, turn: Committing) {
        let Committing { durable, effects, touched } = turn;
        let committed = match durable {
            Some(durable) => durable.await,
            None => Ok(()),
        };
        match committed {
            Ok(()) => {
                self.outside.feed.tell(&touched);
                effects.into_iter().for_each(|effect| self.perform(effect));
            }
            Err(CommitError::Full) => {
                self.is_behind = true;
                // there is room: it is told once for each machine, and taken before the next one begins
                let _told = self.lost.try_send(());
            }
            Err(CommitError::Stopped) => {
                self.is_behind = true;
                error!("the store has stopped; nothing more can be recorded");
            }
        }
    }

    fn perform(&mut self, effect: Effect<Waiter>) {
        match effect {
            Effect::Offer(offer) => self.offer(*offer),
            Effect::CancelOnAgent { agent, connection, run, grace_ms } => {
                self.order(&agent, connection, Order::Cancel { run, grace_ms });
            }
            Effect::Disconnect { agent, connection } => {
                self.outside.agents.disconnect(&agent, connection, "an offer was not answered");
            }
            Effect::Answer(waiter, answer) => {
                if matches!(answer, Ok(Answer::Submitted { .. })) {
                    failpoint::reached("M1");
                }
                if let Waiter::Operator(told) = waiter {
                    // whoever asked may be gone
                    let _gone = told.send(answer);
                }
            }
            Effect::Deny(denial) => self.outside.agents.deny(&denial),
            Effect::Allow(denied) => self.outside.agents.allow(&denied),
            Effect::RefuseReport(waiter) => {
                if let Waiter::Report(told) = waiter {
                    let _gone = told.send(Err(crate::door::superseded()));
                }
            }
            Effect::AckReport(waiter, acks) => {
                failpoint::reached(if acks.iter().any(|ack| ack.done) { "M5" } else { "M4" });
                if let Waiter::Report(told) = waiter {
                    let _gone = told.send(Ok(acks));
                }
            }
            Effect::ResumeAnswer(waiter, answer) => {
                if let Waiter::Resume(told) = waiter {
                    let _gone = told.send(Ok(answer));
                }
            }
            Effect::RefuseResume { token, agent, first } => {
                if first {
                    warn!(%agent, "the agent shows dispatch numbers that nobody can have given out; it is offered no runs, and called all the \
                         same. help: is it what it was? its state folder has to begin anew");
                }
                if let Waiter::Resume(told) = token {
                    let text = "a dispatch number is far beyond all that this manager gave out";
                    let fault = Fault::new(FaultCode::BadArguments, text);
                    let _gone = told.send(Err(Fault { retry_after_ms: Some(RESUME_AGAIN_MS), ..fault }));
                }
            }
            Effect::Publish(last) => {
                self.outside.last_event.send_replace(last);
            }
            Effect::Deliver { job, serial, target } => self.deliver(job, serial, target),
            Effect::FindKey { submitter, key, look } => self.find_key(submitter, key, look),
            Effect::FindOldest { whose, limit, count } => self.find_oldest(whose, limit, count),
        }
    }

    fn offer(&mut self, offer: Offer) {
        failpoint::reached("M2");
        let Offer { agent, connection, run, spec, start_by_ms, submitter } = offer;
        // as they are now, however long ago the job was submitted
        let roles = self.outside.agents.roles(&submitter);
        let order = Order::Offer { run, spec, start_by_ms, submitter, roles };
        self.order(&agent, connection, order);
    }

    fn order(&mut self, agent: &PeerId, connection: redpoll_common::ids::ConnectionId, order: Order) {
        let agents = &self.outside.agents;
        if !self.lines.send(agent, connection, order, || agents.peer(agent, connection)) {
            agents.disconnect(agent, connection, "it takes no offers");
        }
    }

    fn deliver(&self, job: JobId, serial: u32, target: Callback) {
        // a manager that stops leaves it to the next start: it is pending
        let Some(under_way) = self.deliveries.begin() else { return };
        let trying = self.outside.callbacks.deliver(job, serial, target);
        let inbox = self.outside.inbox.clone();
        self.tracker.spawn(under_way.perform(async move {
            let error = trying.await.err();
            send(&inbox, Input::CallbackTried { job, serial, error }).await;
        }));
    }

    fn find_key(&self, submitter: Submitter, key: String, look: u64) {
        let (store, inbox) = (self.outside.store.clone(), self.outside.inbox.clone());
        self.tracker.spawn(async move {
            let found = match store.by_key(&submitter, &key).await {
                Ok(Some(job)) => Found::Taken { job: job.id, digest: job.digest },
                Ok(None) => Found::Free,
                Err(error) => {
                    error!(error = %redpoll_net::dial::chain(&error), "the store cannot be read");
                    Found::Unreadable
                }
            };
            send(&inbox, Input::KeyFound { submitter, key, look, found }).await;
        });
    }

    fn find_oldest(&self, whose: Whose, limit: usize, count: bool) {
        let (store, inbox) = (self.outside.store.clone(), self.outside.inbox.clone());
        self.tracker.spawn(async move {
            // an empty answer lets the machine ask again some time
            let (stored, jobs) = store.oldest(&whose, limit, count).await.unwrap_or_else(|error| {
                error!(error = %redpoll_net::dial::chain(&error), "the store cannot be read");
                (None, Vec::new())
            });
            send(&inbox, Input::Oldest { whose, stored, jobs }).await;
        });
    }
}

/// Tells the machine, if it is still there.
pub(super) async fn send(inbox: &mpsc::WeakSender<Message>, input: Input<Waiter>) {
    if let Some(inbox) = inbox.upgrade() {
        let _stopped = inbox.send(Message::Input(Box::new(input))).await;
    }
}
