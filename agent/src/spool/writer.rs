//! The thread that writes: it takes what is queued, writes it with one sync, and tells everyone at once.

use std::time::Duration;

use redpoll_common::job::spool::{COMMIT_BYTES, Record};
use redpoll_common::job::{Dno, Item};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::error::SpoolError;
use super::journal::{Journal, Written};

/// Appends that are written together at most, unless they have [`COMMIT_BYTES`] before.
const GROUP: usize = 256;
/// How soon what found no room is written again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Append { records: Vec<Record>, done: oneshot::Sender<Result<(), SpoolError>> },
    Load { dno: Dno, from: u64, bytes: u64, done: oneshot::Sender<Result<Vec<Item>, SpoolError>> },
    HasSecrets(Dno),
    CheckSpace,
    Close { done: oneshot::Sender<()> },
}

/// Appends whose records are written together.
type Group = Vec<(Vec<Record>, oneshot::Sender<Result<(), SpoolError>>)>;

/// Serves until all handles are gone, somebody closes it, or the disk fails.
pub(super) fn run(
    mut journal: Journal,
    mut queue: mpsc::Receiver<Command>,
    full: &watch::Sender<bool>,
    on_failure: impl FnOnce(&SpoolError),
) {
    let mut closing = None;
    let served = serve(&mut journal, &mut queue, full, &mut closing);
    drop(journal);
    if let Err(error) = served {
        // new ones are refused before anybody can take the failure for a delay
        queue.close();
        on_failure(&error);
    }
    if let Some(done) = closing {
        // nobody waits for it any more if this fails
        let _told = done.send(());
    }
}

fn serve(
    journal: &mut Journal,
    queue: &mut mpsc::Receiver<Command>,
    full: &watch::Sender<bool>,
    closing: &mut Option<oneshot::Sender<()>>,
) -> Result<(), SpoolError> {
    let (mut group, mut weight) = (Group::new(), 0);
    let mut next = queue.blocking_recv();
    while let Some(command) = next.take() {
        match command {
            Command::Append { records, done } => {
                weight += records.iter().map(Record::weight).sum::<u64>();
                group.push((records, done));
                if group.len() < GROUP && weight < COMMIT_BYTES {
                    next = queue.try_recv().ok();
                }
            }
            Command::Load { dno, from, bytes, done } => {
                write(journal, &mut group, queue, full)?;
                let loaded = journal.load(dno.0, from, bytes);
                let failed = loaded.as_ref().err().filter(|error| !error.passes()).cloned();
                // whoever asked may be gone
                let _told = done.send(loaded);
                failed.map_or(Ok(()), Err)?;
            }
            Command::HasSecrets(dno) => journal.secrets.add(dno.0),
            Command::CheckSpace => journal.check_space(),
            Command::Close { done } => {
                write(journal, &mut group, queue, full)?;
                *closing = Some(done);
                return Ok(());
            }
        }
        if next.is_none() {
            write(journal, &mut group, queue, full)?;
            weight = 0;
            journal.tidy()?;
            full.send_if_modified(|was| std::mem::replace(was, journal.space.is_full()) != *was);
            next = queue.blocking_recv();
        }
    }
    Ok(())
}

/// Writes a group as one block, and tells. Where there is no room at all it waits for some, as everything that relies on it does:
/// to end the process would make unknown what runs, and the next start would find the same disk.
fn write(
    journal: &mut Journal,
    group: &mut Group,
    queue: &mpsc::Receiver<Command>,
    full: &watch::Sender<bool>,
) -> Result<(), SpoolError> {
    if group.is_empty() {
        return Ok(());
    }
    let mut waited = false;
    let written = loop {
        match journal.commit(group.iter().flat_map(|(records, _)| records)) {
            Ok(Written::NoRoom) if queue.is_closed() => {
                // the process ends: nobody relies on it, and the next start finds what was there before it
                group.clear();
                return journal.take_back();
            }
            Ok(Written::NoRoom) => {
                if !std::mem::replace(&mut waited, true) {
                    warn!(
                        "the disk of the spool has no room, not even for ends: nothing that happens to runs is recorded or told \
                         until there is some"
                    );
                    full.send_if_modified(|was| !std::mem::replace(was, true));
                }
                journal.pause(AGAIN);
            }
            Ok(Written::Whole) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if waited && written.is_ok() {
        info!("what waited for room in the spool is recorded");
    }
    for (_, done) in group.drain(..) {
        // whoever queued it may be gone
        let _told = done.send(written.clone());
    }
    written
}
