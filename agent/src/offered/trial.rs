//! `rp.policy.test`: what the agent would say of a call or an offer now. Nothing runs, and no rate is used.

use redpoll_common::api::trial::{PolicyTest, PolicyTestAnswer};
use redpoll_common::identity::Role;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::CallContext;
use redpoll_net::service::Running;
use tracing::debug;

use super::{Current, Offered};
use crate::gate::{Asked, Counting, Leave, Refused, moment};

impl Current {
    /// What would become of a call, by the same judgement as if it came.
    pub fn trial(&self, method: &str, asked: Asked<'_>) -> PolicyTestAnswer {
        let asked = Asked { counting: Counting::Looks, ..asked };
        let procedure = self.registry.info(method).ok().map(|info| format!("{}@{}", info.name, info.version));
        match self.judge(method, asked) {
            Ok(Leave { rule, run_as }) => {
                let user = run_as.or_else(|| self.user_of(method));
                PolicyTestAnswer {
                    allowed: true,
                    procedure,
                    rule: Some(rule),
                    user,
                    ..PolicyTestAnswer::default()
                }
            }
            Err(Refused { rule, fault }) => PolicyTestAnswer { procedure, rule, ..refused(*fault) },
        }
    }

    /// As which user a procedure runs when no rule says otherwise; `None`: within the agent.
    fn user_of(&self, method: &str) -> Option<String> {
        let info = self.registry.info(method).ok()?;
        let subject = self.subjects.get(&info.name)?.get(&info.version)?;
        self.gate.user_of(subject)
    }
}

impl Offered {
    /// Answers `rp.policy.test`; an agent that is `draining` refuses everything.
    pub fn test(&self, call: &CallContext, draining: bool) -> Running {
        let answer = self.tested(call, draining);
        Running { answer: Box::pin(std::future::ready(answer)), graceful: false }
    }

    fn tested(&self, call: &CallContext, draining: bool) -> Result<Raw, Fault> {
        if call.caller.identity.role != Role::Manager {
            return Err(Fault::new(FaultCode::Forbidden, format!("{} is for managers", call.method)));
        }
        let test = PolicyTest::read(&call.kwargs)
            .map_err(|error| Fault::new(FaultCode::BadArguments, error.to_string()))?;
        let PolicyTest { procedure, args, kwargs, operator, roles } = &test;
        let answer = if draining {
            refused(Fault::new(FaultCode::ShuttingDown, "the agent is stopping, and takes nothing new"))
        } else {
            let (operator, roles) = (operator.as_deref(), roles.as_deref());
            let asked = Asked { args, kwargs, operator, roles, now: moment(), counting: Counting::Looks };
            self.now().trial(procedure, asked)
        };
        let PolicyTestAnswer { allowed, ref rule, .. } = answer;
        debug!(procedure = ?procedure, operator = ?operator, allowed, rule = ?rule, "the manager asked what would become of a call");
        Raw::encode(&answer).map_err(|error| Fault::new(FaultCode::Internal, error.to_string()))
    }
}

fn refused(fault: Fault) -> PolicyTestAnswer {
    PolicyTestAnswer {
        code: Some(fault.code.to_string()),
        message: Some(fault.message),
        retry_after_ms: fault.retry_after_ms,
        ..PolicyTestAnswer::default()
    }
}
