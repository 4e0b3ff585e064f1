//! Identities as certificates carry them: one URI per certificate, compared as bytes.

use std::fmt;

use crate::ids::{ClusterName, NameError, PeerId};

/// What somebody is to the manager. It follows from the certificate and from nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A machine's daemon.
    Agent,
    /// A person or a program that asks.
    Operator,
    /// The daemon that agents and operators dial.
    Manager,
}

impl Role {
    /// Every role, for tables that must not forget one.
    pub const ALL: [Self; 3] = [Self::Agent, Self::Operator, Self::Manager];

    /// The role as it stands in the URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Manager => "manager",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who a peer is: `spiffe://<cluster>/<role>/<id>`, as in the SPIFFE ID document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The cluster, which is the trust domain.
    pub cluster: ClusterName,
    /// The role.
    pub role: Role,
    /// The name within cluster and role.
    pub id: PeerId,
}

/// Why a URI is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It does not have the form `spiffe://<cluster>/<role>/<id>`.
    #[error("{uri:?} is not of the form spiffe://<cluster>/<agent|operator|manager>/<id>")]
    Form {
        /// The URI found, shortened.
        uri: String,
    },
    /// The cluster's name breaks a rule.
    #[error("the cluster in {uri:?} is not a name")]
    Cluster {
        /// The URI found, shortened.
        uri: String,
        /// Which rule.
        #[source]
        source: NameError,
    },
    /// The id breaks a rule.
    #[error("the id in {uri:?} is not a name")]
    Id {
        /// The URI found, shortened.
        uri: String,
        /// Which rule.
        #[source]
        source: NameError,
    },
}

impl Identity {
    /// Parses the URI of a certificate.
    ///
    /// Bytes are taken as they are: no percent-decoding, no case folding, no tolerated trailing slash.
    ///
    /// # Errors
    /// [`IdentityError`] when the URI has another form or a name breaks a rule.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        let shown = || uri.chars().take(200).collect::<String>();
        let rest = uri.strip_prefix("spiffe://").ok_or_else(|| IdentityError::Form { uri: shown() })?;
        let mut parts = rest.split('/');
        let (Some(cluster), Some(role), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdentityError::Form { uri: shown() });
        };
        let role = match role {
            "agent" => Role::Agent,
            "operator" => Role::Operator,
            "manager" => Role::Manager,
            _ => return Err(IdentityError::Form { uri: shown() }),
        };
        let cluster =
            ClusterName::parse(cluster).map_err(|source| IdentityError::Cluster { uri: shown(), source })?;
        let id = PeerId::parse(id).map_err(|source| IdentityError::Id { uri: shown(), source })?;
        Ok(Self { cluster, role, id })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.cluster, self.role, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_as_it_was_written() {
        for uri in ["spiffe://home/agent/web-1", "spiffe://a.b/operator/ada", "spiffe://x/manager/m"] {
            assert_eq!(Identity::parse(uri).unwrap().to_string(), uri);
        }
    }

    #[test]
    fn near_misses_are_refused() {
        for uri in [
            "",
            "spiffe://",
            "spiffe://home",
            "spiffe://home/agent",
            "spiffe://home/agent/",
            "spiffe://home/agent/a/",
            "spiffe://home/agent/a/b",
            "spiffe:///agent/a",
            "SPIFFE://home/agent/a",
            "spiffe://home/Agent/a",
            "spiffe://home/minion/a",
            "spiffe://home/agent/a%2Fb",
            "spiffe://home:1/agent/a",
            "spiffe://u@home/agent/a",
            "https://home/agent/a",
            "spiffe://home/agent/a?b",
            "spiffe://home/agent/a\0",
        ] {
            assert!(Identity::parse(uri).is_err(), "{uri:?} was accepted");
        }
    }
}
