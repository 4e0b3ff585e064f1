//! `rp.agent.reload`, `rp.procedures.enable` and `rp.procedures.disable`, as the manager asks.

use std::sync::Arc;

use redpoll_common::api::{SwitchAnswer, SwitchOrder, agent_method};
use redpoll_common::identity::Role;
use redpoll_common::nearest::nearest;
use redpoll_common::wire::{Fault, FaultCode, MAX_METHOD_LEN, Raw};
use redpoll_net::CallContext;
use redpoll_net::service::Running;
use serde::Serialize;
use tracing::info;

use super::{Changing, Offered, State, SwitchError};
use crate::procedures::Procedure;

impl Offered {
    /// Whether a method is one of these.
    pub fn serves(method: &str) -> bool {
        matches!(
            method,
            agent_method::RELOAD | agent_method::ENABLE | agent_method::DISABLE | agent_method::PROCEDURES
        )
    }

    /// Takes a request of the manager.
    pub fn start(self: &Arc<Self>, call: CallContext) -> Running {
        if call.caller.identity.role != Role::Manager {
            let text = format!("{} is for managers", call.method);
            return Running::refused(Fault::new(FaultCode::Forbidden, text));
        }
        if call.method == agent_method::PROCEDURES {
            return self.list(&call);
        }
        let offered = self.clone();
        let answer = async move { offered.serve(&call).await };
        Running { answer: Box::pin(answer), graceful: false }
    }

    async fn serve(self: &Arc<Self>, call: &CallContext) -> Result<Raw, Fault> {
        if call.method == agent_method::RELOAD {
            return written(&self.reload_in_turn().await?);
        }
        let bad = |text: String| Fault::new(FaultCode::BadArguments, text);
        let order: SwitchOrder = call.kwargs.decode().map_err(|error| bad(error.reason))?;
        if order.procedure.len() > MAX_METHOD_LEN {
            return Err(bad(format!("procedure has more than {MAX_METHOD_LEN} bytes")));
        }
        let on = call.method == agent_method::ENABLE;
        written(&self.in_turn(move |offered| offered.switch(&order, on)).await??)
    }

    /// Switches a procedure on or off, and writes it down. Blocks: it writes a file.
    ///
    /// # Errors
    /// The fault for whoever asked.
    pub fn switch(&self, order: &SwitchOrder, on: bool) -> Result<SwitchAnswer, Fault> {
        let SwitchOrder { procedure, operator } = order;
        let Some(changing) = &self.changing else {
            return Err(Fault::new(FaultCode::WrongState, "the procedures of this agent cannot be switched"));
        };
        let (name, version) = named(procedure)?;
        self.gate.may_switch(procedure, on)?;
        let mut state = changing.state();
        check(changing, &state, (name, version), on)?;
        let internal = |error: &dyn std::error::Error, text: &str| {
            tracing::error!(%error, procedure, on, "a procedure cannot be switched");
            Fault::new(FaultCode::Internal, text)
        };
        let (changed, unconfirmed) = match state.switches.switch(name, version, on) {
            Ok(changed) => (changed, None),
            Err(error @ SwitchError::Unconfirmed { .. }) => (true, Some(error)),
            Err(error @ (SwitchError::Io { .. } | SwitchError::Content { .. })) => {
                return Err(internal(&error, "the agent cannot write it down; nothing changed"));
            }
        };
        if changed {
            let text =
                "it is written down, and holds from the next reload of the agent on; now nothing changed";
            self.rebuild(changing, &state).map_err(|error| internal(&error, text))?;
            info!(procedure, on, operator, "the manager switched a procedure");
        }
        if let Some(error) = unconfirmed {
            let text = "it is switched and written down, but the disk did not confirm it: it may be as before after a power cut";
            return Err(internal(&error, text));
        }
        Ok(SwitchAnswer { procedure: procedure.clone(), enabled: on, changed })
    }
}

/// `name` or `name@version`, with one way to write a version.
fn named(procedure: &str) -> Result<(&str, Option<u32>), Fault> {
    let Some((name, text)) = procedure.split_once('@') else { return Ok((procedure, None)) };
    match text.parse::<u32>() {
        Ok(version) if version.to_string() == text => Ok((name, Some(version))),
        Ok(_) | Err(_) => {
            let text = format!("{text:?} in {procedure:?} is not a version");
            Err(Fault::new(FaultCode::BadArguments, text))
        }
    }
}

fn check(
    changing: &Changing,
    state: &State,
    (name, version): (&str, Option<u32>),
    on: bool,
) -> Result<(), Fault> {
    // what is gone may be switched on again: then nothing is left of the switch
    let is_off = state.switches.is_all_off(name)
        || version.is_some_and(|version| state.switches.is_off(name, version));
    let means_something = changing.knows(state, name, version) || (on && is_off);
    if !means_something {
        let known = changing.known(state);
        let text = match version.filter(|_| changing.knows(state, name, None)) {
            Some(version) => format!("there is no version {version} of {name} here"),
            None => {
                let others = known.iter().map(|(known, _)| known.as_str()).filter(|known| *known != name);
                let meant = nearest(name, others);
                let meant = meant.map(|meant| format!("; is {meant:?} meant?")).unwrap_or_default();
                format!("{name:?} is not described here{meant}")
            }
        };
        return Err(Fault::new(FaultCode::UnknownProcedure, text));
    }
    if on && version.is_some() && state.switches.is_all_off(name) {
        let text = format!("all versions of {name} are disabled as one; enable {name}");
        return Err(Fault::new(FaultCode::WrongState, text));
    }
    let is_meant = |one: &&Arc<Procedure>| {
        let manifest = one.manifest();
        manifest.name == name && version.is_none_or(|version| version == manifest.version)
    };
    // of a name without a version it is enough that one is enabled; what is built in has no file
    let mut described = state.procedures.iter().filter(is_meant).map(|one| one.manifest().enabled).peekable();
    if on && described.peek().is_some() && described.all(|enabled| !enabled) {
        let text = format!(
            "{name} is not enabled by the file that describes it: whoever owns the machine decides that"
        );
        return Err(Fault::new(FaultCode::WrongState, text));
    }
    Ok(())
}

fn written<T: Serialize>(answer: &T) -> Result<Raw, Fault> {
    Raw::encode(answer).map_err(|error| Fault::new(FaultCode::Internal, error.to_string()))
}
