//! Values, output and progress on their way from what serves a request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redpoll_common::ids::RequestId;
use redpoll_common::job::ItemKind;
use redpoll_common::session::credit;
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{MAX_DEPTH, MAX_NODES, Raw, RawMap, scan};
use redpoll_common::words::{Stream, Words};
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::timeout;

use super::mask::{Piece, Streams};
use super::{Mask, RunEvent, Shared, Stop};
use crate::command::Command;

/// How long a value of a cancelled request still waits for credit: the caller may read on, or may have gone.
const CREDIT_AFTER_CANCEL: Duration = Duration::from_secs(5);
/// Levels of nesting, and values, that a message puts around a value.
const AROUND_VALUE: (usize, usize) = (2, 12);
/// What a value takes in bytes beside the output in it, generously.
const AROUND_CHUNK: usize = 64;

/// Why a value was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Nobody waits for it any more.
    #[error("the request has ended")]
    Ended,
    /// It nests too deep, or has too many values, to stand in a message.
    #[error("the value nests too deep or has too many values for a message")]
    TooDeep,
    /// It exceeds the frame limit that was agreed with the caller.
    #[error("a value of {len} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The largest value that fits, in bytes.
        limit: usize,
    },
}

/// Takes the values and the progress of a request, on their way to the caller; of a run, on their way to its record.
#[derive(Debug, Clone)]
pub struct Output {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sink: Sink,
    pub(crate) window: u64,
    pub(crate) value_limit: usize,
    /// Takes secrets out of values and progress.
    pub(crate) mask: Option<Mask>,
    /// Takes them out of streams.
    pub(crate) streams: Streams,
}

/// Where values go.
#[derive(Debug, Clone)]
pub(crate) enum Sink {
    /// To the peer that called.
    Call { request: RequestId, items: mpsc::Sender<Box<Command>> },
    /// Nowhere: the oldest peers know no values.
    Nowhere,
    /// To whoever records the run.
    Run(mpsc::Sender<RunEvent>),
}

impl Output {
    /// The largest value that fits, in bytes.
    pub fn value_limit(&self) -> usize {
        self.value_limit
    }

    /// How many bytes of values may be on the way; a value costs at most half of it.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// Whether it goes to whoever records a run, rather than to a caller who waits.
    pub fn is_recorded(&self) -> bool {
        matches!(self.sink, Sink::Run(_))
    }

    /// Says that from here on something has run. For procedures that
    /// [announce](crate::registry::Registry::with_program) it; in a call nobody wants to know.
    pub fn started(&self) {
        if let Sink::Run(events) = &self.sink {
            // full: it has given something before, which tells the same
            let _implied = events.try_send(RunEvent::Started);
        }
    }

    /// Says that a time limit of what serves the request has passed, one that its owner set: a run that is answered
    /// [`timed_out`](redpoll_common::wire::FaultCode::TimedOut) has not failed then. In a call the answer alone tells.
    pub fn timed_out(&self) {
        self.shared.timed_out.store(true, Ordering::Release);
    }

    /// Sends a value, as soon as the caller has granted credit for it: this is the back-pressure.
    ///
    /// Dropping the future may lose the value, and nothing else. After a cancel it waits for credit for a few seconds
    /// at most; after the deadline, the answer or the end of the session it fails at once.
    ///
    /// # Errors
    /// [`OutputError`]; then the value was not sent.
    pub async fn value(&self, data: Raw) -> Result<(), OutputError> {
        let data = self.masked(data);
        // where the rules of the receiver are broken, the value would be refused by the driver, too late to tell
        let fits = || {
            scan::measure(data.as_bytes()).is_ok_and(|cost| {
                let (levels, values) = AROUND_VALUE;
                cost.depth + levels <= MAX_DEPTH && cost.nodes + values <= MAX_NODES
            })
        };
        if matches!(self.sink, Sink::Call { .. }) && data.len() <= self.value_limit && !fits() {
            return Err(OutputError::TooDeep);
        }
        self.item(ItemKind::Value, data).await
    }

    /// Waits until the caller has granted credit for a value of so many bytes, and takes none of it: who makes a value only then holds
    /// nothing while it waits. Ends as [`value`](Self::value) does.
    ///
    /// # Errors
    /// [`OutputError::Ended`].
    pub async fn ready(&self, len: usize) -> Result<(), OutputError> {
        match self.sink {
            Sink::Nowhere => Ok(()),
            Sink::Call { .. } | Sink::Run(_) => self.credit(credit::cost(len, self.window)).await.map(drop),
        }
    }

    /// Whether there is credit for values of so many bytes.
    pub fn is_ready(&self, values: &[usize]) -> bool {
        let costs = values.iter().map(|len| credit::cost(*len, self.window));
        let cost = u32::try_from(costs.fold(0, u64::saturating_add)).unwrap_or(u32::MAX);
        matches!(self.sink, Sink::Nowhere) || self.shared.credit.try_acquire_many(cost).is_ok()
    }

    /// The same output, whose values, progress and streams are masked. What is masked already is masked further.
    #[must_use]
    pub fn masking(mut self, mask: Mask) -> Self {
        let mask = match self.mask.take() {
            None => mask,
            Some(first) => first.and(mask),
        };
        self.streams = Streams::new(&mask);
        self.mask = Some(mask);
        self
    }

    /// What masks the values, if anything does.
    pub fn mask(&self) -> Option<&Mask> {
        self.mask.as_ref()
    }

    /// A value as this output would give it: without what nobody may see.
    pub fn masked(&self, data: Raw) -> Raw {
        self.mask.as_ref().map(|mask| mask.apply(&data)).unwrap_or(data)
    }

