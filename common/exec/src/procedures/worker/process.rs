//! The process of a worker: its three streams and its end.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use redpoll_common::procedure::LineMachine;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::ends::Died;
use super::recent::Recent;
use crate::exec::cgroup::Cgroup;
use crate::exec::{CHUNK, DRAIN, Group, Pipes, Tail};

/// How long a worker that is told to end by the end of its input may take, before it is told with a signal.
const AFTER_INPUT: Duration = Duration::from_secs(1);

/// What happened at a worker.
pub(super) enum Step {
    /// Its standard output gave bytes; the machine has them.
    Out,
    /// Its standard output is closed.
    OutEnd,
    /// Its standard error gave bytes.
    Err(Vec<u8>),
    /// Some of the input was taken.
    Wrote,
    /// It has ended.
    Exited,
}

pub(super) struct Process {
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// Input that it has not taken yet.
    input: BytesMut,
    /// Bytes of the input that it was given since its present or last call began, and those that lay in its pipe then.
    given: u64,
    /// How much of that is its call, and what was queued before.
    call: u64,
    lay: u64,
    /// What its present call is answered.
    answers: Option<mpsc::Receiver<Bytes>>,
    buffer: Vec<u8>,
    pub(super) machine: LineMachine,
    pub(super) tail: Tail,
    pub(super) recent: Recent,
    _cgroup: Option<Cgroup>,
}

impl Process {
    pub(super) fn new(group: Group, pipes: Pipes, machine: LineMachine, cgroup: Option<Cgroup>) -> Self {
        let Pipes { stdin, stdout, stderr } = pipes;
        let (input, answers, buffer, tail) = (BytesMut::new(), None, Vec::new(), Tail::default());
        let recent = Recent::default();
        let (given, lay) = (0, 0);
        Self {
            group,
            stdin,
            stdout,
            stderr,
            input,
            given,
            call: 0,
            lay,
            answers,
            buffer,
            machine,
            tail,
            recent,
            _cgroup: cgroup,
        }
    }

    /// Queues a call.
    pub(super) fn begin(&mut self, line: &[u8]) {
        (self.given, self.lay) = (0, self.unread());
        self.say(line);
        self.call = u64::try_from(self.input.len()).unwrap_or(u64::MAX);
    }

    /// Queues input.
    pub(super) fn say(&mut self, line: &[u8]) {
        self.input.extend_from_slice(line);
    }

    /// Has it read what its present call is answered, after what is queued.
    pub(super) fn answer_with(&mut self, answers: mpsc::Receiver<Bytes>) {
        self.answers = Some(answers);
    }

    /// Its call has ended: answers of which it has read nothing are thrown away.
    pub(super) fn forget_answers(&mut self) {
        self.answers = None;
    }

    /// Whether its call is in its pipe, as a whole.
    pub(super) fn has_its_call(&self) -> bool {
        self.given >= self.call || self.stdin.is_none()
    }

