//! The words of `rpctl cp`.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

/// `rpctl cp`.
#[derive(Debug, Clone, Args)]
pub struct CpArgs {
    /// What to copy: a local file, `-` for standard input, or AGENT:/PATH
    pub source: OsString,
    /// Where to: a local file or folder, `-` for standard output, or AGENTS:/PATH
    pub target: OsString,
    /// Copy a folder with all that is in it, into the target; links and special files are left out
    #[arg(long, short)]
    pub recursive: bool,
    /// The permission bits of the copy, octal [default: those of the file it replaces, else of the source]
    #[arg(long, value_name = "MODE", value_parser = octal)]
    pub mode: Option<u32>,
    /// The owner of the copy on the agents, a name or a number
    #[arg(long, value_name = "USER")]
    pub owner: Option<String>,
    /// The group of the copy on the agents, a name or a number
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Go on where an earlier copy broke off (the default)
    #[arg(long, overrides_with = "no_resume")]
    pub resume: bool,
    /// Begin anew, whatever is there of an earlier copy
    #[arg(long)]
    pub no_resume: bool,
    /// Read the copy once more when it is done, and compare; fail when the source changed meanwhile
    #[arg(long)]
    pub verify: bool,
    /// How the bytes go: encrypted from end to end over a connection of their own (stream), as calls that the manager passes on (calls),
    /// or whichever is faster (auto)
    #[arg(long, value_name = "WAY", value_enum, default_value_t)]
    pub via: Via,
    /// To how many agents at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// Take it for success when no agent matches the selector
    #[arg(long)]
    pub allow_empty: bool,
}

/// How the bytes of files go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// Large files over connections of their own where that can be had, the others in calls.
    #[default]
    Auto,
    /// All files over connections of their own, encrypted from end to end, or not at all.
    Stream,
    /// All files in calls.
    Calls,
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| "write the bits as an octal number such as 644 or 0755".to_owned())
}
