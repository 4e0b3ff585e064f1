//! Files that go encrypted from end to end between an operator and an agent: real daemons, real files, and what goes wrong on the way.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;

use redpoll_common::api::AgentState;
use redpoll_tests::site::{Site, part, pattern, text, word};
use redpoll_tests::slow::Slow;
use redpoll_tests::world::HONEST;
use redpoll_tests::{eventually, in_time, within};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// A site with the honest agent.
async fn start(manager: &[&str], agent: &[&str]) -> Site {
    let mut site = Site::bare(manager).await;
    site.agent(HONEST, agent).await;
    site
}

/// Copies, and gives how many bytes went over a connection of their own.
async fn streamed(site: &Site, words: &[&str]) -> u64 {
    let output = json(site, words).await;
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told.pointer("/0/streamed").and_then(Value::as_u64).unwrap()
}

async fn json(site: &Site, words: &[&str]) -> Output {
    site.cp(&[&["-o", "json"], words].concat()).await
}

#[tokio::test]
async fn files_of_all_sizes_go_over_connections_of_their_own() {
    let site = start(&[], &[]).await;
    let (here, back) = (site.local("here"), site.local("back"));
    let sizes = [0, 1, 65_537, 3 * MIB + 17, 17 * MIB];
    for len in sizes {
        fs::write(&here, pattern(len)).unwrap();
        let all = u64::try_from(len).unwrap();
        let there = site.remote(HONEST, "there");
        let insist = ["--via", "stream", "--verify"];
        assert_eq!(streamed(&site, &[&insist[..], &[word(&here), &there]].concat()).await, all);
        assert!(fs::read(site.root.join("there")).unwrap() == pattern(len), "{len}");
        assert_eq!(streamed(&site, &[&insist[..], &[&there, word(&back)]].concat()).await, all);
        assert!(fs::read(&back).unwrap() == pattern(len), "{len}");
    }
    // as many connections as files, and the manager has seen more bytes than they have, for they are encrypted
    eventually("the manager has counted", async || {
        let begun =
            site.world.operator.counter("relays_begun").await == 2 * u64::try_from(sizes.len()).unwrap();
        let bytes = site.world.operator.counter("relayed_bytes").await
            > 2 * u64::try_from(sizes.iter().sum::<usize>()).unwrap();
        (begun && bytes).then_some(())
    })
    .await;
    assert_eq!(
        (site.world.operator.counter("relays_refused").await, site.names()),
        (0, vec!["there".to_owned()])
    );
}

#[tokio::test]
async fn large_files_do_by_themselves_and_small_ones_go_in_calls() {
    let site = start(&[], &[]).await;
    let (here, back, there) = (site.local("here"), site.local("back"), site.remote(HONEST, "there"));
    for (len, went) in [(MIB, 0), (16 * MIB, 16 * MIB)] {
        fs::write(&here, pattern(len)).unwrap();
        let went = u64::try_from(went).unwrap();
        assert_eq!(streamed(&site, &[word(&here), &there]).await, went);
        assert_eq!(streamed(&site, &[&there, word(&back)]).await, went);
        assert!(fs::read(&back).unwrap() == pattern(len));
    }
    assert_eq!(streamed(&site, &["--via", "calls", word(&here), &there]).await, 0);
    site.bad(&["--via", "stream", "-", &there], 2, "goes in calls").await;
}

#[tokio::test]
async fn where_it_cannot_be_had_files_go_in_calls_unless_somebody_insists() {
    for (manager, agent, said) in [
        (&["relay.files=0"][..], &[][..], "relay.files of the manager"),
        (&[], &["files.streams=0"], "files.streams of this agent"),
    ] {
        let site = start(manager, agent).await;
        let (here, back, there) = (site.local("here"), site.local("back"), site.remote(HONEST, "there"));
        fs::write(&here, pattern(17 * MIB)).unwrap();
        assert_eq!(streamed(&site, &[word(&here), &there]).await, 0);
        assert_eq!(streamed(&site, &[&there, word(&back)]).await, 0);
        assert!(fs::read(&back).unwrap() == pattern(17 * MIB));
        fs::remove_file(site.root.join("there")).unwrap();
        let output = json(&site, &["--via", "stream", word(&here), &there]).await;
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{said:?} is not in {error}");
        assert!(!site.root.join("there").exists());
    }
}

#[tokio::test]
async fn every_refusal_says_why_as_it_does_in_calls() {
    let site = start(&[], &[]).await;
    let here = site.local("here");
    fs::write(&here, pattern(17 * MIB)).unwrap();
    fs::create_dir(site.root.join("folder")).unwrap();
    for insist in [&[][..], &["--via", "stream"]] {
        let x = site.remote(HONEST, "no/x");
        site.bad(&[insist, &[word(&here), "never-1:/x"]].concat(), 5, "never-1").await;
        site.bad(&[insist, &[word(&here), &format!("{HONEST}:/etc/x")]].concat(), 3, "beneath no folder")
            .await;
        site.bad(&[insist, &[word(&here), &x]].concat(), 1, "NotFound").await;
        site.bad(&[insist, &[&x, word(&here)]].concat(), 1, "NotFound").await;
    }
    assert_eq!(site.names(), ["folder"]);
    assert!(fs::read(&here).unwrap() == pattern(17 * MIB));
}

