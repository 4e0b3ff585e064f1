//! `file.read` and `file.hash`: what is in a file.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::CallContext;
use redpoll_net::service::OutputError;
use rustix::fs::{Stat, fstat};
use serde::Serialize;

use super::arguments::{Expected, ReadArguments, path, read as read_arguments};
use super::error::FileError;
use super::look::{Looks, mtime_ns};
use super::open::walk;
use super::path::Need;
use super::stream::{self, Asked, Connected};
use super::{Cancelled, Files, hex};
use crate::builtin::arguments::answer;

/// Bytes that are read at once for a digest.
const BLOCK: usize = 256 * 1024;
/// The most bytes of a value.
const MAX_PIECE: usize = 256 * 1024;
/// What a value has beside the bytes in it.
const AROUND: usize = 64;

/// What follows the last value.
#[derive(Debug, Serialize)]
struct Read {
    #[serde(flatten)]
    looks: Looks,
    /// How many bytes were given, or taken into the digest.
    bytes: u64,
    /// Whether the file is another now than when it was opened, or was expected: what was read may be of before and after.
    changed: bool,
    sha256: Option<String>,
}

/// `file.read`
pub(super) async fn read(files: Files, call: CallContext) -> Result<Raw, Fault> {
    let asked: ReadArguments = read_arguments(&call)?;
    let output = &call.output;
    // four on the way at a time
    let window = usize::try_from(output.window() / 4).unwrap_or(MAX_PIECE);
    let piece = window.min(output.value_limit()).min(MAX_PIECE).saturating_sub(AROUND).max(1);
    let asked_stream = asked.stream.map(|ticket| Asked::of(&call, ticket)).transpose()?;
    let reader = files.work(move |files, cancelled| {
        // over a connection, what comes is compared there
        let whole = asked.sha256 && asked.stream.is_none();
        let mut reader = Reader::open(files, asked)?;
        if whole {
            reader.hash = Some(Context::new(&SHA256));
            reader.hash_before(cancelled)?;
        }
        Ok(reader)
    });
    let mut reader = reader.await?;
    if let Some(asked) = asked_stream {
        let Connected { line, cutter: _cut_when_dropped, files } = asked.dial(&files).await?;
        let given = files.work(move |_, cancelled| {
            stream::send(&mut reader, line, cancelled)?;
            reader.end(cancelled)
        });
        return Ok(answer(&given.await?)?);
    }
    let mut next = files.begin(step(reader, piece)).await;
    loop {
        let (reader, value) = next.ended().await?;
        let Some(value) = value else {
            return Ok(answer(&files.work(move |_, cancelled| reader.end(cancelled)).await?)?);
        };
        // while it is on its way, the next is read
        next = files.begin(step(reader, piece)).await;
        output.value(value).await.map_err(not_delivered)?;
    }
}

/// `file.hash`
pub(super) async fn hash(files: Files, call: CallContext) -> Result<Raw, Fault> {
    let asked: ReadArguments = read_arguments(&call)?;
    if asked.stream.is_some() {
        return Err(
            FileError::Arguments("file.hash gives no bytes, so stream means nothing".to_owned()).into()
        );
    }
    let read = files.work(move |files, cancelled| {
        let mut reader = Reader::open(files, asked)?;
        reader.hash = Some(Context::new(&SHA256));
        let mut block = vec![0; BLOCK];
        loop {
            cancelled.check()?;
            if reader.fill(&mut block)? == 0 {
                let read = reader.read();
                return reader.answer(read);
            }
        }
    });
    Ok(answer(&read.await?)?)
}

fn step(
    mut reader: Reader,
    piece: usize,
) -> impl FnOnce(&Files, &Cancelled) -> Result<(Reader, Option<Raw>), FileError> + Send + 'static {
    move |_, _| {
        let mut bytes = std::mem::take(&mut reader.buffer);
        bytes.resize(piece, 0);
        let len = reader.fill(&mut bytes)?;
        let value = bytes.get(..len).filter(|bytes| !bytes.is_empty()).map(Raw::bin);
        reader.buffer = bytes;
        Ok((reader, value))
    }
}

fn not_delivered(error: OutputError) -> Fault {
    match error {
        OutputError::Ended => Fault::new(FaultCode::Cancelled, "nobody waits for the file any more"),
        OutputError::TooDeep | OutputError::TooLarge { .. } => {
            Fault::new(FaultCode::TooLarge, format!("a piece of the file does not fit: {error}"))
        }
    }
}

