//! The programs that agents run: each does what its job's plan says, and the oracle sees all of it.

use redpoll_common::job::spool::{Exit, Input, NotSpawned};
use redpoll_common::job::wire::Offer;
use redpoll_common::job::{Attempt, Dno, ItemKind, Outcome, RunState};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Fault, FaultCode, Raw};

use super::invariant::{Check, Invariant, ensure};
use super::oracle::Try;
use super::plan::Plan;
use super::world::{Event, World};

/// How much later than its limit a program may start: what passes between the look at the clock and the start.
const SLACK_MS: u64 = 1_000;

/// A running program.
#[derive(Debug)]
pub(super) struct Program {
    agent: usize,
    life: u64,
    dno: Dno,
    of: Try,
    plan: Plan,
    told: bool,
    paused: bool,
    ends_at: Option<u64>,
}

impl Program {
    /// The try that it is.
    pub(super) fn of(&self) -> &Try {
        &self.of
    }
}

impl World {
    /// Starts a program, as the spool asks.
    pub(super) fn spawn(&mut self, agent: usize, offer: Offer, not_after: Option<u64>) -> Check {
        self.check_spec(&offer)?;
        let now_ms = self.calendar.now_ms();
        let (dno, life) = (offer.run.dno, self.agents[agent].life);
        let plan = self.operators.plan(offer.run.job).cloned().unwrap_or_default();
        let late = not_after.is_some_and(|by| self.agents[agent].now(now_ms).boot_ms > by);
        if late || plan.unspawnable {
            let why = if late {
                NotSpawned::Late
            } else {
                NotSpawned::Refused(Box::new(Fault::new(FaultCode::Rejected, "no such file")))
            };
            self.calendar.plan(now_ms + 3, Event::NotSpawned(agent, life, dno, why));
            return Ok(());
        }
        let of = (offer.run.job, self.agents[agent].id.clone(), offer.run.attempt);
        self.check_start(&of, self.agents[agent].late_ms(dno, now_ms))?;
        self.count += 1;
        let program = Program { agent, life, dno, of, plan, told: false, paused: false, ends_at: None };
        self.programs.insert(self.count, program);
        self.agents[agent].programs.insert(dno, self.count);
        self.calendar.plan(now_ms + self.dice.between(1, 30), Event::Program(self.count));
        Ok(())
    }

    pub(super) fn check_start(&mut self, of: &Try, late_ms: u64) -> Check {
        let (job, agent, attempt) = of;
        self.dirty = true;
        self.manager.store.touch(*job);
        let repeatable = self.manager.store.jobs.get(job).is_some_and(|job| job.idempotent);
        self.oracle.started(of, repeatable, self.calendar.now_ms())?;
        ensure(late_ms <= SLACK_MS, Invariant::StartsInTime, || {
            format!("attempt {attempt} of {job}/{agent} started {late_ms} ms too late")
        })?;
        let cancelled = self.operators.cancelled.get(&(*job, agent.clone()));
        ensure(cancelled.is_none_or(|at| attempt <= at), Invariant::CancelHolds, || {
            format!("attempt {attempt} of {job}/{agent} started after its cancel was acknowledged")
        })?;
        let Some(row) = self.manager.store.run_of(*job, agent) else { return Ok(()) };
        let fits = match &row.state {
            RunState::Ended(end) => end.outcome == Outcome::Unknown || (repeatable && row.earlier.is_some()),
            state @ (RunState::Held
            | RunState::Queued
            | RunState::Offered(..)
            | RunState::Accepted(..)
            | RunState::Running(..)
            | RunState::InDoubt(..)) => state.holds_slot() || repeatable,
        };
        ensure(fits, Invariant::NoOverlap, || {
            format!("attempt {attempt} of {job}/{agent} started while the run was {}", row.state.word())
        })
    }

    /// The next thing a program does.
    pub(super) fn program_acts(&mut self, id: u64) -> Check {
        let now = self.calendar.now_ms();
        let Some(program) = self.programs.get_mut(&id) else { return Ok(()) };
        let (agent, dno, plan) = (program.agent, program.dno, program.plan.clone());
        let heard = program.life == self.agents[agent].life;
        if !std::mem::replace(&mut program.told, true) {
            self.calendar.plan(now + 1 + self.dice.below(plan.gap_ms), Event::Program(id));
            return if heard { self.tell_agent(agent, Input::Spawned(dno)) } else { Ok(()) };
        }
        let over = program.ends_at.is_some_and(|at| at <= now);
        if heard {
            let of = program.of.clone();
            self.judge_overrun(&of)?;
        }
        let Some(program) = self.programs.get(&id) else { return Ok(()) };
        let (of, paused, ending) = (program.of.clone(), program.paused, program.ends_at.is_some());
        let written = self.oracle.of(&of).map_or(0, |seen| seen.written.len() as u64);
        if over {
            return self.exit(id, false, heard);
        }
        self.calendar.plan(now + 1 + self.dice.below(plan.gap_ms), Event::Program(id));
        if paused && heard {
            // whatever it writes blocks
            return Ok(());
        }
        if written < plan.items {
            return self.write_item(id, written, heard);
        }
        if plan.endless || ending {
            return Ok(());
        }
        let Attempt(attempt) = of.2;
        self.exit(id, attempt > plan.fails_until, heard)
    }

