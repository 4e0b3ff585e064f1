//! A spool with everything around it, for tests: short names for what goes in, short words for what comes out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod model;
pub(crate) mod model_bench;
pub(crate) mod model_steps;
pub(crate) mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use redpoll_common::job::spool::{Exit, Image, Input, NotSpawned, Now, Options, Output, Record, Spool};
use redpoll_common::job::wire::{
    Ack, Act, Cancel, Offer, OfferAnswer, ReportAnswer, ResumeAct, ResumeAnswer, RunRef, RunReport,
};
use redpoll_common::job::{Attempt, Dno, Item, ItemKind, JobId, Limits};
use redpoll_common::wire::flight::Progress;
use redpoll_common::wire::{Fault, FaultCode, Raw};

pub(crate) const OPTIONS: Options = Options {
    spool: [1; 16],
    boot: [2; 16],
    max_runs: 100,
    admin_reserve: 4,
    window: 10_000,
    unacked: 100_000,
    max_item: 100_000,
    grace_ms: 500,
};

/// The run with a dispatch number: the job has the same number.
pub(crate) fn run(dno: u64) -> RunRef {
    RunRef { job: JobId::from_bytes(u128::from(dno).to_be_bytes()), attempt: Attempt(1), dno: Dno(dno) }
}

pub(crate) fn limits() -> Limits {
    let ms = |ms| Some(Duration::from_millis(ms));
    Limits { start_within: ms(1_000), run_timeout: ms(10_000), idle_timeout: ms(3_000), ..Limits::default() }
}

pub(crate) fn offer(run: RunRef, limits: Limits) -> Box<Offer> {
    Box::new(Offer {
        run,
        procedure: "sys.echo".into(),
        args: Raw::empty_array(),
        kwargs: Raw::empty_map(),
        limits,
        info: Raw::nil(),
        operator: "alice".into(),
        roles: None,
    })
}

pub(crate) fn fault(text: &str) -> Fault {
    Fault::new(FaultCode::Failed, text)
}

/// The names of all inputs: one that is missing here does not compile, and one that the table does not have fails its test.
macro_rules! inputs {
    ($($name:ident),* $(,)?) => {
        pub(crate) const INPUTS: &[&str] = &[$(stringify!($name)),*];

        fn name<T>(input: &Input<T>) -> &'static str {
            match input {
                $(Input::$name { .. } => stringify!($name),)*
            }
        }
    };
}

inputs!(
    Offer,
    Cancel,
    Spawned,
    NotSpawned,
    Item,
    Progress,
    Exited,
    Connected,
    Disconnected,
    Resumed,
    Reported,
    Loaded,
    Full,
    Draining,
);

