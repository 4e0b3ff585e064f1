//! The procedures that every agent has built in, and which of them it offers.
//!
//! `sys.echo`, `sys.ping`, `sys.version`, `sys.facts`, `sys.procedures` and the notification `sys.log` are harmless;
//! `exec.run` runs any program and is offered only when the agent's configuration names it in full. [`mod@file`] has
//! `file.*`, which reaches configured folders, [`leftovers`] what lists and ends what is left of runs, [`workers`] what tells how workers are. [`install`] puts what is offered into a registry.

mod arguments;
mod exec_arguments;
mod exec_run;
pub mod file;
pub mod leftovers;
mod sys;
pub mod workers;

use std::sync::Arc;

use redpoll_common::nearest::nearest;
use redpoll_common::wire::Raw;
use redpoll_config::{LimitsConfig, ProceduresConfig};
use redpoll_net::listing::elements_of;
use redpoll_net::registry::Duplicate;
use redpoll_net::{ProcedureInfo, Registry};

use crate::exec::cgroup::Hierarchy;
use crate::exec::note::Notes;
use crate::facts::Confinement;
use crate::gate::Kind;

pub use redpoll_exec::ExecLimits;

/// Every built-in name, as `procedures.builtin` knows it, sorted.
pub const NAMES: [&str; 16] = [
    "exec.run",
    "file.hash",
    "file.list",
    "file.read",
    "file.remove",
    "file.stat",
    "file.write",
    "sys.echo",
    "sys.facts",
    "sys.leftovers",
    "sys.leftovers.stop",
    "sys.log",
    "sys.ping",
    "sys.procedures",
    "sys.version",
    "sys.workers",
];

/// The built-in that lists what is offered.
pub const LIST: &str = "sys.procedures";

/// What a procedure is that no manifest describes.
pub fn kind_of(name: &str) -> Kind {
    match name {
        "exec.run" => Kind::Program,
        name if NAMES.contains(&name) => Kind::Inside,
        _ => Kind::Own,
    }
}

