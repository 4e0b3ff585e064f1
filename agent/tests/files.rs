//! The procedures `file.*` as a caller sees them, on real files.

#![allow(clippy::unwrap_used, reason = "test code")]

mod files_support;

use files_support::{Desk, pattern, sha256};
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::sync::Arc;

use redpoll_common::identity::Identity;
use redpoll_common::wire::{Raw, RawMap};
use redpoll_config::FilesConfig;
use redpoll_net::service::detached_call;
use redpoll_net::transport::PeerInfo;
use serde_json::Value;

#[tokio::test]
async fn nothing_is_offered_without_a_folder() {
    let desk = Desk::with(|config| *config = FilesConfig::default());
    assert_eq!(desk.registry.procedures().count(), 0);
    let desk = Desk::with(|config| config.write.clear());
    let names: Vec<_> = desk.registry.procedures().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["file.hash", "file.list", "file.read", "file.stat"]);
}

#[tokio::test]
async fn a_file_is_written_looked_at_read_hashed_and_removed() {
    let desk = Desk::new();
    for data in [pattern(0), pattern(1), pattern(700_000)] {
        desk.call("file.write", desk.arguments("x").bin("data", &data)).await.unwrap();
        assert_eq!(fs::read(desk.path("x")).unwrap(), data);
        assert_eq!(desk.names(), ["x"]);
        let stat = desk.call("file.stat", desk.arguments("x")).await.unwrap();
        assert_eq!(
            (&stat["type"], &stat["size"], &stat["mode"]),
            (&"file".into(), &data.len().into(), &0o644.into())
        );
        let (read, end) = desk.call_raw("file.read", desk.arguments("x").bool("sha256", true).finish()).await;
        let end = end.unwrap();
        assert!(read == data, "the bytes differ");
        assert_eq!((&end["sha256"], &end["changed"]), (&sha256(&data).into(), &false.into()));
        let hash = desk.call("file.hash", desk.arguments("x")).await.unwrap();
        assert_eq!(hash["sha256"], sha256(&data));
    }
    let part = desk.arguments("x").uint("offset", 100).uint("length", 50).bool("sha256", true);
    let (read, end) = desk.call_raw("file.read", part.finish()).await;
    assert_eq!(read, pattern(700_000)[100..150]);
    assert_eq!(end.unwrap()["sha256"], sha256(&pattern(700_000)), "the digest is of the whole");
    desk.call("file.remove", desk.arguments("x")).await.unwrap();
    assert_eq!(desk.class("file.stat", desk.arguments("x")).await, "NotFound");
}

#[tokio::test]
async fn links_and_steps_upwards_lead_nowhere() {
    let desk = Desk::new();
    fs::create_dir(desk.path("dir")).unwrap();
    symlink(desk.folder.path().join("outside"), desk.path("out")).unwrap();
    symlink("../outside/secret", desk.path("file")).unwrap();
    symlink("dir", desk.path("inside")).unwrap();
    fs::write(desk.path("dir/x"), "x").unwrap();
    for name in ["out/secret", "file", "inside/x"] {
        for method in ["file.read", "file.hash"] {
            assert_eq!(desk.class(method, desk.arguments(name)).await, "rejected", "{method} {name}");
        }
        let write = desk.arguments(name).text("data", "gone");
        assert_eq!(desk.class("file.write", write).await, "rejected", "{name}");
    }
    assert_eq!(desk.class("file.stat", desk.arguments("out/secret")).await, "rejected");
    assert_eq!(desk.class("file.remove", desk.arguments("out/secret")).await, "rejected");
    let up = desk.arguments("dir/../../outside/secret");
    assert_eq!(desk.class("file.read", up).await, "bad_arguments");
    let outside = desk.folder.path().join("outside/secret");
    let outside = || RawMap::new().text("path", outside.to_str().unwrap());
    assert_eq!(desk.class("file.read", outside()).await, "rejected");
    assert_eq!(desk.class("file.write", outside().text("data", "x")).await, "rejected");
    let link = desk.call("file.stat", desk.arguments("file")).await.unwrap();
    assert_eq!(link["type"], "link", "a link is looked at, not followed");
    desk.call("file.remove", desk.arguments("file")).await.unwrap();
    desk.call("file.remove", desk.arguments("out").bool("recursive", true)).await.unwrap();
    assert_eq!(fs::read_to_string(desk.folder.path().join("outside/secret")).unwrap(), "secret");
}

