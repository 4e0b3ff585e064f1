//! `file.write`: a file in one call or in many, or a folder.
//!
//! A file in many calls is an *upload* with a name that its sender chose. `query` tells what of it is here, chunks are added
//! in the order of their offsets whichever comes first, and `commit` puts it in the place of its target, at once and whole.
//! Until then the target is what it was.

use std::ffi::{OsStr, OsString};

use bytes::Bytes;
use redpoll_common::wire::{Fault, Raw};
use redpoll_net::CallContext;
use serde::Serialize;

use super::arguments::{WriteArguments, data, path, read};
use super::at_once::AtOnce;
use super::error::FileError;
use super::look::Looks;
use super::open::walk;
use super::order::{Step, step};
use super::path::{Need, Place};
use super::stream::{self, Asked, Connected};
use super::sweep::admit;
use super::upload::{Finish, Part, target};
use super::uploads::{Held, ID_LEN};
use super::{Cancelled, Files};
use crate::builtin::arguments::answer;

/// How much of an upload is here.
#[derive(Debug, Serialize)]
struct Progress {
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// What a call wants.
enum Wanted {
    AtOnce(AtOnce),
    /// Of an upload of this name.
    Of(String, Want),
}

/// What it wants of an upload.
enum Want {
    Query,
    Chunk { offset: u64, data: Bytes },
    Rest { offset: u64, commit: Option<Finish> },
    Commit(Finish),
    Abort,
}

/// `file.write`
pub(super) async fn write(files: Files, call: CallContext) -> Result<Raw, Fault> {
    let asked: WriteArguments = read(&call)?;
    let data = asked.data.as_ref().and_then(|_given| data(&call));
    let stream = asked.stream.map(|ticket| Asked::of(&call, ticket)).transpose()?;
    drop(call);
    let (target, wanted) = sort(asked, data)?;
    let place = files.roots.place(&target, Need::Write).map_err(FileError::from)?;
    if place.names.is_empty() {
        let text = format!("{target:?} is a folder of files.write itself");
        return Err(FileError::failed("IsAFolder", text).into());
    }
    let (upload, want) = match wanted {
        Wanted::AtOnce(it) => {
            return Ok(answer(
                &files.work(move |files, cancelled| it.write(files, &place, cancelled)).await?,
            )?);
        }
        Wanted::Of(id, want) => (Upload { place, id }, want),
    };
    match want {
        Want::Query => Ok(answer(&upload.query(&files).await?)?),
        Want::Chunk { offset, data } => Ok(answer(&upload.chunk(&files, offset, data).await?)?),
        Want::Rest { offset, commit } => match stream {
            Some(asked) => Ok(upload.rest(&files, offset, commit, asked).await?.answer()?),
            None => Err(no_upload().into()),
        },
        Want::Commit(finish) => Ok(answer(&upload.commit(&files, finish).await?)?),
        Want::Abort => Ok(answer(&upload.abort(&files).await?)?),
    }
}

/// Finds out what is wanted, and that it is one thing.
fn sort(asked: WriteArguments, data: Option<Bytes>) -> Result<(std::path::PathBuf, Wanted), FileError> {
    let stream = asked.stream.is_some();
    let WriteArguments { path: to, upload, offset, query, commit, abort, folder, .. } = asked;
    if asked.mode.is_some_and(|mode| mode > 0o7777) {
        return wrong("mode has more than the bits of 0o7777");
    }
    if asked.new_mode.is_some_and(|mode| mode > 0o777) {
        return wrong("new_mode has more than the bits of 0o777");
    }
    let is_id = |id: &String| {
        id.len() == ID_LEN && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if upload.as_ref().is_some_and(|id| !is_id(id)) {
        return wrong("upload is not 32 digits of 0 to 9 and a to f");
    }
    let (mode, new_mode, owner, group) = (asked.mode, asked.new_mode, asked.owner, asked.group);
    let finish = |size, sha256| Finish { size, sha256, mode, new_mode, owner, group };
    let of = |id, want| Ok(Wanted::Of(id, want));
    let wanted = match (upload, data, query, commit, abort, folder) {
        (None, None, false, false, false, true) => {
            Ok(Wanted::AtOnce(AtOnce::Folder { mode, owner: finish(0, None) }))
        }
        (None, Some(data), false, false, false, false) if offset.is_none() => {
            let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
            Ok(Wanted::AtOnce(AtOnce::Whole { data, finish: finish(size, asked.sha256) }))
        }
        (Some(id), None, true, false, false, false) => of(id, Want::Query),
        (Some(id), None, false, commit, false, false) if stream => match offset {
            Some(offset) => of(id, Want::Rest { offset, commit: commit.then(|| finish(0, None)) }),
            None => wrong("a stream needs the offset at which it begins"),
        },
        _ if stream => wrong("stream goes with upload, offset, and commit if it is to be in its place then"),
        (Some(id), Some(data), false, false, false, false) => match offset {
            Some(offset) => of(id, Want::Chunk { offset, data }),
            None => wrong("a chunk of an upload needs its offset"),
        },
        (Some(id), None, false, true, false, false) => match (asked.size, asked.sha256) {
            (Some(size), Some(sha256)) => of(id, Want::Commit(finish(size, Some(sha256)))),
            _ => wrong("a commit needs the size and the sha256 of the whole"),
        },
        (Some(id), None, false, false, true, false) => of(id, Want::Abort),
        _ => wrong(
            "give data alone; or an upload with one of data and offset, query, commit, abort; or folder",
        ),
    };
    Ok((path(to), wanted?))
}

fn wrong<T>(text: &str) -> Result<T, FileError> {
    Err(FileError::Arguments(format!("file.write: {text}")))
}

/// What became of an upload that was streamed.
enum Added {
    /// So much of it is here.
    More(u64),
    /// It is in its place.
    Whole(Looks),
}

impl Added {
    fn answer(&self) -> Result<Raw, Fault> {
        match self {
            Self::More(size) => Ok(answer(&Progress { size: *size, sha256: None })?),
            Self::Whole(looks) => Ok(answer(looks)?),
        }
    }
}

/// An upload to a place.
pub(super) struct Upload {
    pub(super) place: Place,
    pub(super) id: String,
}

impl Upload {
    /// Does something with an upload when it is its turn, and says whether it goes on after that. `None` when there is no
    /// such upload.
    async fn with<T: Send + 'static>(
        &self,
        files: &Files,
        ready: impl Fn(u64) -> bool,
        create: bool,
        mut work: impl FnOnce(&mut Part) -> Result<(T, bool), FileError> + Send + 'static,
    ) -> Result<Option<T>, FileError> {
        let name = files.uploads.temporary(&self.id, &self.place.path())?;
        loop {
            let held = files.uploads.take(&name, &ready).await?;
            let (place, name) = (self.place.clone(), name.clone());
            if held.part.is_some() {
                match files.work(move |files, _| take_turn(files, &place, held, work)).await? {
                    Ok(done) => return Ok(Some(done)),
                    Err(not_done) => work = not_done,
                }
                continue;
            }
            let opened = files.work(move |files, cancelled| {
                let opened = open(files, &place, &name, create, cancelled)?;
                let is_there = opened.is_some();
                if let Some(part) = opened {
                    held.found(part);
                }
                Ok(is_there)
            });
            if !opened.await? {
                return Ok(None);
            }
        }
    }

    async fn query(&self, files: &Files) -> Result<Progress, FileError> {
        let look = |part: &mut Part| Ok(((part.written, part.sha256()), true));
        if let Some((size, sha256)) = unless_over(self.with(files, |_| true, false, look).await)? {
            return Ok(Progress { size, sha256: Some(sha256) });
        }
        Ok(match self.in_place(files).await? {
            Some((file, size)) => Progress { size, sha256: Some(file.sha256) },
            None => Progress { size: 0, sha256: None },
        })
    }

    async fn chunk(&self, files: &Files, offset: u64, data: Bytes) -> Result<Progress, FileError> {
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let ready = move |written| step(written, offset, len) != Step::Wait;
        let add = move |part: &mut Part| {
            if let Step::Write(there) = step(part.written, offset, len) {
                // that both copies are of the same file is told by the digest in the end
                part.add(data.get(usize::try_from(there).unwrap_or(usize::MAX)..).unwrap_or_default())?;
            }
            Ok((part.written, true))
        };
        let size = self.with(files, ready, offset == 0, add).await?.ok_or_else(no_upload)?;
        Ok(Progress { size, sha256: None })
    }

    /// The rest of it over a connection of its own, and with `commit` into its place.
    async fn rest(
        &self,
        files: &Files,
        offset: u64,
        commit: Option<Finish>,
        asked: Asked,
    ) -> Result<Added, FileError> {
        // what must fail fails before anybody dials
        self.chunk(files, offset, Bytes::new()).await?;
        let Connected { line, cutter: _cut_when_dropped, files } = asked.dial(files).await?;
        let place = self.placing(&files)?;
        let add = move |part: &mut Part| {
            stream::receive(part, offset, line)?;
            let Some(finish) = commit else { return Ok((Added::More(part.written), true)) };
            let finish = Finish { size: part.written, ..finish };
            Ok((Added::Whole(place(part, &finish)?), false))
        };
        let added = self.with(&files, move |written| written >= offset, false, add).await;
        self.told(&files)?;
        added?.ok_or_else(no_upload)
    }

    async fn commit(&self, files: &Files, finish: Finish) -> Result<Looks, FileError> {
        let (size, sha256) = (finish.size, finish.sha256.clone());
        let place = self.placing(files)?;
        let end = move |part: &mut Part| Ok((place(part, &finish)?, false));
        let ended = unless_over(self.with(files, move |written| written >= size, false, end).await);
        let looks = match ended {
            Ok(None) => {
                let there = self.in_place(files).await?;
                let same = there
                    .filter(|(file, len)| *len == size && sha256.is_none_or(|sha256| sha256 == file.sha256));
                same.map(|(file, _)| file.looks).ok_or_else(no_upload)
            }
            ended => ended.and_then(|looks| looks.ok_or_else(no_upload)),
        };
        self.told(files)?;
        looks
    }

    async fn abort(&self, files: &Files) -> Result<Progress, FileError> {
        let discard = |part: &mut Part| {
            part.discard();
            Ok((part.written, false))
        };
        let size = self.with(files, |_| true, false, discard).await?.unwrap_or(0);
        Ok(Progress { size, sha256: None })
    }
}

/// Does something with a part, on a thread of its own, and decides what becomes of it. One that does not lie where its path leads any more
/// is removed, and the work given back: what is there now is to be looked for, as after a restart.
fn take_turn<T, W: FnOnce(&mut Part) -> Result<(T, bool), FileError>>(
    files: &Files,
    place: &Place,
    mut held: Held,
    work: W,
) -> Result<Result<T, W>, FileError> {
    let Some(part) = held.part.as_mut() else { return Err(no_upload()) };
    if !part.is_at(place, &files.protected.now())? {
        part.discard();
        held.part = None;
        return Ok(Err(work));
    }
    let worked = work(part);
    match &worked {
        Ok((_, true)) => {}
        Ok((_, false)) => held.end(no_upload()),
        // a wrong owner can be put right, and a gap filled
        Err(error) if !is_fatal(error) => {}
        Err(error) => {
            part.discard();
            held.end(error.clone());
        }
    }
    worked.map(|(answer, _)| Ok(answer))
}

/// Whether an upload is of no use after this. On a full disk it is in the way, too.
fn is_fatal(error: &FileError) -> bool {
    ["NoSpace", "FileTooLarge", "Checksum", "IoError", "ReadOnly", "Changed", "NotSynced"]
        .iter()
        .any(|class| error.is(class))
}

/// That an upload has ended meanwhile is as if there were none.
fn unless_over<T>(found: Result<Option<T>, FileError>) -> Result<Option<T>, FileError> {
    match found {
        Err(error) if error.is("NoUpload") => Ok(None),
        found => found,
    }
}

fn no_upload() -> FileError {
    FileError::failed("NoUpload", "there is no such upload; begin it with the chunk at 0")
}

/// Opens an upload, or begins it.
fn open(
    files: &Files,
    place: &Place,
    name: &OsStr,
    create: bool,
    cancelled: &Cancelled,
) -> Result<Option<Part>, FileError> {
    let guard = files.protected.now();
    let spot = walk(place, &guard)?;
    target(&spot, &guard)?;
    let (name, note): (OsString, _) = (name.to_owned(), files.uploads.note(name));
    match Part::reopen(spot, name, note, cancelled)? {
        Ok(part) => Ok(Some(part)),
        Err(_) if !create => Ok(None),
        Err((spot, name, note)) => {
            admit(files)?;
            Part::create(spot, name, note).map(Some)
        }
    }
}
