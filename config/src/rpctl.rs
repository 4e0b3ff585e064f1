//! The configuration of `rpctl`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::agent::MAX_ADDRESSES;
use crate::checks::Checks;
use crate::error::Problem;
use crate::load::{Config, Program, Shared};
use crate::sections::{DEADLINE, LogConfig, TlsConfig};
use crate::values::choice::choice;
use crate::values::{duration, list};

const DAY: Duration = Duration::from_secs(86_400);

/// Everything `rpctl` can be told once and for all. See `config/samples/rpctl.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpctlConfig {
    /// `[manager]`: whom to ask.
    pub manager: AskConfig,
    /// `[tls]`: the operator's certificate and key, and the authorities.
    pub tls: TlsConfig,
    /// `[output]`: how answers are shown.
    pub output: OutputConfig,
    /// `[call]`: defaults of calls.
    pub call: CallConfig,
    /// `[log]`: what is logged, on stderr.
    pub log: LogConfig,
}

/// `[manager]`: whom to ask. `manager = "…"` alone stands for `manager.address`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskConfig {
    /// The managers, tried in this order; at least one.
    #[serde(with = "list")]
    pub address: Vec<Address>,
    /// How long a connection may take, TLS and hello included.
    #[serde(with = "duration")]
    pub dial_timeout: Duration,
}

/// `[output]`: how answers are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// The form of answers. Absent: a table.
    pub format: Option<OutputFormat>,
    /// Whether there are colours.
    pub color: ColorChoice,
}

/// `[call]`: defaults of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallConfig {
    /// How long to wait for the answer of a call.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

choice! {
    /// The form of answers.
    OutputFormat, "table, json, jsonl or yaml", {
        /// Columns for people.
        Table = "table",
        /// One JSON document.
        Json = "json",
        /// One JSON document a line.
        Jsonl = "jsonl",
        /// One YAML document.
        Yaml = "yaml",
    }
}

choice! {
    /// Whether there are colours.
    ColorChoice, "auto, always or never", {
        /// On a terminal that can, unless `NO_COLOR` is set.
        Auto = "auto",
        /// Everywhere.
        Always = "always",
        /// Nowhere.
        Never = "never",
    }
}

impl Default for RpctlConfig {
    fn default() -> Self {
        let localhost: Vec<Address> = "localhost".parse().into_iter().collect();
        Self {
            manager: AskConfig { address: localhost, dial_timeout: Duration::from_secs(10) },
            tls: TlsConfig::named("~/.config/redpoll", "operator"),
            output: OutputConfig { format: None, color: ColorChoice::Auto },
            call: CallConfig { timeout: Duration::from_secs(30) },
            log: LogConfig::at("warn"),
        }
    }
}

impl Config for RpctlConfig {
    const PROGRAM: Program = Program {
        prefix: "RPCTL_",
        default_file: "~/.config/redpoll/rpctl.toml",
        daemon: false,
        shorthands: &[("manager", "address")],
    };

    fn check(&self) -> Vec<Problem> {
        let mut checks = Checks::default();
        if self.manager.address.is_empty() {
            checks.add("manager.address", "name the manager, such as \"manager.example:7051\"");
        }
        if self.manager.address.len() > MAX_ADDRESSES {
            checks.add("manager.address", format!("more than {MAX_ADDRESSES} managers"));
        }
        checks.duration("manager.dial_timeout", self.manager.dial_timeout, DEADLINE);
        self.tls.check(&mut checks);
        checks.duration("call.timeout", self.call.timeout, Duration::from_millis(100)..=DAY * 30);
        self.log.check(&mut checks);
        checks.into_problems()
    }

    fn shared(&self) -> Shared<'_> {
        Shared { tls: &self.tls, log: &self.log }
    }

    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        self.tls.paths().into_iter().collect()
    }
}
