//! Procedures on the manager itself: executables that manifests describe, for agents and operators that the manifests name,
//! and as callbacks of jobs.
//!
//! - [`Offering`]: what is offered now, read anew by [`Offering::reload`]. Start reading here.
//! - `calls`: a request: may its caller, is there a place, do the arguments fit, do the rules let it. `callback`: the end of a job as a call.
//!   `shares`: how many places agents may have.
//!
//! What is offered never changes once it is in place; a reload puts another in its place. What runs goes on as it was started.

mod callback;
mod calls;
mod shares;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use redpoll_common::identity::Identity;
use redpoll_common::nearest::differ_by_case;
use redpoll_config::{ManagerProceduresConfig, Manifest, Procedures, Side, load_folder_of, other_case};
use redpoll_exec::ExecLimits;
use redpoll_exec::check::{capped, ungrouped};
use redpoll_exec::exec::cgroup::Hierarchy;
use redpoll_exec::exec::confine;
use redpoll_exec::gate::{Gate, Kind, Own, Subject};
use redpoll_exec::procedures::{self, KnownPlaces, Procedure, Setting, label};
use redpoll_exec::{Asker, Emitter, Places};
use redpoll_net::Registry;
use redpoll_schema::Schema;
use redpoll_schema::policy::Policy;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use self::shares::Shares;

/// Why a procedure is not offered whose file says so.
const NOT_ENABLED: &str = "is not enabled by the file that describes it";

/// What a manager offers, and what running it needs.
pub struct Offering {
    own: Identity,
    dir: PathBuf,
    places: Places,
    shares: Shares,
    gate: Gate,
    setting: Arc<Setting>,
    tracker: TaskTracker,
    stop: CancellationToken,
    current: ArcSwap<Offered>,
    /// One reload at a time: of two, the later must not end with the older files.
    reloading: Mutex<KnownPlaces>,
}

/// What is offered at a moment.
#[derive(Debug, Default)]
struct Offered {
    registry: Registry,
    /// All that is described, also what is not enabled, by name and version.
    entries: BTreeMap<String, BTreeMap<u32, Arc<Entry>>>,
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
            shares: Shares::default(),
            gate: Gate::fixed(Policy::default(), Own::of_process()),
            setting: Arc::new(setting),
            tracker,
            stop,
            current: ArcSwap::default(),
            reloading: Mutex::default(),
        }
    }

    /// The same with rules that judge calls of agents and operators.
    pub fn judged_by(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// Reads the folder and the rules anew, and gives what is wrong with it; the log has it too. What cannot be read at this moment stays
    /// as it was read before. Blocks: it reads files.
    pub fn reload(&self) -> Vec<String> {
        let mut places = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = load_folder_of(&self.dir, Side::Manager);
        let mut problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        problems.extend(self.gate.reload().err().into_iter().flatten());
        let before = self.current.load_full();
        let offered = self.take(loaded, &before, &places, &mut problems);
        places.learn(offered.all().map(|entry| &entry.procedure));
        for problem in &problems {
            error!(problem, "a procedure of the manager is not offered as described");
        }
        for manifest in offered.all().map(|entry| entry.manifest()).filter(|manifest| manifest.enabled) {
            for said in capped(manifest, &self.setting.limits, Side::Manager) {
                warn!(%said, "a procedure says more than the limits of the manager let be");
            }
            for said in ungrouped(manifest, self.setting.cgroups.as_deref()) {
                warn!(%said, "a limit of a procedure is not kept");
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

    /// What follows from what was read; of what was not, what was offered before.
    fn take(
        &self,
        loaded: Procedures,
        before: &Offered,
        places: &KnownPlaces,
        problems: &mut Vec<String>,
    ) -> Offered {
        let mut offered = Offered::default();
        let is_unread =
            |file: &Path| loaded.problems.iter().any(|one| one.passes && file.starts_with(&one.file));
        // first: what another file describes meanwhile takes no name from them
        let mut kept = 0;
        for old in before.all().filter(|old| is_unread(&old.manifest().file)) {
            problems.extend(offered.add(old.clone()).err());
            kept += 1;
        }
        for manifest in loaded.manifests {
            // before it is made: what is made of it shares its places with the first of this name
            if let Err(problem) = offered.is_free(&manifest) {
                problems.push(problem);
                continue;
            }
            let old = before.entries.get(&manifest.name).and_then(|of| of.get(&manifest.version));
            let made = match self.make(manifest, places) {
                Ok(made) => Some(Arc::new(made)),
                Err(problem) => {
                    problems.push(problem.to_string());
                    let old = old.filter(|_| problem.passes).cloned();
                    kept += usize::from(old.is_some());
                    old
                }
            };
            problems.extend(made.and_then(|entry| offered.add(entry).err()));
        }
        if kept > 0 {
            problems.push(format!(
                "what describes {kept} of the procedures cannot be read now: they are offered as they were read before; reload again"
            ));
        }
        offered
    }

    /// Made anew also when nothing changed: accounts may have, and the executable itself.
    fn make(&self, manifest: Manifest, places: &KnownPlaces) -> Result<Entry, procedures::Problem> {
        let procedure = label(&manifest);
        let schema = Schema::compile(&manifest.args).map_err(|error| procedures::Problem {
            file: manifest.file.clone(),
            procedure: procedure.clone(),
            why: format!("args: {error}"),
            passes: false,
        })?;
        let schema = schema.hiding(&manifest.redact);
        let procedure = procedures::make(manifest, &self.setting, places.of(&procedure))?;
        Ok(Entry::new(procedure, schema))
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
    /// All that is described.
    fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values().flat_map(BTreeMap::values)
    }

    fn is_free(&self, manifest: &Manifest) -> Result<(), String> {
        let Manifest { name, version, file, .. } = manifest;
        if self.entries.get(name).is_some_and(|versions| versions.contains_key(version)) {
            let file = file.display();
            return Err(format!("{file}: {name}@{version}: there is one of this name and version already"));
        }
        let mut others = self.all().map(|entry| entry.manifest());
        if let Some(other) = others.find(|other| differ_by_case(&other.name, name)) {
            let why = other_case(name, &other.name, &format!("of {}", other.file.display()));
            return Err(format!("{}: {name}@{version}: {why}", file.display()));
        }
        Ok(())
    }

    fn add(&mut self, entry: Arc<Entry>) -> Result<(), String> {
        let manifest = entry.manifest();
        self.is_free(manifest)?;
        let (name, version) = (manifest.name.clone(), manifest.version);
        let versions = self.entries.entry(name.clone()).or_default();
        let registry = std::mem::take(&mut self.registry);
        self.registry = if manifest.enabled {
            procedures::add(registry, &entry.procedure).map_err(|error| error.to_string())?
        } else {
            registry.without(&name, version, NOT_ENABLED)
        };
        versions.insert(version, entry);
        Ok(())
    }

    /// What `name` or `name@version` stands for.
    fn find(&self, method: &str) -> Option<&Entry> {
        let (name, version) = match method.split_once('@') {
            None => (method, None),
            Some((name, text)) => (name, Some(text.parse().ok().filter(|n: &u32| n.to_string() == text)?)),
        };
        let mut versions = self.entries.get(name)?.iter().filter(|(_, entry)| entry.manifest().enabled);
        match version {
            None => versions.next_back().map(|(_, entry)| &**entry),
            Some(version) => versions.find(|(of, _)| **of == version).map(|(_, entry)| &**entry),
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
