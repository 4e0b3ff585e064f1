//! Items per second: from the submit until the manager has all of them on disk, and the end; alone and with a follower.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use redpoll_common::api::items::{FollowArguments, FollowEvent};
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::wire::{Raw, RawMap};
use redpoll_net::{Call, CallEvent, Peer};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::{KEEP_ALL, PING, ask};
use crate::pki::AGENT;
use crate::process::{Child, whole_cpu};
use crate::stats::{Spread, short};
use crate::table;
use crate::world::{ANY_PORT, Server, World};

/// Items per second.
const TARGET: f64 = 100_000.0;
/// Bytes of one value.
const SIZE: u64 = 16;
/// Runs at a time.
const RUNS: [u64; 2] = [1, 50];
const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// One round.
#[derive(Debug, Clone, Copy)]
struct Round {
    per_second: f64,
    /// Processor time per item, of manager and agent.
    cpu_us: [f64; 2],
}

/// All rounds of one kind.
struct Row {
    runs: u64,
    followed: bool,
    rounds: Vec<Round>,
}

struct Pair {
    manager: Server,
    agent: Child,
    operator: Peer,
    follower: Peer,
    tracker: TaskTracker,
}

pub(super) async fn run(quick: bool) -> anyhow::Result<Value> {
    let (items, rounds) = if quick { (5_000, 1) } else { (500_000, 3) };
    let world = World::on_disk()?;
    let pair = Pair::start(&world).await?;
    let kinds = RUNS.into_iter().flat_map(|runs| [false, true].map(|followed| (runs, followed)));
    let mut rows: Vec<_> = kinds.map(|(runs, followed)| Row { runs, followed, rounds: Vec::new() }).collect();
    // the first round warms up
    for round in 0..=rounds {
        for row in &mut rows {
            let one = pair.round(row, items).await?;
            if round > 0 {
                row.rounds.push(one);
            }
        }
    }
    show(&rows, items);
    Ok(rows.iter().map(|row| row.json(items)).collect())
}

impl Pair {
    async fn start(world: &World) -> anyhow::Result<Self> {
        let manager = world.start_manager("manager", ANY_PORT, PING, KEEP_ALL).await?;
        let state = world.path().join("agent");
        let agent = world.start_agent("redpoll-bench-agent", AGENT, &state, manager.address)?;
        let tracker = TaskTracker::new();
        let operator = world.operator(manager.address, &tracker).await?;
        let follower = world.operator(manager.address, &tracker).await?;
        let begun = Instant::now();
        // an error: it knows no agent yet
        while ask::connected(&operator).await.unwrap_or(0) == 0 {
            if begun.elapsed() > PATIENCE {
                bail!("the agent does not come");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Self { manager, agent, operator, follower, tracker })
    }

    async fn round(&self, kind: &Row, items: u64) -> anyhow::Result<Round> {
        let each = items / kind.runs;
        let mut asked = SubmitArguments::new(vec![AGENT.to_owned()], "bench.values");
        asked.spec.kwargs = RawMap::new().uint("n", each).uint("size", SIZE).finish();
        let asked = asked.write();
        let used = || anyhow::Ok([whole_cpu(self.manager.child.id())?, whole_cpu(self.agent.id())?]);
        let before = used()?;
        let begun = Instant::now();
        let runs: Vec<_> = (0..kind.runs)
            .map(|_| {
                let follower = kind.followed.then(|| self.follower.clone());
                self.tracker.spawn(one(self.operator.clone(), follower, asked.clone()))
            })
            .collect();
        for run in runs {
            let (stored, followed) = run.await??;
            if stored != each || followed.is_some_and(|followed| followed != each) {
                bail!("of {each} items {stored} were stored, and {followed:?} told to the follower");
            }
        }
        let took = begun.elapsed().as_secs_f64();
        let mut cpu_us = [0.0; 2];
        for ((us, after), before) in cpu_us.iter_mut().zip(used()?).zip(before) {
            *us = (after - before).as_secs_f64() * 1e6 / items as f64;
        }
        Ok(Round { per_second: items as f64 / took, cpu_us })
    }
}

/// Submits a job and waits for its end, and for the follower's; gives how many items are stored, and were told.
async fn one(operator: Peer, follower: Option<Peer>, asked: Raw) -> anyhow::Result<(u64, Option<u64>)> {
    let job = ask::submit(&operator, &asked).await?;
    let following = async {
        match &follower {
            Some(follower) => follow(follower, &job).await.map(Some),
            None => Ok(None),
        }
    };
    let (result, followed) = tokio::join!(ask::result(&operator, &job), following);
    let result = result?;
    let end = result.runs.first().and_then(|run| run.end.as_ref()).context("the job has not ended")?;
    if end.outcome != "succeeded" {
        bail!("the run ended as {}: {:?}", end.outcome, end.fault);
    }
    Ok((end.items, followed?))
}

async fn follow(follower: &Peer, job: &str) -> anyhow::Result<u64> {
    let arguments = FollowArguments { job: job.to_owned(), ..FollowArguments::default() };
    let call = Call::new(method::JOBS_FOLLOW, ask::PATIENCE).with_kwargs(Raw::encode(&arguments)?);
    let mut stream = follower.start(call).await?;
    let mut items = 0;
    while let Some(event) = stream.next().await {
        match event {
            CallEvent::Value(value) => {
                let told = FollowEvent::read(&value)?;
                for item in told.items {
                    if item.n != items {
                        bail!("item {} came where {items} is due", item.n);
                    }
                    items += 1;
                }
            }
            CallEvent::Progress(_) => {}
            CallEvent::End(end) => return end.map(|_summary| items).map_err(Into::into),
        }
    }
    bail!("the follower was not told of the end")
}

impl Row {
    fn name(&self) -> String {
        let runs = if self.runs == 1 { "1 run".to_owned() } else { format!("{} runs at once", self.runs) };
        if self.followed { format!("{runs}, followed") } else { runs }
    }

    fn spread(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(of))
    }

    fn json(&self, items: u64) -> Value {
        json!({
            "runs": self.runs,
            "followed": self.followed,
            "items": items,
            "per_second": self.spread(|r| r.per_second).json(),
            "manager_cpu_us": self.spread(|r| r.cpu_us[0]).json(),
            "agent_cpu_us": self.spread(|r| r.cpu_us[1]).json(),
        })
    }
}

fn show(rows: &[Row], items: u64) {
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            vec![
                row.name(),
                row.spread(|r| r.per_second).text(),
                short(row.spread(|r| r.cpu_us[0]).median),
                short(row.spread(|r| r.cpu_us[1]).median),
            ]
        })
        .collect();
    let head = ["", "items per second", "manager cpu us", "agent cpu us"];
    table::print(&format!("jobs: {items} items of {SIZE} bytes, until all are stored"), &head, &cells);
    for row in rows {
        let figure = row.spread(|r| r.per_second).median;
        println!("  {}: {}", row.name(), table::verdict_at_least(figure, TARGET));
    }
}
