//! `cargo xtask test`: everything, on a machine that may be fresh.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::report::{Outcome, Report};
use crate::workspace::Workspace;
use crate::{check, python, setup};

/// Runs all checks and all tests and says how it went.
///
/// Two kinds of build are made, not more: what clippy and the documents need, and the programs with their tests.
pub(crate) fn run(workspace: &Workspace) -> ExitCode {
    let mut report = Report::new();
    let ready = setup::for_test(workspace, &mut report);
    check::without_building(workspace, &mut report);
    check::lints(workspace, &mut report);
    // programs and tests in one build, so that both use the same features and nothing is compiled twice
    let built = report.step("build programs and tests", || {
        workspace.run_cargo(&["build", "--workspace", "--bins", "--tests"])?;
        Ok(Outcome::passed())
    });
    if built && ready {
        report.step("all tests", || {
            workspace.run_cargo(&["nextest", "run", "--workspace", "--profile", "ci"])?;
            Ok(Outcome::passed())
        });
    } else {
        report.step("all tests", || Ok(Outcome::Skipped("a step that they need has failed".to_owned())));
    }
    check::doc_tests(workspace, &mut report);
    python::check(workspace, &mut report);
    report.step("fuzz targets compile", || fuzz(workspace));
    report.finish()
}

/// Checks the fuzz targets with the ordinary toolchain. Their corpus is replayed by ordinary tests.
fn fuzz(workspace: &Workspace) -> anyhow::Result<Outcome> {
    if !workspace.root.join("fuzz/fuzz_targets").is_dir() {
        return Ok(Outcome::Skipped("there are none".to_owned()));
    }
    let target = workspace.target().context("cannot tell where to build")?;
    let mut command = workspace.cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"]);
    command.arg(&target);
    // a check links nothing; naming a library of one's own spares building libFuzzer, which is C++
    command.env("CUSTOM_LIBFUZZER_PATH", target.join("libnone.a"));
    crate::workspace::run(command)?;
    Ok(Outcome::passed())
}
