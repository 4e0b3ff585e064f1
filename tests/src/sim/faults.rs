//! What goes wrong, and how it is over again.

use redpoll_common::job::Dno;
use redpoll_common::job::spool::Input as SpoolInput;
use redpoll_manager_core::jobs::Input;

use super::invariant::Check;
use super::manager::Room;
use super::weather::{Fault, settings};
use super::world::{Event, World};

impl World {
    pub(super) fn fault_turn(&mut self) -> Check {
        if self.calm_since.is_some() {
            return Ok(());
        }
        let at = self.calendar.now_ms() + self.dice.between(1, 2 * self.weather.fault_ms);
        self.calendar.plan(at, Event::Fault);
        let Some(fault) = self.weather.fault(&mut self.dice) else { return Ok(()) };
        self.trace.note(self.calendar.now_ms(), format_args!("{fault:?}"));
        let agent = self.dice.index(self.agents.len());
        self.strike(fault, agent)
    }

    fn strike(&mut self, fault: Fault, agent: usize) -> Check {
        let now = self.calendar.now_ms();
        match fault {
            Fault::ManagerDies => {
                let survive = self.dice.index(self.manager.turns.len() + 1);
                return self.manager_dies(survive);
            }
            Fault::ManagerDiesSoon => self.manager.dies_after = Some(self.dice.index(4)),
            Fault::AgentDies => {
                let (survive, with_programs) = (self.dice.index(3), self.dice.percent(70));
                return self.agent_dies(agent, survive, with_programs);
            }
            Fault::AgentDiesSoon => self.agents[agent].dies_after = Some(self.dice.index(3)),
            Fault::MachineReboots => return self.machine_reboots(agent),
            Fault::SpoolWiped => {
                self.machine_reboots(agent)?;
                self.tally.hit("spool wiped");
                self.agents[agent].wipe(&mut self.dice);
            }
            Fault::SpoolRolledBack => {
                self.machine_reboots(agent)?;
                let seen =
                    self.manager.store.agents.get(&self.agents[agent].id).map_or(Dno(0), |row| row.seen_dno);
                if self.agents[agent].roll_back(&mut self.dice, seen) {
                    self.tally.hit("spool rolled back");
                }
            }
            Fault::Partition => {
                let long = if self.dice.percent(30) { 90_000 } else { 8_000 };
                self.agents[agent].partitioned_until = now + self.dice.between(200, long);
            }
            Fault::Cut => {
                let connection = self.agents[agent].link.as_ref().map(|link| link.connection);
                connection.into_iter().for_each(|connection| self.cut(connection));
            }
            Fault::Redial => {
                // the way of the older connection got slow: what is on it comes after the hello of the newer one
                let slow = self.dice.below(2_000);
                let host = &self.agents[agent];
                self.calendar.plan(now + slow / 2, Event::Dial(agent, host.life, host.session));
                let older = host.link.as_ref().map(|link| link.connection);
                if let Some(wire) = older.and_then(|older| self.network.get_mut(&older)) {
                    wire.slow_until = now + slow;
                }
            }
            Fault::ManagerDiskFull => {
                self.tally.hit("manager disk full");
                let room = if self.dice.percent(40) { Room::Nothing } else { Room::Reserve };
                self.calendar.plan(now + self.dice.between(500, 45_000), Event::ManagerRoom(Room::Plenty));
                return self.manager_room(room);
            }
            Fault::AgentDiskFull => {
                self.tally.hit("agent disk full");
                self.calendar.plan(now + self.dice.between(500, 15_000), Event::AgentRoom(agent));
                return self.agent_room(agent, true);
            }
            Fault::ManagerClockJumps => return self.manager_clock_jumps(),
            Fault::AgentClockJumps => {
                let (ahead, by) = (self.dice.percent(50), self.dice.between(1_000, 3_600_000));
                let wall = &mut self.agents[agent].wall;
                if ahead { wall.forward(by) } else { wall.back(by) }
            }
            Fault::SettingsReloaded => {
                let mut next = settings(&mut self.dice);
                // runs that are open stay open, however low the limit is now
                next.open_runs = next.open_runs.max(self.weather.settings.open_runs);
                self.callbacks_most = self.callbacks_most.max(next.callbacks_at_once);
                self.weather.settings = next;
                return self.tell_manager(Input::Settings(next));
            }
            Fault::CertificateEnds => {
                self.tally.hit("certificate ended");
                self.agents[agent].shut_out_until = now + self.dice.between(500, 20_000);
                self.shut_out(agent);
            }
        }
        Ok(())
    }

    fn machine_reboots(&mut self, agent: usize) -> Check {
        let survive = self.dice.index(3);
        self.agent_dies(agent, survive, true)?;
        // also programs of earlier lives of the agent
        let here = self.agents[agent].id.clone();
        self.end_programs_of(&here);
        let now = self.calendar.now_ms();
        self.agents[agent].reboot(&mut self.dice, now);
        Ok(())
    }

    fn manager_clock_jumps(&mut self) -> Check {
        // also by more than anything is kept for
        let far = if self.dice.percent(20) { 40 * 86_400_000 } else { 60_000 };
        // by little too: then it is no leap, until it adds up
        let by = if self.dice.percent(20) { self.dice.between(1, 499) } else { self.dice.between(500, far) };
        if self.dice.percent(50) {
            self.manager.wall.forward(by);
        } else {
            self.manager.wall.back(by);
        }
        self.manager_looks()
    }

    pub(super) fn agent_room(&mut self, agent: usize, full: bool) -> Check {
        self.agents[agent].full = full;
        self.tell_agent(agent, SpoolInput::Full(full))
    }

    /// The faults stop: disks have room, networks are whole, and everybody comes back.
    pub(super) fn calm(&mut self) -> Check {
        let now = self.calendar.now_ms();
        self.calm_since = Some(now);
        self.progress_at = now;
        self.weather.calm_down();
        self.manager.dies_after = None;
        self.end_orphans();
        self.manager_room(Room::Plenty)?;
        for agent in 0..self.agents.len() {
            self.agents[agent].partitioned_until = now;
            self.agents[agent].shut_out_until = now;
            self.agents[agent].dies_after = None;
            self.agent_room(agent, false)?;
        }
        self.calendar.plan(now, Event::Finish);
        Ok(())
    }

    pub(super) fn finish_turn(&mut self) -> Check {
        self.calendar.plan(self.calendar.now_ms() + 3_000, Event::Finish);
        self.check_liveness()?;
        self.end_given_up();
        if self.manager.jobs.is_some() { self.operators_finish() } else { Ok(()) }
    }
}
