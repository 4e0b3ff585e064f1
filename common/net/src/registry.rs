//! Named procedures: built, then only read. Where they change, a new registry takes the place of the old one.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use redpoll_common::nearest::{differ_by_case, nearest};
use redpoll_common::wire::{Fault, FaultCode, Notification, Raw};

use crate::service::{CallContext, Mask, Running};
use crate::transport::PeerInfo;

/// What a procedure is, for those who look for it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ProcedureInfo {
    /// Its name.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// What it does, in a sentence.
    #[serde(default)]
    pub description: String,
    /// The JSON Schema of its named arguments (draft 2020-12).
    #[serde(default)]
    pub args: serde_json::Value,
    /// Why nobody should use this version any more, and what to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// Running it twice does no more than running it once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    /// It serves those who administer the machine: it has a place even when all others are taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    /// Paths in arguments, values and results that nobody may see: `password`, `user.pin`, `keys.*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
    /// What it may ask the manager for, as the owner of the machine says; `None`: nothing, or it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asks>,
    /// Why it is not offered, in a list that names it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
}

impl ProcedureInfo {
    /// A procedure of version 1.
    pub fn new(name: &str, description: &str, args: serde_json::Value) -> Self {
        Self {
            name: name.to_owned(),
            version: 1,
            description: description.to_owned(),
            args,
            deprecated: None,
            idempotent: false,
            admin: false,
            redact: Vec::new(),
            asks: None,
            disabled: None,
        }
    }
}

/// What a procedure may ask the manager for, as far as its own side is concerned: the manager has a say too.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Asks {
    /// It may submit jobs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub submit: bool,
    /// It may call these procedures of the manager: names, with `*` for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
}

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = Some(format!("call {}", self.calls.join(", "))).filter(|_| !self.calls.is_empty());
        let all: Vec<String> =
            self.submit.then(|| "submit jobs".to_owned()).into_iter().chain(calls).collect();
        f.write_str(if all.is_empty() { "nothing".to_owned() } else { all.join("; ") }.as_str())
    }
}

type Handler = Arc<dyn Fn(CallContext) -> BoxFuture<'static, Result<Raw, Fault>> + Send + Sync>;
/// What masks a call of these positional and named arguments.
type MaskOf = Arc<dyn Fn(&Raw, &Raw) -> Mask + Send + Sync>;
type NoticeHandler = Arc<dyn Fn(&PeerInfo, &Raw) + Send + Sync>;

#[derive(Clone)]
struct Entry {
    info: ProcedureInfo,
    handler: Handler,
    graceful: bool,
    announces: bool,
    mask: Option<MaskOf>,
}

