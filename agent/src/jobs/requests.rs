//! `rp.job.offer` and `rp.job.cancel`, as the manager asks.

use redpoll_common::identity::Role;
use redpoll_common::job::wire::{Cancel, Offer};
use redpoll_common::wire::{DecodeError, Fault, FaultCode, Raw};
use redpoll_net::CallContext;
use redpoll_net::service::Running;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::taken::Taken;
use super::{Control, Jobs};
use crate::gate::{Asked, Counting, moment};

/// The method that offers a run.
const OFFER: &str = "rp.job.offer";
/// The method that cancels one.
const CANCEL: &str = "rp.job.cancel";

impl Jobs {
    /// Whether a method is one of jobs.
    pub fn serves(method: &str) -> bool {
        matches!(method, OFFER | CANCEL)
    }

    /// Takes a request of the manager. It is queued at once, so that requests keep their order; the answer comes when
    /// it is true, which is after the disk has it.
    pub fn start(&self, call: CallContext) -> Running {
        let (token, answer) = oneshot::channel();
        let queued = self.read(call, token).and_then(|control| {
            self.shared.control.try_send(control).map_err(|error| match error {
                TrySendError::Full(_) => {
                    let text = "the agent does not keep up with the offers; nothing ran";
                    Fault { retry_after_ms: Some(1_000), ..Fault::new(FaultCode::Overloaded, text) }
                }
                TrySendError::Closed(_) => {
                    Fault::new(FaultCode::ShuttingDown, "the agent has stopped; nothing ran")
                }
            })
        });
        match queued {
            Err(fault) => Running::refused(fault),
            Ok(()) => Running {
                answer: Box::pin(async move { answer.await.unwrap_or_else(gone) }),
                graceful: false,
            },
        }
    }

    fn read(&self, call: CallContext, token: super::Token) -> Result<Control, Fault> {
        let CallContext { caller, method, kwargs, .. } = call;
        if caller.identity.role != Role::Manager {
            return Err(Fault::new(FaultCode::Forbidden, format!("{method} is for managers")));
        }
        if method == CANCEL {
            let mut cancel = Cancel::read(&kwargs).map_err(unreadable)?;
            cancel.grace_ms = cancel.grace_ms.map(|grace| grace.min(self.shared.limits.grace_ms()));
            return Ok(Control::Cancel { token, cancel });
        }
        let mut offer = Box::new(Offer::read(&kwargs).map_err(unreadable)?);
        self.shared.limits.cap(&mut offer.limits);
        let Offer { procedure, args, kwargs, operator, roles, .. } = &*offer;
        let (operator, roles) = (Some(operator.as_str()), roles.as_deref());
        let asked = Asked { args, kwargs, operator, roles, now: moment(), counting: Counting::Takes };
        // first: what is only put off takes nothing of a rate, and what takes something gives it back if nothing begins
        let offered = self.shared.offered.now();
        let admin = offered.is_admin(procedure);
        let verdict = self.shared.leftovers.refuse(offer.run.job, &offer.procedure).and_then(|()| {
            let judged = offered.judge(procedure, asked);
            judged
                .map(|leave| Taken::new(self.shared.offered.clone(), leave))
                .map_err(|refused| proving(refused.into()))
        });
        let verdict = verdict.map_err(Box::new);
        Ok(Control::Offer { token, offer, caller, admin, verdict })
    }
}

/// A verdict in a code that proves to the manager that nothing ran and nothing will. With any other (a schema that cannot be used is
/// `internal` to a caller) it would have to ask the next session, and cut this one for it: of one run, at each offer of it.
fn proving(fault: Fault) -> Fault {
    let proves = matches!(
        fault.code,
        FaultCode::Rejected
            | FaultCode::UnknownProcedure
            | FaultCode::BadArguments
            | FaultCode::Overloaded
            | FaultCode::ShuttingDown
    );
    if proves { fault } else { Fault { code: FaultCode::Rejected, ..fault } }
}

fn unreadable(error: DecodeError) -> Fault {
    Fault::new(FaultCode::BadArguments, error.to_string())
}

/// The runner ended before it could answer. Whether the disk has the run, nobody here can say: other than a refusal, this
/// is no proof of anything, and the manager asks the next life of the agent.
fn gone(_closed: oneshot::error::RecvError) -> Result<Raw, Fault> {
    Err(Fault::new(
        FaultCode::AgentGone,
        "the agent is ending; its next session tells whether it has the run",
    ))
}
