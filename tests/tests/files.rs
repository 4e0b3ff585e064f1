//! Files on their way between an operator and agents: real daemons, real files, and what goes wrong on the way.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use redpoll_common::api::AgentState;
use redpoll_tests::disk::{Disk, has_own_mounts};
use redpoll_tests::site::{Site, names, part, pattern, text, word};
use redpoll_tests::slow::Slow;
use redpoll_tests::world::HONEST;
use redpoll_tests::{in_time, within};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

const MIB: usize = 1 << 20;

/// A site with the honest agent.
async fn start() -> Site {
    let mut site = Site::bare(&[]).await;
    site.agent(HONEST, &[]).await;
    site
}

async fn good(site: &Site, words: &[&str]) {
    let output = site.cp(words).await;
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
}

#[tokio::test]
async fn files_of_all_sizes_go_there_and_back() {
    let site = start().await;
    let (here, back) = (site.local("here"), site.local("back"));
    for len in [0, 1, 65_536, 65_537, 3 * MIB + 17] {
        fs::write(&here, pattern(len)).unwrap();
        fs::set_permissions(&here, Permissions::from_mode(0o750)).unwrap();
        good(&site, &[word(&here), &site.remote(HONEST, "there"), "--verify"]).await;
        assert!(fs::read(site.root.join("there")).unwrap() == pattern(len), "{len}");
        good(&site, &[&site.remote(HONEST, "there"), word(&back), "--verify"]).await;
        assert!(fs::read(&back).unwrap() == pattern(len), "{len}");
    }
    assert_eq!(fs::metadata(site.root.join("there")).unwrap().permissions().mode() & 0o7777, 0o750);
    good(&site, &["--mode", "0600", word(&here), &site.remote(HONEST, "there")]).await;
    assert_eq!(fs::metadata(site.root.join("there")).unwrap().permissions().mode() & 0o7777, 0o600);
    good(&site, &[word(&here), &site.remote(HONEST, "")]).await;
    assert_eq!(site.names(), ["here", "there"], "into a folder it keeps its name");
    let odd = site.local("").join(OsStr::from_bytes(b"odd\xff"));
    fs::write(&odd, "odd").unwrap();
    let mut command = site.world.rpctl();
    command.arg("cp").arg(&odd).arg(site.remote(HONEST, ""));
    assert!(in_time("rpctl", command.status()).await.unwrap().success());
    assert_eq!(fs::read(site.root.join(OsStr::from_bytes(b"odd\xff"))).unwrap(), b"odd");
    let output = site.cp(&[&site.remote(HONEST, "there"), "-"]).await;
    assert!(output.stdout == pattern(3 * MIB + 17), "on standard output it is the same");
    let mut command = site.world.rpctl();
    command.args(["cp", "-", &site.remote(HONEST, "piped")]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&pattern(200_000)).await.unwrap();
    drop(input);
    assert!(in_time("rpctl", child.wait()).await.unwrap().success());
    assert!(fs::read(site.root.join("piped")).unwrap() == pattern(200_000));
}

#[tokio::test]
async fn one_file_goes_to_many_agents_and_each_is_told() {
    let mut site = start().await;
    site.agent("web-1", &[]).await;
    site.world.agent("web-2", &[]).await;
    let here = site.local("here");
    fs::write(&here, pattern(MIB)).unwrap();
    // all three share the disk: what the last one writes is what all have written
    good(&site, &[word(&here), &site.remote(&format!("{HONEST},web-1"), "x")]).await;
    let output = site.cp(&["-o", "json", word(&here), &site.remote("*", "x")]).await;
    assert_eq!(output.status.code(), Some(3), "the only failure is that web-2 offers no files");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let copied: Vec<_> = told.as_array().unwrap().iter().map(|row| (&row["agent"], &row["copied"])).collect();
    assert_eq!(
        copied,
        [(&json!(HONEST), &json!(true)), (&json!("web-1"), &json!(true)), (&json!("web-2"), &json!(false))]
    );
    assert!(fs::read(site.root.join("x")).unwrap() == pattern(MIB));
    assert_eq!(site.names(), ["x"]);
}

