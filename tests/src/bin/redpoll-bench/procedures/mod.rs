//! What procedures cost, beside the barest that does the same.
//!
//! - [`worker`]: `sys.echo` and Python workers, beside the same program at bare pipes.
//! - [`once`]: a process for each call, beside bare starts.
//! - [`files`]: a file to an agent and back, beside a bare TLS stream.
//! - [`place`]: the programs, their manifests and their callers.

mod files;
mod once;
mod place;
mod worker;

use serde_json::{Map, Value};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// `sys.echo` alone.
    Echo,
    /// Python workers, beside bare pipes and `sys.echo`.
    Worker,
    /// A process for each call.
    Once,
    /// Files.
    Files,
}

pub(crate) async fn run(quick: bool, parts: &[Part]) -> anyhow::Result<Value> {
    // the workers are measured beside `sys.echo`: by itself it is on demand only
    let has = |part| parts.contains(&part) || parts.is_empty() && part != Part::Echo;
    let mut figures = Map::new();
    if has(Part::Echo) {
        figures.insert("echo".to_owned(), worker::run(quick, worker::What::Echo).await?);
    }
    if has(Part::Worker) {
        figures.insert("worker".to_owned(), worker::run(quick, worker::What::Worker).await?);
    }
    if has(Part::Once) {
        figures.insert("once".to_owned(), once::run(quick).await?);
    }
    if has(Part::Files) {
        figures.insert("files".to_owned(), files::run(quick).await?);
    }
    Ok(Value::Object(figures))
}
