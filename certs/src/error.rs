//! Every way a certificate can be wrong.

use std::time::SystemTime;

use redpoll_common::identity::{IdentityError, Role};
use redpoll_common::ids::{ClusterName, NameError};

use crate::moment;

/// Why a certificate is not accepted. The text is for people; the variant is for code and counters.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// It is not a certificate, or a part of it that matters cannot be read.
    #[error("not a readable certificate: {reason}")]
    Unreadable {
        /// Which part.
        reason: &'static str,
    },
    /// An extension stands in it twice, so that two readers could see two identities.
    #[error("the certificate has an extension twice")]
    DuplicateExtension,
    /// It belongs to an authority, where a peer's was wanted.
    #[error("this is the certificate of an authority, not of an agent, operator or manager")]
    IsAuthority,
    /// It does not belong to an authority, where an authority's was wanted.
    #[error("this is not the certificate of an authority")]
    NotAuthority,
    /// It has no URI among its alternative names.
    #[error("the certificate has no URI, so it does not say whose it is")]
    NoUri,
    /// It has more than one URI, so nobody can say whose it is.
    #[error("the certificate has {count} URIs, but must have exactly one")]
    SeveralUris {
        /// How many.
        count: usize,
    },
    /// Its URI is not an identity.
    #[error("the certificate's URI is not an identity")]
    BadUri {
        /// Which rule it breaks.
        #[source]
        source: IdentityError,
    },
    /// An authority's URI is not `spiffe://<cluster>`.
    #[error("the authority's URI {uri:?} does not name a cluster")]
    BadAuthorityUri {
        /// The URI found, shortened.
        uri: String,
        /// Which rule the name breaks; absent when the form is wrong already.
        #[source]
        source: Option<NameError>,
    },
    /// It belongs to somebody else than wanted here.
    #[error("the certificate is for {}, but {} is wanted here", role_list(&[*found]), role_list(wanted))]
    WrongRole {
        /// The role in the certificate.
        found: Role,
        /// The roles that are accepted here.
        wanted: &'static [Role],
    },
    /// It belongs to another cluster.
    #[error("the certificate belongs to the cluster {found}, but this is {wanted}")]
    WrongCluster {
        /// The cluster in the certificate.
        found: ClusterName,
        /// Our cluster.
        wanted: ClusterName,
    },
    /// Its usages do not fit its role.
    #[error("the certificate of {} {problem}", role_list(&[*role]))]
    WrongUsage {
        /// The role in the certificate.
        role: Role,
        /// What is missing or too much.
        problem: UsageProblem,
    },
    /// Its time is over.
    #[error("the certificate expired at {}", moment::text(*at))]
    Expired {
        /// When it ended.
        at: SystemTime,
    },
    /// Its time has not come.
    #[error("the certificate is valid only from {} on", moment::text(*from))]
    NotYetValid {
        /// When it begins.
        from: SystemTime,
    },
    /// It was signed by an authority that is not among ours.
    #[error("the certificate was signed by an authority that is not trusted here")]
    OtherAuthority,
    /// The authority that signed it has no time left, or its time has not come.
    #[error("the authority that signed the certificate is outside its own time of validity")]
    AuthorityTime,
    /// The chain up to the authority is wrong in another way.
    #[error("the certificate's chain to the authority cannot be verified")]
    Chain {
        /// What the verifier says.
        #[source]
        source: webpki::Error,
    },
}

/// What is wrong with the usages of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsageProblem {
    /// Agents and operators dial.
    #[error("must have the extended usage clientAuth, and has not")]
    NoClientAuth,
    /// Managers are dialled.
    #[error("must have the extended usage serverAuth, and has not")]
    NoServerAuth,
    /// An agent or operator that could pose as a server, or do more than dial.
    #[error("must have the extended usage clientAuth alone, and has others too")]
    MoreThanClientAuth,
    /// A manager with more than serverAuth and clientAuth.
    #[error("must have no extended usage besides serverAuth and clientAuth, and has others too")]
    MoreThanServerAuth,
    /// The key usage extension leaves out what TLS 1.3 needs.
    #[error("must have the key usage digitalSignature, and has not")]
    NoDigitalSignature,
}

impl CertificateError {
    /// What a person can do about it: one sentence for a `help:` line.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "give the PEM file that `rpctl certs issue` or the enrolment wrote",
            Self::DuplicateExtension
            | Self::NoUri
            | Self::SeveralUris { .. }
            | Self::BadUri { .. }
            | Self::WrongUsage { .. } => {
                "issue a certificate with exactly one URI spiffe://CLUSTER/ROLE/ID and the usages of its role, as `rpctl certs issue` does"
            }
            Self::IsAuthority => {
                "this may be ca.crt; give the certificate that was issued for this agent, operator or manager"
            }
            Self::NotAuthority => "give ca.crt, the certificate of the cluster's authority",
            Self::BadAuthorityUri { .. } => "make the authority with `rpctl certs init DIR --cluster NAME`",
            Self::WrongRole { .. } => "use the certificate that was issued for this role",
            Self::WrongCluster { .. } => {
                "use a certificate of this cluster's authority, or set the cluster's name to the certificate's"
            }
            Self::Expired { .. } => "issue a new certificate, and compare this machine's clock",
            Self::NotYetValid { .. } => "compare the clocks of this machine and of the one that issued it",
            Self::OtherAuthority => {
                "is the ca file the certificate of the authority that issued this one? `rpctl certs show` prints both"
            }
            Self::AuthorityTime => {
                "compare this machine's clock; an authority whose time is over must be replaced"
            }
            Self::Chain { .. } => {
                "put the certificate first into its file, then every intermediate one up to the authority"
            }
        }
    }
}

fn role_list(roles: &[Role]) -> String {
    let names: Vec<String> = roles.iter().map(|role| format!("an {role}")).collect();
    names.join(" or ").replace("an manager", "a manager")
}