#[tokio::test]
async fn every_refusal_says_why_and_leaves_what_was_there() {
    let site = start().await;
    let here = site.local("here");
    fs::write(&here, "new").unwrap();
    fs::write(site.root.join("old"), "old").unwrap();
    symlink(&here, site.root.join("link")).unwrap();
    let x = site.remote(HONEST, "x");
    site.bad(&[word(&site.local("missing")), &x], 2, "cannot open").await;
    site.bad(&[word(&here), "never-1:/x"], 5, "there is no agent never-1").await;
    site.bad(&[word(&here), &format!("{HONEST}:/etc/x")], 3, "beneath no folder").await;
    site.bad(&[word(&here), &site.remote(HONEST, "link")], 3, "link").await;
    site.bad(&[word(&here), &site.remote(HONEST, "no/x")], 1, "NotFound").await;
    site.bad(&[&site.remote(HONEST, "no"), "-"], 1, "NotFound").await;
    site.bad(&[&site.remote(HONEST, ""), word(&site.local("d"))], 2, "is a folder").await;
    site.bad(&[word(&here), &site.remote(HONEST, "old"), "--owner", "nobody-at-all"], 1, "UnknownName").await;
    site.bad(&[word(&here), "web-1:x"], 2, "./a:b").await;
    assert_eq!(fs::read_to_string(site.root.join("old")).unwrap(), "old");
    assert_eq!(fs::read_to_string(&here).unwrap(), "new");
    assert_eq!(site.names(), ["link", "old"]);
}

