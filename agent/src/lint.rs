//! `redpoll-agent procedures …`: what is wrong with a folder of manifests, and what is offered, without a daemon.
//!
//! The check of the folder itself is [`redpoll_exec::check`]; here it is asked what the policy of the machine makes of it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use redpoll_config::{AgentConfig, ExitClass, Manifest, ManifestProblem, PolicyConfig, Side};
use redpoll_exec::ExecLimits;
use redpoll_exec::check::{as_warning, capped, check_folder};
use redpoll_exec::procedures::{account_of, info};
use redpoll_schema::policy::Whose;

use crate::builtin::NAMES;
use crate::gate::{Gate, Kind, Subject};

/// `redpoll-agent procedures …`
#[derive(Debug, Clone, Subcommand)]
pub enum ProceduresCommand {
    /// Check the manifests of a folder and tell everything that is wrong, also what this machine does not have, and what the policy of
    /// its owner would refuse to everybody. Exit: 0 all good, warnings or not · 64 not.
    ///
    /// Run it as the user of the agent: what runs as the agent runs as you here.
    Check {
        /// The folder, such as /etc/redpoll/procedures.d.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
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
                check(folder, policy.clone(), config.clone(), (good, bad))
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
    folder: &Path,
    policy: Option<PathBuf>,
    file: Option<PathBuf>,
    (good, bad): (&mut impl Write, &mut impl Write),
) -> io::Result<ExitCode> {
    let wrong = ExitCode::from(ExitClass::Configuration.code());
    let is_named = file.is_some();
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
        Err(_) => (AgentConfig::default(), None),
    };
    // without a file the default holds; a name that was given says that there is one
    let is_missing =
        |file: &PathBuf| fs::symlink_metadata(file).is_err_and(|why| why.kind() == io::ErrorKind::NotFound);
    if let Some(named) = policy.as_ref().filter(|file| is_missing(file)) {
        writeln!(bad, "{}: there is no such policy; the folder was not checked", named.display())?;
        return Ok(wrong);
    }
    let policy = policy.unwrap_or_else(|| config.policy.file.clone());
    let gate = Gate::open(&PolicyConfig { file: policy.clone(), ..config.policy }, Whose::Agent);
    let more = |manifest: &Manifest| {
        let refused = gate.as_ref().ok().and_then(|gate| never(gate, manifest));
        let capped = limits.iter().flat_map(|limits| capped(manifest, limits, Side::Agent));
        refused.into_iter().chain(capped).collect()
    };
    let checked = check_folder(folder, Side::Agent, more, (good, bad))?;
    let is_good = checked.is_good && gate.is_ok();
    match &gate {
        Err(problems) => {
            for problem in problems {
                writeln!(bad, "{problem}")?;
            }
        }
        // of a file with a mistake the name may be another
        Ok(gate) if checked.is_whole => {
            let described =
                checked.manifests.iter().map(|manifest| (manifest.name.clone(), manifest.version));
            let programs = config.procedures.offers("exec.run").then(|| ("exec.run".to_owned(), 1));
            let known: Vec<_> = described.chain(programs).collect();
            for said in gate.strangers(&known, &NAMES).into_iter().chain(gate.doubts(&known)) {
                writeln!(bad, "{}: warning: {said}", policy.display())?;
            }
        }
        Ok(_) => {}
    }
    Ok(if is_good { ExitCode::SUCCESS } else { wrong })
}

/// That nobody may call it.
fn never(gate: &Gate, manifest: &Manifest) -> Option<ManifestProblem> {
    let subject = Subject::new(Kind::Manifest(account_of(manifest).ok()?));
    let why = gate.never(&info(manifest), &subject)?;
    let what = format!("nobody may call {}@{}: {why}", manifest.name, manifest.version);
    let field = if manifest.user.is_some() { "user" } else { "name" }.to_owned();
    ManifestProblem::of_fields(&manifest.file, [(field, what)]).into_iter().next().map(as_warning)
}
