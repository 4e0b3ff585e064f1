//! What procedures cost, beside the barest that does the same.
//!
//! - [`files`]: a file to an agent and back, beside a bare TLS stream.

mod files;

use serde_json::{Map, Value};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Files.
    Files,
}

pub(crate) async fn run(quick: bool, parts: &[Part]) -> anyhow::Result<Value> {
    let has = |part| parts.is_empty() || parts.contains(&part);
    let mut figures = Map::new();
    if has(Part::Files) {
        figures.insert("files".to_owned(), files::run(quick).await?);
    }
    Ok(Value::Object(figures))
}
