//! Who may use what: one table of methods and roles, one of notification types and roles.
//!
//! Nothing in a message names its sender: the role is the certificate's. [`decide`] turns a role and a method's name
//! into an [`Allowed`], which cannot be made anywhere else; what dispatches requests asks for one, so that no route
//! leads around the table. Procedures of agents are not listed here: whoever may use `rp.call` may name any, and the
//! agent's own policy has the last word.

use std::collections::BTreeSet;

use redpoll_common::api::{method, notice};
use redpoll_common::identity::Role;
use redpoll_common::wire::{Fault, FaultCode};

/// What the reserved names begin with; every other method is a procedure.
pub const RESERVED_PREFIX: &str = "rp.";

/// A method of the manager, and who may use it.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// The name in the request.
    pub name: &'static str,
    /// The roles that may use it.
    pub roles: &'static [Role],
    /// What it does, in one line for people.
    pub summary: &'static str,
}

/// A type of notification that the manager takes, and from whom.
#[derive(Debug, PartialEq, Eq)]
pub struct NotificationType {
    /// The type in the notification.
    pub name: &'static str,
    /// The roles that may send it.
    pub roles: &'static [Role],
    /// What it says, in one line for people.
    pub summary: &'static str,
}

const OPERATORS: &[Role] = &[Role::Operator];
const OPERATORS_AND_AGENTS: &[Role] = &[Role::Operator, Role::Agent];
const AGENTS: &[Role] = &[Role::Agent];

const fn entry(name: &'static str, roles: &'static [Role], summary: &'static str) -> Method {
    Method { name, roles, summary }
}

/// Every method of the manager, in order of name. What is not here does not exist.
///
/// Agents see and end their own jobs alone, and submit and emit what [`crate::agents`] allows.
pub const METHODS: &[Method] = &[
    entry(method::AGENTS_LIST, OPERATORS, "lists the agents that are connected or remembered"),
    entry(method::AGENTS_PING, OPERATORS, "measures round trips to an agent"),
    entry(method::AGENTS_PROCEDURES, OPERATORS, "lists what an agent offers, as the manager knows it"),
    entry(method::AGENTS_RELOAD, OPERATORS, "has an agent read its procedures anew"),
    entry(
        method::AGENTS_RESTORE,
        OPERATORS,
        "lets an agent in again that was revoked, or one of its certificates",
    ),
    entry(
        method::AGENTS_REVOKE,
        OPERATORS,
        "shuts an agent out, or one of its certificates, and cuts its sessions",
    ),
    entry(method::AGENTS_REVOKED, OPERATORS, "lists which agents and certificates of agents are revoked"),
    entry(method::AGENTS_SHOW, OPERATORS, "shows what is known of one agent"),
    entry(method::CALL, OPERATORS, "calls a procedure of an agent and waits for its answer"),
    entry(method::EVENTS_EMIT, AGENTS, "puts an event of an agent into the public history"),
    entry(method::EVENTS_FOLLOW, OPERATORS, "tells the public history as it goes on"),
    entry(method::EVENTS_LIST, OPERATORS, "lists the public history"),
    entry(method::EVENTS_VERIFY, OPERATORS, "checks the public history against its hashes"),
    entry(method::JOB_REPORT, AGENTS, "takes what is new about an agent's runs"),
    entry(method::JOB_RESUME, AGENTS, "compares what an agent's spool holds with what the manager knows"),
    entry(
        method::JOBS_CANCEL,
        OPERATORS_AND_AGENTS,
        "ends runs: of a job, a queue or all that meet criteria",
    ),
    entry(method::JOBS_DELETE, OPERATORS, "deletes a job that has ended"),
    entry(
        method::JOBS_FOLLOW,
        OPERATORS_AND_AGENTS,
        "tells what the runs of a job gave and give, to their ends",
    ),
    entry(method::JOBS_LIST, OPERATORS, "lists jobs, the newest first"),
    entry(
        method::JOBS_PREVIEW,
        OPERATORS,
        "shows the agents that a job would reach, and what would become of it there",
    ),
    entry(method::JOBS_READ, OPERATORS_AND_AGENTS, "reads what a run has given so far"),
    entry(method::JOBS_RECORD, AGENTS, "takes a run that an agent made by itself"),
    entry(method::JOBS_RELEASE, OPERATORS, "lets a held job start, once"),
    entry(method::JOBS_RESULT, OPERATORS_AND_AGENTS, "tells what came of a job, waiting for it or not"),
    entry(method::JOBS_SHOW, OPERATORS_AND_AGENTS, "shows a job with its runs"),
    entry(method::JOBS_SUBMIT, OPERATORS_AND_AGENTS, "stores a job and lets it run"),
    entry(method::MANAGER_ECHO, OPERATORS_AND_AGENTS, "returns its arguments"),
    entry(method::MANAGER_METHODS, OPERATORS, "lists the methods the caller may use"),
    entry(method::MANAGER_TIME, OPERATORS_AND_AGENTS, "tells the manager's wall clock"),
    entry(method::NOTIFY, OPERATORS, "sends an agent a notification, without an answer"),
    entry(method::OPERATORS_LIST, OPERATORS, "lists the operators that are connected or revoked"),
    entry(
        method::OPERATORS_RESTORE,
        OPERATORS,
        "lets an operator in again that was revoked, or one of their certificates",
    ),
    entry(
        method::OPERATORS_REVOKE,
        OPERATORS,
        "shuts an operator out, or one of their certificates, and cuts their sessions",
    ),
    entry(
        method::OPERATORS_REVOKED,
        OPERATORS,
        "lists which operators and certificates of operators are revoked",
    ),
    entry(method::PROCEDURES_DISABLE, OPERATORS, "has an agent offer a procedure no more"),
    entry(method::PROCEDURES_ENABLE, OPERATORS, "has an agent offer a procedure again"),
    entry(method::QUEUES_CANCEL, OPERATORS, "ends all that waits or runs in a queue, in one step"),
    entry(method::QUEUES_LIST, OPERATORS, "lists the queues that are there"),
    entry(method::QUEUES_SHOW, OPERATORS, "shows a queue with its runs"),
    entry(method::STATUS, OPERATORS, "shows how the manager is doing"),
];

