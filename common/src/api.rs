//! The arguments and answers of the `rp.*` methods, shared by the manager and everyone who asks it.
//!
//! All are maps on the wire, so fields can be added: unknown ones are ignored, new ones have defaults.

mod call;
pub mod events;
pub mod items;
pub mod jobs;
pub mod procedures;
pub mod queues;
pub mod record;
pub mod revoked;
pub mod submit;
pub mod trial;
pub(crate) mod value;

use serde::{Deserialize, Serialize};

pub use call::{CallArguments, NotifyArguments};
pub use procedures::{ProcedureSummary, ProceduresArguments};

/// Names of the manager's methods.
pub mod method {
    /// Calls a procedure on an agent. [`super::CallArguments`] → the procedure's answer, values and progress.
    pub const CALL: &str = "rp.call";
    /// Sends a notification to an agent. [`super::NotifyArguments`] → nil.
    pub const NOTIFY: &str = "rp.notify";
    /// Lists the agents that the manager knows. → [`super::AgentList`].
    pub const AGENTS_LIST: &str = "rp.agents.list";
    /// Shows one agent. [`super::AgentArguments`] → [`super::AgentSummary`].
    pub const AGENTS_SHOW: &str = "rp.agents.show";
    /// Shuts an agent out, or one of its certificates. [`super::revoked::RevokeArguments`] → [`super::revoked::RevokeAnswer`].
    pub const AGENTS_REVOKE: &str = "rp.agents.revoke";
    /// Lets it in again. [`super::revoked::RestoreArguments`] → nil.
    pub const AGENTS_RESTORE: &str = "rp.agents.restore";
    /// Lists what of agents is revoked. [`super::revoked::RevokedArguments`] → [`super::revoked::RevokedList`].
    pub const AGENTS_REVOKED: &str = "rp.agents.revoked";
    /// Shuts an operator out, or one of their certificates. [`super::revoked::RevokeArguments`] → [`super::revoked::RevokeAnswer`].
    pub const OPERATORS_REVOKE: &str = "rp.operators.revoke";
    /// Lets them in again. [`super::revoked::RestoreArguments`] → nil.
    pub const OPERATORS_RESTORE: &str = "rp.operators.restore";
    /// Lists what of operators is revoked. [`super::revoked::RevokedArguments`] → [`super::revoked::RevokedList`].
    pub const OPERATORS_REVOKED: &str = "rp.operators.revoked";
    /// Lists the operators that are connected or revoked. [`super::revoked::OperatorListArguments`] → [`super::revoked::OperatorList`].
    pub const OPERATORS_LIST: &str = "rp.operators.list";
    /// Measures round trips to an agent. [`super::PingArguments`] → [`super::PingAnswer`].
    pub const AGENTS_PING: &str = "rp.agents.ping";
    /// Lists the procedures of an agent as the manager knows them. [`super::ProceduresArguments`] → `{known, connected, procedures, next}`.
    pub const AGENTS_PROCEDURES: &str = "rp.agents.procedures";
    /// Has an agent read its procedures anew. [`super::AgentArguments`] → [`super::ReloadAnswer`].
    pub const AGENTS_RELOAD: &str = "rp.agents.reload";
    /// Offers a procedure of an agent again. [`super::SwitchArguments`] → [`super::SwitchAnswer`].
    pub const PROCEDURES_ENABLE: &str = "rp.procedures.enable";
    /// Offers a procedure of an agent no more, until it is enabled. [`super::SwitchArguments`] → [`super::SwitchAnswer`].
    pub const PROCEDURES_DISABLE: &str = "rp.procedures.disable";
    /// Tells how the manager is. → [`super::Status`].
    pub const STATUS: &str = "rp.status";
    /// Answers with its arguments.
    pub const MANAGER_ECHO: &str = "rp.manager.echo";
    /// Tells the manager's clock. → [`super::Time`].
    pub const MANAGER_TIME: &str = "rp.manager.time";
    /// Lists the methods that the caller may use. → [`super::MethodList`].
    pub const MANAGER_METHODS: &str = "rp.manager.methods";
    /// Submits a job. [`super::submit::SubmitArguments`] → [`super::submit::SubmitAnswer`].
    pub const JOBS_SUBMIT: &str = "rp.jobs.submit";
    /// Shows the agents that a job would reach, and what would become of it there. [`super::submit::PreviewArguments`] or
    /// [`super::trial::TrialArguments`] → [`super::submit::Preview`].
    pub const JOBS_PREVIEW: &str = "rp.jobs.preview";
    /// Lets a held job start, once. [`super::jobs::JobArguments`] → nil.
    pub const JOBS_RELEASE: &str = "rp.jobs.release";
    /// Lists jobs. [`super::jobs::JobListArguments`] → [`super::jobs::JobList`].
    pub const JOBS_LIST: &str = "rp.jobs.list";
    /// Shows a job with its runs. [`super::jobs::JobShowArguments`] → [`super::jobs::JobDetail`].
    pub const JOBS_SHOW: &str = "rp.jobs.show";
    /// What came of a job, waiting for it or not. [`super::jobs::ResultArguments`] → [`super::jobs::JobResult`].
    pub const JOBS_RESULT: &str = "rp.jobs.result";
    /// What a run has given so far. [`super::items::ReadArguments`] → [`super::items::ItemPage`].
    pub const JOBS_READ: &str = "rp.jobs.read";
    /// Past and future of a job's runs. [`super::items::FollowArguments`] → [`super::items::FollowEvent`]s, then
    /// [`super::jobs::JobSummary`].
    pub const JOBS_FOLLOW: &str = "rp.jobs.follow";
    /// Ends runs. [`super::jobs::CancelArguments`] → [`super::jobs::CancelAnswer`].
    pub const JOBS_CANCEL: &str = "rp.jobs.cancel";
    /// Deletes a job that has ended. [`super::jobs::JobArguments`] → nil.
    pub const JOBS_DELETE: &str = "rp.jobs.delete";
    /// Lists queues. [`super::queues::QueueListArguments`] → [`super::queues::QueueList`].
    pub const QUEUES_LIST: &str = "rp.queues.list";
    /// Shows a queue with its runs. [`super::queues::QueueArguments`] → [`super::queues::QueueDetail`].
    pub const QUEUES_SHOW: &str = "rp.queues.show";
    /// Ends all that waits or runs in a queue. [`super::queues::QueueCancelArguments`] → [`super::jobs::CancelAnswer`].
    pub const QUEUES_CANCEL: &str = "rp.queues.cancel";
    /// A page of the public history. [`super::events::EventListArguments`] → [`super::events::EventList`].
    pub const EVENTS_LIST: &str = "rp.events.list";
    /// The public history as it goes on. [`super::events::EventListArguments`] → [`super::events::EventSummary`]s.
    pub const EVENTS_FOLLOW: &str = "rp.events.follow";
    /// Checks a stretch of the public history against its hashes. [`super::events::EventVerifyArguments`] →
    /// [`super::events::EventVerified`].
    pub const EVENTS_VERIFY: &str = "rp.events.verify";
    /// From an agent: puts an event into the public history. [`super::events::EmitArguments`] → [`super::events::EmitAnswer`].
    pub const EVENTS_EMIT: &str = "rp.events.emit";
    /// From an agent: a run that it made by itself. [`super::record::RecordArguments`] → [`super::record::RecordAnswer`].
    pub const JOBS_RECORD: &str = "rp.jobs.record";
    /// From an agent: what is new about its runs. [`crate::job::wire::Report`] → [`crate::job::wire::ReportAnswer`].
    pub const JOB_REPORT: &str = "rp.job.report";
    /// From an agent: what its spool holds. [`crate::job::wire::Resume`] → [`crate::job::wire::ResumeAnswer`].
    pub const JOB_RESUME: &str = "rp.job.resume";
}

