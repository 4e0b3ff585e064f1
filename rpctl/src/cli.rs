//! The command line: verbs, options and their help. What they do is in [`crate::commands`].

mod cp;
mod jobs;
mod revoke;
mod since;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::arguments;
use crate::certs::CertsCommand;
use crate::output::Format;

pub use cp::{CpArgs, Via};
pub use jobs::{
    CancelHow, EventsArgs, EventsVerb, Head, JobOptions, JobsCancelArgs, JobsCommand, JobsFollowArgs,
    JobsListArgs, JobsReadArgs, JobsResultArgs, OfflineChoice, OverflowChoice, QueuesCommand, RunArgs,
    StartArgs,
};
pub use revoke::{OperatorsCommand, RestoreArgs, RevokeArgs};
pub use since::Since;

/// Options that stand before or after any verb.
const GLOBAL: &str = "Global options";

/// Asks a Redpoll manager, and the agents behind it.
#[derive(Debug, Clone, Parser)]
#[command(name = "rpctl", version, max_term_width = 110)]
#[command(after_long_help = include_str!("help/rpctl.txt"))]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// The options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// The options of every verb. They override the configuration.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = GLOBAL)]
pub struct Global {
    /// The manager to ask: HOST:PORT (port 7051 if absent), or unix:PATH in a later version
    #[arg(long, global = true, value_name = "HOST:PORT|unix:PATH")]
    pub manager: Option<String>,
    /// The configuration file [default: ~/.config/redpoll/rpctl.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to print data
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// How long the whole command may take, such as 500ms, 30s, 1h 30m
    #[arg(long, global = true, value_name = "DUR")]
    pub timeout: Option<String>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", value_parser = ["auto", "always", "never"])]
    pub color: Option<String>,
    /// Tell more on standard error: traces of failures and a log; up to three times
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print every effective setting and where it comes from, and do nothing else
    #[arg(long, global = true)]
    pub check_config: bool,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Call a procedure on an agent and print its result
    #[command(after_long_help = include_str!("help/call.txt"))]
    Call(CallArgs),
    /// Help for a procedure. No words of its own: it is what `--help` after a procedure means.
    #[command(skip)]
    Describe(DescribeArgs),
    /// Submit a job that runs a procedure on agents, and follow it
    #[command(after_long_help = include_str!("help/run.txt"))]
    Run(RunArgs),
    /// List jobs, show one, read what it gave and gives, end it
    #[command(subcommand, arg_required_else_help = false, after_long_help = include_str!("help/jobs.txt"))]
    Jobs(JobsCommand),
    /// List queues, show one, end all that stands in it
    #[command(subcommand, arg_required_else_help = false, after_long_help = include_str!("help/queues.txt"))]
    Queues(QueuesCommand),
    /// Copy files to agents, or from one
    #[command(after_long_help = include_str!("help/cp.txt"))]
    Cp(CpArgs),
    /// Show what happened: the public history of agents, jobs and runs
    #[command(after_long_help = include_str!("help/events.txt"))]
    Events(EventsArgs),
    /// Send a notification to an agent; nobody answers
    #[command(after_long_help = include_str!("help/notify.txt"))]
    Notify(NotifyArgs),
    /// List agents, show one, measure round trips, see what they offer
    #[command(subcommand, arg_required_else_help = false, after_long_help = include_str!("help/agents.txt"))]
    Agents(AgentsCommand),
    /// List operators, shut one out, let one in again
    #[command(subcommand, arg_required_else_help = false, after_long_help = include_str!("help/operators.txt"))]
    Operators(OperatorsCommand),
    /// Show how the manager is
    #[command(after_long_help = include_str!("help/status.txt"))]
    Status,
    /// Make an offline certificate authority, issue certificates, show them
    #[command(subcommand, arg_required_else_help = false, after_long_help = include_str!("help/certs.txt"))]
    Certs(CertsCommand),
    /// Print a completion script for a shell
    #[command(after_long_help = include_str!("help/completions.txt"))]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual, or write a page for every verb
    #[command(after_long_help = include_str!("help/man.txt"))]
    Man {
        /// The verb, such as `agents list`; all of rpctl unless given
        verb: Vec<String>,
        /// Write one page per verb into this directory
        #[arg(long, value_name = "DIR", conflicts_with = "verb")]
        dir: Option<PathBuf>,
    },
}

/// Help for a procedure: `--help` after `rpctl call AGENT PROCEDURE` or `rpctl run SELECTOR PROCEDURE`.
#[derive(Debug, Clone)]
pub struct DescribeArgs {
    /// Whose.
    pub selector: String,
    /// Which.
    pub procedure: String,
    /// The verb: `call` or `run`.
    pub verb: &'static str,
}

