//! Operators by role: a TOML table `ROLE = ["ann", "ci-*"]`, or such a table as text, as of [`commands`].

use serde::{Deserializer, Serializer};

use super::commands::{self, Commands};

pub(crate) fn serialize<S: Serializer>(roles: &Commands, serializer: S) -> Result<S::Ok, S::Error> {
    commands::serialize(roles, serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Commands, D::Error> {
    commands::read(deserializer, "a table of lists of texts, such as { deploy = [\"ann\", \"ci-*\"] }")
}
