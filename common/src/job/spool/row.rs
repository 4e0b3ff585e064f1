//! One run in the spool.

use super::fit::{fit, size};
use super::image::ImageRow;
use super::record::Stamp;
use super::stream::Stream;
use super::{Cause, Exit, Now};
use crate::job::run::{Ending, Outcome};
use crate::job::spec::{Limits, Overflow};
use crate::job::wire::offer::whole_ms;
use crate::job::wire::{Offer, RunRef, SpoolState};
use crate::wire::flight::Progress;
use crate::wire::{Fault, FaultCode};

/// Where a run is.
#[derive(Debug)]
pub(super) enum Phase {
    /// On disk from before the agent's start; waits for the manager's word.
    Received(Box<Offer>),
    /// Being started.
    Starting,
    /// Started.
    Running,
    /// Ended, and not on disk yet.
    Ending(Ending),
    /// Ended.
    Done(Ending),
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) run: RunRef,
    pub(super) phase: Phase,
    pub(super) limits: Limits,
    pub(super) stream: Stream,
    /// When it expires, while it waits; all times in boot milliseconds.
    pub(super) start_by: Option<u64>,
    pub(super) started_at: Option<u64>,
    pub(super) run_by: Option<u64>,
    /// When the longest gap between two items is over; `None` while the program waits for us.
    pub(super) idle_by: Option<u64>,
    /// When TERM becomes KILL.
    pub(super) kill_at: Option<u64>,
    /// Why it is being ended.
    pub(super) cause: Option<Cause>,
    /// Nobody wants its ending.
    pub(super) unwanted: bool,
    /// The program waits: nothing more is read from it.
    pub(super) paused: bool,
    pub(super) progress: Option<Progress>,
    /// What was told last, until it is answered, with the number of the report.
    pub(super) told_progress: Option<(u64, Progress)>,
    pub(super) told_start: bool,
    /// The ending is on its way, or was told by other means.
    pub(super) told_end: bool,
    /// Reports about it that were not answered.
    pub(super) in_flight: usize,
    /// The manager lacks items that were sent.
    pub(super) gap: bool,
}

impl Row {
    pub(super) fn new(run: RunRef, phase: Phase, limits: Limits) -> Self {
        Self {
            run,
            phase,
            limits,
            stream: Stream::default(),
            start_by: None,
            started_at: None,
            run_by: None,
            idle_by: None,
            kill_at: None,
            cause: None,
            unwanted: false,
            paused: false,
            progress: None,
            told_progress: None,
            told_start: false,
            told_end: false,
            in_flight: 0,
            gap: false,
        }
    }

    /// A run as the disk has it; what may have run is never run again.
    pub(super) fn recovered(run: RunRef, row: ImageRow, boot: Stamp) -> Self {
        let (next_n, is_lost) = (row.next_n(), row.is_lost());
        let stream = Stream::recovered(row.acked_n, next_n, row.items.values().copied());
        let (phase, told) = match (row.ending, row.received) {
            // an older agent wrote down what cannot be told, and told it in vain
            (Some((ending, told)), _) => (Phase::Done(fit(ending, usize::MAX)), told),
            (None, Some((offer, at))) if !is_lost => {
                let mut fresh = Self::new(run, Phase::Starting, offer.limits);
                let passed = at.elapsed_ms(&boot);
                let left = offer.limits.start_within.map(|limit| whole_ms(limit).saturating_sub(passed));
                fresh.start_by = left.map(|left| boot.boot_ms.saturating_add(left));
                fresh.phase = Phase::Received(offer);
                return fresh;
            }
            (None, _) => (Phase::Ending(lost(row.running, next_n, row.left.as_deref())), false),
        };
        Self { stream, told_start: true, told_end: told, ..Self::new(run, phase, Limits::default()) }
    }

    /// What the manager is told that the spool holds.
    pub(super) fn state(&self) -> SpoolState {
        match self.phase {
            Phase::Received(_) => SpoolState::Received,
            Phase::Starting => SpoolState::Starting,
            Phase::Running | Phase::Ending(_) => SpoolState::Running,
            Phase::Done(_) => SpoolState::Done,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running)
    }

    /// About how many bytes of it are not on disk yet.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        let ending = match &self.phase {
            Phase::Ending(ending) => size(ending),
            Phase::Received(_) | Phase::Starting | Phase::Running | Phase::Done(_) => 0,
        };
        self.stream.pending_bytes() + ending
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<u64> {
        [self.start_by, self.run_by, self.idle_by, self.kill_at].into_iter().flatten().min()
    }

    pub(super) fn started(&mut self, now: Now) {
        self.phase = Phase::Running;
        self.start_by = None;
        self.started_at = Some(now.boot_ms);
        self.run_by = self.limits.run_timeout.map(|limit| now.after(whole_ms(limit)));
        self.restart_idle(now);
    }

    /// The report in which its progress was told was lost: it is told again, unless there is something newer.
    pub(super) fn untold_progress(&mut self) {
        if let Some((_, progress)) = self.told_progress.take() {
            self.progress.get_or_insert(progress);
        }
    }

    /// The gap between two items begins anew.
    pub(super) fn restart_idle(&mut self, now: Now) {
        let counts = self.is_live() && !self.paused && self.cause.is_none() && self.started_at.is_some();
        self.idle_by = self.limits.idle_timeout.filter(|_| counts).map(|limit| now.after(whole_ms(limit)));
    }

    /// Bytes without acknowledgement beyond which the program has to wait.
    pub(super) fn pause_above(&self, unacked: u64) -> u64 {
        match (self.limits.overflow, self.limits.output) {
            (Overflow::Block, Some(output)) => output.min(unacked),
            (Overflow::Block | Overflow::Truncate | Overflow::Kill, _) => unacked,
        }
    }

    /// How it ended, now that its program has.
    pub(super) fn ending(&self, exit: Exit, now: Now) -> Ending {
        let ending = |outcome, result, fault| Ending {
            outcome,
            started: Some(true),
            result,
            fault,
            items: self.stream.next_n,
            duration_ms: self.started_at.map(|at| now.boot_ms.saturating_sub(at)),
        };
        if let Some(cause) = &self.cause {
            return ending(cause.outcome(), None, Some(cause.fault()));
        }
        match exit {
            Exit::Succeeded(result) => ending(Outcome::Succeeded, Some(result), None),
            Exit::Failed(fault) => ending(Outcome::Failed, None, Some(fault)),
            Exit::TimedOut(fault) => ending(Outcome::TimedOut, None, Some(fault)),
        }
    }
}

/// What became of a run whose agent died.
fn lost(running: bool, items: u64, left: Option<&str>) -> Ending {
    let (started, text) = match running {
        true => (Some(true), "the agent stopped while it ran; how it ended is not known"),
        false => (None, "the agent stopped while it was being started; it may have run"),
    };
    let left = left.map(|left| format!("; {left}")).unwrap_or_default();
    Ending {
        outcome: Outcome::Unknown,
        started,
        result: None,
        fault: Some(Fault::new(FaultCode::AgentGone, format!("{text}{left}"))),
        items,
        duration_ms: None,
    }
}