/// A spool, a clock, and a disk that is as fast as thought.
pub(crate) struct Bench {
    pub(crate) spool: Spool<&'static str>,
    pub(crate) now: Now,
    pub(crate) disk: Vec<Record>,
    /// The number of the last page or report.
    pub(crate) last_id: u64,
    /// The names of the inputs that it was told.
    pub(crate) heard: BTreeSet<&'static str>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(OPTIONS, Vec::new())
    }

    pub(crate) fn with(options: Options, disk: Vec<Record>) -> Self {
        let now = Now { boot_ms: 100_000, wall_ms: 1_700_000_000_000 };
        let spool = Spool::recover(options, image(&disk), now).unwrap();
        Self { spool, now, disk, last_id: 0, heard: BTreeSet::new() }
    }

    /// The agent dies and starts again.
    pub(crate) fn restarted(mut self) -> Self {
        self.spool = Spool::recover(OPTIONS, image(&self.disk), self.now).unwrap();
        self
    }

    pub(crate) fn put(&mut self, input: Input<&'static str>) -> String {
        self.heard.insert(name(&input));
        self.spool.handle(input, self.now);
        self.words()
    }

    /// All items of a run that are on disk are read back.
    pub(crate) fn load(&mut self, dno: u64) -> String {
        let items = self.disk.iter().filter_map(|record| match record {
            Record::Items { dno: of, items } if of.0 == dno => Some(items.clone()),
            _ => None,
        });
        let items = items.flatten().collect();
        self.put(Input::Loaded(Dno(dno), items))
    }

    /// Lets time pass, with every timeout on its way.
    pub(crate) fn pass(&mut self, ms: u64) -> String {
        let until = self.now.boot_ms + ms;
        let mut words = Vec::new();
        while let Some(at) = self.spool.poll_timeout().filter(|at| *at <= until) {
            self.now.boot_ms = self.now.boot_ms.max(at);
            self.spool.handle_timeout(self.now);
            words.push(self.words());
        }
        self.now.boot_ms = until;
        words.join(" ").trim().to_owned()
    }

    /// A session in which the manager lets everything go on.
    pub(crate) fn connect(&mut self) -> String {
        let page = self.put(Input::Connected);
        format!("{page} | {}", self.answer(&[], 0))
    }

    /// The manager's answer to the last page.
    pub(crate) fn answer(&mut self, acts: &[(RunRef, Act)], purge: u64) -> String {
        let act = |(run, act): &(RunRef, Act)| ResumeAct { job: run.job, attempt: run.attempt, act: *act };
        let jobs = acts.iter().map(act).collect();
        self.put(Input::Resumed(self.last_id, Ok(ResumeAnswer { jobs, purge_below_dno: Dno(purge) })))
    }

    /// The manager's answer to the last report.
    pub(crate) fn ack(&mut self, run: RunRef, next_n: u64, done: bool, stop: bool) -> String {
        let ack = Ack { job: run.job, attempt: run.attempt, next_n, done, stop };
        self.put(Input::Reported(self.last_id, Ok(ReportAnswer { acks: vec![ack] })))
    }

    pub(crate) fn offer(&mut self, dno: u64) -> String {
        self.put(Input::Offer { token: "o", offer: offer(run(dno), limits()), admin: false, verdict: Ok(()) })
    }

    pub(crate) fn refuse(&mut self, dno: u64) -> String {
        let verdict = Err(fault("no"));
        self.put(Input::Offer { token: "o", offer: offer(run(dno), limits()), admin: false, verdict })
    }

    pub(crate) fn cancel(&mut self, dno: u64) -> String {
        self.put(Input::Cancel { token: "c", cancel: Cancel { run: run(dno), grace_ms: Some(100) } })
    }

    pub(crate) fn item(&mut self, dno: u64, text: &str) -> String {
        self.put(Input::Item { dno: Dno(dno), kind: ItemKind::Value, data: Raw::text(text) })
    }

    pub(crate) fn progress(&mut self, dno: u64) -> String {
        let progress = Progress { completed: 1, total: None, details: Raw::nil() };
        self.put(Input::Progress(Dno(dno), progress))
    }

    pub(crate) fn succeed(&mut self, dno: u64) -> String {
        self.put(Input::Exited(Dno(dno), Exit::Succeeded(Raw::text("r"))))
    }

    pub(crate) fn not_spawned(&mut self, dno: u64) -> String {
        self.put(Input::NotSpawned(Dno(dno), NotSpawned::Refused(Box::new(fault("no such file")))))
    }

    /// Performs what there is to do, and says it.
    pub(crate) fn words(&mut self) -> String {
        let mut words = Vec::new();
        while let Some(output) = self.spool.poll_output() {
            match output {
                Output::Commit(records) => {
                    let said: Vec<String> = records.iter().map(record_words).collect();
                    words.push(format!("commit[{}]", said.join(", ")));
                    self.disk.extend(records);
                }
                Output::OfferAnswer(_, Ok(OfferAnswer::Accepted)) => words.push("accept".into()),
                Output::OfferAnswer(_, Ok(OfferAnswer::Known(state))) => {
                    words.push(format!("known({})", state.as_str()));
                }
                Output::OfferAnswer(_, Err(fault)) => words.push(format!("refuse({})", fault.code)),
                Output::CancelAnswer(_, Ok(state)) => words.push(format!("cancel({})", state.as_str())),
                Output::CancelAnswer(_, Err(fault)) => words.push(format!("cancel({})", fault.code)),
                Output::Spawn { offer, .. } => words.push(format!("spawn {}", offer.run.dno)),
                Output::Terminate(dno) => words.push(format!("term {dno}")),
                Output::Kill(dno) => words.push(format!("kill {dno}")),
                Output::Pause(dno) => words.push(format!("pause {dno}")),
                Output::Unpause(dno) => words.push(format!("unpause {dno}")),
                Output::Resume(id, page) => {
                    self.last_id = id;
                    let row = |row: &redpoll_common::job::wire::ResumeRow| {
                        format!("{} {} {}/{}", row.run.dno, row.state.as_str(), row.acked_n, row.next_n)
                    };
                    let rows: Vec<String> = page.jobs.iter().map(row).collect();
                    let more = if page.last { "" } else { ", …" };
                    words.push(format!("resume(max {}: {}{more})", page.max_dno, rows.join(", ")));
                }
                Output::Report(id, report) => {
                    self.last_id = id;
                    let said: Vec<String> = report.reports.iter().map(report_words).collect();
                    words.push(format!("report[{}]", said.join(", ")));
                }
                Output::Load { dno, from, .. } => words.push(format!("load {dno} from {from}")),
            }
        }
        words.join(" ")
    }
}

