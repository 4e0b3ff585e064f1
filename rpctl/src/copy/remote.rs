//! The calls of `file.*` on one agent.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::{CallArguments, method};
use redpoll_common::wire::{Raw, RawMap};
use redpoll_net::tls::TlsTransport;
use redpoll_net::{Call, CallError, CallStream, Peer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::link::{left, lost, refused, timed_out};
use crate::report::{Report, Target};

/// How long one answer may take: on a slow line the chunk before it, on the agent a file that is read for its digest.
pub(super) const ANSWER: Duration = Duration::from_secs(600);
/// The same for a file that is given as it comes.
const WHOLE: Duration = Duration::from_secs(30 * 86_400);
/// Bytes of arguments without data, about.
const SOME: usize = 256;
/// What to do after a copy broke off.
pub const AGAIN: &str = "run the same command again: it goes on where it was";

/// What to do about a file that is another, and about one that is not there.
const CHANGED: &str = "the file was changed meanwhile; run the same command again";
const FOLDER: &str = "copy a folder with -r";
const GONE: &str = "is the path right? see what is there: rpctl call AGENT file.list path=FOLDER";

/// Why a copy fails.
pub type Failure = Box<Report>;

/// Why a chunk was not taken.
#[derive(Debug)]
pub struct NotTaken {
    /// In words.
    pub failure: Failure,
    /// There was no upload any more: another chunk was refused before, and says why.
    pub follows: bool,
}

/// What is known of a file on an agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Looks {
    /// `file`, `folder`, `link` or `other`.
    pub r#type: String,
    /// In bytes.
    pub size: u64,
    /// The permission bits.
    pub mode: u32,
    /// When its content was changed.
    pub mtime_ns: i64,
    /// Its number.
    pub inode: u64,
}

impl Looks {
    /// The arguments of a read of this file from `offset` on, if it is still this.
    pub fn reading(&self, path: &Path, offset: u64, sha256: bool) -> impl Fn(RawMap) -> RawMap {
        move |map| {
            let expect = |map: RawMap| {
                map.uint("size", self.size)
                    .raw("mtime_ns", &Raw::encode(&self.mtime_ns).unwrap_or_else(|_| Raw::nil()))
                    .uint("inode", self.inode)
            };
            at(path)(map).uint("offset", offset).map("expect", expect).bool("sha256", sha256)
        }
    }

    /// The arguments of a digest of the first `len` bytes of this file, if it is still this.
    pub fn hashing(&self, path: &Path, len: u64) -> impl Fn(RawMap) -> RawMap {
        move |map| self.reading(path, 0, true)(map).uint("length", len)
    }
}

/// A name in a folder of an agent.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// The name, a text or binary.
    pub name: rmpv::Value,
    /// What it is.
    #[serde(flatten)]
    pub looks: Looks,
}

/// A page of a folder.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    /// What is in it.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub next: Option<rmpv::Value>,
}

/// How much of an upload is there.
#[derive(Debug, Clone, Deserialize)]
pub struct There {
    /// Bytes.
    pub size: u64,
    /// Of these bytes; none when there are none.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// What follows the last byte of a file.
#[derive(Debug, Clone, Deserialize)]
pub struct ReadEnd {
    /// Whether it changed meanwhile.
    pub changed: bool,
    /// Of the whole file.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// One agent.
#[derive(Debug, Clone)]
pub struct Remote {
    peer: Peer,
    transport: Option<Arc<TlsTransport>>,
    /// Its name.
    pub agent: String,
    deadline: Option<Instant>,
    verbose: bool,
}

/// A path or a name: a text, or binary if it is not UTF-8.
pub fn put(map: RawMap, key: &str, value: &OsStr) -> RawMap {
    match value.to_str() {
        Some(text) => map.text(key, text),
        None => map.bin(key, value.as_bytes()),
    }
}

/// Writes the path that is asked about.
pub fn at(path: &Path) -> impl Fn(RawMap) -> RawMap {
    move |map| put(map, "path", path.as_os_str())
}

/// The bytes of such a name.
pub fn octets(value: &rmpv::Value) -> Option<&[u8]> {
    if let rmpv::Value::String(text) = value { Some(text.as_bytes()) } else { value.as_slice() }
}

impl Remote {
    /// Calls this agent through `peer`, and stops at the deadline.
    pub fn new(peer: Peer, agent: String, deadline: Option<Instant>, verbose: bool) -> Self {
        Self { peer, transport: None, agent, deadline, verbose }
    }

