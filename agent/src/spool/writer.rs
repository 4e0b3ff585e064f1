//! The thread that writes: it takes what is queued, writes it with one sync, and tells everyone at once.

use redpoll_common::job::spool::Record;
use redpoll_common::job::{Dno, Item};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::SpoolError;
use super::journal::Journal;

/// Appends that are written together at most.
const GROUP: usize = 256;

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
    let mut group = Group::new();
    let mut next = queue.blocking_recv();
    while let Some(command) = next.take() {
        match command {
            Command::Append { records, done } => {
                group.push((records, done));
                if group.len() < GROUP {
                    next = queue.try_recv().ok();
                }
            }
            Command::Load { dno, from, bytes, done } => {
                write(journal, &mut group)?;
                let loaded = journal.load(dno.0, from, bytes);
                let failed = loaded.as_ref().err().cloned();
                // whoever asked may be gone
                let _told = done.send(loaded);
                failed.map_or(Ok(()), Err)?;
            }
            Command::HasSecrets(dno) => journal.secrets.add(dno.0),
            Command::CheckSpace => journal.check_space(),
            Command::Close { done } => {
                write(journal, &mut group)?;
                *closing = Some(done);
                return Ok(());
            }
        }
        if next.is_none() {
            write(journal, &mut group)?;
            journal.tidy()?;
            full.send_if_modified(|was| std::mem::replace(was, journal.space.is_full()) != *was);
            next = queue.blocking_recv();
        }
    }
    Ok(())
}

/// Writes a group as one block, and tells.
fn write(journal: &mut Journal, group: &mut Group) -> Result<(), SpoolError> {
    if group.is_empty() {
        return Ok(());
    }
    let written = journal.commit(group.iter().flat_map(|(records, _)| records));
    for (_, done) in group.drain(..) {
        // whoever queued it may be gone
        let _told = done.send(written.clone());
    }
    written
}
