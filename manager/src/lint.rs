//! `redpoll-manager procedures …`: what is wrong with a folder of the manager's own manifests, and what the rules about calls of them
//! would refuse to everybody, without a daemon.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use redpoll_config::{ExitClass, ManagerConfig, PolicyConfig, Side, Sources, load};
use redpoll_exec::check::{Judges, check_judged};

/// `redpoll-manager procedures …`
#[derive(Debug, Clone, Subcommand)]
pub enum ProceduresCommand {
    /// Check the manifests of a folder and tell everything that is wrong, also what this machine does not have, and what the rules about
    /// calls of them would refuse to everybody. Exit: 0 all good, warnings or not · 64 not.
    ///
    /// Run it as the user of the manager: what runs as the manager runs as you here.
    Check {
        /// The folder, such as /etc/redpoll/manager-procedures.d; otherwise `procedures.dir` of the configuration.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
        /// The rules, a file that exists; otherwise `procedures.policy` of the configuration.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Read this configuration file of the manager; it has to exist.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl ProceduresCommand {
    /// Does it. Each good manifest is a line on stdout, each problem and each warning one on stderr.
    pub fn run(&self) -> ExitCode {
        let Self::Check { folder, policy, config } = self;
        let told = (&mut io::stdout(), &mut io::stderr());
        let class = match check(folder.clone(), policy.clone(), config.clone(), told) {
            Ok(true) => return ExitCode::SUCCESS,
            Ok(false) => ExitClass::Configuration,
            // a reader that has gone away has seen enough
            Err(_closed) => ExitClass::Internal,
        };
        ExitCode::from(class.code())
    }
}

fn check(
    folder: Option<PathBuf>,
    policy: Option<PathBuf>,
    file: Option<PathBuf>,
    (good, bad): (&mut impl Write, &mut impl Write),
) -> io::Result<bool> {
    let must_load = file.is_some();
    // where nobody named a file and none is there, they are the defaults
    let config = match load::<ManagerConfig>(&Sources::of_process(file, Vec::new())) {
        Ok(loaded) => loaded.config,
        Err(why) if must_load => {
            writeln!(bad, "{}", whole(&why))?;
            return Ok(false);
        }
        // defaults are what a machine without a manager has, where a folder is prepared for one; here is a file, and it says something else
        Err(why) => {
            writeln!(
                bad,
                "warning: the configuration cannot be used, and the defaults stand for it: {}",
                whole(&why)
            )?;
            ManagerConfig::default()
        }
    };
    let is_named = policy.is_some();
    let folder = folder.unwrap_or_else(|| config.procedures.dir.clone());
    let rules = config.procedures.rules();
    let policy = PolicyConfig { file: policy.unwrap_or(rules.file), owner: rules.owner };
    let judges = Judges { policy, is_named, offered: Vec::new(), built_in: &[] };
    Ok(check_judged(&folder, Side::Manager, judges, |_| Vec::new(), (good, bad))?.is_good)
}

/// An error with its causes.
fn whole(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
