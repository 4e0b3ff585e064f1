//! Uploads in many calls, as `file.write` takes them.

#![allow(clippy::unwrap_used, reason = "test code")]

mod files_support;

use files_support::{Desk, ID, pattern, registry, sha256};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use redpoll_common::wire::{FaultCode, RawMap};
use serde_json::json;

/// Asks, and gives up as soon as the file is there: nobody hears the answer.
async fn abandon(desk: &Desk, kwargs: RawMap) {
    let mut asking = desk.begin("file.write", kwargs);
    assert!(futures_util::poll!(&mut asking).is_pending(), "it is done on another thread");
    while !desk.path("a").exists() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn who_did_not_hear_that_a_file_is_in_its_place_hears_it_when_he_asks_again() {
    let desk = Desk::new();
    let upload = || desk.arguments("a").text("upload", ID);
    let commit = || upload().bool("commit", true).uint("size", 5).text("sha256", &sha256(b"hello"));
    let there = |size: u64, sha256: Option<&str>| match sha256 {
        Some(sha256) => json!({"size": size, "sha256": sha256}),
        None => json!({"size": size}),
    };
    let query = async || desk.call("file.write", upload().bool("query", true)).await.unwrap();
    let send =
        async || desk.call("file.write", upload().uint("offset", 0).bin("data", b"hello")).await.unwrap();
    send().await;
    abandon(&desk, commit()).await;
    assert_eq!(query().await, there(5, Some(&sha256(b"hello"))));
    let wrong = upload().bool("commit", true).uint("size", 5).text("sha256", &sha256(b"other"));
    let looks = desk.call("file.write", commit()).await.unwrap();
    assert_eq!((&looks["type"], &looks["size"]), (&json!("file"), &json!(5)));
    // told once, it is a matter of before
    assert_eq!(query().await, there(0, None));
    assert_eq!(desk.class("file.write", commit()).await, "NoUpload");
    // another file is in the place meanwhile
    fs::remove_file(desk.path("a")).unwrap();
    send().await;
    abandon(&desk, commit()).await;
    assert_eq!(query().await, there(5, Some(&sha256(b"hello"))));
    assert_eq!(desk.class("file.write", wrong).await, "NoUpload");
    fs::remove_file(desk.path("a")).unwrap();
    send().await;
    abandon(&desk, commit()).await;
    fs::write(desk.path("a"), "somebody else's").unwrap();
    assert_eq!(query().await, there(0, None));
    assert_eq!(desk.class("file.write", commit()).await, "NoUpload");
}

#[tokio::test]
async fn chunks_may_come_in_any_order_and_twice() {
    let desk = Desk::new();
    let data = pattern(5001);
    let upload = || desk.arguments("x").text("upload", ID);
    fs::write(desk.path("x"), "old").unwrap();
    fs::set_permissions(desk.path("x"), fs::Permissions::from_mode(0o4640)).unwrap();
    let chunk = |n: usize| {
        let data = &data[n * 1000..(n + 1) * 1000];
        desk.call("file.write", upload().uint("offset", (n * 1000).try_into().unwrap()).bin("data", data))
    };
    assert_eq!(desk.class("file.write", upload().uint("offset", 9).text("data", "x")).await, "NoUpload");
    chunk(0).await.unwrap();
    let (four, two, three, one) = tokio::join!(chunk(4), chunk(2), chunk(3), chunk(1));
    assert_eq!(four.unwrap()["size"], 5000);
    for answer in [two, three, one] {
        answer.unwrap();
    }
    assert_eq!(chunk(2).await.unwrap()["size"], 5000, "a chunk whose answer was lost is no harm");
    // a copy that goes on asks how much there is, and meets what is still on its way of the one before
    let across = upload().uint("offset", 4990).bin("data", &data[4990..]);
    assert_eq!(desk.call("file.write", across).await.unwrap()["size"], 5001, "of it is written what is new");
    let there = desk.call("file.write", upload().bool("query", true)).await.unwrap();
    assert_eq!((&there["size"], &there["sha256"]), (&5001.into(), &sha256(&data).into()));
    assert_eq!(fs::read(desk.path("x")).unwrap(), b"old", "until the commit it is what it was");
    let hidden = desk.names().into_iter().find(|name| name.starts_with(".redpoll-")).unwrap();
    assert!(!hidden.contains(ID), "its name cannot be guessed");
    assert_eq!(fs::metadata(desk.path(&hidden)).unwrap().mode() & 0o7777, 0o600);
    let commit = || upload().bool("commit", true).uint("size", 5001).text("sha256", &sha256(&data));
    desk.call("file.write", commit()).await.unwrap();
    assert_eq!(fs::read(desk.path("x")).unwrap(), data);
    assert_eq!(
        fs::metadata(desk.path("x")).unwrap().mode() & 0o7777,
        0o640,
        "who runs it as another is not kept"
    );
    assert_eq!(desk.names(), ["x"]);
    assert_eq!(desk.class("file.write", commit()).await, "NoUpload");
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart_and_a_wrong_digest_ends_it() {
    let desk = Desk::new();
    let upload = || desk.arguments("x").text("upload", ID);
    desk.call("file.write", upload().uint("offset", 0).text("data", "hello ")).await.unwrap();
    let again = Desk { registry: Arc::new(registry(desk.folder.path(), |_| {})), folder: desk.folder };
    let upload = || again.arguments("x").text("upload", ID);
    let there = again.call("file.write", upload().bool("query", true)).await.unwrap();
    assert_eq!((&there["size"], &there["sha256"]), (&6.into(), &sha256(b"hello ").into()));
    again.call("file.write", upload().uint("offset", 6).text("data", "world")).await.unwrap();
    let commit = |sha256: &str| upload().bool("commit", true).uint("size", 11).text("sha256", sha256);
    let owner = commit(&sha256(b"hello world")).text("owner", "nobody-of-this-name");
    assert_eq!(again.class("file.write", owner).await, "UnknownName");
    assert_eq!(again.class("file.write", commit(&sha256(b"other"))).await, "Checksum");
    assert_eq!(again.names(), Vec::<String>::new());
}

#[tokio::test]
async fn uploads_are_counted_and_the_old_ones_swept() {
    let desk = Desk::with(|config| config.uploads = 2);
    let begin = |n: u8| {
        let id = format!("{n:032x}");
        desk.call("file.write", desk.arguments("x").text("upload", &id).uint("offset", 0).text("data", "x"))
    };
    begin(1).await.unwrap();
    begin(2).await.unwrap();
    assert_eq!(begin(3).await.unwrap_err().class.as_deref(), Some("TooManyUploads"));
    desk.call("file.write", desk.arguments("y").text("data", "in one call")).await.unwrap();
    let old = desk.names().into_iter().find(|name| name.starts_with(".redpoll-")).unwrap();
    let file = fs::File::options().write(true).open(desk.path(&old)).unwrap();
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
    file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    let refused = begin(3).await.unwrap_err();
    assert_eq!(
        refused.class.as_deref(),
        Some("TooManyUploads"),
        "a clock makes none old that this agent wrote to"
    );
    let desk = Desk {
        registry: Arc::new(registry(desk.folder.path(), |config| config.uploads = 2)),
        folder: desk.folder,
    };
    let third =
        desk.arguments("x").text("upload", &format!("{:032x}", 3)).uint("offset", 0).text("data", "x");
    desk.call("file.write", third).await.unwrap();
    assert!(!desk.path(&old).exists(), "it was too old");
    let aborted = desk.arguments("x").text("upload", &format!("{:032x}", 3)).bool("abort", true);
    desk.call("file.write", aborted).await.unwrap();
    assert_eq!(desk.names().len(), 2, "y, and one upload");
}

#[tokio::test]
async fn an_upload_whose_folder_was_moved_or_removed_is_begun_anew_in_what_is_there_now() {
    let desk = Desk::new();
    let upload = || desk.arguments("app/x").text("upload", ID);
    let chunk = |offset: u64, data: &'static str| {
        desk.call("file.write", upload().uint("offset", offset).text("data", data))
    };
    let query = async || desk.call("file.write", upload().bool("query", true)).await;
    let commit = || upload().bool("commit", true).uint("size", 5).text("sha256", &sha256(b"hello"));
    let left = |folder: &str| fs::read_dir(desk.path(folder)).unwrap().count();
    fs::create_dir(desk.path("app")).unwrap();
    // as a release by renaming does it
    chunk(0, "hello").await.unwrap();
    fs::rename(desk.path("app"), desk.path("old")).unwrap();
    fs::create_dir(desk.path("app")).unwrap();
    fs::write(desk.path("old/x"), "of before").unwrap();
    assert_eq!(desk.class("file.write", commit()).await, "NoUpload");
    assert_eq!(fs::read_to_string(desk.path("old/x")).unwrap(), "of before");
    assert_eq!((left("old"), left("app")), (1, 0), "what came is not left where nobody would look for it");
    chunk(0, "hello").await.unwrap();
    fs::remove_dir_all(desk.path("app")).unwrap();
    fs::create_dir(desk.path("app")).unwrap();
    assert_eq!(query().await.unwrap(), json!({"size": 0}));
    assert_eq!(chunk(5, "!").await.unwrap_err().class.as_deref(), Some("NoUpload"));
    // its temporary file alone
    chunk(0, "hello").await.unwrap();
    let hidden = fs::read_dir(desk.path("app")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(hidden).unwrap();
    assert_eq!(query().await.unwrap(), json!({"size": 0}));
    // a folder that is gone, and comes back
    chunk(0, "hello").await.unwrap();
    fs::rename(desk.path("app"), desk.path("gone")).unwrap();
    assert_eq!(query().await.unwrap_err().class.as_deref(), Some("NotFound"));
    assert_eq!(left("gone"), 0);
    fs::rename(desk.path("gone"), desk.path("app")).unwrap();
    chunk(0, "hello").await.unwrap();
    desk.call("file.write", commit()).await.unwrap();
    assert_eq!(fs::read_to_string(desk.path("app/x")).unwrap(), "hello");
    assert_eq!((left("app"), left("../state/uploads")), (1, 1), "the file, and the secret");
}

#[tokio::test]
async fn a_call_that_asks_for_two_things_is_refused() {
    let desk = Desk::new();
    let upload = || desk.arguments("x").text("upload", ID);
    for kwargs in [
        desk.arguments("x"),
        desk.arguments("x").text("data", "x").bool("folder", true),
        desk.arguments("x").uint("offset", 0).text("data", "x"),
        upload().text("data", "x"),
        upload().bool("query", true).bool("abort", true),
        upload().bool("commit", true).uint("size", 1),
        desk.arguments("x").text("upload", "../../etc").bool("query", true),
        desk.arguments("x").text("data", "x").uint("mode", 0o10000),
        desk.arguments("x").text("data", "x").text("moed", "x"),
    ] {
        assert_eq!(desk.class("file.write", kwargs).await, "bad_arguments");
    }
    assert_eq!(desk.names(), Vec::<String>::new());
    let fault = desk.call("file.stat", RawMap::new()).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::BadArguments);
}
