//! An agent's process around the real spool: outputs are performed in order, and nothing after a commit before it is on the
//! disk, as [`Output`] asks.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use redpoll_common::ids::{PeerId, RequestId};
use redpoll_common::job::Dno;
use redpoll_common::job::spool::{Input, Now, Options, Output, Record, Spool};
use redpoll_common::job::wire::StateAnswer;

use super::agent_link::{Link, Told};
use super::bounds::{Held, UnderWay};
use super::clock::Wall;
use super::dice::Dice;
use super::invariant::{Check, Invariant, ensure};
use super::network::Side;
use super::world::{Event, World};

/// Where the answer to the manager goes.
pub(super) type SpoolToken = (u64, RequestId);

/// Runs an agent may have at a time.
const MAX_RUNS: usize = 24;
/// How many more of procedures that look after the machine.
const ADMIN_RESERVE: usize = 1;

/// A machine with an agent on it.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: PeerId,
    /// `None` while the process is down.
    pub(super) spool: Option<Spool<SpoolToken>>,
    /// Which start of the process it is.
    pub(super) life: u64,
    boot: [u8; 16],
    booted_at: u64,
    pub(super) wall: Wall,
    pub(super) spool_id: [u8; 16],
    /// What is synced, record by record.
    pub(super) disk: Vec<Bytes>,
    /// What the spool wants done, with the session in which it said so.
    pub(super) outputs: VecDeque<(u64, Output<SpoolToken>)>,
    sync_planned: bool,
    timer_at: Option<u64>,
    pub(super) link: Option<Link>,
    /// Counts the sessions.
    pub(super) session: u64,
    pub(super) full: bool,
    /// Its programs, by dispatch number.
    pub(super) programs: BTreeMap<Dno, u64>,
    pub(super) partitioned_until: u64,
    /// Its certificate is over until then.
    pub(super) shut_out_until: u64,
    /// So many outputs after the next sync the process dies.
    pub(super) dies_after: Option<usize>,
    /// When each offer came first, on the boot-time clock of which boot, and how long it may wait.
    pub(super) offered: BTreeMap<Dno, Deadline>,
    /// The disk was ever lost, or taken back.
    pub(super) lost_spool: bool,
    /// What it holds of items, and what of them is on its way.
    pub(super) held: BTreeMap<Dno, Held>,
    pub(super) under_way: UnderWay,
}

/// Until when a run may start, as the agent was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    boot: [u8; 16],
    from_boot_ms: u64,
    within_ms: u64,
}

impl Agent {
    pub(super) fn new(id: PeerId, dice: &mut Dice) -> Self {
        Self {
            id,
            spool: None,
            life: 0,
            boot: dice.bytes(),
            booted_at: 0,
            wall: Wall::new(),
            spool_id: dice.bytes(),
            disk: Vec::new(),
            outputs: VecDeque::new(),
            sync_planned: false,
            timer_at: None,
            link: None,
            session: 0,
            full: false,
            programs: BTreeMap::new(),
            partitioned_until: 0,
            shut_out_until: 0,
            dies_after: None,
            offered: BTreeMap::new(),
            lost_spool: false,
            held: BTreeMap::new(),
            under_way: UnderWay::new(),
        }
    }

    /// The clocks of the machine.
    pub(super) fn now(&self, now_ms: u64) -> Now {
        Now { boot_ms: 1_000 + now_ms - self.booted_at, wall_ms: self.wall.at(now_ms) }
    }

    pub(super) fn options(&self) -> Options {
        Options {
            spool: self.spool_id,
            boot: self.boot,
            max_runs: MAX_RUNS,
            admin_reserve: ADMIN_RESERVE,
            window: 600,
            unacked: 2_000,
            max_item: 4_000,
            grace_ms: 400,
        }
    }

    /// Notes when an offer came, for whoever checks that it does not start too late.
    pub(super) fn offer_came(&mut self, dno: Dno, within_ms: Option<u64>, now_ms: u64) {
        if let Some(within_ms) = within_ms {
            let deadline = Deadline { boot: self.boot, from_boot_ms: self.now(now_ms).boot_ms, within_ms };
            // what was lost before it was synced never came
            if self.spool.as_ref().is_some_and(|spool| dno > spool.max_dno()) {
                self.offered.insert(dno, deadline);
            }
        }
    }

    /// How much too late it is to start a run now, in milliseconds. Across boots only the wall clock tells, and that may
    /// lie here: nothing can be said then.
    pub(super) fn late_ms(&self, dno: Dno, now_ms: u64) -> u64 {
        let Some(deadline) = self.offered.get(&dno).filter(|deadline| deadline.boot == self.boot) else {
            return 0;
        };
        self.now(now_ms).boot_ms.saturating_sub(deadline.from_boot_ms + deadline.within_ms)
    }

