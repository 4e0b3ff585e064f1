//! `redpoll-manager`: parses the command line, then [`redpoll_manager::app`].

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use redpoll_config::daemon::{DaemonArgs, Failure, logging};
use redpoll_config::{ExitClass, ManagerConfig, load, report};
use redpoll_manager::app::App;
use redpoll_net::shutdown::Signals;

/// The Redpoll manager: agents dial it, operators ask it.
///
/// Configuration: built-in defaults, then the file, then REDPOLL_MANAGER_… variables, then --set.
/// Signals: SIGTERM finishes what runs and ends, a second one ends now; SIGHUP reads certificates and log level again.
/// Exit: 0 ended in order · 64 configuration · 69 cannot bind · 70 internal · 77 file permissions.
#[derive(Debug, Parser)]
#[command(name = "redpoll-manager", version, verbatim_doc_comment)]
struct Arguments {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// How long threads that block may go on when everything else has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.daemon) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report("redpoll-manager"),
    }
}

fn run(arguments: &DaemonArgs) -> Result<(), Failure> {
    let sources = arguments.sources();
    let loaded = load::<ManagerConfig>(&sources)?;
    if arguments.check_config {
        #[expect(clippy::print_stdout, reason = "the report is what was asked for")]
        {
            print!("{}", report(&loaded.effective));
        }
        return Ok(());
    }
    let log = logging::init(&loaded.config.log)
        .map_err(|error| Failure::new(ExitClass::Configuration, "cannot log").caused_by(error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitClass::Internal, "cannot start the runtime").caused_by(error))?;
    let ended = runtime.block_on(async {
        let signals = Signals::new().map_err(|error| {
            Failure::new(ExitClass::Internal, "cannot listen for signals").caused_by(error)
        })?;
        let app = App::start(loaded)?;
        app.run(signals, &sources, &log).await
    });
    // a blocking thread that hangs, on a dead network file system say, must not keep the process
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}
