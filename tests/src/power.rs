//! Power that fails: what a program does to the files of a folder is recorded with `strace`, and made again as a disk has it
//! whose power failed at any moment: with what was synced by then, and of the rest nothing, all, or any part.
//!
//! What a kill cannot show: the system keeps what a killed program has written, synced or not.
//!
//! Names of files are taken to be on disk at once; what is in them is not.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::eventually;

mod trace;

/// What is traced: all that changes files or syncs them, and what is started.
const TRACED: &str = "trace=execve,openat,write,writev,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync,rename,unlink,unlinkat";

/// UTC microseconds: the clock of the records.
pub fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Records a program.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    traces: TempDir,
    before: Disk,
}

/// The files of a folder.
pub type Disk = BTreeMap<PathBuf, Content>;

/// What is in a file: bytes, and zeros up to its length, which may be many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    bytes: Vec<u8>,
    len: usize,
}

impl Content {
    fn read(path: &Path) -> Self {
        let mut bytes = std::fs::read(path).expect("a file");
        let len = bytes.len();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        Self { bytes, len }
    }

    fn write(&mut self, from: usize, data: &[u8]) {
        let to = from + data.len();
        self.bytes.resize(self.bytes.len().max(to), 0);
        self.bytes.get_mut(from..to).expect("a place in the file").copy_from_slice(data);
        self.len = self.len.max(to);
    }

    fn cut(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.len = len;
    }
}

/// What a program did.
#[derive(Debug)]
pub struct Tape {
    folder: PathBuf,
    before: Disk,
    calls: Vec<Call>,
}

/// Something that a program asked the system to do, and that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it was asked for, and when it was done, in UTC microseconds.
    pub at_us: u64,
    /// See there.
    pub done_us: u64,
    /// What.
    pub what: What,
    /// When the first sync of the file was done that began after this; `None` is never.
    safe_us: Option<u64>,
}

/// What was done to a file; files are named by their paths at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is there, and empty if that was asked for.
    Made(PathBuf, bool),
    /// Bytes at a place.
    Wrote(PathBuf, usize, Vec<u8>),
    /// It has this length now.
    Cut(PathBuf, usize),
    /// It has at least this length now.
    Grown(PathBuf, usize),
    /// All that was done to it is on disk.
    Synced(PathBuf),
    /// It has another name.
    Renamed(PathBuf, PathBuf),
    /// It has no name any more.
    Removed(PathBuf),
    /// A program was started.
    Started(PathBuf),
}

impl Recorder {
    /// Of what is done to the files of a folder, beginning with what is there now.
    ///
    /// # Panics
    /// When this machine has no `strace`, or does not let it trace.
    pub fn of(folder: &Path) -> Self {
        let probe = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
        assert!(
            probe.as_ref().is_ok_and(|probe| probe.status.success()),
            "this test records what is written with strace, and cannot: {probe:?}\nhelp: install the package strace, and allow ptrace"
        );
        let mut before = BTreeMap::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) && is_told(&entry.path()) {
                before.insert(entry.path(), Content::read(&entry.path()));
            }
        }
        Self { folder: folder.to_path_buf(), traces: TempDir::new().expect("a folder"), before }
    }

    /// What to start the program with.
    pub fn wrapper(&self) -> Vec<String> {
        // the program is our child, and strace its tracer beside it; each thread has a file of its own, in which no call is torn
        let words =
            ["strace", "-D", "-q", "-ff", "-ttt", "-T", "-y", "-xx", "-s", "8388608", "-e", TRACED, "-o"];
        let to = self.traces.path().join("t").display().to_string();
        words.map(str::to_owned).into_iter().chain([to]).collect()
    }

    /// What was done, once the program has ended.
    ///
    /// # Panics
    /// When the record is not what it should be.
    pub async fn tape(self) -> Tape {
        let mut files = Vec::new();
        eventually("the tracer is done", async || {
            let entries = std::fs::read_dir(self.traces.path()).ok()?.flatten();
            files = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
            let done = |text: &String| text.lines().last().is_some_and(|line| line.contains("+++"));
            (!files.is_empty() && files.iter().all(done)).then_some(())
        })
        .await;
        let lines = files.iter().flat_map(|text| text.lines());
        let mut calls: Vec<Call> = lines.filter_map(|line| trace::call(line, &self.folder)).collect();
        calls.sort_by_key(|call| call.at_us);
        let mut tape = Tape { folder: self.folder, before: self.before, calls };
        tape.note_syncs();
        tape
    }
}

/// The reserve, locks, the index of the log and the address say nothing of what is stored.
fn is_told(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ![".reserve", "lock", "-shm"].iter().any(|end| name.ends_with(end)) && !name.starts_with("listen.")
}

