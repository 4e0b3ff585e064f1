//! Disks that are small, and disks that fail.
//!
//! A small disk is a file system in memory, mounted where nobody but the test sees it; a failing one is the real one, seen
//! through `strace`, which lets a sync fail. What this machine does not allow is a failure of the test, and says so.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;
use tempfile::TempDir;

/// Tells a copy of a test that the mounts are its own.
const INSIDE: &str = "REDPOLL_TEST_OWN_MOUNTS";

/// Runs the test of this name once more, in a process whose mounts nobody else sees; there this gives true, and everywhere
/// else false after that process has ended well.
///
/// # Panics
/// When that process fails, or when this machine does not let it mount.
#[must_use = "the test itself is what runs when this is true"]
pub fn has_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        // who is not root is root in a user namespace of its own
        command.args((!geteuid().is_root()).then_some("--map-root-user")).args(["--mount", "--"]);
        command
    };
    let probe = unshare().args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let may = probe.as_ref().is_ok_and(|probe| probe.status.success());
    assert!(
        may,
        "this test mounts a small file system, and may not: {probe:?}\nhelp: run it as root, or allow user namespaces; \
         unshare and mount are in the package util-linux"
    );
    let own = std::env::current_exe().expect("the path of the test");
    let status = unshare().arg(own).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status();
    assert!(status.expect("unshare").success(), "{test} failed on its small disk; what it said stands above");
    false
}

/// A small disk.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// One of so many MiB. Only where [`has_own_mounts`] is true.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn mount(mib: u32) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "small"]).arg(folder.path());
        let mounted = command.output().expect("mount");
        assert!(mounted.status.success(), "{mounted:?}");
        Self { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the room there is.
    ///
    /// # Panics
    /// When writing fails for another reason.
    pub fn fill(&self) {
        let mut ballast = File::options().append(true).create(true).open(self.ballast()).expect("a file");
        for chunk in [1 << 20, 1 << 12] {
            loop {
                match ballast.write(&vec![1; chunk]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("cannot fill the disk: {error}"),
                }
            }
        }
    }

    /// Takes so many MiB of room.
    ///
    /// # Panics
    /// When there is less.
    pub fn take(&self, mib: usize) {
        std::fs::write(self.ballast(), vec![1; mib << 20]).expect("room");
    }

    /// Gives back what was taken.
    ///
    /// # Panics
    /// When nothing was.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("something in the way");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // at the latest it goes with the process
        let _gone = Command::new("umount").arg("--lazy").arg(self.path()).stderr(Stdio::null()).status();
    }
}

/// What to start a program with so that the `nth` sync of each of its threads fails with EIO, as if the disk were broken,
/// and all others succeed: who goes on after a failure does not fail again.
///
/// # Panics
/// When this machine has no `strace`, or does not let it trace.
pub fn failing_sync(nth: u32) -> Vec<String> {
    let probe = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let may = probe.as_ref().is_ok_and(|probe| probe.status.success());
    assert!(
        may,
        "this test lets syncs fail with strace, and cannot: {probe:?}\nhelp: install the package strace, and allow ptrace"
    );
    // the program is our child, and strace its tracer beside it
    let words = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e"];
    let mut command: Vec<String> = words.map(str::to_owned).to_vec();
    command.extend([format!("inject=fsync,fdatasync:error=EIO:when={nth}"), "--".to_owned()]);
    command
}
