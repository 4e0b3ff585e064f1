//! What is taken of a report while the manager's disk is full.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod jobs_desk;

use jobs_desk::{Desk, is_ended, items, peer, succeeded};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::wire::{Ack, Report, ReportAnswer, RunRef, RunReport};
use redpoll_common::wire::Raw;
use redpoll_manager::store::Faults;

async fn report(desk: &Desk, reports: Vec<RunReport>) -> Vec<Ack> {
    let answer = desk.engine.report(&peer("a1"), ConnectionId(1), Report { reports }).await;
    let ReportAnswer { acks } = answer.unwrap();
    acks
}

#[tokio::test]
async fn a_run_whose_output_finds_no_room_does_not_keep_those_beside_it_from_ending() {
    let faults = Faults::default();
    let desk = Desk::with_faults(&faults).await;
    desk.connect(&["a1"]).await;
    let [talking, quiet] = [desk.submit(&["a1"]).await, desk.submit(&["a1"]).await];
    for job in [talking, quiet] {
        desk.give(job, "a1", Vec::new()).await;
    }
    let about = async |job| {
        let run = desk.run(job, "a1").await;
        RunReport::about(RunRef { job, attempt: run.attempt, dno: run.dno })
    };
    let (of_talking, of_quiet) = (about(talking).await, about(quiet).await);
    let told = || {
        let end = |n| Some(succeeded(n, Raw::nil()));
        let with_items = RunReport { items: items(0, 3), done: end(3), ..of_talking.clone() };
        vec![with_items, RunReport { done: end(0), ..of_quiet.clone() }]
    };

    faults.set_low(true);
    let acks = report(&desk, told()).await;
    let said: Vec<_> = acks.iter().map(|ack| (ack.job, ack.next_n, ack.done)).collect();
    assert_eq!(said, [(talking, 0, false), (quiet, 0, true)]);
    assert!(is_ended(&desk.run(quiet, "a1").await) && !is_ended(&desk.run(talking, "a1").await));
    faults.set_low(false);
    let acks = report(&desk, told()).await;
    assert_eq!((acks[0].next_n, acks[0].done), (3, true));
    assert!(is_ended(&desk.run(talking, "a1").await));
    desk.stop().await;
}
