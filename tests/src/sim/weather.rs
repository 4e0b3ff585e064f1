//! What a run is exposed to. Each seed has weather of its own: some faults often, some never, so that none hides another.

use redpoll_manager_core::jobs::Settings;

use redpoll_net::transport::WRITE_MARK;

use super::dice::Dice;

/// How bad it gets.
#[derive(Debug)]
pub(super) struct Weather {
    pub(super) agents: usize,
    /// How long the faults go on, in milliseconds.
    pub(super) storm_ms: u64,
    /// On average between two faults, and between two acts of operators.
    pub(super) fault_ms: u64,
    pub(super) operator_ms: u64,
    pub(super) latency_ms: u64,
    pub(super) sync_ms: u64,
    /// Bytes that a direction of a connection holds, and one payload more.
    pub(super) room: usize,
    /// How many ends of a hundred nobody is told of.
    pub(super) silent_percent: u64,
    pub(super) busy_percent: u64,
    pub(super) unreadable_percent: u64,
    pub(super) settings: Settings,
    /// How likely each kind of fault is, in the order of [`Fault::ALL`].
    weights: [u64; Fault::ALL.len()],
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    ManagerDies,
    /// At the next sync, between two effects.
    ManagerDiesSoon,
    AgentDies,
    /// Right after the next commit.
    AgentDiesSoon,
    /// The machine with it, programs and boot-time clock.
    MachineReboots,
    SpoolWiped,
    SpoolRolledBack,
    Partition,
    Cut,
    /// The agent dials although it has a connection.
    Redial,
    ManagerDiskFull,
    AgentDiskFull,
    ManagerClockJumps,
    AgentClockJumps,
    SettingsReloaded,
    /// The certificate of an agent ends; some time later it has another one.
    CertificateEnds,
}

impl Fault {
    pub(super) const ALL: [Self; 16] = [
        Self::ManagerDies,
        Self::ManagerDiesSoon,
        Self::AgentDies,
        Self::AgentDiesSoon,
        Self::MachineReboots,
        Self::SpoolWiped,
        Self::SpoolRolledBack,
        Self::Partition,
        Self::Cut,
        Self::Redial,
        Self::ManagerDiskFull,
        Self::AgentDiskFull,
        Self::ManagerClockJumps,
        Self::AgentClockJumps,
        Self::SettingsReloaded,
        Self::CertificateEnds,
    ];
}

impl Weather {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let weights = std::array::from_fn(|_| if dice.percent(40) { 0 } else { dice.between(1, 6) });
        Self {
            agents: usize::try_from(dice.between(2, 4)).unwrap_or(2),
            storm_ms: dice.between(12_000, 45_000),
            fault_ms: [700, 2_000, 6_000][dice.index(3)],
            operator_ms: [150, 500, 1_500][dice.index(3)],
            latency_ms: [3, 40, 400][dice.index(3)],
            sync_ms: [2, 15, 60][dice.index(3)],
            room: [1_000, 8_000, WRITE_MARK][dice.index(3)],
            silent_percent: [0, 10, 40][dice.index(3)],
            busy_percent: [0, 4, 20][dice.index(3)],
            unreadable_percent: if dice.percent(20) { 10 } else { 0 },
            settings: settings(dice),
            weights,
        }
    }

    /// What goes wrong next, if anything ever does.
    pub(super) fn fault(&self, dice: &mut Dice) -> Option<Fault> {
        let mut at = dice.below(self.weights.iter().sum());
        for (fault, weight) in Fault::ALL.into_iter().zip(self.weights) {
            if at < weight {
                return Some(fault);
            }
            at -= weight;
        }
        None
    }

    /// From here on nothing goes wrong.
    pub(super) fn calm_down(&mut self) {
        (self.latency_ms, self.sync_ms) = (self.latency_ms.min(40), self.sync_ms.min(15));
        (self.silent_percent, self.busy_percent, self.unreadable_percent) = (0, 0, 0);
    }
}

/// Limits small enough to be met, and times short enough to be seen.
pub(super) fn settings(dice: &mut Dice) -> Settings {
    let settings = Settings {
        offers_per_agent: usize::try_from(dice.between(1, 8)).unwrap_or(1),
        runs_per_agent: if dice.percent(25) { usize::try_from(dice.between(1, 3)).unwrap_or(1) } else { 500 },
        open_bytes: 1024 * 1024 * 1024,
        open_runs_of_agent: if dice.percent(30) { 2 } else { 400 },
        open_bytes_of_agent: 1024 * 1024 * 1024,
        admin_reserve: 1,
        open_runs: if dice.percent(20) { 12 } else { 400 },
        unknown_after_ms: dice.percent(45).then(|| dice.between(500, 15_000)),
        retry_first_ms: 300,
        retry_max_ms: 3_000,
        callbacks_at_once: usize::try_from(dice.between(1, 4)).unwrap_or(1),
        callback_tries: u32::try_from(dice.between(2, 8)).unwrap_or(2),
        callback_first_ms: 200,
        callback_max_ms: 5_000,
        keep_ms: dice.percent(40).then(|| dice.between(5_000, 60_000)),
        keep_jobs: if dice.percent(20) { 3 } else { 10_000 },
        keep_of_agents: 10_000,
        keep_per_agent: 10_000,
        prune_every_ms: 7_000,
        prune_at_once: usize::try_from(dice.between(1, 20)).unwrap_or(1),
        return_ms: 2_000,
        prune_runs: 12,
        prune_events: 64,
        keep_events: 100_000,
    };
    // where jobs are deleted early, so is the history
    let keep_events = if settings.keep_ms.is_some() { 150 } else { settings.keep_events };
    let kept = settings.keep_jobs;
    Settings { keep_events, keep_of_agents: kept, keep_per_agent: kept.min(4), ..settings }
}
