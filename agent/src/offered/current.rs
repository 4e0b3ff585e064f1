//! What is offered at one moment, behind the gate: nothing of it starts that was not judged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use redpoll_common::api::notice::SYS_LOG;
use redpoll_common::wire::{Fault, FaultCode, Notification, Raw};
use redpoll_exec::Claim;
use redpoll_net::service::Running;
use redpoll_net::transport::PeerInfo;
use redpoll_net::{CallContext, ProcedureInfo, Registry};
use redpoll_schema::{ArgumentRedaction, rooted};

use crate::builtin::kind_of;
use crate::gate::{Asked, Gate, Kind, Leave, Refused, Subject};

/// Procedures that never change, and what judges their calls.
pub struct Current {
    pub(super) registry: Registry,
    pub(super) subjects: BTreeMap<String, BTreeMap<u32, Subject>>,
    pub(super) gate: Arc<Gate>,
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
            let kind = described.unwrap_or_else(|| kind_of(&info.name));
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

    /// Which places a call may have.
    pub fn claim(&self, method: &str) -> Claim {
        if method.starts_with("sys.") {
            Claim::System
        } else if self.is_admin(method) {
            Claim::Admin
        } else {
            Claim::Ordinary
        }
    }

    /// Whether a procedure serves those who administer the machine.
    pub fn is_admin(&self, method: &str) -> bool {
        self.registry.is_admin(method)
    }

    /// What a procedure that is offered may ask the manager for, in words.
    pub fn asks(&self, method: &str) -> Option<String> {
        self.registry.info(method).ok()?.asks.as_ref().map(ToString::to_string)
    }

    /// The paths into the arguments of a procedure that nobody may see, with their roots. `None` when nobody knows of such a
    /// procedure.
    pub fn redact(&self, method: &str) -> Option<Vec<String>> {
        self.registry.described(method).map(|info| rooted(&info.redact, &info.args))
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

    /// Hands a notification to its handler, if the policy lets it be heard; false when there is none.
    pub fn notified(&self, from: &PeerInfo, notification: &Notification) -> bool {
        // of what the owner's own program hears no rule can know
        if notification.kind == SYS_LOG && !self.gate.hears(SYS_LOG) {
            return true;
        }
        self.registry.notified(from, notification)
    }
}
