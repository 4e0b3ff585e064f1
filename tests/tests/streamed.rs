//! Files that go encrypted from end to end between an operator and an agent: real daemons, real files, and what goes wrong on the way.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use redpoll_common::api::AgentState;
use redpoll_tests::slow::Slow;
use redpoll_tests::world::{HONEST, World};
use redpoll_tests::{eventually, in_time, within};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// A world whose agent gives and takes what is beneath a folder.
struct Site {
    world: World,
    root: PathBuf,
}

impl Site {
    async fn start(manager: &[&str], agent: &[&str]) -> Self {
        let mut site = Self::bare(manager).await;
        site.agent(HONEST, agent).await;
        site
    }

    async fn bare(manager: &[&str]) -> Self {
        let world = World::quiet(manager).await;
        let root = world.directory().join("root");
        fs::create_dir(&root).unwrap();
        Self { world, root }
    }

    fn settings(&self, more: &[&str]) -> Vec<String> {
        let root = self.root.display();
        let own = [
            "procedures.builtin=sys.*,exec.run,file.*".to_owned(),
            format!("files.read={root}"),
            format!("files.write={root}"),
        ];
        own.into_iter().chain(more.iter().map(|&setting| setting.to_owned())).collect()
    }

    async fn agent(&mut self, id: &str, more: &[&str]) {
        let settings = self.settings(more);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        self.world.agent(id, &settings).await;
    }

    fn local(&self, name: &str) -> PathBuf {
        self.world.directory().join(name)
    }

    fn remote(&self, name: &str) -> String {
        format!("{HONEST}:{}", self.root.join(name).display())
    }

    async fn cp(&self, words: &[&str]) -> Output {
        let mut command = self.world.rpctl();
        command.args(["-o", "json", "cp"]).args(words);
        within(Duration::from_secs(120), "the end of rpctl cp", command.output()).await.unwrap()
    }

    /// Copies, and gives how many bytes went over a connection of their own.
    async fn streamed(&self, words: &[&str]) -> u64 {
        let output = self.cp(words).await;
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told.pointer("/0/streamed").and_then(Value::as_u64).unwrap()
    }

    async fn bad(&self, words: &[&str], code: i32, said: &str) {
        let output = self.cp(words).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
        assert!(error.contains(said), "{said:?} is not in {error}");
    }