#[tokio::test]
async fn a_copy_that_was_killed_goes_on_where_it_was() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting()]).await;
    let (here, there) = (site.local("here"), site.remote(HONEST, "there"));
    fs::write(&here, pattern(40 * MIB)).unwrap();
    // first rpctl, then the agent
    let insist = ["cp", "--via", "stream"];
    let mut child = site.world.rpctl().args(insist).args([word(&here), &there]).spawn().unwrap();
    let first = part(&site.root, ".redpoll-", 2 << 20).await;
    child.kill().await.unwrap();
    let again = site.world.rpctl().args(insist).args([word(&here), &there]).stderr(Stdio::piped()).spawn();
    let second = part(&site.root, ".redpoll-", first + (4 << 20)).await;
    site.restart_agent(HONEST, &[&slow.setting()]).await;
    let output = in_time("rpctl", again.unwrap().wait_with_output()).await.unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("goes on where it was"), "{error}");
    let output = json(&site, &["--via", "stream", word(&here), &there]).await;
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
    let output = json(&site, &["--via", "stream", &there, word(&folder)]).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told[0]["resumed"].as_u64().unwrap() >= first, "{told}");
    assert!(fs::read(folder.join("there")).unwrap() == pattern(40 * MIB));
}

#[tokio::test]
async fn a_manager_that_dies_is_told_and_the_copy_goes_on_later() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting()]).await;
    let (here, there) = (site.local("here"), site.remote(HONEST, "there"));
    fs::write(&here, pattern(40 * MIB)).unwrap();
    let child = site.world.rpctl().args(["cp", word(&here), &there]).stderr(Stdio::piped()).spawn().unwrap();
    let first = part(&site.root, ".redpoll-", 2 << 20).await;
    site.world.restart_manager().await;
    let output = in_time("rpctl", child.wait_with_output()).await.unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("goes on where it was"), "{error}");
    site.world.operator.until(HONEST, AgentState::Connected).await;
    let output = json(&site, &[word(&here), &there]).await;
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
    let (here, there) = (site.local("here"), site.remote(HONEST, "there"));
    fs::write(&here, pattern(20 * MIB)).unwrap();
    let mut child = site.world.rpctl().args(["cp", word(&here), &there]).spawn().unwrap();
    part(&site.root, ".redpoll-", 1 << 20).await;
    let other = site.local("other");
    fs::write(&other, pattern(MIB)).unwrap();
    site.bad(
        &["--via", "stream", word(&other), &site.remote(HONEST, "other")],
        4,
        "files.streams of this agent",
    )
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
    let (here, there) = (site.local("here"), site.remote(HONEST, "there"));
    fs::write(&here, pattern(40 * MIB)).unwrap();
    let output = json(&site, &["--via", "stream", word(&here), &there]).await;
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
async fn a_download_that_takes_longer_than_a_call_may_goes_on_by_itself() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting(), "limits.run_timeout=2s"]).await;
    fs::write(site.root.join("there"), pattern(32 * MIB)).unwrap();
    let there = site.remote(HONEST, "there");
    for via in ["stream", "calls"] {
        let here = site.local(via);
        let output = json(&site, &["--via", via, &there, word(&here)]).await;
        assert_eq!(output.status.code(), Some(0), "{via}: {}", text(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told[0]["resumed"].as_u64().unwrap() > 0, "{via}: {told}");
        assert!(fs::read(here).unwrap() == pattern(32 * MIB), "{via}");
    }
    // but not for longer than its operator allows, and never when it is to begin anew
    let here = site.local("none");
    let mut command = site.world.rpctl();
    command.args(["--timeout", "3s", "cp", "--via", "stream", &there, word(&here)]);
    let output = in_time("rpctl", command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    site.bad(&["--no-resume", "--via", "stream", &there, word(&here)], 6, "time").await;
    assert!(!here.exists());
}

#[tokio::test]
async fn what_is_here_of_a_download_stays_when_there_is_no_stream_and_goes_when_it_is_of_another_file() {
    let mut site = Site::bare(&[]).await;
    let slow = Slow::listen(site.world.address, 8 << 20);
    site.agent(HONEST, &[&slow.setting()]).await;
    fs::write(site.root.join("there"), pattern(40 * MIB)).unwrap();
    let (there, folder) = (site.remote(HONEST, "there"), site.local("back"));
    fs::create_dir(&folder).unwrap();
    let insist = ["cp", "--via", "stream"];
    let mut child = site.world.rpctl().args(insist).args([&there, word(&folder)]).spawn().unwrap();
    let first = part(&folder, ".rpctl-", 2 << 20).await;
    child.kill().await.unwrap();
    site.restart_agent(HONEST, &["files.streams=0"]).await;
    site.bad(&["--via", "stream", &there, word(&folder)], 4, "files.streams of this agent").await;
    assert!(part(&folder, ".rpctl-", 0).await >= first, "what came is kept");
    site.restart_agent(HONEST, &[]).await;
    // somebody has damaged it meanwhile
    let found = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&found).unwrap();
    *bytes.first_mut().unwrap() ^= 1;
    fs::write(&found, bytes).unwrap();
    site.bad(&["--via", "stream", &there, word(&folder)], 1, "sha256").await;
    assert_eq!(streamed(&site, &["--via", "stream", &there, word(&folder)]).await, 40 << 20);
    assert!(fs::read(folder.join("there")).unwrap() == pattern(40 * MIB));
}
