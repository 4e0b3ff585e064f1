//! What the parser of the command line says, in our three lines.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::report::Report;

/// What came of a command line that is not to be run.
#[derive(Debug)]
pub enum NotRun {
    /// Help or the version: text for standard output.
    Text(String),
    /// It is wrong.
    Wrong(Report),
}

/// Reads clap's error.
pub fn read(error: &clap::Error, color: bool) -> NotRun {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = error.render();
        return NotRun::Text(if color { text.ansi().to_string() } else { text.to_string() });
    }
    let text = error.render().to_string();
    let mut paragraphs =
        text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let what = paragraphs.next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(&what).replace("subcommand", "verb");
    if error.kind() == ErrorKind::InvalidUtf8 {
        let why = "words of the command line are text in UTF-8, and nothing was done";
        let help = "put bytes into a file, and give KEY=@FILE";
        return Report::usage("an argument is not text", why, help).into();
    }
    // the words of Rust's own parsers
    let what = what.replace("invalid digit found in string", "expected a whole number from 0 up");
    let what = what.replace("cannot parse integer from empty string", "expected a whole number");
    let what = what.replace("number too large to fit in target type", "the number is too large");
    let what = what.replace("is not in 1..18446744073709551615", "is less than 1");
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let why = match usage {
        Some(usage) => format!("usage: {usage}"),
        None => "the command line is not understood, so nothing was done".to_owned(),
    };
    Report::usage(what, why, help(error)).into()
}

impl From<Report> for NotRun {
    fn from(report: Report) -> Self {
        Self::Wrong(report)
    }
}

fn help(error: &clap::Error) -> String {
    let suggestion =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
            .into_iter()
            .find_map(|kind| likeliest(error.get(kind)?));
    match suggestion {
        Some(similar) => format!("did you mean {similar}? See rpctl --help"),
        None => "see rpctl --help, or --help after the verb".to_owned(),
    }
}

fn likeliest(value: &ContextValue) -> Option<String> {
    if let ContextValue::String(text) = value {
        return Some(text.clone());
    }
    let ContextValue::Strings(texts) = value else { return None };
    // clap gives the likeliest last
    texts.last().cloned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_likeliest_word_is_suggested() {
        for (words, meant) in [
            (["agents", "revok"], "revoke"),
            (["agents", "restor"], "restore"),
            (["agents", "relod"], "reload"),
            (["agents", "disabel"], "disable"),
            (["jobs", "relaese"], "release"),
            (["jobs", "reslt"], "result"),
        ] {
            let error = Cli::try_parse_from(["rpctl"].iter().chain(&words)).unwrap_err();
            let NotRun::Wrong(report) = read(&error, false) else { panic!("{words:?} is text") };
            assert!(report.help.starts_with(&format!("did you mean {meant}?")), "{words:?}: {}", report.help);
        }
    }
}