/// Every type of notification that the manager takes, in order of name.
///
/// Notifications that belong to a request in flight (`rp.value`, `rp.progress`, `rp.cancel`, `rp.credit`) are the
/// session's and never come here.
pub const NOTIFICATIONS: &[NotificationType] = &[
    NotificationType {
        name: notice::AGENT_DRAINING,
        roles: AGENTS,
        summary: "the agent finishes what it has and takes nothing new",
    },
    NotificationType {
        name: notice::AGENT_PROCEDURES,
        roles: AGENTS,
        summary: "the digest of the agent's list of procedures",
    },
    NotificationType { name: notice::MANAGER_NOTE, roles: AGENTS, summary: "a text for the manager's log" },
];

/// The right to run one request, made by [`decide`] alone.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a request that may run and does not leaves its caller waiting"]
pub struct Allowed {
    method: &'static Method,
}

impl Allowed {
    /// What may be run.
    pub fn method(&self) -> &'static Method {
        self.method
    }
}

/// Why a request is not run. [`Fault`] has a conversion: it is what the caller is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied<'a> {
    /// The table does not list the role for this method.
    #[error("the role {role} may not use the method {method}")]
    Forbidden {
        /// The caller's role.
        role: Role,
        /// The method asked for.
        method: &'static str,
    },
    /// A reserved name that is not in the table.
    #[error("the manager has no method {method:?}")]
    UnknownMethod {
        /// The name asked for.
        method: &'a str,
    },
    /// A name that is not reserved: the manager itself has no procedures.
    #[error("the manager has no procedure {procedure:?}{}", if *.elsewhere { ELSEWHERE } else { "" })]
    UnknownProcedure {
        /// The name asked for.
        procedure: &'a str,
        /// Whether the caller may call it on an agent instead.
        elsewhere: bool,
    },
}

