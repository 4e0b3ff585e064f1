//! What is left of runs whose agent died while they ran: found at the next start, told, listed, and ended when somebody asks for it.
//!
//! Nothing is ended by itself: the run may be the very upgrade that starts the agent anew. As long as something is left of a job, no
//! other attempt of it is taken here; the manager offers it again. `others` are no runs of jobs. Finding and ending are [`exec::leftovers`](crate::exec::leftovers);
//! `notes` remembers the runs across further starts.

mod notes;
mod others;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::JobId;
use redpoll_common::job::spool::Image;
use redpoll_common::job::wire::RunRef;
use redpoll_common::wire::{Fault, FaultCode};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::clock::boot_ms;
use crate::exec::leftovers::{Ended, Left, Leftover, Owner, end, find, may_be_found_later};
use crate::exec::note::Notes;
use notes::{MAX_RUNS, Note};
use others::Other;
use words::{shown, words};

pub use notes::LeftoversError;
pub use others::LeftOfOther;

/// Runs that are told in the log at the start, each in a line.
const TOLD_RUNS: usize = 50;
/// How often to look whether what is left has ended, and after how long another attempt is worth offering again.
const PAUSE: Duration = Duration::from_secs(5);
/// The notes of what runs, in the agent's state folder.
const RUNNING: &str = "running";

/// The runs that have left something. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leftovers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agent: PeerId,
    /// Between TERM and KILL.
    grace: Duration,
    /// `None`: nothing is remembered across a start.
    folder: Option<PathBuf>,
    runs: Mutex<BTreeMap<RunRef, Run>>,
    /// What is left of everything else, by its mark.
    others: Mutex<BTreeMap<String, Other>>,
    /// Of what runs now.
    notes: Option<Notes>,
    /// What the file says.
    written: Mutex<BTreeMap<RunRef, Note>>,
    /// That it cannot be written was said.
    complained: AtomicBool,
    /// What the machine shows could not be read when it was last looked at.
    is_blind: AtomicBool,
}

/// A run that has left something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    note: Note,
    /// As they were last seen.
    processes: Vec<Leftover>,
}

/// What is left of a run, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOfRun {
    /// Job, attempt and dispatch number.
    pub run: RunRef,
    /// The procedure; empty when nobody knows it.
    pub procedure: String,
    /// Milliseconds since the agent found it.
    pub found_ms_ago: u64,
    /// The processes, those that were started first first.
    pub processes: Vec<Leftover>,
}

impl Leftovers {
    /// Of an agent, remembered in a folder; `grace` is between TERM and KILL.
    ///
    /// # Errors
    /// [`LeftoversError`] when what was remembered cannot be read, or makes no sense and cannot be moved away.
    pub fn open(agent: PeerId, grace: Duration, folder: &Path) -> Result<Self, LeftoversError> {
        let remembered = notes::read(folder)?;
        let (notes, found) = others::open(&folder.join(RUNNING));
        let leftovers = Self::new(agent, grace, (Some(folder.to_owned()), notes), remembered);
        leftovers.others().extend(found);
        Ok(leftovers)
    }

    /// Of an agent that remembers nothing across its starts.
    pub fn forgetful(agent: PeerId, grace: Duration) -> Self {
        Self::new(agent, grace, (None, None), BTreeMap::new())
    }

