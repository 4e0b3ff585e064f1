//! An agent from its start to its end. `stop`: how it ends.

mod stop;

use std::path::PathBuf;
use std::sync::Arc;

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::PeerId;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::wire::FaultCode;
use redpoll_config::daemon::logging::LogControl;
use redpoll_config::daemon::{Failure, credentials, reload};
use redpoll_config::{
    AgentConfig, Effective, ExitClass, Loaded, Sources, check_state_dir, look_at_state_dir,
};
use redpoll_net::dial::{DialOptions, keep_connected};
use redpoll_net::driver::DriverOptions;
use redpoll_net::random;
use redpoll_net::shutdown::{Asked, Signals};
use redpoll_net::socket::SocketOptions;
use redpoll_net::tls::{self, TlsClient, TlsTransport};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::builtin::{self, file::Protected};
use crate::exec::{adopted, open_files};
use crate::footprint;
use crate::jobs::{Jobs, JobsOptions, Runner};
use crate::leftovers::Leftovers;
use crate::link::AgentLink;
use crate::offer::{check_offer, offer};
use crate::offered::Offered;
use crate::recurring::{self, Own, open_schedules};
use crate::renewal;
use crate::schedule::{self, Driver, Entry, Recurring};
use crate::service::AgentService;
use crate::spool::{OpenError, OpenOptions, Opened, Spool, SpoolError};

/// An agent that is ready to dial.
#[derive(Debug)]
pub struct App {
    serving: Serving,
    runner: Runner,
    driver: Driver,
    tracker: TaskTracker,
    /// What of the agent's own program runs by itself.
    schedules: Vec<Entry>,
}

impl App {
    /// Checks the files and prepares everything; nothing is dialled yet. `own` may hold procedures of one's own;
    /// the built-in ones that the configuration names are added.
    ///
    /// # Errors
    /// A [`Failure`] with the exit code: configuration or permissions.
    pub fn new(loaded: Loaded<AgentConfig>, own: impl Into<Own>) -> Result<Self, Failure> {
        let Own { registry, manager, schedules } = own.into();
        let Loaded { config, file, effective } = loaded;
        open_files::raise();
        check_state_dir(&config.agent.state_dir)?;
        let secret = config.manager.credentials()?;
        let (client, identity) = client(&config)?;
        let client = Arc::new(client);
        let transport = Arc::new(transport(&config, &client));
        // another agent with this state folder works with what is noted in it, and what is moved or removed below would be its own
        let spool = open_spool(&config)?;
        let own = Protected::of(&config, file.as_deref());
        let ways = (config.agent.state_dir.as_path(), Some(transport.clone()));
        let registry = builtin::file::install(registry, &config.procedures, &config.files, own, ways)
            .map_err(|error| {
                Failure::new(ExitClass::Configuration, "the procedures file.* cannot be offered")
                    .caused_by(error)
            })?;
        let tracker = TaskTracker::new();
        let stop_workers = CancellationToken::new();
        let leftovers = open_leftovers(&config, identity.id.clone())?;
        let offered = offer(&config, registry, &leftovers, &manager, (&tracker, &stop_workers))?;
        let (jobs, runner) = open_jobs(spool, &config, offered.clone(), leftovers.clone())?;
        let run_timeout = Some(config.limits.run_timeout).filter(|limit| !limit.is_zero());
        let service =
            Arc::new(AgentService::new(offered.clone(), jobs.clone(), config.limits.calls, run_timeout));
        let (recurring, driver) = open_schedules(&config, &identity, &service, offered.clone(), &manager)?;
        let held = (offered.clone(), manager);
        let link = AgentLink::new(client.clone(), secret, &config.session, jobs.clone(), held);
        info!(agent = %identity, version = env!("CARGO_PKG_VERSION"), "the agent is ready");
        let serving = Serving {
            config,
            effective,
            client,
            transport,
            link,
            service,
            jobs,
            offered,
            stop_workers,
            recurring,
            leftovers,
        };
        Ok(Self { serving, runner, driver, tracker, schedules })
    }

    /// Looks at what [`App::new`] would refuse, as far as that is told without writing, locking or running anything: for
    /// `--check-config`.
    ///
    /// # Errors
    /// The [`Failure`] of the start.
    pub fn check(loaded: &Loaded<AgentConfig>) -> Result<(), Failure> {
        let config = &loaded.config;
        look_at_state_dir(&config.agent.state_dir)?;
        config.manager.credentials()?;
        client(config)?;
        check_offer(config)?;
        Spool::look(&spool_folder(config)).map_err(unusable)
    }

