//! `rp.agents.revoke` and its kin: who is shut out.

use serde::{Deserialize, Serialize};

/// The arguments of `rp.agents.revoke` and `rp.operators.revoke`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeArguments {
    /// The agent or operator.
    pub id: String,
    /// One of its certificates alone: the serial number or the SHA-256, in hexadecimal. Absent: every one, until it is restored.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Why, for those who look at the list; at most 512 bytes.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The answer: it is on disk, the sessions are closed, and nothing that was said on them has an effect any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAnswer {
    /// Whether it was not revoked before.
    pub changed: bool,
    /// How many sessions and legs were cut.
    pub cut: u64,
    /// How many of these are still ending: something that the manager runs for them does not stop. 0 as a rule.
    #[serde(default)]
    pub ending: u64,
    /// Whether the manager has ever seen it; always `false` for operators without a session.
    #[serde(default)]
    pub known: bool,
}

/// The arguments of `rp.agents.restore` and `rp.operators.restore`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreArguments {
    /// The agent or operator.
    pub id: String,
    /// The certificate, if one alone was revoked.
    #[serde(default)]
    pub certificate: Option<String>,
}

/// The arguments of `rp.agents.revoked` and `rp.operators.revoked`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedArguments {
    /// Only entries after this one, as an answer said it.
    #[serde(default)]
    pub after: Option<String>,
    /// At most so many; 1 to 1,000, 500 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer, in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedList {
    /// The entries.
    pub revoked: Vec<RevokedSummary>,
    /// What to continue after, when there are more.
    #[serde(default)]
    pub next: Option<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedSummary {
    /// The agent or operator.
    pub id: String,
    /// The one certificate that is revoked; absent: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// When, by whom and why.
    #[serde(flatten)]
    pub revocation: Revocation,
}

/// When, by whom and why somebody was shut out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When, in UTC milliseconds.
    pub at_ms: u64,
    /// Who did it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The arguments of `rp.operators.list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorListArguments {
    /// Only names after this one.
    #[serde(default)]
    pub after: Option<String>,
    /// At most so many; 1 to 1,000, 500 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer, in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorList {
    /// The operators.
    pub operators: Vec<OperatorSummary>,
    /// The name to continue after, when there are more.
    #[serde(default)]
    pub next: Option<String>,
}

/// An operator that is connected or revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSummary {
    /// The name.
    pub id: String,
    /// How many sessions they have.
    pub sessions: u64,
    /// They are shut out; absent when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}
