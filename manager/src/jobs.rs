//! The engine of jobs as a configuration wants it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redpoll_config::daemon::Failure;
use redpoll_config::{ExitClass, ManagerConfig};
use redpoll_manager_core::jobs::Settings;
use redpoll_net::dial::chain;
use tokio::task::spawn_blocking;
use tracing::info;

use crate::callbacks::{Deliverer, DelivererError};
use crate::engine::{Engine, EngineOptions, Running};
use crate::state::Manager;
use crate::store::sqlite::look;
use crate::store::{OpenError, Options, Sqlite, Store};

/// How long the lock of the store may outlive a manager that was killed: what it was just starting has a copy of it, until
/// it has become the program that it shall be.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How often to look whether it is free.
const LOCK_LOOK: Duration = Duration::from_millis(10);
/// What the roster says of agents that have not come yet since the manager's start.
const NOT_YET: &str = "it has not come since the manager started";

/// Opens the store, recovers what is in it, and starts the engine. The roster learns of the agents that the store knows.
///
/// # Errors
/// A [`Failure`] with the exit code: permissions, or a store that cannot be used.
pub async fn start_engine(manager: &Arc<Manager>) -> Result<(Engine, Running), Failure> {
    let config = &manager.config;
    let store = open(config).await?;
    let (of, kept) = (manager.clone(), store.clone());
    let deliverer = spawn_blocking(move || {
        Deliverer::new(&of.config.jobs.callbacks, of.identity.cluster.as_str(), kept).map_err(undelivered)
    });
    let deliverer = deliverer.await.map_err(|panic| {
        Failure::new(ExitClass::Internal, "callbacks cannot be delivered").caused_by(panic)
    })??;
    let callbacks = Arc::new(deliverer.with_procedures(manager.procedures.clone()));
    let options = EngineOptions { settings: settings(config), offer_timeout: config.jobs.offer_timeout };
    let started = Engine::start(store, manager.clone(), callbacks, options).await;
    let (engine, running, known) = started.map_err(|error| {
        Failure::new(ExitClass::Internal, "the store of jobs cannot be read").caused_by(error)
    })?;
    info!(agents = known.len(), folder = %config.store_folder().display(), "jobs are recovered");
    let now = redpoll_net::clock::awake_or_not();
    for agent in known {
        manager.with_roster(|roster| roster.remember(agent, NOT_YET, now));
    }
    Ok((engine, running))
}

/// Looks at what [`start_engine`] would refuse, and opens nothing.
///
/// # Errors
/// The [`Failure`] of the start.
pub fn check_engine(config: &ManagerConfig) -> Result<(), Failure> {
    look(config.store_folder()).map_err(unusable)?;
    Deliverer::check(&config.jobs.callbacks).map_err(undelivered)
}

fn unusable(error: OpenError) -> Failure {
    Failure::new(error.exit_class(), format!("the store of jobs cannot be used: {}", chain(&error)))
}

fn undelivered(error: DelivererError) -> Failure {
    Failure::new(error.exit_class(), format!("callbacks cannot be delivered: {}", chain(&error)))
}

async fn open(config: &ManagerConfig) -> Result<Arc<dyn Store>, Failure> {
    let folder = config.store_folder().to_owned();
    let store = &config.store;
    let options = Options {
        reserve_bytes: store.reserve,
        max_bytes: store.max_size(),
        full_patience: store.full_patience,
        ..Options::default()
    };
    // reads and writes files
    let opened = spawn_blocking(move || unlocked(&folder, &options)).await;
    let opened = opened.map_err(|panic| {
        Failure::new(ExitClass::Internal, "the store of jobs cannot be opened").caused_by(panic)
    })?;
    let store = opened.map_err(unusable)?;
    Ok(Arc::new(store))
}

/// Opens the store once it is free.
fn unlocked(folder: &Path, options: &Options) -> Result<Sqlite, OpenError> {
    let deadline = Instant::now() + LOCK_WAIT;
    let mut told = false;
    loop {
        match Sqlite::open(folder, options.clone()) {
            Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                if !std::mem::replace(&mut told, true) {
                    info!(within = ?LOCK_WAIT, "the store of jobs is locked; waiting");
                }
                std::thread::sleep(LOCK_LOOK);
            }
            opened => return opened,
        }
    }
}

/// The numbers behind the machine's rules.
pub fn settings(config: &ManagerConfig) -> Settings {
    let jobs = &config.jobs;
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // a session lets through a number of requests; some have to be left for calls
    let in_flight = config.session.in_flight.saturating_sub(1).max(1);
    Settings {
        offers_per_agent: jobs.offers_per_agent.min(in_flight),
        runs_per_agent: jobs.runs_per_agent,
        open_runs: jobs.open_runs,
        open_bytes: jobs.open_size,
        open_runs_of_agent: config.agents.open_runs,
        open_bytes_of_agent: config.agents.open_size,
        unknown_after_ms: jobs.unknown_after().map(ms),
        retry_first_ms: ms(jobs.retry_first),
        retry_max_ms: ms(jobs.retry_max),
        callbacks_at_once: jobs.callbacks.at_once,
        callback_tries: jobs.callbacks.tries,
        callback_first_ms: ms(jobs.callbacks.first),
        callback_max_ms: ms(jobs.callbacks.max),
        keep_ms: jobs.keep().map(ms),
        keep_jobs: jobs.keep_jobs,
        keep_of_agents: jobs.keep_of_agents,
        keep_per_agent: jobs.keep_per_agent,
        prune_every_ms: ms(jobs.prune_every),
        keep_events: jobs.keep_events,
        ..Settings::default()
    }
}