/// Methods of an agent that the manager alone may use.
pub mod agent_method {
    /// Offers a run. [`crate::job::wire::Offer`] → [`crate::job::wire::OfferAnswer`].
    pub const JOB_OFFER: &str = "rp.job.offer";
    /// Lists the procedures with their schemas, in pages. → `{digest, procedures, next}`.
    pub const PROCEDURES: &str = "rp.agent.procedures";
    /// Reads the procedures anew. → [`super::ReloadAnswer`].
    pub const RELOAD: &str = "rp.agent.reload";
    /// Offers a procedure again. [`super::SwitchOrder`] → [`super::SwitchAnswer`].
    pub const ENABLE: &str = super::method::PROCEDURES_ENABLE;
    /// Offers a procedure no more. [`super::SwitchOrder`] → [`super::SwitchAnswer`].
    pub const DISABLE: &str = super::method::PROCEDURES_DISABLE;
    /// Says whether something would run, and runs nothing. [`super::trial::PolicyTest`] → [`super::trial::PolicyTestAnswer`].
    pub const POLICY_TEST: &str = "rp.policy.test";
    /// Ends a run, or has it never start. [`crate::job::wire::Cancel`] → [`crate::job::wire::StateAnswer`].
    pub const JOB_CANCEL: &str = "rp.job.cancel";
}

