//! Memory of the manager per idle agent, beside a bare server that holds as many connections.

use std::time::Duration;

use serde_json::{Value, json};

use crate::process::Child;
use crate::stats::short;
use crate::table;
use crate::world::{ANY_PORT, World};

/// KiB of the manager's memory per idle agent.
const TARGET: f64 = 24.0;
/// Bytes that go through each connection and back afterwards.
const BURST: usize = 64 * 1024;
/// Agents that are there before anything is counted.
const FIRST: u64 = 10;
/// Dials at a time.
const AT_ONCE: usize = 256;

struct Plan {
    sizes: &'static [u64],
    ping: Duration,
    /// More than two pings of each, so that what a ping leaves is counted too.
    settle: Duration,
}

/// Growth per agent in KiB at one size, and the whole.
struct Step {
    agents: u64,
    per_agent: f64,
    resident_mib: f64,
}

struct Side {
    name: &'static str,
    steps: Vec<Step>,
    after_burst: f64,
}

pub(crate) async fn run(quick: bool) -> anyhow::Result<Value> {
    let plan = match quick {
        true => Plan { sizes: &[200], ping: Duration::from_millis(200), settle: Duration::from_millis(600) },
        false => {
            Plan { sizes: &[1000, 10_000], ping: Duration::from_secs(5), settle: Duration::from_secs(12) }
        }
    };
    let bare = measure("bare", &plan).await?;
    let ours = measure("redpoll", &plan).await?;
    show(&bare, &ours);
    Ok(json!({ "bare": bare.json(), "redpoll": ours.json() }))
}

async fn measure(kind: &'static str, plan: &Plan) -> anyhow::Result<Side> {
    let world = World::new()?;
    let server = match kind {
        "bare" => world.bare("bare-server", ANY_PORT).await?,
        _ => world.manager(ANY_PORT, plan.ping).await?,
    };
    let mut fleet = world.fleet(kind, server.address, AT_ONCE)?;
    let base = settled(&mut fleet, &server.child, FIRST, plan).await?;
    let mut steps = Vec::new();
    for &agents in plan.sizes {
        let resident = settled(&mut fleet, &server.child, agents, plan).await?;
        steps.push(Step {
            agents,
            per_agent: resident.saturating_sub(base) as f64 / (agents - FIRST) as f64,
            resident_mib: resident as f64 / 1024.0,
        });
    }
    fleet.tell(&format!("burst {BURST}")).await?;
    fleet.expect("burst").await?;
    tokio::time::sleep(plan.settle).await;
    let resident = server.child.memory()?.resident;
    let last = plan.sizes.last().copied().unwrap_or(FIRST + 1);
    let after_burst = resident.saturating_sub(base) as f64 / (last - FIRST) as f64;
    Ok(Side { name: kind, steps, after_burst })
}

/// Resident memory in KiB once so many agents are connected and quiet.
async fn settled(fleet: &mut Child, server: &Child, agents: u64, plan: &Plan) -> anyhow::Result<u64> {
    fleet.tell(&format!("grow {agents}")).await?;
    fleet.expect("up").await?;
    tokio::time::sleep(plan.settle).await;
    Ok(server.memory()?.resident)
}

impl Side {
    fn json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                json!({
                    "agents": step.agents,
                    "kib_per_agent": step.per_agent,
                    "resident_mib": step.resident_mib,
                })
            })
            .collect();
        json!({ "steps": steps, "kib_per_agent_after_burst": self.after_burst })
    }
}

fn show(bare: &Side, ours: &Side) {
    let mut cells = Vec::new();
    for side in [bare, ours] {
        for (step, reference) in side.steps.iter().zip(&bare.steps) {
            cells.push(vec![
                format!("{}, {} agents", side.name, step.agents),
                short(step.per_agent),
                short(step.resident_mib),
                short(step.per_agent / reference.per_agent),
            ]);
        }
        cells.push(vec![
            format!("{}, after {} KiB through each", side.name, BURST / 1024),
            short(side.after_burst),
            String::new(),
            short(side.after_burst / bare.after_burst),
        ]);
    }
    table::print("idle: resident memory of the server", &["", "KiB per agent", "MiB whole", "ratio"], &cells);
    if let Some(last) = ours.steps.last() {
        println!("  {} agents: {}", last.agents, table::verdict(last.per_agent, TARGET));
    }
}
