//! `redpoll-agent procedures …`: what is wrong with a folder of manifests, and what is offered, without a daemon.
//!
//! The check itself is [`redpoll_exec::check`]; here it is said where the policy and the limits of the machine are.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use redpoll_config::{AgentConfig, ExitClass, Manifest, PolicyConfig, Side, Sources};
use redpoll_exec::ExecLimits;
use redpoll_exec::check::{Judges, capped, check_judged};

use crate::builtin::NAMES;

/// `redpoll-agent procedures …`
#[derive(Debug, Clone, Subcommand)]
pub enum ProceduresCommand {
    /// Check the manifests of a folder and tell everything that is wrong, also what this machine does not have, and what the policy of
    /// its owner would refuse to everybody. Exit: 0 all good, warnings or not · 64 not.
    ///
    /// Run it as the user of the agent: what runs as the agent runs as you here.
    Check {
        /// The folder, such as /etc/redpoll/procedures.d; otherwise `procedures.dir` of the configuration.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
        /// The policy, a file that exists; otherwise that of the configuration.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Read this configuration file of the agent; it has to exist.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Name what the configuration and its folder of manifests offer, whatever the manager has disabled.
    List {
        /// Read this configuration file of the agent; it has to exist.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl ProceduresCommand {
    /// Does it. Each good manifest is a line on stdout, each problem and each warning one on stderr.
    pub fn run(&self) -> ExitCode {
        match self {
            // a reader that has gone away has seen enough
            Self::Check { folder, policy, config } => {
                let (good, bad) = (&mut io::stdout(), &mut io::stderr());
                check(folder.clone(), policy.clone(), config.clone(), (good, bad))
                    .unwrap_or_else(|_closed| ExitCode::from(ExitClass::Internal.code()))
            }
            Self::List { config } => match crate::trial::list(config.clone(), &mut io::stdout()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(why) => {
                    let _gone = writeln!(io::stderr(), "{why}");
                    ExitCode::from(ExitClass::Configuration.code())
                }
            },
        }
    }
}

fn check(
    folder: Option<PathBuf>,
    policy: Option<PathBuf>,
    file: Option<PathBuf>,
    (good, bad): (&mut impl Write, &mut impl Write),
) -> io::Result<ExitCode> {
    let wrong = ExitCode::from(ExitClass::Configuration.code());
    let is_named = file.is_some();
    let has_file = Sources::of_process(file.clone(), Vec::new()).has_file::<AgentConfig>();
    let (config, limits) = match crate::trial::configuration(file) {
        Ok(config) => {
            let limits = ExecLimits::from(&config.limits);
            (config, Some(limits))
        }
        Err(why) if is_named => {
            writeln!(bad, "{why}")?;
            return Ok(wrong);
        }
        // a machine without an agent, where a folder is prepared for others: nobody knows their limits
        Err(_) if !has_file => (AgentConfig::default(), None),
        // there is a file, and it says something else than the defaults
        Err(why) => {
            writeln!(bad, "warning: the configuration cannot be used, and the defaults stand for it: {why}")?;
            (AgentConfig::default(), None)
        }
    };
    let folder = folder.unwrap_or_else(|| config.procedures.dir.clone());
    let more = |manifest: &Manifest| {
        limits.iter().flat_map(|limits| capped(manifest, limits, Side::Agent)).collect()
    };
    let is_named = policy.is_some();
    let file = policy.unwrap_or_else(|| config.policy.file.clone());
    let programs = config.procedures.offers("exec.run").then(|| ("exec.run".to_owned(), 1));
    let judges = Judges {
        policy: PolicyConfig { file, ..config.policy },
        is_named,
        offered: programs.into_iter().collect(),
        built_in: &NAMES,
    };
    let checked = check_judged(&folder, Side::Agent, judges, more, (good, bad))?;
    Ok(if checked.is_good { ExitCode::SUCCESS } else { wrong })
}
