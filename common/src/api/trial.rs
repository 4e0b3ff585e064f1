//! What would become of a job or a call, without running anything: the manager asks an agent with `rp.policy.test`, and tells of
//! many with `rp.jobs.preview`.

use serde::{Deserialize, Serialize};

use super::submit::SubmitArguments;
use crate::ids::MAX_NAME_LEN;
use crate::job::submitter::MAX_SUBMITTER;
use crate::roles;
use crate::wire::{DecodeError, Fields, MAX_METHOD_LEN, Raw, RawMap};

/// The arguments of `rp.policy.test`, as the manager asks an agent: would this run now?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTest {
    /// The procedure, `name` or `name@version`.
    pub procedure: String,
    /// Its positional arguments: an array.
    pub args: Raw,
    /// Its named arguments: a map.
    pub kwargs: Raw,
    /// For whom the manager asks, as it would say in an offer; `None`: nobody is named.
    pub operator: Option<String>,
    /// What that operator is, as it would say in an offer; `None`: it does not say.
    pub roles: Option<Vec<String>>,
}

impl PolicyTest {
    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        Ok(Self {
            procedure: fields.text("procedure", MAX_METHOD_LEN)?.to_owned(),
            args: fields.opt_array("args")?.unwrap_or_else(Raw::empty_array),
            kwargs: fields.opt_map("kwargs")?.unwrap_or_else(Raw::empty_map),
            operator: fields.opt_text("operator", MAX_SUBMITTER)?.map(str::to_owned),
            roles: roles::read(&fields)?,
        })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        RawMap::with_capacity(self.args.len() + self.kwargs.len() + 256)
            .text("procedure", &self.procedure)
            .raw("args", &self.args)
            .raw("kwargs", &self.kwargs)
            .opt_text("operator", self.operator.as_deref())
            .opt_texts("roles", self.roles.as_deref())
            .finish()
    }
}

/// The answer of `rp.policy.test`. A fault in its place is no verdict: then nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyTestAnswer {
    /// Whether it would run.
    pub allowed: bool,
    /// What is meant, `name@version`; `None` when it is not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub procedure: Option<String>,
    /// The rule of the policy that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// As which user it would run; `None`: within the agent, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The code of the fault that would answer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why not, without any value of an argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What would become of a run on one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The agent says that it would run it now.
    WouldRun,
    /// The agent, or the manager for it, would refuse it.
    WouldRefuse,
    /// The agent is not connected, or takes nothing new: it cannot be asked.
    Away,
    /// Nobody can say: the agent knows no such question, or gave no answer in time. So is every verdict of a newer manager that
    /// this build does not know.
    #[serde(other)]
    Unknown,
}

/// Who would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The agent.
    Agent,
    /// The manager, by what it knows of the agent.
    Manager,
    /// Somebody of whom this build does not know.
    #[serde(other)]
    Unknown,
}

/// Why a job as a whole would not be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The code of the fault that would answer the submit.
    pub code: String,
    /// Its text.
    pub message: String,
}

/// A version of a procedure that nobody should use any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deprecated {
    /// `name@version`.
    pub procedure: String,
    /// Why, and what to use.
    pub why: String,
    /// On how many of the job's agents it is so.
    pub agents: u64,
}

/// The arguments of `rp.jobs.preview` with a procedure: those of the submit that is tried, and which page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialArguments {
    /// What would be submitted.
    pub submit: SubmitArguments,
    /// Only names after this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
}

impl TrialArguments {
    /// Reads the named arguments of a request; `None` when they name no procedure.
    ///
    /// # Errors
    /// [`DecodeError`] when a field has another type or exceeds its limit.
    pub fn read(kwargs: &Raw) -> Result<Option<Self>, DecodeError> {
        let fields = Fields::of(kwargs)?;
        if fields.opt_raw("procedure")?.is_none_or(|procedure| procedure.is_nil()) {
            return Ok(None);
        }
        Ok(Some(Self {
            submit: SubmitArguments::read(kwargs)?,
            after: fields.opt_text("after", MAX_NAME_LEN)?.map(str::to_owned),
            limit: fields.opt_u32("limit")?,
        }))
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        self.submit
            .write_map()
            .opt_text("after", self.after.as_deref())
            .opt_uint("limit", self.limit.map(u64::from))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AgentState;

    #[test]
    fn what_is_written_is_read_again() {
        let test = PolicyTest {
            procedure: "web.deploy@2".into(),
            args: Raw::encode(&["live"]).unwrap(),
            kwargs: RawMap::new().uint("copies", 3).finish(),
            operator: Some("agent:web-1".into()),
            roles: Some(Vec::new()),
        };
        assert_eq!(PolicyTest::read(&test.write()).unwrap(), test);
        let more = PolicyTest { roles: Some(vec!["deploy".into(), "on-call".into()]), ..test.clone() };
        assert_eq!(PolicyTest::read(&more.write()).unwrap(), more);
        let bare = PolicyTest::read(&RawMap::new().text("procedure", "p").finish()).unwrap();
        assert_eq!((bare.args, bare.kwargs), (Raw::empty_array(), Raw::empty_map()));
        assert_eq!((bare.operator, bare.roles), (None, None));
        let mut submit = SubmitArguments::new(vec!["web-1".into()], "p");
        submit.spec.kwargs = test.kwargs;
        let trial = TrialArguments { submit, after: Some("web-0".into()), limit: Some(7) };
        assert_eq!(TrialArguments::read(&trial.write()).unwrap(), Some(trial));
    }

    #[test]
    fn without_a_procedure_nothing_is_tried_and_a_wrong_one_is_named() {
        let map = || RawMap::new().texts("agents", &["*".to_owned()]);
        assert_eq!(TrialArguments::read(&map().finish()).unwrap(), None);
        assert_eq!(TrialArguments::read(&map().raw("procedure", &Raw::nil()).finish()).unwrap(), None);
        let wrong = map().uint("procedure", 7).finish();
        assert!(TrialArguments::read(&wrong).unwrap_err().to_string().contains("procedure"));
        assert!(PolicyTest::read(&RawMap::new().finish()).unwrap_err().to_string().contains("procedure"));
    }

    #[test]
    fn a_verdict_of_a_newer_manager_is_no_yes() {
        let read = |word: &str| Raw::text(word).decode::<Verdict>().unwrap();
        assert_eq!(read("would_run"), Verdict::WouldRun);
        assert_eq!(read("would_perhaps_run"), Verdict::Unknown);
    }

    #[test]
    fn words_of_a_newer_manager_are_no_reason_to_read_nothing() {
        assert_eq!(Raw::text("council").decode::<Judge>().unwrap(), Judge::Unknown);
        assert_eq!(Raw::text("asleep").decode::<AgentState>().unwrap(), AgentState::Unknown);
    }
}
