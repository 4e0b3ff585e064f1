//! A request of an agent or an operator for a procedure of the manager.

use std::collections::BTreeMap;
use std::sync::Arc;

use redpoll_common::identity::{Identity, Role};
use redpoll_common::job::Submitter;
use redpoll_common::nearest::nearest;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_exec::Claim;
use redpoll_exec::gate::Asked;
use redpoll_net::service::Running;
use redpoll_net::{CallContext, ProcedureInfo};

use super::{Entry, Offered, Offering};

/// Lists what its caller may call.
const LIST: &str = "sys.procedures";

impl Offering {
    /// Whether a method is for the manager's procedures: then the answer is [`start`](Self::start)'s.
    pub fn serves(&self, role: Role, method: &str) -> bool {
        let name = method.split('@').next().unwrap_or_default();
        match role {
            Role::Agent | Role::Operator => method == LIST || self.current.load().entries.contains_key(name),
            Role::Manager => false,
        }
    }

    /// What an operator may have meant by a name that nothing here has: the nearest that he may call. Agents are told nothing: they
    /// may ask without end, and it costs more than the refusal.
    pub fn meant(&self, caller: &Identity, method: &str) -> Option<String> {
        let name = method.split('@').next().unwrap_or_default();
        let offered = self.current.load();
        let may_call = |(_, versions): &(&String, &BTreeMap<u32, Arc<Entry>>)| {
            versions.values().any(|entry| entry.manifest().enabled && is_admitted(entry, caller))
        };
        let names = offered.entries.iter().filter(may_call).map(|(name, _)| name.as_str());
        if caller.role == Role::Operator { nearest(name, names).map(str::to_owned) } else { None }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// The fault of one that is not run at all.
    pub fn start(&self, call: CallContext) -> Result<Running, Fault> {
        let offered = self.current.load_full();
        if call.method == LIST {
            let answer = Box::pin(async move { list(&offered, &call) });
            return Ok(Running { answer, graceful: false });
        }
        let entry = may_call(&offered, &call)?;
        let claim = if entry.manifest().admin { Claim::Admin } else { Claim::Ordinary };
        let limit = self.places.limit();
        let overloaded = |what: String| {
            let text = format!("{what}, procedures.calls of the manager; nothing ran");
            Fault::new(FaultCode::Overloaded, text)
        };
        let share = self.shares.take(&call.caller.identity, limit);
        let share =
            share.ok_or_else(|| overloaded(format!("agents have their share of {limit} calls already")))?;
        let place = self.places.take(claim);
        let place = place.ok_or_else(|| overloaded(format!("{limit} calls are running already")))?;
        let call = self.judge(&offered, entry, call)?;
        let answer = async move {
            let _place = (place, share);
            run(offered, call).await
        };
        // programs watch the stop themselves, and what comes before them does not wait
        Ok(Running { answer: Box::pin(answer), graceful: true })
    }
}

impl Offering {
    /// Asks the rules, if there are any: the same judgement as that of an agent. An agent as caller has the name that it has as a
    /// submitter of jobs, `agent:web-1`.
    fn judge(&self, offered: &Offered, entry: &Entry, mut call: CallContext) -> Result<CallContext, Fault> {
        if !self.gate.has_rules() {
            return Ok(call);
        }
        let info = offered.registry.info(&call.method)?;
        let who = Submitter::of(&call.caller.identity);
        let asked = Asked { operator: Some(who.as_str()), ..Asked::of(&call) };
        let leave = self.gate.judge(info, &entry.subject, asked)?;
        call.run_as = leave.run_as;
        Ok(call)
    }
}

/// Checks the arguments, then runs it.
pub(super) async fn run(offered: Arc<Offered>, call: CallContext) -> Result<Raw, Fault> {
    let entry = entry(&offered, &call.method)?;
    entry.schema.verify(&call.args, &call.kwargs).map_err(|error| {
        let text = format!("{}: {error}; nothing ran", call.method);
        Fault::new(FaultCode::BadArguments, text)
    })?;
    offered.registry.start(call).answer.await
}

pub(super) fn entry<'o>(offered: &'o Offered, method: &str) -> Result<&'o Entry, Fault> {
    offered.registry.offers(method)?;
    let unknown = || Fault::new(FaultCode::UnknownProcedure, format!("{method:?} is not offered here"));
    offered.find(method).ok_or_else(unknown)
}

fn may_call<'o>(offered: &'o Offered, call: &CallContext) -> Result<&'o Entry, Fault> {
    let entry = entry(offered, &call.method)?;
    let caller = &call.caller.identity;
    if is_admitted(entry, caller) {
        return Ok(entry);
    }
    let manifest = entry.manifest();
    // the name of the file, not where the manager keeps it
    let file = manifest.file.file_name().unwrap_or_default().to_string_lossy();
    let text = format!(
        "{}:{} may not call {}@{}: callers in {file} on the manager does not name it",
        caller.role, caller.id, manifest.name, manifest.version
    );
    Err(Fault::new(FaultCode::Forbidden, text))
}

fn is_admitted(entry: &Entry, caller: &Identity) -> bool {
    entry.manifest().callers.admit(caller.role, caller.id.as_str())
}

/// What the caller may call, in the form in which agents list theirs.
fn list(offered: &Offered, call: &CallContext) -> Result<Raw, Fault> {
    let none = call.args == Raw::empty_array() && call.kwargs == Raw::empty_map();
    if !none {
        return Err(Fault::new(FaultCode::BadArguments, format!("{LIST} takes no arguments")));
    }
    let may = |info: &&ProcedureInfo| {
        let entry = offered.entries.get(&info.name).and_then(|versions| versions.get(&info.version));
        entry.is_some_and(|entry| is_admitted(entry, &call.caller.identity))
    };
    let all: Vec<&ProcedureInfo> = offered.registry.procedures().filter(may).collect();
    Raw::encode(&all).map_err(|error| Fault::new(FaultCode::Internal, error.to_string()))
}
