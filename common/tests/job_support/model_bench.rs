//! The spool and its model beside each other: what each step tells both, and what has to be the same after it.

use std::collections::BTreeMap;

use redpoll_common::job::Dno;
use redpoll_common::job::spool::{Now, Options, Output, Record, Spool};
use redpoll_common::job::wire::RunRef;

use super::model::{Disk, Model};
use super::model_steps::Do;
use super::{OPTIONS, image};

pub(crate) struct Pair {
    spool: Spool<u32>,
    pub(super) model: Model,
    commits: Vec<Vec<Record>>,
    /// Reads that were asked for: of which run, and from which item on.
    pub(super) loads: Vec<(Dno, u64)>,
    pub(super) token: u32,
    boots: u8,
    pub(crate) tally: BTreeMap<String, u32>,
    pub(crate) trace: bool,
}

/// What nobody may see of a run, as its procedure says: not kept, nothing, or something.
fn secrets(dno: Dno) -> Option<Vec<String>> {
    [None, Some(Vec::new()), Some(vec!["kwargs.pin".to_owned()])][usize::try_from(dno.0 % 3).unwrap()].clone()
}

impl Pair {
    pub(crate) fn new(kind: u8) -> Self {
        let runs = if kind.is_multiple_of(4) { 3 } else { 12 };
        let options =
            Options { max_runs: runs, window: 400, unacked: 1_000, max_item: 300, grace_ms: 12, ..OPTIONS };
        let options =
            if kind % 3 == 1 { Options { window: 100_000, unacked: 100_000, ..options } } else { options };
        let now = Now { boot_ms: 100_000, wall_ms: 1_700_000_000_000 };
        let spool = Spool::recover(options, image(&[]), now).unwrap();
        let model = Model::recover(options, Disk::default(), now);
        let (commits, loads, tally) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { spool, model, commits, loads, token: 0, boots: 0, tally, trace: false }
    }

    pub(crate) fn step(&mut self, what: &Do) {
        self.token += 1;
        if self.trace {
            println!("{} {what:?}", self.model.now.boot_ms);
        }
        match what {
            Do::Pass(ms) => return self.pass(u64::from(*ms)),
            Do::Sleep(ms) => {
                self.model.now.boot_ms += u64::from(*ms);
                self.model.now.wall_ms += u64::from(*ms);
                return;
            }
            Do::Crash { lost, boot, left } => self.crash(usize::from(*lost), *boot, *left),
            Do::Refusals(count) => {
                for _ in 0..*count {
                    self.put(&Do::Offer { number: 255, refused: true, admin: false, limits: (0, 0, 0, 0) });
                }
            }
            _ => self.put(what),
        }
        self.settle();
    }

    fn put(&mut self, what: &Do) {
        // an input has one owner, and there are two who want it
        if let (Some(one), Some(other)) = (self.input(what), self.input(what)) {
            if let Do::Loaded(which) = what {
                self.loads.remove(usize::from(*which) % self.loads.len());
            }
            if self.trace {
                println!("    ← {one:?}");
            }
            self.spool.handle(one, self.model.now);
            self.model.hear(other);
            self.model.pace();
            self.compare();
        }
    }

