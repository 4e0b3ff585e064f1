//! The steps of the model test, and what each is for the spool: the same input each time that it is asked for.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use redpoll_common::job::spool::{Exit, Input, NotSpawned};
use redpoll_common::job::wire::{Ack, Act, Cancel, ReportAnswer, ResumeAct, ResumeAnswer, RunRef};
use redpoll_common::job::{Attempt, Dno, Item, ItemKind, Limits, Overflow};
use redpoll_common::wire::Raw;
use redpoll_common::wire::flight::Progress;

use super::model::{At, Part, Run, Session, cost};
use super::model_bench::Pair;
use super::{fault, offer, run};

/// What happens next. Numbers choose among what is there.
#[derive(Debug, Clone)]
pub(crate) enum Do {
    Offer {
        number: u8,
        refused: bool,
        admin: bool,
        limits: (u8, u8, u8, u8),
    },
    /// Offers of which none is taken.
    Refusals(u16),
    Cancel {
        which: u8,
        grace: Option<u8>,
    },
    Spawned(u8),
    NotSpawned {
        which: u8,
        late: bool,
    },
    Item {
        which: u8,
        kind: u8,
        len: u16,
    },
    Progress(u8),
    Exit {
        which: u8,
        how: u8,
    },
    Connect,
    Disconnect,
    Page {
        acts: Vec<u8>,
        purge: u8,
    },
    PageRefused(Option<u16>),
    Ack {
        which: u8,
        how: Vec<u8>,
    },
    ReportRefused {
        which: u8,
        wait: Option<u16>,
    },
    Loaded(u8),
    Full(bool),
    Drain,
    /// The agent dies, and so many of its newest commits with it; perhaps the machine too.
    Crash {
        lost: u8,
        boot: bool,
        left: bool,
    },
    /// Time, with every timeout on its way.
    Pass(u16),
    /// Time in which the machine is asleep.
    Sleep(u16),
}

pub(crate) fn steps() -> impl Strategy<Value = Do> {
    let byte = any::<u8>;
    let wait = || prop::option::of(0..5_000_u16);
    prop_oneof![
        12 => (byte(), prop::bool::weighted(0.1), (byte(), byte(), byte(), byte()))
            .prop_map(|(number, refused, limits)| Do::Offer { number, refused, admin: limits.3 % 3 == 1, limits }),
        4 => (byte(), prop::option::of(byte())).prop_map(|(which, grace)| Do::Cancel { which, grace }),
        12 => byte().prop_map(Do::Spawned),
        2 => (byte(), any::<bool>()).prop_map(|(which, late)| Do::NotSpawned { which, late }),
        30 => (byte(), byte(), prop_oneof![12 => 0..150_u16, 1 => 0..400_u16])
            .prop_map(|(which, kind, len)| Do::Item { which, kind, len }),
        3 => byte().prop_map(Do::Progress),
        8 => (byte(), byte()).prop_map(|(which, how)| Do::Exit { which, how }),
        4 => Just(Do::Connect),
        2 => Just(Do::Disconnect),
        14 => (vec(byte(), 4), byte()).prop_map(|(acts, purge)| Do::Page { acts, purge }),
        2 => wait().prop_map(Do::PageRefused),
        26 => (byte(), vec(byte(), 4)).prop_map(|(which, how)| Do::Ack { which, how }),
        3 => (byte(), wait()).prop_map(|(which, wait)| Do::ReportRefused { which, wait }),
        10 => byte().prop_map(Do::Loaded),
        3 => prop::bool::weighted(0.3).prop_map(Do::Full),
        1 => prop::bool::weighted(0.1).prop_map(|drain| if drain { Do::Drain } else { Do::Full(false) }),
        2 => (0..4_u8, any::<bool>(), any::<bool>()).prop_map(|(lost, boot, left)| Do::Crash { lost, boot, left }),
        20 => prop_oneof![6 => 0..8_u16, 2 => 0..1_500_u16, 1 => 0..6_000_u16].prop_map(Do::Pass),
        1 => (0..3_000_u16).prop_map(Do::Sleep),
        1 => (0..4_000_u16).prop_map(|n| if n < 150 { Do::Refusals(600) } else { Do::Pass(5) }),
    ]
}

