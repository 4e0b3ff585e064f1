//! Torture: real daemons are killed with SIGKILL at random moments and at named places, and an oracle outside knows what ran.
//!
//! A world is one manager and a few agents as processes. [`submitter`]s and [`reader`]s work all the time, a [`killer`] kills
//! and revives; then the faults stop, everything comes to rest, and the [`judge`] compares.
//!
//! - [`dice`], [`order`]: what is done follows from a seed. When it happens does not: processes are not that patient.
//! - [`site`]: the daemons. [`oracle`]: the file outside. [`ledger`]: what clients were told. [`evidence`]: what the manager
//!   tells in the end. [`report`]: the figures.

pub mod dice;
pub mod evidence;
pub mod judge;
pub mod killer;
pub mod ledger;
pub mod link;
pub mod oracle;
pub mod order;
pub mod reader;
pub mod report;
pub mod site;
pub mod submitter;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::dice::Dice;
use self::evidence::Evidence;
use self::killer::Killer;
use self::ledger::Ledger;
use self::link::Link;
use self::oracle::Line;
use self::report::Report;
use self::site::Site;
use self::submitter::Submitter;

/// Who submits in a world.
const SUBMITTERS: [&str; 4] = ["ada", "bert", "cleo", "dora"];
/// How long those who wait for jobs may take after the last kill.
const LAST_WORDS: Duration = Duration::from_secs(120);
/// Kills in one world, at most: then a new one begins, so that what has to be judged stays small.
const KILLS_PER_WORLD: u64 = 100;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// How many kills, at least.
    pub kills: u64,
    /// How many worlds at a time.
    pub at_once: u64,
    /// Where the folders of failed worlds stay; those of others are removed.
    pub keep: Option<PathBuf>,
}

/// Tortures.
///
/// # Panics
/// When a world cannot even be made.
pub async fn run(plan: &Plan) -> Report {
    let began = Instant::now();
    let mut dice = Dice::new(plan.seed);
    let rounds = plan.kills.div_ceil(KILLS_PER_WORLD * plan.at_once.max(1));
    let mut report = Report { seed: plan.seed, ..Report::default() };
    let mut left = plan.kills;
    for round in 0..rounds {
        let share = left.div_ceil(rounds - round).div_ceil(plan.at_once.max(1));
        let worlds = (0..plan.at_once.max(1)).map(|_| world(dice.fork(), share, plan.keep.clone()));
        // their daemons and clients run on their own; what is left here waits most of the time
        for world in join_all(worlds).await {
            report.add(world);
        }
        left = plan.kills.saturating_sub(report.kills.total());
        if !report.findings.is_empty() {
            break;
        }
    }
    report.took = began.elapsed();
    report
}

/// One world, from its beginning to its judgement.
async fn world(mut dice: Dice, kills: u64, keep: Option<PathBuf>) -> Report {
    let folder = TempDir::with_prefix("torture-").expect("a folder");
    let count = usize::try_from(dice.between(2, 3)).unwrap_or(2);
    let mut site = Site::start(folder.path(), count).await;
    let (ledger, stop, leave) =
        (Arc::new(Ledger::default()), CancellationToken::new(), CancellationToken::new());
    let (sessions, work) = (TaskTracker::new(), TaskTracker::new());
    let numbers = Arc::new(AtomicU64::new(1));
    let mut link = None;
    for name in SUBMITTERS {
        let own = site.authority.operator(name);
        let submitter = Submitter {
            name: name.to_owned(),
            link: Link::start(site.address, &own, &sessions, leave.clone()),
            agents: site.agents.clone(),
            oracle: site.oracle(),
            ledger: ledger.clone(),
            numbers: numbers.clone(),
        };
        link = Some(submitter.link.clone());
        agents_known(&submitter.link, &site.agents).await;
        work.spawn(submitter.run(dice.fork(), work.clone(), stop.clone()));
    }
    let mut killer = Killer::new(dice.fork(), ledger.clone());
    killer.run(&mut site, kills).await;
    stop.cancel();
    work.close();
    let mut evidence = Evidence::default();
    if timeout(LAST_WORDS, work.wait()).await.is_err() {
        evidence.findings.push(format!("clients still wait {LAST_WORDS:?} after the last kill"));
    }
    if let Some(link) = &link {
        gather(link, &mut evidence).await;
    }
    let orphans = orphans_end(&site.oracle()).await;
    leave.cancel();
    evidence.living = site.everybody().into_iter().filter_map(|who| site.pid(who)).collect();
    for who in site.everybody().into_iter().rev() {
        site.end(who).await;
    }
    let text = std::fs::read_to_string(site.oracle()).unwrap_or_default();
    match Line::all(&text) {
        Ok(lines) => evidence.oracle = lines,
        Err(line) => evidence.findings.push(format!("the oracle's file holds {line:?}")),
    }
    let taken = std::fs::read_to_string(site.taken()).unwrap_or_default();
    evidence.taken = taken.lines().map(str::to_owned).collect();
    evidence.told = ledger.all();
    evidence.deaths.clone_from(&site.deaths);
    evidence.findings.extend(site.findings.iter().cloned());
    evidence.findings.extend(site.troubles());
    let mut report = figures(&evidence, &killer, orphans);
    if !report.findings.is_empty()
        && let Some(keep) = keep
    {
        // what is wrong lies beside the logs, whoever reads them later
        let _told = std::fs::write(folder.path().join("findings"), report.findings.join("\n"));
        report.folders.extend(kept(folder, &keep));
    }
    report
}

