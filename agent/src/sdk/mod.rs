//! An agent of one's own: procedures in Rust, with typed arguments, beside everything that the ordinary agent does.
//!
//! ```no_run
//! use redpoll_agent::sdk::{Agent, Context, Failure, JsonSchema, Procedure};
//! use serde::{Deserialize, Serialize};
//!
//! /// Whom to greet.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Greet {
//!     /// A name.
//!     name: String,
//!     /// How often.
//!     #[serde(default = "once")]
//!     times: u64,
//! }
//!
//! fn once() -> u64 {
//!     1
//! }
//!
//! #[derive(Serialize)]
//! struct Greeted {
//!     greetings: u64,
//! }
//!
//! async fn greet(asked: Greet, context: Context) -> Result<Greeted, Failure> {
//!     for n in 0..asked.times {
//!         context.value(&format!("hello {}", asked.name)).await?;
//!         context.progress(n + 1, Some(asked.times));
//!     }
//!     Ok(Greeted { greetings: asked.times })
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Agent::new("my-agent", env!("CARGO_PKG_VERSION"))
//!         .procedure(Procedure::new("demo.greet", "Greets somebody."), greet)
//!         .run()
//! }
//! ```
//!
//! The arguments' type gives the JSON Schema that callers see and that is checked before the handler runs: `Deserialize` and
//! [`JsonSchema`] read the same attributes. Use `#[serde(deny_unknown_fields)]`, so that a misspelt argument is an error.
//!
//! **What a handler may rely on.** It is a future on the agent's one thread: it must not block; what does belongs into
//! `tokio::task::spawn_blocking` or a process. When its call is cancelled or too late the future is dropped, unless it was
//! registered with [`Agent::graceful`] and watches [`Context::cancelled`] itself. Values wait for credit of whoever reads
//! them. In a job the same handler runs, and its values are recorded.

mod context;
mod failure;
mod register;

use std::fmt;
use std::future::Future;
use std::process::ExitCode;

use clap::{Args as _, FromArgMatches as _};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::ExitClass;
pub use redpoll_config::ProcedureSchedule;
use redpoll_config::daemon::{DaemonArgs, Failure as StartFailure, Start};
use redpoll_net::registry::Duplicate;
use redpoll_net::shutdown::Early;
use redpoll_net::{CallContext, ProcedureInfo, Registry, serving};
pub use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Builder;

use crate::app::App;
use crate::exec::confine;
use crate::manager::Manager;
use crate::recurring::Own;
use crate::schedule::Entry;

pub use context::Context;
pub use failure::Failure;
pub use register::RegisterError;

/// What a procedure is called, and what callers are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Procedure {
    name: String,
    version: u32,
    description: String,
    redact: Vec<String>,
    deprecated: Option<String>,
    idempotent: bool,
    admin: bool,
}

impl Procedure {
    /// Version 1 of a procedure. A name is words with dots between them, such as `web.deploy` or `Dog.bark`; the first words `rp`, `sys`,
    /// `exec` and `file` are taken in whatever case. Another name ends [`Agent::run`] with an error, and so do two that differ by case
    /// alone.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: 1,
            description: description.into(),
            redact: Vec::new(),
            deprecated: None,
            idempotent: false,
            admin: false,
        }
    }

    /// The same with another version. Versions stand side by side: `name@2` calls one, `name` the highest.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Says why nobody should use this version any more, and what to use: whoever calls it or submits a job of it is told.
    pub fn deprecated(mut self, why: impl Into<String>) -> Self {
        self.deprecated = Some(why.into());
        self
    }

    /// Says that running it twice does no more than running it once: a job of it that may be retried is tried again although it may
    /// have run.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Says that it looks after the machine: its calls, its jobs and its schedules have a place when all others are taken.
    pub fn admin(mut self) -> Self {
        self.admin = true;
        self
    }

    /// Names what nobody may see, as `redact` of a manifest does: `password`, `user.pin`, `keys.*`. What lies there in arguments,
    /// values, progress, results, the details of failures and emitted events is `***` for everybody but the handler. What of it is in
    /// the call's arguments is so wherever it stands, in what a failure says in words too.
    ///
    /// What is no path ends [`Agent::run`] with an error.
    pub fn redact<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.redact.extend(paths.into_iter().map(Into::into));
        self
    }

    fn info<A: JsonSchema>(self) -> ProcedureInfo {
        let Self { name, version, description, redact, deprecated, idempotent, admin } = self;
        let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<A>();
        let info = ProcedureInfo::new(&name, &description, schema.to_value());
        ProcedureInfo { version, redact, deprecated, idempotent, admin, ..info }
    }
}

/// An agent with procedures of one's own.
pub struct Agent {
    name: &'static str,
    version: &'static str,
    registry: Result<Registry, RegisterError>,
    manager: Manager,
    schedules: Vec<Entry>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("name", &self.name).field("registry", &self.registry).finish()
    }
}

