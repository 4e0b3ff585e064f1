//! `rpctl status`.

use std::time::Duration;

use redpoll_common::api::{Status, method};
use redpoll_common::wire::Raw;
use redpoll_config::format_duration;

use super::decoded;
use crate::Ended;
use crate::exit::Exit;
use crate::link::Link;
use crate::output::{Format, Output};
use crate::report::Target;
use crate::value::{Shown, decode};

pub(super) async fn run(link: &Link, output: &mut Output, verbose: bool) -> Ended {
    let target = Target::Manager { method: method::STATUS };
    let answer = link.ask(link.request(method::STATUS, Raw::empty_map()), &target, verbose).await?;
    if output.format() == Format::Table {
        let status: Status = decoded(&answer, method::STATUS)?;
        output.table(&[], rows(status))?;
    } else {
        // As it came: a newer manager may say more than this build knows.
        output.document(&Shown(&decode(&answer)))?;
    }
    Ok(Exit::Good)
}

fn rows(status: Status) -> Vec<Vec<String>> {
    let uptime = format_duration(Duration::from_secs(status.uptime_ms / 1000));
    let mut rows = vec![
        vec!["manager".to_owned(), status.manager],
        vec!["cluster".to_owned(), status.cluster],
        vec!["version".to_owned(), status.version],
        vec!["state".to_owned(), if status.draining { "draining" } else { "serving" }.to_owned()],
        vec!["disk of jobs".to_owned(), disk(&status.disk)],
        vec!["up".to_owned(), uptime],
        vec!["agents connected".to_owned(), status.agents_connected.to_string()],
        vec!["agents away".to_owned(), status.agents_away.to_string()],
        vec!["operators connected".to_owned(), status.operators_connected.to_string()],
    ];
    rows.extend(status.counters.into_iter().map(|(name, count)| vec![name, count.to_string()]));
    rows
}

/// How much room there is, with what follows from it.
fn disk(word: &str) -> String {
    match word {
        "reserve" => "full: new jobs are refused, what is under way is recorded".to_owned(),
        "none" => "full to the last: everything waits for room".to_owned(),
        "plenty" => "has room".to_owned(),
        other => other.to_owned(),
    }
}
