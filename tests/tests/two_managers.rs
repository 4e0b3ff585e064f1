//! Two managers on one folder of state: the second one refuses to start, whatever the first one is doing, and the first one
//! goes on.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::net::{Ipv4Addr, SocketAddr};

use redpoll_common::api::AgentState;
use redpoll_tests::process::Daemon;
use redpoll_tests::world::{World, arguments};
use rustix::process::Signal;

/// What the shell is told when the store cannot be used.
const INTERNAL: i32 = 70;

/// Starts another manager with the configuration of the first one, at another port, and sees it refuse.
async fn refused(world: &World, name: &str) {
    let listens = world.directory().join("manager-state/listen.json");
    let before = std::fs::read(&listens).unwrap();
    let elsewhere = format!("listen={}", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let arguments = arguments(&world.directory().join("manager.toml"), &[elsewhere]);
    let log = world.directory().join(format!("{name}.log"));
    let mut second = Daemon::start("redpoll-manager", name, &arguments, &log);
    let status = second.ended().await;
    let said = second.log();
    assert_eq!(status.code(), Some(INTERNAL), "{said}");
    assert!(said.contains("manager-state is open already"), "{said}");
    assert!(said.contains("help: is another manager running with this state folder?"), "{said}");
    assert_eq!(std::fs::read(&listens).unwrap(), before, "agents and operators are sent to the first one");
}

/// The first one serves the connections that it had, and stores what it is given.
async fn goes_on(world: &World) {
    world.operator.echo("web-1", "still here").await.unwrap();
    let done = world.run_rpctl(&["run", "web-1", "sys.echo", "text=stored"]).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(world.manager.troubles(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_manager_on_the_same_folder_refuses_to_start_and_the_first_goes_on() {
    let mut world = World::quiet(&[]).await;
    world.agent("web-1", &[]).await;
    goes_on(&world).await;
    refused(&world, "the second manager").await;
    goes_on(&world).await;
}

/// It looks dead to everybody, and is not: what it holds it holds until it has really ended.
#[tokio::test]
async fn a_manager_that_stands_still_keeps_its_store_and_goes_on_when_it_wakes_up() {
    let mut world = World::quiet(&[]).await;
    world.agent("web-1", &[]).await;
    world.manager.signal(Signal::STOP);
    refused(&world, "the heir").await;
    world.manager.signal(Signal::CONT);
    goes_on(&world).await;
    // once it is gone another one may have it
    world.manager.kill().await;
    world.restart_manager().await;
    world.operator.until("web-1", AgentState::Connected).await;
    goes_on(&world).await;
}
