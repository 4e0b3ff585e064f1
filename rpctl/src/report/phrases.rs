//! What failed, and what to do next, for each code of a fault. Every help names what a person can do or type.

use redpoll_common::api::method;
use redpoll_common::wire::{Fault, FaultCode};

use super::Target;
use crate::arguments::is_exec_run;
use crate::commands::MANAGER;
use crate::value::{decode, field};

/// How an agent ends its word on a procedure that an operator has switched off.
const SWITCHED_OFF: &str = "is switched off by the manager";

/// What failed, and what to do next, for each code.
pub(super) fn phrases(fault: &Fault, target: &Target) -> (String, String) {
    let (name, agent, verb) = (target.name(), target.agent(), target.verb());
    let again = match fault.retry_after_ms {
        Some(ms) => format!("try again in {} s", ms.div_ceil(1000)),
        None => "try again in a moment".to_owned(),
    };
    match &fault.code {
        FaultCode::Failed if fault.class.as_deref() == Some("SpawnError") => (
            format!("{name} could not be started"),
            "nothing ran; look at the program, its path, its permissions and its user".to_owned(),
        ),
        FaultCode::Failed if has_not_started(fault) => (
            format!("{name} could not be started"),
            "nothing ran; its worker has to become ready first: look at what it needs".to_owned(),
        ),
        FaultCode::Failed => (
            format!("{name} failed"),
            "it ran and failed by its own account; look at what it works on".to_owned(),
        ),
        FaultCode::Rejected => (format!("{agent} rejected {verb}"), who_rejects(fault, target)),
        FaultCode::Forbidden => (format!("you may not use {verb}"), who_may(target).to_owned()),
        FaultCode::UnknownMethod => (
            format!("the manager does not know {verb}"),
            "compare the versions: `rpctl --version` and `rpctl status`".to_owned(),
        ),
        FaultCode::UnknownProcedure => (
            match target {
                // what is missing is what the method was asked for
                Target::Agent { .. } => format!("{agent} has no such procedure"),
                Target::Procedure { .. } | Target::Manager { .. } => format!("{agent} does not offer {verb}"),
            },
            match target {
                Target::Procedure { .. } if fault.message.ends_with(SWITCHED_OFF) => {
                    format!("offer it again: rpctl agents enable {agent} {verb}")
                }
                Target::Procedure { .. } | Target::Agent { .. } | Target::Manager { .. } => {
                    format!("see what it offers: rpctl agents procedures {agent}")
                }
            },
        ),
        FaultCode::BadArguments => (format!("the arguments do not fit {verb}"), what_it_takes(target)),
        FaultCode::UnknownAgent | FaultCode::AgentAway => phrases_of_absence(fault, target),
        FaultCode::AgentGone => (
            format!("{agent} was lost during {verb}"),
            format!("it may have run: look at the machine before you repeat it; rpctl agents show {agent}"),
        ),
        FaultCode::TimedOut => (format!("{name} took too long"), whose_limit(fault, target)),
        FaultCode::Cancelled => (
            format!("{name} was cancelled"),
            "somebody or something else ended it; the logs say more".to_owned(),
        ),
        FaultCode::TooLarge => (
            format!("{name}: a message is too large"),
            "ask for less at once, or in pieces; [session] frame_limit sets the limit".to_owned(),
        ),
        FaultCode::Overloaded => {
            let who = if matches!(target, Target::Manager { .. }) { "the manager" } else { agent };
            (format!("{who} cannot take {verb} now"), format!("nothing ran; {again}"))
        }
        FaultCode::ShuttingDown => (format!("{name}: it is stopping"), format!("nothing ran; {again}")),
        FaultCode::Internal => (
            format!("{name}: the system around it failed"),
            format!("the logs of {agent} and of the manager say more"),
        ),
        FaultCode::UnknownJob | FaultCode::IdemConflict | FaultCode::WrongState | FaultCode::StoreFull => {
            phrases_of_jobs(fault, target, &again)
        }
        FaultCode::Unsettled => {
            (format!("{name} was done, and is not known to be settled"), format!("ask again: {again}"))
        }
        FaultCode::Other(code) => (
            format!("{name} ended with {code:?}, which this rpctl does not know"),
            "it may have run; use an rpctl as new as the manager".to_owned(),
        ),
    }
}

/// The same for agents that are not there: the one that was meant, or some of a job.
fn phrases_of_absence(fault: &Fault, target: &Target) -> (String, String) {
    let (agent, verb, away) = (target.agent(), target.verb(), fault.code == FaultCode::AgentAway);
    if away && fault.message.contains("revoked") {
        let help = "who, and why: rpctl agents list --revoked; to take it back: rpctl agents restore ID";
        return (format!("{verb}: an agent is revoked"), help.to_owned());
    }
    match (target, away) {
        (Target::Manager { .. }, true) => (
            format!("{verb}: agents are not connected"),
            "since when and why: rpctl agents list; --offline wait lets the job wait for them".to_owned(),
        ),
        (Target::Manager { .. }, false) => {
            (format!("{verb}: an agent is not known"), "see which there are: rpctl agents list".to_owned())
        }
        (Target::Procedure { .. } | Target::Agent { .. }, true) => (
            format!("{agent} is not connected"),
            format!("nothing was sent; since when and why: rpctl agents show {agent}"),
        ),
        (Target::Procedure { .. } | Target::Agent { .. }, false) => {
            (format!("there is no agent {agent}"), "see which there are: rpctl agents list".to_owned())
        }
    }
}