    /// A text as this output would give it.
    pub fn masked_text(&self, text: String) -> String {
        self.mask.as_ref().map(|mask| mask.text(&text)).unwrap_or(text)
    }

    /// The secrets of its call, by value.
    pub fn words(&self) -> &Arc<Words> {
        self.streams.words()
    }

    /// Masks these in its standard error, in place of [`words`](Self::words): also those of calls that its process had before. It goes on as
    /// the stream does, which saw what the process wrote before.
    pub fn mask_stderr(&self, words: Words, from: Stream) {
        self.streams.mask_stderr(words, from);
    }

    /// Sends bytes of a stream, [`ItemKind::Stdout`] or [`ItemKind::Stderr`]: in a call as values `{stream, data}`, in a
    /// run as items of that kind. In pieces, where a value would not fit; credit as with [`value`](Self::value). What may be the
    /// begin of a secret waits for more, or for [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`OutputError`]; then the rest was not sent.
    pub async fn chunk(&self, stream: ItemKind, data: &[u8]) -> Result<(), OutputError> {
        if self.streams.is_open() {
            return self.pieces(stream, data).await;
        }
        let masked = self.streams.take(stream, Piece::More(data));
        self.pieces(stream, &masked).await
    }

    /// Sends what of its streams waited for more: there is no more.
    ///
    /// # Errors
    /// [`OutputError`]; then the rest was not sent.
    pub async fn flush(&self) -> Result<(), OutputError> {
        for stream in [ItemKind::Stdout, ItemKind::Stderr] {
            let rest = self.streams.take(stream, Piece::End);
            self.pieces(stream, &rest).await?;
        }
        Ok(())
    }

    async fn pieces(&self, stream: ItemKind, data: &[u8]) -> Result<(), OutputError> {
        for piece in data.chunks(self.value_limit.saturating_sub(AROUND_CHUNK).max(1)) {
            match self.sink {
                Sink::Run(_) => self.item(stream, Raw::bin(piece)).await?,
                Sink::Call { .. } | Sink::Nowhere => {
                    let value = RawMap::with_capacity(piece.len() + AROUND_CHUNK);
                    self.item(
                        ItemKind::Value,
                        value.text("stream", stream.as_str()).bin("data", piece).finish(),
                    )
                    .await?;
                }
            }
        }
        Ok(())
    }

    /// Says that so many bytes of a stream were thrown away: in a call with a value `{stream, truncated, dropped}`, in a
    /// run with an item of its own kind.
    ///
    /// # Errors
    /// [`OutputError`]; then it was not said.
    pub async fn truncated(&self, stream: ItemKind, dropped: u64) -> Result<(), OutputError> {
        let rest = self.streams.take(stream, Piece::Cut);
        self.pieces(stream, &rest).await?;
        let mark = RawMap::new().text("stream", stream.as_str());
        match self.sink {
            Sink::Run(_) => self.item(ItemKind::Truncated, mark.uint("bytes", dropped).finish()).await,
            Sink::Call { .. } | Sink::Nowhere => {
                let mark = mark.bool("truncated", true).uint("dropped", dropped);
                self.item(ItemKind::Value, mark.finish()).await
            }
        }
    }

    async fn item(&self, kind: ItemKind, data: Raw) -> Result<(), OutputError> {
        let len = data.len();
        if matches!(self.sink, Sink::Nowhere) {
            return Ok(());
        }
        if len > self.value_limit {
            return Err(OutputError::TooLarge { len, limit: self.value_limit });
        }
        let credit = self.credit(credit::cost(len, self.window)).await?;
        match &self.sink {
            Sink::Call { request, items } => {
                self.shared.has_items.store(true, Ordering::Release);
                let value = Box::new(Command::Value(request.clone(), data));
                items.send(value).await.map_err(|_closed| OutputError::Ended)?;
            }
            Sink::Run(events) => {
                let item = RunEvent::Item(kind, data);
                events.send(item).await.map_err(|_closed| OutputError::Ended)?;
            }
            Sink::Nowhere => {}
        }
        // spent only now: until the value is on its way, a drop gives the credit back
        credit.forget();
        Ok(())
    }

    async fn credit(&self, cost: u64) -> Result<SemaphorePermit<'_>, OutputError> {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        if let Ok(permit) = self.shared.credit.try_acquire_many(cost) {
            return Ok(permit);
        }
        let mut granted = std::pin::pin!(self.shared.credit.acquire_many(cost));
        let stop = Stop { shared: self.shared.clone() };
        let granted = tokio::select! {
            biased;
            granted = &mut granted => granted,
            _reason = stop.stopped() => {
                timeout(CREDIT_AFTER_CANCEL, granted).await.map_err(|_elapsed| OutputError::Ended)?
            }
        };
        granted.map_err(|_closed| OutputError::Ended)
    }

    /// Sends how far the request is. Only the newest counts: while the connection is busy, it replaces the one before.
    pub fn progress(&self, completed: u64, total: Option<u64>, details: Raw) {
        self.forward_progress(Progress { completed, total, details });
    }

    /// Passes on progress that came from somewhere else.
    pub fn forward_progress(&self, progress: Progress) {
        if matches!(self.sink, Sink::Nowhere) {
            return;
        }
        let progress = Progress { details: self.masked(progress.details), ..progress };
        self.shared.has_items.store(true, Ordering::Release);
        let mut latest = self.shared.latest();
        latest.progress = Some(progress);
        if !latest.told {
            // full: the request's next value or its answer takes it along
            latest.told = match &self.sink {
                Sink::Call { request, items } => {
                    items.try_send(Box::new(Command::Progress(request.clone()))).is_ok()
                }
                Sink::Run(events) => events.try_send(RunEvent::Progressed).is_ok(),
                Sink::Nowhere => true,
            };
        }
    }
}
