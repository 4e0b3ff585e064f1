//! A call through the manager to an agent and back, beside frames through a bare relay: round trips of one caller, and
//! how many a second with many in flight.

use std::time::{Duration, Instant};

use redpoll_net::Peer;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::bare::echo::Requester;
use crate::process::{Child, Pin, Pinned, cpu};
use crate::stats::{Spread, nanos, percentile, short};
use crate::table;
use crate::world::{ANY_PORT, Server, World, echo_call, wait_for_agent};

/// A round trip takes at most so many times that of the relay, both on one core.
const TARGET: f64 = 2.0;
/// Requests in flight.
const WINDOWS: [usize; 3] = [1, 64, 256];
const PING: Duration = Duration::from_secs(15);

/// How long and how often.
struct Plan {
    rounds: usize,
    round: Duration,
}

/// What one round of one side gave.
#[derive(Debug, Clone, Copy)]
struct Round {
    p50_us: f64,
    p99_us: f64,
    per_second: f64,
    /// Processor time of the one in the middle, per request.
    cpu_us: f64,
    /// The same of all three processes together: what bounds the requests per second, however busy the machine is.
    all_cpu_us: f64,
}

/// Both sides with the same window, round by round.
struct Row {
    window: usize,
    ours: Vec<Round>,
    bare: Vec<Round>,
}

pub(crate) async fn run(quick: bool) -> anyhow::Result<Value> {
    let plan = match quick {
        true => Plan { rounds: 1, round: Duration::from_millis(200) },
        false => Plan { rounds: 7, round: Duration::from_secs(1) },
    };
    let mut figures = serde_json::Map::new();
    for pin in [Pin::Same, Pin::Free] {
        let rows = measure(pin, &plan).await?;
        show(pin, &rows);
        figures.insert(pin.name().to_owned(), rows.iter().map(Row::json).collect());
    }
    Ok(Value::Object(figures))
}

async fn measure(pin: Pin, plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let _pinned = Pinned::to(pin)?;
    let world = World::new()?;
    let manager = world.manager(ANY_PORT, PING).await?;
    let agent = world.agent(manager.address)?;
    let tracker = TaskTracker::new();
    let operator = world.operator(manager.address, &tracker).await?;
    wait_for_agent(&operator).await?;
    let mut relay: Server = world.bare("bare-relay", ANY_PORT).await?;
    let responder = world.bare_dialler("bare-responder", relay.address)?;
    let mut requester = Requester::connect(&world.pki(), relay.address).await?;
    relay.child.expect("ready").await?;
    let mut rows = Vec::new();
    for window in WINDOWS {
        let mut row = Row { window, ours: Vec::new(), bare: Vec::new() };
        // the first round warms up
        for round in 0..=plan.rounds {
            let ends = [&relay.child, &responder];
            let bare = timed(ends, plan, requester.ask(window, plan.round)).await?;
            let ends = [&manager.child, &agent];
            let ours = timed(ends, plan, ask(&operator, &tracker, window, plan.round)).await?;
            if round > 0 {
                row.bare.push(bare);
                row.ours.push(ours);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

async fn timed(
    [middle, far]: [&Child; 2],
    plan: &Plan,
    work: impl Future<Output = anyhow::Result<Vec<u64>>>,
) -> anyhow::Result<Round> {
    let used = || anyhow::Ok((middle.cpu()?, middle.cpu()? + far.cpu()? + cpu(std::process::id())?));
    let (before, all_before) = used()?;
    let begun = Instant::now();
    let mut latencies = work.await?;
    let took = begun.elapsed().max(plan.round);
    let (after, all_after) = used()?;
    let per_request = |from: Duration, to: Duration, count: f64| (to - from).as_secs_f64() * 1e6 / count;
    let count = latencies.len().max(1) as f64;
    Ok(Round {
        p50_us: percentile(&mut latencies, 500) as f64 / 1e3,
        p99_us: percentile(&mut latencies, 990) as f64 / 1e3,
        per_second: count / took.as_secs_f64(),
        cpu_us: per_request(before, after, count),
        all_cpu_us: per_request(all_before, all_after, count),
    })
}

/// Keeps `window` calls in flight for a while, and gives the round trip of each in nanoseconds.
async fn ask(
    operator: &Peer,
    tracker: &TaskTracker,
    window: usize,
    during: Duration,
) -> anyhow::Result<Vec<u64>> {
    let until = Instant::now() + during;
    let call = echo_call()?;
    let callers: Vec<_> = (0..window)
        .map(|_| {
            let (operator, call) = (operator.clone(), call.clone());
            tracker.spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let begun = Instant::now();
                    if begun >= until {
                        return anyhow::Ok(latencies);
                    }
                    operator.call(call.clone()).await?;
                    latencies.push(nanos(begun.elapsed()));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.await??);
    }
    Ok(all)
}

impl Row {
    /// How many times what the relay needs, round by round.
    fn ratio(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.ours.iter().zip(&self.bare).map(|(ours, bare)| of(ours) / of(bare)))
    }

    fn json(&self) -> Value {
        let side = |rounds: &[Round]| {
            let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of)).json();
            json!({
                "p50_us": spread(|r| r.p50_us),
                "p99_us": spread(|r| r.p99_us),
                "per_second": spread(|r| r.per_second),
                "cpu_us": spread(|r| r.cpu_us),
                "all_cpu_us": spread(|r| r.all_cpu_us),
            })
        };
        json!({
            "window": self.window,
            "redpoll": side(&self.ours),
            "bare": side(&self.bare),
            "ratio_p50": self.ratio(|r| r.p50_us).json(),
            "ratio_per_second": self.ratio(|r| r.per_second).json(),
        })
    }
}

fn show(pin: Pin, rows: &[Row]) {
    let title = match pin {
        Pin::Same => "call: operator, manager, agent and back; everything on one core",
        Pin::Free => "call: operator, manager, agent and back; wherever the kernel likes",
    };
    let mut cells = Vec::new();
    for row in rows {
        for (name, rounds) in [("bare relay", &row.bare), ("redpoll", &row.ours)] {
            let middle = |of: fn(&Round) -> f64| short(Spread::of(rounds.iter().map(of)).median);
            let ratio = if name == "redpoll" { row.ratio(|r| r.p50_us).text() } else { String::new() };
            cells.push(vec![
                format!("{} in flight, {name}", row.window),
                middle(|r| r.p50_us),
                middle(|r| r.p99_us),
                middle(|r| r.per_second),
                middle(|r| r.cpu_us),
                middle(|r| r.all_cpu_us),
                ratio,
            ]);
        }
    }
    let head = ["", "p50 us", "p99 us", "per second", "its cpu us", "all cpu us", "p50, ratio"];
    table::print(title, &head, &cells);
    if let (Pin::Same, Some(one)) = (pin, rows.first()) {
        println!("  one caller: {}", table::verdict(one.ratio(|r| r.p50_us).median, TARGET));
    }
}
