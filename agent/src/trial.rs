//! `redpoll-agent policy …`: the policy of this machine without a daemon, and what it says of a call that does not run.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use redpoll_common::wire::Raw;
use redpoll_config::{AgentConfig, ExitClass, Sources, load, load_folder};
use redpoll_net::{ProcedureInfo, Registry};
use serde_json::{Map, Value};

use crate::builtin;
use crate::gate::{Asked, Gate, Kind, Own, Subject, at, moment};
use crate::procedures::account_of;

/// The exit code of a call that would be refused, as in `rpctl`.
const REFUSED: u8 = 3;

/// `redpoll-agent policy …`
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Say whether a call would be allowed, without running anything. Exit: 0 allowed · 3 refused · 64 configuration.
    ///
    /// Run it as the user of the agent: what runs as the agent runs as you here.
    Test(Test),
    /// Print the policy as it was understood, as JSON, and its digest. Exit: 0 good · 64 not.
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
    /// Named arguments.
    #[arg(value_name = "KEY=VALUE|KEY:=JSON")]
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
    /// Positional arguments; of exec.run, the program and its arguments.
    #[arg(last = true, value_name = "ARGV")]
    argv: Vec<String>,
}

impl PolicyCommand {
    /// Does it. What was asked for goes to stdout, what is wrong to stderr.
    pub fn run(&self) -> ExitCode {
        let (out, err) = (&mut io::stdout(), &mut io::stderr());
        let done = match self {
            Self::Test(test) => test.run(out),
            Self::Show { config } => show(config.clone(), out),
        };
        done.unwrap_or_else(|why| {
            // a reader that has gone away has seen enough
            let _gone = writeln!(err, "{why}");
            ExitCode::from(ExitClass::Configuration.code())
        })
    }
}

fn configuration(file: Option<PathBuf>) -> Result<AgentConfig, String> {
    let loaded = load::<AgentConfig>(&Sources::of_process(file, Vec::new()));
    loaded.map(|loaded| loaded.config).map_err(|error| error.to_string())
}

fn open(config: &AgentConfig) -> Result<Gate, String> {
    Gate::open(&config.policy.file).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

fn show(file: Option<PathBuf>, out: &mut impl Write) -> Result<ExitCode, String> {
    let config = configuration(file)?;
    let gate = open(&config)?;
    let value: Value = serde_json::from_str(&gate.canonical()).map_err(|error| error.to_string())?;
    let told = writeln!(out, "{value:#}")
        .and_then(|()| writeln!(out, "# sha256 {} · {}", gate.digest(), config.policy.file.display()));
    told.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
}

impl Test {
    fn run(&self, out: &mut impl Write) -> Result<ExitCode, String> {
        let config = configuration(self.config.clone())?;
        let gate = open(&config)?;
        let (info, kind) = find(&config, &self.procedure)?;
        let (args, kwargs) = (encode(&self.argv)?, encode(&named(&self.arguments)?)?);
        let now = self.at.as_deref().map_or_else(|| Ok(moment()), |text| time(text).map(at))?;
        let (operator, roles) = (self.operator.as_deref(), self.roles.as_deref());
        let asked = Asked { args: &args, kwargs: &kwargs, operator, roles, now, counts: false };
        let label = format!("{}@{}", info.name, info.version);
        let own = Own::of_process().name;
        let (line, code) = match gate.judge(&info, &Subject::new(kind.clone()), asked) {
            Ok(leave) => {
                let user = match (leave.run_as, kind) {
                    (Some(user), _) => format!("as {user}"),
                    (None, Kind::Inside | Kind::Own) => "within the agent".to_owned(),
                    (None, Kind::Manifest(Some(account))) => format!("as {}", account.name),
                    (None, Kind::Program | Kind::Manifest(None)) => format!("as {own}"),
                };
                (format!("allowed: {label} by rule {:?}, running {user}", leave.rule), ExitCode::SUCCESS)
            }
            Err(fault) => {
                (format!("refused: {label}: {} ({})", fault.message, fault.code), ExitCode::from(REFUSED))
            }
        };
        writeln!(out, "{line}").map(|()| code).map_err(|error| error.to_string())
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Raw, String> {
    Raw::encode(value).map_err(|error| format!("the arguments cannot be sent: {error}"))
}

fn named(arguments: &[String]) -> Result<Map<String, Value>, String> {
    let mut named = Map::new();
    for argument in arguments {
        let (key, text) =
            argument.split_once('=').ok_or_else(|| format!("{argument:?} is not KEY=VALUE or KEY:=JSON"))?;
        let (key, value) = match key.strip_suffix(':') {
            Some(key) => {
                let value = serde_json::from_str(text);
                (key, value.map_err(|error| format!("{key}: {text:?} is not JSON: {error}"))?)
            }
            None => (key, Value::String(text.to_owned())),
        };
        if named.insert(key.to_owned(), value).is_some() {
            return Err(format!("{key} is given twice"));
        }
    }
    Ok(named)
}

fn time(text: &str) -> Result<Timestamp, String> {
    let local = || {
        let civil: DateTime = text.parse().ok()?;
        civil.to_zoned(TimeZone::system()).ok().map(|zoned| zoned.timestamp())
    };
    text.parse().ok().or_else(local).ok_or_else(|| format!("{text:?} is not a time such as 2026-01-31T09:30"))
}

/// What is offered here under a name, built in or described.
fn find(config: &AgentConfig, procedure: &str) -> Result<(ProcedureInfo, Kind), String> {
    let all = offered(config)?;
    let (name, version) = match procedure.split_once('@') {
        None => (procedure, None),
        Some((name, version)) => (name, Some(version)),
    };
    let fits = |(info, _): &(ProcedureInfo, Kind)| {
        info.name == name && version.is_none_or(|version| version == info.version.to_string())
    };
    let found = all.into_iter().filter(fits).max_by_key(|(info, _)| info.version);
    found.ok_or_else(|| {
        format!("{procedure} is not offered here; `redpoll-agent procedures list` names what is")
    })
}

/// Everything that the configuration and the folder of manifests offer, whatever the manager has disabled.
pub(crate) fn offered(config: &AgentConfig) -> Result<Vec<(ProcedureInfo, Kind)>, String> {
    let registry = builtin::install(Registry::new(), &config.procedures, &config.limits)
        .map_err(|error| error.to_string())?;
    let files = builtin::file::infos().into_iter().filter(|info| config.procedures.offers(&info.name));
    let built_in = registry.procedures().cloned().chain(files);
    let mut all: Vec<(ProcedureInfo, Kind)> = built_in
        .map(|info| {
            let kind = Kind::built_in(&info.name);
            (info, kind)
        })
        .collect();
    for manifest in load_folder(&config.procedures.dir).manifests.iter().filter(|manifest| manifest.enabled) {
        let account =
            account_of(manifest).map_err(|error| format!("{}: {error}", manifest.file.display()))?;
        all.push((crate::procedures::info(manifest), Kind::Manifest(account)));
    }
    all.sort_by(|(a, _), (b, _)| (&a.name, a.version).cmp(&(&b.name, b.version)));
    Ok(all)
}

/// `redpoll-agent procedures list`
pub(crate) fn list(file: Option<PathBuf>, out: &mut impl Write) -> Result<(), String> {
    for (info, _) in offered(&configuration(file)?)? {
        writeln!(out, "{}@{}  {}", info.name, info.version, info.description)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
