//! Spools in temporary folders, and records to put into them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod tiny;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use redpoll_agent::spool::{OpenError, OpenOptions, Opened, Spool, SpoolError};
use redpoll_common::job::spool::{Image, Record, Stamp};
use redpoll_common::job::wire::{Offer, RunRef};
use redpoll_common::job::{Attempt, Dno, Ending, Item, ItemKind, JobId, Limits, Outcome};
use redpoll_common::wire::{Fault, FaultCode, Raw};

/// Small files, so that much happens with little.
pub(crate) const SMALL: OpenOptions = OpenOptions {
    file_bytes: 2_000,
    reserve: 4_096,
    sync: std::fs::File::sync_data,
    pause: std::thread::sleep,
    allocate: redpoll_agent::spool::allocate,
};

/// A folder in memory where there is one: what a disk does with a sync is not the matter here, and thousands of them take
/// their time.
pub(crate) fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn open(folder: &Path) -> Result<Opened, OpenError> {
    open_with(folder, SMALL)
}

pub(crate) fn open_with(folder: &Path, options: OpenOptions) -> Result<Opened, OpenError> {
    Spool::open(folder, options, |error| panic!("the disk failed: {error}"))
}

pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Appends and waits until it is on disk.
pub(crate) fn append(spool: &Spool, records: Vec<Record>) -> Result<(), SpoolError> {
    wait(async { spool.append(records).await?.wait().await })
}

pub(crate) fn close(spool: Spool) {
    wait(spool.close());
}

pub(crate) fn run(dno: u64) -> RunRef {
    RunRef { job: JobId::from_bytes(u128::from(dno).to_be_bytes()), attempt: Attempt(1), dno: Dno(dno) }
}

pub(crate) fn received(dno: u64, argument: &str) -> Record {
    let offer = Offer {
        run: run(dno),
        procedure: "sys.echo".into(),
        args: Raw::encode(&[argument]).unwrap(),
        kwargs: Raw::empty_map(),
        limits: Limits::default(),
        info: Raw::nil(),
        operator: "alice".into(),
        roles: None,
    };
    Record::Received {
        offer: Box::new(offer),
        at: Stamp { boot: [1; 16], boot_ms: 5, wall_ms: 6 },
        redact: None,
    }
}

/// A record with what nobody may see.
pub(crate) fn hiding(mut record: Record, paths: Option<Vec<String>>) -> Record {
    match &mut record {
        Record::Received { redact, .. } | Record::Starting { redact, .. } | Record::Done { redact, .. } => {
            *redact = paths
        }
        Record::Floor { .. }
        | Record::Running { .. }
        | Record::Items { .. }
        | Record::Acked { .. }
        | Record::Gone { .. } => panic!("{record:?} has no place for it"),
    }
    record
}

pub(crate) fn starting(dno: u64) -> Record {
    Record::Starting { run: run(dno), redact: None }
}

pub(crate) fn items(dno: u64, numbers: std::ops::Range<u64>) -> Record {
    let item = |n| Item { n, kind: ItemKind::Stdout, data: Raw::text(&format!("line {n} of {dno}")) };
    Record::Items { dno: Dno(dno), items: numbers.map(item).collect() }
}

pub(crate) fn done(dno: u64, items: u64) -> Record {
    let ending = Ending {
        outcome: Outcome::Failed,
        started: Some(true),
        result: None,
        fault: Some(Fault::new(FaultCode::Failed, "it broke")),
        items,
        duration_ms: Some(3),
    };
    Record::Done { run: run(dno), ending: Box::new(ending), told: false, redact: None }
}

pub(crate) fn acked(dno: u64, next_n: u64) -> Record {
    Record::Acked { dno: Dno(dno), next_n }
}

pub(crate) fn gone(dno: u64) -> Record {
    Record::Gone { dno: Dno(dno) }
}

/// The whole life of a few runs, one commit each.
pub(crate) fn life() -> Vec<Vec<Record>> {
    vec![
        vec![received(1, "a")],
        vec![starting(1)],
        vec![Record::Running { dno: Dno(1) }, items(1, 0..3)],
        vec![received(2, "bb"), Record::Floor { dno: Dno(3) }],
        vec![items(1, 3..4), starting(2)],
        vec![acked(1, 3)],
        vec![done(1, 4), items(2, 0..1)],
        vec![acked(1, 4), gone(1), done(2, 1)],
        vec![hiding(received(7, "ccc"), Some(vec!["args.0".to_owned()]))],
    ]
}

/// What an image says, for comparisons: an image of a prefix of commits equals the image of another reading of them.
pub(crate) fn said(image: &Image) -> String {
    format!("{:?} {:?}", image.max_dno(), image.rows())
}

pub(crate) fn image_of(commits: &[Vec<Record>]) -> Image {
    let mut image = Image::default();
    for record in commits.iter().flatten() {
        image.add(Record::read(record.write()).unwrap()).unwrap();
    }
    image
}

/// The journal's files, oldest first.
pub(crate) fn journals(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_journal = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("journal-");
    let mut files: Vec<PathBuf> = paths.filter(is_journal).collect();
    files.sort();
    files
}

/// A copy of a spool's files in a new folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for path in journals(from) {
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
