//! An agent's jobs with a real journal and real processes, and a manager that does as the test says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

#[path = "../gate_support/mod.rs"]
pub(crate) mod gate_support;
mod offers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gate_support::open_gate;
pub(crate) use offers::{limited, offer, run, shell};
use redpoll_agent::builtin::install;
use redpoll_agent::gate::Gate;
use redpoll_agent::jobs::{Jobs, JobsOptions, RunLimits};
use redpoll_agent::leftovers::Leftovers;
use redpoll_agent::offered::Offered;
use redpoll_agent::procedures::{self, Procedure};
use redpoll_agent::service::AgentService;
use redpoll_agent::spool::{OpenError, OpenOptions, Spool};
use redpoll_common::identity::Identity;
use redpoll_common::ids::PeerId;
use redpoll_common::job::wire::{
    Ack, Act, Cancel, Offer, OfferAnswer, Report, ReportAnswer, Resume, ResumeAct, ResumeAnswer, RunRef,
    SpoolState, StateAnswer,
};
use redpoll_common::job::{Dno, Ending, Item, ItemKind, Outcome};
use redpoll_common::session::Terms;
use redpoll_common::session::terms::Liveness;
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Bye, ByeCode, Fault, FaultCode, Limits as WireLimits, Notification, Raw};
use redpoll_config::{LimitsConfig, ProceduresConfig};
use redpoll_net::driver::{DriverOptions, drive};
use redpoll_net::service::{Running, Service};
use redpoll_net::transport::PeerInfo;
use redpoll_net::{Call, CallContext, CallError, Peer, Registry, memory};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// Longer than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the manager has of a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) items: Vec<Item>,
    pub(crate) started: bool,
    pub(crate) progress: Option<Progress>,
    /// Every ending that was told, repetitions included.
    pub(crate) endings: Vec<Ending>,
    /// What came with the ends of what nobody may see.
    pub(crate) redact: Vec<String>,
    /// Items that came although it had them.
    pub(crate) repeated: usize,
}

impl Seen {
    pub(crate) fn bytes(&self, kind: ItemKind) -> Vec<u8> {
        let items = self.items.iter().filter(|item| item.kind == kind);
        items.flat_map(|item| item.data.decode::<serde_bytes::ByteBuf>().unwrap().into_vec()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes(ItemKind::Stdout)).unwrap()
    }
}

/// How the manager answers reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    /// It takes everything.
    #[default]
    Good,
    /// It takes items, and acknowledges none and no end.
    Forgetful,
    /// It knows no jobs.
    Ignorant,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) mood: Mood,
    pub(crate) runs: BTreeMap<Dno, Seen>,
    pub(crate) resumes: Vec<Resume>,
    pub(crate) acts: BTreeMap<Dno, Act>,
    pub(crate) asked: usize,
}

/// The manager's side.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    ledger: Mutex<Ledger>,
}

impl Manager {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(crate) fn seen(&self, dno: u64) -> Seen {
        self.ledger().runs.get(&Dno(dno)).cloned().unwrap_or_default()
    }

    pub(crate) fn saw_no_end(&self, dno: u64) -> bool {
        self.ledger().runs.get(&Dno(dno)).is_none_or(|seen| seen.endings.is_empty())
    }

    pub(crate) async fn ending(&self, dno: u64) -> Ending {
        eventually("the run ends", || !self.seen(dno).endings.is_empty()).await;
        self.seen(dno).endings.remove(0)
    }

    fn resume(&self, page: &Resume) -> Result<Raw, Fault> {
        let mut ledger = self.ledger();
        ledger.asked += 1;
        if ledger.mood == Mood::Ignorant {
            return Err(Fault::new(FaultCode::UnknownMethod, "what?"));
        }
        ledger.resumes.push(page.clone());
        let act = |row: &redpoll_common::job::wire::ResumeRow| ResumeAct {
            job: row.run.job,
            attempt: row.run.attempt,
            act: ledger.acts.get(&row.run.dno).copied().unwrap_or_else(|| {
                let have = ledger.runs.get(&row.run.dno).map_or(0, |seen| seen.items.len());
                Act::SendFrom(have.try_into().unwrap())
            }),
        };
        Ok(ResumeAnswer { jobs: page.jobs.iter().map(act).collect(), purge_below_dno: Dno(0) }.write())
    }

