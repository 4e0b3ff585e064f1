//! How long a fleet takes to be back after the manager was killed and started again, beside the same fleet doing bare
//! handshakes with a bare server.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Child;
use crate::stats::{Spread, short};
use crate::table;
use crate::world::{ANY_PORT, Server, World};

/// The fleet is back within so many times the bare handshakes.
const TARGET: f64 = 2.5;
/// Dials that a fleet makes at a time: one process stands for many machines, and its accept queue is not the measure.
const AT_ONCE: usize = 1024;
/// No pings: the other fleet is quiet while one comes back.
const PING: Duration = Duration::ZERO;

/// One return of a fleet.
#[derive(Debug, Clone, Copy)]
struct Return {
    seconds: f64,
    /// Processor time of the server per agent.
    cpu_us: f64,
    /// Dials that failed on the way: the server was not there yet.
    failed: f64,
}

/// A fleet, what it dials, and how it came back.
struct Side {
    kind: &'static str,
    server: Option<Server>,
    listen: String,
    fleet: Child,
    returns: Vec<Return>,
}

pub(crate) async fn run(quick: bool) -> anyhow::Result<Value> {
    let (agents, rounds) = if quick { (200, 1) } else { (10_000, 5) };
    let world = World::new()?;
    let mut bare = Side::start(&world, "bare", agents).await?;
    let mut ours = Side::start(&world, "redpoll", agents).await?;
    for _ in 0..rounds {
        bare.restart(&world, agents).await?;
        ours.restart(&world, agents).await?;
    }
    show(&bare, &ours, agents);
    Ok(json!({
        "agents": agents,
        "bare": bare.json(),
        "redpoll": ours.json(),
        "ratio_seconds": ratio(&bare, &ours, |r| r.seconds).json(),
        "ratio_cpu": ratio(&bare, &ours, |r| r.cpu_us).json(),
    }))
}

async fn serve(world: &World, kind: &str, listen: &str) -> anyhow::Result<Server> {
    match kind {
        "bare" => world.bare("bare-server", listen).await,
        _ => world.manager(listen, PING).await,
    }
}

impl Side {
    async fn start(world: &World, kind: &'static str, agents: u32) -> anyhow::Result<Self> {
        let server = serve(world, kind, ANY_PORT).await?;
        let listen = server.address.to_string();
        let mut fleet = world.fleet(kind, server.address, AT_ONCE)?;
        fleet.tell(&format!("grow {agents}")).await?;
        fleet.expect("up").await?;
        Ok(Self { kind, server: Some(server), listen, fleet, returns: Vec::new() })
    }

    /// Kills the server, starts it again, and waits until everybody is back.
    async fn restart(&mut self, world: &World, agents: u32) -> anyhow::Result<()> {
        if let Some(server) = self.server.take() {
            server.child.kill().await?;
        }
        self.fleet.tell("down").await?;
        self.fleet.expect("down").await?;
        let begun = Instant::now();
        let server = serve(world, self.kind, &self.listen).await?;
        self.fleet.tell("up").await?;
        let failed: u32 = self.fleet.expect("up").await?.parse()?;
        let seconds = begun.elapsed().as_secs_f64();
        let cpu_us = server.child.cpu()?.as_secs_f64() * 1e6 / f64::from(agents);
        self.returns.push(Return { seconds, cpu_us, failed: f64::from(failed) });
        self.server = Some(server);
        Ok(())
    }

    fn spread(&self, of: impl Fn(&Return) -> f64) -> Spread {
        Spread::of(self.returns.iter().map(of))
    }

    fn json(&self) -> Value {
        json!({
            "seconds": self.spread(|r| r.seconds).json(),
            "cpu_us_per_agent": self.spread(|r| r.cpu_us).json(),
            "failed_dials": self.spread(|r| r.failed).json(),
        })
    }
}

fn ratio(bare: &Side, ours: &Side, of: impl Fn(&Return) -> f64) -> Spread {
    Spread::of(ours.returns.iter().zip(&bare.returns).map(|(ours, bare)| of(ours) / of(bare)))
}

fn show(bare: &Side, ours: &Side, agents: u32) {
    let mut rows: Vec<Vec<String>> = [bare, ours]
        .into_iter()
        .map(|side| {
            let seconds = side.spread(|r| r.seconds);
            vec![
                side.kind.to_owned(),
                seconds.text(),
                side.spread(|r| r.cpu_us).text(),
                short(f64::from(agents) / seconds.median),
                short(side.spread(|r| r.failed).median),
            ]
        })
        .collect();
    let time = ratio(bare, ours, |r| r.seconds);
    let cpu = ratio(bare, ours, |r| r.cpu_us);
    rows.push(vec!["ratio".to_owned(), time.text(), cpu.text(), String::new(), String::new()]);
    let head = ["", "seconds", "server cpu us per agent", "agents per second", "failed dials"];
    table::print(&format!("storm: {agents} agents are back after a restart"), &head, &rows);
    println!("  {}", table::verdict(time.median, TARGET));
}
