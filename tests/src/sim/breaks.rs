//! The judge of the simulation before worlds that are broken on purpose: each invariant has a break that its own check finds.

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Attempt, Item, ItemKind, JobId, Outcome, RunState};
use redpoll_common::wire::Raw;
use redpoll_manager_core::jobs::record::{AgentCounters, Change, JobRecord, RunRecord};

use super::invariant::Check;
use super::oracle::Try;
use super::world::World;
use super::{Invariant, Report, Violation, judged};

/// Breaks a world, once there is in it what can be broken: gives what a check says at once.
type Hurt = fn(&mut World) -> Option<Check>;

const BREAKS: [(Invariant, Hurt); 21] = [
    (Invariant::AcknowledgedIsStored, |world| {
        world.operators.acknowledged.insert(JobId::new(1, 1));
        Some(Ok(()))
    }),
    (Invariant::OneKeyOneJob, |world| {
        let job = job(world, |job| job.key().is_some())?;
        let other = JobRecord { id: JobId::new(1, 1), ..job };
        Some(world.manager.store.apply(&[Change::JobSubmitted(other.into())]))
    }),
    (Invariant::StartedOnce, |world| {
        let of = world.oracle.running().next().cloned()?;
        Some(world.oracle.started(&of, true, 0))
    }),
    (Invariant::NoOverlap, |world| {
        let (job, agent, attempt) = world.oracle.running().next().cloned()?;
        Some(world.oracle.started(&(job, agent, Attempt(attempt.0 + 1)), false, 0))
    }),
    (Invariant::LegalTransitions, |world| {
        let run = run(world, |run| run.state.ending().is_some())?;
        let run = RunRecord { state: RunState::Queued, ..run };
        Some(world.manager.store.apply(&[Change::RunChanged(run.into())]))
    }),
    (Invariant::TruthfulEnd, |world| {
        let run = run_ended(world, Outcome::Succeeded)?;
        world.oracle.ended(&of(&run), Some(false));
        looked_at(world, &run)
    }),
    (Invariant::GaplessItems, |world| {
        let RunRecord { key, attempt, items, .. } = run(world, |run| run.state.holds_slot())?;
        let (from, item) = (items + 1, Item { n: items + 1, kind: ItemKind::Value, data: Raw::nil() });
        Some(world.manager.store.apply(&[Change::Items { key, attempt, from, items: vec![item] }]))
    }),
    (Invariant::ForgottenIsStored, |world| {
        let run = run(world, |run| run.state.dispatch().is_some())?;
        world.numbers.get(&(run.key.agent.clone(), run.dno))?;
        let place = world.agents.iter().position(|host| host.id == run.key.agent)?;
        Some(world.check_forgotten(place, run.dno))
    }),
    (Invariant::OneLiveSession, |world| {
        run(world, |run| run.state.holds_slot())?;
        world.manager.newest.clear();
        Some(Ok(()))
    }),
    (Invariant::NumbersGrow, |world| {
        let mut agents = world.manager.store.agents.values();
        let counters = agents.find(|counters| counters.last_dno.0 > 0)?.clone();
        let last_dno = redpoll_common::job::Dno(counters.last_dno.0 - 1);
        let counters = AgentCounters { last_dno, ..counters };
        Some(world.manager.store.apply(&[Change::AgentCounters(counters)]))
    }),
    (Invariant::SlotsHold, |world| {
        let queued = |run: &RunRecord| run.state.holds_slot() && run.attempt == Attempt(1);
        let run = run(world, queued)?;
        let name = world.manager.store.jobs.get(&run.key.job)?.spec.queue.as_ref()?.name.clone();
        world.manager.store.queues.get_mut(&name)?.concurrency = 0;
        looked_at(world, &run)
    }),
    (Invariant::CancelHolds, |world| {
        let run = run_ended(world, Outcome::Cancelled)?;
        if run.state.ending()?.started != Some(false) {
            return None;
        }
        let begun = world.oracle.started(&of(&run), true, 0);
        looked_at(world, &run).map(|_| begun)
    }),
    (Invariant::StartsInTime, |world| {
        let agent = world.agents.first()?.id.clone();
        Some(world.check_start(&(JobId::new(1, 1), agent, Attempt(1)), 5_000))
    }),
    (Invariant::ShutOut, |world| {
        let id = world.agents.first()?.id.clone();
        world.revocations.out.insert(id);
        Some(Ok(()))
    }),
    (Invariant::HistoryTells, |world| {
        world.manager.store.events.pop()?;
        Some(Ok(()))
    }),
    (Invariant::Bounded, |world| {
        world.manager.turn_bytes += 1 << 40;
        Some(Ok(()))
    }),
    (Invariant::Liveness, |world| {
        world.calm_since?;
        world.manager.jobs.take()?;
        Some(Ok(()))
    }),
    (Invariant::Masked, |world| {
        let job = job(world, |job| !job.redact.is_empty())?;
        let job = JobRecord { redact: std::sync::Arc::default(), ..job };
        Some(world.manager.store.apply(&[Change::JobRedacted(job.into())]))
    }),
    (Invariant::NoPanic, |_world| panic!("broken on purpose")),
    (Invariant::CallbackOnce, |world| {
        let job = job(world, |_job| true)?;
        Some(world.deliver_callback(job.id, 99))
    }),
    (Invariant::SpecIntact, |world| {
        let job = job(world, |job| job.ended_ms.is_none())?;
        Some(world.manager.store.apply(&[Change::ArgumentsMasked(job.id)]))
    }),
];

