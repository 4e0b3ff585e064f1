//! A call without a connection.

use std::sync::Arc;

use redpoll_common::ids::RequestId;
use redpoll_common::session::{StopReason, credit};
use redpoll_common::wire::Raw;
use redpoll_common::wire::flight::Progress;
use tokio::sync::mpsc;

use super::mask::Streams;
use super::{CallContext, Output, Shared, Sink, Stop};
use crate::command::Command;
use crate::transport::PeerInfo;

/// A call that belongs to no connection, for tests of whatever serves calls.
///
/// The returned receiver gives the values; credit is unlimited up to the window of 16 MiB.
pub fn detached_call(
    caller: PeerInfo,
    method: &str,
    args: Raw,
    kwargs: Raw,
) -> (CallContext, DetachedOutput, StopHandle) {
    detached_call_within(redpoll_common::session::terms::MAX_WINDOW, caller, method, args, kwargs)
}

/// The same with a window of so many bytes.
pub fn detached_call_within(
    window: u64,
    caller: PeerInfo,
    method: &str,
    args: Raw,
    kwargs: Raw,
) -> (CallContext, DetachedOutput, StopHandle) {
    let shared = Shared::new(window);
    let (items, receiver) = mpsc::channel(64);
    let request = RequestId::numbered(0, 0);
    let output = Output {
        shared: shared.clone(),
        sink: Sink::Call { request: request.clone(), items },
        window,
        value_limit: redpoll_common::wire::DEFAULT_FRAME_LIMIT,
        mask: None,
        streams: Streams::default(),
    };
    let call = CallContext {
        caller: Arc::new(caller),
        request,
        method: method.to_owned(),
        args,
        kwargs,
        deadline: None,
        trace: None,
        operator: None,
        roles: None,
        run_as: None,
        stop: Stop { shared: shared.clone() },
        output,
        run: None,
    };
    (call, DetachedOutput { receiver, window, shared: shared.clone() }, StopHandle { shared })
}

impl CallContext {
    /// The same call from a caller who takes values of so many bytes at most, for tests.
    pub fn with_value_limit(mut self, value_limit: usize) -> Self {
        self.output.value_limit = value_limit;
        self
    }
}

/// The values and progress of a [`detached_call`].
#[derive(Debug)]
pub struct DetachedOutput {
    receiver: mpsc::Receiver<Box<Command>>,
    window: u64,
    shared: Arc<Shared>,
}

impl DetachedOutput {
    /// The next value or progress; `None` when the call's output was dropped.
    pub async fn next(&mut self) -> Option<Result<Raw, Progress>> {
        loop {
            match *self.receiver.recv().await? {
                Command::Value(_, data) => {
                    self.shared.grant(credit::cost(data.len(), self.window));
                    return Some(Ok(data));
                }
                Command::Progress(_) => {
                    if let Some(progress) = self.shared.take_progress() {
                        return Some(Err(progress));
                    }
                }
                Command::Call(..) | Command::Notify(..) | Command::Respond(..) | Command::Ping(..) => {}
            }
        }
    }
}

/// Stops a [`detached_call`] or a [`run_call`](super::run_call).
#[derive(Debug)]
pub struct StopHandle {
    pub(super) shared: Arc<Shared>,
}

impl StopHandle {
    /// Stops it.
    pub fn stop(&self, reason: StopReason) {
        self.shared.stop(reason);
    }
}