impl Expected {
    fn of(stat: &Stat) -> Self {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Self { size, mtime_ns: mtime_ns(stat), inode: stat.st_ino }
    }

    /// Whether this can be what was expected with more at its end, as a log is that somebody writes.
    fn can_be_grown(&self, expected: &Self) -> bool {
        self.inode == expected.inode && self.size > expected.size && self.mtime_ns >= expected.mtime_ns
    }
}

/// A file that is being read.
pub(super) struct Reader {
    file: File,
    path: PathBuf,
    first: Stat,
    /// What is taken for the size: what was expected, when it has grown since.
    size: u64,
    from: u64,
    at: u64,
    end: u64,
    pub(super) hash: Option<Context>,
    buffer: Vec<u8>,
}

impl Reader {
    fn open(files: &Files, asked: ReadArguments) -> Result<Self, FileError> {
        let place = files.roots.place(&path(asked.path), Need::Read)?;
        let guard = files.protected.now();
        let spot = walk(&place, &guard)?;
        let (file, first) = spot.open_file(&guard)?;
        let path = spot.path;
        let found = Expected::of(&first);
        // of what was read before, nothing but a digest of the whole tells that it is the same still
        let may_have_grown = asked.offset == 0 || (asked.sha256 && asked.stream.is_none());
        let size = match &asked.expect {
            None => found.size,
            Some(expected) if found == *expected || (may_have_grown && found.can_be_grown(expected)) => {
                expected.size
            }
            Some(_) => {
                let text = format!("{path:?} is not the file any more that was expected");
                return Err(FileError::failed("Changed", text));
            }
        };
        if asked.offset > size {
            let text = format!("offset is {}, and {path:?} has {size} bytes", asked.offset);
            return Err(FileError::Arguments(text));
        }
        let end = asked.length.map_or(size, |length| asked.offset.saturating_add(length).min(size));
        let file = File::from(file);
        Ok(Self {
            file,
            path,
            first,
            size,
            from: asked.offset,
            at: asked.offset,
            end,
            hash: None,
            buffer: Vec::new(),
        })
    }

    /// Takes what is before the first byte that is given into the digest.
    fn hash_before(&mut self, cancelled: &Cancelled) -> Result<(), FileError> {
        let (from, end) = (self.at, self.end);
        (self.at, self.end) = (0, from);
        self.rest(cancelled)?;
        (self.at, self.end) = (from, end);
        Ok(())
    }

    fn rest(&mut self, cancelled: &Cancelled) -> Result<(), FileError> {
        let mut block = vec![0; BLOCK];
        while self.at < self.end {
            cancelled.check()?;
            self.fill(&mut block)?;
        }
        Ok(())
    }

    /// Reads the next bytes; 0 at the end.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FileError> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let len = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..len).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        self.file.read_exact_at(buffer, self.at).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                let text = format!("{:?} became shorter while it was read", self.path);
                return FileError::failed("Changed", text);
            }
            FileError::io("read", &self.path, &error)
        })?;
        if let Some(hash) = &mut self.hash {
            hash.update(buffer);
        }
        self.at = self.at.saturating_add(u64::try_from(len).unwrap_or(0));
        Ok(len)
    }

    pub(super) fn read(&self) -> u64 {
        self.at - self.from
    }

    /// What follows the last value. A digest is of the whole file, also when its end was not asked for.
    fn end(mut self, cancelled: &Cancelled) -> Result<Read, FileError> {
        let read = self.read();
        if self.hash.is_some() {
            self.end = self.size;
            self.rest(cancelled)?;
        }
        self.answer(read)
    }

    fn answer(self, bytes: u64) -> Result<Read, FileError> {
        let now = fstat(&self.file).map_err(|errno| FileError::os("look at", &self.path, errno))?;
        let time = |stat: &Stat| (stat.st_size, mtime_ns(stat), stat.st_ctime, stat.st_ctime_nsec);
        let has_grown = self.size != Expected::of(&self.first).size;
        Ok(Read {
            looks: Looks::from(&self.first),
            bytes,
            changed: has_grown || time(&now) != time(&self.first),
            sha256: self.hash.map(|hash| hex(hash.finish().as_ref())),
        })
    }
}
