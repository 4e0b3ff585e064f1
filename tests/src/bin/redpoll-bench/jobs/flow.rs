//! Jobs per second from submit to end: many agents, each a process, and many submitters.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use redpoll_common::ids::PeerId;
use redpoll_common::wire::Raw;
use redpoll_net::Peer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::{KEEP_ALL, PING, ask};
use crate::pki;
use crate::process::{Child, fs_name, whole_cpu};
use crate::stats::{Spread, short};
use crate::table;
use crate::world::{ANY_PORT, Server, World};

/// Jobs per second.
const TARGET: f64 = 3000.0;
/// Submitters, each with a session of its own.
const SUBMITTERS: usize = 64;
/// Memory that is a file system, if there is one.
const SHM: &str = "/dev/shm";
/// How often to look whether all have ended.
const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// One round.
#[derive(Debug, Clone, Copy)]
struct Round {
    submit_s: f64,
    all_s: f64,
    per_second: f64,
    /// Processor time per job: of the manager, of all agents, of this process.
    cpu_us: [f64; 3],
}

struct Fleet {
    world: World,
    manager: Server,
    agents: Vec<Child>,
    names: Vec<PeerId>,
    spools: TempDir,
    operators: Vec<Peer>,
    tracker: TaskTracker,
}

pub(super) async fn run(quick: bool) -> anyhow::Result<Value> {
    let (agents, jobs, rounds) = if quick { (5, 200, 1) } else { (100, 10_000, 5) };
    let fleet = Fleet::start(agents).await?;
    let mut rows = Vec::new();
    // the first round warms up
    for round in 0..=rounds {
        let one = fleet.round(jobs).await?;
        if round > 0 {
            rows.push(one);
        }
    }
    let spools = fs_name(fleet.spools.path())?;
    show(&rows, agents, jobs, &spools, &fs_name(fleet.world.path())?);
    let spread = |of: fn(&Round) -> f64| Spread::of(rows.iter().map(of)).json();
    Ok(json!({
        "agents": agents,
        "jobs": jobs,
        "submitters": SUBMITTERS,
        "spools_on": spools,
        "per_second": spread(|r| r.per_second),
        "submit_s": spread(|r| r.submit_s),
        "all_s": spread(|r| r.all_s),
        "manager_cpu_us": spread(|r| r.cpu_us[0]),
        "agents_cpu_us": spread(|r| r.cpu_us[1]),
        "submitters_cpu_us": spread(|r| r.cpu_us[2]),
    }))
}

impl Fleet {
    async fn start(agents: usize) -> anyhow::Result<Self> {
        let world = World::on_disk()?;
        let names = (0..agents).map(|n| PeerId::parse(&format!("b{n}"))).collect::<Result<Vec<_>, _>>()?;
        pki::agents(&world.pki(), &names)?;
        let manager = world.start_manager("manager", ANY_PORT, PING, KEEP_ALL).await?;
        let spools = spools(world.path())?;
        let start = |name: &PeerId| {
            world.start_agent(
                "redpoll-agent",
                name.as_str(),
                &spools.path().join(name.as_str()),
                manager.address,
            )
        };
        let children = names.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let tracker = TaskTracker::new();
        let mut operators = Vec::new();
        for _ in 0..SUBMITTERS {
            operators.push(world.operator(manager.address, &tracker).await?);
        }
        let fleet = Self { world, manager, agents: children, names, spools, operators, tracker };
        let begun = Instant::now();
        while usize::try_from(ask::connected(fleet.watcher()?).await?)? < agents {
            if begun.elapsed() > PATIENCE {
                bail!("not all agents have come");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(fleet)
    }

    fn watcher(&self) -> anyhow::Result<&Peer> {
        self.operators.first().context("no operator")
    }

    fn cpu(&self) -> anyhow::Result<[Duration; 3]> {
        let agents = self.agents.iter().map(|agent| whole_cpu(agent.id())).sum::<Result<Duration, _>>()?;
        Ok([whole_cpu(self.manager.child.id())?, agents, whole_cpu(std::process::id())?])
    }

    /// From the first submit until the last job has ended.
    async fn round(&self, jobs: usize) -> anyhow::Result<Round> {
        let asked = self.names.iter().map(|name| Ok(ask::echo(name.as_str())?.write()));
        let asked: Arc<[Raw]> = asked.collect::<anyhow::Result<_>>()?;
        let next = Arc::new(AtomicUsize::new(0));
        let before = self.cpu()?;
        let begun = Instant::now();
        let submitters: Vec<_> = self
            .operators
            .iter()
            .cloned()
            .map(|operator| self.tracker.spawn(submit(operator, asked.clone(), next.clone(), jobs)))
            .collect();
        for submitter in submitters {
            submitter.await??;
        }
        let submit_s = begun.elapsed().as_secs_f64();
        while ask::any_open(self.watcher()?).await? {
            if begun.elapsed() > PATIENCE {
                bail!("jobs are still open");
            }
            tokio::time::sleep(POLL).await;
        }
        let all_s = begun.elapsed().as_secs_f64();
        let after = self.cpu()?;
        let mut cpu_us = [0.0; 3];
        for ((us, after), before) in cpu_us.iter_mut().zip(after).zip(before) {
            *us = (after - before).as_secs_f64() * 1e6 / jobs as f64;
        }
        Ok(Round { submit_s, all_s, per_second: jobs as f64 / all_s, cpu_us })
    }
}

/// Submits one job after the other, to the agents in turn, until all are.
async fn submit(
    operator: Peer,
    asked: Arc<[Raw]>,
    next: Arc<AtomicUsize>,
    jobs: usize,
) -> anyhow::Result<()> {
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= jobs {
            return Ok(());
        }
        let asked = asked.get(n % asked.len()).context("no agents")?;
        ask::submit(&operator, asked).await?;
    }
}

/// A folder for the agents' spools: in memory if possible.
fn spools(otherwise: &Path) -> anyhow::Result<TempDir> {
    let folder = if Path::new(SHM).is_dir() { Path::new(SHM) } else { otherwise };
    Ok(tempfile::Builder::new().prefix("redpoll-bench-").tempdir_in(folder)?)
}

fn show(rows: &[Round], agents: usize, jobs: usize, spools: &str, disk: &str) {
    let middle = |of: fn(&Round) -> f64| Spread::of(rows.iter().map(of));
    let per_second = middle(|r| r.per_second);
    let cells = vec![vec![
        format!("{jobs} jobs"),
        per_second.text(),
        middle(|r| r.submit_s).text(),
        middle(|r| r.all_s).text(),
        short(middle(|r| r.cpu_us[0]).median),
        short(middle(|r| r.cpu_us[1]).median),
        short(middle(|r| r.cpu_us[2]).median),
    ]];
    let head = ["", "per second", "s, submitted", "s, ended", "cpu us: manager", "agents", "submitters"];
    let title = format!(
        "jobs: end to end, {agents} agents, {SUBMITTERS} submitters; the manager's store on {disk}, the agents' spools on {spools}"
    );
    table::print(&title, &head, &cells);
    println!("  {}", table::verdict_at_least(per_second.median, TARGET));
}
