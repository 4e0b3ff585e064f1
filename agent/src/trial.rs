//! `redpoll-agent policy …`: the policy of this machine without a daemon, and what it says of a call that does not run.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::DateTime;
use redpoll_common::api::trial::PolicyTestAnswer;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::{AgentConfig, ExitClass, Sources, load, load_folder};
use redpoll_net::{CallContext, Registry};
use redpoll_schema::policy::Whose;
use serde_json::Value;

use crate::builtin;
use crate::gate::{Asked, Counting, Gate, Kind, at, local, moment};
use crate::offered::{Current, NOT_ENABLED};
use crate::procedures::account_of;
use crate::typed;

/// The exit code of a call that would be refused, as in `rpctl`.
const REFUSED: u8 = 3;

/// `redpoll-agent policy …`
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Say whether a call would be allowed, without running anything. Exit: 0 allowed · 3 refused · 64 configuration.
    ///
    /// Run it as the user of the agent: what runs as the agent runs as you here.
    Test(Test),
    /// Print the policy as it was understood, as JSON, and on stderr its digest. Exit: 0 good · 64 not.
    Show {
        /// Read this configuration file of the agent; it has to exist.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// `redpoll-agent policy test PROCEDURE …`
#[derive(Debug, Clone, Args)]
pub struct Test {
    /// `name` or `name@version`.
    procedure: String,
    /// Its arguments, written as for `rpctl call`.
    #[arg(value_name = "ARG|KEY=VALUE|KEY:=JSON|@FILE", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Who calls; without it nobody is named, as by an old manager.
    #[arg(long, value_name = "ID")]
    operator: Option<String>,
    /// What the operator is.
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',')]
    roles: Option<Vec<String>>,
    /// When: 2026-01-31T09:30 where the machine is, or with a zone at its end.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Read this configuration file of the agent; it has to exist.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Positional arguments as they stand; of exec.run, the program and its arguments.
    #[arg(last = true, value_name = "ARGV")]
    argv: Vec<OsString>,
}

impl PolicyCommand {
    /// Does it. What was asked for goes to stdout, what is wrong to stderr.
    pub fn run(&self) -> ExitCode {
        let (out, err) = (&mut io::stdout(), &mut io::stderr());
        let done = match self {
            Self::Test(test) => test.run(out, err),
            Self::Show { config } => show(config.clone(), out, err),
        };
        done.unwrap_or_else(|why| {
            // a reader that has gone away has seen enough
            let _gone = writeln!(err, "{why}");
            ExitCode::from(ExitClass::Configuration.code())
        })
    }
}

