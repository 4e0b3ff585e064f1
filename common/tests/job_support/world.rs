//! A small world around one spool: a disk that loses what was not synced, a manager that never forgets, processes that an
//! outside oracle counts, and a session that breaks at any point. Everything follows from the list of steps.

mod manager;

use std::collections::{BTreeMap, VecDeque};

use redpoll_common::job::spool::{Exit, Input, NotSpawned, Now, Options, Output, Record, Spool};
use redpoll_common::job::wire::{
    Offer, OfferAnswer, Report, ReportAnswer, Resume, ResumeAnswer, RunRef, SpoolState,
};
use redpoll_common::job::{Dno, Ending, Item, ItemKind, JobId, Outcome};
use redpoll_common::wire::{Fault, Raw};

use super::{OPTIONS, fault, image};

/// What may happen next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Submit {
        refused: bool,
    },
    Cancel(usize),
    Connect,
    Cut,
    ToAgent,
    ToManager,
    /// The oldest unsynced commit is on disk.
    Sync,
    /// The agent dies; so many of its unsynced commits happen to be on disk.
    Crash {
        survive: usize,
    },
    Spawned(usize),
    NotSpawned(usize),
    Item(usize),
    Exit(usize, bool),
    Pass(u64),
    Full(bool),
}

type Token = (JobId, Dno);

enum Down {
    Offer(Box<Offer>),
    Cancel(RunRef),
    Resumed(u64, ResumeAnswer),
    Reported(u64, ReportAnswer),
}

enum Up {
    Offered(Token, Result<OfferAnswer, Fault>),
    Cancelled(Token, SpoolState),
    Resume(u64, Resume),
    Report(u64, Report),
}

/// A job as the manager has it.
#[derive(Debug, Default)]
struct Job {
    dno: u64,
    refused: bool,
    cancelled: bool,
    items: Vec<Item>,
    ending: Option<Ending>,
}

/// What the oracle saw of an attempt.
#[derive(Debug, Default, Clone)]
struct Seen {
    spawns: usize,
    written: u64,
    exit: Option<bool>,
}

struct Process {
    dno: Dno,
    job: JobId,
    started: bool,
}

pub(crate) struct World {
    options: Options,
    now: Now,
    disk: Vec<Record>,
    spool: Spool<Token>,
    /// What the driver has not performed, and how many of its commits were written without being synced.
    outputs: VecDeque<Output<Token>>,
    processes: Vec<Process>,
    oracle: BTreeMap<JobId, Seen>,
    session: bool,
    live: bool,
    down: VecDeque<Down>,
    up: VecDeque<Up>,
    jobs: BTreeMap<JobId, Job>,
    last_dno: u64,
    listed: Vec<JobId>,
}

impl World {
    pub(crate) fn new() -> Self {
        let options = Options { window: 100, unacked: 400, ..OPTIONS };
        let now = Now { boot_ms: 1_000, wall_ms: 1_700_000_000_000 };
        Self {
            options,
            now,
            disk: Vec::new(),
            spool: Spool::recover(options, image(&[]), now).unwrap(),
            outputs: VecDeque::new(),
            processes: Vec::new(),
            oracle: BTreeMap::new(),
            session: false,
            live: false,
            down: VecDeque::new(),
            up: VecDeque::new(),
            jobs: BTreeMap::new(),
            last_dno: 0,
            listed: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Submit { refused } => {
                let job = JobId::from_bytes(u128::try_from(self.jobs.len() + 1).unwrap().to_be_bytes());
                self.jobs.insert(job, Job { refused, ..Job::default() });
                self.dispatch(job);
            }
            Step::Cancel(which) => self.cancel(which),
            Step::Connect => self.connect(),
            Step::Cut => self.cut(),
            Step::ToAgent => self.deliver_down(),
            Step::ToManager => self.deliver_up(),
            Step::Sync => {
                // outputs up to the first commit were performed when they came
                self.disk.extend(self.outputs.pop_front().and_then(commit).unwrap_or_default());
                self.perform();
            }
            Step::Crash { survive } => self.crash(survive),
            Step::Spawned(which) => {
                if let Some(process) = pick(&mut self.processes, which).filter(|process| !process.started) {
                    process.started = true;
                    let dno = process.dno;
                    self.put(Input::Spawned(dno));
                }
            }
            Step::NotSpawned(which) => self.not_spawned(which),
            Step::Item(which) => self.item(which),
            Step::Exit(which, good) => self.exit(which, good),
            Step::Pass(ms) => self.pass(ms),
            Step::Full(full) => self.put(Input::Full(full)),
        }
        self.check();
    }