/// Advice for callers who may follow it.
const ELSEWHERE: &str = "; those of an agent are called there: rpctl call AGENT PROCEDURE";

impl From<Denied<'_>> for Fault {
    fn from(denied: Denied<'_>) -> Self {
        let code = match denied {
            Denied::Forbidden { .. } => FaultCode::Forbidden,
            Denied::UnknownMethod { .. } => FaultCode::UnknownMethod,
            Denied::UnknownProcedure { .. } => FaultCode::UnknownProcedure,
        };
        Self::new(code, denied.to_string())
    }
}

/// Decides whether a role may use a method of the manager.
///
/// # Errors
/// [`Denied`] says why not; `?` turns it into the fault for the caller.
pub fn decide(role: Role, method: &str) -> Result<Allowed, Denied<'_>> {
    match METHODS.iter().find(|entry| entry.name == method) {
        Some(entry) if entry.roles.contains(&role) => Ok(Allowed { method: entry }),
        Some(entry) => Err(Denied::Forbidden { role, method: entry.name }),
        None if method.starts_with(RESERVED_PREFIX) => Err(Denied::UnknownMethod { method }),
        None => {
            let elsewhere = methods_of(role).any(|entry| entry.name == method::CALL);
            Err(Denied::UnknownProcedure { procedure: method, elsewhere })
        }
    }
}

/// The methods a role may use, in order of name.
pub fn methods_of(role: Role) -> impl Iterator<Item = &'static Method> {
    METHODS.iter().filter(move |entry| entry.roles.contains(&role))
}

/// The right to act on one notification, made by [`decide_notification`] alone.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    kind: &'static NotificationType,
}

impl Accepted {
    /// What was said.
    pub fn kind(&self) -> &'static NotificationType {
        self.kind
    }
}

/// Why a notification is not acted on. Its sender expects no answer: it is counted and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Ignored {
    /// The manager knows no such type.
    #[error("the manager knows no such type of notification")]
    Unknown,
    /// The sender's role may not send this type.
    #[error("the sender's role may not send this type of notification")]
    Forbidden,
}

/// Decides whether the manager acts on a notification of a role.
///
/// # Errors
/// [`Ignored`] says why not.
pub fn decide_notification(role: Role, kind: &str) -> Result<Accepted, Ignored> {
    let kind = NOTIFICATIONS.iter().find(|entry| entry.name == kind).ok_or(Ignored::Unknown)?;
    if kind.roles.contains(&role) { Ok(Accepted { kind }) } else { Err(Ignored::Forbidden) }
}

/// The routes of a manager are not the methods of the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "routes and the table of methods differ: without an entry {unlisted:?}, without a route {unrouted:?}, \
     routed more than once {repeated:?}"
)]
pub struct RouteMismatch {
    /// Routes without an entry: nobody could use them.
    pub unlisted: Vec<String>,
    /// Entries without a route: whoever may use them would get no sensible answer.
    pub unrouted: Vec<&'static str>,
    /// Names that are routed more than once.
    pub repeated: Vec<String>,
}

/// Checks that the names a manager has routes for are exactly the table's, each once.
///
/// # Errors
/// [`RouteMismatch`] lists the differences in order of name.
pub fn check_routes<'a>(routes: impl IntoIterator<Item = &'a str>) -> Result<(), RouteMismatch> {
    let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    for route in routes {
        if !seen.insert(route) {
            repeated.insert(route);
        }
    }
    let listed: BTreeSet<&str> = METHODS.iter().map(|entry| entry.name).collect();
    let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
    let mismatch = RouteMismatch {
        unlisted: owned(seen.difference(&listed).copied().collect()),
        unrouted: METHODS.iter().map(|entry| entry.name).filter(|name| !seen.contains(name)).collect(),
        repeated: owned(repeated),
    };
    let none = mismatch.unlisted.is_empty() && mismatch.unrouted.is_empty() && mismatch.repeated.is_empty();
    if none { Ok(()) } else { Err(mismatch) }
}

#[cfg(test)]
mod tests;
