//! What jobs cost: how fast they are taken in, carried out and told of, beside what their disk allows.
//!
//! - [`submit`]: durable submits beside the bare store, with an empty store and with a full one.
//! - [`flow`]: jobs per second from submit to end, with a hundred agents.
//! - [`items`]: items per second of one run and of many.
//! - [`size`]: memory and start-up with many stored jobs, and with many that wait.
//! - [`fill`]: makes stores with many jobs. [`ask`]: what is asked of a manager.

mod ask;
pub(crate) mod fill;
mod flow;
mod items;
mod size;
mod submit;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::process::fs_name;
use crate::world::World;

/// No pings: nothing but the work.
const PING: Duration = Duration::ZERO;
/// Ended jobs of a full store.
const STORED: u64 = 1_000_000;
/// Runs that wait, of one that has such.
const WAITING: u64 = 100_000;
/// Everything is kept: nothing is deleted while something is measured.
const KEEP_ALL: &str =
    "[jobs]\nkeep = \"0s\"\nkeep_jobs = 100000000\nkeep_events = 100000000\nopen_runs = 10000000\n";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Memory and start-up.
    Size,
    /// Durable submits.
    Submit,
    /// Jobs per second end to end.
    Flow,
    /// Items per second.
    Items,
}

pub(crate) async fn run(quick: bool, parts: &[Part]) -> anyhow::Result<Value> {
    let has = |part| parts.is_empty() || parts.contains(&part);
    let mut figures = Map::new();
    {
        let world = World::on_disk()?;
        figures.insert("disk".to_owned(), fs_name(world.path())?.into());
        if has(Part::Size) || has(Part::Submit) {
            let (stored, waiting) = if quick { (2_000, 500) } else { (STORED, WAITING) };
            let took = fill::ended(&world.path().join(size::FULL), stored).await?;
            println!("\njobs: a store with {stored} ended jobs was made in {:.1} s", took.as_secs_f64());
            if has(Part::Size) {
                figures.insert("size".to_owned(), size::run(&world, quick, stored, waiting).await?);
            }
            if has(Part::Submit) {
                figures.insert("submit".to_owned(), submit::run(&world, quick, stored).await?);
            }
        }
    }
    if has(Part::Flow) {
        figures.insert("flow".to_owned(), flow::run(quick).await?);
    }
    if has(Part::Items) {
        figures.insert("items".to_owned(), items::run(quick).await?);
    }
    Ok(Value::Object(figures))
}
