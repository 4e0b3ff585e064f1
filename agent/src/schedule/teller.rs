//! Tells the manager of runs, the oldest first, until it has each on disk.

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::method;
use redpoll_common::session::{Refusal, chain};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::failpoint;
use redpoll_net::peer::CallError;
use redpoll_schema::ArgumentRedaction;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Around;
use super::fit::fit;
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

/// No wait that the manager asks for is taken longer than this: it may be mistaken, or another one by then.
const LONGEST: Duration = Duration::from_secs(3600);

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
            Tried::Later(wait) => {
                // whom a new session is with says anew how long
                let _sooner = timeout(wait, self.manager.reconnected()).await;
            }
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
        // the manager may take less than the agent, and an older agent wrote down what no frame takes
        fit(&mut run, self.manager.frame_limit().unwrap_or(usize::MAX));
        let answer = self.manager.call(method::JOBS_RECORD, run.write()).await;
        match answer {
            Ok(_answer) => {
                failpoint::reached("R3");
                debug!(%key, %schedule, "a run is recorded");
                self.outbox.with(move |outbox| outbox.told(number, dropped)).await;
                Tried::Done
            }
            Err(AskError::Call(CallError::Fault(fault))) => self.faulted(number, &schedule, &fault).await,
            Err(AskError::Call(CallError::Refused(
                refusal @ (Refusal::TooLarge { .. } | Refusal::Unacceptable(_)),
            ))) => {
                let error = chain(&refusal);
                warn!(%error, %schedule, "a run fits no request to the manager, and is lost; are the arguments of its schedule large?");
                self.outbox.with(move |outbox| outbox.refused(number)).await;
                Tried::Done
            }
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
        Tried::Later(fault.retry_after_ms.map_or(AGAIN, Duration::from_millis).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use redpoll_common::api::record::RecordArguments;
    use redpoll_common::identity::Identity;
    use redpoll_common::job::{Ending, Item, ItemKind, Outcome};
    use redpoll_common::session::Terms;
    use redpoll_common::session::terms::Liveness;
    use redpoll_common::wire::{Limits, Notification, RawMap};
    use redpoll_exec::Places;
    use redpoll_net::driver::{DriverOptions, drive};
    use redpoll_net::service::{Running, Service};
    use redpoll_net::transport::PeerInfo;
    use redpoll_net::{CallContext, Registry, memory};
    use redpoll_schema::policy::Policy;
    use tempfile::TempDir;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::gate::{Gate, Own};
    use crate::schedule::Bounds;
    use crate::schedule::outbox::{Outbox, OutboxOptions};
    use crate::schedule::record::Kept;

    /// Takes all that it is told.
    #[derive(Debug, Default)]
    struct Records(Mutex<Vec<RecordArguments>>);

    impl Service for Records {
        fn start(&self, call: CallContext) -> Running {
            self.0.lock().unwrap().push(RecordArguments::read(&call.kwargs).unwrap());
            Running { answer: Box::pin(std::future::ready(Ok(Raw::nil()))), graceful: true }
        }

        fn notified(&self, _from: &PeerInfo, _notification: Notification) {}
    }

    fn kept(key: &str, kwargs: Raw, bytes: usize) -> Kept {
        let item = Item { n: 0, kind: ItemKind::Value, data: Raw::text(&"x".repeat(bytes)) };
        let ending = Ending {
            outcome: Outcome::Succeeded,
            started: Some(true),
            result: Some(Raw::text(&"y".repeat(bytes))),
            fault: None,
            items: 1,
            duration_ms: Some(1),
        };
        let (key, schedule, procedure) = (key.to_owned(), "s".to_owned(), "p".to_owned());
        let (started_ms_ago, dropped) = (None, 0);
        let run = RecordArguments {
            key,
            schedule,
            procedure,
            kwargs,
            started_ms_ago,
            ending,
            items: vec![item],
            dropped,
        };
        Kept { run, began: Began::now() }
    }

    fn peer(id: &str) -> PeerInfo {
        memory::peer(Identity::parse(id).unwrap())
    }

    const AGENT: &str = "spiffe://home/agent/web-1";
    const MANAGER: &str = "spiffe://home/manager/m-1";

    fn terms() -> Terms {
        Terms {
            protocol: 1,
            limits: Limits { frame: 64 * 1024, ..Limits::default() },
            liveness: Liveness { ping: None, dead: None },
            peer_version: "test".into(),
            peer_caps: Vec::new(),
        }
    }

    fn around(manager: Manager) -> Around {
        let own = Own { name: "tester".to_owned(), is_root: false };
        let gate = Arc::new(Gate::fixed(Policy::new(Vec::new()), own));
        let bounds = Bounds {
            places: Places::new(1),
            run_timeout: None,
            grace: Duration::ZERO,
            frame_limit: 1 << 20,
            answer_timeout: Duration::from_secs(20),
        };
        let offered = Arc::new(Offered::fixed(Registry::new(), gate));
        Around { own: Arc::new(peer(AGENT)), offered, manager, bounds }
    }

    /// Tells what is in an outbox until it is empty, to a manager that takes frames of 64 KiB.
    async fn told(runs: &[Kept]) -> Vec<RecordArguments> {
        let folder = TempDir::new().unwrap();
        let mut outbox = Outbox::open(&folder.path().join("schedule"), OutboxOptions::default()).unwrap();
        runs.iter().for_each(|run| outbox.finish(None, run));
        let (one, other) = memory::pair(peer(AGENT), peer(MANAGER));
        let terms = terms();
        let (records, tracker) = (Arc::new(Records::default()), TaskTracker::new());
        let options = DriverOptions::default();
        let (_peer, driver) = drive(other, terms.clone(), records.clone(), options, tracker.clone());
        tracker.spawn(driver);
        let (session, driver) = drive(one, terms, Arc::new(Records::default()), options, tracker.clone());
        tracker.spawn(driver);
        let manager = Manager::default();
        manager.set(Some(session));
        let shared = Arc::new(Shared::new(outbox));
        let teller = Teller::new(around(manager), shared.clone(), CancellationToken::new());
        while let Tried::Done = teller.tell().await {}
        assert_eq!(
            shared.with(|outbox| outbox.len()).await,
            Some(0),
            "nothing is in the way of what follows"
        );
        records.0.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn a_run_that_is_too_large_for_the_manager_is_told_as_far_as_it_fits() {
        let (small, empty) = (kept("c", Raw::empty_map(), 10), Raw::empty_map);
        let told = told(&[kept("a", empty(), 40_000), kept("b", empty(), 100_000), small.clone()]).await;
        let said: Vec<_> = told.iter().map(|run| (run.key.as_str(), run.ending.outcome)).collect();
        assert_eq!(said, [("a", Outcome::Succeeded), ("b", Outcome::Failed), ("c", Outcome::Succeeded)]);
        for run in &told[..2] {
            assert_eq!(run.items[0].kind, ItemKind::Truncated);
        }
        assert_eq!(told[2].items, small.run.items);
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_that_a_manager_asks_for_is_longer_than_an_hour_and_a_new_session_cuts_it() {
        let folder = TempDir::new().unwrap();
        let outbox = Outbox::open(&folder.path().join("schedule"), OutboxOptions::default()).unwrap();
        let manager = Manager::default();
        let teller =
            Teller::new(around(manager.clone()), Arc::new(Shared::new(outbox)), CancellationToken::new());
        let busy = Fault { retry_after_ms: Some(u64::MAX), ..Fault::new(FaultCode::Overloaded, "busy") };
        let Tried::Later(wait) = teller.faulted(1, "s", &busy).await else { panic!("it is kept") };
        assert_eq!(wait, LONGEST);
        let began = tokio::time::Instant::now();
        teller.pause(Tried::Later(wait)).await;
        assert_eq!(began.elapsed(), LONGEST);
        let session = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let (one, _other) = memory::pair(peer(AGENT), peer(MANAGER));
            let terms = terms();
            let service = Arc::new(Records::default());
            let (session, _driver) = drive(one, terms, service, DriverOptions::default(), TaskTracker::new());
            manager.set(Some(session));
        };
        let began = tokio::time::Instant::now();
        tokio::join!(teller.pause(Tried::Later(wait)), session);
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test]
    async fn a_run_that_fits_no_request_is_counted_and_holds_up_no_other() {
        let kwargs = RawMap::new().text("x", &"x".repeat(100_000)).finish();
        let told = told(&[kept("a", kwargs, 1), kept("b", Raw::empty_map(), 1)]).await;
        let said: Vec<_> = told.iter().map(|run| (run.key.as_str(), run.dropped)).collect();
        assert_eq!(said, [("b", 1)]);
    }
}
