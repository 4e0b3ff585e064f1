//! After the faults: everything comes to its end, and nothing stands still on the way (I17).

use redpoll_common::job::RunState;
use redpoll_manager_core::jobs::record::{CallbackState, Change};

use super::invariant::{Check, Invariant, ensure};
use super::manager_link::DEAD_MS;
use super::world::World;

/// How long the traces of the faults may last: twice the time after which a silent peer is given up, which is longer here than any
/// wait before a dial. By then everybody is connected and nothing is in doubt; and for no longer than this may anything stand still.
const SETTLED_MS: u64 = 2 * DEAD_MS;

/// How long all the work may take that the faults have left: queues go one by one, and programs take their time.
const PATIENCE_MS: u64 = 15 * 60_000;

/// Whether changes bring something nearer to its end. Connections that come and go, and numbers that are counted, do not.
pub(super) fn is_progress(changes: &[Change]) -> bool {
    changes.iter().any(|change| match change {
        Change::JobSubmitted(_)
        | Change::JobReleased { .. }
        | Change::RunChanged(_)
        | Change::Items { .. }
        | Change::AttemptEnded { .. }
        | Change::QueueClosed(_)
        | Change::JobEnded { .. }
        | Change::JobDeleted(_)
        | Change::CallbackChanged(_) => true,
        Change::Progress { .. }
        | Change::QueueOpened(_)
        | Change::AgentCounters(_)
        | Change::ArgumentsMasked(_)
        | Change::JobRedacted(_)
        | Change::Denied(_)
        | Change::Allowed(_)
        | Change::Event(_)
        | Change::Clock(_)
        | Change::EventsPruned { .. } => false,
    })
}

impl World {
    pub(super) fn check_liveness(&self) -> Check {
        let Some(since) = self.calm_since else { return Ok(()) };
        let now = self.calendar.now_ms();
        let live = |holds: bool, detail: &dyn Fn() -> String| {
            ensure(holds, Invariant::Liveness, || format!("{} ms after the faults {}", now - since, detail()))
        };
        if now > since + SETTLED_MS {
            let away = self.agents.iter().find(|host| !self.is_live(&host.id));
            live(away.is_none(), &|| format!("{:?} has no live session", away.map(|host| &host.id)))?;
            let mut rows = self.manager.store.runs.values();
            let doubt = rows.find(|run| matches!(run.state, RunState::InDoubt(..)));
            live(doubt.is_none(), &|| format!("{:?} is in doubt", doubt.map(|run| &run.key)))?;
        }
        let (still, late) = (now > self.progress_at + SETTLED_MS, now > since + PATIENCE_MS);
        let left = if still || late { self.left_over() } else { None };
        live(left.is_none(), &|| {
            let how = if late { "still" } else { "nothing moves, and" };
            format!("{how} {}", left.clone().unwrap_or_default())
        })
    }

    fn is_live(&self, agent: &redpoll_common::ids::PeerId) -> bool {
        self.manager.newest.get(agent).is_some_and(|(_, live)| *live)
    }

    /// What has not come to its end, if anything.
    pub(super) fn left_over(&self) -> Option<String> {
        let store = &self.manager.store;
        if let Some(run) = store.runs.values().find(|run| !matches!(run.state, RunState::Ended(_))) {
            return Some(format!("{} is {}", run.key, run.state.word()));
        }
        if let Some(callback) =
            store.callbacks.values().find(|callback| callback.state == CallbackState::Pending)
        {
            return Some(format!("callback {} of {} is pending", callback.serial, callback.job));
        }
        if let Some(queue) = store.queues.keys().next() {
            return Some(format!("queue {queue} is there"));
        }
        let jobs = self.manager.jobs.as_ref();
        if jobs.is_none_or(|jobs| jobs.open_runs() > 0 || jobs.queues().next().is_some()) {
            return Some("the manager has something open, or is down".to_owned());
        }
        for agent in &self.agents {
            let counts = agent.spool.as_ref().map(redpoll_common::job::spool::Spool::counts);
            if counts != Some((0, 0)) || !agent.outputs.is_empty() || !agent.programs.is_empty() {
                return Some(format!("{} has {counts:?} runs, {} outputs", agent.id, agent.outputs.len()));
            }
            if !self.manager.newest.get(&agent.id).is_some_and(|(_, live)| *live) {
                return Some(format!("{} has no live session", agent.id));
            }
        }
        None
    }
}
