//! What holds for this run: the configuration with the command line on top, and what the two streams can show.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Duration;

use redpoll_config::{
    ColorChoice, ConfigError, Effective, Loaded, Origin, OutputFormat, Override, RpctlConfig, Sources, load,
};
use serde::Serialize;

use crate::cli::Global;
use crate::exit::Exit;
use crate::output::{Format, Look, Output};
use crate::report::Report;
use crate::{Ended, Stop};

/// What holds for this run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configuration, command line included.
    pub config: RpctlConfig,
    /// What the two streams can show.
    pub look: Look,
    /// How often `-v` was given.
    pub verbose: u8,
    /// How long the whole command may take, if `--timeout` says so. Verbs that follow have no other limit.
    pub limit: Option<Duration>,
    effective: Vec<Effective>,
}

/// What the environment says about colours and terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminals {
    /// Standard output is a terminal.
    pub out: bool,
    /// Standard error is a terminal.
    pub err: bool,
    /// `NO_COLOR` is set, or the terminal is a dumb one.
    pub plain: bool,
    /// The terminal is a dumb one: it knows no control sequences.
    pub dumb: bool,
}

impl Terminals {
    /// The terminals of this process.
    pub fn of_process() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            out: std::io::stdout().is_terminal(),
            err: std::io::stderr().is_terminal(),
            plain: set("NO_COLOR") || dumb,
            dumb,
        }
    }

    /// How output looks with this format and choice of colours.
    pub fn look(self, format: Format, color: ColorChoice) -> Look {
        let colored = |terminal: bool| match color {
            ColorChoice::Auto => terminal && !self.plain,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Look {
            format,
            color_out: colored(self.out),
            color_err: colored(self.err),
            live: self.err && !self.dumb,
        }
    }
}

impl Settings {
    /// Loads the configuration and puts the command line on top.
    ///
    /// # Errors
    /// [`Stop`] with a report that names key and origin of everything that is wrong.
    pub fn load(global: &Global, terminals: Terminals) -> Result<Self, Stop> {
        refuse_unix(global)?;
        let sources = Sources::of_process(global.config.clone(), overrides(global));
        let Loaded { config, effective, .. } =
            load::<RpctlConfig>(&sources).map_err(|error| report(&error))?;
        let format = config.output.format.map_or_else(Format::default, Format::from);
        let look = terminals.look(format, config.output.color);
        let limit = global.timeout.is_some().then_some(config.call.timeout);
        Ok(Self { config, look, verbose: global.verbose, limit, effective })
    }

    /// Prints every setting and where it comes from.
    ///
    /// # Errors
    /// [`Stop`] when it cannot be printed.
    pub fn print(&self, output: &mut Output) -> Ended {
        if output.format() == Format::Table {
            output.bytes(redpoll_config::report(&self.effective).as_bytes())?;
            return Ok(Exit::Good);
        }
        let rows: Vec<_> = self
            .effective
            .iter()
            .map(|row| Row { key: &row.key, value: &row.value, origin: row.origin.to_string() })
            .collect();
        output.list(&[], &rows, |_| Vec::new())?;
        Ok(Exit::Good)
    }
}

#[derive(Serialize)]
struct Row<'s> {
    key: &'s str,
    value: &'s str,
    origin: String,
}

impl From<OutputFormat> for Format {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Table => Self::Table,
            OutputFormat::Json => Self::Json,
            OutputFormat::Jsonl => Self::Jsonl,
            OutputFormat::Yaml => Self::Yaml,
        }
    }
}

/// How output looks before a configuration is loaded, and without one.
pub fn early_look(format: Option<Format>, color: Option<&str>, terminals: Terminals) -> Look {
    let color = color.and_then(|word| word.parse().ok()).unwrap_or(ColorChoice::Auto);
    terminals.look(format.unwrap_or_default(), color)
}

/// What `--color` says on a command line that may be wrong elsewhere.
pub fn color_word(words: &[OsString]) -> Option<&str> {
    let mut words = words.iter().map_while(|word| word.to_str().filter(|word| *word != "--"));
    while let Some(word) = words.next() {
        match word.strip_prefix("--color") {
            Some("") => return words.next(),
            Some(rest) if rest.starts_with('=') => return rest.strip_prefix('='),
            Some(_) | None => {}
        }
    }
    None
}

