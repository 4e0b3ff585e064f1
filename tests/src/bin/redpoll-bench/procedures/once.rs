//! `/bin/true` as a procedure, a process for each call, beside bare `posix_spawn` and wait by as many threads.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redpoll_common::wire::Raw;
use serde_json::{Value, json};

use super::place::{Offered, Place, Round, figures, ratio};
use crate::stats::{Spread, nanos, short};
use crate::table;

/// Calls per second reach so much of the bare starts per second.
const TARGET: f64 = 0.8;
/// Callers, and threads that start.
const CALLERS: [usize; 4] = [1, 4, 16, 48];
const PROGRAM: &str = "/bin/true";
const NAME: &str = "bench.true";

/// All sides with as many callers, round by round.
struct Row {
    callers: usize,
    bare: Vec<Round>,
    /// With a pipe for each stream, as a procedure has.
    piped: Vec<Round>,
    ours: Vec<Round>,
}

pub(super) async fn run(quick: bool) -> anyhow::Result<Value> {
    let (rounds, during) = if quick { (1, Duration::from_millis(200)) } else { (7, Duration::from_secs(1)) };
    let manifest = format!(
        "name = \"{NAME}\"\ndescription = \"Does nothing\"\ncommand = [\"{PROGRAM}\"]\nmode = \"once\"\n\
         output = \"text\"\nargs = {{ type = \"object\" }}\n"
    );
    let place = Place::start(&[Offered { name: NAME, manifest, program: None }]).await?;
    let mut rows = Vec::new();
    for callers in CALLERS {
        let mut row = Row { callers, bare: Vec::new(), piped: Vec::new(), ours: Vec::new() };
        // the first round warms up
        for round in 0..=rounds {
            let bare = spawns(callers, during, false).await?;
            let ours = place.round(NAME, &Raw::empty_array(), callers, during).await?;
            let piped = spawns(callers, during, true).await?;
            if round > 0 {
                row.bare.push(bare);
                row.ours.push(ours);
                row.piped.push(piped);
            }
        }
        rows.push(row);
    }
    show(&rows);
    let json = rows.iter().map(|row| {
        json!({
            "callers": row.callers, "bare": figures(&row.bare), "bare_piped": figures(&row.piped),
            "redpoll": figures(&row.ours),
            "of_bare": ratio(&row.ours, &row.bare, |r| r.per_second).json(),
            "of_piped": ratio(&row.ours, &row.piped, |r| r.per_second).json(),
        })
    });
    Ok(json!({ "rows": json.collect::<Vec<_>>(), "target_of_bare": TARGET, "best_of_best": best(&rows) }))
}

/// The best rate of ours beside the best bare one, each with as many callers as suit it.
fn best(rows: &[Row]) -> f64 {
    let most = |of: fn(&Row) -> &Vec<Round>| {
        rows.iter().map(|row| Spread::of(of(row).iter().map(|r| r.per_second)).median).fold(0.0, f64::max)
    };
    most(|row| &row.ours) / most(|row| &row.bare)
}

fn show(rows: &[Row]) {
    let mut cells = Vec::new();
    for row in rows {
        for (name, rounds) in
            [("bare spawn", &row.bare), ("bare, three pipes", &row.piped), ("redpoll", &row.ours)]
        {
            let middle = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of)).median;
            let is_ours = name == "redpoll";
            let rate = |r: &Round| r.per_second;
            let of = |bare: &[Round]| if is_ours { ratio(rounds, bare, rate).text() } else { String::new() };
            let cpu = |of: f64| if is_ours { short(of) } else { String::new() };
            cells.push(vec![
                format!("{} at a time, {name}", row.callers),
                short(middle(rate)),
                short(middle(|r| r.p50_us)),
                short(middle(|r| r.p99_us)),
                cpu(middle(|r| r.cpu_us[0])),
                cpu(middle(|r| r.cpu_us[1])),
                of(&row.bare),
                of(&row.piped),
            ]);
        }
    }
    let title = format!("procedures, once: calls of {PROGRAM} through manager and agent, beside bare starts");
    let head = ["", "per second", "p50 us", "p99 us", "agent cpu", "manager cpu", "of bare", "of piped"];
    table::print(&title, &head, &cells);
    println!("  best of best: {:.2}, {}", best(rows), table::verdict_at_least(best(rows), TARGET));
}

/// Starts and awaits programs for a while, on as many threads.
async fn spawns(threads: usize, during: Duration, piped: bool) -> anyhow::Result<Round> {
    let begun = Instant::now();
    let running: Vec<_> = (0..threads)
        .map(|_| tokio::task::spawn_blocking(move || spawn_until(begun + during, piped)))
        .collect();
    let mut all = Vec::new();
    for thread in running {
        all.extend(thread.await??);
    }
    Ok(Round::of(all, begun.elapsed()))
}

fn spawn_until(until: Instant, piped: bool) -> anyhow::Result<Vec<u64>> {
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        // nothing that keeps the standard library from `posix_spawn`
        let mut command = Command::new(PROGRAM);
        command.env_clear();
        let succeeded = if piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn()?.wait_with_output()?.status.success()
        } else {
            command.status()?.success()
        };
        anyhow::ensure!(succeeded, "{PROGRAM} failed");
        latencies.push(nanos(begun.elapsed()));
    }
    Ok(latencies)
}
