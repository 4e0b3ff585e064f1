//! A manager, an agent with manifests and an operator, and calls of one procedure by some callers.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redpoll_common::api::{CallArguments, method};
use redpoll_common::wire::Raw;
use redpoll_net::{Call, Peer};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::pki::AGENT;
use crate::process::Child;
use crate::stats::{Spread, nanos, percentile};
use crate::world::{ANY_PORT, Server, World, wait_for_agent};

/// No pings: nothing but the work.
const PING: Duration = Duration::ZERO;
/// How long a call may take; the first of a worker starts it.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is sent and comes back.
pub(super) const WORD: &str = "0123456789abcdef0123456789abcdef";
/// Everything is allowed: the work is measured and not the rules.
const POLICY: &str = "[[rule]]\nname = \"everything\"\nallow = [\"*\"]\n";

/// A procedure that the agent offers: its manifest, and the program beside it if it has one of its own.
pub(super) struct Offered {
    pub(super) name: &'static str,
    pub(super) manifest: String,
    pub(super) program: Option<&'static str>,
}

/// The programs, and an operator's session.
pub(super) struct Place {
    manager: Server,
    agent: Child,
    operator: Peer,
    tracker: TaskTracker,
    // last: the others have ended when it is removed
    world: World,
}

/// What one round of one side gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) per_second: f64,
    /// Processor time of the agent, and of the manager, per call. Of a bare round: none.
    pub(super) cpu_us: [f64; 2],
}

impl Round {
    /// Of latencies in nanoseconds that were measured within `took`.
    pub(super) fn of(mut latencies: Vec<u64>, took: Duration) -> Self {
        Self {
            p50_us: percentile(&mut latencies, 500) as f64 / 1e3,
            p99_us: percentile(&mut latencies, 990) as f64 / 1e3,
            per_second: latencies.len() as f64 / took.as_secs_f64(),
            cpu_us: [0.0; 2],
        }
    }
}

/// The figures of all rounds of one side.
pub(super) fn figures(rounds: &[Round]) -> Value {
    let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of)).json();
    json!({
        "p50_us": spread(|r| r.p50_us),
        "p99_us": spread(|r| r.p99_us),
        "per_second": spread(|r| r.per_second),
        "agent_cpu_us": spread(|r| r.cpu_us[0]),
        "manager_cpu_us": spread(|r| r.cpu_us[1]),
    })
}

/// One figure of each round of `ours` beside the same one of `bare`.
pub(super) fn ratio(ours: &[Round], bare: &[Round], of: impl Fn(&Round) -> f64) -> Spread {
    Spread::of(ours.iter().zip(bare).map(|(ours, bare)| of(ours) / of(bare)))
}

impl Place {
    pub(super) async fn start(offered: &[Offered]) -> anyhow::Result<Self> {
        let world = World::new()?;
        let folder = world.path().join("procedures.d");
        std::fs::create_dir(&folder)?;
        for Offered { name, manifest, program } in offered {
            std::fs::write(folder.join(format!("{name}.toml")), manifest)?;
            if let Some(text) = program {
                write_program(&folder.join(name), text)?;
            }
        }
        // a rule has to name root, if that is whom the agent runs as
        let users = if rustix::process::geteuid().is_root() { "users = [\"root\"]\n" } else { "" };
        std::fs::write(world.path().join("policy.toml"), format!("{POLICY}{users}"))?;
        let manager = world.manager(ANY_PORT, PING).await?;
        let sections = format!("[procedures]\nbuiltin = [\"sys.*\"]\ndir = {folder:?}\n");
        let state = world.path().join("agent");
        let agent = world.start_agent_with("redpoll-agent", AGENT, &state, manager.address, &sections)?;
        let tracker = TaskTracker::new();
        let operator = world.operator(manager.address, &tracker).await?;
        wait_for_agent(&operator).await?;
        Ok(Self { manager, agent, operator, tracker, world })
    }

    /// A file of the agent's folder of manifests.
    pub(super) fn program(&self, name: &str) -> std::path::PathBuf {
        self.world.path().join("procedures.d").join(name)
    }

    /// Keeps `callers` calls of a procedure in flight for a while.
    pub(super) async fn round(
        &self,
        procedure: &str,
        args: &Raw,
        callers: usize,
        during: Duration,
    ) -> anyhow::Result<Round> {
        let used = || anyhow::Ok([self.agent.cpu()?, self.manager.child.cpu()?]);
        let before = used()?;
        let begun = Instant::now();
        let latencies = self.call(procedure, args, callers, begun + during).await?;
        let took = begun.elapsed().max(during);
        let after = used()?;
        let count = latencies.len().max(1) as f64;
        let mut round = Round::of(latencies, took);
        for (of, (from, to)) in round.cpu_us.iter_mut().zip(before.into_iter().zip(after)) {
            *of = to.saturating_sub(from).as_secs_f64() * 1e6 / count;
        }
        Ok(round)
    }

    async fn call(
        &self,
        procedure: &str,
        args: &Raw,
        callers: usize,
        until: Instant,
    ) -> anyhow::Result<Vec<u64>> {
        let arguments = CallArguments {
            agent: AGENT.to_owned(),
            procedure: procedure.to_owned(),
            args: args.clone(),
            kwargs: Raw::empty_map(),
        };
        let call = Call::new(method::CALL, PATIENCE).with_kwargs(arguments.write());
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let (operator, call) = (self.operator.clone(), call.clone());
                self.tracker.spawn(async move {
                    let mut latencies = Vec::new();
                    while Instant::now() < until {
                        let begun = Instant::now();
                        operator.call(call.clone()).await?;
                        latencies.push(nanos(begun.elapsed()));
                    }
                    anyhow::Ok(latencies)
                })
            })
            .collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.await?.with_context(|| format!("a call of {procedure} failed"))?);
        }
        Ok(all)
    }
}

fn write_program(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}
