//! `redpoll-agent procedures …`: what is wrong with a folder of manifests, and what is offered, without a daemon.
//!
//! `machine`: what a manifest names that this machine does not have. `keywords`: what is in a schema and checks nothing.

mod keywords;
mod machine;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use redpoll_config::{ExitClass, load_folder};

/// `redpoll-agent procedures …`
#[derive(Debug, Clone, Subcommand)]
pub enum ProceduresCommand {
    /// Check the manifests of a folder and tell everything that is wrong, also what this machine does not have. Exit: 0 all good, warnings
    /// or not · 64 not.
    Check {
        /// The folder, such as /etc/redpoll/procedures.d.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
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
            Self::Check { folder } => check(folder, &mut io::stdout(), &mut io::stderr())
                .unwrap_or_else(|_closed| ExitCode::from(ExitClass::Internal.code())),
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

fn check(folder: &Path, good: &mut impl Write, bad: &mut impl Write) -> io::Result<ExitCode> {
    let wrong = ExitCode::from(ExitClass::Configuration.code());
    if !folder.is_dir() {
        writeln!(bad, "{}: there is no such folder", folder.display())?;
        return Ok(wrong);
    }
    let loaded = load_folder(folder);
    let mut is_good = loaded.problems.is_empty();
    for manifest in &loaded.manifests {
        let (mut failures, mut warnings) = (machine::failures(manifest), machine::warnings(manifest));
        if !manifest.enabled {
            // it is not run, so nothing fails for want of what it names
            warnings.extend(std::mem::take(&mut failures).into_iter().map(machine::as_warning));
        }
        if failures.is_empty() {
            let note = if manifest.enabled { "" } else { " (not enabled)" };
            writeln!(good, "{}@{}{note}", manifest.name, manifest.version)?;
        }
        is_good &= failures.is_empty();
        for problem in failures.iter().chain(&warnings) {
            writeln!(bad, "{problem}")?;
        }
    }
    for problem in &loaded.problems {
        writeln!(bad, "{problem}")?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { wrong })
}