    /// Everything that is due now.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.spool.handle_timeout(self.model.now);
            self.model.pass();
            self.compare();
            if self.spool.poll_timeout().is_none_or(|at| at > self.model.now.boot_ms) {
                break;
            }
        }
        let (due, now) = (self.spool.poll_timeout(), self.model.now.boot_ms);
        assert!(due.is_none_or(|due| due > now), "due at {due:?} and never done, at {now}");
        let late = self.model.due().is_some_and(|at| due.is_none_or(|due| due > at));
        assert!(!late, "due at {:?}, and the spool wakes at {due:?}", self.model.due());
        self.model.check_waits();
    }

    fn pass(&mut self, ms: u64) {
        let until = self.model.now.boot_ms + ms;
        loop {
            let next = self.spool.poll_timeout().filter(|at| *at <= until).unwrap_or(until);
            let passed = next.saturating_sub(self.model.now.boot_ms);
            self.model.now.boot_ms += passed;
            self.model.now.wall_ms += passed;
            self.settle();
            if next == until {
                return;
            }
        }
    }

    fn compare(&mut self) {
        let mut said = Vec::new();
        while let Some(mut output) = self.spool.poll_output() {
            if self.trace {
                println!("    ⇒ {output:?}");
            }
            for what in kind(&output) {
                *self.tally.entry(what).or_default() += 1;
            }
            if let Output::Commit(records) = &mut output {
                records.iter_mut().for_each(keep_secrets);
                self.commits.push(records.clone());
            }
            if let Output::Load { dno, from, .. } = &output {
                self.loads.push((*dno, *from));
            }
            self.model.see(&output);
            said.extend(word(&output));
        }
        let mut wanted = std::mem::take(&mut self.model.said);
        said.sort();
        wanted.sort();
        assert_eq!(said, wanted, "the spool said the first, the model the second");
        assert_eq!(self.spool.max_dno(), self.model.max, "the highest number");
        let open = self.model.runs.values().filter(|run| run.is_open()).count();
        let refused = self.model.runs.values().filter(|run| run.refused).count();
        assert_eq!(self.spool.counts(), (open, self.model.runs.len() - open - refused), "runs");
    }

    fn crash(&mut self, lost: usize, boot: bool, left: bool) {
        self.commits.truncate(self.commits.len() - lost.min(self.commits.len()));
        // as agents had it that wrote the two one after the other
        if let Some(last) = self.commits.last_mut().filter(|last| lost == 1 && last.len() == 2)
            && matches!(last.as_slice(), [Record::Received { .. }, Record::Starting { .. }])
        {
            last.truncate(1);
        }
        let records = self.commits.concat();
        let (disk, mut image) = (Disk::of(&records), image(&records));
        // wall clocks are set, and only another boot goes by them
        self.model.now.wall_ms += if boot { 0 } else { 700 };
        if boot {
            self.boots += 1;
            self.model.now.boot_ms = 100;
        }
        let options = Options { boot: [self.boots; 16], ..self.model.options };
        for (dno, row) in image.rows() {
            let fact = disk.fact(*dno);
            let machine = (row.run, &row.redact, &row.secret, row.starting, row.running, row.acked_n);
            let model = (fact.run, &fact.redact, &fact.secret, fact.starting, fact.running, fact.acked);
            assert_eq!(machine, model, "{dno} on disk");
            assert_eq!((row.next_n(), &row.ending), (fact.items.len() as u64, &fact.end), "{dno} on disk");
        }
        assert_eq!((image.rows().len(), image.max_dno()), (disk.facts.len(), disk.max));
        let unknown: Vec<RunRef> = image.lost().map(|(run, _)| run).collect();
        let lost: Vec<RunRef> =
            disk.facts.values().filter(|fact| fact.is_lost()).filter_map(|fact| fact.run).collect();
        assert_eq!(unknown, lost, "of which nobody knows the end");
        let words = if left { "a process of it still runs" } else { "is not known|it may have run" };
        if left {
            lost.iter().for_each(|run| image.say_left(run.dno, words.to_owned()));
        }
        self.loads.clear();
        self.spool = Spool::recover(options, image, self.model.now).unwrap();
        self.model = Model::recover(options, disk, self.model.now);
        self.compare();
        for run in lost {
            let (end, _) = self.model.disk.fact(run.dno).end.as_ref().unwrap();
            let said = &end.fault.as_ref().unwrap().message;
            assert!(words.split('|').any(|words| said.ends_with(words)), "{said}");
        }
    }
}

/// As the driver does, which knows the procedures.
fn keep_secrets(record: &mut Record) {
    let dno = record.dno();
    match record {
        Record::Received { redact, .. } => *redact = secrets(dno),
        Record::Starting { redact, .. } => *redact = secrets(dno).filter(|paths| !paths.is_empty()),
        Record::Done { redact, told: false, .. } => *redact = secrets(dno).filter(|paths| !paths.is_empty()),
        _ => {}
    }
}

fn word(output: &Output<u32>) -> Option<String> {
    Some(match output {
        Output::OfferAnswer(token, Ok(answer)) => format!("offer {token} {answer:?}"),
        Output::OfferAnswer(token, Err(fault)) => {
            format!("refuse {token} {} {:?}", fault.code, fault.retry_after_ms)
        }
        Output::CancelAnswer(token, said) => format!("cancel {token} {}", said.as_ref().unwrap().as_str()),
        Output::Spawn { offer, not_after } => format!("spawn {} {not_after:?}", offer.run.dno),
        Output::Terminate(dno) => format!("term {dno}"),
        Output::Kill(dno) => format!("kill {dno}"),
        Output::Pause(dno) => format!("pause {dno}"),
        Output::Unpause(dno) => format!("unpause {dno}"),
        Output::Commit(_) | Output::Resume(..) | Output::Report(..) | Output::Load { .. } => return None,
    })
}

/// What the tally counts.
fn kind(output: &Output<u32>) -> Vec<String> {
    let name = match output {
        Output::Commit(records) => {
            let ends = records.iter().filter_map(|record| match record {
                Record::Done { ending, .. } => Some(ending.outcome.to_string()),
                _ => None,
            });
            return ends.collect();
        }
        Output::OfferAnswer(_, Ok(answer)) => return vec![format!("{answer:?}")],
        Output::OfferAnswer(_, Err(fault)) => return vec![format!("refused: {}", fault.code)],
        Output::CancelAnswer(_, said) => return vec![format!("cancel: {}", said.as_ref().unwrap().as_str())],
        Output::Spawn { .. } => "spawn",
        Output::Terminate(_) => "terminate",
        Output::Kill(_) => "kill",
        Output::Pause(_) => "pause",
        Output::Unpause(_) => "unpause",
        Output::Resume(..) => "page",
        Output::Report(..) => "report",
        Output::Load { .. } => "load",
    };
    vec![name.to_owned()]
}
