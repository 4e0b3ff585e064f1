//! `file.*`: the files beneath configured folders, and nothing else.
//!
//! - `path`, `order`, `names`: rules that look at no disk. `open`: from a path to a descriptor.
//! - `look` (`file.stat`, `file.list`), `read` (`file.read`, `file.hash`), `write` (`file.write`; `at_once`: in one call), `remove`.
//! - `stream`: a file over a connection of its own.
//! - `upload`: one file on its way here; `uploads`: all of them; `sweep`: what is left of those that nobody ends; `placed`: those that are
//!   in their place, and nobody was told.
//!
//! All that touches a disk runs on threads of its own, a bounded number of them, and never on the agent's one thread.

mod arguments;
mod at_once;
mod error;
mod info;
mod look;
mod names;
mod open;
mod order;
mod path;
mod placed;
mod read;
mod remove;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
mod upload;
mod uploads;
mod write;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redpoll_config::{AgentConfig, FilesConfig, ProceduresConfig};
use redpoll_net::registry::Duplicate;
use redpoll_net::tls::TlsTransport;
use redpoll_net::{ProcedureInfo, Registry};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use error::FileError;
pub use open::Protected;
use path::{Need, Roots};
use stream::Streams;
use uploads::Uploads;

/// Threads that work on disks at a time; who comes later waits. A disk that hangs holds so many and no more.
const THREADS: usize = 8;

impl Protected {
    /// What is an agent's own: its state, its keys, its configuration and what lies beside that.
    pub fn of(config: &AgentConfig, file: Option<&Path>) -> Self {
        let tls = &config.tls;
        let named = [
            &config.agent.state_dir,
            &config.procedures.dir,
            &config.policy.file,
            &tls.cert,
            &tls.key,
            &tls.ca,
        ]
        .map(Clone::clone);
        let beside = file
            .and_then(Path::parent)
            .map(|folder| ["procedures.d", "policy.toml"].map(|name| folder.join(name)));
        let rest = config.manager.credentials_file.clone().into_iter().chain(file.map(Path::to_owned));
        Self::new(named.into_iter().chain(rest).chain(beside.into_iter().flatten()))
    }
}

/// Adds what is configured of `file.*`: a procedure is offered when it is named and there is a folder for it.
///
/// `state` is the agent's state folder, where unfinished uploads are noted; `transport` the way to its manager, over which files may
/// have connections of their own. What the agent before left is removed by a thread of the runtime, in which this has to be called.
///
/// # Errors
/// [`Duplicate`] when the registry has one of the names.
pub fn install(
    registry: Registry,
    offered: &ProceduresConfig,
    config: &FilesConfig,
    protected: Protected,
    (state, transport): (&Path, Option<Arc<TlsTransport>>),
) -> Result<Registry, Duplicate> {
    let streams =
        transport.filter(|_| config.streams > 0).map(|way| Arc::new(Streams::new(way, config.streams)));
    let files = Files {
        roots: Arc::new(Roots::new(&config.read, &config.write)),
        protected: Arc::new(protected),
        uploads: Arc::new(Uploads::new(state, config)),
        places: Arc::new(Semaphore::new(THREADS)),
        streams,
    };
    let offers = |name: &str, need| offered.offers(name) && files.roots.allow(need);
    let mut registry = registry;
    if offers("file.hash", Need::Read) {
        let files = files.clone();
        registry = registry.with(info::hash(), move |call| read::hash(files.clone(), call))?;
    }
    if offers("file.list", Need::Read) {
        let files = files.clone();
        registry = registry.with(info::list(), move |call| look::list(files.clone(), call))?;
    }
    if offers("file.read", Need::Read) {
        let files = files.clone();
        registry = registry.with(info::read(), move |call| read::read(files.clone(), call))?;
    }
    if offers("file.remove", Need::Write) {
        let files = files.clone();
        registry = registry.with(info::remove(), move |call| remove::remove(files.clone(), call))?;
    }
    if offers("file.stat", Need::Look) {
        let files = files.clone();
        registry = registry.with(info::stat(), move |call| look::stat(files.clone(), call))?;
    }
    if offers("file.write", Need::Write) {
        sweep::sweep_at_start(&files);
        if let Err(error) = files.uploads.secret() {
            // told to whoever uploads, too
            tracing::warn!(?error, "uploads to this agent will fail: its state folder cannot be used");
        }
        registry = registry.with(info::write(), move |call| write::write(files.clone(), call))?;
    }
    Ok(registry)
}

/// What each of them is, offered or not.
pub(crate) fn infos() -> [ProcedureInfo; 6] {
    [info::hash(), info::list(), info::read(), info::remove(), info::stat(), info::write()]
}

/// What all calls share.
#[derive(Debug, Clone)]
struct Files {
    roots: Arc<Roots>,
    protected: Arc<Protected>,
    uploads: Arc<Uploads>,
    places: Arc<Semaphore>,
    streams: Option<Arc<Streams>>,
}

impl Files {
    /// Begins something on another thread, as soon as one is free. Dropping what it returns tells the work to end.
    async fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &Cancelled) -> Result<T, FileError> + Send + 'static,
    ) -> Pending<T> {
        let (files, cancelled) = (self.clone(), Cancelled::default());
        let told = cancelled.clone();
        // never closed
        let place = self.places.clone().acquire_owned().await.ok();
        let task = tokio::task::spawn_blocking(move || {
            let _place = place;
            told.check()?;
            work(&files, &told)
        });
        Pending { task, cancelled }
    }

    /// Does something on another thread.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &Cancelled) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        self.begin(work).await.ended().await
    }
}

/// Work on another thread.
#[derive(Debug)]
struct Pending<T> {
    task: JoinHandle<Result<T, FileError>>,
    cancelled: Cancelled,
}

impl<T> Pending<T> {
    async fn ended(mut self) -> Result<T, FileError> {
        let ended = (&mut self.task).await;
        ended.unwrap_or_else(|_| Err(FileError::failed("IoError", "the work ended unexpectedly")))
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.cancelled.0.store(true, Ordering::Release);
    }
}

/// Tells work on another thread that nobody waits for it.
#[derive(Debug, Clone, Default)]
struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    fn check(&self) -> Result<(), FileError> {
        match self.0.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(FileError::failed("Cancelled", "nobody waits for it any more")),
        }
    }
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a String cannot fail
        let _always = write!(text, "{byte:02x}");
        text
    })
}