pub(crate) fn configuration(file: Option<PathBuf>) -> Result<AgentConfig, String> {
    let loaded = load::<AgentConfig>(&Sources::of_process(file, Vec::new()));
    loaded.map(|loaded| loaded.config).map_err(|error| {
        let causes = std::iter::successors(Some(&error as &(dyn Error + 'static)), |&error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    })
}

fn open(config: &AgentConfig) -> Result<Gate, String> {
    Gate::open(&config.policy, Whose::Agent).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

fn show(file: Option<PathBuf>, out: &mut impl Write, err: &mut impl Write) -> Result<ExitCode, String> {
    let config = configuration(file)?;
    let gate = open(&config)?;
    if let Some(said) = gate.replaceable() {
        writeln!(err, "warning: {said}").map_err(|error| error.to_string())?;
    }
    let value: Value = serde_json::from_str(&gate.canonical()).map_err(|error| error.to_string())?;
    // beside the document: what reads it as JSON reads nothing else
    let told = writeln!(out, "{value:#}")
        .and_then(|()| writeln!(err, "# sha256 {} · {}", gate.digest(), config.policy.file.display()));
    told.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
}

impl Test {
    fn run(&self, out: &mut impl Write, err: &mut impl Write) -> Result<ExitCode, String> {
        let config = configuration(self.config.clone())?;
        let gate = open(&config)?;
        let (args, kwargs) = typed::read(&self.arguments, &self.argv)?;
        let now = self.at.as_deref().map_or_else(|| Ok(moment()), |text| time(text).map(at))?;
        let (operator, roles) = (self.operator.as_deref(), self.roles.as_deref());
        let counting = Counting::Looks;
        let asked = Asked { args: &args, kwargs: &kwargs, operator, roles, now, counting };
        let Described { registry, kinds } = described(&config)?;
        let known = registry.procedures().chain(registry.absent());
        let known: Vec<_> = known.map(|info| (info.name.clone(), info.version)).collect();
        for said in gate.strangers(&known, &builtin::NAMES).into_iter().chain(gate.doubts(&known)) {
            writeln!(err, "warning: {}: {said}", config.policy.file.display())
                .map_err(|error| error.to_string())?;
        }
        // the same judgement as that of the agent that runs
        let current = Current::new(registry, Arc::new(gate), kinds);
        let answer = current.trial(&self.procedure, asked);
        let PolicyTestAnswer { allowed, procedure, rule, user, code, message, .. } = answer;
        let message = message.unwrap_or_default();
        let Some(label) = procedure else {
            return Err(format!("{message}; `redpoll-agent procedures list` names what is"));
        };
        let (line, code) = if allowed {
            let user = user.map_or_else(|| "within the agent".to_owned(), |user| format!("as {user}"));
            let rule = rule.unwrap_or_default();
            (format!("allowed: {label} by rule {rule:?}, running {user}"), ExitCode::SUCCESS)
        } else {
            let code = code.unwrap_or_default();
            (format!("refused: {label}: {message} ({code})"), ExitCode::from(REFUSED))
        };
        let mut told = writeln!(out, "{line}");
        if let Some(asks) = current.asks(&self.procedure) {
            told = told.and_then(|()| writeln!(out, "it may ask the manager to {asks}"));
        }
        told.map(|()| code).map_err(|error| error.to_string())
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let wrong = || format!("{text:?} is not a time such as 2026-01-31T09:30");
    let civil: DateTime = text.parse().map_err(|_no_time| wrong())?;
    let zone =
        local().map_err(|why| format!("{text:?} says no time zone, and {why}; end it with Z, or +01:00"))?;
    civil.to_zoned(zone).map(|zoned| zoned.timestamp()).map_err(|_no_time| wrong())
}

/// What the configuration and the folder of manifests offer, whatever the manager has disabled.
struct Described {
    /// Knows what there is, and runs none of it that a manifest describes.
    registry: Registry,
    /// What is behind that.
    kinds: BTreeMap<(String, u32), Kind>,
}

fn described(config: &AgentConfig) -> Result<Described, String> {
    let mut registry = builtin::install(Registry::new(), &config.procedures, &config.limits)
        .map_err(|error| error.to_string())?;
    let need_more = builtin::file::infos().into_iter().chain(builtin::leftovers::infos());
    let need_more = need_more.chain([builtin::workers::info()]);
    for info in need_more.filter(|info| config.procedures.offers(&info.name)) {
        registry = registry.with(info, nothing).map_err(|error| error.to_string())?;
    }
    let mut kinds = BTreeMap::new();
    for manifest in &load_folder(&config.procedures.dir).manifests {
        let info = crate::procedures::info(manifest);
        // of two that have the same name the agent offers the first
        if registry.offers(&format!("{}@{}", info.name, info.version)).is_ok() {
            continue;
        }
        if !manifest.enabled {
            registry = registry.without(&info.name, info.version, NOT_ENABLED);
            continue;
        }
        let account =
            account_of(manifest).map_err(|error| format!("{}: {error}", manifest.file.display()))?;
        kinds.insert((info.name.clone(), info.version), Kind::Manifest(account));
        registry = registry.with(info, nothing).map_err(|error| error.to_string())?;
    }
    Ok(Described { registry, kinds })
}

async fn nothing(_call: CallContext) -> Result<Raw, Fault> {
    Err(Fault::new(FaultCode::Internal, "nothing runs in a trial"))
}

/// `redpoll-agent procedures list`
pub(crate) fn list(file: Option<PathBuf>, out: &mut impl Write) -> Result<(), String> {
    for info in described(&configuration(file)?)?.registry.procedures() {
        writeln!(out, "{}@{}  {}", info.name, info.version, info.description)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