    fn put(&mut self, input: Input<Token>) {
        self.spool.handle(input, self.now);
        self.perform();
    }

    /// Performs outputs up to the first commit, which only [`Step::Sync`] gets past.
    fn perform(&mut self) {
        while let Some(output) = self.spool.poll_output() {
            self.outputs.push_back(output);
        }
        while !matches!(self.outputs.front(), None | Some(Output::Commit(_))) {
            let mut answer = None;
            match self.outputs.pop_front().unwrap() {
                Output::OfferAnswer(token, said) => self.send(Up::Offered(token, said)),
                Output::CancelAnswer(token, said) => self.send(Up::Cancelled(token, said.unwrap())),
                Output::Resume(id, page) => self.send(Up::Resume(id, page)),
                Output::Report(id, report) => self.send(Up::Report(id, report)),
                Output::Spawn { offer, .. } => {
                    self.oracle.entry(offer.run.job).or_default().spawns += 1;
                    self.processes.push(Process { dno: offer.run.dno, job: offer.run.job, started: false });
                }
                Output::Load { dno, from, .. } => answer = Some(Input::Loaded(dno, self.stored(dno, from))),
                Output::Kill(dno) => {
                    self.processes.retain(|process| process.dno != dno);
                    answer = Some(Input::Exited(dno, Exit::Failed(fault("killed"))));
                }
                Output::Terminate(_) | Output::Pause(_) | Output::Unpause(_) | Output::Commit(_) => {}
            }
            if let Some(input) = answer {
                self.spool.handle(input, self.now);
                while let Some(output) = self.spool.poll_output() {
                    self.outputs.push_back(output);
                }
            }
        }
    }

    fn stored(&self, dno: Dno, from: u64) -> Vec<Item> {
        let of_run = self.disk.iter().filter_map(|record| {
            if let Record::Items { dno: of, items } = record {
                (*of == dno).then(|| items.clone())
            } else {
                None
            }
        });
        let mut items: Vec<Item> = of_run.flatten().filter(|item| item.n >= from).take(3).collect();
        items.dedup_by_key(|item| item.n);
        items
    }

    fn send(&mut self, message: Up) {
        // outputs of an older session may come up late: the driver knows that they have nowhere to go
        if self.session {
            self.up.push_back(message);
        }
    }

    fn connect(&mut self) {
        if self.session {
            self.cut();
        }
        // what was meant for the older session has nowhere to go; everything else is done
        self.outputs.retain(|output| match output {
            Output::OfferAnswer(..) | Output::CancelAnswer(..) | Output::Resume(..) | Output::Report(..) => {
                false
            }
            Output::Commit(_)
            | Output::Spawn { .. }
            | Output::Terminate(_)
            | Output::Kill(_)
            | Output::Pause(_)
            | Output::Unpause(_)
            | Output::Load { .. } => true,
        });
        self.session = true;
        self.listed.clear();
        self.put(Input::Connected);
    }

    fn cut(&mut self) {
        self.session = false;
        self.live = false;
        self.up.clear();
        self.down.clear();
        self.put(Input::Disconnected);
    }

    fn crash(&mut self, survive: usize) {
        let written = self.outputs.drain(..).filter_map(commit);
        let survived: Vec<Record> = written.take(survive).flatten().collect();
        self.disk.extend(survived);
        self.processes.clear();
        (self.session, self.live) = (false, false);
        self.up.clear();
        self.down.clear();
        self.spool = Spool::recover(self.options, image(&self.disk), self.now).unwrap();
        self.perform();
    }