    /// The same, with connections beside the session over this.
    #[must_use]
    pub fn with_transport(self, transport: Arc<TlsTransport>) -> Self {
        Self { transport: Some(transport), ..self }
    }

    /// The way to the manager, for connections beside the session.
    pub fn transport(&self) -> Option<&Arc<TlsTransport>> {
        self.transport.as_ref()
    }

    /// Until when all must be done.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Begins a call with these arguments that takes as long as the file.
    ///
    /// # Errors
    /// Why it was not sent.
    pub async fn start(&self, procedure: &str, kwargs: Raw) -> Result<CallStream, CallError> {
        let arguments = CallArguments {
            agent: self.agent.clone(),
            procedure: procedure.to_owned(),
            args: Raw::empty_array(),
            kwargs,
        };
        self.peer.start(self.request(arguments.write(), WHOLE)).await
    }

    /// Bytes that fit into a chunk, with all that is around them.
    pub fn chunk_limit(&self) -> usize {
        (self.peer.terms().frame_limit() / 2).max(1024)
    }

    /// The arguments of a call, which `fill` writes: some `bytes` in all.
    pub fn arguments(&self, procedure: &str, bytes: usize, fill: impl FnOnce(RawMap) -> RawMap) -> Raw {
        CallArguments::write_named(&self.agent, procedure, bytes, fill)
    }

    fn request(&self, arguments: Raw, within: Duration) -> Call {
        let within = self.deadline.map_or(within, |deadline| left(deadline).min(within));
        Call::new(method::CALL, within).with_kwargs(arguments)
    }

    /// Calls, and reads the answer.
    ///
    /// # Errors
    /// A [`Failure`] in words.
    pub async fn call<T: DeserializeOwned>(
        &self,
        procedure: &str,
        fill: impl FnOnce(RawMap) -> RawMap,
    ) -> Result<T, Failure> {
        self.call_with(procedure, self.arguments(procedure, SOME, fill)).await
    }

    /// The same with [`Self::arguments`].
    ///
    /// # Errors
    /// A [`Failure`] in words.
    pub async fn call_with<T: DeserializeOwned>(
        &self,
        procedure: &str,
        arguments: Raw,
    ) -> Result<T, Failure> {
        let answer = self.peer.call(self.request(arguments, ANSWER)).await;
        let answer = answer.map_err(|error| self.failed(procedure, error))?;
        self.read(procedure, &answer)
    }

    /// Sends a chunk of an upload.
    ///
    /// # Errors
    /// [`NotTaken`]
    pub async fn chunk(&self, procedure: &str, arguments: Raw) -> Result<(), NotTaken> {
        let answered = self.peer.call(self.request(arguments, ANSWER)).await;
        answered.map(|_there| ()).map_err(|error| {
            let no_upload = Some("NoUpload");
            let follows = matches!(&error, CallError::Fault(fault) if fault.class.as_deref() == no_upload);
            NotTaken { failure: self.failed(procedure, error), follows }
        })
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// A [`Failure`] when it is another than was asked for.
    pub fn read<T: DeserializeOwned>(&self, procedure: &str, answer: &Raw) -> Result<T, Failure> {
        answer.decode().map_err(|error| {
            let what = format!("cannot read the answer of {}: {procedure}", self.agent);
            let help = "compare the versions of rpctl and the agent";
            Box::new(Report::new(Exit::Internal, what, error.to_string(), help))
        })
    }

    /// Puts a failed call into words.
    pub fn failed(&self, procedure: &str, error: CallError) -> Failure {
        let target = Target::Procedure { agent: self.agent.clone(), procedure: procedure.to_owned() };
        let mut report = match &error {
            CallError::Fault(fault) => Report::of_fault(fault, &target, self.verbose),
            CallError::TimedOut(after) => timed_out(&target.name(), *after),
            CallError::Closed(reason) => lost(&target.name(), reason),
            CallError::Refused(refusal) => refused(&target.name(), refusal),
        };
        // neither is a failure of the file
        if matches!(&error, CallError::Fault(fault) if matches!(fault.class.as_deref(), Some("Broken" | "NoStream")))
        {
            report.exit = Exit::Unreachable;
        }
        if matches!(report.exit, Exit::TimedOut | Exit::Unknown | Exit::Unreachable) {
            report.help = AGAIN.to_owned();
        }
        if let CallError::Fault(fault) = &error
            && report.exit == Exit::Failed
        {
            report.help = help(fault.class.as_deref()).to_owned();
        }
        Box::new(report)
    }

    /// What is at a path.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn stat(&self, path: &Path) -> Result<Looks, Failure> {
        self.call("file.stat", at(path)).await
    }