#[tokio::test]
async fn a_folder_that_is_swapped_for_a_link_meanwhile_never_lets_anything_out() {
    let desk = Desk::new();
    let (dir, link, aside) = (desk.path("dir"), desk.path("link"), desk.path("aside"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("secret"), "mine").unwrap();
    symlink(desk.folder.path().join("outside"), &link).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = stop.clone();
    let swapper = std::thread::spawn(move || {
        while !told.load(std::sync::atomic::Ordering::Relaxed) {
            fs::rename(&dir, &aside).unwrap();
            fs::rename(&link, &dir).unwrap();
            fs::rename(&dir, &link).unwrap();
            fs::rename(&aside, &dir).unwrap();
        }
    });
    let (mut read, mut refused) = (0, 0);
    for _ in 0..2000 {
        match desk.call_raw("file.read", desk.arguments("dir/secret").finish()).await {
            (bytes, Ok(_)) => {
                assert_eq!(bytes, b"mine");
                read += 1;
            }
            (_, Err(_)) => refused += 1,
        }
        let _either = desk.call("file.write", desk.arguments("dir/secret").text("data", "mine")).await;
        if read > 20 && refused > 20 {
            break;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(fs::read_to_string(desk.folder.path().join("outside/secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(desk.folder.path().join("outside")).unwrap().count(), 1);
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_touched() {
    let desk = Desk::new();
    let fifo = desk.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(desk.path("socket")).unwrap();
    for name in ["fifo", "socket"] {
        assert_eq!(desk.class("file.read", desk.arguments(name)).await, "rejected", "{name}");
        assert_eq!(desk.class("file.write", desk.arguments(name).text("data", "x")).await, "rejected");
        assert_eq!(desk.call("file.stat", desk.arguments(name)).await.unwrap()["type"], "other");
    }
    fs::create_dir(desk.path("dir")).unwrap();
    assert_eq!(desk.class("file.read", desk.arguments("dir")).await, "IsAFolder");
    assert_eq!(desk.class("file.write", desk.arguments("dir").text("data", "x")).await, "IsAFolder");
    assert_eq!(desk.class("file.write", desk.arguments("").text("data", "x")).await, "IsAFolder");
}

#[tokio::test]
async fn what_is_the_agents_own_is_refused_whatever_it_is_called() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("own/spool")).unwrap();
    fs::write(desk.path("own/spool/x"), "x").unwrap();
    fs::write(desk.path("own.key"), "key").unwrap();
    fs::hard_link(desk.path("own.key"), desk.path("other")).unwrap();
    for name in ["own/spool/x", "own.key", "other"] {
        for method in ["file.read", "file.hash", "file.stat", "file.remove"] {
            assert_eq!(desk.class(method, desk.arguments(name)).await, "rejected", "{method} {name}");
        }
        assert_eq!(desk.class("file.write", desk.arguments(name).text("data", "")).await, "rejected");
    }
    assert_eq!(desk.class("file.list", desk.arguments("own")).await, "rejected");
    assert_eq!(desk.class("file.write", desk.arguments("own/new").text("data", "")).await, "rejected");
    let list = desk.call("file.list", desk.arguments("")).await.unwrap();
    assert_eq!(list["entries"].as_array().unwrap().len(), 0);
    // under another name, where only its number tells what it is
    fs::rename(desk.path("own.key"), desk.path("moved.key")).unwrap();
    fs::write(desk.path("own.key"), "renewed").unwrap();
    fs::hard_link(desk.path("own.key"), desk.path("again")).unwrap();
    assert_eq!(desk.class("file.read", desk.arguments("again")).await, "rejected");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_says_so() {
    let desk = Desk::new();
    let file = fs::File::create(desk.path("x")).unwrap();
    file.set_len(64 << 20).unwrap();
    let expect = |size: u64| {
        desk.arguments("x").map("expect", |map| map.uint("size", size).uint("mtime_ns", 1).uint("inode", 1))
    };
    assert_eq!(desk.class("file.read", expect(5)).await, "Changed");
    let stat = desk.call("file.stat", desk.arguments("x")).await.unwrap();
    let number = |key: &str| stat[key].as_u64().unwrap();
    let same = desk.arguments("x").uint("length", 3).map("expect", |map| {
        map.uint("size", number("size")).uint("mtime_ns", number("mtime_ns")).uint("inode", number("inode"))
    });
    let (bytes, end) = desk.call_raw("file.read", same.finish()).await;
    assert_eq!((bytes, end.unwrap()["changed"].as_bool()), (vec![0; 3], Some(false)));
    // values wait for whoever takes them: while the first ones do, the file changes
    let caller = PeerInfo {
        identity: Identity::parse("spiffe://home/manager/m").unwrap(),
        address: "test".into(),
        ip: None,
        speaks_rp1: true,
        certificate: None,
    };
    let kwargs = desk.arguments("x").finish();
    let (call, mut output, _stop) = detached_call(caller, "file.read", Raw::empty_array(), kwargs);
    let mut task = tokio::task::JoinSet::new();
    task.spawn(desk.registry.start(call).answer);
    output.next().await.unwrap().unwrap();
    file.write_all_at(b"new", 0).unwrap();
    while output.next().await.is_some() {}
    let end: Value = task.join_next().await.unwrap().unwrap().unwrap().decode().unwrap();
    assert_eq!(end["changed"], true);
}

#[tokio::test]
async fn a_file_that_has_only_grown_is_read_as_long_as_it_was() {
    let desk = Desk::new();
    let mut log = fs::File::create(desk.path("x")).unwrap();
    log.write_all(b"one\n").unwrap();
    let stat = desk.call("file.stat", desk.arguments("x")).await.unwrap();
    let number = |key: &str| stat[key].as_u64().unwrap();
    let expect = || {
        desk.arguments("x").map("expect", |map| {
            map.uint("size", 4).uint("mtime_ns", number("mtime_ns")).uint("inode", number("inode"))
        })
    };
    log.write_all(b"two\n").unwrap();
    let (bytes, end) = desk.call_raw("file.read", expect().bool("sha256", true).finish()).await;
    let end = end.unwrap();
    assert_eq!((bytes.as_slice(), &end["bytes"], &end["changed"]), (&b"one\n"[..], &4.into(), &true.into()));
    assert_eq!(end["sha256"], sha256(b"one\n"), "the digest ends there, too");
    let hash = desk.call("file.hash", expect()).await.unwrap();
    assert_eq!((&hash["sha256"], &hash["changed"]), (&sha256(b"one\n").into(), &true.into()));
    // what was read before is the same still, or the digest says otherwise
    let (bytes, end) =
        desk.call_raw("file.read", expect().uint("offset", 2).bool("sha256", true).finish()).await;
    assert_eq!((bytes.as_slice(), &end.unwrap()["sha256"]), (&b"e\n"[..], &sha256(b"one\n").into()));
    assert_eq!(desk.class("file.read", expect().uint("offset", 2)).await, "Changed");
    // shorter, or another
    log.set_len(3).unwrap();
    assert_eq!(desk.class("file.read", expect()).await, "Changed");
    fs::rename(desk.path("x"), desk.path("rotated")).unwrap();
    fs::write(desk.path("x"), "one\ntwo\n").unwrap();
    assert_eq!(desk.class("file.read", expect()).await, "Changed");
}

#[tokio::test]
async fn a_huge_file_with_nothing_in_it_is_read_in_part_at_once() {
    let desk = Desk::new();
    fs::File::create(desk.path("x")).unwrap().set_len(1 << 40).unwrap();
    let part = desk.arguments("x").uint("offset", (1 << 40) - 10);
    let (bytes, end) = desk.call_raw("file.read", part.finish()).await;
    assert_eq!((bytes, end.unwrap()["bytes"].as_u64()), (vec![0; 10], Some(10)));
    let beyond = desk.arguments("x").uint("offset", (1 << 40) + 1);
    assert_eq!(desk.class("file.read", beyond).await, "bad_arguments");
}

#[tokio::test]
async fn a_folder_is_listed_page_by_page_whatever_its_names_are() {
    let desk = Desk::new();
    let mut names: Vec<Vec<u8>> = (0..25).map(|n| format!("n{n:02}").into_bytes()).collect();
    names.push(b"\xff\xfe".to_vec());
    for name in &names {
        fs::write(desk.path("").join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let (mut found, mut after): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    loop {
        let mut kwargs = desk.arguments("").uint("limit", 10);
        if let Some(after) = &after {
            kwargs = kwargs.bin("after", after);
        }
        let page: rmpv::Value = {
            let (_, answer) = desk.call_list(kwargs.finish()).await;
            answer
        };
        let field = |value: &rmpv::Value, key: &str| {
            value.as_map().unwrap().iter().find(|(name, _)| name.as_str() == Some(key)).unwrap().1.clone()
        };
        let octets = |value: &rmpv::Value| {
            value
                .as_str()
                .map(|text| text.as_bytes().to_vec())
                .or_else(|| value.as_slice().map(<[u8]>::to_vec))
        };
        found.extend(
            field(&page, "entries")
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| octets(&field(entry, "name")).unwrap()),
        );
        after = octets(&field(&page, "next"));
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, names);
    let odd = RawMap::new().bin("path", &[desk.path("").as_os_str().as_bytes(), b"\xff\xfe"].concat());
    assert_eq!(desk.call("file.stat", odd).await.unwrap()["type"], "file");
}

#[tokio::test]
async fn a_folder_goes_only_when_it_is_asked_for_and_never_what_a_link_in_it_names() {
    let desk = Desk::new();
    desk.call("file.write", desk.arguments("a").bool("folder", true)).await.unwrap();
    desk.call("file.write", desk.arguments("a/b").bool("folder", true).uint("mode", 0o700)).await.unwrap();
    desk.call("file.write", desk.arguments("a").bool("folder", true)).await.unwrap();
    desk.call("file.write", desk.arguments("a/b/x").text("data", "x")).await.unwrap();
    symlink(desk.folder.path().join("outside"), desk.path("a/b/out")).unwrap();
    assert_eq!(desk.class("file.remove", desk.arguments("a")).await, "NotEmpty");
    assert_eq!(desk.class("file.remove", desk.arguments("").bool("recursive", true)).await, "rejected");
    let removed = desk.call("file.remove", desk.arguments("a").bool("recursive", true)).await.unwrap();
    assert_eq!(removed["removed"], 4);
    assert_eq!(desk.names(), Vec::<String>::new());
    assert!(desk.folder.path().join("outside/secret").exists());
}

#[tokio::test]
async fn a_folder_whose_name_is_swapped_meanwhile_gives_nothing_else_away() {
    if !rustix::process::geteuid().is_root() {
        // nobody else can give anything away
        return;
    }
    let desk = Desk::new();
    let (dir, file) = (desk.path("dir"), desk.path("file"));
    fs::create_dir(&dir).unwrap();
    fs::write(&file, "mine").unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (told, names) = (stop.clone(), (dir.clone(), file.clone()));
    let swapper = std::thread::spawn(move || {
        let (here, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
        while !told.load(std::sync::atomic::Ordering::Relaxed) {
            for _there_and_back in 0..2 {
                rustix::fs::renameat_with(here, &names.0, here, &names.1, flags).unwrap();
            }
        }
    });
    let (mut given, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let folder = desk.arguments("dir").bool("folder", true).uint("owner", 54_321).uint("group", 54_321);
        match desk.call("file.write", folder).await {
            Ok(looks) => {
                assert_eq!((&looks["type"], &looks["uid"]), (&"folder".into(), &54_321.into()));
                given += 1;
            }
            Err(_) => refused += 1,
        }
        if given > 200 && refused > 200 {
            break;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0, "the file was given away");
    assert_eq!(fs::metadata(&dir).unwrap().uid(), 54_321);
    assert!(given > 0 && refused > 0, "{given} given, {refused} refused: nothing was swapped");
}