    fn new(
        agent: PeerId,
        grace: Duration,
        (folder, notes): (Option<PathBuf>, Option<Notes>),
        remembered: BTreeMap<RunRef, Note>,
    ) -> Self {
        let run = |(run, note): (&RunRef, &Note)| (*run, Run { note: note.clone(), processes: Vec::new() });
        let runs = Mutex::new(remembered.iter().map(run).collect());
        let (written, complained, is_blind) =
            (Mutex::new(remembered), AtomicBool::new(false), AtomicBool::new(false));
        let others = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                agent,
                grace,
                folder,
                runs,
                others,
                notes,
                written,
                complained,
                is_blind,
            }),
        }
    }

    /// Whose they are.
    pub fn agent(&self) -> &PeerId {
        &self.shared.agent
    }

    /// Looks for what is left of the runs that the start of the agent ends as unknown, and of earlier ones, and says it in the ends
    /// of the former. Blocks.
    pub fn recover(&self, image: &mut Image) {
        let procedure = |procedure: Option<&str>| procedure.unwrap_or_default().to_owned();
        let lost: BTreeMap<RunRef, String> = image.lost().map(|(run, name)| (run, procedure(name))).collect();
        let since_ms = boot_ms();
        for (run, procedure) in &lost {
            let note = Note { procedure: procedure.clone(), since_ms };
            // it is there when the agent died again before it had written down how the run ended
            self.runs().entry(*run).or_insert_with(|| Run { note, processes: Vec::new() });
        }
        // a process that is being started while one looks may be missed
        for _ in 0..2 {
            match self.look(false) {
                Ok(()) => {}
                // they may still run: no other attempt of them is taken before somebody could look
                // whoever starts after this one has to know of them
                Err(error) if may_be_found_later(&error) => return self.write_down(),
                Err(_never) => return self.runs().retain(|run, _| !lost.contains_key(run)),
            }
        }
        self.settle();
        for run in self.known() {
            if lost.contains_key(&run.run) {
                image.say_left(run.run.dno, words(&run.processes));
            }
        }
        self.tell();
        self.tell_others();
    }

    /// Why no attempt of a job is taken, if something of an earlier one is left here, or may be: a worker of the procedure that is
    /// being ended.
    ///
    /// # Errors
    /// The fault `overloaded`: the manager offers the attempt again after a while.
    pub fn refuse(&self, job: JobId, procedure: &str) -> Result<(), Fault> {
        self.refuse_beside(procedure)?;
        let runs = self.runs();
        let Some((_, run)) = runs.iter().find(|(run, _)| run.job == job) else { return Ok(()) };
        let text = format!(
            "an earlier attempt ended as unknown and {}; nothing ran, and it is offered again until that has ended",
            words(&run.processes)
        );
        let retry_after_ms = u64::try_from(PAUSE.as_millis()).ok();
        Err(Fault { retry_after_ms, ..Fault::new(FaultCode::Overloaded, text) })
    }

    /// What is left now. Blocks.
    pub fn list(&self) -> Vec<LeftOfRun> {
        // an error is in the log
        let _looked = self.look_and_settle();
        self.known()
    }

    /// Looks, and forgets that of which nothing is left; of what could not be looked at nothing is forgotten. Blocks.
    fn look_and_settle(&self) -> std::io::Result<()> {
        self.look(false)?;
        self.settle();
        Ok(())
    }

    /// Ends what is left of a job. Nothing left is as good as something ended.
    ///
    /// # Errors
    /// The fault `internal` when the processes of the machine cannot be read.
    pub async fn stop(&self, job: JobId) -> Result<Ended, Fault> {
        let of_job = |run: &&RunRef| run.job == job;
        let runs: BTreeSet<Owner> = self.runs().keys().filter(of_job).map(|run| Owner::Run(*run)).collect();
        if runs.is_empty() {
            return Ok(Ended::default());
        }
        info!(%job, "ending what is left of a job, as asked");
        let ended = end(&self.shared.agent, &runs, self.shared.grace).await.map_err(unread)?;
        info!(%job, ended = shown(&ended.ended), left = shown(&ended.left), "what was left of a job was ended");
        let again = self.clone();
        // an error means that the runtime is going down
        let _listed = tokio::task::spawn_blocking(move || again.list()).await;
        Ok(ended)
    }

    /// Notices when what is left has ended, as long as it is polled.
    pub async fn watch(self) {
        loop {
            sleep(PAUSE).await;
            let is_behind = self.shared.notes.as_ref().is_some_and(Notes::is_behind);
            if self.runs().is_empty() && self.others().is_empty() && !is_behind {
                continue;
            }
            let again = self.clone();
            // an error means that the runtime is going down
            let _looked = tokio::task::spawn_blocking(move || again.notice()).await;
        }
    }

    /// Forgets runs of which nothing is left any more. Looks only where none of the processes lives that are known. Blocks.
    pub fn notice(&self) {
        // of what could not be looked at nothing is forgotten
        if self.look(true).is_ok() {
            self.settle();
        }
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunRef, Run>> {
        // nothing panics while it holds the lock
        self.shared.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<String, Other>> {
        // as above
        self.shared.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> Vec<LeftOfRun> {
        let now = boot_ms();
        let run = |(run, Run { note, processes }): (&RunRef, &Run)| LeftOfRun {
            run: *run,
            procedure: note.procedure.clone(),
            found_ms_ago: now.saturating_sub(note.since_ms),
            processes: processes.clone(),
        };
        self.runs().iter().map(run).collect()
    }

    /// Takes in what the machine shows now; `lazily`: not of runs of which a process lives that is known. Nothing is taken in
    /// when the machine shows nothing.
    fn look(&self, lazily: bool) -> std::io::Result<()> {
        // without a lock: whoever refuses an attempt must not wait for what the machine shows
        let runs: Vec<(Owner, Vec<Leftover>)> =
            self.runs().iter().map(|(run, known)| (Owner::Run(*run), known.processes.clone())).collect();
        let others: Vec<(Owner, Vec<Leftover>)> = self
            .others()
            .iter()
            .map(|(mark, other)| (Owner::Other(mark.clone()), other.processes.clone()))
            .collect();
        let lives = |processes: &[Leftover]| lazily && processes.iter().any(Leftover::lives);
        let open: BTreeSet<Owner> = runs
            .into_iter()
            .chain(others)
            .filter(|(_, processes)| !lives(processes))
            .map(|(owner, _)| owner)
            .collect();
        match find(&self.shared.agent, &open) {
            Ok(mut found) => {
                let mut runs = self.runs();
                for (run, known) in runs.iter_mut() {
                    let owner = Owner::Run(*run);
                    if !open.contains(&owner) {
                        continue;
                    }
                    let Left { procedure, processes } = found.remove(&owner).unwrap_or_default();
                    known.processes = processes;
                    if known.note.procedure.is_empty() {
                        known.note.procedure = procedure;
                    }
                }
                drop(runs);
                for (mark, known) in self.others().iter_mut() {
                    let owner = Owner::Other(mark.clone());
                    if open.contains(&owner) {
                        known.processes = found.remove(&owner).unwrap_or_default().processes;
                    }
                }
                // where there is nothing to look for, nothing was read
                if !open.is_empty() && self.shared.is_blind.swap(false, Ordering::Relaxed) {
                    info!(
                        "the processes of the machine can be read again: what is left of runs of before is known"
                    );
                }
                Ok(())
            }
            Err(error) => {
                if !self.shared.is_blind.swap(true, Ordering::Relaxed) {
                    warn!(%error, "what is left of runs of before is not known: the processes of the machine cannot all be read");
                }
                Err(error)
            }
        }
    }

    /// Forgets runs of which nothing is left, and writes down the others. Blocks.
    fn settle(&self) {
        self.settle_others();
        self.runs().retain(|_, run| !run.processes.is_empty());
        self.write_down();
    }

    /// Writes down the runs that are known. Blocks.
    fn write_down(&self) {
        let notes: BTreeMap<RunRef, Note> = {
            let mut runs = self.runs();
            forget_beyond(&mut runs, MAX_RUNS);
            runs.iter().map(|(run, known)| (*run, known.note.clone())).collect()
        };
        let Some(folder) = &self.shared.folder else { return };
        // nothing panics while it holds the lock
        let mut written = self.shared.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written == notes {
            return;
        }
        for gone in written.keys().filter(|run| !notes.contains_key(run)) {
            info!(job = %gone.job, attempt = %gone.attempt, "nothing is left any more of a run of before");
        }
        match notes::write(folder, notes.iter()) {
            Ok(()) => {
                *written = notes;
                self.shared.complained.store(false, Ordering::Relaxed);
            }
            // it is tried again with each look
            Err(error) if !self.shared.complained.swap(true, Ordering::Relaxed) => {
                error!(
                    %error,
                    help = "look at the disk of the agent's state folder; should the agent end before, what is left is forgotten",
                    "what is left of runs cannot be written down"
                );
            }
            Err(_said_already) => {}
        }
    }

    /// Says in the log what is left, and what to do.
    fn tell(&self) {
        let known = self.known();
        for LeftOfRun { run, procedure, processes, .. } in known.iter().take(TOLD_RUNS) {
            let processes = shown(processes);
            warn!(
                job = %run.job, attempt = %run.attempt, procedure, processes,
                help = "call sys.leftovers to list them, sys.leftovers.stop with the job to end them; no other attempt of the job \
                        is taken before",
                "processes of a run that ended as unknown still run"
            );
        }
        if known.len() > TOLD_RUNS {
            warn!(more = known.len() - TOLD_RUNS, "more runs have left processes; sys.leftovers lists them");
        }
    }
}

/// Forgets the oldest of too many runs.
fn forget_beyond(runs: &mut BTreeMap<RunRef, Run>, max: usize) {
    while runs.len() > max {
        let Some(oldest) = runs.keys().min_by_key(|run| run.dno).copied() else { return };
        warn!(job = %oldest.job, max, "too many runs have left something: one of them is forgotten");
        runs.remove(&oldest);
    }
}

fn unread(error: std::io::Error) -> Fault {
    let text = format!("the processes of the machine cannot be read, and nothing more was ended: {error}");
    Fault::new(FaultCode::Internal, text)
}

#[cfg(test)]
mod tests;
