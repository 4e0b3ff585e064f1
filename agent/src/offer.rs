//! What an agent offers at its start, as its configuration says, and how much of the kernel's help it has for that.

use std::sync::Arc;

use redpoll_config::daemon::Failure;
use redpoll_config::{AgentConfig, ExitClass, RunGroups};
use redpoll_net::Registry;
use redpoll_schema::policy::Whose;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::builtin::{self, InstallError};
use crate::exec::cgroup::Hierarchy;
use crate::exec::{adopted, confine};
use crate::facts::Confinement;
use crate::gate::Gate;
use crate::leftovers::Leftovers;
use crate::manager::Manager;
use crate::offered::{Described, Offered, SwitchError};
use crate::procedures::Setting;

/// Reads the policy. Without one that can be read whole, nothing is offered: a rule that is left out could be the one that denies.
pub(crate) fn gate(config: &AgentConfig) -> Result<Arc<Gate>, Failure> {
    Gate::open(&config.policy, Whose::Agent).map(Arc::new).map_err(|problems| {
        let access = problems.iter().any(|problem| problem.access);
        let class = if access { ExitClass::Permissions } else { ExitClass::Configuration };
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let text = format!("the policy cannot be used, and without it nothing may run\n{}", lines.join("\n"));
        Failure::new(class, text).help("correct the file, and try it with `redpoll-agent policy show`")
    })
}

/// Looks at what [`offer`] would refuse, and offers nothing.
pub(crate) fn check_offer(config: &AgentConfig) -> Result<(), Failure> {
    gate(config)?;
    let (offered, limits) = (&config.procedures, &config.limits);
    builtin::install_but_list(Registry::new(), offered, limits, None, (None, None)).map_err(refused)?;
    Ok(())
}

fn refused(error: InstallError) -> Failure {
    Failure::new(ExitClass::Configuration, "the procedures cannot be offered").caused_by(error)
}

/// Prepares it; the procedures are read. Workers become tasks on the tracker, and end with the token.
pub(crate) fn offer(
    config: &AgentConfig,
    registry: Registry,
    leftovers: &Leftovers,
    manager: &Manager,
    (tracker, stop): (&TaskTracker, &CancellationToken),
) -> Result<Arc<Offered>, Failure> {
    let gate = gate(config)?;
    let adopts = adopted::adopt();
    if let Err(error) = &adopts {
        warn!(%error, "orphans of runs that replaced their environment are not found");
    }
    let (helper, cgroups) = (confine::own_helper(), control_groups(config.procedures.groups));
    let confinement = Confinement::of(&cgroups, helper.is_some(), adopts.is_ok());
    let groups = cgroups.as_ref().ok().cloned();
    let base = builtin::install_but_list(
        registry,
        &config.procedures,
        &config.limits,
        Some(confinement),
        (groups, leftovers.notes()),
    );
    let base = base.map_err(refused)?;
    let base = builtin::leftovers::install(base, &config.procedures, leftovers).map_err(refused)?;
    let setting = Setting {
        agent: leftovers.agent().clone(),
        limits: (&config.limits).into(),
        helper,
        cgroups: cgroups.ok(),
        tracker: tracker.clone(),
        stop: stop.clone(),
        emitter: manager.emitter(tracker, stop),
        asker: manager.asker(),
        notes: leftovers.notes(),
    };
    let folder = config.procedures.dir.clone();
    let source = Box::new(move || Described::by(&folder));
    let offers = |name| config.procedures.offers(name);
    let lists = (offers(builtin::LIST), offers(builtin::workers::WORKERS));
    let offered = Offered::new(base, lists, setting, source, &config.agent.state_dir, gate);
    let offered = offered.map_err(|error| {
        let class = match &error {
            SwitchError::Io { .. } | SwitchError::Unconfirmed { .. } | SwitchError::Content { .. } => {
                ExitClass::Internal
            }
        };
        Failure::new(class, "what the manager has disabled cannot be read").caused_by(error)
    })?;
    offered.reload();
    Ok(Arc::new(offered))
}

/// The agent's own part of the control groups, or why it has none.
fn control_groups(groups: RunGroups) -> Result<Arc<Hierarchy>, String> {
    let taken = Hierarchy::take(groups).map(Arc::new);
    match &taken {
        Ok(hierarchy) => {
            let (controllers, all_runs) = (hierarchy.controllers().join(", "), hierarchy.is_for_all());
            let missing = hierarchy.missing();
            if missing.is_empty() {
                info!(
                    controllers,
                    all_runs, "limits of procedures are kept by control groups, for the whole tree"
                );
            } else {
                let what = "control groups keep a part of the limits of procedures: of what they lack, memory and processes (pids) are \
                            limited for each process by itself, and cpu is not";
                warn!(controllers, missing = missing.join(", "), all_runs, "{what}");
            }
        }
        Err(why) => warn!(
            why,
            "no control groups: limits of procedures are kept for each process by itself, and cpu is not limited"
        ),
    }
    taken
}