    fn report(&self, report: Report) -> Raw {
        let mut ledger = self.ledger();
        let forgets = ledger.mood == Mood::Forgetful;
        let mut acks = Vec::new();
        for part in report.reports {
            let seen = ledger.runs.entry(part.run.dno).or_default();
            seen.started |= part.started_ms_ago.is_some();
            for item in part.items {
                let (have, n) = (seen.items.len(), usize::try_from(item.n).unwrap());
                if let Some(known) = seen.items.get(n) {
                    assert_eq!(*known, item, "an item changed");
                    seen.repeated += 1;
                } else if n == have {
                    seen.items.push(item);
                }
            }
            seen.progress = part.progress.or_else(|| seen.progress.take());
            let have: u64 = seen.items.len().try_into().unwrap();
            let mut done = false;
            if let Some(ending) = part.done.filter(|ending| ending.items <= have) {
                seen.endings.push(ending);
                seen.redact.extend(part.redact);
                done = true;
            }
            let (job, attempt) = (part.run.job, part.run.attempt);
            let next_n = if forgets { 0 } else { have };
            acks.push(Ack { job, attempt, next_n, done: done && !forgets, stop: false });
        }
        ReportAnswer { acks }.write()
    }
}

#[derive(Debug)]
struct ManagerService(Arc<Manager>);

impl Service for ManagerService {
    fn start(&self, call: CallContext) -> Running {
        let answer = match call.method.as_str() {
            "rp.job.resume" => self.0.resume(&Resume::read(&call.kwargs).unwrap()),
            "rp.job.report" => Ok(self.0.report(Report::read(&call.kwargs).unwrap())),
            other => panic!("the agent asks for {other}"),
        };
        Running { answer: Box::pin(std::future::ready(answer)), graceful: true }
    }

    fn notified(&self, _from: &PeerInfo, _notification: Notification) {}
}

/// A machine with a spool; its agent may die and come back.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) manager: Arc<Manager>,
    pub(crate) options: JobsOptions,
    pub(crate) limits: LimitsConfig,
    /// Executables that are offered as well.
    pub(crate) procedures: Vec<Arc<Procedure>>,
    pub(crate) gate: Arc<Gate>,
}

/// One life of an agent.
pub(crate) struct Agent {
    pub(crate) jobs: Jobs,
    pub(crate) service: Arc<AgentService>,
    pub(crate) leftovers: Leftovers,
    pub(crate) tracker: TaskTracker,
    runner: JoinSet<()>,
}

