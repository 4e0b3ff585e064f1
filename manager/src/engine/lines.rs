//! What is on its way to agents: one line per connection, so that offers leave in the order of their numbers and a slow agent
//! holds up nobody but itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use redpoll_common::api::agent_method;
use redpoll_common::ids::{ConnectionId, PeerId};
use redpoll_common::job::wire::{self, RunRef, StateAnswer};
use redpoll_common::job::{JobSpec, Submitter};
use redpoll_common::session::Refusal;
use redpoll_common::wire::{Bye, ByeCode, Fault, FaultCode, Raw};
use redpoll_manager_core::jobs::{Input, OfferAnswer};
use redpoll_net::{Call, CallError, CallEvent, Peer, failpoint};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::Waiter;
use super::performer::send;
use super::task::Message;
use crate::clock::Clock;

/// Orders that may wait for one agent. Offers are far fewer, and cancels beyond are settled by the next session.
pub const LINE: usize = 1024;
/// Lines that have ended are forgotten when there are so many more than at the last look.
const SWEEP: usize = 256;
/// How long to wait before something is sent again for which there were too many requests in flight.
const CROWDED: Duration = Duration::from_millis(50);

/// Something to send to an agent.
#[derive(Debug)]
pub(super) enum Order {
    Offer {
        run: RunRef,
        spec: Arc<JobSpec>,
        /// On the manager's count.
        start_by_ms: Option<u64>,
        submitter: Submitter,
        roles: Option<Vec<String>>,
    },
    Cancel {
        run: RunRef,
        grace_ms: Option<u32>,
    },
}

/// All lines.
#[derive(Debug)]
pub(super) struct Lines {
    lines: HashMap<ConnectionId, mpsc::Sender<Order>>,
    inbox: mpsc::WeakSender<Message>,
    clock: Clock,
    timeout: Duration,
    tracker: TaskTracker,
    swept: usize,
}

impl Lines {
    pub(super) fn new(
        inbox: mpsc::WeakSender<Message>,
        clock: Clock,
        timeout: Duration,
        tracker: TaskTracker,
    ) -> Self {
        Self { lines: HashMap::new(), inbox, clock, timeout, tracker, swept: 0 }
    }

    /// Puts an order into the line of a connection, which is begun if there is none. `false` when the line is full. An order for
    /// a connection that has ended goes nowhere: the machine hears of its end.
    pub(super) fn send(
        &mut self,
        agent: &PeerId,
        connection: ConnectionId,
        order: Order,
        peer: impl FnOnce() -> Option<Peer>,
    ) -> bool {
        if let Some(line) = self.lines.get(&connection) {
            return match line.try_send(order) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => false,
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.lines.remove(&connection);
                    true
                }
            };
        }
        let Some(peer) = peer() else { return true };
        self.sweep();
        let (line, orders) = mpsc::channel(LINE);
        // it is empty
        let _room = line.try_send(order);
        self.lines.insert(connection, line);
        let (agent, inbox) = (agent.clone(), self.inbox.clone());
        let (clock, timeout) = (self.clock.clone(), self.timeout);
        let answers = FuturesUnordered::new();
        self.tracker.spawn(Line { agent, connection, peer, inbox, clock, timeout, answers }.run(orders));
        true
    }

    fn sweep(&mut self) {
        if self.lines.len() >= self.swept + SWEEP {
            self.lines.retain(|_, line| !line.is_closed());
            self.swept = self.lines.len();
        }
    }
}

/// The line of one connection.
struct Line {
    agent: PeerId,
    connection: ConnectionId,
    peer: Peer,
    inbox: mpsc::WeakSender<Message>,
    clock: Clock,
    timeout: Duration,
    answers: FuturesUnordered<BoxFuture<'static, Option<Input<Waiter>>>>,
}

impl Line {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let peer = self.peer.clone();
        loop {
            // answers first: they make room for more offers
            tokio::select! {
                biased;
                Some(answer) = self.answers.next() => {
                    if let Some(input) = answer {
                        send(&self.inbox, input).await;
                    }
                }
                order = orders.recv() => match order {
                    Some(order) => {
                        let to = (self.agent.clone(), self.connection);
                        let answer = sent(to, &peer, self.timeout, &self.clock, order).await;
                        self.answers.push(answer);
                    }
                    None => break,
                },
                _reason = peer.closed() => break,
            }
        }
    }
}

