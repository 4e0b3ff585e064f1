//! Procedures on the manager itself: executables that manifests describe, for agents and operators that the manifests name,
//! and as callbacks of jobs.
//!
//! - [`Offering`]: what is offered now, read anew by [`Offering::reload`]. Start reading here.
//! - `calls`: a request: may its caller, is there a place, do the arguments fit, do the rules let it. `callback`: the end of a job as a call.
//!
//! What is offered never changes once it is in place; a reload puts another in its place. What runs goes on as it was started.

mod callback;
mod calls;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use redpoll_common::identity::Identity;
use redpoll_config::{ManagerProceduresConfig, Manifest, Side, load_folder_of};
use redpoll_exec::ExecLimits;
use redpoll_exec::check::capped;
use redpoll_exec::exec::cgroup::Hierarchy;
use redpoll_exec::exec::confine;
use redpoll_exec::gate::{Gate, Kind, Own, Subject};
use redpoll_exec::procedures::{self, Procedure, Setting, label};
use redpoll_exec::{Asker, Emitter, Places};
use redpoll_net::Registry;
use redpoll_schema::Schema;
use redpoll_schema::policy::Policy;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// Why a procedure is not offered whose file says so.
const NOT_ENABLED: &str = "is not enabled by the file that describes it";

/// What a manager offers, and what running it needs.
pub struct Offering {
    own: Identity,
    dir: PathBuf,
    places: Places,
    gate: Gate,
    setting: Arc<Setting>,
    tracker: TaskTracker,
    stop: CancellationToken,
    current: ArcSwap<Offered>,
    /// One reload at a time: of two, the later must not end with the older files.
    reloading: Mutex<()>,
}

/// What is offered at a moment.
#[derive(Debug, Default)]
struct Offered {
    registry: Registry,
    /// All that is described, also what is not enabled, by name and version.
    entries: BTreeMap<String, BTreeMap<u32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    procedure: Arc<Procedure>,
    schema: Schema,
    subject: Subject,
}

impl fmt::Debug for Offering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offering").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Offering {
    /// Offers nothing until [`reload`](Self::reload) has been called.
    pub fn new(own: Identity, config: &ManagerProceduresConfig, cgroups: Option<Arc<Hierarchy>>) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let limits = ExecLimits {
            output: config.output,
            run_timeout: Some(config.run_timeout).filter(|limit| !limit.is_zero()),
            grace: config.grace,
        };
        let setting = Setting {
            agent: own.id.clone(),
            limits,
            helper: confine::own_helper(),
            cgroups,
            tracker: tracker.clone(),
            stop: stop.clone(),
            emitter: Emitter::default(),
            asker: Asker::default(),
            notes: None,
        };
        Self {
            own,
            dir: config.dir.clone(),
            places: Places::new(config.calls),
            gate: Gate::fixed(Policy::default(), Own::of_process()),
            setting: Arc::new(setting),
            tracker,
            stop,
            current: ArcSwap::default(),
            reloading: Mutex::new(()),
        }
    }

    /// The same with rules that judge calls of agents and operators.
    pub fn judged_by(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// Reads the folder and the rules anew, and gives what is wrong with it; the log has it too. Blocks: it reads files.
    pub fn reload(&self) -> Vec<String> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = load_folder_of(&self.dir, Side::Manager);
        let mut problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        problems.extend(self.gate.reload().err().into_iter().flatten());
        let before = self.current.load_full();
        let mut offered = Offered::default();
        for manifest in loaded.manifests {
            if let Err(problem) = self.add(&mut offered, manifest, &before) {
                problems.push(problem);
            }
        }
        for problem in &problems {
            error!(problem, "a procedure of the manager is not offered as described");
        }
        let entries = offered.entries.values().flat_map(BTreeMap::values);
        for manifest in entries.map(|entry| entry.procedure.manifest()).filter(|manifest| manifest.enabled) {
            for said in capped(manifest, &self.setting.limits, Side::Manager) {
                warn!(%said, "a procedure says more than the limits of the manager let be");
            }
        }
        let count = offered.registry.procedures().count();
        if count > 0 || !problems.is_empty() || !before.entries.is_empty() {
            info!(offered = count, problems = problems.len(), "the manager's procedures were read");
        }
        self.tell_doubts(&offered);
        self.current.store(Arc::new(offered));
        problems
    }

    /// What of the rules is about nothing, or allows more or less than it may seem to.
    fn tell_doubts(&self, offered: &Offered) {
        let versions =
            offered.entries.iter().flat_map(|(name, of)| of.keys().map(|version| (name.clone(), *version)));
        let known: Vec<_> = versions.collect();
        let strangers = self.gate.strangers(&known, &[]);
        for said in strangers.into_iter().chain(self.gate.doubts(&known)) {
            warn!(said, "a rule of the manager's policy is not what it may seem to be");
        }
    }

    fn add(&self, offered: &mut Offered, manifest: Manifest, before: &Offered) -> Result<(), String> {
        let (name, version, enabled) = (manifest.name.clone(), manifest.version, manifest.enabled);
        let at = format!("{}: {}", manifest.file.display(), label(&manifest));
        let schema = Schema::compile(&manifest.args).map_err(|error| format!("{at}: args: {error}"))?;
        let schema = schema.hiding(&manifest.redact);
        let old = before.entries.get(&name).and_then(|versions| versions.get(&version));
        let old = old.map(|entry| entry.procedure.places().clone());
        // made anew also when nothing changed: accounts may have, and the executable itself
        let procedure =
            procedures::make(manifest, &self.setting, old).map_err(|problem| problem.to_string())?;
        let registry = std::mem::take(&mut offered.registry);
        offered.registry = if enabled {
            procedures::add(registry, &procedure).map_err(|error| format!("{at}: {error}"))?
        } else {
            registry.without(&name, version, NOT_ENABLED)
        };
        offered.entries.entry(name).or_default().insert(version, Entry::new(procedure, schema));
        Ok(())
    }

    /// Ends workers that have nothing to do, and waits for the others. Whoever drops it leaves them.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.tracker.len()
    }
}

impl Offered {
    /// What `name` or `name@version` stands for.
    fn find(&self, method: &str) -> Option<&Entry> {
        let (name, version) = match method.split_once('@') {
            None => (method, None),
            Some((name, text)) => (name, Some(text.parse().ok().filter(|n: &u32| n.to_string() == text)?)),
        };
        let mut versions = self.entries.get(name)?.iter().filter(|(_, entry)| entry.manifest().enabled);
        match version {
            None => versions.next_back().map(|(_, entry)| entry),
            Some(version) => versions.find(|(of, _)| **of == version).map(|(_, entry)| entry),
        }
    }
}

impl Entry {
    fn new(procedure: Arc<Procedure>, schema: Schema) -> Self {
        let subject = Subject::new(Kind::Manifest(procedure.account().cloned()));
        Self { procedure, schema, subject }
    }

    fn manifest(&self) -> &Manifest {
        self.procedure.manifest()
    }
}
