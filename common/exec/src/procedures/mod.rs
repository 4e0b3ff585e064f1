//! Executables as procedures: what a [`Manifest`] describes, offered by a registry.
//!
//! - `procedure`: one of them: who waits, and what is done then. `places`: how many at a time; `known`: those of
//!   what a reload takes away and brings back. `spawn`: its environment and limits.
//! - `once`: a fresh process for each run; `heard`: what is taken from it. `worker`: processes that take one call after the other.
//! - `asks`: what they want of the manager; `submission`: a job in their words.
//! - `ends`: how each end is told to the caller.
//!
//! The conversation itself is [`redpoll_common::procedure`], the processes are [`exec`](crate::exec)'s.

mod asks;
mod ends;
mod heard;
mod known;
mod once;
mod places;
mod procedure;
mod spawn;
mod submission;
mod worker;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use redpoll_common::ids::PeerId;
use redpoll_common::wire::Raw;
use redpoll_common::words::Words;
use redpoll_config::{ManagerRights, Manifest, is_passing};
use redpoll_net::registry::{Asks, Duplicate};
use redpoll_net::service::Mask;
use redpoll_net::{ProcedureInfo, Registry};
use redpoll_schema::{ArgumentRedaction, MASK, Redaction, hide, rooted};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::asker::Asker;
use crate::emitter::Emitter;
use crate::exec::account::AccountError;
use crate::exec::cgroup::Hierarchy;
use crate::exec::note::Notes;
use crate::limits::ExecLimits;

pub use known::KnownPlaces;
pub use places::Places;
pub use procedure::Procedure;
pub use procedure::{account_of, run_as_account};
pub use worker::{Deaths, Health};

/// What all procedures of an agent share.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The agent's name.
    pub agent: PeerId,
    /// What no call may exceed.
    pub limits: ExecLimits,
    /// The executable that [confines](crate::exec::confine); `None`: nothing can be confined.
    pub helper: Option<PathBuf>,
    /// The control groups, where there are any.
    pub cgroups: Option<Arc<Hierarchy>>,
    /// Where workers are tasks.
    pub tracker: TaskTracker,
    /// Ends workers that have nothing to do.
    pub stop: CancellationToken,
    /// Takes what they have to say to the manager.
    pub emitter: Emitter,
    /// Asks the manager for what they want of it.
    pub asker: Asker,
    /// Where it is noted what runs of them; `None`: nobody looks for what is left.
    pub notes: Option<Notes>,
}

/// A manifest that is not offered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its file.
    pub file: PathBuf,
    /// The procedure, `name@version`.
    pub procedure: String,
    /// Why, and what to do.
    pub why: String,
    /// It could not be seen at this moment whether it can be offered, for want of a descriptor or memory, or because a disk does not answer.
    pub passes: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file.display(), self.procedure, self.why)
    }
}

/// Makes a procedure of a manifest. `before` are the places of those of this name and version that were before it: what runs of them
/// counts.
///
/// # Errors
/// The [`Problem`], when this machine cannot run it as it is described.
pub fn make(
    manifest: Manifest,
    setting: &Arc<Setting>,
    before: Option<Arc<Places>>,
) -> Result<Arc<Procedure>, Problem> {
    let (file, procedure) = (manifest.file.clone(), label(&manifest));
    let problem = |why: String, passes: bool| Problem { file, procedure, why, passes };
    let account = match account_of(&manifest) {
        Ok(account) => account,
        Err(error) => {
            let passes = matches!(&error, AccountError::Unreadable { source, .. } if is_passing(source));
            return Err(problem(error.to_string(), passes));
        }
    };
    let made = Procedure::new(manifest, account, setting.clone(), before);
    made.map(Arc::new).map_err(|why| problem(why, false))
}

/// `name@version`
pub fn label(manifest: &Manifest) -> String {
    format!("{}@{}", manifest.name, manifest.version)
}

/// Adds a procedure.
///
/// # Errors
/// [`Duplicate`] when its name and version are taken.
pub fn add(registry: Registry, procedure: &Arc<Procedure>) -> Result<Registry, Duplicate> {
    let procedure = procedure.clone();
    let info = info(procedure.manifest());
    let registry = registry.with_program(info.clone(), move |call| procedure.clone().run(call))?;
    Ok(masking(registry, &info))
}

/// Takes what nobody may see, [`ProcedureInfo::redact`], out of what a procedure of the registry gives, before it leaves the process.
#[must_use]
pub fn masking(registry: Registry, info: &ProcedureInfo) -> Registry {
    if info.redact.is_empty() {
        return registry;
    }
    let (redact, arguments) =
        (info.redact.clone(), ArgumentRedaction::new(&rooted(&info.redact, &info.args)));
    registry
        .masking(&info.name, info.version, move |args, kwargs| mask(&redact, arguments.words(args, kwargs)))
}

/// Masks what these paths lead to, and these words wherever they stand.
pub fn mask<S: AsRef<str>>(redact: &[S], words: Words) -> Mask {
    // paths are checked when they are read; should one be none all the same, nothing is shown rather than a secret
    let Ok(redaction) = Redaction::new(redact) else {
        return Mask::new(|_value| Raw::text(MASK)).with_words(Words::everything());
    };
    let texts = words.clone();
    Mask::new(move |value| hide(&words, &redaction.mask(value))).with_words(texts)
}

/// What those see of it who look for it.
pub fn info(manifest: &Manifest) -> ProcedureInfo {
    ProcedureInfo {
        version: manifest.version,
        deprecated: manifest.deprecated.clone(),
        idempotent: manifest.idempotent,
        admin: manifest.admin,
        redact: manifest.redact.clone(),
        asks: manifest.manager.as_ref().map(asks).filter(|asks| *asks != Asks::default()),
        ..ProcedureInfo::new(&manifest.name, &manifest.description, manifest.args.clone())
    }
}

fn asks(rights: &ManagerRights) -> Asks {
    Asks {
        submit: rights.submit,
        calls: rights.calls().iter().map(|glob| glob.as_str().to_owned()).collect(),
    }
}
