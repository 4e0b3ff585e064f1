//! What is left of what is no run of a job: calls, runs that the agent made by itself, and workers.
//!
//! Workers are ended by the next start itself, as the agent ends them with all they started when it stops: nobody can reach them
//! any more, and what they work for ends as unknown. But for one that has started this very agent. The others wait until somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use redpoll_common::wire::{Fault, FaultCode};
use tokio::time::sleep;
use tracing::{info, warn};

use super::words::shown;
use super::{Leftovers, PAUSE, TOLD_RUNS};
use crate::clock::boot_ms;
use crate::exec::leftovers::{Ended, Leftover, Origin, Owner, end, may_be_found_later};
use crate::exec::note::{Kind, Note, Notes};

/// What has left something.
#[derive(Debug, Clone)]
pub(super) struct Other {
    note: Note,
    since_ms: u64,
    /// As they were last seen.
    pub(super) processes: Vec<Leftover>,
    /// It is being ended.
    ending: bool,
}

/// What is left of a call, of a run that the agent made by itself, or of a worker, for whoever asks.
#[derive(Debug, Clone)]
pub struct LeftOfOther {
    /// The agent's mark of it, `REDPOLL_RUN` in the environment of its processes.
    pub mark: String,
    /// What it was.
    pub kind: Kind,
    /// The procedure; empty when nobody knows it.
    pub procedure: String,
    /// Milliseconds since the agent found it.
    pub found_ms_ago: u64,
    /// The processes, those that were started first first.
    pub processes: Vec<Leftover>,
}

/// Opens the notes of what runs, and gives what was noted before the start. Without them the agent runs all the same.
pub(super) fn open(file: &Path) -> (Option<Notes>, BTreeMap<String, Other>) {
    match Notes::open(file) {
        Ok((notes, found)) => {
            (Some(notes), found.into_iter().map(|(mark, note)| (mark, Other::of(note))).collect())
        }
        Err(error) => {
            warn!(
                %error,
                help = "look at the disk of the agent's state folder, and with ps for processes whose environment has REDPOLL_RUN",
                "what runs cannot be noted, and what is left of calls and workers of before is not known"
            );
            (None, BTreeMap::new())
        }
    }
}

impl Other {
    fn of(note: Note) -> Self {
        let ending = note.kind == Kind::Worker;
        Self { note, since_ms: boot_ms(), processes: Vec::new(), ending }
    }
}

impl Leftovers {
    /// Where it is noted what runs.
    pub fn notes(&self) -> Option<Notes> {
        self.shared.notes.clone()
    }

    /// Writes down that what has ended has.
    pub async fn flush(&self) {
        let Some(notes) = self.notes() else { return };
        // an error means that the runtime is going down
        let _flushed = tokio::task::spawn_blocking(move || notes.flush()).await;
    }

    /// Forgets those of which nothing is left, and their notes.
    pub(super) fn settle_others(&self) {
        let mut gone = Vec::new();
        self.others().retain(|mark, other| {
            let stays = !other.processes.is_empty();
            if !stays {
                gone.push(mark.clone());
            }
            stays
        });
        if let Some(notes) = &self.shared.notes {
            gone.iter().for_each(|mark| notes.forget(mark));
            notes.flush();
        }
    }

    /// Says in the log what is left, and what to do.
    pub(super) fn tell_others(&self) {
        for other in self.known_others().iter().filter(|other| other.kind != Kind::Worker).take(TOLD_RUNS) {
            warn!(
                mark = other.mark,
                kind = other.kind.as_str(),
                procedure = other.procedure,
                processes = shown(&other.processes),
                help = "call sys.leftovers to list them, sys.leftovers.stop with the mark to end them",
                "processes of something that ran when the agent died still run"
            );
        }
    }

    /// What is left as it was last seen.
    pub fn known_others(&self) -> Vec<LeftOfOther> {
        let now = boot_ms();
        let other = |(mark, other): (&String, &Other)| LeftOfOther {
            mark: mark.clone(),
            kind: other.note.kind,
            procedure: other.note.procedure.clone(),
            found_ms_ago: now.saturating_sub(other.since_ms),
            processes: other.processes.clone(),
        };
        self.others().iter().map(other).collect()
    }

