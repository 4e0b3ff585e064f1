//! Which runs have left something, on disk: their processes outlive the agent, its spool forgets the runs once the manager has their
//! end.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redpoll_common::job::wire::RunRef;
use redpoll_common::job::{Attempt, Dno, JobId};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock;

/// The file in the agent's state folder.
const FILE: &str = "leftovers.json";
/// The most bytes of it that are read.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Runs that are remembered. An agent has no more at a time than its `limits.jobs`; those with the lowest dispatch numbers go first.
pub(super) const MAX_RUNS: usize = 4096;

/// Why it cannot be read, moved away or written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used", path.display())]
pub struct LeftoversError {
    /// The file.
    path: PathBuf,
    /// Why.
    #[source]
    source: io::Error,
}

/// What is remembered of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// The procedure; empty when nobody knows it.
    pub(super) procedure: String,
    /// The boot-time clock when the agent found what is left, in milliseconds.
    pub(super) since_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// During which boot of the machine it was written: no process outlives one.
    boot: Option<String>,
    runs: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    job: String,
    attempt: u16,
    dno: u64,
    procedure: String,
    since_ms: u64,
}

/// Reads what was written down in a folder; nothing of another boot. A file that makes no sense, or is of a newer version, is moved away and kept: an agent that
/// does not start would be worse than what is forgotten with it. One that cannot be read now may be read by the next start, and stays.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<RunRef, Note>, LeftoversError> {
    let path = folder.join(FILE);
    let text = match load(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(LeftoversError { path, source }),
    };
    let error = match parse(&text) {
        Ok(notes) => return Ok(notes),
        Err(error) => error,
    };
    let kept = folder.join(format!("{FILE}.bad-{}", redpoll_net::clock::wall_ms()));
    fs::rename(&path, &kept).map_err(|source| LeftoversError { path: path.clone(), source })?;
    warn!(
        file = %path.display(), %error, kept = %kept.display(),
        help = "what is left of runs that ended as unknown before the last start is forgotten: sys.leftovers does not list it, and another \
                attempt of such a job may run beside it. Look with ps for processes whose environment has REDPOLL_JOB, end what should not \
                run, and remove the file that was kept",
        "what was left of runs makes no sense, or is of a newer version, and is moved away"
    );
    Ok(BTreeMap::new())
}

fn load(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}

fn parse(text: &[u8]) -> io::Result<BTreeMap<RunRef, Note>> {
    let content: Content = serde_json::from_slice(text)?;
    if content.boot.is_none() || content.boot != clock::boot_id() {
        return Ok(BTreeMap::new());
    }
    let note = |line: Line| {
        let job = JobId::parse(&line.job).map_err(io::Error::other)?;
        let run = RunRef { job, attempt: Attempt(line.attempt), dno: Dno(line.dno) };
        Ok((run, Note { procedure: line.procedure, since_ms: line.since_ms }))
    };
    content.runs.into_iter().map(note).collect()
}

/// Replaces the file in one step; without anything to remember there is none.
pub(super) fn write<'n>(
    folder: &Path,
    notes: impl Iterator<Item = (&'n RunRef, &'n Note)>,
) -> Result<(), LeftoversError> {
    let path = folder.join(FILE);
    let line = |(run, note): (&RunRef, &Note)| Line {
        job: run.job.to_string(),
        attempt: run.attempt.0,
        dno: run.dno.0,
        procedure: note.procedure.clone(),
        since_ms: note.since_ms,
    };
    let content = Content { boot: clock::boot_id(), runs: notes.map(line).collect() };
    let replace = || {
        if content.runs.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let new = folder.join(format!("{FILE}.new"));
        let text = serde_json::to_vec(&content).map_err(io::Error::other)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    replace().map_err(|source| LeftoversError { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn notes() -> BTreeMap<RunRef, Note> {
        let run = |n: u64| RunRef { job: JobId::from_bytes([7; 16]), attempt: Attempt(1), dno: Dno(n) };
        (1..4).map(|n| (run(n), Note { procedure: format!("web.deploy@{n}"), since_ms: n })).collect()
    }

    #[test]
    fn what_is_written_down_is_read_again_and_nothing_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), BTreeMap::new());
        write(folder.path(), notes().iter()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), notes());
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for _ in 0..2 {
            write(folder.path(), BTreeMap::new().iter()).unwrap();
            assert!(!folder.path().join(FILE).exists());
        }
    }

    #[test]
    fn nothing_outlives_a_boot() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), notes().iter()).unwrap();
        let file = folder.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap().replace(&clock::boot_id().unwrap(), "another");
        fs::write(&file, text).unwrap();
        assert_eq!(read(folder.path()).unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_file_that_makes_no_sense_is_kept_beside_and_the_next_is_written_as_if_there_were_none() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), notes().iter()).unwrap();
        let file = folder.path().join(FILE);
        let good = fs::read_to_string(&file).unwrap();
        for text in ["", "{", "[]", &good.replace("0707", "x"), &good.replace("dno", "number")] {
            fs::write(&file, text).unwrap();
            assert_eq!(read(folder.path()).unwrap(), BTreeMap::new(), "{text}");
            let kept: Vec<PathBuf> =
                fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().path()).collect();
            assert_eq!(kept.len(), 1, "{kept:?}");
            assert!(kept[0].to_str().unwrap().contains("leftovers.json.bad-"), "{kept:?}");
            assert_eq!(fs::read_to_string(&kept[0]).unwrap(), text, "nothing of it is lost");
            fs::remove_file(&kept[0]).unwrap();
            write(folder.path(), notes().iter()).unwrap();
            assert_eq!(read(folder.path()).unwrap(), notes());
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        // opened like any file, and an error when it is read: also for root, whom no mode of a file stops
        fs::create_dir(&file).unwrap();
        let error = read(folder.path()).unwrap_err();
        assert_eq!(
            (error.path.as_path(), error.source.kind()),
            (file.as_path(), io::ErrorKind::IsADirectory)
        );
        let there: Vec<PathBuf> =
            fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().path()).collect();
        assert_eq!(there, [file], "nothing is moved away");
    }
}