impl Pair {
    fn pick(&self, which: u8, fits: impl Fn(&Run) -> bool) -> Option<Dno> {
        let all: Vec<Dno> = self.model.runs.values().filter(|run| fits(run)).map(|run| run.run.dno).collect();
        all.get(usize::from(which).checked_rem(all.len())?).copied()
    }

    /// What a step tells, if it tells anything now.
    pub(super) fn input(&self, what: &Do) -> Option<Input<u32>> {
        let token = self.token;
        Some(match what {
            Do::Offer { number, refused, admin, limits } => {
                let verdict = if *refused { Err(fault("no")) } else { Ok(()) };
                Input::Offer {
                    token,
                    offer: offer(self.number(*number), quotas(*limits)),
                    admin: *admin,
                    verdict,
                }
            }
            Do::Cancel { which, grace } => {
                // mostly of a run that is here; a new number is of a run that is not
                let some = self.pick(*which, |_| true).and_then(|dno| self.model.runs.get(&dno));
                let asked =
                    some.filter(|_| which % 4 > 0).map_or_else(|| self.number(*which), |known| known.run);
                let run = if asked.dno > self.model.max { run(asked.dno.0) } else { asked };
                Input::Cancel { token, cancel: Cancel { run, grace_ms: grace.map(u64::from) } }
            }
            Do::Spawned(which) => Input::Spawned(self.pick(*which, |run| run.at == At::Starting)?),
            Do::NotSpawned { which, late } => {
                let why = if *late {
                    NotSpawned::Late
                } else {
                    NotSpawned::Refused(Box::new(fault("no such file")))
                };
                Input::NotSpawned(self.pick(*which, |run| run.at == At::Starting)?, why)
            }
            Do::Item { which, kind, len } => {
                let dno = self.pick(*which, |run| run.at == At::Running)?;
                let kind = [ItemKind::Value, ItemKind::Stdout, ItemKind::Stderr][usize::from(*kind) % 3];
                Input::Item { dno, kind, data: Raw::text(&"x".repeat(usize::from(*len))) }
            }
            Do::Progress(which) => {
                let progress = Progress { completed: u64::from(token), total: None, details: Raw::nil() };
                Input::Progress(self.pick(*which, |run| run.is_live())?, progress)
            }
            Do::Exit { which, how } => {
                let exit = match how % 5 {
                    0 => Exit::Failed(fault("it failed")),
                    4 => Exit::TimedOut(fault("it took too long")),
                    1 => Exit::Succeeded(Raw::text(&"r".repeat(usize::from(*how) * 2))),
                    _ => Exit::Succeeded(Raw::text("r")),
                };
                Input::Exited(self.pick(*which, |run| run.at == At::Running)?, exit)
            }
            Do::Connect => Input::Connected,
            Do::Disconnect => Input::Disconnected,
            Do::Page { acts, purge } => self.page_answer(acts, *purge)?,
            Do::PageRefused(wait) => {
                let Session::Telling { id: Some(id), .. } = &self.model.session else { return None };
                Input::Resumed(*id, Err(wait.map(u64::from)))
            }
            Do::Ack { which, how } => {
                let (id, parts) = self.report(*which)?;
                let acks = parts.iter().zip(how.iter().cycle()).filter_map(|(part, dice)| ack(part, *dice));
                Input::Reported(id, Ok(ReportAnswer { acks: acks.collect() }))
            }
            Do::ReportRefused { which, wait } => {
                Input::Reported(self.report(*which)?.0, Err(wait.map(u64::from)))
            }
            Do::Loaded(which) => self.loaded(*which)?,
            Do::Full(full) => Input::Full(*full),
            Do::Drain => Input::Draining,
            Do::Refusals(_) | Do::Crash { .. } | Do::Pass(_) | Do::Sleep(_) => return None,
        })
    }

