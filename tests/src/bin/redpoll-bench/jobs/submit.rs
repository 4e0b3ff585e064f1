//! Durable submits through real sessions, beside the bare store that commits the very same changes in this process, and beside
//! the same store in a process of its own, behind TLS without a protocol: what a way there and back costs by itself.
//!
//! Submitters are programs of their own, each with a session, or the tasks of one, a web application that has one session for all
//! of them. Nothing is dispatched: the agent is away. A store with many ended jobs shows whether a submit costs more with them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redpoll_common::wire::Raw;
use redpoll_manager::store::{Sqlite, Store as _};
use redpoll_net::Peer;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::fill::{self, AWAY, Machine};
use super::{KEEP_ALL, PING, ask, size};
use crate::bare::store::Submitter;
use crate::process::whole_cpu;
use crate::stats::{Spread, nanos, percentile, short};
use crate::table;
use crate::world::{ANY_PORT, Server, World};

/// A submit takes at most so many times what the bare store needs for the same commit.
const TARGET: f64 = 1.5;
/// Submitters at a time.
const SUBMITTERS: [usize; 3] = [1, 16, 64];

/// What one round of one side gave.
#[derive(Debug, Clone, Copy)]
struct Round {
    p50_us: f64,
    p99_us: f64,
    per_second: f64,
    count: f64,
    /// Processor time per submit of the manager, or of the process with the store; nothing for the store in this process.
    cpu_us: f64,
    /// That of this process: of the submitters, or of the bare store.
    own_us: f64,
}

/// All sides with the same number of submitters, round by round.
#[derive(Debug, Default)]
struct Row {
    submitters: usize,
    bare: Vec<Round>,
    remote: Vec<Round>,
    empty: Vec<Round>,
    full: Vec<Round>,
    /// With an empty store, all through one session.
    shared: Vec<Round>,
}

/// A manager, and sessions with it.
struct Side {
    manager: Server,
    operators: Vec<Peer>,
}

/// How the submitters reach the manager.
#[derive(Debug, Clone, Copy)]
enum Sessions {
    /// By a session of its own, each.
    Each,
    /// All by the same.
    One,
}

/// The store in another process, and connections to it.
struct Remote {
    store: Server,
    submitters: Vec<Arc<tokio::sync::Mutex<Submitter>>>,
}

/// The store in this process.
struct Bare {
    store: Arc<Sqlite>,
    machine: Arc<Mutex<Machine>>,
}

pub(super) async fn run(world: &World, quick: bool, stored: u64) -> anyhow::Result<Value> {
    let (rounds, during) = if quick { (1, Duration::from_millis(200)) } else { (5, Duration::from_secs(1)) };
    let tracker = TaskTracker::new();
    let bare = Bare::open(world).await?;
    fill::ended(&world.path().join("empty"), 0).await?;
    let empty = Side::start(world, "empty", &tracker).await?;
    let full = Side::start(world, size::FULL, &tracker).await?;
    let asked = ask::echo(AWAY)?.write();
    let remote = Remote::start(world, asked.len()).await?;
    let mut rows = Vec::new();
    for submitters in SUBMITTERS {
        let mut row = Row { submitters, ..Row::default() };
        // the first round warms up
        for round in 0..=rounds {
            let one = bare.submit(&tracker, submitters, during).await?;
            let between = remote.submit(&tracker, submitters, during).await?;
            let two = empty.submit(&tracker, &asked, submitters, during, Sessions::Each).await?;
            let three = full.submit(&tracker, &asked, submitters, during, Sessions::Each).await?;
            let four = empty.submit(&tracker, &asked, submitters, during, Sessions::One).await?;
            if round > 0 {
                row.bare.push(one);
                row.remote.push(between);
                row.empty.push(two);
                row.full.push(three);
                row.shared.push(four);
            }
        }
        rows.push(row);
    }
    bare.store.close().await;
    show(&rows, stored);
    Ok(rows.iter().map(Row::json).collect())
}

impl Bare {
    async fn open(world: &World) -> anyhow::Result<Self> {
        let folder = world.path().join("bare");
        fill::ended(&folder, 0).await?;
        let store = fill::open(&folder)?;
        let machine = Machine::new(store.recover().await?)?;
        Ok(Self { store: Arc::new(store), machine: Arc::new(Mutex::new(machine)) })
    }