    fn write_item(&mut self, id: u64, n: u64, heard: bool) -> Check {
        let Some(program) = self.programs.get(&id) else { return Ok(()) };
        let (agent, dno, of, plan) = (program.agent, program.dno, program.of.clone(), program.plan.clone());
        let kind = [ItemKind::Value, ItemKind::Stdout, ItemKind::Stderr][usize::try_from(n % 3).unwrap_or(0)];
        let fill = "x".repeat(usize::try_from(plan.item_bytes).unwrap_or(0));
        let data = Raw::text(&format!("{} {} {} {n} {fill}", of.0, of.1, of.2));
        if !heard {
            return Ok(());
        }
        self.oracle.wrote(&of, kind, data.clone(), self.calendar.now_ms());
        self.agents[agent].wrote(dno, data.len());
        if n % 4 == 3 {
            let progress = Progress { completed: n, total: Some(plan.items), details: Raw::nil() };
            self.tell_agent(agent, Input::Progress(dno, progress))?;
        }
        self.tell_agent(agent, Input::Item { dno, kind, data })
    }

    fn exit(&mut self, id: u64, well: bool, heard: bool) -> Check {
        let Some((agent, dno)) = self.end_program(id, Some(well)).filter(|_| heard) else { return Ok(()) };
        let exit = if well {
            Exit::Succeeded(Raw::text("done"))
        } else {
            Exit::Failed(Fault::new(FaultCode::Failed, "it went wrong"))
        };
        self.tell_agent(agent, Input::Exited(dno, exit))
    }

    /// A program is no more. Gives whose it was.
    pub(super) fn end_program(&mut self, id: u64, exit: Option<bool>) -> Option<(usize, Dno)> {
        let program = self.programs.remove(&id)?;
        (self.dirty, self.progress_at) = (true, self.calendar.now_ms());
        self.manager.store.touch(program.of.0);
        self.oracle.ended(&program.of, exit);
        self.agents[program.agent].programs.retain(|_, other| *other != id);
        Some((program.agent, program.dno))
    }

    /// TERM, which some ignore, or KILL, which none does.
    pub(super) fn signal(&mut self, agent: usize, dno: Dno, kill: bool) {
        let now = self.calendar.now_ms();
        let Some(id) = self.agents[agent].programs.get(&dno).copied() else { return };
        let after = self.dice.below(if kill { 10 } else { 300 });
        if let Some(program) = self.programs.get_mut(&id)
            && (kill || !program.plan.stubborn)
        {
            program.ends_at = Some(now + after);
            self.calendar.plan(now + after, Event::Program(id));
        }
    }

    pub(super) fn pause(&mut self, agent: usize, dno: Dno, paused: bool) {
        let id = self.agents[agent].programs.get(&dno);
        if let Some(program) = id.and_then(|id| self.programs.get_mut(id)) {
            program.paused = paused;
            self.oracle.let_on(&program.of, self.calendar.now_ms());
        }
    }

    /// An endless program whose run was given up as unknown can be ended on its machine alone: the run is not open, so that
    /// no cancel reaches it, and when its job is deleted nobody tells its agent. Somebody goes there.
    pub(super) fn end_given_up(&mut self) {
        let now = self.calendar.now_ms();
        for (id, program) in self.programs.iter_mut().filter(|(_, program)| program.plan.endless) {
            let row = self.manager.store.run_of(program.of.0, &program.of.1);
            let unknown =
                |state: &RunState| matches!(state, RunState::Ended(end) if end.outcome == Outcome::Unknown);
            let given_up = row.is_none_or(|row| unknown(&row.state));
            if given_up && program.ends_at.is_none() {
                program.ends_at = Some(now);
                self.calendar.plan(now, Event::Program(*id));
                self.tally.hit("given up, and ended by hand");
            }
        }
    }

    /// Programs that outlived their agents, when nothing more is to go wrong.
    pub(super) fn end_orphans(&mut self) {
        let orphans: Vec<u64> = self
            .programs
            .iter()
            .filter(|(_, program)| program.life != self.agents[program.agent].life)
            .map(|(id, _)| *id)
            .collect();
        orphans.into_iter().for_each(|id| _ = self.end_program(id, None));
    }
}

impl World {
    /// All programs of a machine, whichever life of its agent started them.
    pub(super) fn end_programs_of(&mut self, agent: &redpoll_common::ids::PeerId) {
        let ids = self.programs.iter().filter(|(_, program)| program.of.1 == *agent).map(|(id, _)| *id);
        let ids: Vec<u64> = ids.collect();
        ids.into_iter().for_each(|id| _ = self.end_program(id, None));
    }
}
