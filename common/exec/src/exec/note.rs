//! Notes of what runs, in one file that is appended to: whoever reads it after the death of its writer knows the
//! [mark](super::RUN_VARIABLE) of what may be left, and what it was.
//!
//! They need not outlive the machine, so nothing is synced. A program is noted before it is started, with one write; that it has ended is
//! written with the next note, or by [`Notes::flush`]. What leaves a daemon behind on purpose has no note once it has ended.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::name::is_unique_name;

/// Bytes of the file that are read.
const MAX_READ: u64 = 4 * 1024 * 1024;
/// Bytes from which on the file is written anew, with what runs alone.
const MAX_WRITTEN: u64 = 512 * 1024;
/// Notes that are kept of those from before.
const MAX_FOUND: usize = 4096;

/// How long a lock that somebody has is waited for, and how long until the next look.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_AGAIN: Duration = Duration::from_millis(20);

/// What somebody runs something for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call that a caller waits for.
    Call,
    /// A run that the agent makes by itself.
    Recurring,
    /// A worker, whatever it works for.
    Worker,
}

impl Kind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Recurring => "recurring",
            Self::Worker => "worker",
        }
    }

    fn parse(name: &str) -> Self {
        match name {
            "worker" => Self::Worker,
            "recurring" => Self::Recurring,
            _ => Self::Call,
        }
    }
}

/// What is noted of something that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What for.
    pub kind: Kind,
    /// The procedure; empty when nobody knows it.
    pub procedure: String,
}

/// The file of the notes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    known: Mutex<Known>,
    /// Held while the disk is waited for, and so by nobody who may not block. Before `known`.
    written: Mutex<Written>,
}

/// What is known without the disk.
#[derive(Debug)]
struct Known {
    /// What runs, and what is left of before.
    open: BTreeMap<String, Note>,
    /// What has ended and is not written down.
    ended: Vec<String>,
}

#[derive(Debug)]
struct Written {
    file: File,
    bytes: u64,
}

impl Notes {
    /// Those in a file, which is made for this process's user alone; and what it said of before, by the marks of the runs. Nothing of
    /// the file is changed yet: whoever dies before long leaves what he found. Waits a second for a lock that somebody has. Blocks.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: &Path) -> io::Result<(Self, BTreeMap<String, Note>)> {
        let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        lock(&file)?;
        let mut found = read(&file)?;
        while found.len() > MAX_FOUND {
            found.pop_first();
        }
        let bytes = file.metadata()?.len();
        let known = Mutex::new(Known { open: found.clone(), ended: Vec::new() });
        let written = Mutex::new(Written { file, bytes });
        Ok((Self { shared: Arc::new(Shared { path: path.to_owned(), known, written }) }, found))
    }

    /// What a process of this kind is noted as.
    pub fn of(&self, kind: Kind, procedure: &str) -> Noting {
        Noting { notes: self.clone(), note: Note { kind, procedure: procedure.to_owned() } }
    }

    /// Forgets one of before. That it is gone is as good.
    pub fn forget(&self, mark: &str) {
        let mut known = self.known();
        if known.open.remove(mark).is_some() {
            known.ended.push(mark.to_owned());
        }
    }

    /// Whether something has ended that is not written down.
    pub fn is_behind(&self) -> bool {
        !self.known().ended.is_empty()
    }

    /// Writes down what has ended. Blocks.
    pub fn flush(&self) {
        let mut written = self.written();
        if self.is_behind() {
            self.append(&mut written, "");
        }
    }

    /// Appends a line, after those of what has ended. Each begins where a write that was cut short may have ended. What cannot be
    /// written of ends is tried again with the next. Blocks.
    fn append(&self, written: &mut Written, line: &str) {
        let ended = std::mem::take(&mut self.known().ended);
        let mut text: String = ended.iter().flat_map(|mark| ["\n- ", mark]).collect();
        text.push_str(line);
        if let Err(error) = self.write(written, &text) {
            tracing::debug!(%error, "what runs cannot be noted");
            self.known().ended.extend(ended);
        }
    }

    fn write(&self, written: &mut Written, text: &str) -> io::Result<()> {
        let bytes = written.bytes.saturating_add(text.len() as u64);
        if bytes > MAX_WRITTEN {
            // with what runs now, and so with what the text says
            // a statement of its own, so that nobody waits for the disk who only notes an end
            let open = self.known().open.clone();
            match anew(&self.shared.path, &open) {
                Ok(new) => {
                    *written = new;
                    return Ok(());
                }
                Err(error) if bytes > MAX_READ => return Err(error),
                // there is room in the one that is there
                Err(_) => {}
            }
        }
        // whatever of it is written, it is no more
        written.bytes = bytes;
        written.file.write_all(text.as_bytes())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // nothing panics while it holds the lock
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // as above
        self.shared.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of another agent that runs here are not touched.
fn lock(file: &File) -> io::Result<()> {
    let give_up = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            // a program that an agent was about to start when it died has the lock until it really begins
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => std::thread::sleep(LOCK_AGAIN),
            locked => return Ok(locked?),
        }
    }
}