    async fn submit(
        &self,
        tracker: &TaskTracker,
        submitters: usize,
        during: Duration,
    ) -> anyhow::Result<Round> {
        let until = Instant::now() + during;
        let work = (0..submitters).map(|_| {
            let (store, machine) = (self.store.clone(), self.machine.clone());
            async move {
                let mut latencies = Vec::new();
                while Instant::now() < until {
                    let changes = machine.lock().unwrap_or_else(PoisonError::into_inner).submit()?;
                    let begun = Instant::now();
                    store.commit(changes).await?;
                    latencies.push(nanos(begun.elapsed()));
                }
                anyhow::Ok(latencies)
            }
        });
        together(tracker, work).await
    }
}

impl Remote {
    async fn start(world: &World, len: usize) -> anyhow::Result<Self> {
        let folder = world.path().join("remote");
        fill::ended(&folder, 0).await?;
        let store = world.bare_store(&folder).await?;
        let mut submitters = Vec::new();
        for _ in 0..SUBMITTERS.into_iter().max().unwrap_or(1) {
            let submitter = Submitter::connect(&world.pki(), store.address, len).await?;
            submitters.push(Arc::new(tokio::sync::Mutex::new(submitter)));
        }
        Ok(Self { store, submitters })
    }

    async fn submit(
        &self,
        tracker: &TaskTracker,
        submitters: usize,
        during: Duration,
    ) -> anyhow::Result<Round> {
        let until = Instant::now() + during;
        let work = self.submitters.iter().take(submitters).cloned().map(|submitter| async move {
            // nobody else has it during a round
            let mut submitter = submitter.lock().await;
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                submitter.submit().await?;
                latencies.push(nanos(begun.elapsed()));
            }
            anyhow::Ok(latencies)
        });
        with_cpu_of(&self.store, together(tracker, work)).await
    }
}

impl Side {
    async fn start(world: &World, name: &str, tracker: &TaskTracker) -> anyhow::Result<Self> {
        let manager = world.start_manager(name, ANY_PORT, PING, KEEP_ALL).await?;
        let mut operators = Vec::new();
        for _ in 0..SUBMITTERS.into_iter().max().unwrap_or(1) {
            operators.push(world.operator(manager.address, tracker).await?);
        }
        Ok(Self { manager, operators })
    }

    async fn submit(
        &self,
        tracker: &TaskTracker,
        asked: &Raw,
        submitters: usize,
        during: Duration,
        sessions: Sessions,
    ) -> anyhow::Result<Round> {
        let until = Instant::now() + during;
        let used = match sessions {
            Sessions::Each => submitters,
            Sessions::One => 1,
        };
        let used = self.operators.get(..used).unwrap_or_default();
        let work = used.iter().cycle().take(submitters).cloned().map(|operator| {
            let asked = asked.clone();
            async move {
                let mut latencies = Vec::new();
                while Instant::now() < until {
                    let begun = Instant::now();
                    ask::submit(&operator, &asked).await?;
                    latencies.push(nanos(begun.elapsed()));
                }
                anyhow::Ok(latencies)
            }
        });
        with_cpu_of(&self.manager, together(tracker, work)).await
    }
}

/// Adds what the other process used meanwhile.
async fn with_cpu_of(
    other: &Server,
    round: impl Future<Output = anyhow::Result<Round>>,
) -> anyhow::Result<Round> {
    let before = whole_cpu(other.child.id())?;
    let mut round = round.await?;
    let used = (whole_cpu(other.child.id())? - before).as_secs_f64();
    round.cpu_us = used * 1e6 / round.count;
    Ok(round)
}

