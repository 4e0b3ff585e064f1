//! A file over a connection of its own, between its operator and this agent and encrypted from end to end: the call says which, and the
//! bytes do not pass through it. See [`redpoll_common::leg`].

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use redpoll_common::ids::PeerId;
use redpoll_common::leg::{LegHello, Ticket};
use redpoll_net::CallContext;
use redpoll_net::tls::{Cutter, DataEnd, DataError, LegError, Receipt, Stopped, TlsTransport, call_digest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::FileError;
use super::read::Reader;
use super::upload::Part;
use super::{Cancelled, Files};

/// How long each step may take until the connection is there.
const STEP: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for so long is given up.
const IDLE: Duration = Duration::from_secs(60);

/// Makes such connections, and bounds how many there are.
#[derive(Debug)]
pub(super) struct Streams {
    transport: Arc<TlsTransport>,
    /// How many more there may be. The threads of other work on files are not theirs.
    places: Arc<Semaphore>,
    max: usize,
}

/// What a call says of its connection.
#[derive(Debug)]
pub(super) struct Asked {
    ticket: Ticket,
    operator: PeerId,
    digest: [u8; 32],
}

/// A connection for a file.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) line: Line,
    /// The connection is cut when this is dropped, whatever thread works on it.
    pub(super) cutter: Cutter,
    /// The same files, on a thread for this.
    pub(super) files: Files,
}

/// What the thread works on.
#[derive(Debug)]
pub(super) struct Line {
    end: DataEnd,
    digest: [u8; 32],
    /// Goes back when the thread is done.
    _place: OwnedSemaphorePermit,
}

impl Streams {
    pub(super) fn new(transport: Arc<TlsTransport>, max: usize) -> Self {
        Self { transport, places: Arc::new(Semaphore::new(max)), max }
    }
}

impl Asked {
    /// Reads what a call with a ticket says.
    pub(super) fn of(call: &CallContext, ticket: Ticket) -> Result<Self, FileError> {
        let operator = call.operator.as_deref().filter(|_| call.run.is_none());
        let operator = operator.and_then(|operator| PeerId::parse(operator).ok()).ok_or_else(|| {
            let text = format!("stream of {} is for an operator's call, not for a job", call.method);
            FileError::Arguments(text)
        })?;
        Ok(Self { ticket, operator, digest: call_digest(&call.method, &call.kwargs) })
    }

    /// Dials, and finds the operator at the other end.
    pub(super) async fn dial(self, files: &Files) -> Result<Connected, FileError> {
        let none = |text: String| FileError::failed("NoStream", text);
        let Some(streams) = files.streams.clone() else {
            return Err(none("files.streams of this agent is 0: send it in calls".to_owned()));
        };
        let Ok(place) = streams.places.clone().try_acquire_owned() else {
            let text = format!("{} files are on their way already, files.streams of this agent", streams.max);
            return Err(none(text));
        };
        let hello = LegHello { ticket: self.ticket, agent: None };
        let joined = async { streams.transport.leg(&hello, STEP).await?.joined(STEP).await };
        let joined = joined.await.map_err(|error: LegError| none(redpoll_net::dial::chain(&error)))?;
        let end = streams.transport.client().data(joined, &self.operator, (STEP, IDLE)).await;
        let end = end.map_err(not_connected)?;
        let cutter = end.cutter().map_err(|error| none(error.to_string()))?;
        let files = Files { places: Arc::new(Semaphore::new(1)), ..files.clone() };
        let line = Line { end, digest: self.digest, _place: place };
        Ok(Connected { line, cutter, files })
    }
}

/// Somebody else at the other end is no reason to try it in another way.
fn not_connected(error: DataError) -> FileError {
    let text = redpoll_net::dial::chain(&error);
    if error.is_refusal() {
        return FileError::Refused(text);
    }
    FileError::failed("NoStream", text)
}

/// The connection broke. What came of an upload stays, and can be gone on with.
fn stopped(stopped: Stopped<FileError>) -> FileError {
    match stopped {
        Stopped::Here(error) => error,
        Stopped::Connection(error) => {
            FileError::failed("Broken", format!("the connection with the operator broke: {error}"))
        }
    }
}

/// Adds what comes to an upload that has `offset` bytes, and tells the operator what that was.
pub(super) fn receive(
    part: &mut Part,
    offset: u64,
    Line { mut end, digest, _place }: Line,
) -> Result<(), FileError> {
    end.hear_call(digest).map_err(not_connected)?;
    if part.written != offset {
        let text = format!("{} bytes of the upload are here, not {offset}; ask with query", part.written);
        return Err(FileError::failed("Gap", text));
    }
    // of a whole file the upload's own digest is that of what came
    let mut rest = (offset > 0).then(|| Context::new(&SHA256));
    let received = end.receive(|bytes| {
        if let Some(rest) = &mut rest {
            rest.update(bytes);
        }
        part.add(bytes)
    });
    let mut end = received.map_err(stopped)?;
    let receipt = Receipt::of(part.written - offset, rest.as_ref().unwrap_or(&part.hash));
    end.say_receipt(receipt).map_err(not_heard)
}

/// Gives the bytes of a file, and hears from the operator that they are what came.
pub(super) fn send(
    reader: &mut Reader,
    Line { mut end, digest, _place }: Line,
    cancelled: &Cancelled,
) -> Result<(), FileError> {
    end.hear_call(digest).map_err(not_connected)?;
    reader.hash = Some(Context::new(&SHA256));
    let give = |block: &mut [u8]| cancelled.check().and_then(|()| reader.fill(block));
    let mut end = end.send(give).map_err(stopped)?;
    let Some(hash) = reader.hash.take() else { return Ok(()) };
    end.hear_receipt(Receipt::of(reader.read(), &hash)).map_err(not_heard)
}

/// The receipt was another than it should be, or did not get through.
fn not_heard(error: DataError) -> FileError {
    let class = if error.is_refusal() { "Checksum" } else { "Broken" };
    FileError::failed(class, redpoll_net::dial::chain(&error))
}