    /// The same, `None` when nothing is there.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn stat_if_any(&self, path: &Path) -> Result<Option<Looks>, Failure> {
        let arguments = self.arguments("file.stat", SOME, at(path));
        match self.peer.call(self.request(arguments, ANSWER)).await {
            Ok(answer) => self.read("file.stat", &answer).map(Some),
            Err(CallError::Fault(fault)) if fault.class.as_deref() == Some("NotFound") => Ok(None),
            Err(error) => Err(self.failed("file.stat", error)),
        }
    }

    /// A page of a folder.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn list(&self, path: &Path, after: Option<&[u8]>) -> Result<Page, Failure> {
        let fill = |map| match after {
            Some(after) => put(at(path)(map), "after", OsStr::from_bytes(after)),
            None => at(path)(map),
        };
        self.call("file.list", fill).await
    }

    /// The digest of a file.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn sha256(&self, path: &Path) -> Result<Option<String>, Failure> {
        Ok(self.call::<ReadEnd>("file.hash", at(path)).await?.sha256)
    }

    /// Begins to read a file that must still be what it was.
    ///
    /// # Errors
    /// A [`Failure`]
    pub async fn start_read(&self, path: &Path, offset: u64, looks: &Looks) -> Result<CallStream, Failure> {
        let call = self.request(self.arguments("file.read", SOME, looks.reading(path, offset, true)), WHOLE);
        self.peer.start(call).await.map_err(|error| self.failed("file.read", error))
    }
}

/// Whether there is a folder at the path.
pub fn is_folder(failure: &Report) -> bool {
    failure.help == FOLDER
}

/// Whether the file is another than it was when it was looked at.
pub fn is_changed(failure: &Report) -> bool {
    failure.help == CHANGED
}

/// Whether there is nothing at the path.
pub fn is_gone(failure: &Report) -> bool {
    failure.help == GONE
}

/// What to do when a call failed by its own account.
fn help(class: Option<&str>) -> &'static str {
    match class {
        Some("NoSpace") => "what came is removed, and the old file is as it was; make room there",
        Some("Changed") => CHANGED,
        Some("TooManyUploads") => "raise files.uploads of the agent, or wait until those are old",
        Some("Busy") => "another copy of it is under way; wait for its end, then run the same command again",
        Some("TryAgain") => {
            "the agent has no descriptor or no memory for it at the moment; run the same command again"
        }
        Some("NotSynced") => {
            "the new file is in its place; look at the disk there: after a power cut it may be the old one"
        }
        Some("Gap" | "NoUpload" | "Checksum" | "Incomplete") => AGAIN,
        Some("PermissionDenied" | "ReadOnly") => "the user of the agent may not do that there",
        Some("NotFound") => GONE,
        Some("IsAFolder") => FOLDER,
        Some(_) | None => "look at what it works on; nothing that was there is harmed",
    }
}

/// A path in a folder.
pub fn inside(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(std::ffi::OsString::from_vec(name.to_vec()))
}
