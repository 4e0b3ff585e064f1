//! A request that is no peer's: a run of a job, whose values go to whoever records it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redpoll_common::ids::{PeerId, RequestId};
use redpoll_common::job::ItemKind;
use redpoll_common::job::wire::{Offer, RunRef};
use redpoll_common::session::credit;
use redpoll_common::wire::Raw;
use redpoll_common::wire::flight::Progress;
use tokio::sync::mpsc;

use super::mask::Streams;
use super::{CallContext, Output, Shared, Sink, Stop, StopHandle};
use crate::transport::PeerInfo;

/// Bytes of a run's items that wait to be taken; then the procedure waits.
const WINDOW: u64 = 128 * 1024;
/// Events of a run that wait to be taken; then the procedure waits.
const EVENTS: usize = 256;

/// What a procedure may know of the job it runs for.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The agent it runs on.
    pub agent: PeerId,
    /// Job, attempt and dispatch number.
    pub run: RunRef,
    /// The procedure as the job names it.
    pub procedure: String,
    /// The caller's own words.
    pub info: Raw,
    /// Who submitted the job.
    pub operator: String,
    /// The boot-time clock, in milliseconds, from which on nothing must be started any more.
    pub not_after: Option<u64>,
}

/// What a run gives, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// Something has run. Also implied by anything else.
    Started,
    /// An item.
    Item(ItemKind, Raw),
    /// There is news of how far it is: see [`RunOutput::progress`].
    Progressed,
}

/// The events of a run.
#[derive(Debug)]
pub struct RunOutput {
    events: mpsc::Receiver<RunEvent>,
    shared: Arc<Shared>,
}

impl RunOutput {
    /// The next event; `None` once nothing can come any more. Cancel-safe.
    pub async fn next(&mut self) -> Option<RunEvent> {
        let event = self.events.recv().await?;
        if let RunEvent::Item(_, data) = &event {
            self.shared.grant(credit::cost(data.len(), WINDOW));
        }
        Some(event)
    }

    /// The newest progress, if it was not taken before.
    pub fn progress(&self) -> Option<Progress> {
        self.shared.take_progress()
    }

    /// Whether a time limit of the procedure has passed: see [`Output::timed_out`].
    pub fn has_timed_out(&self) -> bool {
        self.shared.timed_out.load(Ordering::Acquire)
    }

    /// Takes nothing more than what is there.
    pub fn close(&mut self) {
        self.shared.answered();
        self.events.close();
    }
}

/// Makes the call of a run that nobody asked for: what it gives is taken as that of a job's run is, and there is no job.
pub fn own_call(
    caller: Arc<PeerInfo>,
    request: RequestId,
    (method, kwargs): (String, Raw),
    value_limit: usize,
) -> (CallContext, RunOutput, StopHandle) {
    let shared = Shared::new(WINDOW);
    let (sender, events) = mpsc::channel(EVENTS);
    let output = Output {
        shared: shared.clone(),
        sink: Sink::Run(sender),
        window: WINDOW,
        value_limit,
        mask: None,
        streams: Streams::default(),
    };
    let call = CallContext {
        caller,
        request,
        method,
        args: Raw::empty_array(),
        kwargs,
        deadline: None,
        trace: None,
        stop: Stop { shared: shared.clone() },
        output,
        operator: None,
        roles: None,
        run_as: None,
        run: None,
    };
    (call, RunOutput { events, shared: shared.clone() }, StopHandle { shared })
}

/// Makes the call of an offered run. Positional and named arguments leave the offer.
pub fn run_call(
    caller: Arc<PeerInfo>,
    agent: PeerId,
    offer: Offer,
    not_after: Option<u64>,
    value_limit: usize,
) -> (CallContext, RunOutput, StopHandle) {
    let shared = Shared::new(WINDOW);
    let (sender, events) = mpsc::channel(EVENTS);
    let sink = Sink::Run(sender);
    let output = Output {
        shared: shared.clone(),
        sink,
        window: WINDOW,
        value_limit,
        mask: None,
        streams: Streams::default(),
    };
    let Offer { run, procedure, args, kwargs, limits: _, info, operator, roles } = offer;
    let call = CallContext {
        caller,
        request: RequestId::numbered(0, run.dno.0),
        method: procedure.clone(),
        args,
        kwargs,
        deadline: None,
        trace: None,
        operator: Some(operator.clone()),
        roles,
        run_as: None,
        stop: Stop { shared: shared.clone() },
        output,
        run: Some(Arc::new(RunContext { agent, run, procedure, info, operator, not_after })),
    };
    (call, RunOutput { events, shared: shared.clone() }, StopHandle { shared })
}