/// One session.
pub(crate) struct Link {
    pub(crate) manager: Peer,
    pub(crate) agent: Peer,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let limits = LimitsConfig::default();
        let options = JobsOptions {
            agent: PeerId::parse("web-1").unwrap(),
            runs: 100,
            window: 256 * 1024,
            unacked: 16 * 1024 * 1024,
            frame_limit: 1024 * 1024,
            answer_timeout: Duration::from_secs(30),
            limits: RunLimits { output: u64::MAX, run_timeout: None, grace: Duration::from_secs(10) },
        };
        Self { folder, manager: Arc::default(), options, limits, procedures: Vec::new(), gate: open_gate() }
    }

    fn registry(&self) -> Registry {
        let own = |name: &str| redpoll_net::ProcedureInfo::new(name, "For tests.", json!({}));
        let registry = Registry::new()
            .with(own("test.panic"), |_call| async { panic!("as asked") })
            .and_then(|registry| {
                registry.with(own("test.values"), |call: CallContext| async move {
                    let (count,): (u64,) = call.args.decode().unwrap();
                    for n in 0..count {
                        call.output.progress(n + 1, Some(count), Raw::nil());
                        call.output.value(Raw::encode(&n).unwrap()).await.unwrap();
                    }
                    Ok(Raw::text("done"))
                })
            })
            .and_then(|registry| {
                registry.with(own("test.restless"), |call: CallContext| async move {
                    loop {
                        call.output.progress(1, None, Raw::nil());
                        tokio::task::yield_now().await;
                    }
                })
            })
            .and_then(|registry| {
                let broken = redpoll_net::ProcedureInfo::new("test.broken", "For tests.", json!({"type": 7}));
                registry.with(broken, |_call| async { Ok(Raw::nil()) })
            })
            .and_then(|registry| {
                registry.with(own("test.large"), |call: CallContext| async move {
                    let (count, text, nils): (u64, usize, usize) = call.args.decode().unwrap();
                    let large = Raw::encode(&json!(["x".repeat(text), vec![(); nils]])).unwrap();
                    for _ in 0..count {
                        call.output.value(large.clone()).await.unwrap();
                    }
                    Ok(large)
                })
            })
            .and_then(|registry| {
                registry.with(own("test.later"), |call: CallContext| async move {
                    let (path, text): (String, usize) = call.args.decode().unwrap();
                    while !std::fs::exists(&path).unwrap() {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    Ok(Raw::text(&"x".repeat(text)))
                })
            })
            .and_then(|registry| {
                registry.with(own("test.wait"), |_call| std::future::pending::<Result<Raw, Fault>>())
            });
        let offered = ProceduresConfig {
            builtin: vec!["sys.*".into(), "exec.run".into()],
            ..ProceduresConfig::default()
        };
        let registry = self.procedures.iter().try_fold(registry.unwrap(), procedures::add);
        install(registry.unwrap(), &offered, &self.limits).unwrap()
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    pub(crate) async fn agent(&self) -> Agent {
        self.agent_with(OpenOptions::default()).await
    }

    /// Begins a life, as soon as the one before is over.
    pub(crate) async fn agent_with(&self, open: OpenOptions) -> Agent {
        let opened = loop {
            match Spool::open(&self.spool(), open, |_failed| {}) {
                Err(OpenError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                opened => break opened.unwrap(),
            }
        };
        let registry = Arc::new(Offered::fixed(self.registry(), self.gate.clone()));
        let options = self.options.clone();
        let left = Leftovers::open(options.agent.clone(), options.limits.grace, self.folder.path()).unwrap();
        let (jobs, run) = Jobs::new(opened, options, registry.clone(), left.clone()).unwrap();
        let service = Arc::new(AgentService::new(registry, jobs.clone(), 8, None));
        let (tracker, mut runner) = (TaskTracker::new(), JoinSet::new());
        runner.spawn(run.run(tracker.clone()));
        Agent { jobs, service, leftovers: left, tracker, runner }
    }

    /// Begins a session.
    pub(crate) fn connect(&self, agent: &Agent) -> Link {
        self.connect_with(agent, terms(1024 * 1024))
    }

    pub(crate) fn connect_with(&self, agent: &Agent, terms: Terms) -> Link {
        let (one, other) = memory::pair(agent_info(), manager_info());
        let service = Arc::new(ManagerService(self.manager.clone()));
        let (options, tracker) = (DriverOptions::default(), &agent.tracker);
        let (manager, driver) = drive(other, terms.clone(), service, options, tracker.clone());
        tracker.spawn(driver);
        let (peer, driver) = drive(one, terms, agent.service.clone(), options, tracker.clone());
        tracker.spawn(driver);
        agent.jobs.connected(&peer);
        Link { manager, agent: peer }
    }
}

impl Agent {
    /// As `kill -9`: what runs is left to itself.
    pub(crate) async fn die(mut self) {
        self.runner.shutdown().await;
    }

    /// Waits until the runner has stopped by itself.
    pub(crate) async fn stopped(&mut self) {
        tokio::time::timeout(PATIENCE, self.runner.join_next()).await.unwrap();
    }
}

impl Link {
    pub(crate) async fn offer(&self, offer: &Offer) -> Result<OfferAnswer, Fault> {
        let answer = self.ask("rp.job.offer", offer.write()).await?;
        Ok(OfferAnswer::read(&answer).unwrap())
    }

    pub(crate) async fn cancel(&self, run: RunRef, grace_ms: Option<u64>) -> SpoolState {
        let answer = self.ask("rp.job.cancel", Cancel { run, grace_ms }.write()).await.unwrap();
        StateAnswer::read(&answer).unwrap().state
    }

    pub(crate) async fn ask(&self, method: &str, kwargs: Raw) -> Result<Raw, Fault> {
        match self.manager.call(Call::new(method, PATIENCE).with_kwargs(kwargs)).await {
            Ok(answer) => Ok(answer),
            Err(CallError::Fault(fault)) => Err(fault),
            Err(error) => panic!("{method}: {error}"),
        }
    }

    /// Ends the session.
    pub(crate) async fn cut(self) {
        self.manager.close(Bye::new(ByeCode::ShuttingDown, "cut"));
        self.agent.closed().await;
    }
}

pub(crate) fn terms(frame: u64) -> Terms {
    Terms {
        protocol: 1,
        limits: WireLimits { frame, ..WireLimits::default() },
        liveness: Liveness { ping: None, dead: None },
        peer_version: "test".into(),
        peer_caps: Vec::new(),
    }
}

pub(crate) fn agent_info() -> PeerInfo {
    memory::peer(Identity::parse("spiffe://home/agent/web-1").unwrap())
}

pub(crate) fn manager_info() -> PeerInfo {
    memory::peer(Identity::parse("spiffe://home/manager/m-1").unwrap())
}

pub(crate) fn code(ending: &Ending) -> Option<FaultCode> {
    ending.fault.as_ref().map(|fault| fault.code.clone())
}

pub(crate) fn ended(ending: &Ending) -> (Outcome, Option<bool>, Option<FaultCode>) {
    (ending.outcome, ending.started, code(ending))
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let held = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(held.await.is_ok(), "never happened: {what}");
}