    /// Bytes that lie in its pipe, unread.
    fn unread(&self) -> u64 {
        self.stdin.as_ref().and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok()).unwrap_or(0)
    }

    /// Whether it was given input since its present or last call began, and took nothing at all out of its pipe.
    pub(super) fn reads_nothing(&self) -> bool {
        self.given > 0 && self.unread() >= self.lay.saturating_add(self.given)
    }

    /// Bytes that lie in its standard error, unread: at most what a pipe holds.
    pub(super) fn waiting_errors(&self) -> u64 {
        self.stderr.as_ref().and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok()).unwrap_or(0)
    }

    /// The next piece of what lies in its standard error, `waiting` bytes at most, which become fewer. Waits for nothing; `None` when there is no more.
    pub(super) fn errors(&mut self, waiting: &mut u64) -> Option<Vec<u8>> {
        let pipe = self.stderr.as_ref().filter(|_| *waiting > 0)?;
        let mut data = vec![0; usize::try_from(*waiting).unwrap_or(CHUNK).min(CHUNK)];
        // past the runtime, which may not have seen yet that something is there
        let read = rustix::io::read(pipe, &mut data).ok().filter(|read| *read > 0)?;
        data.truncate(read);
        *waiting = waiting.saturating_sub(read as u64);
        self.heard(&data);
        Some(data)
    }

    /// Why it is not to be given another call.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        if self.group.is_stopped() {
            return Some("it was stopped by a signal, and would take no call");
        }
        self.reads_nothing().then_some("it has not read its last call yet")
    }

    /// The next thing that happens. Cancel-safe.
    pub(super) async fn step(&mut self) -> Step {
        let Self { group, stdin, stdout, stderr, input, given, answers, buffer, .. } = self;
        let mut errors = Vec::new();
        let step = tokio::select! {
            biased; // its end first, which a flood must not hide: what it said before is read then. Room for that comes before more input
            () = group.exited() => Step::Exited,
            read = read(stdout, buffer) => if read { Step::Out } else { Step::OutEnd },
            _read = read(stderr, &mut errors) => Step::Err(errors),
            wrote = write(stdin, input, answers) => {
                match wrote {
                    Ok(bytes) => *given = given.saturating_add(bytes as u64),
                    Err(error) => {
                        // it closed its input, and will end or say why
                        tracing::debug!(%error, "a worker does not take its input");
                        *stdin = None;
                    }
                }
                Step::Wrote
            }
        };
        self.take(&step);
        step
    }

    /// After its end: the next of what it said before, for a moment also of what those say who hold its streams now. `None`: that is all.
    /// To be called when the machine has told what it has: it would hold all of it.
    pub(super) async fn rest(&mut self, until: Instant) -> Option<Step> {
        let mut errors = Vec::new();
        let is_over = Instant::now() >= until || (self.stdout.is_none() && self.stderr.is_none());
        let step = tokio::select! {
            biased; // in a flood a read would always be first
            () = std::future::ready(()), if is_over => None,
            read = read(&mut self.stdout, &mut self.buffer) => Some(if read { Step::Out } else { Step::OutEnd }),
            _read = read(&mut self.stderr, &mut errors) => Some(Step::Err(errors)),
            () = sleep_until(until) => None,
        };
        match &step {
            Some(step) => self.take(step),
            None => self.machine.handle_end(),
        }
        step
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Out => {
                self.machine.handle_bytes(&self.buffer);
                self.buffer.clear();
            }
            Step::Err(data) => self.heard(data),
            Step::OutEnd | Step::Wrote | Step::Exited => {}
        }
    }

    fn heard(&mut self, data: &[u8]) {
        self.tail.push(data);
        self.recent.hear(data);
    }

    /// It closed its standard output: if it is about to end, waits for that.
    pub(super) async fn ends_soon(&mut self) -> bool {
        timeout(DRAIN, self.group.exited()).await.is_ok()
    }

    /// Ends its tree at once, if it has not ended, and says how it ended.
    pub(super) async fn kill(self) -> Died {
        self.end(Duration::ZERO).await
    }

    /// Lets it end: closes its input, then TERM, then, after `grace`, KILL.
    pub(super) async fn dismiss(mut self, grace: Duration) -> Died {
        self.stdin = None;
        let _ended = timeout(AFTER_INPUT.min(grace), self.group.exited()).await;
        self.end(grace).await
    }

    async fn end(mut self, grace: Duration) -> Died {
        // what it leaves behind is ended as well: nobody could reach it any more
        self.group.end(grace).await;
        let status = self.group.reap().await;
        Died { exit: status.code, signal: status.signal }
    }
}

/// Appends what is there. False at the end, once; then it waits for ever.
async fn read<P: AsyncRead + Unpin>(pipe: &mut Option<P>, buffer: &mut Vec<u8>) -> bool {
    let Some(open) = pipe else { return std::future::pending().await };
    buffer.reserve(CHUNK);
    match open.read_buf(buffer).await {
        Ok(1..) => true,
        Ok(0) => {
            *pipe = None;
            false
        }
        Err(error) => {
            tracing::debug!(%error, "the output of a worker cannot be read");
            *pipe = None;
            false
        }
    }
}

/// Writes some of the input, and when there is none the next answer; waits for ever when there is neither. Cancel-safe.
async fn write(
    pipe: &mut Option<ChildStdin>,
    input: &mut BytesMut,
    answers: &mut Option<mpsc::Receiver<Bytes>>,
) -> io::Result<usize> {
    let Some(open) = pipe.as_mut() else { return std::future::pending().await };
    if input.is_empty() {
        let Some(answers) = answers else { return std::future::pending().await };
        let Some(line) = answers.recv().await else { return std::future::pending().await };
        input.extend_from_slice(&line);
    }
    let wrote = open.write(input).await?;
    input.advance(wrote);
    Ok(wrote)
}
