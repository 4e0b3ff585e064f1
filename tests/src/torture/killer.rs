//! The killer: kills at random moments and has daemons die at named places, and brings them back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_net::failpoint;
use tokio::time::{Instant, sleep};

use super::dice::Dice;
use super::ledger::Ledger;
use super::site::{Arm, Site, Who};

/// How long a world may do nothing before the next kill comes anyway.
const LULL: Duration = Duration::from_millis(400);
/// How often to look whether programs began or ended.
const LOOK: Duration = Duration::from_millis(1);
/// How long a daemon may take to come to the place where it has to die. It is passed all the time.
const REACH: Duration = Duration::from_secs(6);

/// How many kills of which kind there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kills {
    /// Of the manager, at any moment.
    pub manager: u64,
    /// Of an agent, at any moment.
    pub agent: u64,
    /// At each of the named places.
    pub points: BTreeMap<&'static str, u64>,
    /// Daemons that did not come to their place in time, and were killed elsewhere.
    pub in_vain: u64,
}

impl Kills {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.manager + self.agent + self.points.values().sum::<u64>()
    }

    /// Adds those of another world.
    pub fn add(&mut self, other: &Self) {
        self.manager += other.manager;
        self.agent += other.agent;
        self.in_vain += other.in_vain;
        for (point, count) in &other.points {
            *self.points.entry(point).or_default() += count;
        }
    }
}

/// Kills the daemons of one world.
#[derive(Debug)]
pub struct Killer {
    dice: Dice,
    ledger: Arc<Ledger>,
    /// What it did so far.
    pub kills: Kills,
}

impl Killer {
    /// A killer who acts as the dice say.
    pub fn new(dice: Dice, ledger: Arc<Ledger>) -> Self {
        Self { dice, ledger, kills: Kills::default() }
    }

    /// Kills until there were so many.
    pub async fn run(&mut self, site: &mut Site, wanted: u64) {
        while self.kills.total() < wanted {
            self.moment(site).await;
            let agent = self.an_agent(site);
            match self.dice.between(0, 9) {
                0..=2 => self.kill_and_revive(site, &[Who::Manager]).await,
                3 => self.kill_and_revive(site, &[Who::Manager, agent]).await,
                4 => self.kill_and_revive(site, &[agent, Who::Manager]).await,
                _ => self.kill_and_revive(site, &[agent]).await,
            }
        }
    }

    /// Something is on its way when a client asks or is told, and when a program begins or ends: a kill shortly after that
    /// comes between what belongs together.
    async fn moment(&mut self, site: &Site) {
        let (times, pause) = (self.dice.between(0, 6), self.dice.between(0, 12));
        if self.dice.percent(40) {
            self.ledger.after(times, LULL).await;
        } else {
            let (oracle, deadline) = (site.oracle(), Instant::now() + LULL);
            let length = || std::fs::metadata(&oracle).map_or(0, |file| file.len());
            let (mut seen, mut grown) = (length(), 0);
            while grown < times && Instant::now() < deadline {
                sleep(LOOK).await;
                let now = length();
                grown += u32::from(now > seen);
                seen = now;
            }
        }
        // the one wait for time here: the moment is what is drawn
        sleep(Duration::from_millis(pause.into())).await;
    }

    fn an_agent(&mut self, site: &Site) -> Who {
        let places: Vec<usize> = (0..site.agents.len()).collect();
        Who::Agent(*self.dice.pick(&places))
    }

    /// Kills them, all before the first comes back; the last one comes back to die at a named place, most of the time.
    async fn kill_and_revive(&mut self, site: &mut Site, victims: &[Who]) {
        for victim in victims {
            site.kill(*victim).await;
            match victim {
                Who::Manager => self.kills.manager += 1,
                Who::Agent(_) => self.kills.agent += 1,
            }
        }
        let Some((last, others)) = victims.split_last() else { return };
        for other in others {
            site.revive(*other, None);
        }
        let mut again = 80;
        while self.dice.percent(again) {
            let arm = self.arm(*last);
            site.revive(*last, Some(arm));
            if !site.died(*last, arm.0, REACH).await {
                self.kills.in_vain += 1;
                site.kill(*last).await;
                match last {
                    Who::Manager => self.kills.manager += 1,
                    Who::Agent(_) => self.kills.agent += 1,
                }
                break;
            }
            *self.kills.points.entry(arm.0).or_default() += 1;
            self.ledger.beat();
            again = 40;
        }
        site.revive(*last, None);
    }

    /// The place of this daemon that had the fewest deaths, or, now and then, any other of its places.
    fn arm(&mut self, who: Who) -> Arm {
        let letter = match who {
            Who::Manager => 'M',
            Who::Agent(_) => 'A',
        };
        let names: Vec<&'static str> =
            failpoint::NAMES.into_iter().filter(|name| name.starts_with(letter)).collect();
        let rarest = names.iter().min_by_key(|name| self.kills.points.get(*name).copied().unwrap_or(0));
        let any = self.dice.pick(&names);
        let name = if self.dice.percent(70) { rarest.unwrap_or(any) } else { any };
        (name, self.dice.between(1, 5))
    }
}
