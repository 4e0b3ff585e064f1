//! Memory and size of the agent while nothing is asked of it, beside the barest process that holds such a connection.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::process::{Child, beside};
use crate::stats::short;
use crate::table;
use crate::world::{ANY_PORT, World, wait_for_agent};

/// MiB of resident memory of an idle agent.
const TARGET: f64 = 10.0;
/// Pings before it is looked at.
const PINGS: u32 = 10;

pub(crate) async fn run(quick: bool) -> anyhow::Result<Value> {
    let ping = Duration::from_millis(if quick { 100 } else { 1000 });
    let world = World::new()?;
    let manager = world.manager(ANY_PORT, ping).await?;
    let agent = world.agent(manager.address)?;
    let bare_server = world.bare("bare-server", ANY_PORT).await?;
    let mut bare = world.bare_dialler("bare-agent", bare_server.address)?;
    bare.expect("connected").await?;
    let operator = world.operator(manager.address, &TaskTracker::new()).await?;
    wait_for_agent(&operator).await?;
    tokio::time::sleep(ping * PINGS).await;
    let size = std::fs::metadata(beside("redpoll-agent")?).context("no agent")?.len();
    let manager_size = std::fs::metadata(beside("redpoll-manager")?).context("no manager")?.len();
    let rows = [row("bare", &bare)?, row("redpoll-agent", &agent)?];
    table::print("agent: an idle agent", &["", "resident MiB", "anonymous MiB"], &rows);
    println!("  file of the agent: {} MiB, of the manager: {} MiB", mib(size), mib(manager_size));
    let resident = agent.memory()?.resident as f64 / 1024.0;
    println!("  {}", table::verdict(resident, TARGET));
    Ok(json!({
        "bare": figures(&bare)?,
        "redpoll": figures(&agent)?,
        "ratio_resident": resident * 1024.0 / bare.memory()?.resident as f64,
        "file_bytes": size,
        "manager_file_bytes": manager_size,
    }))
}

fn figures(child: &Child) -> anyhow::Result<Value> {
    let memory = child.memory()?;
    Ok(json!({ "resident_kib": memory.resident, "anonymous_kib": memory.anonymous }))
}

fn row(name: &str, child: &Child) -> anyhow::Result<Vec<String>> {
    let memory = child.memory()?;
    Ok(vec![name.to_owned(), kib(memory.resident), kib(memory.anonymous)])
}

fn kib(kib: u64) -> String {
    short(kib as f64 / 1024.0)
}

fn mib(bytes: u64) -> String {
    short(bytes as f64 / 1048576.0)
}