/// Types of notifications with a meaning of their own.
pub mod notice {
    /// From an agent: it is draining and takes no new calls.
    pub const AGENT_DRAINING: &str = "rp.agent.draining";
    /// From an agent: the digest of its list of procedures, after the hello and after each change.
    pub const AGENT_PROCEDURES: &str = "rp.agent.procedures";
    /// From an agent: a text for the manager's log.
    pub const MANAGER_NOTE: &str = "rp.manager.note";
    /// To an agent: a text for the agent's log.
    pub const SYS_LOG: &str = "sys.log";
}

/// The arguments of `rp.agents.show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentArguments {
    /// The agent.
    pub agent: String,
}

/// The answer of `rp.agents.reload` and `rp.agent.reload`: what became of the procedures that files describe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadAnswer {
    /// Procedures that are offered now, the built-in ones included.
    pub offered: u64,
    /// Those that were not described before.
    pub added: u64,
    /// Those that are described differently.
    pub changed: u64,
    /// Those that are not described any more.
    pub removed: u64,
    /// What could not be read or offered: file, why, and what to do; the others are not affected.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// The arguments of `rp.procedures.enable` and `rp.procedures.disable`, as an operator asks the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchArguments {
    /// The agent.
    pub agent: String,
    /// The procedure: `name` for all its versions, or `name@version`.
    pub procedure: String,
}

/// The same, as the manager asks the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchOrder {
    /// The procedure: `name` for all its versions, or `name@version`.
    pub procedure: String,
    /// Who wants it.
    #[serde(default)]
    pub operator: Option<String>,
}

/// The answer of `rp.procedures.enable` and `rp.procedures.disable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchAnswer {
    /// The procedure as it was named.
    pub procedure: String,
    /// Whether the manager lets it be offered now.
    pub enabled: bool,
    /// Whether that was different before.
    pub changed: bool,
}

/// The arguments of `rp.agents.ping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingArguments {
    /// The agent.
    pub agent: String,
    /// How many pings, one after the other; 1 to 100.
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// The answer of `rp.agents.ping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingAnswer {
    /// Each round trip between manager and agent, in microseconds.
    pub round_trips_us: Vec<u64>,
}

/// Whether an agent can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It has a session.
    Connected,
    /// It has a session and takes no new calls.
    Draining,
    /// It has no session.
    Away,
    /// A state of a newer manager that this build does not know.
    #[serde(other)]
    Unknown,
}

/// What the manager knows of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSummary {
    /// Its name.
    pub id: String,
    /// Whether it can be reached.
    pub state: AgentState,
    /// The address it dialled from, of the newest session.
    #[serde(default)]
    pub address: String,
    /// The agent's own version.
    #[serde(default)]
    pub version: String,
    /// The protocol of its newest session.
    #[serde(default)]
    pub protocol: u32,
    /// The digest of its local policy, as it said last: equal policies have equal ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Milliseconds since the state began.
    #[serde(default)]
    pub since_ms: u64,
    /// Why the newest session ended, when away.
    #[serde(default)]
    pub reason: Option<String>,
    /// It is shut out; absent when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<revoked::Revocation>,
}

/// The answer of `rp.agents.list`, in the order of the names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentList {
    /// The agents.
    pub agents: Vec<AgentSummary>,
    /// The name to continue after, when more agents exist than fit one answer.
    #[serde(default)]
    pub next: Option<String>,
}

/// The arguments of `rp.agents.list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentListArguments {
    /// Only agents whose name matches this glob (`*` and `?`), of at most 128 bytes; absent = all.
    #[serde(default)]
    pub id: Option<String>,
    /// Only names after this one.
    #[serde(default)]
    pub after: Option<String>,
    /// At most so many; 1 to 1,000, 500 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer of `rp.status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The manager's name.
    pub manager: String,
    /// Its cluster.
    pub cluster: String,
    /// Its version.
    pub version: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Agents with a session.
    pub agents_connected: u64,
    /// Agents known and away.
    pub agents_away: u64,
    /// Operators with a session.
    pub operators_connected: u64,
    /// Whether the manager is stopping.
    #[serde(default)]
    pub draining: bool,
    /// Room on the disk of jobs: `plenty`; `reserve`, in which new jobs are refused; `none`, in which everything waits. Empty when the
    /// manager does not say.
    #[serde(default)]
    pub disk: String,
    /// Named counters since the start, in the order of their names.
    #[serde(default)]
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// The answer of `rp.manager.time`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// The manager's wall clock in UTC milliseconds.
    pub wall_ms: u64,
    /// Milliseconds since the manager started.
    pub uptime_ms: u64,
}

/// One method of the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodSummary {
    /// Its name.
    pub name: String,
    /// What it does.
    pub summary: String,
}

/// The answer of `rp.manager.methods`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodList {
    /// The methods.
    pub methods: Vec<MethodSummary>,
}