    fn page_answer(&self, acts: &[u8], purge: u8) -> Option<Input<u32>> {
        let Session::Telling { id: Some(id), listed, .. } = &self.model.session else { return None };
        let act = |(run, dice): (&RunRef, &u8)| {
            let n = self.model.runs.get(&run.dno).map_or(0, |run| run.items.len() as u64);
            let act = match dice % 16 {
                0 => return None,
                1 => Act::Kill { grace_ms: (dice / 16 > 7).then_some(u64::from(dice / 16)) },
                2 => Act::Drop,
                3..=6 => Act::SendFrom(u64::from(dice / 16) % (n + 2)),
                7..=9 => Act::SendFrom(n),
                _ => Act::Continue,
            };
            Some(ResumeAct { job: run.job, attempt: run.attempt, act })
        };
        let jobs = listed.iter().zip(acts.iter().cycle()).filter_map(act).collect();
        let purge_below_dno = Dno((self.model.max.0 + 1).saturating_sub(u64::from(purge) / 16 % 8));
        Some(Input::Resumed(*id, Ok(ResumeAnswer { jobs, purge_below_dno })))
    }

    /// What the disk has of a run from an item on, about as much as was asked for.
    fn loaded(&self, which: u8) -> Option<Input<u32>> {
        let (dno, from) = *self.loads.get(usize::from(which).checked_rem(self.loads.len())?)?;
        let mut room = self.model.options.window;
        let mut all = self.model.disk.fact(dno).items.iter().skip(usize::try_from(from).unwrap()).cloned();
        let mut items: Vec<Item> = all.next().into_iter().collect();
        items.extend(all.take_while(|item| {
            let fits = cost(item) <= room;
            room = room.saturating_sub(cost(item));
            fits
        }));
        Some(Input::Loaded(dno, items))
    }

    /// A report that waits for its answer, or one of before.
    fn report(&self, which: u8) -> Option<(u64, Vec<Part>)> {
        if which < 5 {
            return Some((u64::from(which) * self.model.last_id / 8, Vec::new()));
        }
        let place = usize::from(which).checked_rem(self.model.reports.len())?;
        self.model.reports.iter().nth(place).map(|(id, parts)| (*id, parts.clone()))
    }

    /// Mostly a new number; or one that was seen, another attempt under it, or an attempt that is here under another one.
    fn number(&self, dice: u8) -> RunRef {
        let max = self.model.max.0;
        let old = run(max.saturating_sub(u64::from(dice) / 8 % 4).max(1));
        let known = self.model.runs.get(&old.dno);
        let old = known.map_or(old, |known| known.run);
        let next = Attempt(1 + u16::try_from(self.token % 1_000).unwrap());
        match dice {
            0..=31 => old,
            32..=39 => RunRef { attempt: next, ..old },
            40..=55 if known.is_none_or(|known| known.offer.is_some()) => RunRef { dno: Dno(max + 1), ..old },
            40..=63 => RunRef { dno: Dno(max + 1), attempt: next, ..old },
            64..=95 => run(max + 2),
            96.. => run(max + 1),
        }
    }
}

fn quotas((start, run, grace, output): (u8, u8, u8, u8)) -> Limits {
    let some = |dice: u8, of: u64| (dice < 96).then(|| Duration::from_millis(u64::from(dice) * of));
    Limits {
        start_within: if start < 4 { Some(Duration::ZERO) } else { some(start, 30) },
        run_timeout: some(run, 60),
        idle_timeout: some(run.rotate_left(3), 30),
        grace: some(grace, 5),
        output: (output < 200).then(|| 100 + u64::from(output) * 4),
        overflow: [Overflow::Block, Overflow::Truncate, Overflow::Kill][usize::from(output) % 3],
    }
}

fn ack(part: &Part, dice: u8) -> Option<Ack> {
    let (job, attempt) = (part.run.job, part.run.attempt);
    let (next_n, done, stop) = match dice % 32 {
        0 => return None,
        1 => (part.until.saturating_sub(1), part.end, false),
        2 => (part.until / 2, false, false),
        3 => (0, false, false),
        4 => (part.until, part.end, true),
        5 => (part.until, true, false),
        6 => (part.until, false, false),
        7 => (part.until + 2, part.end, false),
        _ => (part.until, part.end, false),
    };
    Some(Ack { job, attempt, next_n, done, stop })
}
