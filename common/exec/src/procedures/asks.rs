//! What a process asks the manager for in one call: what is open, and the answers on their way to its standard input.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use redpoll_common::procedure::{Ask, MAX_ASK_TIMEOUT, Want, answer_line, cancel_line};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_config::{ManagerRights, Manifest, ProcedureMode};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::Setting;
use super::ends::Trouble;
use super::heard::line_limit;
use super::submission::submission;
use crate::asker::{Answering, Asker, Question, Wanted, nobody_answers};

/// Asks of one call that may be open; one is until its answer is being written. Further ones are answered `overloaded`.
const OPEN: usize = 16;
/// Answers that may wait to be read, those that say `overloaded` included. Who asks on then is ended.
const UNREAD: usize = 64;
/// How long an answer may take, unless the ask says otherwise.
const ANSWER: Duration = Duration::from_secs(30);

/// Who asks, and what it may.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    asker: Asker,
    agent: String,
    /// The procedure, and the file where its owner says what it may.
    name: String,
    file: String,
    manager: Option<ManagerRights>,
    /// It gets the end of its input after its call, so that nothing can be answered.
    is_deaf: bool,
    line_limit: usize,
}

impl Rights {
    pub(super) fn of(manifest: &Manifest, setting: &Setting) -> Self {
        let file = manifest.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            asker: setting.asker.clone(),
            agent: setting.agent.to_string(),
            name: manifest.name.clone(),
            file,
            is_deaf: manifest.mode == ProcedureMode::Once && manifest.manager.is_none(),
            manager: manifest.manager.clone(),
            line_limit: line_limit(manifest),
        }
    }

    /// Begins a call, which ends by itself at `run_by` if there is such a time. What is received is for its standard input.
    pub(super) fn begin(self, call: u64, run_by: Option<Instant>) -> (Asks, mpsc::Receiver<Bytes>) {
        let (answers, receiver) = mpsc::channel(UNREAD);
        let asks = Asks { rights: self, call, run_by, open: Vec::new(), answers: Some(answers) };
        (asks, receiver)
    }

    /// What is asked for, if it may be.
    fn wanted(&self, want: Want) -> Result<Wanted, Fault> {
        if !self.asker.answers() {
            return Err(nobody_answers());
        }
        let forbidden = |what: &str, field: &str| {
            let Self { name, file, .. } = self;
            let text =
                format!("the manifest of {name} does not let it {what}; add {field} to [manager] in {file}");
            Fault::new(FaultCode::Forbidden, text)
        };
        match want {
            Want::Submit(job) => {
                if !self.manager.as_ref().is_some_and(|rights| rights.submit) {
                    return Err(forbidden("submit jobs", "submit = true"));
                }
                let read = submission(&job, &self.agent);
                let bad = |what| Fault::new(FaultCode::BadArguments, format!("submit: {what}"));
                Ok(Wanted::Submit(Box::new(read.map_err(bad)?)))
            }
            Want::Call { procedure, args, kwargs } => {
                if procedure.split('.').next() == Some("rp") {
                    let text =
                        "methods of the manager itself cannot be called; jobs are submitted with \"submit\"";
                    return Err(Fault::new(FaultCode::Forbidden, text));
                }
                if !self.manager.as_ref().is_some_and(|rights| rights.may_call(&procedure)) {
                    let what = format!("call {procedure:?} on the manager");
                    return Err(forbidden(&what, &format!("{procedure:?} to calls")));
                }
                Ok(Wanted::Call { procedure, args, kwargs })
            }
        }
    }
}

/// The asks of one call. Dropped with it: what was sent may be done all the same.
pub(super) struct Asks {
    rights: Rights,
    call: u64,
    run_by: Option<Instant>,
    open: Vec<Open>,
    /// `None`: nothing is answered any more.
    answers: Option<mpsc::Sender<Bytes>>,
}

struct Open {
    id: String,
    answer: Answering,
}