    /// Keeps connected and serves until a signal ends it, then drains.
    pub async fn run(self, signals: Signals, sources: &Sources, log: &LogControl) {
        let Self { serving, runner, driver, tracker, schedules } = self;
        tracker.spawn(runner.run(tracker.clone()));
        let bury = serving.stop_workers.clone().run_until_cancelled_owned(adopted::bury());
        tracker.spawn(bury);
        let watch = serving.leftovers.clone().watch();
        tracker.spawn(serving.stop_workers.clone().run_until_cancelled_owned(watch));
        let end = serving.leftovers.clone().end_workers();
        tracker.spawn(serving.stop_workers.clone().run_until_cancelled_owned(end));
        let follow = recurring::follow(serving.offered.schedules(), schedules, serving.recurring.clone());
        tracker.spawn(serving.stop_workers.clone().run_until_cancelled_owned(follow));
        schedule::spawn(driver, &tracker);
        let announce = serving.offered.announce(serving.link.sessions());
        tracker.spawn(serving.stop_workers.clone().run_until_cancelled_owned(announce));
        let settle = footprint::settle(serving.link.sessions());
        tracker.spawn(serving.stop_workers.clone().run_until_cancelled_owned(settle));
        serving.serve(signals, sources, log, &tracker).await;
    }
}

/// Waits until a reload is over, and forgets it; when there is none, for ever. Cancel-safe.
async fn over(reloading: &mut Option<JoinHandle<()>>) {
    let Some(task) = reloading else { return std::future::pending().await };
    // an error means that it has panicked, which is over as well
    let _ended = task.await;
    *reloading = None;
}

/// An agent whose spool is served.
#[derive(Debug)]
struct Serving {
    config: AgentConfig,
    effective: Vec<Effective>,
    client: Arc<TlsClient>,
    transport: Arc<TlsTransport>,
    link: AgentLink,
    service: Arc<AgentService>,
    jobs: Jobs,
    offered: Arc<Offered>,
    /// Ends workers without work, and what else would go on for ever.
    stop_workers: CancellationToken,
    recurring: Recurring,
    leftovers: Leftovers,
}

impl Serving {
    async fn serve(&self, mut signals: Signals, sources: &Sources, log: &LogControl, tracker: &TaskTracker) {
        let stop = CancellationToken::new();
        let options = self.dial_options();
        let dialling = keep_connected(
            &*self.transport,
            &self.link,
            self.service.clone(),
            options,
            tracker,
            stop.clone(),
        );
        let reloaded = Arc::new(Notify::new());
        let until_told = async {
            let (mut reloading, mut again) = (None, false);
            loop {
                tokio::select! {
                    biased; // a stop comes before what there is to read
                    asked = signals.next() => match asked {
                        Asked::Reload => again = true,
                        Asked::Drain => break,
                    },
                    () = over(&mut reloading) => {}
                }
                // one at a time: on a disk that hangs, reloads must not pile up
                if again && reloading.is_none() {
                    again = false;
                    let reload = self.reloading(sources.clone(), log.clone(), reloaded.clone());
                    reloading = Some(tracker.spawn(reload));
                }
            }
            stop.cancel();
        };
        let renewal = stop.run_until_cancelled(renewal::follow(&self.link, &reloaded));
        let ((), (), _stopped) = tokio::join!(dialling, until_told, renewal);
        self.drain(tracker, signals.ended()).await;
    }

    /// Reads again what a reload does, on threads for such. Nothing that runs is touched: the next session uses the certificates, and `renewal`
    /// sees that there is one in time.
    fn reloading(
        &self,
        sources: Sources,
        log: LogControl,
        reloaded: Arc<Notify>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (client, offered, effective) =
            (self.client.clone(), self.offered.clone(), self.effective.clone());
        let reload = async move {
            let read = tokio::task::spawn_blocking(move || {
                let own = client.own_identity();
                let take = |credentials| client.reload(credentials);
                reload::<AgentConfig, _>(&sources, &effective, &log, &own, take);
            });
            // an error means that it panicked, or that the runtime is going down
            if read.await.is_ok() {
                reloaded.notify_one();
            }
            // a policy may be stricter now: what hangs before it keeps it waiting, and not away. What became of it is in the log
            let mut said = false;
            while let Err(fault) = offered.reload_in_turn().await {
                if !std::mem::replace(&mut said, true) {
                    error!(%fault, "the policy and the procedures are not read yet");
                }
                if fault.code != FaultCode::Overloaded {
                    return;
                }
            }
        };
        let reload = self.stop_workers.clone().run_until_cancelled_owned(reload);
        async move {
            let _stopped = reload.await;
        }
    }

