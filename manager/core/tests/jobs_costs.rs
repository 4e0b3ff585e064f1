//! What an input costs does not depend on what it has nothing to do with.

mod jobs_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs_support::{Plan, agent, job};
use redpoll_common::ids::ConnectionId;
use redpoll_common::job::{Dno, JobSpec, QueueKey, QueueSpec};
use redpoll_manager_core::jobs::{Input, Jobs, ResumePage, Settings};

/// The shortest that a hundred inputs took in a row: what the machine does beside it makes none shorter.
fn shortest(mut input: impl FnMut(), hundreds: usize) -> Duration {
    let took = (0..hundreds).map(|_| {
        let began = Instant::now();
        (0..100).for_each(|_| input());
        began.elapsed()
    });
    took.min().unwrap()
}

#[test]
fn a_submit_costs_the_same_however_many_queues_wait_for_room_at_its_agent() {
    let settings = Settings::default();
    let mut jobs = Jobs::<u32>::new(settings, 1_000);
    let page = ResumePage {
        token: 0,
        agent: agent("a"),
        connection: ConnectionId(1),
        spool: [1; 16],
        max_dno: Dno(0),
        last: true,
        rows: Vec::new(),
    };
    jobs.handle(Input::Resume(page), 1_000);
    let mut n = 0;
    let mut submit = || {
        n += 1;
        let mut submit = Plan::default().submit(0, job(n), &[("a", true)]);
        let queue = QueueSpec { name: QueueKey::text(&format!("q{n}")).unwrap(), concurrency: 1 };
        submit.spec = Arc::new(JobSpec { queue: Some(queue), ..JobSpec::clone(&submit.spec) });
        jobs.handle(Input::Submit(submit), 1_000);
        drop(jobs.poll_turn());
    };
    (0..1_000).for_each(|_| submit());
    let few = shortest(&mut submit, 10);
    (0..20_000).for_each(|_| submit());
    let many = shortest(&mut submit, 10);
    println!("{few:?} with a thousand queues, {many:?} with twenty thousand");
    assert!(many < few * 4, "{few:?} with a thousand queues, {many:?} with twenty thousand");
}
