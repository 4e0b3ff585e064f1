//! Runs steps one after the other, says how each went and how long it took, and sums up at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;

/// How a step that did not fail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well; the text, which may be empty, adds a figure or two.
    Passed(String),
    /// It was not run, and this is why. A skipped step does not fail the whole.
    Skipped(String),
}

impl Outcome {
    /// Passed, and nothing to add.
    pub(crate) fn passed() -> Self {
        Self::Passed(String::new())
    }

    /// Passed with `note` when there are no problems.
    ///
    /// # Errors
    /// All problems, one a line.
    pub(crate) fn without(problems: &[String], note: impl Into<String>) -> anyhow::Result<Self> {
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        Ok(Self::Passed(note.into()))
    }
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    mark: &'static str,
    note: String,
    took: Duration,
}

/// Collects how the steps went.
///
/// A failed step does not stop the following ones, so that one run shows everything that is wrong; a step that
/// is pointless after another one failed asks the answer of [`Report::step`].
#[derive(Debug)]
pub(crate) struct Report {
    started: Instant,
    entries: Vec<Entry>,
    failed: usize,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), entries: Vec::new(), failed: 0 }
    }

    /// Runs one step and prints how it went. True unless it failed.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<Outcome>,
    ) -> bool {
        println!("── {name}");
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        let (mark, note, passed) = match result {
            Ok(Outcome::Passed(note)) => ("ok", note, true),
            Ok(Outcome::Skipped(why)) => ("skipped", why, true),
            Err(error) => {
                let text = explained(&error);
                for line in text.lines() {
                    println!("   {line}");
                }
                self.failed += 1;
                ("FAILED", text.lines().next().unwrap_or_default().to_owned(), false)
            }
        };
        println!("   {mark}, {}{}", seconds(took), suffix(if passed { &note } else { "" }));
        self.entries.push(Entry { name, mark, note, took });
        passed
    }

    /// Prints the summary. Success when no step failed.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n── summary");
        for Entry { name, mark, note, took } in &self.entries {
            println!("   {mark:<8} {name:<28} {:>9}{}", seconds(*took), suffix(note));
        }
        let total = seconds(self.started.elapsed());
        if self.failed == 0 {
            println!("   all {} steps passed in {total}", self.entries.len());
            ExitCode::SUCCESS
        } else {
            println!("   {} of {} steps failed in {total}", self.failed, self.entries.len());
            ExitCode::FAILURE
        }
    }
}

/// An error as a person needs it: what failed, why, and at last the `help:` lines.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    let first = error.to_string();
    let is_help = |line: &&str| line.starts_with("help: ");
    let mut lines: Vec<String> = first.lines().filter(|line| !is_help(line)).map(str::to_owned).collect();
    lines.extend(error.chain().skip(1).map(|cause| format!("because {cause}")));
    lines.extend(first.lines().filter(is_help).map(str::to_owned));
    lines.join("\n")
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

fn suffix(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!("  {note}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_step_fails_the_whole_and_the_others_still_run() {
        let mut report = Report::new();
        let mut ran = 0;
        assert!(report.step("first", || Ok(Outcome::passed())));
        assert!(!report.step("second", || bail!("broken")));
        assert!(report.step("third", || {
            ran += 1;
            Ok(Outcome::Skipped("no need".to_owned()))
        }));
        assert_eq!((ran, report.failed, report.entries.len()), (1, 1, 3));
        assert_eq!(report.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn problems_fail_and_none_pass() {
        assert!(Outcome::without(&[], "2 files").is_ok());
        let error = Outcome::without(&["one".to_owned(), "two".to_owned()], "").unwrap_err();
        assert_eq!(error.to_string(), "one\ntwo");
    }

    #[test]
    fn what_failed_comes_first_and_help_last() {
        let error = anyhow::anyhow!("no network").context("cannot install\nhelp: do it yourself");
        assert_eq!(explained(&error), "cannot install\nbecause no network\nhelp: do it yourself");
    }
}