impl Asks {
    /// Takes one. What it may not is answered at once.
    ///
    /// # Errors
    /// The [`Trouble`] of a process that asks in a way that nothing can be made of.
    pub(super) fn hear(&mut self, ask: Ask) -> Result<(), Trouble> {
        let Some(answers) = &self.answers else { return Ok(()) };
        let Ask { id, want, timeout } = ask;
        if self.rights.is_deaf {
            let why = match self.rights.asker.answers() {
                true => format!("{} has no [manager], which would say what it may", self.rights.file),
                false => nobody_answers().message,
            };
            let what = format!("it asks the manager for something, and cannot be answered: {why}");
            return Err(Trouble::Protocol(what));
        }
        if self.open.iter().any(|open| open.id == id) {
            let what = "two of its asks that are open have the same id".to_owned();
            return Err(Trouble::Protocol(what));
        }
        let unread = answers.max_capacity().saturating_sub(answers.capacity());
        let open = self.open.len().saturating_add(unread);
        if open >= UNREAD {
            let what = format!("it asks on and on, and does not read the answers: {unread} wait");
            return Err(Trouble::Protocol(what));
        }
        let wanted = self.rights.wanted(want).and_then(|wanted| match open {
            ..OPEN => Ok(wanted),
            _ => {
                let text = format!(
                    "{open} asks are open or their answers not read, and {OPEN} may be; nothing was sent"
                );
                Err(Fault::new(FaultCode::Overloaded, text))
            }
        });
        match wanted {
            Ok(wanted) => {
                let timeout = self.within(timeout);
                debug!(procedure = %self.rights.name, call = self.call, ?timeout, "a procedure asks the manager");
                let answer = self.rights.asker.ask(Question { wanted, timeout });
                self.open.push(Open { id, answer });
            }
            Err(fault) => {
                debug!(procedure = %self.rights.name, call = self.call, code = %fault.code, "an ask of a procedure is refused");
                self.answer(&id, &Err(fault));
            }
        }
        Ok(())
    }

    /// How long an answer may take: no longer than the run itself.
    fn within(&self, asked: Option<Duration>) -> Duration {
        let left = self.run_by.map_or(MAX_ASK_TIMEOUT, |by| by.saturating_duration_since(Instant::now()));
        // a time of zero would be none
        asked.unwrap_or(ANSWER).min(left).max(Duration::from_millis(1))
    }

    /// Answers those that can be, one at a time; waits for ever while none is open. Cancel-safe.
    pub(super) async fn answered(&mut self) {
        let (id, answer) = poll_fn(|cx| self.poll_answer(cx)).await;
        self.answer(&id, &answer);
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<(String, Result<Raw, Fault>)> {
        // there are few
        for at in 0..self.open.len() {
            let Some(open) = self.open.get_mut(at) else { break };
            if let Poll::Ready(answer) = Pin::new(&mut open.answer).poll(cx) {
                return Poll::Ready((self.open.swap_remove(at).id, answer));
            }
        }
        Poll::Pending
    }

    fn answer(&self, id: &str, answer: &Result<Raw, Fault>) {
        let line = answer_line(self.call, id, answer, self.rights.line_limit);
        if let Some(answers) = &self.answers {
            // there is room for each that is open; when the other end is gone, so is the process
            let _written = answers.try_send(line);
        }
    }

    /// Tells its process that the call is to end, as long as it has no end: where its input is open.
    pub(super) fn canceller(&self) -> impl Fn() + Send + use<> {
        let (call, input) = (self.call, self.answers.as_ref().map(mpsc::Sender::downgrade));
        move || {
            // full: it reads nothing, and would not read this either
            let _said = input
                .as_ref()
                .and_then(|input| input.upgrade())
                .map(|input| input.try_send(cancel_line(call)));
        }
    }

    /// Whether it waits for no answer.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// The call has its end: nothing is answered any more.
    pub(super) fn close(&mut self) {
        self.answers = None;
        self.open.clear();
    }
}

impl fmt::Debug for Asks {
    /// Shows how many are open only: what is asked may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asks")
            .field("call", &self.call)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}