#[tokio::test]
async fn a_folder_goes_there_and_back_without_what_is_no_file() {
    let site = start().await;
    let tree = site.local("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir_all(tree.join("empty")).unwrap();
    fs::write(tree.join("a/b/x"), pattern(100_000)).unwrap();
    fs::write(tree.join("y"), "y").unwrap();
    let mode = |path: PathBuf| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(tree.join("y"), Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(tree.join("a"), Permissions::from_mode(0o700)).unwrap();
    symlink("/etc/passwd", tree.join("link")).unwrap();
    let output = site.cp(&["-r", word(&tree), &site.remote(HONEST, "copy")]).await;
    assert_eq!((output.status.code(), text(&output.stderr).contains("is left out")), (Some(0), true));
    assert_eq!(names(&site.root.join("copy")), ["a", "empty", "y"]);
    // what is nobody else's here is nobody else's there
    assert_eq!((mode(site.root.join("copy/a")), mode(site.root.join("copy/y"))), (0o700, 0o640));
    // a link in the way must not lead out of the local folder
    let back = site.local("back");
    fs::create_dir(&back).unwrap();
    symlink("/tmp", back.join("a")).unwrap();
    site.bad(&["-r", &site.remote(HONEST, "copy"), word(&back)], 2, "cannot enter").await;
    fs::remove_file(back.join("a")).unwrap();
    symlink(site.local("elsewhere"), back.join("y")).unwrap();
    good(&site, &["-r", &site.remote(HONEST, "copy"), word(&back)]).await;
    assert!(fs::read(back.join("a/b/x")).unwrap() == pattern(100_000));
    assert!(fs::symlink_metadata(back.join("y")).unwrap().is_file(), "the link is replaced, not followed");
    assert!(!site.local("elsewhere").exists());
    assert_eq!((mode(back.join("a")), mode(back.join("y"))), (0o700, 0o640), "nothing of the link is kept");
}

#[tokio::test]
async fn folders_that_are_made_get_the_wished_owner_and_those_that_are_there_keep_theirs() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can give folders away: not tried");
        return;
    }
    let site = start().await;
    let tree = site.local("tree");
    fs::create_dir_all(tree.join("new")).unwrap();
    fs::write(tree.join("new/x"), "x").unwrap();
    fs::create_dir(site.root.join("there")).unwrap();
    good(&site, &["-r", "--owner", "65534", "--group", "65534", word(&tree), &site.remote(HONEST, "there")])
        .await;
    let owner = |name: &str| {
        let found = fs::metadata(site.root.join(name)).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!([owner("there/new"), owner("there/new/x")], [(65_534, 65_534); 2]);
    assert_eq!(owner("there"), (0, 0));
}

#[tokio::test]
async fn a_copy_in_calls_that_was_killed_goes_on_where_it_was() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting()]).await;
    let here = site.local("here");
    fs::write(&here, pattern(24 * MIB)).unwrap();
    let there = site.remote(HONEST, "there");
    // first rpctl, then the agent
    let mut child = site.world.rpctl().args(["cp", "--via", "calls", word(&here), &there]).spawn().unwrap();
    let first = part(&site.root, ".redpoll-", 2 << 20).await;
    child.kill().await.unwrap();
    let mut child = site
        .world
        .rpctl()
        .args(["cp", "--via", "calls", word(&here), &there])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    part(&site.root, ".redpoll-", first + (2 << 20)).await;
    site.restart_agent(HONEST, &[&slow.setting()]).await;
    assert!(!in_time("rpctl", child.wait()).await.unwrap().success());
    let output = site.cp(&["-o", "json", "--via", "calls", word(&here), &there]).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told[0]["resumed"].as_u64().unwrap() >= first, "{told}");
    assert_eq!(told[0]["streamed"], 0, "{told}");
    assert!(fs::read(site.root.join("there")).unwrap() == pattern(24 * MIB));
    assert_eq!(site.names(), ["there"]);
    // and back
    let folder = site.local("back");
    fs::create_dir(&folder).unwrap();
    let mut child = site.world.rpctl().args(["cp", "--via", "calls", &there, word(&folder)]).spawn().unwrap();
    let first = part(&folder, ".rpctl-", 2 << 20).await;
    child.kill().await.unwrap();
    let output = site.cp(&["-o", "json", "--via", "calls", &there, word(&folder)]).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told[0]["resumed"].as_u64().unwrap() >= first, "{told}");
    assert_eq!(told[0]["streamed"], 0, "{told}");
    assert!(fs::read(folder.join("there")).unwrap() == pattern(24 * MIB));
    assert_eq!(names(&folder), ["there"]);
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    if has_own_mounts("a_full_disk_is_told_and_harms_nothing") {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(full_disk());
    }
}

async fn full_disk() {
    let disk = Disk::mount(8);
    let mut site = Site::bare(&[]).await;
    site.root = disk.path().to_owned();
    site.agent(HONEST, &[]).await;
    fs::write(site.root.join("x"), "old").unwrap();
    let here = site.local("here");
    fs::write(&here, pattern(12 * MIB)).unwrap();
    site.bad(&[word(&here), &site.remote(HONEST, "x")], 1, "NoSpace").await;
    assert_eq!(fs::read_to_string(site.root.join("x")).unwrap(), "old");
    assert_eq!(site.names(), ["x"], "what came is removed: the disk is not full of it");
    fs::write(&here, pattern(4 * MIB)).unwrap();
    good(&site, &[word(&here), &site.remote(HONEST, "x")]).await;
    assert!(fs::read(site.root.join("x")).unwrap() == pattern(4 * MIB));
}

