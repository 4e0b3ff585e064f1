//! What the agent offers now: the built-in procedures and those of its own program, which stay, and executables, which can be
//! read anew and switched off and on while everything runs.
//!
//! Whoever starts a call takes [`Offered::now`], a registry that never changes; a change puts a new one in its place. What runs
//! goes on as it was started, and workers of a definition that is gone end when they are free.

mod current;
mod described;
pub mod listing;
mod requests;
mod switches;
mod trial;
mod turns;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use redpoll_common::api::ReloadAnswer;
use redpoll_common::nearest::differ_by_case;
use redpoll_config::{Manifest, Side, other_case};
use redpoll_exec::check::{capped, ungrouped};
use redpoll_net::Registry;
use redpoll_net::listing::Listing;
use tokio::sync::{Semaphore, watch};
use tracing::{error, info, warn};

use crate::builtin::workers::{self, WORKERS};
use crate::builtin::{InstallError, NAMES, with_list};
use crate::gate::{Gate, Kind};
use crate::procedures::{self, KnownPlaces, Procedure, Setting, label};
use crate::schedule::Entry;
use listing::Told;

pub use current::Current;
pub use described::{Described, Source};
pub use switches::{SwitchError, Switches};

/// Why a procedure is not offered that the manager has switched off.
const SWITCHED_OFF: &str = "is switched off by the manager";
/// Why a procedure is not offered whose file says so.
pub(crate) const NOT_ENABLED: &str = "is not enabled by the file that describes it";

/// What is offered.
pub struct Offered {
    current: ArcSwap<Current>,
    gate: Arc<Gate>,
    /// What of the manifests runs by itself.
    schedules: watch::Sender<Vec<Entry>>,
    /// What the manager is told of it.
    told: watch::Sender<Told>,
    /// `None`: it never changes.
    changing: Option<Changing>,
}

/// What changes it.
struct Changing {
    /// What stays.
    base: Registry,
    /// Whether `sys.procedures` is offered.
    lists: bool,
    /// Whether `sys.workers` is.
    tells_workers: bool,
    setting: Arc<Setting>,
    source: Source,
    state: Mutex<State>,
    /// How many reloads have begun.
    begun: AtomicU64,
    /// Who changes something on a thread of its own has it.
    turn: Arc<Semaphore>,
}

/// Problems that the answer of a reload has room for; all of them are in the log.
const TOLD_PROBLEMS: usize = 500;

struct State {
    /// All that is described, offered or not.
    procedures: Vec<Arc<Procedure>>,
    places: KnownPlaces,
    switches: Switches,
    /// The last reload: which it was, and its answer.
    last: Option<(u64, ReloadAnswer)>,
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Offered").field(&self.current.load()).finish()
    }
}

impl Offered {
    /// Offers the same for ever, behind a gate.
    pub fn fixed(registry: Registry, gate: Arc<Gate>) -> Self {
        let told = watch::Sender::new(Told::new(Arc::new(Listing::of(&registry)), &gate));
        let current = Current::new(registry, gate.clone(), BTreeMap::new());
        Self {
            current: ArcSwap::from_pointee(current),
            gate,
            told,
            schedules: watch::Sender::default(),
            changing: None,
        }
    }

    /// Offers `base` (`sys.procedures` and `sys.workers` are added to it if they are to be), and what `source` describes once
    /// [`reload`](Self::reload) has been called. `state` is the agent's state folder, where it is written down what the manager
    /// has switched off.
    ///
    /// # Errors
    /// [`SwitchError`] when that cannot be read: what was switched off must not come back by accident.
    pub fn new(
        base: Registry,
        (lists, tells_workers): (bool, bool),
        setting: Setting,
        source: Source,
        state: &Path,
        gate: Arc<Gate>,
    ) -> Result<Self, SwitchError> {
        let switches = Switches::open(state)?;
        let state = Mutex::new(State {
            procedures: Vec::new(),
            places: KnownPlaces::default(),
            switches,
            last: None,
        });
        let (setting, begun) = (Arc::new(setting), AtomicU64::new(0));
        let turn = Arc::new(Semaphore::new(1));
        let changing =
            Changing { base: base.clone(), lists, tells_workers, setting, source, state, begun, turn };
        let told = watch::Sender::new(Told::new(Arc::new(Listing::of(&base)), &gate));
        let current = Current::new(base, gate.clone(), BTreeMap::new());
        let schedules = watch::Sender::default();
        Ok(Self { current: ArcSwap::from_pointee(current), gate, told, schedules, changing: Some(changing) })
    }

