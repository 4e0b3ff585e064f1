//! A manager from its start to its end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::identity::{Identity, Role};
use redpoll_config::daemon::logging::LogControl;
use redpoll_config::daemon::{Failure, credentials, reload, write_whole};
use redpoll_config::{
    Effective, ExitClass, Loaded, ManagerConfig, ManagerProceduresConfig, RunGroups, Sources,
    check_state_dir, look_at_state_dir,
};
use redpoll_exec::exec::cgroup::Hierarchy;
use redpoll_exec::exec::open_files;
use redpoll_exec::gate::Gate;
use redpoll_net::expiry;
use redpoll_net::shutdown::{Asked, Signals};
use redpoll_net::socket::SocketOptions;
use redpoll_net::tls::{ListenOptions, TlsListener, TlsServer};
use redpoll_schema::policy::Whose;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::engine::{Engine, Running};
use crate::gate::accept_loop;
use crate::housekeeping::housekeeping;
use crate::jobs::{check_engine, start_engine};
use crate::methods;
use crate::patience::Patience;
use crate::procedures::Offering;
use crate::sessions::Sessions;
use crate::state::Manager;

/// How long each step of the end has after the requests: goodbyes, records, procedures, the store.
const FAREWELL: Duration = Duration::from_secs(5);
/// Where the addresses are written that were really bound, in the state folder.
pub const LISTEN_FILE: &str = "listen.json";

/// A running manager.
#[derive(Debug)]
pub struct App {
    sessions: Arc<Sessions>,
    engine: Engine,
    jobs: Running,
    server: Arc<TlsServer>,
    listeners: TaskTracker,
    stop: CancellationToken,
    /// Cancelled when a listener broke.
    deaf: CancellationToken,
    addresses: Vec<SocketAddr>,
    effective: Vec<Effective>,
}

impl App {
    /// Checks the files, binds the addresses and begins to accept; needs a runtime around it.
    ///
    /// # Errors
    /// A [`Failure`] with the exit code: configuration, permissions, or an address that cannot be bound.
    pub async fn start(loaded: Loaded<ManagerConfig>) -> Result<Self, Failure> {
        let Loaded { config, effective, .. } = loaded;
        open_files::raise();
        // reads files: signals are heard meanwhile
        let begun = spawn_blocking(move || begin(config)).await;
        let (server, manager) =
            begun.map_err(|panic| Failure::new(ExitClass::Internal, "start").caused_by(panic))??;
        let (engine, jobs) = start_engine(&manager).await?;
        let registry = methods::registry(&manager, &engine)
            .map_err(|error| Failure::new(ExitClass::Internal, "methods").caused_by(error))?;
        let sessions = Sessions::new(manager.clone(), Arc::new(registry), engine.clone());
        let mut app = Self {
            sessions,
            engine,
            jobs,
            server,
            listeners: TaskTracker::new(),
            stop: CancellationToken::new(),
            deaf: CancellationToken::new(),
            addresses: Vec::new(),
            effective,
        };
        app.listen()?;
        info!(
            manager = %manager.identity, version = env!("CARGO_PKG_VERSION"),
            addresses = ?app.addresses, "the manager is ready"
        );
        Ok(app)
    }

    /// Looks at what [`App::start`] would refuse, as far as that is told without writing, locking or binding anything: for
    /// `--check-config`.
    ///
    /// # Errors
    /// The [`Failure`] of the start.
    pub fn check(loaded: &Loaded<ManagerConfig>) -> Result<(), Failure> {
        let config = &loaded.config;
        look_at_state_dir(&config.manager.state_dir)?;
        server(config)?;
        rules(&config.procedures)?;
        check_engine(config)
    }