pub(crate) fn image(disk: &[Record]) -> Image {
    let mut image = Image::default();
    for record in disk {
        image.add(Record::read(record.write()).unwrap()).unwrap();
    }
    image
}

fn record_words(record: &Record) -> String {
    let dno = record.dno();
    match record {
        Record::Floor { .. } => format!("floor {dno}"),
        Record::Received { .. } => format!("received {dno}"),
        Record::Starting { .. } => format!("starting {dno}"),
        Record::Running { .. } => format!("running {dno}"),
        Record::Items { items, .. } => {
            format!("items {dno} {}..{}", items[0].n, items[items.len() - 1].n + 1)
        }
        Record::Acked { next_n, .. } => format!("acked {dno} {next_n}"),
        Record::Done { ending, told, .. } => {
            let told = if *told { " told" } else { "" };
            format!("done {dno} {}{told}", ending_words(ending))
        }
        Record::Gone { .. } => format!("gone {dno}"),
    }
}

fn ending_words(ending: &redpoll_common::job::Ending) -> String {
    let started =
        ending.started.map_or("maybe started", |started| if started { "started" } else { "not started" });
    format!("{} {started}", ending.outcome)
}

fn report_words(report: &RunReport) -> String {
    let mut words = vec![report.run.dno.to_string()];
    words.extend(report.started_ms_ago.map(|ms| format!("started {ms} ms ago")));
    if let (Some(first), Some(last)) = (report.items.first(), report.items.last()) {
        words.push(format!("items {}..{}", first.n, last.n + 1));
    }
    words.extend(report.progress.as_ref().map(|progress| format!("progress {}", progress.completed)));
    words.extend(report.done.as_ref().map(ending_words));
    words.join(" ")
}

/// A running run 5 with these limits, in a session.
pub(crate) fn running(limits: Limits, options: Options) -> Bench {
    let mut bench = Bench::with(options, Vec::new());
    bench.connect();
    bench.put(Input::Offer { token: "o", offer: offer(run(5), limits), admin: false, verdict: Ok(()) });
    bench.put(Input::Spawned(Dno(5)));
    bench.pass(5);
    bench.ack(run(5), 0, false, false);
    bench
}

/// The items of the runs on its disk.
pub(crate) fn kept(bench: &Bench) -> Vec<Item> {
    let items = bench.disk.iter().filter_map(|record| {
        if let Record::Items { items, .. } = record { Some(items.clone()) } else { None }
    });
    items.flatten().collect()
}