/// `rpctl call`.
#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// The agent, or @manager for the manager's own procedures
    pub agent: String,
    /// The procedure, NAME or NAME@VERSION
    #[arg(value_name = "PROCEDURE[@V]")]
    pub procedure: String,
    /// Its arguments.
    #[command(flatten)]
    pub arguments: arguments::Typed,
    /// Print text and binary exactly as they come, terminal control sequences included
    #[arg(long)]
    pub raw: bool,
}

/// `rpctl notify`.
#[derive(Debug, Clone, Args)]
pub struct NotifyArgs {
    /// The agent
    pub agent: String,
    /// The notification's type
    #[arg(value_name = "TYPE")]
    pub kind: String,
    /// Its content, or @FILE with it [default: null]
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub data: Option<String>,
}

/// `rpctl agents`.
#[derive(Debug, Clone, Subcommand)]
pub enum AgentsCommand {
    /// List the agents that the manager knows
    #[command(after_long_help = include_str!("help/agents_list.txt"))]
    List {
        /// Which: `*`, an id, a list `a,b` or `id in (a, b)`, or `id:GLOB` with * and ?
        selector: Option<String>,
        /// Take it for success when no agent matches the selector, or one of a list is not known
        #[arg(long)]
        allow_empty: bool,
        /// What is revoked: agents, known or not, and certificates of agents
        #[arg(long, conflicts_with_all = ["selector", "allow_empty"])]
        revoked: bool,
    },
    /// Show what the manager knows of an agent
    #[command(after_long_help = include_str!("help/agents_show.txt"))]
    Show {
        /// The agent
        agent: String,
    },
    /// Measure round trips between manager and agent
    #[command(after_long_help = include_str!("help/agents_ping.txt"))]
    Ping {
        /// The agent
        agent: String,
        /// How many, one after the other
        #[arg(long, short, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        count: u32,
    },
    /// List the procedures that an agent offers, or explain one
    #[command(after_long_help = include_str!("help/agents_procedures.txt"))]
    Procedures {
        /// The agent, or @manager
        agent: String,
        /// The procedure to explain, NAME or NAME@VERSION
        #[arg(value_name = "PROCEDURE[@V]")]
        procedure: Option<String>,
    },
    /// Have an agent read its procedures anew; what runs is not touched
    #[command(after_long_help = include_str!("help/agents_reload.txt"))]
    Reload {
        /// The agent
        agent: String,
    },
    /// Have an agent offer a procedure again that was disabled
    #[command(after_long_help = include_str!("help/agents_enable.txt"))]
    Enable {
        /// The agent
        agent: String,
        /// The procedure, NAME for all its versions or NAME@VERSION
        #[arg(value_name = "PROCEDURE[@V]")]
        procedure: String,
    },
    /// Shut agents out, or a certificate of one: their sessions are cut, and they are not let in again
    #[command(after_long_help = include_str!("help/agents_revoke.txt"))]
    Revoke(RevokeArgs),
    /// Let an agent in again that was revoked
    #[command(after_long_help = include_str!("help/agents_restore.txt"))]
    Restore(RestoreArgs),
    /// Have an agent offer a procedure no more, until it is enabled
    #[command(after_long_help = include_str!("help/agents_disable.txt"))]
    Disable {
        /// The agent
        agent: String,
        /// The procedure, NAME for all its versions or NAME@VERSION
        #[arg(value_name = "PROCEDURE[@V]")]
        procedure: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_help_with_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("rpctl "), "{path} has no example in its help");
            for verb in command.get_subcommands() {
                assert!(verb.get_about().is_some(), "{path} {} has no description", verb.get_name());
                check(verb, &format!("{path} {}", verb.get_name()));
            }
        }
        check(&Cli::command(), "rpctl");
    }

    #[test]
    fn options_stand_before_and_after_the_verb() {
        for words in [&["rpctl", "-o", "json", "status"][..], &["rpctl", "status", "-o", "json"]] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(cli.global.output, Some(Format::Json));
            assert!(matches!(cli.verb, Some(Verb::Status)));
        }
    }

    #[test]
    fn what_follows_the_dashes_is_not_looked_into() {
        let words = ["rpctl", "call", "web-1", "exec.run", "--env", "A=b", "--", "ls", "-o", "--help"];
        let cli = Cli::try_parse_from(words).unwrap();
        let Some(Verb::Call(call)) = cli.verb else { panic!("not a call") };
        assert_eq!(call.arguments.argv, ["ls", "-o", "--help"]);
        assert_eq!(call.arguments.env, ["A=b"]);
        assert!(call.arguments.arguments.is_empty());
    }
}
