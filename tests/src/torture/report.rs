//! What a torture has to tell.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use redpoll_net::failpoint;

use super::killer::Kills;

/// Figures of one world or of all.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The seed of everything.
    pub seed: u64,
    /// Kills.
    pub kills: Kills,
    /// Jobs that were stored.
    pub jobs: u64,
    /// Submits that were answered.
    pub acknowledged: u64,
    /// Attempts by their outcomes.
    pub outcomes: BTreeMap<String, u64>,
    /// Programs that began.
    pub starts: u64,
    /// Programs whose agent was dead, and that had to be killed in the end.
    pub orphans: u64,
    /// How long it took.
    pub took: Duration,
    /// What is wrong, with the history of each job concerned.
    pub findings: Vec<String>,
    /// Folders that were kept.
    pub folders: Vec<String>,
}

impl Report {
    /// Adds that of another world.
    pub fn add(&mut self, other: Self) {
        self.kills.add(&other.kills);
        self.jobs += other.jobs;
        self.acknowledged += other.acknowledged;
        self.starts += other.starts;
        self.orphans += other.orphans;
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.findings.extend(other.findings);
        self.folders.extend(other.folders);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kills { manager, agent, points, in_vain } = &self.kills;
        let seconds = self.took.as_secs_f64();
        let total = self.kills.total();
        writeln!(f, "seed {}: {total} kills in {seconds:.1} s, {:.2} per second", self.seed, {
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let rate = total as f64 / seconds.max(0.001);
            rate
        })?;
        writeln!(
            f,
            "  at any moment: manager {manager}, agents {agent} ({in_vain} of them instead of a place)"
        )?;
        let places = failpoint::NAMES.iter().filter(|name| !name.starts_with('R')).map(|name| {
            let count = points.get(name).copied().unwrap_or(0);
            format!("{name} {count}")
        });
        writeln!(f, "  at a place: {}", places.collect::<Vec<_>>().join(", "))?;
        let Self { jobs, acknowledged, starts, orphans, .. } = self;
        writeln!(
            f,
            "  jobs {jobs} ({acknowledged} acknowledged), programs started {starts}, orphans {orphans}"
        )?;
        let attempts: u64 = self.outcomes.values().sum();
        let outcomes = self.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}"));
        writeln!(f, "  attempts {attempts}: {}", outcomes.collect::<Vec<_>>().join(", "))?;
        let unknown = self.outcomes.get("unknown").copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let (share, each) =
            (unknown as f64 * 100.0 / attempts.max(1) as f64, unknown as f64 / total.max(1) as f64);
        writeln!(f, "  unknown: {share:.2} % of the attempts, {each:.2} per kill")?;
        for finding in &self.findings {
            writeln!(f, "WRONG {finding}")?;
        }
        for folder in &self.folders {
            writeln!(f, "  kept: {folder}")?;
        }
        write!(f, "  again: cargo xtask torture --kills {total} --seed {}", self.seed)
    }
}