impl Tape {
    /// All calls, in their order.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// When something was synced.
    pub fn syncs(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| matches!(call.what, What::Synced(_)))
    }

    /// When a program of this name was started.
    pub fn starts(&self, name: &str) -> Vec<u64> {
        let is_it = |call: &&Call| matches!(&call.what, What::Started(path) if path.ends_with(name));
        self.calls.iter().filter(is_it).map(|call| call.at_us).collect()
    }

    fn note_syncs(&mut self) {
        // from the end: the files as they are called, and the syncs that are still to come
        let mut coming: BTreeMap<PathBuf, Vec<(u64, u64)>> = BTreeMap::new();
        for call in self.calls.iter_mut().rev() {
            match &call.what {
                What::Synced(path) => {
                    coming.entry(path.clone()).or_default().push((call.at_us, call.done_us));
                }
                What::Renamed(from, to) => {
                    let syncs = coming.remove(to).unwrap_or_default();
                    coming.insert(from.clone(), syncs);
                }
                // what comes after is another file of that name
                What::Removed(path) => drop(coming.remove(path)),
                What::Made(path, true) => drop(coming.remove(path)),
                What::Wrote(path, ..) | What::Cut(path, _) | What::Grown(path, _) => {
                    let done = call.done_us;
                    let after = coming.get(path).into_iter().flatten().filter(|(began, _)| *began >= done);
                    call.safe_us = after.map(|(_, ended)| *ended).min();
                }
                What::Made(_, false) | What::Started(_) => {}
            }
        }
    }

    /// The files as they are on a disk whose power failed at `us`. `survives` is asked of each change that was not synced.
    pub fn disk_at(&self, us: u64, mut survives: impl FnMut() -> bool) -> Disk {
        let mut files = self.before.clone();
        for call in self.calls.iter().take_while(|call| call.at_us <= us) {
            let is_safe = call.safe_us.is_some_and(|safe| safe <= us);
            match &call.what {
                What::Made(path, emptied) => {
                    let file = files.entry(path.clone()).or_default();
                    if *emptied {
                        file.cut(0);
                    }
                }
                What::Renamed(from, to) => {
                    let file = files.remove(from).unwrap_or_default();
                    files.insert(to.clone(), file);
                }
                What::Removed(path) => drop(files.remove(path)),
                What::Synced(_) | What::Started(_) => {}
                What::Wrote(..) | What::Cut(..) | What::Grown(..) if !is_safe && !survives() => {}
                What::Wrote(path, from, bytes) => files.entry(path.clone()).or_default().write(*from, bytes),
                What::Cut(path, len) => files.entry(path.clone()).or_default().cut(*len),
                What::Grown(path, len) => {
                    let file = files.entry(path.clone()).or_default();
                    file.len = file.len.max(*len);
                }
            }
        }
        files
    }

    /// The same as a folder of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn folder_at(&self, us: u64, survives: impl FnMut() -> bool) -> TempDir {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder");
        let inner = folder.path().join("disk");
        std::fs::DirBuilder::new().mode(0o700).create(&inner).expect("a folder");
        for (path, content) in self.disk_at(us, survives) {
            let path = inner.join(path.strip_prefix(&self.folder).expect("a file of the folder"));
            let mut options = std::fs::File::options();
            let mut file = options.write(true).create_new(true).mode(0o600).open(path).expect("a file");
            std::io::Write::write_all(&mut file, &content.bytes).expect("a file");
            file.set_len(u64::try_from(content.len).unwrap_or(u64::MAX)).expect("a file");
        }
        folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(at_us: u64, what: What) -> Call {
        Call { at_us, done_us: at_us + 1, what, safe_us: None }
    }

    #[test]
    fn what_was_not_synced_is_lost_and_what_was_is_not() {
        let path = PathBuf::from("/d/f");
        let wrote = |at, byte: u8| What::Wrote(path.clone(), at, vec![byte]);
        let calls = vec![
            call(10, What::Made(path.clone(), false)),
            call(20, wrote(0, 1)),
            call(30, What::Synced(path.clone())),
            call(40, wrote(0, 2)),
            // began before the write was done
            Call { done_us: 60, ..call(45, wrote(1, 3)) },
            call(50, What::Synced(path.clone())),
        ];
        let mut tape = Tape { folder: "/d".into(), before: BTreeMap::new(), calls };
        tape.note_syncs();
        let at = |us, all| tape.disk_at(us, || all).remove(&path).map(|content| content.bytes);
        assert_eq!(at(5, true), None);
        assert_eq!(at(30, false), Some(vec![]));
        assert_eq!(at(31, false), Some(vec![1]));
        assert_eq!(at(50, false), Some(vec![1]));
        assert_eq!(at(51, false), Some(vec![2]));
        assert_eq!(at(99, false), Some(vec![2]));
        assert_eq!(at(99, true), Some(vec![2, 3]));
    }
}
