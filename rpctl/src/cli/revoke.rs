//! The command lines of `rpctl agents revoke`, `rpctl operators revoke` and their kin.

use clap::{Args, Subcommand};

/// `rpctl operators`.
#[derive(Debug, Clone, Subcommand)]
pub enum OperatorsCommand {
    /// List the operators that are connected or revoked
    #[command(after_long_help = include_str!("../help/operators_list.txt"))]
    List {
        /// What is revoked: operators, and certificates of operators
        #[arg(long)]
        revoked: bool,
    },
    /// Shut operators out, or a certificate of one: their sessions are cut, and they are not let in again
    #[command(after_long_help = include_str!("../help/operators_revoke.txt"))]
    Revoke(RevokeArgs),
    /// Let an operator in again that was revoked
    #[command(after_long_help = include_str!("../help/operators_restore.txt"))]
    Restore(RestoreArgs),
}

/// Whom to shut out.
#[derive(Debug, Clone, Args)]
pub struct RevokeArgs {
    /// Whom
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// One certificate alone; another one of the same ID works
    #[arg(long, value_name = "SERIAL|SHA256")]
    pub certificate: Option<String>,
    /// Why, for those who look at the list
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Whom to let in again.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// Whom
    #[arg(value_name = "ID")]
    pub id: String,
    /// The certificate, if one alone was revoked
    #[arg(long, value_name = "SERIAL|SHA256")]
    pub certificate: Option<String>,
}
