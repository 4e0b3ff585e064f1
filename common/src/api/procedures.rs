//! What agents offer, as operators ask for it.

use serde::{Deserialize, Serialize};

/// The arguments of `rp.agents.procedures`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProceduresArguments {
    /// The agent.
    pub agent: String,
    /// Only this procedure: `name` for all its versions, or `name@version`.
    #[serde(default)]
    pub procedure: Option<String>,
    /// Only what comes after so many elements, as the page before said in `next`.
    #[serde(default)]
    pub after: Option<u64>,
}

/// One procedure that an agent offers: an element of the answer of `sys.procedures`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcedureSummary {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// Why nobody should use this version any more, and what to use.
    #[serde(default)]
    pub deprecated: Option<String>,
}