/// Why built-ins cannot be offered as configured.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The configuration names what does not exist.
    #[error("procedures.builtin: there is no built-in procedure {entry:?}{}", hint(.nearest.as_deref()))]
    Unknown {
        /// The entry of the configuration.
        entry: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// The registry has a procedure of this name already.
    #[error("a built-in procedure cannot be added")]
    Taken(#[source] Duplicate),
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; is {name:?} meant?")).unwrap_or_default()
}

impl From<Duplicate> for InstallError {
    fn from(duplicate: Duplicate) -> Self {
        Self::Taken(duplicate)
    }
}

/// Adds the built-in procedures that `offered` names, but for those of [`mod@file`], [`leftovers`] and [`workers`], which need more than a name.
///
/// Install them last: `sys.procedures` lists what the registry has then.
///
/// # Errors
/// [`InstallError`] when an entry of `offered` names nothing, or the registry has a built-in's name already.
pub fn install(
    registry: Registry,
    offered: &ProceduresConfig,
    limits: &LimitsConfig,
) -> Result<Registry, InstallError> {
    let registry = install_but_list(registry, offered, limits, None, (None, None))?;
    if offered.offers(LIST) { with_list(registry) } else { Ok(registry) }
}

/// The same without `sys.procedures`, for whoever adds more: then [`with_list`] comes last. `sys.facts` tells of `confinement`, and
/// `exec.run` takes its groups from `cgroups` and notes what runs in `notes`.
///
/// # Errors
/// As [`install`].
pub fn install_but_list(
    registry: Registry,
    offered: &ProceduresConfig,
    limits: &LimitsConfig,
    confinement: Option<Confinement>,
    (cgroups, notes): (Option<Arc<Hierarchy>>, Option<Notes>),
) -> Result<Registry, InstallError> {
    refuse_unknown(offered)?;
    let mut registry = registry;
    if offered.offers("exec.run") {
        let limits = ExecLimits::from(limits);
        let run = move |call| exec_run::exec_run(call, limits, (cgroups.clone(), notes.clone()));
        registry = registry.with_program(exec_run::info(), run)?;
    }
    if offered.offers("sys.echo") {
        registry = registry.with(sys::echo_info(), sys::echo)?;
    }
    if offered.offers("sys.facts") {
        let collector = sys::Collector::new(confinement);
        registry = registry.with(sys::facts_info(), move |call| sys::facts(call, collector.clone()))?;
    }
    if offered.offers("sys.log") {
        let log = sys::Log::new();
        registry = registry.on_notification("sys.log", move |from, data| log.write(from, data));
    }
    if offered.offers("sys.ping") {
        registry = registry.with(sys::ping_info(), sys::ping)?;
    }
    if offered.offers("sys.version") {
        registry = registry.with(sys::version_info(), sys::version)?;
    }
    Ok(registry)
}

/// Adds `sys.procedures`, which lists what the registry has. A list that is too large for a message is so for whoever asks for it, and
/// nobody else.
///
/// # Errors
/// [`InstallError`] when the registry has one of this name already.
pub fn with_list(registry: Registry) -> Result<Registry, InstallError> {
    let own = sys::procedures_info();
    let mut all: Vec<&ProcedureInfo> = registry.procedures().chain([&own]).collect();
    all.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    let list = Raw::array(&elements_of(all));
    Ok(registry.with(own, move |call| sys::procedures(&call, list.clone()))?)
}

fn refuse_unknown(offered: &ProceduresConfig) -> Result<(), InstallError> {
    for entry in &offered.builtin {
        let alone = ProceduresConfig { builtin: vec![entry.clone()], ..offered.clone() };
        if !NAMES.iter().any(|name| alone.offers(name)) {
            let nearest = nearest(entry, NAMES.into_iter().chain(["sys.*", "file.*"])).map(str::to_owned);
            return Err(InstallError::Unknown { entry: entry.clone(), nearest });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(entries: &[&str]) -> Result<Vec<String>, String> {
        let offered = ProceduresConfig {
            builtin: entries.iter().map(|&entry| entry.to_owned()).collect(),
            ..ProceduresConfig::default()
        };
        install(Registry::new(), &offered, &LimitsConfig::default())
            .map(|registry| registry.procedures().map(|info| info.name.clone()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_agent_offers_what_its_configuration_names() {
        assert_eq!(installed(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(installed(&["sys.ping"]).unwrap(), ["sys.ping"]);
        let family = ["sys.echo", "sys.facts", "sys.ping", "sys.procedures", "sys.version"];
        assert_eq!(installed(&["sys.*"]).unwrap(), family);
        assert_eq!(installed(&["sys.log"]).unwrap(), Vec::<String>::new(), "a notification is no procedure");
    }

    #[test]
    fn exec_run_is_offered_only_when_named_in_full() {
        assert!(!installed(&["sys.*"]).unwrap().contains(&"exec.run".to_owned()));
        assert_eq!(installed(&["exec.run"]).unwrap(), ["exec.run"]);
        for family in ["*", "exec.*"] {
            assert!(
                installed(&[family]).is_ok_and(|names| !names.contains(&"exec.run".to_owned()))
                    || installed(&[family]).is_err()
            );
        }
    }

    #[test]
    fn a_name_that_does_not_exist_is_refused_with_the_nearest() {
        let said = installed(&["sys.*", "exec.rum"]).unwrap_err();
        assert_eq!(
            said,
            r#"procedures.builtin: there is no built-in procedure "exec.rum"; is "exec.run" meant?"#
        );
        assert_eq!(
            installed(&["frobnicate"]).unwrap_err(),
            r#"procedures.builtin: there is no built-in procedure "frobnicate""#
        );
    }

    #[test]
    fn every_schema_is_an_object_that_allows_no_other_arguments() {
        let offered = ProceduresConfig {
            builtin: vec!["sys.*".into(), "exec.run".into()],
            ..ProceduresConfig::default()
        };
        let registry = install(Registry::new(), &offered, &LimitsConfig::default()).unwrap();
        for info in registry.procedures().filter(|info| info.name != "sys.echo") {
            assert_eq!(info.args["type"], "object", "{}", info.name);
            assert_eq!(info.args["additionalProperties"], false, "{}", info.name);
            assert!(!info.description.is_empty());
        }
    }
}
