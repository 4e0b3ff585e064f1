//! `rpctl cp` of a file to an agent and back through the manager, beside one TLS stream with sha256 at both ends. The same stream
//! also ends in a file, as a copy does, and goes through one in the middle, as our way has two legs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_util::task::TaskTracker;

use crate::pki::AGENT;
use crate::process::{Child, beside, fs_name};
use crate::stats::short;
use crate::table;
use crate::world::{ANY_PORT, Server, World, wait_for_agent};

/// A transfer reaches so much of the bare stream.
const TARGET: f64 = 0.8;
const MIB: usize = 1 << 20;
const PING: Duration = Duration::from_secs(15);

/// All rounds of one kind, in MiB per second.
struct Row {
    name: &'static str,
    rounds: Vec<f64>,
}

impl Row {
    fn median(&self) -> f64 {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}

pub(crate) async fn run(quick: bool) -> anyhow::Result<Value> {
    let (mib, rounds) = if quick { (8, 1) } else { (512, 5) };
    let bench = Bench::start(mib).await?;
    let names = [
        "rpctl cp to the agent",
        "rpctl cp from the agent",
        "bare stream",
        "bare stream into a file",
        "bare stream, relayed",
    ];
    let mut rows = names.map(|name| Row { name, rounds: Vec::new() });
    // the first round warms up
    for round in 0..=rounds {
        bench.forget();
        let took = [
            bench.up().await?,
            bench.down().await?,
            bench.bare(&bench.sink).await?,
            bench.bare(&bench.keeper).await?,
            bench.bare(&bench.pipe).await?,
        ];
        for (row, took) in rows.iter_mut().zip(took) {
            if round > 0 {
                row.rounds.push(mib as f64 / took.as_secs_f64());
            }
        }
    }
    let [up, down, bare, kept, relayed] = rows.each_ref().map(Row::median);
    let cells = rows.iter().map(|row| {
        vec![
            row.name.to_owned(),
            short(row.median()),
            format!("{:.2}", row.median() / bare),
            format!("{:.2}", row.median() / kept),
            format!("{:.2}", row.median() / relayed),
        ]
    });
    let cells: Vec<_> = cells.collect();
    let title = format!("procedures, files: {mib} MiB in {}, median of {rounds}", bench.disk);
    table::print(&title, &["", "MiB/s", "of bare", "of into a file", "of relayed"], &cells);
    for (name, figure) in [("to the agent", up), ("from the agent", down)] {
        println!("  {name}: {}", table::verdict_at_least(figure / bare, TARGET));
    }
    let figures = rows.iter().map(|row| json!({"name": row.name, "mib_per_second": row.rounds}));
    Ok(json!({
        "mib": mib, "disk": bench.disk, "rows": figures.collect::<Vec<_>>(), "target_of_bare": TARGET,
        "to_agent_of_bare": up / bare, "from_agent_of_bare": down / bare,
        "to_agent_of_kept": up / kept, "from_agent_of_kept": down / kept,
        "to_agent_of_relayed": up / relayed, "from_agent_of_relayed": down / relayed,
    }))
}

struct Bench {
    world: World,
    _manager: Server,
    _agent: Child,
    sink: Server,
    /// A sink that ends in a file.
    keeper: Server,
    pipe: Server,
    config: PathBuf,
    folder: tempfile::TempDir,
    disk: String,
}

impl Bench {
    async fn start(mib: usize) -> anyhow::Result<Self> {
        let world = World::new()?;
        // in memory: the way is measured and not the disk, which the bare stream does not write to
        let memory = Path::new("/dev/shm");
        let mut named = tempfile::Builder::new();
        named.prefix("redpoll-bench-");
        let folder = if memory.is_dir() { named.tempdir_in(memory)? } else { named.tempdir()? };
        let disk = fs_name(folder.path())?;
        let block: Vec<u8> =
            (0..MIB).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 13 & 0xff).unwrap_or(0)).collect();
        let mut file = std::fs::File::create(folder.path().join("source"))?;
        for _ in 0..mib {
            std::io::Write::write_all(&mut file, &block)?;
        }
        let manager = world.manager(ANY_PORT, PING).await?;
        let root = folder.path();
        let sections = format!(
            "[procedures]\nbuiltin = [\"sys.*\", \"file.*\"]\n[files]\nread = [{root:?}]\nwrite = [{root:?}]\n"
        );
        let state = world.path().join("agent");
        let agent = world.start_agent_with("redpoll-agent", AGENT, &state, manager.address, &sections)?;
        let tracker = TaskTracker::new();
        wait_for_agent(&world.operator(manager.address, &tracker).await?).await?;
        let sink = world.bare("bare-sink", ANY_PORT).await?;
        let kept = folder.path().join("bare").to_string_lossy().into_owned();
        let keeper = world.bare_with("bare-sink", ANY_PORT, &["--into", &kept]).await?;
        let pipe = world.bare_with("bare-pipe", ANY_PORT, &["--sink", &sink.address.to_string()]).await?;
        let config = world.rpctl_config(manager.address)?;
        Ok(Self { world, _manager: manager, _agent: agent, sink, keeper, pipe, config, folder, disk })
    }

    /// Removes what the last round wrote: to free the memory of a file that is replaced takes as long as a fortieth of the copy, and is no
    /// part of it.
    fn forget(&self) {
        for name in ["there", "back", "bare"] {
            // in the first round there is none
            let _none = std::fs::remove_file(self.folder.path().join(name));
        }
    }

    async fn up(&self) -> anyhow::Result<Duration> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        self.copy(&file("source"), &format!("{AGENT}:{}", file("there"))).await
    }

    async fn down(&self) -> anyhow::Result<Duration> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        self.copy(&format!("{AGENT}:{}", file("there")), &file("back")).await
    }

    async fn copy(&self, source: &str, target: &str) -> anyhow::Result<Duration> {
        let mut command = Command::new(beside("rpctl")?);
        command.arg("--config").arg(&self.config).args(["cp", "--no-resume", source, target]);
        let begun = Instant::now();
        let output = command.stdin(Stdio::null()).output().await.context("cannot start rpctl")?;
        if !output.status.success() {
            bail!("rpctl cp failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(begun.elapsed())
    }

    async fn bare(&self, whom: &Server) -> anyhow::Result<Duration> {
        let (pki, file) = (self.world.pki(), self.folder.path().join("source"));
        let (pki, file) = (pki.to_string_lossy(), file.to_string_lossy());
        let address = whom.address.to_string();
        let arguments = ["bare-source", "--pki", &pki, "--address", &address, "--file", &file];
        let mut source = Child::part(&arguments, &self.world.log("bare-source"))?;
        Ok(Duration::from_nanos(source.expect("took").await?.parse()?))
    }
}