fn line(mark: &str, Note { kind, procedure }: &Note) -> String {
    format!("\n+ {mark} {} {procedure}", kind.as_str())
}

/// Puts a file that says this alone in the place of the one that is there, in one step.
fn anew(path: &Path, open: &BTreeMap<String, Note>) -> io::Result<Written> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let text: String = open.iter().map(|(mark, note)| line(mark, note)).collect();
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)?;
    Ok(Written { file, bytes: text.len() as u64 })
}

/// What had begun and not ended. Lines that make no sense are passed over: one may be half written.
fn read(file: &File) -> io::Result<BTreeMap<String, Note>> {
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes)?;
    let mut open = BTreeMap::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next().filter(|mark| is_unique_name(mark))) {
            (Some("+"), Some(mark)) => {
                let kind = Kind::parse(words.next().unwrap_or_default());
                let procedure = words.next().unwrap_or_default().escape_debug().to_string();
                open.insert(mark.to_owned(), Note { kind, procedure });
            }
            (Some("-"), Some(mark)) => drop(open.remove(mark)),
            _ => {}
        }
    }
    Ok(open)
}

/// How a process is noted that is about to be started.
#[derive(Debug, Clone)]
pub struct Noting {
    notes: Notes,
    note: Note,
}

impl Noting {
    /// Notes it, before it is started. Without a note it runs all the same: what cleans up a full disk must be able to. Blocks.
    pub(super) fn begin(&self, mark: &str) -> Noted {
        let mut written = self.notes.written();
        self.notes.known().open.insert(mark.to_owned(), self.note.clone());
        self.notes.append(&mut written, &line(mark, &self.note));
        Noted { notes: self.notes.clone(), mark: mark.to_owned() }
    }
}

/// Something that runs; noted until this is dropped.
#[derive(Debug)]
pub(super) struct Noted {
    notes: Notes,
    mark: String,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.notes.forget(&self.mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the next agent finds.
    fn next(path: &Path) -> BTreeMap<String, Note> {
        let copy = path.with_extension("next");
        fs::copy(path, &copy).unwrap();
        Notes::open(&copy).unwrap().1
    }

    fn note(kind: Kind, procedure: &str) -> Note {
        Note { kind, procedure: procedure.to_owned() }
    }

    #[test]
    fn what_had_begun_and_not_ended_is_found_after_the_death_of_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (notes, known) = Notes::open(&path).unwrap();
        assert_eq!(known, BTreeMap::new());
        let worker = notes.of(Kind::Worker, "web.deploy").begin("7.abc.1");
        let call = notes.of(Kind::Call, "exec.run").begin("7.abc.2");
        drop(call);
        let recurring = notes.of(Kind::Recurring, "disk.check").begin("7.abc.3");
        let late = notes.of(Kind::Call, "exec.run").begin("7.abc.4");
        drop(late);
        let two = BTreeMap::from([
            ("7.abc.1".to_owned(), note(Kind::Worker, "web.deploy")),
            ("7.abc.3".to_owned(), note(Kind::Recurring, "disk.check")),
        ]);
        assert!(notes.is_behind(), "the end of the last is not written yet");
        assert_eq!(next(&path).len(), 3);
        notes.flush();
        assert!(!notes.is_behind());
        assert_eq!(next(&path), two);
        assert!(Notes::open(&path).is_err(), "another agent lives here");
        assert_eq!(next(&path), two);

        // the agent dies within a write
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\n- 7.abc.4\n+ 7.abc.5 call\n+ 7.abc.6 wor\n+ 7.ab").unwrap();
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        let (after, known) = Notes::open(&copy).unwrap();
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        assert_eq!(names, ["7.abc.1", "7.abc.3", "7.abc.5", "7.abc.6"]);
        assert_eq!(known.get("7.abc.5"), Some(&note(Kind::Call, "")));
        // it stays noted until somebody says that nothing is left
        assert_eq!(next(&copy).len(), 4);
        after.forget("7.abc.5");
        after.forget("7.abc.5");
        after.flush();
        assert_eq!(next(&copy).len(), 3);
        drop((worker, recurring));
    }

