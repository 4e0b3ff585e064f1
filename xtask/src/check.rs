//! `cargo xtask check`: what to run before every commit.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::graph::Graph;
use crate::policy::{self, Policy};
use crate::report::{Outcome, Report};
use crate::workspace::{Workspace, output};
use crate::{licences, manifests, purity, python, setup, sizes};

/// Runs all of it, or with `quick` what needs no compiling, and says how it went.
pub(crate) fn run(workspace: &Workspace, quick: bool) -> ExitCode {
    let mut report = Report::new();
    if quick {
        without_building(workspace, &mut report);
        return report.finish();
    }
    let ready = setup::for_check(workspace, &mut report);
    without_building(workspace, &mut report);
    lints(workspace, &mut report);
    if ready {
        report.step("unit tests", || {
            // a crate without tests yet is no failure
            let words = ["nextest", "run", "--workspace", "--lib", "--bins", "--no-tests", "pass"];
            workspace.run_cargo(&words)?;
            Ok(Outcome::passed())
        });
    }
    doc_tests(workspace, &mut report);
    python::check(workspace, &mut report);
    report.finish()
}

/// The checks that read and do not compile: a few seconds.
pub(crate) fn without_building(workspace: &Workspace, report: &mut Report) {
    let root = &workspace.root;
    report.step("format", || {
        // -l: the names of the files, not all of what would change
        let formatted = workspace.run_cargo(&["fmt", "--all", "--check", "--", "-l"]);
        formatted.context("files are not formatted\nhelp: cargo fmt")?;
        Ok(Outcome::passed())
    });
    report.step("sizes of files", || sizes::check(root));
    report.step("manifests", || Outcome::without(&manifests::problems(root)?, ""));
    report.step("purity: source", || Outcome::without(&purity::effects_in_source(root)?, ""));
    let mut graph = None;
    report.step("dependencies", || {
        let read = read_graph(workspace)?;
        let note = format!("{} packages", read.packages().count());
        graph = Some(read);
        Ok(Outcome::Passed(note))
    });
    let Some(graph) = graph else { return };
    report.step("purity: dependencies", || Outcome::without(&purity::strange_dependencies(&graph)?, ""));
    report.step("one provider of cryptography", || Outcome::without(&policy::wrong_providers(&graph), ""));
    let mut policy = None;
    report.step("deny.toml", || {
        policy = Some(Policy::load(&root.join("deny.toml"))?);
        Ok(Outcome::passed())
    });
    if let Some(policy) = policy {
        report.step("licences", || Outcome::without(&licences::problems(&graph, &policy.licences), ""));
        report.step("bans", || Outcome::without(&policy.banned_in(&graph), ""));
        report.step("sources", || Outcome::without(&policy.strange_sources(&graph), ""));
    }
    report.step("cargo-deny", || cargo_deny(workspace));
}

/// Lints and documents: compiles, but makes no programs.
pub(crate) fn lints(workspace: &Workspace, report: &mut Report) {
    report.step("lints", || {
        let words = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        workspace.run_cargo(&words)?;
        Ok(Outcome::passed())
    });
    report.step("documents", || {
        let words = ["doc", "--no-deps", "--workspace", "--document-private-items"];
        let mut command = workspace.cargo(&words);
        command.env("RUSTDOCFLAGS", "-Dwarnings");
        crate::workspace::run(command)?;
        Ok(Outcome::passed())
    });
}

/// The examples in the documents, which nextest does not run.
pub(crate) fn doc_tests(workspace: &Workspace, report: &mut Report) {
    report.step("examples in documents", || {
        workspace.run_cargo(&["test", "--workspace", "--doc"])?;
        Ok(Outcome::passed())
    });
}

fn read_graph(workspace: &Workspace) -> anyhow::Result<Graph> {
    let text = output(workspace.cargo(&["metadata", "--format-version", "1", "--all-features"]))?;
    Graph::parse(&serde_json::from_str(&text).context("cargo metadata is not JSON")?)
}

/// cargo-deny reads the same rules and knows more (duplicates, yanked versions); it is run where it is installed.
fn cargo_deny(workspace: &Workspace) -> anyhow::Result<Outcome> {
    if output(workspace.cargo(&["deny", "--version"])).is_err() {
        return Ok(Outcome::Skipped("not installed; `cargo install --locked cargo-deny` adds it".to_owned()));
    }
    workspace.run_cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])?;
    if !has_advisories() {
        return Ok(Outcome::Passed("without advisories: no copy of the database here".to_owned()));
    }
    workspace.run_cargo(&["deny", "--log-level", "error", "check", "--disable-fetch", "advisories"])?;
    Ok(Outcome::passed())
}

/// Whether `cargo deny fetch` has been run here. A check of ours does not go to the network.
fn has_advisories() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    home.is_some_and(|home| home.join("advisory-dbs").is_dir())
}
