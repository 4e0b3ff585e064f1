//! Redpoll's configuration: from files, environment and command line to checked, typed values.
//!
//! [`load()`] reads [`ManagerConfig`], [`AgentConfig`] or [`RpctlConfig`]. Later sources win: built-in defaults ← file
//! ← environment (`REDPOLL_MANAGER_…`, `REDPOLL_AGENT_…`, `RPCTL_…`, `__` between levels) ← command line.
//! Unknown keys are refused, and all problems of all sources are reported at once, each with its file and line,
//! variable or flag. [`report`] prints what `--check-config` shows.
//!
//! ```
//! use redpoll_config::{AgentConfig, Override, Sources, load};
//!
//! let overrides = vec![Override::flag("--manager", "manager.addresses", "manager.example")];
//! let loaded = load::<AgentConfig>(&Sources { overrides, ..Sources::default() })?;
//! assert_eq!(loaded.config.manager.addresses[0].port(), 7051);
//! # Ok::<(), redpoll_config::ConfigError>(())
//! ```
//!
//! The feature `daemon` adds what both daemons do alike, see the module `daemon`.
//!
//! Not here: reading certificates (`redpoll-certs`), parsing log filters (whoever logs), command lines (`clap` in
//! the programs). [`check_state_dir`] is for the daemons to call before they start; loading itself touches no
//! file but the configuration.
//!
//! To add a key: a field in its section with its default, its limits in that section's `check`, a line in
//! `config/samples/*.toml`, a row in `docs/configuration.md`. A test fails until all four agree. A key that is a
//! path also goes into [`Config::paths`]. Optional keys are `Option` leaves; a section is never optional, because
//! the default configuration is where the loader learns which keys exist. A table whose names people choose is
//! therefore one key, and shows itself as text. No default may be a [`Secret`]: it would be read back as `***`.
//!
//! Start reading at [`load()`] in `load.rs`.

mod access;
mod address;
mod agent;
mod agents;
mod checks;
#[cfg(feature = "daemon")]
pub mod daemon;
mod effective;
mod environment;
mod error;
mod exit_class;
mod file;
mod files;
mod hosts;
mod jobs;
mod known;
mod load;
mod manager;
mod manager_procedures;
mod manifest;
mod permissions;
mod policy;
mod relay;
mod rpctl;
mod secret;
mod sections;
mod setting;
mod sources;
mod store;
mod values;

pub use access::AccessConfig;
pub use address::{Address, AddressError, DEFAULT_PORT};
pub use agent::{AgentConfig, AgentSection, DialConfig, LimitsConfig, ProceduresConfig, RunGroups};
pub use agents::{ANY, AgentsConfig, ITSELF};
pub use effective::{Effective, report};
pub use error::{ConfigError, Origin, Problem};
pub use exit_class::ExitClass;
pub use file::MAX_FILE_LEN;
pub use files::FilesConfig;
pub use hosts::HostPattern;
pub use jobs::{CallbacksConfig, JobsConfig, MAX_WEBHOOK_SECRET, MIN_WEBHOOK_SECRET, WebhookSecretError};
pub use load::{Config, Loaded, Program, Shared, load};
pub use manager::{AdmissionConfig, ListenConfig, ManagerConfig, ManagerSection};
pub use manager_procedures::ManagerProceduresConfig;
pub use manifest::{
    Callers, MAX_MANIFESTS, ManagerRights, Manifest, ManifestProblem, ProcedureLimits, ProcedureMode,
    ProcedureOutput, ProcedureSchedule, Procedures, Side, is_passing, load_folder, load_folder_of,
    other_case, procedure_name,
};
pub use permissions::{PermissionError, check_private, check_state_dir, look_at_state_dir};
pub use policy::{LoadedPolicy, PolicyConfig, PolicyOwner, load_policy};
pub use relay::RelayConfig;
pub use rpctl::{AskConfig, CallConfig, ColorChoice, OutputConfig, OutputFormat, RpctlConfig};
pub use secret::Secret;
pub use sections::{
    LogConfig, LogFormat, MAX_FRAME_LIMIT, MAX_IN_FLIGHT, MAX_WINDOW, SessionConfig, TlsConfig,
};
pub use sources::{Override, Sources};
pub use store::StoreConfig;
pub use values::ValueError;
pub use values::duration::{MAX_DURATION, format_duration, parse_duration};
pub use values::size::{format_size, parse_size};
