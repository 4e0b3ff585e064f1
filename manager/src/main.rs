//! `redpoll-manager`: parses the command line, then [`redpoll_manager::app`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use redpoll_config::ExitClass;
use redpoll_config::daemon::{DaemonArgs, Failure, Start};
use redpoll_exec::exec::confine;
use redpoll_manager::app::App;
use redpoll_manager::lint::ProceduresCommand;
use redpoll_manager::store_command::StoreCommand;
use redpoll_net::shutdown::Early;
use redpoll_net::{allocator, serving};
use tokio::runtime::Builder;
use tracing::info;

/// The Redpoll manager: agents dial it, operators ask it.
///
/// Configuration: built-in defaults, then the file, then REDPOLL_MANAGER_… variables, then --set.
/// Signals: SIGTERM finishes what runs and ends, a second one ends now; SIGHUP reads certificates, log level, roles, procedures and
/// their policy again.
/// Exit: 0 ended in order · 64 configuration · 69 cannot bind · 70 internal · 77 file permissions.
#[derive(Debug, Parser)]
#[command(name = "redpoll-manager", version, verbatim_doc_comment, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Executables as procedures of the manager.
    #[command(subcommand)]
    Procedures(ProceduresCommand),
    /// The store of jobs: copy it, put a copy back, write it anew.
    #[command(subcommand)]
    Store(StoreCommand),
}

fn main() -> ExitCode {
    if let Some(code) = confine::intercept() {
        return code;
    }
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Procedures(command)) => return command.run(),
        Some(Command::Store(command)) => return command.run(),
        None => {}
    }
    allocator::keep_freed_memory();
    let early = Early::new(&mut Builder::new_multi_thread());
    arguments.daemon.main("redpoll-manager", serving::now, App::check, |Start { loaded, sources, log }| {
        let ended = early.and_then(|early| {
            early.run(async |mut signals| {
                // a start reads files, which may hang on a dead network file system, and goes on from what a store has
                let app = tokio::select! {
                    biased;
                    () = signals.drain() => {
                        info!("stopped before it was ready");
                        return Ok(());
                    }
                    started = App::start(loaded) => started?,
                };
                app.run(signals, &sources, &log).await
            })
        });
        ended.map_err(|error| Failure::new(ExitClass::Internal, "cannot begin").caused_by(error))?
    })
}