    fn listen(&mut self) -> Result<(), Failure> {
        let manager = self.sessions.manager.clone();
        let config = &manager.config;
        let options = ListenOptions {
            handshake: config.admission.tls_timeout,
            backlog: i32::try_from(config.listen.backlog).unwrap_or(i32::MAX),
            socket: SocketOptions { dead_after: config.session.dead_after },
        };
        let mut bound = Vec::new();
        for address in &config.listen.address {
            let listener = TlsListener::bind(*address, self.server.clone(), options).map_err(|error| {
                Failure::new(ExitClass::Unreachable, format!("cannot listen on {address}"))
                    .caused_by(error)
                    .help("is another program listening there, and may this user use the port?")
            })?;
            self.addresses.push(listener.local_addr());
            bound.push(listener);
        }
        let list = serde_json::json!({ "addresses": self.addresses, "pid": std::process::id() });
        let path = config.manager.state_dir.join(LISTEN_FILE);
        match write_whole(&path, &format!("{list}\n")) {
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                // jobs wait for room, and those who read the file know how to do without; what is in it from before is wrong
                let _old = std::fs::remove_file(&path);
                warn!(path = %path.display(), "the disk is full: the addresses are in the log alone");
            }
            written => written.map_err(|error| {
                Failure::new(ExitClass::Permissions, format!("cannot write {}", path.display()))
                    .caused_by(error)
            })?,
        }
        for listener in bound {
            let accepting = accept_loop(Box::new(listener), self.sessions.clone(), self.stop.clone());
            let deaf = self.deaf.clone();
            self.listeners.spawn(async move {
                if accepting.await.is_err() {
                    deaf.cancel();
                }
            });
        }
        self.listeners.spawn(housekeeping(manager.clone(), self.server.clone(), self.stop.clone()));
        Ok(())
    }

    /// Serves until a signal ends it, then drains.
    ///
    /// # Errors
    /// A [`Failure`] when a listener broke: nobody could come in any more, so it drains and ends as well.
    pub async fn run(self, mut signals: Signals, sources: &Sources, log: &LogControl) -> Result<(), Failure> {
        let deaf = self.deaf.clone();
        loop {
            // signals first: an order to stop is no failure
            let asked = tokio::select! {
                biased;
                asked = signals.next() => asked,
                () = deaf.cancelled() => Asked::Drain,
            };
            match asked {
                Asked::Reload => {
                    let reloading = self.reload(sources.clone(), log.clone());
                    // it may hang, on a dead network file system say; another one that is asked for comes after it
                    let go_on = tokio::select! {
                        biased;
                        () = signals.drain() => false,
                        () = deaf.cancelled() => false,
                        () = reloading => true,
                    };
                    if !go_on {
                        break;
                    }
                }
                Asked::Drain => break,
            }
        }
        self.drain(signals.ended()).await;
        if deaf.is_cancelled() {
            return Err(Failure::new(ExitClass::Internal, "a listener broke; the log says why"));
        }
        Ok(())
    }

    /// Reads anew what a reload takes, which blocks, beside everything else. What is wrong is in the log.
    async fn reload(&self, sources: Sources, log: LogControl) {
        let (server, effective) = (self.server.clone(), self.effective.clone());
        let manager = self.sessions.manager.clone();
        let reloaded = spawn_blocking(move || {
            let own = server.own_identity();
            let take = |credentials| server.reload(credentials);
            if let Some(config) = reload::<ManagerConfig, _>(&sources, &effective, &log, &own, take) {
                manager.set_roles(&config.access);
            }
            expiry::warn_if_soon("this manager", server.own_not_after());
            drop(manager.procedures.reload());
        });
        if reloaded.await.is_err() {
            warn!("not everything was reloaded");
        }
    }

    /// Stops: nobody is let in any more, running requests may finish until `drain_timeout` or `hurry`, then everybody
    /// is told goodbye with a hint that spreads their return. `hurry` cuts short what follows, too.
    async fn drain(self, hurry: impl Future<Output = ()>) {
        let manager = self.sessions.manager.clone();
        manager.start_draining();
        self.stop.cancel();
        self.listeners.close();
        self.listeners.wait().await;
        let requests = &self.sessions.requests;
        requests.close();
        let within = manager.config.manager.drain_timeout;
        info!(requests = requests.len(), ?within, "stopping");
        let mut patience = Patience::until(hurry);
        let served = async {
            requests.wait().await;
            manager.orders.ended().await;
        };
        if patience.first(within, served).await.is_none() {
            warn!(requests = requests.len(), "stopping although requests are running");
        }
        self.say_goodbye(&mut patience).await;
        // what the last sessions told is recorded before the end
        let Self { engine, jobs, .. } = self;
        if patience.step(FAREWELL, jobs.callbacks()).await.is_none() {
            let callbacks = jobs.callbacks_under_way();
            info!(callbacks, "stopped while callbacks were being told; the next start tells them again");
        }
        if patience.step(FAREWELL, jobs.stop()).await.is_none() {
            warn!("stopped before all that came was recorded; those who told it tell it again");
        }
        if patience.step(FAREWELL, manager.procedures.close()).await.is_none() {
            let workers = manager.procedures.workers();
            warn!(workers, "stopped while workers of procedures still ran; they are killed");
        }
        // whoever waits for room on its disk may wait for minutes; to leave it is what a crash is, which it survives
        if patience.step(FAREWELL, engine.store().close()).await.is_none() {
            warn!("stopped before the store was closed; the next start goes on with what is on disk");
        }
        let path = manager.config.manager.state_dir.join(LISTEN_FILE);
        let _gone = std::fs::remove_file(path);
    }

    async fn say_goodbye(&self, patience: &mut Patience<impl Future<Output = ()>>) {
        let peers = self.sessions.peers();
        for peer in &peers {
            peer.close(self.sessions.manager.stopping_bye(peers.len()));
        }
        // whoever is not in by now need not be waited for
        self.sessions.give_up_handshakes.cancel();
        self.sessions.tracker.close();
        match patience.step(FAREWELL, self.sessions.tracker.wait()).await {
            Some(()) => info!(sessions = peers.len(), "stopped"),
            None => warn!(left = self.sessions.tracker.len(), "stopped with sessions still open"),
        }
    }
}

