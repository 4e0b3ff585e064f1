//! `redpoll-agent`: parses the command line, then [`redpoll_agent::app`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use redpoll_agent::app::App;
use redpoll_agent::exec::confine;
use redpoll_agent::lint::ProceduresCommand;
use redpoll_agent::trial::PolicyCommand;
use redpoll_config::ExitClass;
use redpoll_config::daemon::{DaemonArgs, Failure, Start};
use redpoll_net::shutdown::Early;
use redpoll_net::{Registry, serving};
use tokio::runtime::Builder;

/// The Redpoll agent: keeps one connection to the manager and runs what this machine offers.
///
/// Configuration: built-in defaults, then the file, then REDPOLL_AGENT_… variables, then --set.
/// Signals: SIGTERM finishes what runs and ends, a second one ends now; SIGHUP reads certificates, log level, policy and procedures again.
/// Exit: 0 ended in order · 64 configuration · 70 internal · 77 file permissions.
#[derive(Debug, Parser)]
#[command(name = "redpoll-agent", version, verbatim_doc_comment, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Executables as procedures.
    #[command(subcommand)]
    Procedures(ProceduresCommand),
    /// The policy of this machine's owner.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

fn main() -> ExitCode {
    if let Some(code) = confine::intercept() {
        return code;
    }
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Procedures(command)) => return command.run(),
        Some(Command::Policy(command)) => return command.run(),
        None => {}
    }
    // one thread: an agent waits nearly always, and its size is part of the product
    let early = Early::new(&mut Builder::new_current_thread());
    arguments.daemon.main("redpoll-agent", serving::now, App::check, |Start { loaded, sources, log }| {
        let daemon = async |signals| {
            App::new(loaded, Registry::new())?.run(signals, &sources, &log).await;
            Ok(())
        };
        let ended = early.and_then(|early| early.run(daemon));
        ended.map_err(|error| Failure::new(ExitClass::Internal, "cannot begin").caused_by(error))?
    })
}