    async fn counter(&self, name: &str) -> u64 {
        self.world.operator.counter(name).await
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from((n * 31 + n / 4099) % 251).unwrap()).collect()
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn files_of_all_sizes_go_over_connections_of_their_own() {
    let site = Site::start(&[], &[]).await;
    let (here, back) = (site.local("here"), site.local("back"));
    let sizes = [0, 1, 65_537, 3 * MIB + 17, 17 * MIB];
    for len in sizes {
        fs::write(&here, pattern(len)).unwrap();
        let all = u64::try_from(len).unwrap();
        let there = site.remote("there");
        let insist = ["--via", "stream", "--verify"];
        assert_eq!(site.streamed(&[&insist[..], &[word(&here), &there]].concat()).await, all);
        assert!(fs::read(site.root.join("there")).unwrap() == pattern(len), "{len}");
        assert_eq!(site.streamed(&[&insist[..], &[&there, word(&back)]].concat()).await, all);
        assert!(fs::read(&back).unwrap() == pattern(len), "{len}");
    }
    // as many connections as files, and the manager has seen more bytes than they have, for they are encrypted
    eventually("the manager has counted", async || {
        let begun = site.counter("relays_begun").await == 2 * u64::try_from(sizes.len()).unwrap();
        let bytes =
            site.counter("relayed_bytes").await > 2 * u64::try_from(sizes.iter().sum::<usize>()).unwrap();
        (begun && bytes).then_some(())
    })
    .await;
    assert_eq!((site.counter("relays_refused").await, site.names()), (0, vec!["there".to_owned()]));
}

#[tokio::test]
async fn large_files_do_by_themselves_and_small_ones_go_in_calls() {
    let site = Site::start(&[], &[]).await;
    let (here, back, there) = (site.local("here"), site.local("back"), site.remote("there"));
    for (len, streamed) in [(MIB, 0), (16 * MIB, 16 * MIB)] {
        fs::write(&here, pattern(len)).unwrap();
        let streamed = u64::try_from(streamed).unwrap();
        assert_eq!(site.streamed(&[word(&here), &there]).await, streamed);
        assert_eq!(site.streamed(&[&there, word(&back)]).await, streamed);
        assert!(fs::read(&back).unwrap() == pattern(len));
    }
    assert_eq!(site.streamed(&["--via", "calls", word(&here), &there]).await, 0);
    site.bad(&["--via", "stream", "-", &there], 2, "goes in calls").await;
}

#[tokio::test]
async fn where_it_cannot_be_had_files_go_in_calls_unless_somebody_insists() {
    for (manager, agent, said) in [
        (&["relay.files=0"][..], &[][..], "relay.files of the manager"),
        (&[], &["files.streams=0"], "files.streams of this agent"),
    ] {
        let site = Site::start(manager, agent).await;
        let (here, back, there) = (site.local("here"), site.local("back"), site.remote("there"));
        fs::write(&here, pattern(17 * MIB)).unwrap();
        assert_eq!(site.streamed(&[word(&here), &there]).await, 0);
        assert_eq!(site.streamed(&[&there, word(&back)]).await, 0);
        assert!(fs::read(&back).unwrap() == pattern(17 * MIB));
        fs::remove_file(site.root.join("there")).unwrap();
        let output = site.cp(&["--via", "stream", word(&here), &there]).await;
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{said:?} is not in {error}");
        assert!(!site.root.join("there").exists());
    }
}

#[tokio::test]
async fn every_refusal_says_why_as_it_does_in_calls() {
    let site = Site::start(&[], &[]).await;
    let here = site.local("here");
    fs::write(&here, pattern(17 * MIB)).unwrap();
    fs::create_dir(site.root.join("folder")).unwrap();
    for insist in [&[][..], &["--via", "stream"]] {
        let x = site.remote("no/x");
        site.bad(&[insist, &[word(&here), "never-1:/x"]].concat(), 5, "never-1").await;
        site.bad(&[insist, &[word(&here), &format!("{HONEST}:/etc/x")]].concat(), 3, "beneath no folder")
            .await;
        site.bad(&[insist, &[word(&here), &x]].concat(), 1, "NotFound").await;
        site.bad(&[insist, &[&x, word(&here)]].concat(), 1, "NotFound").await;
    }
    assert_eq!(site.names(), ["folder"]);
    assert!(fs::read(&here).unwrap() == pattern(17 * MIB));
}

/// Waits until a part of a file is there, and gives its size.
async fn part(folder: &Path, prefix: &str, least: u64) -> u64 {
    eventually("a part of the file is there", async || {
        let entries = fs::read_dir(folder).ok()?.flatten();
        let part =
            entries.into_iter().find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))?;
        let size = part.metadata().ok()?.len();
        (size >= least).then_some(size)
    })
    .await
}

#[tokio::test]
async fn a_copy_that_was_killed_goes_on_where_it_was() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting()]).await;
    let (here, there) = (site.local("here"), site.remote("there"));
    fs::write(&here, pattern(40 * MIB)).unwrap();
    // first rpctl, then the agent
    let insist = ["cp", "--via", "stream"];
    let mut child = site.world.rpctl().args(insist).args([word(&here), &there]).spawn().unwrap();
    let first = part(&site.root, ".redpoll-", 2 << 20).await;
    child.kill().await.unwrap();
    let again = site.world.rpctl().args(insist).args([word(&here), &there]).stderr(Stdio::piped()).spawn();
    let second = part(&site.root, ".redpoll-", first + (4 << 20)).await;
    let settings = site.settings(&[&slow.setting()]);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    site.world.restart_agent(HONEST, &settings).await;
    let output = in_time("rpctl", again.unwrap().wait_with_output()).await.unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("goes on where it was"), "{error}");
    let output = site.cp(&["--via", "stream", word(&here), &there]).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told[0]["resumed"].as_u64().unwrap() >= second, "{told}");
    assert!(fs::read(site.root.join("there")).unwrap() == pattern(40 * MIB));
    assert_eq!(site.names(), ["there"]);
    // and back
    let folder = site.local("back");
    fs::create_dir(&folder).unwrap();
    let mut child = site.world.rpctl().args(insist).args([&there, word(&folder)]).spawn().unwrap();
    let first = part(&folder, ".rpctl-", 2 << 20).await;
    child.kill().await.unwrap();
    let output = site.cp(&["--via", "stream", &there, word(&folder)]).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told[0]["resumed"].as_u64().unwrap() >= first, "{told}");
    assert!(fs::read(folder.join("there")).unwrap() == pattern(40 * MIB));
}