    /// What judges all calls.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What of the manifests runs by itself, whenever it changes.
    pub fn schedules(&self) -> watch::Receiver<Vec<Entry>> {
        self.schedules.subscribe()
    }

    /// What is offered at this moment.
    pub fn now(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Reads the policy and the descriptions anew. What cannot be read or offered is in the answer and in the log; the others are not affected.
    /// Blocks: it reads files.
    pub fn reload(&self) -> ReloadAnswer {
        self.reload_asked(self.reloads_begun())
    }

    /// How many reloads have begun.
    fn reloads_begun(&self) -> u64 {
        self.changing.as_ref().map_or(0, |changing| changing.begun.load(Ordering::SeqCst))
    }

    /// The same, asked for when so many had begun.
    fn reload_asked(&self, before: u64) -> ReloadAnswer {
        let Some(changing) = &self.changing else {
            return ReloadAnswer {
                offered: self.now().procedures().count() as u64,
                ..ReloadAnswer::default()
            };
        };
        // held while files are read: two reloads at a time must not end with the older one
        let mut state = changing.state();
        if let Some((number, answer)) = &state.last
            && *number > before
        {
            // it began while this one waited, and has read all that was there when this one was asked for
            return answer.clone();
        }
        let number = changing.begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let answer = self.read_anew(changing, &mut state);
        state.last = Some((number, answer.clone()));
        answer
    }

    fn read_anew(&self, changing: &Changing, state: &mut State) -> ReloadAnswer {
        let mut problems = self.gate.reload().err().unwrap_or_default();
        let mut described = (changing.source)();
        problems.append(&mut described.problems);
        let mut answer = state.take(described, changing, &mut problems);
        if let Err(error) = self.rebuild(changing, state) {
            problems.push(format!("no procedure changed: {error}"));
            // another policy holds all the same
            self.tell(None);
        }
        answer.offered = self.now().procedures().count() as u64;
        for problem in &problems {
            error!(problem, "a procedure is not offered as described");
        }
        // not a problem: the procedure may come later
        let known = changing.known(state);
        for said in self.gate.strangers(&known, &NAMES) {
            warn!(said, "a rule of the policy is about nothing");
        }
        for said in self.gate.doubts(&known) {
            warn!(said, "a rule of the policy allows more or less than it may seem to");
        }
        for procedure in state.procedures.iter().filter(|procedure| procedure.manifest().enabled) {
            for said in capped(procedure.manifest(), &changing.setting.limits, Side::Agent) {
                warn!(%said, "a procedure says more than the limits of the agent let be");
            }
            for said in ungrouped(procedure.manifest(), changing.setting.cgroups.as_deref()) {
                warn!(%said, "a limit of a procedure is not kept");
            }
        }
        let ReloadAnswer { offered, added, changed, removed, .. } = &answer;
        info!(offered, added, changed, removed, problems = problems.len(), "the procedures were read");
        if problems.len() > TOLD_PROBLEMS {
            let more = problems.len() - TOLD_PROBLEMS;
            problems.truncate(TOLD_PROBLEMS);
            problems.push(format!("and {more} more, which are in the agent's log"));
        }
        answer.problems = problems;
        answer
    }

    /// Puts what follows from the state in place.
    fn rebuild(&self, changing: &Changing, state: &State) -> Result<(), InstallError> {
        let mut registry = changing.base.clone();
        let mut kinds = BTreeMap::new();
        for procedure in &state.procedures {
            let manifest = procedure.manifest();
            let kind = Kind::Manifest(procedure.account().cloned());
            kinds.insert((manifest.name.clone(), manifest.version), kind);
            registry = if manifest.enabled {
                procedures::add(registry, procedure)?
            } else {
                registry.without(&manifest.name, manifest.version, NOT_ENABLED)
            };
        }
        let off: Vec<(String, u32)> = registry
            .procedures()
            .filter(|info| state.switches.is_off(&info.name, info.version))
            .map(|info| (info.name.clone(), info.version))
            .collect();
        for (name, version) in off {
            registry = registry.without(&name, version, SWITCHED_OFF);
        }
        if changing.tells_workers && !state.switches.is_off(WORKERS, 1) {
            registry = workers::install(registry, &state.procedures)?;
        }
        if changing.lists && !state.switches.is_off(crate::builtin::LIST, 1) {
            registry = with_list(registry)?;
        }
        let schedules = schedules(&state.procedures, &registry);
        let listing = Arc::new(Listing::of(&registry));
        self.current.store(Arc::new(Current::new(registry, self.gate.clone(), kinds)));
        // told after it is true
        self.schedules.send_if_modified(|before| {
            let differs = *before != schedules;
            *before = schedules;
            differs
        });
        self.tell(Some(listing));
        Ok(())
    }
}

impl State {
    /// Puts what was described in the place of what was before. What could not be read stays as it was read before.
    fn take(
        &mut self,
        described: Described,
        changing: &Changing,
        problems: &mut Vec<String>,
    ) -> ReloadAnswer {
        let mut answer = ReloadAnswer::default();
        let before = std::mem::take(&mut self.procedures);
        // first: what another file describes meanwhile takes no name from them
        let unread = before.iter().filter(|old| described.is_unread(&old.manifest().file));
        self.procedures.extend(unread.cloned());
        let mut kept = self.procedures.len();
        for manifest in described.manifests {
            let name = label(&manifest);
            let taken = |procedure: &Arc<Procedure>| label(procedure.manifest()) == name;
            if let Some(why) = self.in_the_way(&manifest, &changing.base) {
                problems.push(format!("{}: {name}: {why}", manifest.file.display()));
                continue;
            }
            let old = before.iter().find(|procedure| taken(procedure));
            match old {
                None => answer.added += 1,
                Some(old) if *old.manifest() != manifest => answer.changed += 1,
                Some(_) => {}
            }
            // made anew also when nothing changed: accounts may have, and the executable itself
            match procedures::make(manifest, &changing.setting, self.places.of(&name)) {
                Ok(procedure) => self.procedures.push(procedure),
                Err(problem) => {
                    problems.push(problem.to_string());
                    let old = old.filter(|_| problem.passes);
                    kept += usize::from(old.is_some());
                    self.procedures.extend(old.cloned());
                }
            }
        }
        if kept > 0 {
            problems.push(format!(
                "what describes {kept} of the procedures cannot be read now: they are offered as they were read before; reload again"
            ));
        }
        let is_gone = |old: &&Arc<Procedure>| {
            let name = label(old.manifest());
            !self.procedures.iter().any(|procedure| label(procedure.manifest()) == name)
        };
        answer.removed = before.iter().filter(is_gone).count() as u64;
        self.places.learn(self.procedures.iter());
        answer
    }