/// The manager as its files say. Blocks.
fn begin(config: ManagerConfig) -> Result<(Arc<TlsServer>, Arc<Manager>), Failure> {
    check_state_dir(&config.manager.state_dir)?;
    let (server, identity) = server(&config)?;
    let procedures = Offering::new(identity.clone(), &config.procedures, control_groups())
        .judged_by(rules(&config.procedures)?);
    let manager = Manager::offering(identity, config, procedures);
    // what is wrong with them is in the log
    drop(manager.procedures.reload());
    Ok((Arc::new(server), Arc::new(manager)))
}

/// Who the manager is, by its certificate, and how it shows that.
fn server(config: &ManagerConfig) -> Result<(TlsServer, Identity), Failure> {
    let credentials = credentials(&config.tls, Role::Manager)?;
    let identity = credentials.info.identity.clone();
    if let Some(expected) = &config.manager.id
        && *expected != identity.id
    {
        let text = format!("manager.id is {expected}, the certificate says {}", identity.id);
        return Err(Failure::new(ExitClass::Configuration, text)
            .help("name the manager as its certificate does, or leave manager.id out"));
    }
    let server = TlsServer::new(credentials).map_err(|error| {
        Failure::new(ExitClass::Configuration, "the manager's certificate cannot be used").caused_by(error)
    })?;
    Ok((server, identity))
}

/// Reads the rules about calls of its procedures. Without rules that can be read whole, nothing is offered: one that is left out could
/// be the one that denies.
fn rules(config: &ManagerProceduresConfig) -> Result<Gate, Failure> {
    Gate::open(&config.rules(), Whose::Manager).map_err(|problems| {
        let access = problems.iter().any(|problem| problem.access);
        let class = if access { ExitClass::Permissions } else { ExitClass::Configuration };
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let text = format!("the policy of the manager's procedures cannot be used\n{}", lines.join("\n"));
        Failure::new(class, text).help("correct the file, or name another with procedures.policy")
    })
}

/// The manager's own part of the control groups, if it has one. It adopts no orphans, so nothing else finds those that got away.
fn control_groups() -> Option<Arc<Hierarchy>> {
    match Hierarchy::take(RunGroups::All) {
        Ok(hierarchy) => Some(Arc::new(hierarchy)),
        Err(why) => {
            debug!(why, "no control groups: limits of procedures are kept for each process by itself");
            None
        }
    }
}