    /// Another boot of the machine: its boot-time clock begins anew.
    pub(super) fn reboot(&mut self, dice: &mut Dice, now_ms: u64) {
        self.boot = dice.bytes();
        self.booted_at = now_ms;
    }
}

impl World {
    /// The process starts, with what the disk has.
    pub(super) fn agent_starts(&mut self, agent: usize) -> Check {
        let now_ms = self.calendar.now_ms();
        let host = &mut self.agents[agent];
        if host.spool.is_some() {
            return Ok(());
        }
        let image = host.image(&host.disk);
        let spool = image.and_then(|image| Spool::recover(host.options(), image, host.now(now_ms)).ok());
        let started = spool.is_some();
        host.spool = spool;
        let id = host.id.clone();
        ensure(started, Invariant::NoPanic, || format!("{id} cannot read its own records"))?;
        if host.full {
            self.tell_agent(agent, Input::Full(true))?;
        }
        self.take_outputs(agent)?;
        self.plan_dial(agent, 500);
        Ok(())
    }

    /// Tells the spool something, and performs what it says up to the first commit.
    pub(super) fn tell_agent(&mut self, agent: usize, input: Input<SpoolToken>) -> Check {
        let now_ms = self.calendar.now_ms();
        if self.trace.is_kept() {
            self.trace.say(now_ms, format_args!("  {} ← {input:?}", self.agents[agent].id));
        }
        let host = &mut self.agents[agent];
        let now = host.now(now_ms);
        let Some(spool) = host.spool.as_mut() else { return Ok(()) };
        spool.handle(input, now);
        self.take_outputs(agent)
    }

    pub(super) fn agent_timer(&mut self, agent: usize, life: u64) -> Check {
        let now_ms = self.calendar.now_ms();
        let host = &mut self.agents[agent];
        if life != host.life {
            return Ok(());
        }
        host.timer_at = None;
        let now = host.now(now_ms);
        let Some(spool) = host.spool.as_mut() else { return Ok(()) };
        spool.handle_timeout(now);
        self.take_outputs(agent)
    }

    fn take_outputs(&mut self, agent: usize) -> Check {
        let at = self.calendar.now_ms();
        let host = &mut self.agents[agent];
        let session = host.session;
        while let Some(output) = host.spool.as_mut().and_then(Spool::poll_output) {
            if self.trace.is_kept() {
                self.trace.say(at, format_args!("    {} ⇒ {output:?}", host.id));
            }
            if let Output::Terminate(dno) = output
                && let Some(program) = host.programs.get(&dno).and_then(|id| self.programs.get(id))
            {
                self.oracle.decided_to_stop(program.of(), at);
            }
            host.outputs.push_back((session, output));
        }
        self.perform_outputs(agent, usize::MAX)?;
        self.plan_agent_timer(agent);
        let host = &self.agents[agent];
        let runs = host.spool.as_ref().map_or(0, |spool| spool.counts().0 + spool.counts().1);
        ensure(runs <= MAX_RUNS + ADMIN_RESERVE, Invariant::Bounded, || {
            format!("{} has {runs} runs", host.id)
        })
    }

    fn plan_agent_timer(&mut self, agent: usize) {
        let host = &mut self.agents[agent];
        let Some(due) = host.spool.as_ref().and_then(Spool::poll_timeout) else { return };
        let at = (due.saturating_sub(1_000) + host.booted_at).max(self.calendar.now_ms());
        if host.timer_at.is_none_or(|planned| at < planned) {
            host.timer_at = Some(at);
            self.calendar.plan(at, Event::AgentTimer(agent, host.life));
        }
    }

    /// Performs outputs up to the first commit, which only a sync gets past; at most so many.
    fn perform_outputs(&mut self, agent: usize, most: usize) -> Check {
        for _ in 0..most {
            match self.agents[agent].outputs.front() {
                None => return Ok(()),
                Some((_, Output::Commit(_))) => {
                    self.plan_agent_sync(agent);
                    return Ok(());
                }
                Some(_) => {}
            }
            if let Some((session, output)) = self.agents[agent].outputs.pop_front() {
                self.perform_output(agent, session, output)?;
            }
        }
        Ok(())
    }

    fn plan_agent_sync(&mut self, agent: usize) {
        let slow = self.dice.percent(3);
        let after = self.dice.between(0, if slow { 300 } else { self.weather.sync_ms });
        let host = &mut self.agents[agent];
        if !std::mem::replace(&mut host.sync_planned, true) {
            self.calendar.plan(self.calendar.now_ms() + after, Event::AgentSync(agent, host.life));
        }
    }

