//! Telling somebody of the end of a job: one try of one callback.
//!
//! - [`Deliverer`]: does it, and says in one line why it did not work. Start reading here.
//! - `gather`: what is told, read from the store at the moment of the try; `body`: that as JSON; `redpoll_schema::Json` writes MessagePack as
//!   JSON.
//! - `webhook`: an HTTP POST, signed by `signature`; `authorities`: whom it believes over https.
//! - [`procedures`](crate::procedures): a procedure of the manager. `command`: a program on the manager, ended with its process group when its time is over.
//!
//! When to try, how often, and that it is recorded as delivered once are rules of the machine
//! (`redpoll_manager_core::jobs`). A receiver may see the same delivery twice: it knows it by its id.

mod authorities;
mod body;
mod command;
mod gather;
mod signature;
mod webhook;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use redpoll_certs::FileError;
use redpoll_common::job::{Callback, JobId};
use redpoll_config::{CallbacksConfig, ExitClass, WebhookSecretError};
use redpoll_manager_core::jobs::NotTaken;
use tokio::time::{Instant, timeout_at};

use crate::procedures::Offering;
use crate::store::Store;
use webhook::Webhooks;

/// Bytes the body of a delivery may have.
pub const MAX_BODY: usize = 1024 * 1024;
/// How many runs a body lists at most.
pub const MAX_RUNS: usize = 1000;
/// Characters a reason may have.
pub const MAX_REASON: usize = 200;

/// Why callbacks cannot be delivered at all.
#[derive(Debug, thiserror::Error)]
pub enum DelivererError {
    /// The key of the signature cannot be used.
    #[error("the key of the webhooks' signature cannot be used")]
    Secret(#[from] WebhookSecretError),
    /// The further authorities cannot be read.
    #[error("the authorities for webhooks cannot be read")]
    Authorities(#[from] FileError),
    /// TLS cannot be set up, or a certificate among the further authorities cannot be used.
    #[error("TLS for webhooks cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl DelivererError {
    /// Which exit code a daemon ends with.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Self::Secret(error) => error.exit_class(),
            Self::Authorities(_) | Self::Tls(_) => ExitClass::Configuration,
        }
    }
}

/// Performs callbacks. Cheap to clone; a changed configuration needs a new one.
#[derive(Debug, Clone)]
pub struct Deliverer(Arc<Shared>, Option<Arc<Offering>>);

#[derive(Debug)]
struct Shared {
    config: CallbacksConfig,
    cluster: String,
    store: Arc<dyn Store>,
    webhooks: Webhooks,
}

/// Which end is told: the same for every try of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delivery {
    job: JobId,
    serial: u32,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.job, self.serial)
    }
}

impl Deliverer {
    /// Reads the key of the signature and the authorities. Blocks on files.
    ///
    /// # Errors
    /// [`DelivererError`].
    pub fn new(
        config: &CallbacksConfig,
        cluster: &str,
        store: Arc<dyn Store>,
    ) -> Result<Self, DelivererError> {
        let webhooks = Webhooks::new(config)?;
        let (config, cluster) = (config.clone(), cluster.to_owned());
        Ok(Self(Arc::new(Shared { config, cluster, store, webhooks }), None))
    }

    /// Reads the same, and keeps nothing of it.
    ///
    /// # Errors
    /// [`DelivererError`].
    pub fn check(config: &CallbacksConfig) -> Result<(), DelivererError> {
        Webhooks::new(config).map(drop)
    }

    /// The same that also calls procedures of the manager.
    #[must_use]
    pub fn with_procedures(self, procedures: Arc<Offering>) -> Self {
        Self(self.0, Some(procedures))
    }

    /// Tries once to tell of an end. Takes at most the configured time, and a moment more to clean up. Dropped earlier, it
    /// cuts the connection or kills the program, and the receiver may have understood or not.
    ///
    /// # Errors
    /// Why it was not taken, in one line of at most [`MAX_REASON`] characters with what the receiver said, without the URL, its query or
    /// the key.
    pub async fn deliver(&self, job: JobId, serial: u32, target: &Callback) -> Result<(), NotTaken> {
        let deadline = Instant::now() + self.0.config.timeout;
        let delivery = Delivery { job, serial };
        let told = match target {
            Callback::Webhook(url) => self.post(delivery, url, deadline).await,
            Callback::Procedure(name) => self.run(delivery, name, deadline).await,
        };
        told.map_err(shortened)
    }

    async fn post(&self, delivery: Delivery, url: &str, deadline: Instant) -> Result<(), NotTaken> {
        let target = webhook::Target::parse(url)?;
        if !self.0.config.allows(&target.host, target.port) {
            return Err(format!("webhooks may not go to {target}; see jobs.callbacks.allow").into());
        }
        let body = self.body(delivery, deadline).await?;
        Ok(self.0.webhooks.post(&target, delivery, body, deadline).await?)
    }

    async fn run(&self, delivery: Delivery, name: &str, deadline: Instant) -> Result<(), NotTaken> {
        if let Some(argv) = self.0.config.procedures.get(name) {
            let body = self.body(delivery, deadline).await?;
            return command::run(argv, delivery, &body, deadline).await;
        }
        let offers = self.1.as_ref().filter(|procedures| procedures.takes_callbacks(name));
        let Some(procedures) = offers else {
            return Err(format!("no procedure {name:?} in jobs.callbacks.procedures").into());
        };
        let body = self.body(delivery, deadline).await?;
        procedures.deliver(name, &body, deadline).await
    }

    async fn body(&self, delivery: Delivery, deadline: Instant) -> Result<bytes::Bytes, String> {
        let read = body::read(self.0.store.as_ref(), &self.0.cluster, delivery);
        timeout_at(deadline, read)
            .await
            .unwrap_or_else(|_| Err("the store did not answer in time".to_owned()))
    }
}

/// Why, and as much of what the receiver said as fits beside it.
fn shortened(NotTaken { why, said }: NotTaken) -> NotTaken {
    let why = one_line(&why, MAX_REASON);
    let said = said.map(|said| one_line(&said, room_beside(&why)));
    NotTaken { why, said: said.filter(|said| !said.is_empty()) }
}

/// Characters that are left for what a receiver said.
fn room_beside(why: &str) -> usize {
    MAX_REASON.saturating_sub(why.chars().count() + 2)
}

/// At most so many characters, none of which moves a terminal's cursor.
fn one_line(reason: &str, max: usize) -> String {
    let plain = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = plain.take(max).collect();
    line.truncate(line.trim_end().len());
    line
}

impl crate::engine::Callbacks for Deliverer {
    fn deliver(&self, job: JobId, serial: u32, target: Callback) -> BoxFuture<'static, Result<(), NotTaken>> {
        let deliverer = self.clone();
        Box::pin(async move { Self::deliver(&deliverer, job, serial, &target).await })
    }
}
