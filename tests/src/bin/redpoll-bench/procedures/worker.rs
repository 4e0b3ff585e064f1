//! `sys.echo`, and a Python program that stays and takes one call after the other; beside the same program at the end of two
//! bare pipes, without manager and agent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redpoll_common::wire::Raw;
use serde_json::{Map, Value, json};

use super::place::{Offered, Place, Round, WORD, figures};
use crate::process::{Pin, Pinned};
use crate::stats::{Spread, nanos, short};
use crate::table;

/// A call of the worker takes at most so many times the bare round trip and one call together.
const TARGET: f64 = 1.5;
/// Callers of the rows that are about many.
const MANY: usize = 16;
const ECHO: &str = "sys.echo";
const PLAIN: &str = "bench.plain";
const SDK: &str = "bench.sdk";

/// The protocol and nothing else.
const PLAIN_TEXT: &str = r#"#!/usr/bin/env python3
import json
import sys

out = sys.stdout
out.write('{"ready": true}\n')
out.flush()
for line in sys.stdin:
    message = json.loads(line)
    if "procedure" in message:
        out.write(json.dumps({"call": message["call"], "result": message["args"]}) + "\n")
        out.flush()
"#;

const SDK_TEXT: &str = r#"#!/usr/bin/env python3
import redpoll


@redpoll.procedure(name="bench.sdk")
def sdk(word: str) -> str:
    """Gives the word back."""
    return word


redpoll.serve()
"#;

/// What is called, by how many.
const SIDES: [(&str, &str, usize); 6] = [
    ("sys.echo", ECHO, 1),
    ("worker, plain", PLAIN, 1),
    ("worker, SDK", SDK, 1),
    ("sys.echo", ECHO, MANY),
    ("worker, plain", PLAIN, MANY),
    ("worker, SDK", SDK, MANY),
];

/// Which of them are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Echo,
    Worker,
}

/// All rounds of one placement.
struct Rows {
    bare: Vec<Round>,
    ours: Vec<Vec<Round>>,
}

pub(super) async fn run(quick: bool, what: What) -> anyhow::Result<Value> {
    let mut all = Map::new();
    for pin in [Pin::Same, Pin::Free] {
        let rows = measure(quick, pin, what).await?;
        all.insert(pin.name().to_owned(), show(pin, what, &rows));
    }
    Ok(Value::Object(all))
}

async fn measure(quick: bool, pin: Pin, what: What) -> anyhow::Result<Rows> {
    let (rounds, during) =
        if quick { (1, Duration::from_millis(200)) } else { (7, Duration::from_millis(500)) };
    let _pinned = Pinned::to(pin)?;
    let place = Place::start(&offered()).await?;
    let mut bare = match what {
        What::Echo => None,
        What::Worker => Some(Pipes::start(&place.program(PLAIN))?),
    };
    let args = Raw::encode(&[WORD])?;
    let mut rows = Rows { bare: Vec::new(), ours: SIDES.map(|_| Vec::new()).into() };
    // the first round starts the workers and warms up
    for round in 0..=rounds {
        if let Some(pipes) = bare.take() {
            // on another thread, as the runtime of this one must go on
            let (pipes, measured) = tokio::task::spawn_blocking(move || pipes.round(during)).await??;
            bare = Some(pipes);
            if round > 0 {
                rows.bare.push(measured);
            }
        }
        for ((_, procedure, callers), measured) in SIDES.iter().zip(&mut rows.ours) {
            if what == What::Worker || *procedure == ECHO {
                let figures = place.round(procedure, &args, *callers, during).await?;
                if round > 0 {
                    measured.push(figures);
                }
            }
        }
    }
    Ok(rows)
}