/// Reads a duration such as `30s` or `90d`.
///
/// # Errors
/// A text that says what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    redpoll_config::parse_duration(text).map_err(|error| format!("expected {}", error.expected))
}

fn refuse_unix(global: &Global) -> Result<(), Stop> {
    match &global.manager {
        Some(address) if address.starts_with("unix:") => Err(Report::usage(
            format!("cannot ask the manager at {address}"),
            "the manager's Unix socket is not available yet in this version",
            "use HOST:PORT, such as --manager localhost:7051",
        )
        .into()),
        Some(_) | None => Ok(()),
    }
}

fn overrides(global: &Global) -> Vec<Override> {
    let format = global.output.map(|format| match format {
        Format::Table => OutputFormat::Table.as_str(),
        Format::Json => OutputFormat::Json.as_str(),
        Format::Jsonl => OutputFormat::Jsonl.as_str(),
        Format::Yaml => OutputFormat::Yaml.as_str(),
    });
    let level = match global.verbose {
        0 => None,
        1 => Some("info"),
        2 => Some("debug"),
        3.. => Some("trace"),
    };
    [
        ("--manager", "manager.address", global.manager.as_deref()),
        ("--output", "output.format", format),
        ("--timeout", "call.timeout", global.timeout.as_deref()),
        ("--color", "output.color", global.color.as_deref()),
        ("--verbose", "log.level", level),
    ]
    .into_iter()
    .filter_map(|(flag, key, value)| Some(Override::flag(flag, key, value?)))
    .collect()
}

fn report(error: &ConfigError) -> Report {
    match error {
        ConfigError::Problems { problems } => {
            let by_flag = problems.iter().all(|problem| matches!(problem.origin, Origin::Flag { .. }));
            let what = if by_flag { "the command line is wrong" } else { "the configuration is wrong" };
            let help = if by_flag {
                "see rpctl --help"
            } else {
                "correct it there; `rpctl --check-config` then shows what holds"
            };
            let why: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Report::usage(what, why.join("; "), help)
        }
        ConfigError::Syntax { .. } => {
            Report::usage("the configuration file is not TOML", error.to_string(), "correct it at that place")
        }
        ConfigError::Read { .. }
        | ConfigError::TooLong { .. }
        | ConfigError::Permission(_)
        | ConfigError::Defaults(_) => {
            Report::of_error(Exit::Usage, error, "name another file with --config FILE, or correct this one")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_choice_terminal_and_no_color() {
        let terminal = Terminals { out: true, err: true, plain: false, dumb: false };
        let plain = Terminals { plain: true, ..terminal };
        let pipe = Terminals { out: false, ..terminal };
        for (terminals, choice, out, err) in [
            (terminal, ColorChoice::Auto, true, true),
            (plain, ColorChoice::Auto, false, false),
            (pipe, ColorChoice::Auto, false, true),
            (pipe, ColorChoice::Always, true, true),
            (terminal, ColorChoice::Never, false, false),
        ] {
            let look = terminals.look(Format::Table, choice);
            assert_eq!((look.color_out, look.color_err), (out, err), "{terminals:?} {choice:?}");
            assert!(look.live);
        }
        let dumb = Terminals { plain: true, dumb: true, ..terminal };
        assert!(!dumb.look(Format::Table, ColorChoice::Always).live, "no line can be rewritten there");
    }

    #[test]
    fn the_colour_is_found_on_a_wrong_command_line() {
        let found = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            color_word(&words).map(str::to_owned)
        };
        assert_eq!(found(&["rpctl", "--wrong", "--color", "never"]).as_deref(), Some("never"));
        assert_eq!(found(&["rpctl", "--color=always", "x"]).as_deref(), Some("always"));
        assert_eq!(found(&["rpctl", "call", "--", "--color", "always"]), None);
        assert_eq!(found(&["rpctl", "--color"]), None);
    }

    #[test]
    fn durations_say_what_they_look_like() {
        assert_eq!(parse_duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert!(parse_duration("30").unwrap_err().contains("units"));
    }
}
