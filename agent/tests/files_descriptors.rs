//! Files that are written in a process that has as many files open as it may. A test of its own, as the limit is that of the whole process.

#![allow(clippy::unwrap_used, reason = "test code")]

mod files_support;

use std::fs::{self, File};

use files_support::{Desk, ID, sha256};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes the descriptors that this process may have, but so many.
fn take_all_but(left: usize) -> Vec<File> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..getrlimit(Resource::Nofile) }).unwrap();
    let mut all: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    all.truncate(all.len() - left);
    all
}

#[tokio::test]
async fn a_want_of_descriptors_throws_no_upload_away_and_changes_nothing() {
    let desk = Desk::new();
    let upload = || desk.arguments("a").text("upload", ID);
    let commit = || upload().bool("commit", true).uint("size", 5).text("sha256", &sha256(b"hello"));
    let folder = || desk.arguments("f").bool("folder", true);
    fs::write(desk.path("a"), "old").unwrap();
    desk.call("file.write", upload().uint("offset", 0).bin("data", b"hello")).await.unwrap();
    for left in 0..=1 {
        // one is enough to find the upload, and not to put it in its place
        let taken = take_all_but(left);
        let (committed, made) =
            (desk.class("file.write", commit()).await, desk.class("file.write", folder()).await);
        drop(taken);
        assert_eq!((committed.as_str(), made.as_str()), ("TryAgain", "TryAgain"), "{left}");
        assert_eq!(fs::read(desk.path("a")).unwrap(), b"old");
        assert!(!desk.path("f").exists(), "{left}");
    }
    desk.call("file.write", commit()).await.unwrap();
    desk.call("file.write", folder()).await.unwrap();
    assert_eq!(fs::read(desk.path("a")).unwrap(), b"hello");
    assert_eq!(desk.names(), ["a", "f"]);
}