    /// The oldest commit is on disk.
    pub(super) fn agent_sync(&mut self, agent: usize, life: u64) -> Check {
        let host = &mut self.agents[agent];
        if life != host.life {
            return Ok(());
        }
        host.sync_planned = false;
        if matches!(host.outputs.front(), Some((_, Output::Commit(_)))) {
            let output = host.outputs.pop_front();
            self.write_records(agent, output.map(|(_, output)| output))?;
        }
        match self.agents[agent].dies_after.take() {
            None => self.perform_outputs(agent, usize::MAX),
            Some(most) => {
                self.tally.hit("agent died right after a commit");
                self.perform_outputs(agent, most)?;
                self.agent_dies(agent, 0, true)
            }
        }
    }

    fn write_records(&mut self, agent: usize, output: Option<Output<SpoolToken>>) -> Check {
        let Some(Output::Commit(records)) = output else { return Ok(()) };
        for record in records {
            match &record {
                Record::Gone { dno } => {
                    self.check_forgotten(agent, *dno)?;
                    self.agents[agent].held.remove(dno);
                }
                Record::Items { dno, items } => self.items_written(agent, *dno, items)?,
                Record::Acked { dno, next_n } => self.agents[agent].acknowledged(*dno, *next_n),
                Record::Floor { .. }
                | Record::Received { .. }
                | Record::Starting { .. }
                | Record::Running { .. }
                | Record::Done { .. } => {}
            }
            self.agents[agent].disk.push(record.write());
        }
        Ok(())
    }

    fn perform_output(&mut self, agent: usize, session: u64, output: Output<SpoolToken>) -> Check {
        let current = self.agents[agent].session == session;
        match output {
            Output::Commit(_) => Ok(()),
            Output::OfferAnswer((connection, request), answer) => {
                self.respond_manager(agent, connection, &request, answer.map(|answer| answer.write()));
                Ok(())
            }
            Output::CancelAnswer((connection, request), answer) => {
                let answer = answer.map(|state| StateAnswer { state }.write());
                self.respond_manager(agent, connection, &request, answer);
                Ok(())
            }
            Output::Spawn { offer, not_after } => self.spawn(agent, *offer, not_after),
            Output::Terminate(dno) => {
                self.signal(agent, dno, false);
                Ok(())
            }
            Output::Kill(dno) => {
                self.signal(agent, dno, true);
                Ok(())
            }
            Output::Pause(dno) => {
                self.tally.hit("program paused");
                self.pause(agent, dno, true);
                Ok(())
            }
            Output::Unpause(dno) => {
                self.pause(agent, dno, false);
                Ok(())
            }
            // what was meant for an older session has nowhere to go
            Output::Resume(..) | Output::Report(..) if !current => Ok(()),
            Output::Resume(id, page) => {
                self.ask_manager(agent, "rp.job.resume", page.write(), Told::Resume(id))
            }
            Output::Report(id, report) => {
                let host = &mut self.agents[agent];
                let options = host.options();
                host.report_leaves(id, &report, &options)?;
                self.ask_manager(agent, "rp.job.report", report.write(), Told::Report(id))
            }
            Output::Load { dno, from, bytes } => {
                self.tally.hit("items read back");
                let items = self.agents[agent].items_from(dno, from, bytes);
                self.calendar.plan(
                    self.calendar.now_ms() + 1,
                    Event::Loaded(agent, self.agents[agent].life, dno, items),
                );
                Ok(())
            }
        }
    }

    /// The process dies; the first `survive` of its unsynced commits are on disk. Its programs live on without it, or not.
    pub(super) fn agent_dies(&mut self, agent: usize, survive: usize, programs_too: bool) -> Check {
        let host = &mut self.agents[agent];
        if host.spool.take().is_none() {
            return Ok(());
        }
        host.life += 1;
        (host.sync_planned, host.timer_at, host.dies_after) = (false, None, None);
        let commits: Vec<_> = std::mem::take(&mut host.outputs)
            .into_iter()
            .map(|(_, output)| output)
            .filter(|output| matches!(output, Output::Commit(_)))
            .collect();
        if survive < commits.len() {
            self.tally.hit("agent lost unsynced records");
        }
        for commit in commits.into_iter().take(survive) {
            self.write_records(agent, Some(commit))?;
        }
        let host = &mut self.agents[agent];
        host.session += 1;
        host.under_way.clear();
        let programs = std::mem::take(&mut host.programs);
        if let Some(link) = host.link.take() {
            self.close_end(link.connection, Side::Agent);
        }
        for program in programs.into_values() {
            if programs_too {
                self.end_program(program, None);
            } else {
                self.tally.hit("program outlived its agent");
            }
        }
        let at = self.calendar.now_ms() + self.dice.between(50, 10_000);
        self.calendar.plan(at, Event::AgentStart(agent));
        Ok(())
    }
}