#[tokio::test]
async fn a_manager_that_dies_is_told_and_the_copy_goes_on_later() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting()]).await;
    let (here, there) = (site.local("here"), site.remote("there"));
    fs::write(&here, pattern(40 * MIB)).unwrap();
    let child = site.world.rpctl().args(["cp", word(&here), &there]).stderr(Stdio::piped()).spawn().unwrap();
    let first = part(&site.root, ".redpoll-", 2 << 20).await;
    site.world.restart_manager().await;
    let output = in_time("rpctl", child.wait_with_output()).await.unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("goes on where it was"), "{error}");
    site.world.operator.until(HONEST, AgentState::Connected).await;
    let output = site.cp(&[word(&here), &there]).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told[0]["resumed"].as_u64().unwrap() >= first, "{told}");
    assert!(fs::read(site.root.join("there")).unwrap() == pattern(40 * MIB));
}

#[tokio::test]
async fn a_transfer_delays_neither_calls_nor_other_work_on_files() {
    let mut site = Site::bare(&[]).await;
    // the session is on another line than the file: nothing of the file stands before a call
    let slow = Slow::listen(site.world.address, 4 << 20);
    site.agent(HONEST, &[&slow.setting(), "files.streams=1"]).await;
    let (here, there) = (site.local("here"), site.remote("there"));
    fs::write(&here, pattern(20 * MIB)).unwrap();
    let mut child = site.world.rpctl().args(["cp", word(&here), &there]).spawn().unwrap();
    part(&site.root, ".redpoll-", 1 << 20).await;
    let other = site.local("other");
    fs::write(&other, pattern(MIB)).unwrap();
    site.bad(&["--via", "stream", word(&other), &site.remote("other")], 4, "files.streams of this agent")
        .await;
    in_time("a call", site.world.operator.echo(HONEST, "x")).await.unwrap();
    assert!(child.try_wait().unwrap().is_none(), "the transfer was over before they were asked");
    assert!(within(Duration::from_secs(90), "the end of the copy", child.wait()).await.unwrap().success());
    assert!(fs::read(site.root.join("there")).unwrap() == pattern(20 * MIB));
}

#[tokio::test]
async fn an_upload_that_takes_longer_than_a_call_may_goes_on_by_itself() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting(), "limits.run_timeout=3s"]).await;
    let (here, there) = (site.local("here"), site.remote("there"));
    fs::write(&here, pattern(40 * MIB)).unwrap();
    let output = site.cp(&["--via", "stream", word(&here), &there]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told[0]["resumed"].as_u64().unwrap() > 0, "{told}");
    assert!(fs::read(site.root.join("there")).unwrap() == pattern(40 * MIB));
    // but not for longer than its operator allows
    fs::write(&here, pattern(39 * MIB)).unwrap();
    let mut command = site.world.rpctl();
    command.args(["--timeout", "3s", "cp", "--via", "stream", word(&here), &there]);
    let output = in_time("rpctl", command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    assert!(fs::read(site.root.join("there")).unwrap() == pattern(40 * MIB));
}

#[tokio::test]
async fn what_is_here_of_a_download_stays_when_there_is_no_stream_and_goes_when_it_is_of_another_file() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting()]).await;
    fs::write(site.root.join("there"), pattern(40 * MIB)).unwrap();
    let (there, folder) = (site.remote("there"), site.local("back"));
    fs::create_dir(&folder).unwrap();
    let insist = ["cp", "--via", "stream"];
    let mut child = site.world.rpctl().args(insist).args([&there, word(&folder)]).spawn().unwrap();
    let first = part(&folder, ".rpctl-", 2 << 20).await;
    child.kill().await.unwrap();
    let settings = site.settings(&["files.streams=0"]);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    site.world.restart_agent(HONEST, &settings).await;
    site.bad(&["--via", "stream", &there, word(&folder)], 4, "files.streams of this agent").await;
    assert!(part(&folder, ".rpctl-", 0).await >= first, "what came is kept");
    let settings = site.settings(&[]);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    site.world.restart_agent(HONEST, &settings).await;
    // somebody has damaged it meanwhile
    let found = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&found).unwrap();
    *bytes.first_mut().unwrap() ^= 1;
    fs::write(&found, bytes).unwrap();
    site.bad(&["--via", "stream", &there, word(&folder)], 1, "sha256").await;
    assert_eq!(site.streamed(&["--via", "stream", &there, word(&folder)]).await, 40 << 20);
    assert!(fs::read(folder.join("there")).unwrap() == pattern(40 * MIB));
}
