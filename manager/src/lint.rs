//! `redpoll-manager procedures …`: what is wrong with a folder of the manager's own manifests, without a daemon.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use redpoll_config::{ExitClass, Side};
use redpoll_exec::check::check_folder;

/// `redpoll-manager procedures …`
#[derive(Debug, Clone, Subcommand)]
pub enum ProceduresCommand {
    /// Check the manifests of a folder and tell everything that is wrong, also what this machine does not have. Exit: 0 all good, warnings
    /// or not · 64 not.
    Check {
        /// The folder, such as /etc/redpoll/manager-procedures.d.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

impl ProceduresCommand {
    /// Does it. Each good manifest is a line on stdout, each problem and each warning one on stderr.
    pub fn run(&self) -> ExitCode {
        let Self::Check { folder } = self;
        let told = (&mut io::stdout(), &mut io::stderr());
        let class = match check_folder(folder, Side::Manager, |_| Vec::new(), told) {
            Ok(checked) if checked.is_good => return ExitCode::SUCCESS,
            Ok(_) => ExitClass::Configuration,
            // a reader that has gone away has seen enough
            Err(_closed) => ExitClass::Internal,
        };
        ExitCode::from(class.code())
    }
}
