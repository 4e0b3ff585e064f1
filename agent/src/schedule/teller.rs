//! Tells the manager of runs, the oldest first, until it has each on disk.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::method;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::failpoint;
use redpoll_net::peer::CallError;
use redpoll_schema::ArgumentRedaction;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Around;
use super::outbox::Shared;
use super::record::Began;
use crate::manager::{AskError, Manager};
use crate::offered::Offered;

/// How long to wait before the same is told again, unless the manager says.
const AGAIN: Duration = Duration::from_secs(2);
/// The same for what cannot be read.
const UNREAD: Duration = Duration::from_secs(10);
/// The same for a manager that knows no recorded runs: an older one.
const KNOWS_NONE: Duration = Duration::from_secs(600);

/// Tells what lies in the outbox.
pub(super) struct Teller {
    manager: Manager,
    offered: Arc<Offered>,
    outbox: Arc<Shared>,
    stop: CancellationToken,
}

/// What became of one try.
enum Tried {
    /// The outbox is empty.
    Nothing,
    /// One less.
    Done,
    /// Not now.
    Later(Duration),
}

impl Teller {
    pub(super) fn new(around: Around, outbox: Arc<Shared>, stop: CancellationToken) -> Self {
        let manager = around.manager.within(around.bounds.answer_timeout);
        Self { manager, offered: around.offered, outbox, stop }
    }

    /// Goes on until it is stopped; then it tries once to tell what is left.
    pub(super) async fn run(self) {
        loop {
            let tried = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                tried = self.tell() => tried,
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = self.pause(tried) => {}
            }
        }
        while self.manager.is_connected() && matches!(self.tell().await, Tried::Done) {}
    }

    async fn pause(&self, tried: Tried) {
        match tried {
            Tried::Done => {}
            Tried::Nothing => self.outbox.more().await,
            Tried::Later(wait) => sleep(wait).await,
        }
    }

    async fn tell(&self) -> Tried {
        self.manager.connected().await;
        let (number, kept, dropped) = match self.outbox.with(super::outbox::Outbox::oldest).await {
            Some(Ok(Some(oldest))) => oldest,
            Some(Ok(None)) | None => return Tried::Nothing,
            Some(Err(error)) => {
                warn!(%error, "a run in the outbox cannot be read now; it is kept, and read again later");
                return Tried::Later(UNREAD);
            }
        };
        let (key, schedule) = (kept.run.key.clone(), kept.run.schedule.clone());
        let mut run = kept.told(&Began::now(), dropped);
        // it may have been written before its procedure said what nobody may see
        let redact = self.offered.now().redact(&run.procedure).unwrap_or_default();
        run.kwargs = ArgumentRedaction::new(&redact).mask(&Raw::empty_array(), &run.kwargs).1;
        let answer = self.manager.call(method::JOBS_RECORD, run.write()).await;
        match answer {
            Ok(_answer) => {
                failpoint::reached("R3");
                debug!(%key, %schedule, "a run is recorded");
                self.outbox.with(move |outbox| outbox.told(number, dropped)).await;
                Tried::Done
            }
            Err(AskError::Call(CallError::Fault(fault))) => self.faulted(number, &schedule, &fault).await,
            Err(error) => {
                debug!(%error, %schedule, "a run is not recorded yet");
                Tried::Later(AGAIN)
            }
        }
    }

    async fn faulted(&self, number: u64, schedule: &str, fault: &Fault) -> Tried {
        let never =
            [FaultCode::Forbidden, FaultCode::BadArguments, FaultCode::TooLarge, FaultCode::IdemConflict];
        if never.contains(&fault.code) {
            warn!(code = %fault.code, error = ?fault.message, schedule, "the manager does not record a run; it is lost");
            self.outbox.with(move |outbox| outbox.refused(number)).await;
            return Tried::Done;
        }
        if fault.code == FaultCode::UnknownMethod {
            info!("the manager records no runs of agents; this agent asks again now and then");
            return Tried::Later(KNOWS_NONE);
        }
        info!(code = %fault.code, error = ?fault.message, schedule, "a run is not recorded yet");
        Tried::Later(fault.retry_after_ms.map_or(AGAIN, Duration::from_millis))
    }
}