/// Waits until the manager has seen all agents: nobody can name one before.
async fn agents_known(link: &Link, agents: &[String]) {
    crate::eventually("all agents have been seen", async || {
        for agent in agents {
            let arguments = redpoll_common::api::AgentArguments { agent: agent.clone() };
            let method = redpoll_common::api::method::AGENTS_SHOW;
            let shown: Result<redpoll_common::api::AgentSummary, _> = link.sure(method, &arguments).await;
            shown.ok()?;
        }
        Some(())
    })
    .await;
}

/// What the manager has to tell.
async fn gather(link: &Link, evidence: &mut Evidence) {
    match evidence::rest(link).await {
        Ok(rested) => evidence.rested = rested,
        Err(why) => evidence.findings.push(format!("I17: it does not come to rest: {why:?}")),
    }
    let jobs = evidence::list(link, None).await.unwrap_or_else(|why| {
        evidence.findings.push(format!("the jobs are not listed: {why:?}"));
        Vec::new()
    });
    for id in jobs {
        match evidence::job(link, &id).await {
            Ok(job) => drop(evidence.jobs.insert(id, job)),
            Err(why) => evidence.findings.push(format!("{id} is not shown: {why:?}")),
        }
    }
    match evidence::events(link).await {
        Ok(events) => evidence.events = events,
        Err(why) => evidence.findings.push(format!("the events are not listed: {why:?}")),
    }
    match evidence::verified(link).await {
        Ok(verified) => evidence.verified = Some(verified),
        Err(why) => evidence.findings.push(format!("the history is not verified: {why:?}")),
    }
}

fn figures(evidence: &Evidence, killer: &Killer, orphans: u64) -> Report {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let starts = evidence.oracle.iter().filter(|line| matches!(line, Line::Start { .. })).count();
    let findings = judge::judge(evidence);
    Report {
        kills: killer.kills.clone(),
        jobs: count(evidence.jobs.len()),
        acknowledged: count(evidence.told.submits.len()),
        outcomes: judge::outcomes(evidence),
        starts: count(starts),
        orphans,
        findings: findings.iter().map(|finding| judge::told(finding, evidence)).collect(),
        ..Report::default()
    }
}

/// Programs whose agents were killed live on for a while. What lives longer than any of them is killed, by its number.
async fn orphans_end(oracle: &Path) -> u64 {
    let deadline = Instant::now() + order::LONGEST;
    while Instant::now() < deadline {
        if programs(oracle).is_empty() {
            return 0;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let mut killed = 0;
    for pid in programs(oracle) {
        let _gone = kill_process(pid, Signal::KILL);
        killed += 1;
    }
    killed
}

/// Processes that have this oracle's file among their arguments.
fn programs(oracle: &Path) -> Vec<Pid> {
    let wanted = oracle.display().to_string();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes()) {
            pids.push(pid);
        }
    }
    pids
}

fn kept(folder: TempDir, keep: &Path) -> Option<String> {
    let name = folder.path().file_name()?.to_owned();
    let folder = folder.keep();
    std::fs::create_dir_all(keep).ok()?;
    let to = keep.join(name);
    // another file system: it stays where it is
    Some(
        std::fs::rename(&folder, &to)
            .map_or_else(|_| folder.display().to_string(), |()| to.display().to_string()),
    )
}
