//! `redpoll-manager store …`: what is done with the store while no manager runs.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use redpoll_config::daemon::Failure;
use redpoll_config::{ExitClass, ManagerConfig, Sources, load};

use crate::store::sqlite::{CompactError, Compacted, OpenError, compact};

/// What can be done with it.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Writes the database anew, so that nothing deleted is left in it; with the manager stopped, as its user.
    ///
    /// Builds that did not yet overwrite what they replaced left copies of secret arguments in unused parts of the file. It needs as much free space as the database and
    /// its log have, and takes as long as the disk needs to read it twice and write it once. Ended at any moment, it has changed nothing.
    Compact {
        /// Read this configuration file; it has to exist.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl StoreCommand {
    /// Does it. What became of it goes to stdout, what is wrong to stderr.
    pub fn run(&self) -> ExitCode {
        let Self::Compact { config } = self;
        match compacted(config.clone()) {
            Ok(Compacted { before, after }) => {
                // a reader that has gone away has seen enough
                let _gone = writeln!(
                    io::stdout(),
                    "{before} bytes before, {after} now; nothing deleted is left in the database"
                );
                ExitCode::SUCCESS
            }
            Err(failure) => failure.report("redpoll-manager"),
        }
    }
}

fn compacted(config: Option<PathBuf>) -> Result<Compacted, Failure> {
    let loaded = load::<ManagerConfig>(&Sources::of_process(config, Vec::new()))?;
    compact(&loaded.config.manager.state_dir).map_err(|error| {
        let class = match &error {
            CompactError::Open(OpenError::Permissions(_)) => ExitClass::Permissions,
            CompactError::Open(_)
            | CompactError::Missing { .. }
            | CompactError::NoSpace { .. }
            | CompactError::Damaged(_) => ExitClass::Internal,
        };
        Failure::new(class, "the store was not compacted, and is as it was").caused_by(error)
    })
}
