//! Decides whether a certificate is the one we want, now, from an authority we trust.

use std::time::{Duration, SystemTime};

use redpoll_common::identity::Role;
use redpoll_common::ids::ClusterName;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::CertificateError;
use crate::identity::{self, CertificateInfo};
use crate::moment;

pub use crate::error::UsageProblem;

/// Whose certificate is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The roles that are accepted.
    pub roles: &'static [Role],
    /// The cluster, or `None` to accept any (whatever the authority signs).
    pub cluster: Option<ClusterName>,
}

impl Expect {
    /// Any role of any cluster.
    pub const ANY: Self = Self { roles: &Role::ALL, cluster: None };
    /// Those who dial a manager: agents and operators, of any cluster.
    pub const CLIENTS: Self = Self { roles: &[Role::Agent, Role::Operator], cluster: None };

    /// One role, of any cluster.
    pub const fn role(role: Role) -> Self {
        let roles: &'static [Role] = match role {
            Role::Agent => &[Role::Agent],
            Role::Operator => &[Role::Operator],
            Role::Manager => &[Role::Manager],
        };
        Self { roles, cluster: None }
    }

    /// The same, of this cluster alone.
    #[must_use]
    pub fn in_cluster(self, cluster: ClusterName) -> Self {
        Self { cluster: Some(cluster), ..self }
    }
}

/// Checks cluster, role, usages and time, in that order.
///
/// An agent and an operator have the extended usage clientAuth and no other, so that a stolen key cannot pose as a
/// manager; a manager has serverAuth and may have clientAuth, for links between managers. The signature is a matter of
/// the handshake, or of [`check_chain`].
///
/// # Errors
/// `WrongCluster`, `WrongRole`, `WrongUsage`, `NotYetValid` or `Expired`.
pub fn check(info: &CertificateInfo, want: &Expect, now: SystemTime) -> Result<(), CertificateError> {
    let identity = &info.identity;
    if let Some(cluster) = &want.cluster
        && *cluster != identity.cluster
    {
        return Err(CertificateError::WrongCluster {
            found: identity.cluster.clone(),
            wanted: cluster.clone(),
        });
    }
    expect_role(info, want.roles)?;
    check_usages(info)?;
    check_time(info, now)
}

/// Checks the role alone.
///
/// # Errors
/// `WrongRole`.
pub fn expect_role(info: &CertificateInfo, wanted: &'static [Role]) -> Result<(), CertificateError> {
    let found = info.identity.role;
    if wanted.contains(&found) { Ok(()) } else { Err(CertificateError::WrongRole { found, wanted }) }
}

/// Checks that the usages are those of the certificate's own role.
///
/// # Errors
/// `WrongUsage`.
pub fn check_usages(info: &CertificateInfo) -> Result<(), CertificateError> {
    let usages = info.usages;
    let role = info.identity.role;
    let problem = match role {
        Role::Agent | Role::Operator if !usages.client_auth => Some(UsageProblem::NoClientAuth),
        Role::Agent | Role::Operator if usages.server_auth || usages.other_extended => {
            Some(UsageProblem::MoreThanClientAuth)
        }
        Role::Manager if !usages.server_auth => Some(UsageProblem::NoServerAuth),
        Role::Manager if usages.other_extended => Some(UsageProblem::MoreThanServerAuth),
        Role::Agent | Role::Operator | Role::Manager if !usages.digital_signature => {
            Some(UsageProblem::NoDigitalSignature)
        }
        Role::Agent | Role::Operator | Role::Manager => None,
    };
    match problem {
        Some(problem) => Err(CertificateError::WrongUsage { role, problem }),
        None => Ok(()),
    }
}

/// Checks the time alone: both ends belong to the time of validity, in whole seconds.
///
/// # Errors
/// `NotYetValid` or `Expired`.
pub fn check_time(info: &CertificateInfo, now: SystemTime) -> Result<(), CertificateError> {
    let seconds = moment::unix_seconds(now);
    if seconds < moment::unix_seconds(info.not_before) {
        return Err(CertificateError::NotYetValid { from: info.not_before });
    }
    if seconds > moment::unix_seconds(info.not_after) {
        return Err(CertificateError::Expired { at: info.not_after });
    }
    Ok(())
}

/// Checks that `chain` (the certificate first, then intermediate ones) leads to one of `roots` at `now`.
///
/// This is for files: the handshake verifies the chains of peers itself. The time of the certificate is expected to have been
/// checked before, by [`check`].
///
/// # Errors
/// `OtherAuthority`, `AuthorityTime`, `Chain`, or `Unreadable` when the chain is empty or not readable.
pub fn check_chain(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    role: Role,
    now: SystemTime,
) -> Result<(), CertificateError> {
    let (first, intermediates) =
        chain.split_first().ok_or(CertificateError::Unreadable { reason: "there is none" })?;
    let leaf = EndEntityCert::try_from(first).map_err(verdict)?;
    let anchors =
        roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>().map_err(verdict)?;
    let usage = match role {
        Role::Agent | Role::Operator => KeyUsage::client_auth(),
        Role::Manager => KeyUsage::server_auth(),
    };
    let seconds = u64::try_from(moment::unix_seconds(now)).unwrap_or(0);
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let path = leaf
        .verify_for_usage(algorithms, &anchors, intermediates, time, usage, None, None)
        .map_err(verdict)?;
    // the verifier looks at the time of every certificate but the root's
    let root = anchors.iter().zip(roots).find(|(anchor, _)| *anchor == path.anchor());
    let authority = root.map(|(_, der)| identity::read_authority(der)).transpose()?;
    match authority {
        Some(authority) if now < authority.not_before || now > authority.not_after => {
            Err(CertificateError::AuthorityTime)
        }
        Some(_) | None => Ok(()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the verifier's errors are many, and open to additions")]
fn verdict(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            CertificateError::OtherAuthority
        }
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            CertificateError::AuthorityTime
        }
        source => CertificateError::Chain { source },
    }
}

#[cfg(all(test, feature = "issue"))]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::testing::TestAuthority;

    #[test]
    fn a_root_whose_time_is_over_vouches_for_nobody_whatever_it_promised() {
        let authority = TestAuthority::new("home");
        let years = |n: u64| authority.now() + Duration::from_secs(n * 365 * 24 * 3600);
        let long = authority.customized(Role::Agent, "a", |params, _| {
            params.not_after = OffsetDateTime::from(years(30));
        });
        let at = |now| check_chain(&long.chain, &[authority.root()], Role::Agent, now);
        assert_eq!(at(years(9)), Ok(()));
        assert_eq!(at(years(11)), Err(CertificateError::AuthorityTime));
    }
}