    /// Why no run of a procedure is taken, if a worker of it is being ended that may work for the attempt before.
    pub(super) fn refuse_beside(&self, procedure: &str) -> Result<(), Fault> {
        let name = procedure.split('@').next().unwrap_or_default();
        let is_ending = |other: &Other| other.ending && other.note.procedure == name;
        if !self.others().values().any(is_ending) {
            return Ok(());
        }
        let text = format!(
            "a worker of {name} from before the agent's start is being ended; nothing ran, and it is offered again"
        );
        let retry_after_ms = u64::try_from(PAUSE.as_millis()).ok();
        Err(Fault { retry_after_ms, ..Fault::new(FaultCode::Overloaded, text) })
    }

    /// Ends what has a mark. Nothing left is as good as something ended.
    ///
    /// # Errors
    /// The fault `internal` when the processes of the machine cannot be read.
    pub async fn stop_other(&self, mark: &str) -> Result<Ended, Fault> {
        // of nothing but what is noted: any other mark may be one of this life
        if !self.others().contains_key(mark) {
            return Ok(Ended::default());
        }
        info!(mark, "ending what is left of something, as asked");
        let ended = self.end_all(&BTreeSet::from([mark.to_owned()])).await?;
        info!(mark, ended = shown(&ended.ended), left = shown(&ended.left), "what was left of it was ended");
        Ok(ended)
    }

    /// Ends the workers of before, all at the same time, but for those that have started this agent. None is ended before that was seen.
    pub async fn end_workers(self) {
        let workers: Vec<LeftOfOther> = loop {
            let workers: Vec<_> =
                self.known_others().into_iter().filter(|other| other.kind == Kind::Worker).collect();
            if workers.is_empty() {
                return;
            }
            // what could not be looked at has no processes yet, and may have started this agent
            if workers.iter().all(|worker| !worker.processes.is_empty()) {
                break workers;
            }
            let again = self.clone();
            match tokio::task::spawn_blocking(move || again.look_and_settle()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if may_be_found_later(&error) => sleep(PAUSE).await,
                // nothing can be ended, which is said
                Ok(Err(_never)) => break workers,
                // the runtime is going down
                Err(_gone) => return,
            }
        };
        let Ok(origin) = tokio::task::spawn_blocking(Origin::look).await else { return };
        let (spared, ending): (Vec<_>, Vec<_>) =
            workers.iter().partition(|worker| origin.is(&worker.mark, &worker.processes));
        for LeftOfOther { mark, procedure, processes, .. } in spared {
            warn!(
                mark,
                procedure,
                processes = shown(processes),
                help = "call sys.leftovers.stop with the mark to end it",
                "a worker of before has started this agent, and is left"
            );
        }
        let marks: BTreeSet<String> = ending.iter().map(|worker| worker.mark.clone()).collect();
        if !marks.is_empty() {
            match self.end_all(&marks).await {
                Ok(ended) => {
                    let lives = |worker: &LeftOfOther| {
                        worker.processes.iter().any(|one| ended.left.iter().any(|left| left.pid == one.pid))
                    };
                    for LeftOfOther { procedure, processes, .. } in
                        ending.iter().filter(|worker| !lives(worker))
                    {
                        info!(
                            procedure,
                            processes = shown(processes),
                            "a worker from before the start was ended"
                        );
                    }
                    for LeftOfOther { mark, procedure, .. } in ending.iter().filter(|worker| lives(worker)) {
                        let left = shown(&ended.left);
                        warn!(mark, procedure, left, "a worker from before the start outlives SIGKILL");
                    }
                }
                Err(error) => warn!(%error, "workers from before the start cannot be ended"),
            }
        }
        self.others().values_mut().for_each(|other| other.ending = false);
    }

    async fn end_all(&self, marks: &BTreeSet<String>) -> Result<Ended, Fault> {
        let owners = marks.iter().map(|mark| Owner::Other(mark.clone())).collect();
        let ended = end(&self.shared.agent, &owners, self.shared.grace).await.map_err(super::unread)?;
        let again = self.clone();
        // an error means that the runtime is going down
        let _listed = tokio::task::spawn_blocking(move || again.list()).await;
        Ok(ended)
    }
}