    fn dial_options(&self) -> DialOptions {
        let (manager, session) = (&self.config.manager, &self.config.session);
        DialOptions {
            hello_timeout: manager.hello_timeout,
            liveness: Some(session.liveness()),
            driver: DriverOptions {
                write_timeout: session.write_timeout,
                queue_limit: usize::try_from(session.queue_limit).unwrap_or(usize::MAX),
                seed: random::number(),
                refuse_stale: true,
            },
            backoff: BackoffOptions {
                initial: manager.backoff_initial,
                max: manager.backoff_max,
                stable_after: manager.stable_after,
            },
        }
    }
}

/// Who the agent is, by its certificate, and how it shows that.
fn client(config: &AgentConfig) -> Result<(TlsClient, Identity), Failure> {
    let credentials = credentials(&config.tls, Role::Agent)?;
    let identity = credentials.info.identity.clone();
    if let Some(expected) = &config.agent.id
        && *expected != identity.id
    {
        let text = format!("agent.id is {expected}, the certificate says {}", identity.id);
        return Err(Failure::new(ExitClass::Configuration, text)
            .help("name the agent as its certificate does, or leave agent.id out"));
    }
    let client = TlsClient::new(credentials).map_err(|error| {
        Failure::new(ExitClass::Configuration, "the agent's certificate cannot be used").caused_by(error)
    })?;
    Ok((client, identity))
}

/// What is remembered of runs that have left something.
fn open_leftovers(config: &AgentConfig, agent: PeerId) -> Result<Leftovers, Failure> {
    Leftovers::open(agent, config.limits.grace, &config.agent.state_dir).map_err(|error| {
        Failure::new(ExitClass::Internal, "what was left of runs cannot be read").caused_by(error)
    })
}

/// Opens the spool, or begins one, and keeps every other agent from the state folder.
fn open_spool(config: &AgentConfig) -> Result<Opened, Failure> {
    Spool::open(&spool_folder(config), OpenOptions::default(), last_word).map_err(unusable)
}

fn spool_folder(config: &AgentConfig) -> PathBuf {
    config.agent.state_dir.join("spool")
}

fn open_jobs(
    spool: Opened,
    config: &AgentConfig,
    offered: Arc<Offered>,
    leftovers: Leftovers,
) -> Result<(Jobs, Runner), Failure> {
    let options = JobsOptions::new(leftovers.agent().clone(), config);
    Jobs::new(spool, options, offered, leftovers)
        .map_err(|source| unusable(OpenError::Image { path: spool_folder(config), source }))
}

fn unusable(error: OpenError) -> Failure {
    let class = match &error {
        OpenError::Loose { .. } => ExitClass::Permissions,
        OpenError::Io { .. }
        | OpenError::Locked { .. }
        | OpenError::Corrupt { .. }
        | OpenError::Missing { .. }
        | OpenError::Record { .. }
        | OpenError::Image { .. } => ExitClass::Internal,
    };
    let help = error.help();
    Failure::new(class, "the spool of jobs cannot be used").caused_by(error).help(help)
}

/// What is on disk is not known any more: nothing that this process says from here on would be worth anything.
fn last_word(error: &SpoolError) {
    error!(
        %error,
        help = "look at the disk of the agent's state folder, then start the agent again",
        "the spool of jobs failed, and the agent aborts; what ran becomes unknown, nothing is run a second time"
    );
    std::process::abort();
}

fn transport(config: &AgentConfig, client: &Arc<TlsClient>) -> TlsTransport {
    let within = config.manager.dial_timeout;
    let addresses = config.manager.addresses.iter().map(|address| Arc::from(address.to_string())).collect();
    // enough for each of them: managers that swallow packets must not hide those after them in the list;
    // `manager.dial_timeout` documents the factor
    let managers = u32::try_from(config.manager.addresses.len()).unwrap_or(u32::MAX);
    let options = tls::DialOptions {
        resolve: within,
        connect: within,
        handshake: within,
        total: within.saturating_mul(4).saturating_mul(managers),
        socket: SocketOptions { dead_after: config.session.dead_after },
    };
    TlsTransport::new(addresses, client.clone(), options)
}