/// Does the work of all submitters at a time.
async fn together<W>(tracker: &TaskTracker, work: impl Iterator<Item = W>) -> anyhow::Result<Round>
where
    W: Future<Output = anyhow::Result<Vec<u64>>> + Send + 'static,
{
    let before = whole_cpu(std::process::id())?;
    let begun = Instant::now();
    let tasks: Vec<_> = work.map(|work| tracker.spawn(work)).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let took = begun.elapsed().as_secs_f64();
    let used = (whole_cpu(std::process::id())? - before).as_secs_f64();
    let count = latencies.len().max(1) as f64;
    Ok(Round {
        count,
        per_second: count / took,
        own_us: used * 1e6 / count,
        p50_us: percentile(&mut latencies, 500) as f64 / 1e3,
        p99_us: percentile(&mut latencies, 990) as f64 / 1e3,
        cpu_us: 0.0,
    })
}

impl Row {
    /// How many times what the bare store needs, round by round.
    fn ratio(&self, of: impl Fn(&Round) -> f64) -> Spread {
        ratio(&self.empty, &self.bare, of)
    }

    /// How many times what it needs with an empty store.
    fn growth(&self, of: impl Fn(&Round) -> f64) -> Spread {
        ratio(&self.full, &self.empty, of)
    }

    fn json(&self) -> Value {
        let side = |rounds: &[Round]| {
            let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of)).json();
            json!({
                "p50_us": spread(|r| r.p50_us),
                "p99_us": spread(|r| r.p99_us),
                "per_second": spread(|r| r.per_second),
                "manager_cpu_us": spread(|r| r.cpu_us),
                "own_cpu_us": spread(|r| r.own_us),
            })
        };
        json!({
            "submitters": self.submitters,
            "bare": side(&self.bare),
            "remote": side(&self.remote),
            "empty": side(&self.empty),
            "full": side(&self.full),
            "one_session": side(&self.shared),
            "ratio_p50": self.ratio(|r| r.p50_us).json(),
            "ratio_seconds": self.ratio(|r| 1.0 / r.per_second).json(),
            "remote_ratio_p50": ratio(&self.remote, &self.bare, |r| r.p50_us).json(),
            "one_session_ratio_p50": ratio(&self.shared, &self.bare, |r| r.p50_us).json(),
            "growth_p50": self.growth(|r| r.p50_us).json(),
            "growth_seconds": self.growth(|r| 1.0 / r.per_second).json(),
        })
    }
}

fn ratio(ours: &[Round], others: &[Round], of: impl Fn(&Round) -> f64) -> Spread {
    Spread::of(ours.iter().zip(others).map(|(ours, other)| of(ours) / of(other)))
}

fn show(rows: &[Row], stored: u64) {
    let mut cells = Vec::new();
    let full = format!("redpoll, {stored} stored");
    for row in rows {
        let sides = [
            ("bare store", &row.bare, None),
            ("bare store behind TLS", &row.remote, Some(&row.bare)),
            ("redpoll", &row.empty, Some(&row.bare)),
            ("redpoll, one session", &row.shared, Some(&row.bare)),
            (full.as_str(), &row.full, Some(&row.empty)),
        ];
        for (name, rounds, other) in sides {
            let middle = |of: fn(&Round) -> f64| short(Spread::of(rounds.iter().map(of)).median);
            let against =
                |of: fn(&Round) -> f64| other.map_or(String::new(), |other| ratio(rounds, other, of).text());
            cells.push(vec![
                format!("{} at a time, {name}", row.submitters),
                middle(|r| r.p50_us),
                middle(|r| r.p99_us),
                middle(|r| r.per_second),
                middle(|r| r.cpu_us),
                middle(|r| r.own_us),
                against(|r| r.p50_us),
                against(|r| 1.0 / r.per_second),
            ]);
        }
    }
    let head =
        ["", "p50 us", "p99 us", "per second", "cpu us: other end", "own", "p50, ratio", "time, ratio"];
    let title = "jobs: durable submits; ratios are to the bare store, that of many stored to the empty one";
    table::print(title, &head, &cells);
    for row in rows {
        let of = |r: &Round| r.p50_us;
        let (each, one) = (row.ratio(of).median, ratio(&row.shared, &row.bare, of).median);
        println!("  {} at a time, a session each: {}", row.submitters, table::verdict(each, TARGET));
        if row.submitters > 1 {
            println!("  {} at a time, one session: {}", row.submitters, table::verdict(one, TARGET));
        }
    }
}
