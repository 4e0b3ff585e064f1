//! A manager that goes, in disorder or in order, and comes back under two hundred agents: all return, and not at once.

use std::time::{Duration, Instant};

use redpoll_common::session::CloseReason;
use redpoll_common::session::backoff::BackoffOptions;
use redpoll_common::wire::ByeCode;
use redpoll_tests::fleet::{Deed, Fleet};
use redpoll_tests::world::World;
use redpoll_tests::{PATIENCE, eventually};
use rustix::process::Signal;

const AGENTS: usize = 200;
const BACKOFF: BackoffOptions = BackoffOptions {
    initial: Duration::from_millis(200),
    max: Duration::from_secs(2),
    stable_after: Duration::from_secs(60),
};
/// Dials that are this close together count as one herd.
const TOGETHER: Duration = Duration::from_millis(100);

async fn all_in(world: &World) {
    eventually("everybody is in", async || {
        (world.operator.status().await.agents_connected == AGENTS as u64).then_some(())
    })
    .await;
}

async fn world_and_fleet(settings: &[&str]) -> (World, Fleet) {
    let world = World::quiet(settings).await;
    let fleet = Fleet::start(AGENTS, world.address, &world.authority, BACKOFF);
    all_in(&world).await;
    (world, fleet)
}

/// No `TOGETHER` holds more than half of the agents' dials since `since`. With jitter it is a sixteenth; the rest is for a
/// test machine that stands still for a moment, and then does everything at once.
fn no_herd(fleet: &Fleet, since: Instant) {
    let dials = fleet.histogram(since, TOGETHER, |deed| matches!(deed, Deed::Dialled));
    let arrivals = fleet.histogram(since, TOGETHER, |deed| matches!(deed, Deed::Arrived));
    let largest = dials.iter().copied().max().unwrap_or_default();
    assert!(largest <= AGENTS / 2, "a herd of {largest}: dials {dials:?}, arrivals {arrivals:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_manager_gets_all_its_agents_back_without_a_herd() {
    let (mut world, fleet) = world_and_fleet(&[]).await;
    let killed = Instant::now();
    world.manager.kill().await;
    // three failures each: by then the delays are drawn from a second and a half
    eventually("everybody has tried in vain three times", async || {
        let tried = |member: &&_| -> bool {
            let member: &std::sync::Arc<redpoll_tests::fleet::Member> = member;
            let dials = |(at, deed): &(Instant, Deed)| *at > killed && matches!(deed, Deed::Dialled);
            member.deeds().iter().filter(|deed| dials(deed)).count() >= 3
        };
        (fleet.members().iter().filter(tried).count() == AGENTS).then_some(())
    })
    .await;
    let lost = |deed: &Deed| matches!(deed, Deed::Left(CloseReason::Lost(_) | CloseReason::Ended));
    assert_eq!(fleet.count(killed, lost), AGENTS, "everybody noticed that the connection broke");

    world.restart_manager().await;
    let back = Instant::now();
    all_in(&world).await;
    let took = back.elapsed();
    // the longest delay, and time for the handshakes
    assert!(took < BACKOFF.max + PATIENCE / 2, "{took:?}");
    no_herd(&fleet, back);
    let status = world.operator.status().await;
    assert_eq!(status.counters["hellos_overloaded"] + status.counters["refused_rate"], 0, "{status:?}");
    assert_eq!(world.manager.troubles(), Vec::<String>::new());
    fleet.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_stops_in_order_tells_everybody_when_to_come_back_and_they_obey() {
    const SPREAD: Duration = Duration::from_millis(800);
    let (mut world, fleet) = world_and_fleet(&["manager.reconnect_spread=800ms"]).await;
    let stopped = Instant::now();
    world.manager.signal(Signal::TERM);
    assert_eq!(world.manager.ended().await.code(), Some(0));
    world.restart_manager().await;
    all_in(&world).await;

    let mut hints = Vec::new();
    for member in fleet.members() {
        let deeds = member.deeds();
        let left =
            deeds.iter().position(|(at, deed)| *at > stopped && matches!(deed, Deed::Left(_))).unwrap();
        let Deed::Left(CloseReason::Theirs(bye)) = &deeds[left].1 else { panic!("{deeds:?}") };
        assert_eq!(bye.code, Some(ByeCode::ShuttingDown));
        let hint = Duration::from_millis(bye.retry_after_ms.unwrap());
        assert!(hint <= SPREAD, "{hint:?}");
        let waited = deeds[left + 1].0 - deeds[left].0;
        assert!(waited + Duration::from_millis(2) >= hint, "told {hint:?}, waited {waited:?}");
        hints.push(hint);
    }
    // drawn evenly: each quarter of the span has its share
    for quarter in 0..4 {
        let share = |hint: &&Duration| hint.as_millis() * 4 / SPREAD.as_millis() == quarter;
        let count = hints.iter().filter(share).count();
        assert!((AGENTS / 10..AGENTS / 2).contains(&count), "quarter {quarter}: {count} of {hints:?}");
    }
    fleet.stop();
}