    #[test]
    fn what_was_found_is_still_there_for_the_next_when_this_one_dies_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        fs::write(&path, "\n+ 7.abc.1 worker web.deploy").unwrap();
        let (notes, known) = Notes::open(&path).unwrap();
        assert_eq!((known.len(), next(&path)), (1, known));
        drop(notes);
        // one that is too long is written anew with the first note, and no sooner
        let long = "\n+ 7.abc.2 call x\n- 7.abc.2".repeat(30_000);
        fs::write(&path, format!("{long}\n+ 7.abc.1 worker web.deploy")).unwrap();
        let (notes, known) = Notes::open(&path).unwrap();
        assert!(fs::metadata(&path).unwrap().len() > MAX_WRITTEN && known.len() == 1);
        let _call = notes.of(Kind::Call, "exec.run").begin("7.abc.3");
        assert!(fs::metadata(&path).unwrap().len() < 100);
        assert_eq!(next(&path).len(), 2);
        assert!(Notes::open(&path).is_err(), "the new file is ours too");
        // where there can be no other file, the one that is there goes on
        fs::create_dir(path.with_extension("new")).unwrap();
        for number in 10..20_000 {
            drop(notes.of(Kind::Call, "exec.run").begin(&format!("7.abc.{number}")));
        }
        notes.flush();
        let len = fs::metadata(&path).unwrap().len();
        assert!((MAX_WRITTEN..MAX_READ).contains(&len), "{len}");
        assert_eq!(next(&path).len(), 2);
    }

    #[test]
    fn what_was_noted_is_found_although_a_program_that_is_just_being_started_has_the_lock_for_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        fs::write(&path, "\n+ 7.abc.1 worker web.deploy").unwrap();
        let held = File::open(&path).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        // as between fork and exec: the descriptor is the child's alone, for a fifth of a second
        let mut child = std::process::Command::new("sleep").arg("0.2").stdin(held).spawn().unwrap();
        let (_notes, found) = Notes::open(&path).unwrap();
        assert!(!found.is_empty());
        child.wait().unwrap();
    }

    /// Ends are noted by those who may not wait for the disk.
    #[test]
    fn an_end_waits_for_nobody_who_writes() {
        let folder = tempfile::tempdir().unwrap();
        let (notes, _) = Notes::open(&folder.path().join("running")).unwrap();
        let call = notes.of(Kind::Call, "exec.run").begin("7.abc.1");
        let held = notes.written();
        drop(call);
        assert!(notes.is_behind());
        drop(held);
    }

    #[test]
    fn the_file_is_bounded_and_keeps_what_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        let (notes, _) = Notes::open(&path).unwrap();
        let worker = notes.of(Kind::Worker, "web.deploy").begin("7.abc.0");
        let call = notes.of(Kind::Call, &"x".repeat(200));
        for number in 1..10_000 {
            drop(call.begin(&format!("7.abc.{number}")));
            assert!(fs::metadata(&path).unwrap().len() <= MAX_WRITTEN);
        }
        notes.flush();
        assert_eq!(next(&path), BTreeMap::from([("7.abc.0".to_owned(), note(Kind::Worker, "web.deploy"))]));
        drop(worker);
    }
}
