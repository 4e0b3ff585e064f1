//! One file from an agent.

use std::ffi::OsStr;
use std::io::{Seek as _, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use redpoll_net::{CallEvent, random};
use tokio::time::Instant;

use super::local::{Folder, Target, failed, hash_aside, hex, id_of};
use super::remote::{AGAIN, Failure, Looks, ReadEnd, is_changed};
use super::{Copy, Done, parts};
use crate::exit::Exit;
use crate::report::Report;

const READ: &str = "file.read";
/// How often a file is looked at anew that was changed between the look and the copy.
const LOOKS: usize = 3;
/// Bytes that a file can have.
const MOST: u64 = u64::MAX >> 1;
/// What to do about an agent that says of a file what cannot be.
pub(super) const TRUSTED: &str =
    "what came is thrown away; run the same command again. If it stays so: do you trust this agent?";

impl Copy<'_> {
    /// Copies a file into a local folder. One that takes longer than the agent lets a call take goes on where it was; one that is
    /// another by now is looked at anew.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn download(
        &self,
        source: &Path,
        looks: &Looks,
        folder: &Folder,
        name: &OsStr,
    ) -> Result<Done, Failure> {
        self.possible(looks)?;
        self.meter.expect(looks.size);
        let (begin, mut looks) = (self.meter.position(), looks.clone());
        for _ in 1..LOOKS {
            let failure = match self.download_as(source, &looks, folder, name).await {
                Err(failure) if is_changed(&failure) => failure,
                ended => return ended,
            };
            looks = self.remote.stat(source).await?;
            self.possible(&looks)?;
            if looks.r#type != "file" {
                return Err(failure);
            }
            self.meter.back_to(begin);
        }
        self.download_as(source, &looks, folder, name).await
    }

    async fn download_as(
        &self,
        source: &Path,
        looks: &Looks,
        folder: &Folder,
        name: &OsStr,
    ) -> Result<Done, Failure> {
        let id = if self.wishes.resume {
            let id = parts::id(&self.remote.agent, source, looks, name);
            folder.remove_older(&id);
            id
        } else {
            // nobody else writes what nobody goes on with
            id_of(&[&random::bytes16(), &random::bytes16()])
        };
        let (begin, mut had) = (self.meter.position(), 0);
        loop {
            let target = folder.begin(name, &id, self.wishes.resume)?;
            let failure = match self.download_once(source, looks, target).await {
                Err(failure) if failure.exit == Exit::TimedOut && self.wishes.resume => failure,
                ended => return ended.map_err(|failure| self.broken_off(failure, &id)),
            };
            let is_over = self.remote.deadline().is_some_and(|deadline| deadline <= Instant::now());
            let here = folder.begin(name, &id, true)?.had;
            if is_over || here <= had {
                return Err(self.broken_off(failure, &id));
            }
            had = here;
            self.meter.back_to(begin);
        }
    }

    /// One that can be gone on with says what lies there until somebody does.
    fn broken_off(&self, mut failure: Failure, id: &str) -> Failure {
        if self.wishes.resume && failure.help == AGAIN {
            failure.help = parts::again(id);
        }
        failure
    }

    async fn download_once(
        &self,
        source: &Path,
        looks: &Looks,
        mut target: Target<'_>,
    ) -> Result<Done, Failure> {
        let mut resumed = target.had;
        if resumed > looks.size {
            resumed = 0;
            target.file.set_len(0).map_err(|error| failed("write", &target.path, error))?;
        }
        let hash = hash_aside(&target.file, resumed, Context::new(&SHA256)).await;
        let mut hash = hash.map_err(|error| failed("read", &target.path, error))?;
        self.meter.copied(resumed);
        let path = target.path.clone();
        let rest = (source, looks, resumed);
        let streamed = self.download_streamed(rest, &mut hash, (&target.file, &path)).await;
        let read = match streamed {
            // what came was compared over the connection
            Ok(Ok(end)) => Ok((end, looks.size - resumed, Vec::new())),
            Ok(Err(notes)) => {
                let write =
                    |data: &[u8]| target.file.write_all(data).map_err(|error| failed("write", &path, error));
                self.read(source, looks, resumed, &mut hash, write).await.map(|end| (end, 0, notes))
            }
            Err(failure) => Err(failure),
        };
        let (end, streamed, mut notes) = match read {
            Ok(read) => read,
            Err(failure) => {
                // a file that is another now, and bytes that are not what was sent, are of no use
                if failure.exit == Exit::Failed {
                    target.discard();
                }
                return Err(failure);
            }
        };
        // what its owner alone may read there is nobody else's here; and nobody else writes
        let mode = self.wishes.mode.or_else(|| target.old_mode()).unwrap_or(looks.mode & 0o755);
        if self.wishes.verify {
            target.file.rewind().map_err(|error| failed("read", &target.path, error))?;
            let again = hash_aside(&target.file, looks.size, Context::new(&SHA256)).await;
            let again = again.map_err(|error| failed("read", &target.path, error))?;
            if hex(&again) != hex(&hash) {
                target.discard();
                let what = format!("{} is not what was copied", target.path.display());
                let why = "what was read back is not what was written";
                return Err(Box::new(Report::new(Exit::Failed, what, why, "is the disk healthy?")));
            }
        }
        notes.extend(target.finish(mode)?);
        notes.extend(self.note(source, &end)?);
        Ok(Done { files: 1, bytes: looks.size, resumed, streamed, notes, untold: 0 })
    }

    /// Copies a file to a stream.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn download_to(
        &self,
        source: &Path,
        looks: &Looks,
        write: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Done, Failure> {
        self.possible(looks)?;
        self.meter.expect(looks.size);
        let mut hash = Context::new(&SHA256);
        let end = self.read(source, looks, 0, &mut hash, write).await?;
        let notes = self.note(source, &end)?;
        Ok(Done { files: 1, bytes: looks.size, notes, ..Done::default() })
    }

    /// Refuses a size that no file can have, before anything is made here for it.
    fn possible(&self, looks: &Looks) -> Result<(), Failure> {
        if looks.size <= MOST {
            return Ok(());
        }
        Err(strange(&self.remote.agent, &format!("it says that the file has {} bytes", looks.size)))
    }

    /// A file that grows, such as a log, can be copied: what it held at the beginning.
    fn note(&self, source: &Path, end: &ReadEnd) -> Result<Vec<String>, Failure> {
        if !end.changed {
            return Ok(Vec::new());
        }
        let what = format!("{}: {} was changed while it was copied", self.remote.agent, source.display());
        if self.wishes.verify {
            let why = "the copy may be of before and after";
            return Err(Box::new(Report::new(Exit::Failed, what, why, "run the same command again")));
        }
        Ok(vec![format!("{what}; the copy is what was read")])
    }

    /// Whether what came is what was sent.
    fn same(&self, end: ReadEnd, hash: &Context) -> Result<ReadEnd, Failure> {
        if end.sha256.as_deref() == Some(hex(hash).as_str()) {
            return Ok(end);
        }
        Err(strange(&self.remote.agent, "the sha256 of what came is not that of the file"))
    }

    async fn read(
        &self,
        source: &Path,
        looks: &Looks,
        from: u64,
        hash: &mut Context,
        mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<ReadEnd, Failure> {
        let strange = |why: &str| Err(strange(&self.remote.agent, why));
        let mut stream = self.remote.start_read(source, from, looks).await?;
        let mut left = looks.size - from;
        loop {
            match stream.next().await {
                Some(CallEvent::Value(value)) => {
                    let Some(data) = value.octets() else { return strange("a value is not binary") };
                    let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    if len > left {
                        return strange("more bytes came than the file has");
                    }
                    hash.update(&data);
                    write(&data)?;
                    left -= len;
                    self.meter.copied(len);
                }
                Some(CallEvent::Progress(_)) => {}
                Some(CallEvent::End(Ok(answer))) => {
                    let end: ReadEnd = self.remote.read(READ, &answer)?;
                    if left > 0 {
                        return strange("fewer bytes came than the file has");
                    }
                    return self.same(end, hash);
                }
                Some(CallEvent::End(Err(error))) => return Err(self.remote.failed(READ, error)),
                None => return strange("the call ended without an answer"),
            }
        }
    }
}

/// What came is not the file.
pub(super) fn strange(agent: &str, why: &str) -> Failure {
    let what = format!("{agent}: {READ} gave something else than the file");
    Box::new(Report::new(Exit::Failed, what, why, TRUSTED))
}
