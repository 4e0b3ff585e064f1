//! Who submitted a job.

use std::fmt;
use std::sync::Arc;

use crate::identity::{Identity, Role};
use crate::ids::{NameError, PeerId};

/// Whoever submitted a job, in one text: `ada` is an operator, `agent:web-1` an agent.
///
/// Names of peers have no colon, so an agent that is called as an operator is never taken for it: not by who may see a job,
/// not by idempotency keys, not by the policy of the agent that is to run it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Submitter(Arc<str>);

const AGENT: &str = "agent:";

/// The longest text of a submitter, in bytes.
pub const MAX_SUBMITTER: usize = crate::ids::MAX_NAME_LEN + AGENT.len();

impl Submitter {
    /// An operator.
    pub fn operator(id: &PeerId) -> Self {
        Self(Arc::from(id.as_str()))
    }

    /// An agent.
    pub fn agent(id: &PeerId) -> Self {
        Self(Arc::from(format!("{AGENT}{id}")))
    }

    /// Whoever has this identity.
    pub fn of(identity: &Identity) -> Self {
        match identity.role {
            Role::Agent => Self::agent(&identity.id),
            Role::Operator | Role::Manager => Self::operator(&identity.id),
        }
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`NameError`] when it holds no name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(AGENT) {
            Some(name) => PeerId::parse(name).map(|id| Self::agent(&id)),
            None => PeerId::parse(text).map(|id| Self::operator(&id)),
        }
    }

    /// The id, if it is an operator's.
    pub fn operator_id(&self) -> Option<&str> {
        (!self.0.starts_with(AGENT)).then_some(&*self.0)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PeerId> for Submitter {
    /// An operator.
    fn from(id: PeerId) -> Self {
        Self::operator(&id)
    }
}

impl fmt::Display for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_never_the_operator_of_the_same_name() {
        let (operator, agent) = (
            Submitter::of(&Identity::parse("spiffe://home/operator/ada").unwrap()),
            Submitter::of(&Identity::parse("spiffe://home/agent/ada").unwrap()),
        );
        assert_ne!(operator, agent);
        assert_eq!((operator.as_str(), agent.as_str()), ("ada", "agent:ada"));
        assert_eq!((operator.operator_id(), agent.operator_id()), (Some("ada"), None));
        for submitter in [operator, agent] {
            assert_eq!(Submitter::parse(submitter.as_str()), Ok(submitter));
        }
    }

    #[test]
    fn a_submitter_is_a_name_with_or_without_the_word_agent() {
        assert!(
            Submitter::parse(&format!("agent:{}", "x".repeat(128))).unwrap().as_str().len() == MAX_SUBMITTER
        );
        for wrong in ["", "agent:", "agent:a b", "operator:ada", "a:b", "agent:agent:a", "/"] {
            assert!(Submitter::parse(wrong).is_err(), "{wrong}");
        }
    }
}
