//! Notes of what runs, in one file that is appended to: whoever reads it after the death of its writer knows the
//! [mark](super::RUN_VARIABLE) of what may be left, and what it was.
//!
//! They need not outlive the machine, so nothing is synced. A program is noted before it is started, with one write; that it has ended is
//! written with the next note, or by [`Notes::flush`]. What leaves a daemon behind on purpose has no note once it has ended.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::name::is_unique_name;

/// Bytes of the file that are read.
const MAX_READ: u64 = 4 * 1024 * 1024;
/// Bytes from which on the file is written anew, with what runs alone.
const MAX_WRITTEN: u64 = 512 * 1024;
/// Notes that are kept of those from before.
const MAX_FOUND: usize = 4096;

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
    shared: Arc<Mutex<Written>>,
}

#[derive(Debug)]
struct Written {
    file: File,
    bytes: u64,
    /// What runs, and what is left of before.
    open: BTreeMap<String, Note>,
    /// What has ended since the last write.
    ended: Vec<String>,
}

impl Notes {
    /// Those in a file, which is made for this process's user alone; and what it said of before, by the marks of the runs.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: &Path) -> io::Result<(Self, BTreeMap<String, Note>)> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        // those of another agent that runs here are not touched
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut found = read(&file)?;
        while found.len() > MAX_FOUND {
            found.pop_first();
        }
        let bytes = write_anew(&mut file, &found)?;
        let written = Written { file, bytes, open: found.clone(), ended: Vec::new() };
        Ok((Self { shared: Arc::new(Mutex::new(written)) }, found))
    }

    /// What a process of this kind is noted as.
    pub fn of(&self, kind: Kind, procedure: &str) -> Noting {
        Noting { notes: self.clone(), note: Note { kind, procedure: procedure.to_owned() } }
    }

    /// Forgets one of before. That it is gone is as good.
    pub fn forget(&self, mark: &str) {
        let mut written = self.written();
        if written.open.remove(mark).is_some() {
            written.ended.push(mark.to_owned());
        }
    }

    /// Whether something has ended that is not written down.
    pub fn is_behind(&self) -> bool {
        !self.written().ended.is_empty()
    }

    /// Writes down what has ended. Blocks.
    pub fn flush(&self) {
        let mut written = self.written();
        if !written.ended.is_empty() {
            // tried again with the next
            let _said = written.append("").inspect_err(|error| {
                tracing::debug!(%error, "that something has ended cannot be noted");
            });
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // nothing panics while it holds the lock
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// Appends a line, after those of what has ended. Each begins where a write that was cut short may have ended.
    fn append(&mut self, line: &str) -> io::Result<()> {
        let mut text: String = self.ended.iter().flat_map(|mark| ["\n- ", mark]).collect();
        text.push_str(line);
        if self.bytes.saturating_add(text.len() as u64) > MAX_WRITTEN {
            self.bytes = write_anew(&mut self.file, &self.open)?;
        } else {
            // whatever of it is written, it is no more
            self.bytes = self.bytes.saturating_add(text.len() as u64);
            self.file.write_all(text.as_bytes())?;
        }
        self.ended.clear();
        Ok(())
    }
}

fn line(mark: &str, Note { kind, procedure }: &Note) -> String {
    format!("\n+ {mark} {} {procedure}", kind.as_str())
}

/// Has the file say this alone.
fn write_anew(file: &mut File, open: &BTreeMap<String, Note>) -> io::Result<u64> {
    let text: String = open.iter().map(|(mark, note)| line(mark, note)).collect();
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    Ok(text.len() as u64)
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
        written.open.insert(mark.to_owned(), self.note.clone());
        // when the file is written anew the note is in it already
        let _said = written.append(&line(mark, &self.note)).inspect_err(|error| {
            tracing::debug!(%error, "something that runs cannot be noted");
        });
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
    use std::fs;

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
