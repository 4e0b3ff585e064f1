//! Helpers that do not become the program: what is told then, and that nothing of them stays.

#![expect(clippy::unwrap_used, reason = "test code")]

mod exec_support;

use std::error::Error as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use exec_support::{collect, eventually, lives, spec};
use redpoll_exec::exec::cgroup::Usage;
use redpoll_exec::exec::confine::Confine;
use redpoll_exec::exec::{ExecError, ProcessSpec, START_WAIT};
use tokio::task::JoinSet;

/// A program whose helper is this script.
fn helped_by(folder: &Path, script: &str) -> ProcessSpec {
    let helper = folder.join("helper");
    fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&helper, Permissions::from_mode(0o755)).unwrap();
    let confine = Confine { helper, account: None, rlimits: Usage::default(), cgroup: None };
    ProcessSpec { confine: Some(confine), ..spec(&["true"]) }
}

#[tokio::test]
async fn a_helper_that_hangs_is_killed_when_the_time_for_a_start_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let script = format!("echo $$ > {0}.new && mv {0}.new {0} && exec sleep 300", mark.display());
    let mut run = JoinSet::new();
    run.spawn(collect(helped_by(folder.path(), &script)));
    eventually("the helper hangs", || mark.exists()).await;
    let pid = fs::read_to_string(&mark).unwrap();
    assert!(lives(&pid));
    tokio::time::pause();
    tokio::time::advance(START_WAIT).await;
    let refused = run.join_next().await.unwrap().unwrap().unwrap_err();
    tokio::time::resume();
    assert!(matches!(refused, ExecError::Slow { .. }), "{refused}");
    eventually("it is gone", || !lives(&pid)).await;
}

#[tokio::test]
async fn a_helper_that_ends_without_a_word_or_with_a_strange_one_has_started_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (script, why) in [
        ("exit 0", "the process that was to become it ended before that"),
        ("kill -KILL $$", "the process that was to become it ended before that"),
        ("printf 'scannot be done'", "cannot be done"),
        ("printf zwho_knows", "who_knows"),
        ("printf s; head -c 100000 /dev/zero | tr '\\0' x", "xxx"),
    ] {
        let refused = collect(helped_by(folder.path(), script)).await.unwrap_err();
        let said = refused.source().map(ToString::to_string).unwrap_or_default();
        assert!(
            matches!(refused, ExecError::System { .. }) && said.starts_with(why),
            "{script}: {refused}: {said}"
        );
        assert!(said.len() <= 4096, "{}", said.len());
    }
    let refused = collect(helped_by(folder.path(), "printf 'd13'")).await.unwrap_err();
    assert!(matches!(&refused, ExecError::Directory { source, .. } if source.raw_os_error() == Some(13)));
}

#[tokio::test]
async fn what_passes_for_a_helper_passes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // too many open files here and on the machine, no process, no memory; no such file, no number, no errno
    for (said, passes) in [
        ("e24", true),
        ("e23", true),
        ("e11", true),
        ("e12", true),
        ("e2", false),
        ("e", false),
        ("s24", false),
        ("d24", false),
    ] {
        let refused = collect(helped_by(folder.path(), &format!("printf {said}"))).await.unwrap_err();
        assert_eq!(refused.is_passing(), passes, "{said}: {refused}");
    }
}

#[tokio::test]
async fn what_the_program_writes_begins_after_the_word_of_its_helper() {
    let folder = tempfile::tempdir().unwrap();
    let run = collect(helped_by(folder.path(), "printf '\\000first'; printf second")).await.unwrap();
    assert_eq!((run.stdout.as_slice(), run.exit.stdout_bytes), (&b"firstsecond"[..], 11));
}
