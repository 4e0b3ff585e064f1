//! A spool that was lost is lost once: what its successor never saw proves nothing against it, also after a restart of the manager.

mod jobs_support;

use jobs_support::alone::{Manager, offers};
use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::{Attempt, Dno, Outcome};
use redpoll_manager_core::jobs::record::EventKind;
use redpoll_manager_core::jobs::{Effect, Input, Jobs, Offer, OfferAnswer, ResumePage, Settings};

/// A session with this spool, of which the agent tells in one page that has no rows.
fn back(manager: &mut Manager, connection: u64, spool: u8, max_dno: u64) -> Vec<Effect<u32>> {
    manager.feed(Input::Resume(ResumePage {
        token: 0,
        agent: agent("a"),
        connection: ConnectionId(connection),
        spool: [spool; 16],
        max_dno: Dno(max_dno),
        last: true,
        rows: Vec::new(),
    }))
}

fn accepted(offer: &Offer) -> Input<u32> {
    let (agent, connection, answer) = (offer.agent.clone(), offer.connection, OfferAnswer::Accepted);
    Input::OfferAnswered { agent, connection, job: offer.run.job, dno: offer.run.dno, answer }
}

fn losses(manager: &Manager) -> usize {
    manager.store.events.iter().filter(|event| event.kind == EventKind::SpoolLost).count()
}

fn restart(manager: &mut Manager) {
    manager.jobs = Jobs::recover(Settings::default(), manager.store.records(), manager.now);
    manager.take();
}

#[test]
fn what_a_new_spool_never_received_is_offered_again_after_a_restart() {
    // that the one before had taken a run which was to be tried again says as little of the new one
    for idempotent in [false, true] {
        let mut manager = Manager::new(Settings::default());
        back(&mut manager, 1, 1, 0);
        let plan = Plan { attempts: 2, idempotent, start_within_ms: Some(1_000_000), ..Plan::default() };
        let first = offers(&manager.submit(1, &plan, &[("a", true)])).pop().unwrap();
        manager.feed(accepted(&first));
        back(&mut manager, 2, 2, 0);
        assert_eq!(losses(&manager), 1, "its state folder was made anew");
        let second = offers(&manager.submit(2, &Plan::default(), &[("a", true)])).pop().unwrap();
        // the manager is killed before the offer leaves
        restart(&mut manager);
        let again = offers(&back(&mut manager, 3, 2, 0));
        assert_eq!(losses(&manager), 1, "it lost nothing since");
        let found = again.iter().find(|offer| offer.run.job == job(2)).unwrap();
        assert_eq!((found.run.attempt, found.run.dno), (Attempt(1), second.run.dno));
        manager.done(found, Outcome::Succeeded);
        assert_eq!(manager.outcome(2, "a"), Some(Outcome::Succeeded));
    }
}

#[test]
fn a_spool_without_what_its_agent_has_is_lost_after_a_restart_too() {
    let mut manager = Manager::new(Settings::default());
    back(&mut manager, 1, 1, 0);
    let offer = offers(&manager.submit(1, &Plan::default(), &[("a", true)])).pop().unwrap();
    manager.feed(accepted(&offer));
    restart(&mut manager);
    back(&mut manager, 2, 1, 0);
    assert_eq!((losses(&manager), manager.outcome(1, "a")), (1, Some(Outcome::Unknown)));
}