/// Sends an order; the future gives what its answer tells the machine.
async fn sent(
    (agent, connection): (PeerId, ConnectionId),
    peer: &Peer,
    timeout: Duration,
    clock: &Clock,
    order: Order,
) -> BoxFuture<'static, Option<Input<Waiter>>> {
    match order {
        Order::Offer { run, spec, start_by_ms, submitter, roles } => {
            let clock = clock.clone();
            // what is left when it leaves: the disk, or other requests, may have been waited for
            let left = move || start_by_ms.map(|by| by.saturating_sub(clock.now_ms()));
            let kwargs = move || offer(run, &spec, left(), (&submitter, roles.clone()));
            let answer = call(peer, timeout, agent_method::JOB_OFFER, kwargs).await;
            Box::pin(async move {
                let answer = offer_answer(answer.await)?;
                failpoint::reached("M7");
                Some(Input::OfferAnswered { agent, connection, job: run.job, dno: run.dno, answer })
            })
        }
        Order::Cancel { run, grace_ms } => {
            let cancel = wire::Cancel { run, grace_ms: grace_ms.map(u64::from) };
            let answer = call(peer, timeout, agent_method::JOB_CANCEL, move || cancel.write()).await;
            let peer = peer.clone();
            Box::pin(async move {
                let read = |data| StateAnswer::read(&data).ok();
                let Some(StateAnswer { state }) = answer.await.ok().and_then(read) else {
                    // the promise stands: the answer to the agent's next resume keeps it. Of no effect on a connection that
                    // has ended
                    peer.close(Bye::new(ByeCode::Overloaded, "a cancel was not answered"));
                    return None;
                };
                Some(Input::CancelAnswered { agent, connection, job: run.job, dno: run.dno, state })
            })
        }
    }
}

/// Sends a request, in its place among the others; the future waits for its answer. `kwargs` are made each time that it is tried.
async fn call<K: Fn() -> Raw + Send>(
    peer: &Peer,
    timeout: Duration,
    method: &'static str,
    kwargs: K,
) -> impl Future<Output = Result<Raw, CallError>> + Send + use<K> {
    let call = move || Call::new(method, timeout).with_kwargs(kwargs());
    let peer = peer.clone();
    let started = peer.start(call()).await;
    async move {
        let mut started = started;
        loop {
            let ended = match started {
                Ok(mut stream) => loop {
                    match stream.next().await {
                        Some(CallEvent::End(ended)) => break ended,
                        Some(CallEvent::Value(_) | CallEvent::Progress(_)) => {}
                        None => break Err(CallError::Closed(peer.closed().await)),
                    }
                },
                Err(error) => Err(error),
            };
            match ended {
                // other callers use the agent's places up; the number is fenced, so that order is of no importance now
                Err(CallError::Refused(Refusal::TooMany { .. })) => tokio::time::sleep(CROWDED).await,
                ended => return ended,
            }
            started = peer.start(call()).await;
        }
    }
}

fn offer(
    run: RunRef,
    spec: &JobSpec,
    start_within_ms: Option<u64>,
    (submitter, roles): (&Submitter, Option<Vec<String>>),
) -> Raw {
    let mut limits = spec.limits;
    limits.start_within = start_within_ms.map(Duration::from_millis);
    wire::Offer {
        run,
        procedure: spec.procedure.clone(),
        args: spec.args.clone(),
        kwargs: spec.kwargs.clone(),
        limits,
        info: spec.info.clone(),
        operator: submitter.to_string(),
        roles,
    }
    .write()
}