/// The same for the codes that only jobs have; what is none of the others says that something is in another state.
fn phrases_of_jobs(fault: &Fault, target: &Target, again: &str) -> (String, String) {
    let (verb, code) = (target.verb(), &fault.code);
    let run = fault.message.strip_prefix("the job ").and_then(|text| text.split_once(" has no run on "));
    if let (FaultCode::UnknownJob, Some((job, agent))) = (code, run) {
        let help = format!("see where it has one: rpctl jobs show {job}");
        return (format!("{verb}: the job has no run on {agent}"), help);
    }
    if *code == FaultCode::UnknownJob {
        return (format!("{verb}: there is no such job"), "see which there are: rpctl jobs list".to_owned());
    }
    if *code == FaultCode::IdemConflict {
        let help =
            "nothing was stored; look at the job that has the key, or use another --key for another job";
        return (format!("{verb}: the key is taken"), help.to_owned());
    }
    if *code == FaultCode::StoreFull {
        let help = format!("nothing was stored; make room on the manager's machine, or {again}");
        return (format!("{verb}: the manager's disk is full"), help);
    }
    let look = match target {
        Target::Agent { method: method::AGENTS_REVOKE | method::AGENTS_RESTORE, .. } => {
            "rpctl agents list --revoked".to_owned()
        }
        Target::Agent { agent, .. } => format!("rpctl agents procedures {agent}"),
        Target::Manager { method: method::OPERATORS_REVOKE | method::OPERATORS_RESTORE } => {
            "rpctl operators list --revoked".to_owned()
        }
        Target::Manager { method: method::EVENTS_LIST | method::EVENTS_FOLLOW } => "rpctl events".to_owned(),
        Target::Procedure { .. } | Target::Manager { .. } => {
            "rpctl jobs show JOB, rpctl queues list".to_owned()
        }
    };
    (format!("{verb}: not in this state"), format!("see how it stands: {look}"))
}

/// Whether a worker says that it was never given the call.
fn has_not_started(fault: &Fault) -> bool {
    let data = fault.data.as_ref().map(decode);
    data.as_ref().and_then(|data| field(data, "started")).and_then(rmpv::Value::as_bool) == Some(false)
}

/// Who decides who may.
fn who_may(target: &Target) -> &'static str {
    match target {
        Target::Procedure { agent, .. } if agent == MANAGER => {
            "callers of its manifest on the manager decides; `rpctl certs show FILE` says who you are"
        }
        Target::Procedure { .. } | Target::Agent { .. } | Target::Manager { .. } => {
            "use an operator's certificate; `rpctl certs show FILE` says whose yours is"
        }
    }
}

/// Whom to ask for leave: the policy is one of those that refuse.
fn who_rejects(fault: &Fault, target: &Target) -> String {
    let (agent, verb) = (target.agent(), target.verb());
    if let Some(ms) = fault.retry_after_ms {
        return format!("nothing ran; the policy of {agent} allows it again in {} s", ms.div_ceil(1000));
    }
    if verb.starts_with("file.") && !fault.message.contains("policy") {
        return format!(
            "nothing ran; [files] of the configuration of {agent} says which folders it may reach"
        );
    }
    format!("nothing ran; the policy of the owner of {agent} decides, its policy.toml")
}

/// Where it stands what arguments a procedure takes, or a verb of rpctl.
fn what_it_takes(target: &Target) -> String {
    match target {
        Target::Procedure { agent, procedure } => {
            format!("see what it takes: rpctl agents procedures {agent} {procedure}")
        }
        Target::Manager { method: method::JOBS_SUBMIT | method::JOBS_PREVIEW } => {
            "see what it takes: rpctl agents procedures AGENT PROCEDURE".to_owned()
        }
        Target::Manager { method: method::JOBS_READ | method::JOBS_FOLLOW | method::JOBS_RESULT } => {
            "give --agent AGENT; which there are: rpctl jobs show JOB".to_owned()
        }
        Target::Agent { method, .. } | Target::Manager { method } => {
            format!("see what it takes: rpctl {} --help", words_of(method))
        }
    }
}

/// The words of the command line that ask the manager for this.
fn words_of(method: &str) -> String {
    match method {
        method::EVENTS_LIST | method::EVENTS_FOLLOW => "events".to_owned(),
        method::PROCEDURES_ENABLE => "agents enable".to_owned(),
        method::PROCEDURES_DISABLE => "agents disable".to_owned(),
        _ => method.strip_prefix("rp.").unwrap_or(method).replace('.', " "),
    }
}

/// Who set the limit that was over.
fn whose_limit(fault: &Fault, target: &Target) -> String {
    let (agent, message) = (target.agent(), fault.message.as_str());
    if message.starts_with("no pong ") {
        return format!("since when and why: rpctl agents show {agent}");
    }
    if message.contains("limits.run_timeout") {
        return format!("limits.run_timeout in the configuration of {agent} is the limit");
    }
    if message.contains("idle_timeout") {
        return "idle_timeout of its manifest is the limit".to_owned();
    }
    if message.contains("relay.wait") {
        return "relay.wait in the configuration of the manager is the limit".to_owned();
    }
    if message.contains("exceeded its time limit") {
        let whose = if is_exec_run(target.verb()) {
            "run_timeout_ms of the call"
        } else {
            "run_timeout of its manifest"
        };
        return format!("{whose} is the limit, and never more than limits.run_timeout of {agent}");
    }
    "give it longer with --timeout DUR".to_owned()
}