impl Agent {
    /// An agent that offers what its configuration names, and nothing else yet. The program's name and version are for its help.
    pub fn new(name: &'static str, version: &'static str) -> Self {
        let (manager, schedules) = (Manager::default(), Vec::new());
        Self { name, version, registry: Ok(Registry::new()), manager, schedules }
    }

    /// Adds a procedure. When a call of it should stop, its future is dropped. Its arguments are named ones: their type is a struct, an
    /// empty one where there are none.
    ///
    /// A [`RegisterError`] ends [`run`](Self::run).
    pub fn procedure<A, R, F, Fut>(self, procedure: Procedure, run: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        R: Serialize,
        F: Fn(A, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
    {
        self.with(procedure.info::<A>(), run, Registry::with::<Handler, Answer>)
    }

    /// Adds a procedure that watches [`Context::cancelled`] and returns soon after it, for example to undo what it began.
    pub fn graceful<A, R, F, Fut>(self, procedure: Procedure, run: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        R: Serialize,
        F: Fn(A, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
    {
        self.with(procedure.info::<A>(), run, Registry::with_graceful::<Handler, Answer>)
    }

    /// Lets a procedure, `name` or `name@version`, run by itself, whether the manager is there or not. Each run becomes a job of the
    /// agent itself, see `docs/recurring.md`. Of two schedules of one procedure the later counts.
    pub fn recurring(mut self, procedure: impl Into<String>, schedule: ProcedureSchedule) -> Self {
        let procedure = procedure.into();
        self.schedules.push(Entry { name: procedure.clone(), procedure, schedule });
        self
    }

    fn with<A, R, F, Fut>(self, info: ProcedureInfo, run: F, add: Add) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
        F: Fn(A, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
    {
        let handler = typed(run, self.manager.clone());
        let registry = self.registry.and_then(|registry| register::register(registry, info, handler, add));
        Self { registry, ..self }
    }

    /// What was added, for [`App::new`] or a test.
    ///
    /// # Errors
    /// The first [`RegisterError`].
    pub fn into_registry(self) -> Result<Registry, RegisterError> {
        self.registry
    }

    /// The `main` of the agent: takes the flags of `redpoll-agent`, reads its configuration, and serves until a signal ends it.
    ///
    /// Exit codes are those of the agent: 0 ended in order · 64 configuration · 70 internal · 77 file permissions.
    pub fn run(self) -> ExitCode {
        if let Some(code) = confine::intercept() {
            return code;
        }
        let Self { name, version, registry, manager, schedules } = self;
        let command = DaemonArgs::augment_args(clap::Command::new(name).version(version));
        let matches = command.get_matches();
        let arguments = DaemonArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let early = Early::new(&mut Builder::new_current_thread());
        arguments.main(name, serving::now, App::check, |Start { loaded, sources, log }| {
            let registry = registry.map_err(|error| {
                StartFailure::new(ExitClass::Internal, "the procedures cannot be offered").caused_by(error)
            })?;
            let daemon = async |signals| {
                App::new(loaded, Own { registry, manager, schedules })?.run(signals, &sources, &log).await;
                Ok(())
            };
            let ended = early.and_then(|early| early.run(daemon));
            ended.map_err(|error| StartFailure::new(ExitClass::Internal, "cannot begin").caused_by(error))?
        })
    }
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Raw, Fault>> + Send>>;
type Handler = Box<dyn Fn(CallContext) -> Answer + Send + Sync>;
/// One of the ways in which a registry takes a handler.
type Add = fn(Registry, ProcedureInfo, Handler) -> Result<Registry, Duplicate>;

/// Arguments become a value of their type, and what the handler gives an answer.
fn typed<A, R, F, Fut>(run: F, manager: Manager) -> Handler
where
    A: DeserializeOwned,
    R: Serialize,
    F: Fn(A, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'static,
{
    Box::new(move |call| {
        let running = arguments::<A>(&call).map(|asked| run(asked, Context::of(call, &manager)));
        Box::pin(async move {
            let given = running?.await.map_err(Failure::into_fault)?;
            Raw::encode(&given).map_err(|error| {
                Fault::new(FaultCode::Internal, format!("the result cannot be sent: {error}"))
            })
        })
    })
}

fn arguments<A: DeserializeOwned>(call: &CallContext) -> Result<A, Fault> {
    let bad = |text: String| Fault::new(FaultCode::BadArguments, format!("{}: {text}", call.method));
    if call.args != Raw::empty_array() {
        return Err(bad("its arguments are named ones: NAME=VALUE".to_owned()));
    }
    call.kwargs.decode().map_err(|error| bad(error.to_string()))
}
