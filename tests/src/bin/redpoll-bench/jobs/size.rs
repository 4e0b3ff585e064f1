//! Memory of the manager and how long it takes to start, with many stored jobs and with many that wait.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use redpoll_manager::store::{Store as _, sqlite};
use rustix::fs::Advice;
use serde_json::{Value, json};

use super::{KEEP_ALL, PING, fill};
use crate::process::Memory;
use crate::stats::{Spread, short};
use crate::table;
use crate::world::{ANY_PORT, World};

/// Seconds from the start of the process until it listens.
const TARGET: f64 = 2.0;
/// The folder of the store with many ended jobs.
pub(super) const FULL: &str = "full";
/// The same, and many that wait.
const BUSY: &str = "busy";
/// How long a manager is left alone before its memory is looked at.
const REST: Duration = Duration::from_secs(1);

/// One manager, started several times.
struct Row {
    name: String,
    /// Seconds, with its files in the page cache.
    warm: Spread,
    /// Without.
    cold: Spread,
    memory: Memory,
}

pub(super) async fn run(world: &World, quick: bool, stored: u64, waiting: u64) -> anyhow::Result<Value> {
    let rounds = if quick { 1 } else { 5 };
    fill::ended(&world.path().join("none"), 0).await?;
    let busy = world.path().join(BUSY);
    copy(&world.path().join(FULL), &busy).await?;
    fill::waiting(&busy, waiting).await?;
    let rows = [
        measure(world, "none", "no jobs".to_owned(), rounds).await?,
        measure(world, FULL, format!("{stored} ended"), rounds).await?,
        measure(world, BUSY, format!("{stored} ended, {waiting} waiting"), rounds).await?,
    ];
    std::fs::remove_dir_all(busy)?;
    show(&rows);
    Ok(rows.iter().map(Row::json).collect())
}

async fn measure(world: &World, folder: &str, name: String, rounds: usize) -> anyhow::Result<Row> {
    let (mut warm, mut cold, mut memory) = (Vec::new(), Vec::new(), None);
    for _ in 0..rounds {
        for (is_cold, times) in [(true, &mut cold), (false, &mut warm)] {
            if is_cold {
                forget(&world.path().join(folder))?;
            }
            let begun = Instant::now();
            let manager = world.start_manager(folder, ANY_PORT, PING, KEEP_ALL).await?;
            times.push(begun.elapsed().as_secs_f64());
            tokio::time::sleep(REST).await;
            memory = Some(manager.child.memory()?);
            manager.child.kill().await?;
        }
    }
    let memory = anyhow::Context::context(memory, "no round")?;
    Ok(Row { name, warm: Spread::of(warm), cold: Spread::of(cold), memory })
}

/// Takes the files of a folder out of the page cache.
fn forget(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Copies the database of a store that is closed.
async fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // makes the folder as it has to be
    fill::open(to)?.close().await;
    let database = sqlite::DATABASE;
    std::fs::copy(from.join(database), to.join(database))?;
    Ok(())
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "start_s": self.warm.json(),
            "start_cold_s": self.cold.json(),
            "resident_kib": self.memory.resident,
            "anonymous_kib": self.memory.anonymous,
        })
    }
}

fn show(rows: &[Row]) {
    let mib = |kib: u64| short(kib as f64 / 1024.0);
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                row.warm.text(),
                row.cold.text(),
                mib(row.memory.resident),
                mib(row.memory.anonymous),
            ]
        })
        .collect();
    let head = ["", "start s", "start s, not in the page cache", "resident MiB", "anonymous MiB"];
    table::print("jobs: the manager's start and its memory after it", &head, &cells);
    for row in rows {
        println!("  {}: {}", row.name, table::verdict(row.cold.median, TARGET));
    }
}
