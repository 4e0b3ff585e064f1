//! Reads the environments that processes were started with, and goes on where the kernel does not give one: of a process that hangs
//! on a dead disk or server, with its memory locked, the reader hangs along.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::tree::{Process, seen};

/// The longest environment that is read whole: the kernel lets nobody start with more than 6 MiB of arguments and environment, but a
/// process may say later that any part of its memory is its environment.
const MAX_ENVIRONMENT: u64 = 8 * 1024 * 1024;
/// How long a reader waits for what hangs, all in all.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for one more after that.
const LEAST: Duration = Duration::from_millis(100);

/// The environment of a process, and of what claims to be one no more than [`MAX_ENVIRONMENT`]. Empty if it has ended or may
/// not be read. Waits for as long as the process hangs.
///
/// # Errors
/// Those of [`seen`].
pub(super) fn environment(pid: i32) -> io::Result<Vec<u8>> {
    let read = |path: PathBuf| {
        seen(read_start(&path)).map(|read| read.filter(|environment| !environment.is_empty()))
    };
    let process = PathBuf::from(format!("/proc/{pid}"));
    if let Some(environment) = read(process.join("environ"))? {
        return Ok(environment);
    }
    // when the first thread has ended, the others still know it
    for thread in seen(fs::read_dir(process.join("task")))?.into_iter().flatten() {
        let Some(thread) = seen(thread)? else { continue };
        if let Some(environment) = read(thread.path().join("environ"))? {
            return Ok(environment);
        }
    }
    Ok(Vec::new())
}

fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(MAX_ENVIRONMENT).read_to_end(&mut start)?;
    Ok(start)
}

/// The processes, by number and start, whose environment some thread waits for in vain: there is one thread for each, and it goes
/// on when the process does.
pub(super) struct Hung(Mutex<BTreeSet<(i32, u64)>>);

/// Those of the machine.
static HUNG: Hung = Hung::new();

impl Hung {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(BTreeSet::new()))
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<(i32, u64)>> {
        // nothing panics while it holds the lock
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one environment after the other, by a thread that is left to itself when it hangs.
pub(super) struct Reader {
    read: fn(i32) -> io::Result<Vec<u8>>,
    hung: &'static Hung,
    /// What is left of [`PATIENCE`].
    patience: Cell<Duration>,
    /// There from the first question on.
    thread: RefCell<Option<Asked>>,
}

/// A thread that reads what it is asked for.
struct Asked {
    questions: SyncSender<Process>,
    answers: Receiver<io::Result<Vec<u8>>>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self::with(environment, &HUNG)
    }

    /// One that reads in this way, and knows of these that hang.
    pub(super) fn with(read: fn(i32) -> io::Result<Vec<u8>>, hung: &'static Hung) -> Self {
        Self { read, hung, patience: Cell::new(PATIENCE), thread: RefCell::default() }
    }

    /// The environment of a process, as [`environment`]. Empty also if it cannot be had because the process hangs.
    ///
    /// # Errors
    /// Those of [`seen`].
    pub(super) fn environment(&self, process: &Process) -> io::Result<Vec<u8>> {
        Ok(self.known(process)?.unwrap_or_default())
    }

    /// The environment of a process, as [`environment`]. `None` if it cannot be had because the process hangs.
    ///
    /// # Errors
    /// Those of [`seen`].
    pub(super) fn known(&self, process: &Process) -> io::Result<Option<Vec<u8>>> {
        let key = (process.pid, process.started);
        if self.hung.set().contains(&key) {
            return Ok(None);
        }
        let mut thread = self.thread.borrow_mut();
        let Some(asked) = thread.take().or_else(|| self.start()) else {
            // no room for a thread: that may be the fault of what is looked for, and is no reason not to find it
            return (self.read)(process.pid).map(Some);
        };
        let patience = self.patience.get().max(LEAST);
        let _takes_it = asked.questions.send(*process);
        if let Ok(answer) = asked.answers.recv_timeout(patience) {
            *thread = Some(asked);
            return answer.map(Some);
        }
        self.patience.set(self.patience.get().saturating_sub(patience));
        self.hung.set().insert(key);
        // whoever reads takes it out after the answer: one of the two does
        if let Ok(answer) = asked.answers.try_recv() {
            self.hung.set().remove(&key);
            *thread = Some(asked);
            return answer.map(Some);
        }
        tracing::warn!(pid = process.pid, "a process hangs in the kernel, and whose it is cannot be read");
        Ok(None)
    }

    /// `None`: there is no room for a thread.
    fn start(&self) -> Option<Asked> {
        // one question is under way at a time, so neither is ever full
        let (questions, asked) = sync_channel::<Process>(1);
        let (answer, answers) = sync_channel(1);
        let (read, hung) = (self.read, self.hung);
        let started = thread::Builder::new().name("environments".to_owned()).spawn(move || {
            for process in asked {
                let sent = answer.send(read(process.pid));
                hung.set().remove(&(process.pid, process.started));
                if sent.is_err() {
                    return; // nobody waits any more
                }
            }
        });
        started.ok().map(|_thread| Asked { questions, answers })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    fn process(pid: i32) -> Process {
        Process { pid, parent: 1, group: pid, zombie: false, started: 7 }
    }

    #[test]
    fn of_what_claims_to_be_an_environment_no_more_is_read_than_one_can_be_long() {
        let claimed = tempfile::NamedTempFile::new().unwrap();
        claimed.as_file().set_len(8 * MAX_ENVIRONMENT).unwrap(); // takes no room
        let read = read_start(claimed.path()).unwrap();
        assert_eq!(u64::try_from(read.len()).unwrap(), MAX_ENVIRONMENT);
    }

    #[test]
    fn what_hangs_is_waited_for_once_and_read_again_when_it_goes_on() {
        static HUNG: Hung = Hung::new();
        static HELD: AtomicBool = AtomicBool::new(true);
        static READ: AtomicUsize = AtomicUsize::new(0);
        let read = |pid: i32| {
            READ.fetch_add(1, Ordering::SeqCst);
            while pid == 5 && HELD.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(pid.to_string().into_bytes())
        };
        let reader = Reader::with(read, &HUNG);
        let of =
            |reader: &Reader, pid| String::from_utf8(reader.environment(&process(pid)).unwrap()).unwrap();
        let began = Instant::now();
        assert_eq!([4, 5, 6].map(|pid| of(&reader, pid)), ["4", "", "6"]);
        assert!(began.elapsed() >= PATIENCE);
        // the next look does not even try
        let next = Reader::with(read, &HUNG);
        assert_eq!([5, 6, 5].map(|pid| of(&next, pid)), ["", "6", ""]);
        assert_eq!(READ.load(Ordering::SeqCst), 4);
        // and another process with its number is another
        HELD.store(false, Ordering::SeqCst);
        while !HUNG.set().is_empty() {
            thread::yield_now();
        }
        assert_eq!([5, 4].map(|pid| of(&next, pid)), ["5", "4"]);
    }
}
