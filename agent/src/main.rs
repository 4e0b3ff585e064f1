//! `redpoll-agent`: parses the command line, then [`redpoll_agent::app`].

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use redpoll_agent::app::App;
use redpoll_config::daemon::{DaemonArgs, Failure, logging};
use redpoll_config::{AgentConfig, ExitClass, load, report};
use redpoll_net::Registry;
use redpoll_net::shutdown::Signals;

/// The Redpoll agent: keeps one connection to the manager and runs what this machine offers.
///
/// Configuration: built-in defaults, then the file, then REDPOLL_AGENT_… variables, then --set.
/// Signals: SIGTERM finishes what runs and ends, a second one ends now; SIGHUP reads certificates and log level again.
/// Exit: 0 ended in order · 64 configuration · 70 internal · 77 file permissions.
#[derive(Debug, Parser)]
#[command(name = "redpoll-agent", version, verbatim_doc_comment)]
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
        Err(failure) => failure.report("redpoll-agent"),
    }
}

fn run(arguments: &DaemonArgs) -> Result<(), Failure> {
    let sources = arguments.sources();
    let loaded = load::<AgentConfig>(&sources)?;
    if arguments.check_config {
        #[expect(clippy::print_stdout, reason = "the report is what was asked for")]
        {
            print!("{}", report(&loaded.effective));
        }
        return Ok(());
    }
    let log = logging::init(&loaded.config.log)
        .map_err(|error| Failure::new(ExitClass::Configuration, "cannot log").caused_by(error))?;
    // one thread: an agent waits nearly always, and its size is part of the product
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitClass::Internal, "cannot start the runtime").caused_by(error))?;
    let ended = runtime.block_on(async {
        let signals = Signals::new().map_err(|error| {
            Failure::new(ExitClass::Internal, "cannot listen for signals").caused_by(error)
        })?;
        let app = App::new(loaded, Registry::new())?;
        app.run(signals, &sources, &log).await;
        Ok(())
    });
    // a blocking thread that hangs, on a dead network file system say, must not keep the process
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}
