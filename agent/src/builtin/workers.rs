//! `sys.workers`: how the long-lived processes of procedures are.

use std::sync::Arc;

use redpoll_config::ProcedureMode;
use redpoll_net::{ProcedureInfo, Registry};
use serde::Serialize;
use serde_json::json;

use super::InstallError;
use super::arguments::{answer, no_arguments};
use crate::procedures::{Deaths, Health, Procedure};

/// The built-in.
pub const WORKERS: &str = "sys.workers";
/// Procedures that one answer lists, with a row for each user that a policy runs them as. All of it fits half a frame of the usual size.
const MAX_ROWS: usize = 500;
/// Characters of how a worker died.
const MAX_WORDS: usize = 200;

#[derive(Debug, Serialize)]
struct Row {
    procedure: String,
    /// Where a policy says as whom it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    workers: usize,
    free: usize,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
}

#[derive(Debug, Serialize)]
struct Trouble {
    deaths: u32,
    last: String,
    next_in_ms: u64,
}

impl From<Deaths> for Trouble {
    fn from(Deaths { deaths, last, next_in }: Deaths) -> Self {
        let last = last.chars().take(MAX_WORDS).collect();
        Self { deaths, last, next_in_ms: u64::try_from(next_in.as_millis()).unwrap_or(u64::MAX) }
    }
}

#[derive(Debug, Serialize)]
struct List {
    workers: Vec<Row>,
    /// Rows beyond those listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

/// What it is.
pub fn info() -> ProcedureInfo {
    ProcedureInfo::new(
        WORKERS,
        "Tells how the workers of procedures are: how many there are and are free, and how those died that did.",
        json!({"type": "object", "properties": {}, "additionalProperties": false}),
    )
}

/// Adds it, for these procedures.
///
/// # Errors
/// [`InstallError`] when the registry has one of this name already.
pub fn install(registry: Registry, procedures: &[Arc<Procedure>]) -> Result<Registry, InstallError> {
    let is_worker = |one: &&Arc<Procedure>| one.manifest().mode == ProcedureMode::Worker;
    let workers: Arc<[Arc<Procedure>]> = procedures.iter().filter(is_worker).cloned().collect();
    let tell = move |call| {
        let workers = workers.clone();
        async move {
            no_arguments(&call)?;
            Ok(answer(&list(&workers))?)
        }
    };
    Ok(registry.with(info(), tell)?)
}

fn list(procedures: &[Arc<Procedure>]) -> List {
    let rows = procedures.iter().flat_map(|procedure| {
        let manifest = procedure.manifest();
        let name = format!("{}@{}", manifest.name, manifest.version);
        let row = move |(user, Health { workers, free, trouble })| Row {
            procedure: name.clone(),
            user,
            workers,
            free,
            trouble: trouble.map(Trouble::from),
        };
        procedure.workers().into_iter().map(row)
    });
    let mut workers: Vec<Row> = rows.collect();
    let more = workers.len().checked_sub(MAX_ROWS).filter(|more| *more > 0);
    workers.truncate(MAX_ROWS);
    List { workers, more }
}
