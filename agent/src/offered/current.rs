//! What is offered at one moment, behind the gate: nothing of it starts that was not judged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use redpoll_common::wire::{Fault, FaultCode, Notification, Raw};
use redpoll_net::service::Running;
use redpoll_net::transport::PeerInfo;
use redpoll_net::{CallContext, ProcedureInfo, Registry};
use redpoll_schema::{ArgumentRedaction, rooted};

use crate::gate::{Asked, Gate, Kind, Leave, Refused, Subject};

/// Bytes of paths that go with the end of a run: beyond, all of its arguments are masked. They must fit a frame beside a result.
const MAX_TOLD: usize = 64 * 1024;

/// Procedures that never change, and what judges their calls.
pub struct Current {
    pub(super) registry: Registry,
    pub(super) subjects: BTreeMap<String, BTreeMap<u32, Subject>>,
    pub(super) gate: Arc<Gate>,
}

/// The paths to all arguments.
fn everything() -> Vec<String> {
    ["args.*", "kwargs.*"].map(str::to_owned).into()
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Current").field(&self.registry).finish()
    }
}

impl Current {
    /// What a registry has; `kinds` says what they are that manifests describe.
    pub(crate) fn new(registry: Registry, gate: Arc<Gate>, mut kinds: BTreeMap<(String, u32), Kind>) -> Self {
        let mut subjects: BTreeMap<String, BTreeMap<u32, Subject>> = BTreeMap::new();
        for info in registry.procedures() {
            let described = kinds.remove(&(info.name.clone(), info.version));
            let kind = described.unwrap_or_else(|| Kind::built_in(&info.name));
            subjects.entry(info.name.clone()).or_default().insert(info.version, Subject::new(kind));
        }
        Self { registry, subjects, gate }
    }

    /// Whether a call may run now.
    ///
    /// # Errors
    /// The fault that answers it: `unknown_procedure` when there is none, or as [`Gate::judge`] says.
    pub fn judge(&self, method: &str, asked: Asked<'_>) -> Result<Leave, Refused> {
        let info = self.registry.info(method)?;
        let versions = self.subjects.get(&info.name);
        let subject = versions.and_then(|versions| versions.get(&info.version)).ok_or_else(|| {
            // each procedure of the registry has one
            Fault::new(FaultCode::Internal, format!("{method} cannot be judged, and nothing ran"))
        })?;
        self.gate.judge(info, subject, asked)
    }

    /// Runs a call, or refuses it.
    pub fn start(&self, call: CallContext) -> Running {
        match self.judge(&call.method, Asked::of(&call)) {
            Ok(leave) => self.begin(call, leave),
            Err(refused) => Running::refused(refused.into()),
        }
    }

    /// Runs a call that was judged.
    pub fn begin(&self, mut call: CallContext, leave: Leave) -> Running {
        call.run_as = leave.run_as;
        self.registry.start(call)
    }

    /// Every procedure, in the order of names and versions.
    pub fn procedures(&self) -> impl Iterator<Item = &ProcedureInfo> {
        self.registry.procedures()
    }

    /// Whether a procedure serves those who administer the machine.
    pub fn is_admin(&self, method: &str) -> bool {
        self.registry.is_admin(method)
    }

    /// The paths into the arguments of a procedure that nobody may see, with their roots. `None` when nobody knows of such a
    /// procedure.
    pub fn redact(&self, method: &str) -> Option<Vec<String>> {
        self.registry.described(method).map(|info| rooted(&info.redact, &info.args))
    }

    /// The same paths when they lead to something in these arguments, else none.
    pub fn secrets(&self, method: &str, args: &Raw, kwargs: &Raw) -> Vec<String> {
        let paths = self.redact(method).unwrap_or_default();
        let (masked_args, masked_kwargs) = ArgumentRedaction::new(&paths).mask(args, kwargs);
        if (&masked_args, &masked_kwargs) == (args, kwargs) {
            return Vec::new();
        }
        match paths.iter().map(String::len).sum::<usize>() {
            0..=MAX_TOLD => paths,
            _too_much => everything(),
        }
    }

    /// The same for a run that was accepted by another start of the agent, when the procedure may have been another: everything, when
    /// nobody knows of it any more.
    pub fn secrets_of_before(&self, method: &str, args: &Raw, kwargs: &Raw) -> Vec<String> {
        match self.redact(method) {
            Some(_) => self.secrets(method, args, kwargs),
            None => everything(),
        }
    }

    /// The named arguments of a call without what nobody may see: without any, when nobody knows the procedure.
    pub fn masked(&self, method: &str, kwargs: &Raw) -> Raw {
        let redaction = match self.redact(method) {
            Some(paths) => ArgumentRedaction::new(&paths),
            None => ArgumentRedaction::everything(),
        };
        redaction.mask(&Raw::empty_array(), kwargs).1
    }

    /// Whether a procedure says itself when something has run.
    pub fn announces(&self, method: &str) -> bool {
        self.registry.announces(method)
    }

    /// Hands a notification to its handler; false when there is none.
    pub fn notified(&self, from: &PeerInfo, notification: &Notification) -> bool {
        self.registry.notified(from, notification)
    }
}