/// What an answer to an offer means; `None` when the connection's end will say more.
fn offer_answer(answer: Result<Raw, CallError>) -> Option<OfferAnswer> {
    Some(match answer {
        Ok(data) => match wire::OfferAnswer::read(&data) {
            Ok(wire::OfferAnswer::Accepted) => OfferAnswer::Accepted,
            Ok(wire::OfferAnswer::Known(state)) => OfferAnswer::Known(state),
            Err(_unreadable) => OfferAnswer::Lost,
        },
        Err(CallError::Fault(fault)) => OfferAnswer::Refused(fault),
        Err(CallError::TimedOut(_)) => OfferAnswer::Lost,
        Err(CallError::Closed(_) | CallError::Refused(Refusal::Closed(_))) => return None,
        Err(CallError::Refused(refusal)) => {
            let code = match &refusal {
                Refusal::TooLarge { .. } => FaultCode::TooLarge,
                Refusal::Closed(_)
                | Refusal::TooMany { .. }
                | Refusal::Unacceptable(_)
                | Refusal::TextOnly => FaultCode::BadArguments,
            };
            OfferAnswer::Unsendable(Fault::new(code, refusal.to_string()))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use redpoll_common::identity::Identity;
    use redpoll_common::job::{Attempt, Dno, JobId};
    use redpoll_common::session::terms::{Liveness, Terms};
    use redpoll_common::wire::Limits as FrameLimits;
    use redpoll_net::memory::{self, pair};
    use redpoll_net::registry::RegistryService;
    use redpoll_net::{DriverOptions, ProcedureInfo, Registry, drive};

    use super::*;
    use crate::clock::{Hands, Moved};

    fn who(id: &str) -> redpoll_net::transport::PeerInfo {
        memory::peer(Identity::parse(&format!("spiffe://home/{id}")).unwrap())
    }

    fn terms() -> Terms {
        Terms {
            protocol: 1,
            limits: FrameLimits::default(),
            liveness: Liveness { ping: None, dead: None },
            peer_version: "test".into(),
            peer_caps: Vec::new(),
        }
    }

    /// However long the disk was waited for in between: what was decided then is not what is left.
    #[tokio::test]
    async fn an_offer_says_what_is_left_of_start_within_when_it_leaves() {
        let (told, mut offers) = mpsc::channel(4);
        let registry = Registry::new().with(
            ProcedureInfo::new(agent_method::JOB_OFFER, "", serde_json::Value::Null),
            move |call| {
                let told = told.clone();
                async move {
                    told.send(call.kwargs.clone()).await.unwrap();
                    Ok(wire::OfferAnswer::Accepted.write())
                }
            },
        );
        let (ours, theirs) = pair(who("manager/m1"), who("agent/a"));
        let tracker = TaskTracker::new();
        let service = Arc::new(RegistryService(Arc::new(Registry::new())));
        let (peer, driver) = drive(ours, terms(), service, DriverOptions::default(), tracker.clone());
        tracker.spawn(driver);
        let service = Arc::new(RegistryService(Arc::new(registry.unwrap())));
        let (_agent, driver) = drive(theirs, terms(), service, DriverOptions::default(), tracker.clone());
        tracker.spawn(driver);

        let moved = Arc::new(Moved::default());
        let clock = Clock::begin(Hands::Moved(moved.clone()), None, 0);
        let by = clock.now_ms() + 60_000;
        let (inbox, _answers) = mpsc::channel(4);
        let timeout = Duration::from_secs(30);
        let mut lines = Lines::new(inbox.downgrade(), clock, timeout, tracker);
        let agent = PeerId::parse("a").unwrap();
        for (dno, passed, left) in [(1, 50_000, 10_000), (2, 9_999, 1), (3, 2, 0)] {
            moved.boot_ms.fetch_add(passed, Ordering::Relaxed);
            let order = Order::Offer {
                run: RunRef { job: JobId::from_bytes([1; 16]), attempt: Attempt(1), dno: Dno(dno) },
                spec: Arc::new(
                    redpoll_common::api::submit::SubmitArguments::new(vec!["a".into()], "sys.ping").spec,
                ),
                start_by_ms: Some(by),
                submitter: Submitter::operator(&agent),
                roles: None,
            };
            assert!(lines.send(&agent, ConnectionId(1), order, || Some(peer.clone())));
            let offer = tokio::time::timeout(timeout, offers.recv()).await.unwrap().unwrap();
            let within = wire::Offer::read(&offer).unwrap().limits.start_within;
            assert_eq!(within, Some(Duration::from_millis(left)));
        }
    }
}
