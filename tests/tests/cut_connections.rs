//! A connection is cut after each byte of a session with three jobs, in both directions: each job is started once and ends
//! as it should, and its output has no gaps.
//!
//! TLS encrypts with new keys each time, and how many reports there are depends on the moment, so byte 1000 of one session
//! is not byte 1000 of the next. All bytes of all messages are cut somewhere all the same.
//!
//! Cutting everywhere takes a quarter of an hour: `cargo xtask cut`. The ordinary test takes strides, and a seed says where the
//! first one ends: other bytes each time. It is printed with the command that cuts at the same bytes again.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redpoll_common::api::AgentState;
use redpoll_net::random;
use redpoll_tests::cutter::{Cut, Cutter, Fate, Way};
use redpoll_tests::operator::Operator;
use redpoll_tests::process::Daemon;
use redpoll_tests::within;
use redpoll_tests::work::{Oracle, numbers};
use redpoll_tests::world::{World, start_agent};

/// Agents whose connections are cut, each on its own.
const AGENTS: usize = 4;
/// From one cut to the next in the ordinary test, in bytes. A prime, so that the cuts of different messages differ.
const STRIDE: u64 = 23;
/// How long one agent may take for its three jobs.
const JOBS: Duration = Duration::from_secs(15);

struct Victim {
    world: Arc<World>,
    id: String,
    cutter: Cutter,
    oracle: Oracle,
    operator: Operator,
    _agent: Daemon,
}

impl Victim {
    async fn new(world: Arc<World>, number: usize) -> Self {
        let id = format!("victim-{number}");
        world.certificate(&id).write(world.directory(), &format!("agent-{id}"));
        let cutter = Cutter::listen(world.address).await;
        let setting = cutter.setting();
        let quickly = ["manager.backoff_initial=10ms", "manager.backoff_max=20ms", "manager.stable_after=0s"];
        let settings = [&quickly[..], &[&setting]].concat();
        let agent = start_agent(world.directory(), &id, &world.address.to_string(), &settings);
        let oracle = Oracle::new(world.directory(), &id);
        let operator = world.operator("bea").await;
        operator.until(&id, AgentState::Connected).await;
        Self { world, id, cutter, oracle, operator, _agent: agent }
    }

    /// Three jobs, in a session that is cut, and as many further ones as they need. Gives what became of the first.
    async fn jobs(&self, cut: Option<Cut>) -> Fate {
        let what = format!("{} is through with three jobs and {cut:?}", self.id);
        within(JOBS, &what, async {
            self.cutter.hold(cut);
            self.operator.until(&self.id, AgentState::Away).await;
            let queue = format!("queue of {}", self.id);
            let jobs = [
                (self.oracle.job(&self.id, "true"), String::new()),
                (self.oracle.job(&self.id, "seq 20"), numbers(20)),
                (self.oracle.queued(&self.id, &queue, "seq 2"), numbers(2)),
            ];
            let submitted = jobs.iter().map(async |(job, _)| self.operator.submit(job).await.unwrap());
            let ids = join_all(submitted).await;
            self.cutter.release();
            let outputs = jobs.iter().map(|(_, output)| output);
            let ended = ids.iter().zip(outputs);
            let ended = ended.map(|(id, output)| self.oracle.succeeded_once(&self.operator, id, output));
            join_all(ended).await;
            self.cutter.fate()
        })
        .await
    }

    /// The bytes of a session in which nothing happens to it, in both directions.
    async fn whole(&self) -> Fate {
        self.jobs(None).await;
        // what is told last is told after the jobs have ended for their submitter
        let jobs = self.jobs(None).await;
        self.world.operator.until(&self.id, AgentState::Connected).await;
        jobs
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| unreachable!("{name}={text} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_be_cut_after_any_byte() {
    let stride = setting("REDPOLL_CUT_STRIDE").unwrap_or(STRIDE).max(1);
    let seed = setting("REDPOLL_CUT_SEED").unwrap_or_else(random::number);
    println!("again: cargo xtask cut --stride {stride} --seed {seed}");
    let world = Arc::new(World::start(&["admission.accept_rate=100000"]).await);
    let victims = join_all((0..AGENTS).map(|number| Victim::new(world.clone(), number))).await;
    let whole = victims.first().unwrap().whole().await;
    let each = usize::try_from(stride).unwrap();
    let cuts = |way, bytes| (seed % stride..bytes).step_by(each).map(move |after| Cut { way, after });
    let cuts: Vec<Cut> =
        cuts(Way::ToManager, whole.to_manager).chain(cuts(Way::ToAgent, whole.to_agent)).collect();
    println!("{whole:?}, {} cuts, one every {stride} bytes from byte {} on", cuts.len(), seed % stride);
    let fates = join_all(victims.iter().enumerate().map(async |(number, victim)| {
        let mut happened = 0;
        for cut in cuts.iter().skip(number).step_by(AGENTS) {
            happened += usize::from(victim.jobs(Some(*cut)).await.cut);
        }
        happened
    }))
    .await;
    let happened: usize = fates.iter().sum();
    println!("{happened} of {} cuts happened", cuts.len());
    // a session may be shorter than the one that was measured, by a report in each direction
    assert!(happened * 10 + 20 >= cuts.len() * 9, "{happened} of {} cuts happened", cuts.len());
    assert!(whole.to_manager.min(whole.to_agent) > 400, "{whole:?} is no session with three jobs");
    // after all of that they are as they were
    for victim in &victims {
        victim.jobs(None).await;
    }
    drop(victims);
    Arc::into_inner(world).unwrap().nobody_else_noticed().await;
}