#[tokio::test]
async fn an_agent_that_goes_in_the_middle_is_told() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 4 << 20);
    site.agent(HONEST, &[&slow.setting()]).await;
    fs::write(site.root.join("x"), pattern(32 * MIB)).unwrap();
    for via in ["calls", "stream"] {
        let folder = site.local(via);
        fs::create_dir(&folder).unwrap();
        let mut command = site.world.rpctl();
        command.args(["cp", "--via", via, &site.remote(HONEST, "x"), word(&folder)]);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        part(&folder, ".rpctl-", 1 << 20).await;
        let pid = i32::try_from(site.world.agent_process(HONEST).pid()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        site.world.operator.until(HONEST, AgentState::Away).await;
        let output = in_time("rpctl", child.wait_with_output()).await.unwrap();
        let error = text(&output.stderr);
        // in calls the end of the call says it, of a stream also the connection may
        let code = output.status.code();
        assert!(code == Some(8) || via == "stream" && code == Some(4), "{via} {code:?}: {error}");
        assert!(error.contains("goes on where it was"), "{via}: {error}");
        assert!(!folder.join("x").exists());
        site.restart_agent(HONEST, &[&slow.setting()]).await;
    }
}

/// Runs `rpctl cp` with a terminal as its standard error, and gives the numbers of bytes that its line showed: how many of how many.
async fn at_a_terminal(site: &Site, words: &[&str]) -> (Vec<(f64, f64)>, Value) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let seat = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut command = site.world.rpctl();
    command.args(["cp", "-o", "json"]).args(words).env("TERM", "xterm");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::from(seat)).spawn().unwrap();
    // the command holds the terminal open too, and its end is waited for
    drop(command);
    let shown = tokio::task::spawn_blocking(move || {
        let (mut terminal, mut shown, mut piece) = (fs::File::from(terminal), Vec::new(), [0; 4096]);
        // the end of a terminal is an error
        while let Ok(read @ 1..) = terminal.read(&mut piece) {
            shown.extend_from_slice(piece.get(..read).unwrap());
        }
        text(&shown)
    });
    let output =
        within(Duration::from_secs(90), "the end of the copy", child.wait_with_output()).await.unwrap();
    let shown = in_time("the end of the terminal", shown).await.unwrap();
    assert!(output.status.success(), "{shown}");
    (numbers(&shown), serde_json::from_slice(&output.stdout).unwrap())
}

/// The numbers in `1.50 MiB/4.00 MiB`, in MiB.
fn numbers(shown: &str) -> Vec<(f64, f64)> {
    let words: Vec<&str> = shown.split_whitespace().collect();
    let mib = |number: &str, unit: &str| {
        let unit = ["B", "KiB", "MiB"].iter().position(|known| *known == unit)?;
        Some(number.parse::<f64>().ok()? / 1024_f64.powi(2 - i32::try_from(unit).unwrap()))
    };
    let pair = |words: &[&str]| {
        let [done, between, last_unit] = words else { return None };
        let (unit, all) = between.split_once('/')?;
        Some((mib(done, unit)?, mib(all, last_unit)?))
    };
    words.windows(3).filter_map(pair).collect()
}

#[tokio::test]
async fn at_a_terminal_a_copy_shows_how_far_it_is_also_when_it_goes_on_and_elsewhere_nothing() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 2 << 20);
    site.agent(HONEST, &[&slow.setting(), "limits.run_timeout=2s"]).await;
    let (here, there) = (site.local("here"), site.remote(HONEST, "there"));
    fs::write(&here, pattern(7 * MIB)).unwrap();
    for words in [[word(&here), &there], [&there, word(&site.local("back"))]] {
        let (shown, told) = at_a_terminal(&site, &[&["--via", "stream"], &words[..]].concat()).await;
        assert!(told[0]["resumed"].as_u64().unwrap() > 0, "it did not go on by itself: {told}");
        let last = shown.last().unwrap();
        assert!(shown.iter().all(|(done, all)| done <= all), "{words:?}: counted twice: {shown:?}");
        assert!(last.0 > 5.0 && (last.1 - 7.0).abs() < 0.01, "{words:?}: {shown:?}");
        let mut steps: Vec<_> = shown.iter().map(|(done, _)| done.to_string()).collect();
        steps.dedup();
        assert!(steps.len() > 5, "{words:?}: it does not move: {shown:?}");
    }
    let output = site.cp(&["--via", "calls", word(&here), &there]).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}