    /// Why a manifest cannot be offered beside what is there already.
    fn in_the_way(&self, manifest: &Manifest, base: &Registry) -> Option<String> {
        let (procedure, name) = (label(manifest), manifest.name.as_str());
        let described = || self.procedures.iter().map(|other| other.manifest());
        if base.offers(&procedure).is_ok() || described().any(|other| label(other) == procedure) {
            return Some("there is one of this name and version already".to_owned());
        }
        if let Some(own) = base.in_other_case(name) {
            return Some(other_case(name, own, "of the agent's own program"));
        }
        let other = described().find(|other| differ_by_case(&other.name, name))?;
        Some(other_case(name, &other.name, &format!("of {}", other.file.display())))
    }
}

/// What runs by itself of what is offered.
fn schedules(procedures: &[Arc<Procedure>], registry: &Registry) -> Vec<Entry> {
    let entry = |procedure: &Arc<Procedure>| {
        let manifest = procedure.manifest();
        let name = label(manifest);
        let schedule = manifest.schedule.clone().filter(|_| registry.offers(&name).is_ok())?;
        Some(Entry { name: name.clone(), procedure: name, schedule })
    };
    procedures.iter().filter_map(entry).collect()
}

impl Changing {
    fn state(&self) -> MutexGuard<'_, State> {
        // what a panic would leave behind is replaced by the next reload
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is described or built in, offered or not.
    fn known(&self, state: &State) -> Vec<(String, u32)> {
        let base = self.base.procedures().map(|info| (info.name.clone(), info.version));
        let described = state.procedures.iter().map(|one| one.manifest());
        base.chain(described.map(|manifest| (manifest.name.clone(), manifest.version))).collect()
    }

    /// Whether a name stands for something that is described or built in, offered or not.
    fn knows(&self, state: &State, name: &str, version: Option<u32>) -> bool {
        let fits = |own: &str, of: u32| own == name && version.is_none_or(|version| version == of);
        self.base.procedures().any(|info| fits(&info.name, info.version))
            || state.procedures.iter().any(|one| fits(&one.manifest().name, one.manifest().version))
            || (self.lists && fits(crate::builtin::LIST, 1))
            || (self.tells_workers && fits(WORKERS, 1))
    }
}