fn job(world: &World, wanted: impl Fn(&JobRecord) -> bool) -> Option<JobRecord> {
    world.manager.store.jobs.values().find(|job| wanted(job)).cloned()
}

fn run(world: &World, wanted: impl Fn(&RunRecord) -> bool) -> Option<RunRecord> {
    world.manager.store.runs.values().find(|run| wanted(run)).cloned()
}

/// A run of an operator's that ended so.
fn run_ended(world: &World, outcome: Outcome) -> Option<RunRecord> {
    let ended = |run: &RunRecord| run.state.ending().is_some_and(|end| end.outcome == outcome);
    run(world, |run| ended(run) && !world.operators.is_recorded(run.key.job))
}

fn of(run: &RunRecord) -> Try {
    (run.key.job, PeerId::clone(&run.key.agent), run.attempt)
}

/// The judge looks at it after this step.
fn looked_at(world: &mut World, run: &RunRecord) -> Option<Check> {
    world.dirty = true;
    world.manager.store.touch(run.key.job);
    Some(Ok(()))
}

/// The report of a world that was broken, of the first seed in which that shows.
fn broken((invariant, hurt): (Invariant, Hurt)) -> Report {
    let mut reports = (1..=20).filter_map(|seed| {
        let mut hurt = Some(hurt);
        let report = judged(seed, false, |world| {
            world.begin();
            while world.turn() {
                if let Some(said) = hurt.and_then(|hurt| hurt(world)) {
                    hurt = None;
                    world.keep(said);
                }
            }
        });
        report.violation.is_some().then_some(report)
    });
    reports.next().unwrap_or_else(|| panic!("nobody sees a break of {}", invariant.name()))
}

#[test]
fn each_break_is_found() {
    let numbers = BREAKS.map(|(invariant, _)| invariant as usize);
    assert!(numbers.into_iter().eq(0..=Invariant::SpecIntact as usize), "an invariant has no break");
    for (invariant, hurt) in BREAKS {
        let report = broken((invariant, hurt));
        let found = report.violation.as_ref().map(|violation| violation.invariant);
        assert_eq!(found, Some(invariant), "{:?}", report.violation);
        let line = report.failure().unwrap_or_default();
        let command = format!("cargo xtask simulate --seed {}   # {}: ", report.seed, invariant.name());
        assert!(line.starts_with(&command), "{line}");
    }
}

#[test]
fn the_first_thing_that_does_not_hold_is_the_one_that_is_told() {
    let report = judged(7, true, |world| {
        for (invariant, detail) in [(Invariant::Bounded, "first"), (Invariant::Masked, "second")] {
            world.keep(Err(Violation { invariant, detail: detail.to_owned() }));
        }
        world.begin();
        assert!(!world.turn(), "nothing more happens");
    });
    assert_eq!(report.failure().unwrap_or_default(), "cargo xtask simulate --seed 7   # I16 bounded: first");
    assert!(report.lines.iter().any(|line| line.contains("VIOLATION I16 bounded: first")));
}