    fn not_spawned(&mut self, which: usize) {
        let Some(at) = index(self.processes.len(), which).filter(|at| !self.processes[*at].started) else {
            return;
        };
        let process = self.processes.remove(at);
        // nothing ran: the oracle procedure never began
        self.oracle.get_mut(&process.job).unwrap().spawns -= 1;
        let why = NotSpawned::Refused(Box::new(fault("no such file")));
        self.put(Input::NotSpawned(process.dno, why));
    }

    fn item(&mut self, which: usize) {
        let Some(process) = pick(&mut self.processes, which).filter(|process| process.started) else {
            return;
        };
        let (dno, seen) = (process.dno, self.oracle.get_mut(&process.job).unwrap());
        let data = Raw::encode(&seen.written).unwrap();
        seen.written += 1;
        self.put(Input::Item { dno, kind: ItemKind::Value, data });
    }

    fn exit(&mut self, which: usize, good: bool) {
        let Some(at) = index(self.processes.len(), which).filter(|at| self.processes[*at].started) else {
            return;
        };
        let process = self.processes.remove(at);
        self.oracle.get_mut(&process.job).unwrap().exit = Some(good);
        let exit = if good { Exit::Succeeded(Raw::text("done")) } else { Exit::Failed(fault("bad")) };
        self.put(Input::Exited(process.dno, exit));
    }

    fn pass(&mut self, ms: u64) {
        self.now.boot_ms += ms;
        self.now.wall_ms += ms;
        self.spool.handle_timeout(self.now);
        self.perform();
    }

    fn check(&self) {
        for (id, seen) in &self.oracle {
            assert!(seen.spawns <= 1, "{id} was started {} times", seen.spawns);
        }
        for (id, job) in &self.jobs {
            let seen = self.oracle.get(id).cloned().unwrap_or_default();
            for (n, item) in job.items.iter().enumerate() {
                assert_eq!(item.data, Raw::encode(&n).unwrap(), "{id} has another item {n} than was written");
            }
            assert!(u64::try_from(job.items.len()).unwrap() <= seen.written);
            let Some(ending) = &job.ending else { continue };
            match ending.outcome {
                Outcome::Succeeded => {
                    assert_eq!((seen.spawns, seen.exit), (1, Some(true)), "{id}");
                    assert_eq!(ending.items, seen.written, "{id} lost items");
                }
                Outcome::Failed => assert_eq!((seen.spawns, seen.exit), (1, Some(false)), "{id}"),
                Outcome::Rejected | Outcome::Expired => assert_eq!(ending.started, Some(false)),
                Outcome::Cancelled => assert!(job.cancelled, "{id} was never cancelled"),
                Outcome::TimedOut => assert_eq!(seen.spawns, usize::MAX, "{id} has no limits"),
                Outcome::Unknown => assert_ne!(ending.started, Some(false)),
            }
            match ending.started {
                Some(started) => assert_eq!(seen.spawns, usize::from(started), "{id}: {ending:?}"),
                None => assert_eq!(ending.outcome, Outcome::Unknown),
            }
        }
    }

    /// The faults stop: everything must come to its end.
    pub(crate) fn settle(&mut self) {
        self.step(Step::Full(false));
        self.connect();
        for round in 0..5_000 {
            for step in [Step::Sync, Step::ToManager, Step::ToAgent, Step::Spawned(round)] {
                self.step(step);
            }
            if round % 3 == 0 {
                self.step(Step::Exit(round, true));
                self.step(Step::Pass(10));
            }
            if self.jobs.values().all(|job| job.ending.is_some()) && round > 200 {
                break;
            }
        }
        for (id, job) in &self.jobs {
            assert!(job.ending.is_some(), "{id} never ended: {job:?}");
        }
        assert_eq!(self.spool.counts(), (0, 0), "the manager has it all, the spool forgets it");
    }
}

/// The records of an output, if it is a commit.
fn commit(output: Output<Token>) -> Option<Vec<Record>> {
    if let Output::Commit(records) = output { Some(records) } else { None }
}

fn index(len: usize, which: usize) -> Option<usize> {
    which.checked_rem(len)
}

fn pick(processes: &mut [Process], which: usize) -> Option<&mut Process> {
    let at = index(processes.len(), which)?;
    processes.get_mut(at)
}