fn offered() -> [Offered; 2] {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/python/src");
    let manifest = |name: &str| {
        format!(
            "name = \"{name}\"\ndescription = \"Gives its argument back\"\ncommand = [\"./{name}\"]\n\
             mode = \"worker\"\noutput = \"json\"\n[env]\nPYTHONPATH = {sdk:?}\n"
        )
    };
    [
        Offered { name: PLAIN, manifest: manifest(PLAIN), program: Some(PLAIN_TEXT) },
        Offered { name: SDK, manifest: manifest(SDK), program: Some(SDK_TEXT) },
    ]
}

fn show(pin: Pin, what: What, rows: &Rows) -> Value {
    let bare = (!rows.bare.is_empty()).then_some(("bare pipes, plain".to_owned(), &rows.bare));
    let ours = SIDES.iter().zip(&rows.ours).filter(|(_, rounds)| !rounds.is_empty());
    let ours = ours.map(|((name, _, callers), rounds)| (format!("{name}, {callers} at a time"), rounds));
    let all: Vec<_> = bare.into_iter().chain(ours).collect();
    let cells: Vec<_> = all
        .iter()
        .map(|(name, rounds)| {
            let middle = |of: fn(&Round) -> f64| short(Spread::of(rounds.iter().map(of)).median);
            vec![
                name.clone(),
                middle(|r| r.per_second),
                middle(|r| r.p50_us),
                middle(|r| r.p99_us),
                middle(|r| r.cpu_us[0]),
                middle(|r| r.cpu_us[1]),
            ]
        })
        .collect();
    let place = match pin {
        Pin::Same => "everything on one core",
        Pin::Free => "wherever the kernel likes",
    };
    let title = match what {
        What::Echo => format!("procedures, echo: the built-in one through manager and agent; {place}"),
        What::Worker => format!("procedures, worker: one Python process, called and bare; {place}"),
    };
    table::print(&title, &["", "per second", "p50 us", "p99 us", "agent cpu", "manager cpu"], &cells);
    let mut json: Map<String, Value> =
        all.into_iter().map(|(name, rounds)| (name, figures(rounds))).collect();
    if let ([echo, plain, sdk, ..], false) = (rows.ours.as_slice(), rows.bare.is_empty()) {
        let of = |worker: &[Round]| {
            let together = rows.bare.iter().zip(echo).map(|(bare, echo)| bare.p50_us + echo.p50_us);
            Spread::of(worker.iter().zip(together).map(|(worker, both)| worker.p50_us / both))
        };
        let (plain, sdk) = (of(plain), of(sdk));
        println!(
            "  p50 of a call of the plain worker beside bare pipes and sys.echo together: {}, {}; of the SDK's: {}",
            plain.text(),
            table::verdict(plain.median, TARGET),
            sdk.text()
        );
        json.insert("plain_of_both".to_owned(), plain.json());
        json.insert("sdk_of_both".to_owned(), sdk.json());
        json.insert("target".to_owned(), TARGET.into());
    }
    Value::Object(json)
}

/// The program, and the other ends of its pipes.
struct Pipes {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Pipes {
    fn start(program: &PathBuf) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = child.stdin.take().context("a child without stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("a child without stdout")?);
        let mut pipes = Self { child, stdin, stdout };
        pipes.stdout.read_line(&mut String::new()).context("it is not ready")?;
        Ok(pipes)
    }

    /// One line there and one back, again and again.
    fn round(mut self, during: Duration) -> anyhow::Result<(Self, Round)> {
        let begun = Instant::now();
        let (mut latencies, mut answer) = (Vec::new(), String::new());
        for call in 1_u64.. {
            let now = Instant::now();
            if now >= begun + during {
                break;
            }
            let line = json!({"call": call, "procedure": PLAIN, "version": 1, "args": [WORD], "kwargs": {}});
            self.stdin.write_all(format!("{line}\n").as_bytes())?;
            answer.clear();
            self.stdout.read_line(&mut answer)?;
            anyhow::ensure!(answer.contains(WORD), "the program answered {answer:?}");
            latencies.push(nanos(now.elapsed()));
        }
        Ok((self, Round::of(latencies, begun.elapsed())))
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // it has nothing to lose
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}