fn boxed<F, Fut>(run: F) -> Handler
where
    F: Fn(CallContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Raw, Fault>> + Send + 'static,
{
    Arc::new(move |call| Box::pin(run(call)))
}

/// Runs a call whose values, progress, streams and answer are masked on their way out.
pub fn masked(mask: Mask, call: CallContext, run: impl FnOnce(CallContext) -> Running) -> Running {
    let output = call.output.clone().masking(mask.clone());
    let Running { answer, graceful } = run(CallContext { output: output.clone(), ..call });
    let answer = async move {
        let answer = answer.await;
        // an error means that nobody takes it any more
        let _flushed = output.flush().await;
        mask.answer(answer)
    };
    Running { graceful, answer: Box::pin(answer) }
}

/// A name was registered twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}@{version} is registered twice")]
pub struct Duplicate {
    /// The name.
    pub name: String,
    /// The version.
    pub version: u32,
}

/// Procedures by name and version, and what to do on notifications. A clone shares what they do.
#[derive(Clone, Default)]
pub struct Registry {
    procedures: BTreeMap<String, BTreeMap<u32, Entry>>,
    /// What was taken out, and why.
    absent: BTreeMap<String, BTreeMap<u32, ProcedureInfo>>,
    notices: BTreeMap<String, NoticeHandler>,
}

impl Registry {
    /// A registry without procedures.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a procedure. When a call should stop, its future is dropped and the driver answers.
    ///
    /// # Errors
    /// [`Duplicate`] when name and version are taken.
    pub fn with<F, Fut>(self, info: ProcedureInfo, run: F) -> Result<Self, Duplicate>
    where
        F: Fn(CallContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Raw, Fault>> + Send + 'static,
    {
        self.insert(Entry { info, handler: boxed(run), graceful: false, announces: false, mask: None })
    }

    /// Adds a procedure that watches [`CallContext::stop`] itself, and answers soon after it.
    ///
    /// # Errors
    /// [`Duplicate`] when name and version are taken.
    pub fn with_graceful<F, Fut>(self, info: ProcedureInfo, run: F) -> Result<Self, Duplicate>
    where
        F: Fn(CallContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Raw, Fault>> + Send + 'static,
    {
        self.insert(Entry { info, handler: boxed(run), graceful: true, announces: false, mask: None })
    }

    /// Adds a procedure that is graceful, and says with [`Output::started`](crate::service::Output::started) when
    /// something has run: as long as it has not, its fault means that nothing did. Others count as started when they
    /// are first polled.
    ///
    /// # Errors
    /// [`Duplicate`] when name and version are taken.
    pub fn with_program<F, Fut>(self, info: ProcedureInfo, run: F) -> Result<Self, Duplicate>
    where
        F: Fn(CallContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Raw, Fault>> + Send + 'static,
    {
        self.insert(Entry { info, handler: boxed(run), graceful: true, announces: true, mask: None })
    }

    fn insert(mut self, entry: Entry) -> Result<Self, Duplicate> {
        let (name, version) = (entry.info.name.clone(), entry.info.version);
        let versions = self.procedures.entry(name.clone()).or_default();
        if versions.insert(version, entry).is_some() {
            return Err(Duplicate { name, version });
        }
        Ok(self)
    }

    /// Takes secrets out of everything that a procedure gives: values, progress, streams, its result and its fault. `mask` makes what
    /// does so of a call's positional and named arguments. Nothing happens when there is no such procedure.
    #[must_use]
    pub fn masking<F>(mut self, name: &str, version: u32, mask: F) -> Self
    where
        F: Fn(&Raw, &Raw) -> Mask + Send + Sync + 'static,
    {
        if let Some(entry) = self.procedures.get_mut(name).and_then(|versions| versions.get_mut(&version)) {
            entry.mask = Some(Arc::new(mask));
        }
        self
    }

    /// Takes a procedure out. Whoever calls it in this version, or without one when there is no other, is told why.
    pub fn without(mut self, name: &str, version: u32, why: &str) -> Self {
        let mut info = None;
        if let Some(versions) = self.procedures.get_mut(name) {
            info = versions.remove(&version).map(|entry| entry.info);
            if versions.is_empty() {
                self.procedures.remove(name);
            }
        }
        let info = info.unwrap_or_else(|| ProcedureInfo {
            version,
            ..ProcedureInfo::new(name, "", serde_json::Value::Bool(true))
        });
        let info = ProcedureInfo { disabled: Some(why.to_owned()), ..info };
        self.absent.entry(name.to_owned()).or_default().insert(version, info);
        self
    }

    /// Adds what to do on notifications of a type; it must not wait. A second one replaces the first.
    pub fn on_notification<F>(mut self, kind: &str, run: F) -> Self
    where
        F: Fn(&PeerInfo, &Raw) + Send + Sync + 'static,
    {
        self.notices.insert(kind.to_owned(), Arc::new(run));
        self
    }

    /// Every procedure, in the order of names and versions.
    pub fn procedures(&self) -> impl Iterator<Item = &ProcedureInfo> {
        self.procedures.values().flat_map(|versions| versions.values().map(|entry| &entry.info))
    }

    /// What was taken out, each with the reason in [`ProcedureInfo::disabled`].
    pub fn absent(&self) -> impl Iterator<Item = &ProcedureInfo> {
        self.absent.values().flat_map(BTreeMap::values)
    }

    /// Whether there is such a procedure.
    ///
    /// # Errors
    /// The fault that a call of it would be answered with.
    pub fn offers(&self, method: &str) -> Result<(), Fault> {
        self.find(method).map(|_entry| ())
    }

    /// What a method stands for.
    ///
    /// # Errors
    /// The fault that a call of it would be answered with.
    pub fn info(&self, method: &str) -> Result<&ProcedureInfo, Fault> {
        self.find(method).map(|entry| &entry.info)
    }

    /// A name that differs from this one by case alone.
    pub fn in_other_case(&self, name: &str) -> Option<&str> {
        self.procedures.keys().map(String::as_str).find(|own| differ_by_case(own, name))
    }

    /// Whether a procedure serves those who administer the machine.
    pub fn is_admin(&self, method: &str) -> bool {
        self.find(method).is_ok_and(|entry| entry.info.admin)
    }

    /// What a method stands for, or stood for until it was [taken out](Self::without).
    pub fn described(&self, method: &str) -> Option<&ProcedureInfo> {
        self.info(method).ok().or_else(|| {
            let (name, version) = match method.split_once('@') {
                None => (method, None),
                Some((name, version)) => (name, Some(version.parse::<u32>().ok()?)),
            };
            let versions = self.absent.get(name)?;
            match version {
                Some(version) => versions.get(&version),
                None => versions.values().next_back(),
            }
        })
    }

    /// Whether a procedure says itself when something has run, see [`with_program`](Self::with_program).
    pub fn announces(&self, method: &str) -> bool {
        self.find(method).is_ok_and(|entry| entry.announces)
    }

    /// Runs a call, or refuses it when there is no such procedure.
    pub fn start(&self, call: CallContext) -> Running {
        match self.find(&call.method) {
            Ok(entry) => {
                let run = |call| Running { graceful: entry.graceful, answer: (entry.handler)(call) };
                match &entry.mask {
                    None => run(call),
                    Some(mask) => masked(mask(&call.args, &call.kwargs), call, run),
                }
            }
            Err(fault) => Running::refused(fault),
        }
    }

    /// Hands a notification to its handler; false when there is none.
    pub fn notified(&self, from: &PeerInfo, notification: &Notification) -> bool {
        let handler = self.notices.get(&notification.kind);
        if let Some(handler) = handler {
            handler(from, &notification.data);
        }
        handler.is_some()
    }

    fn find(&self, method: &str) -> Result<&Entry, Fault> {
        let code = match method.starts_with("rp.") {
            true => FaultCode::UnknownMethod,
            false => FaultCode::UnknownProcedure,
        };
        let unknown = |text: String| Fault::new(code.clone(), text);
        let (name, version) = match method.split_once('@') {
            None => (method, None),
            Some((name, text)) => match text.parse::<u32>() {
                // one way to write a version, so that nobody's list of names is passed by
                Ok(version) if version.to_string() == text => (name, Some(version)),
                Ok(_) | Err(_) => return Err(unknown(format!("{text:?} in {method:?} is not a version"))),
            },
        };
        let versions = self.procedures.get(name).ok_or_else(|| unknown(self.no_such(name, version)))?;
        match version {
            None => versions.values().next_back().ok_or_else(|| unknown(self.no_such(name, None))),
            Some(version) => versions.get(&version).ok_or_else(|| {
                if let Some(why) = self.why_absent(name, Some(version)) {
                    return unknown(why);
                }
                let offered: Vec<String> = versions.keys().map(u32::to_string).collect();
                unknown(format!("there is no version {version} of {name}, only {}", offered.join(", ")))
            }),
        }
    }

    fn why_absent(&self, name: &str, version: Option<u32>) -> Option<String> {
        let versions = self.absent.get(name)?;
        let (version, info) = match version {
            Some(version) => versions.get_key_value(&version)?,
            None => versions.last_key_value()?,
        };
        Some(format!("{name}@{version} {}", info.disabled.as_deref().unwrap_or_default()))
    }

    fn no_such(&self, name: &str, version: Option<u32>) -> String {
        if let Some(why) = self.why_absent(name, version) {
            return why;
        }
        let shown: String = name.chars().take(redpoll_common::wire::MAX_METHOD_LEN).collect();
        let meant = nearest(&shown, self.procedures.keys().map(String::as_str));
        let meant = meant.map(|name| format!("; is {name:?} meant?")).unwrap_or_default();
        format!("{shown:?} is not offered here{meant}")
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.procedures.keys()).finish()
    }
}

/// A registry that serves calls and drops notifications nobody handles, with a line in the log.
#[derive(Debug)]
pub struct RegistryService(pub Arc<Registry>);

impl crate::service::Service for RegistryService {
    fn start(&self, call: CallContext) -> Running {
        self.0.start(call)
    }

    fn notified(&self, from: &PeerInfo, notification: Notification) {
        if !self.0.notified(from, &notification) {
            tracing::debug!(r#type = ?notification.kind, "a notification nobody handles");
        }
    }
}
