//! Issues certificates for agents, operators and managers.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::PeerId;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::PrivatePem;
use crate::authority::{Authority, AuthorityError, SHORTEST_LIFETIME, common_name, random_serial, validity};

/// How long an issued certificate is valid unless told otherwise: 90 days.
///
/// Long enough for a small set-up that is renewed by hand; renewal over the live session is for shorter ones.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// What may be chosen about a certificate besides its owner.
#[derive(Debug, Clone)]
pub struct IssueOptions {
    /// How long it is valid, at most as long as its authority.
    pub lifetime: Duration,
    /// DNS names and addresses beside the one URI, for those who dial a manager with a browser or another HTTP client.
    /// Agents and operators have none.
    pub names: Vec<ServerName<'static>>,
}

impl Default for IssueOptions {
    /// [`LEAF_LIFETIME`] and no names.
    fn default() -> Self {
        Self { lifetime: LEAF_LIFETIME, names: Vec::new() }
    }
}

/// A certificate with its new private key. `Debug` shows no part of the key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Who it belongs to.
    pub identity: Identity,
    /// The chain to send in a handshake: the certificate alone, because the authority signs directly.
    pub chain: Vec<CertificateDer<'static>>,
    /// The chain in PEM.
    pub certificate_pem: String,
    /// The private key in PEM.
    pub key_pem: PrivatePem,
}

impl Authority {
    /// Issues a certificate for `<role>/<id>` of the authority's cluster, with a new ECDSA P-256 key and a random serial number.
    ///
    /// It begins [`crate::authority::CLOCK_SKEW`] before `now` and never ends later than the authority itself.
    ///
    /// # Errors
    /// `Lifetime`, `OutsideItsTime`, `NamesOnlyForManagers`, `Name`, `Random` or `Make`.
    pub fn issue(
        &self,
        role: Role,
        id: &PeerId,
        options: &IssueOptions,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        self.check_time(now)?;
        let identity = Identity { cluster: self.cluster().clone(), role, id: id.clone() };
        let params = self.leaf_params(&identity, options, now)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            identity,
            certificate_pem: certificate.pem(),
            chain: vec![certificate.into()],
            key_pem: PrivatePem::new(key.serialize_pem()),
        })
    }

    /// Everything in a certificate but its key.
    pub(crate) fn leaf_params(
        &self,
        identity: &Identity,
        options: &IssueOptions,
        now: SystemTime,
    ) -> Result<CertificateParams, AuthorityError> {
        if options.lifetime < SHORTEST_LIFETIME {
            return Err(AuthorityError::Lifetime { lifetime: options.lifetime });
        }
        if identity.role != Role::Manager && !options.names.is_empty() {
            return Err(AuthorityError::NamesOnlyForManagers);
        }
        let left = self.not_after().duration_since(now).unwrap_or_default();
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = validity(now, options.lifetime.min(left))?;
        params.serial_number = Some(SerialNumber::from(random_serial()?));
        params.distinguished_name = common_name(identity.id.as_str());
        params.subject_alt_names = alternative_names(identity, &options.names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = extended_usages(identity.role);
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

fn extended_usages(role: Role) -> Vec<ExtendedKeyUsagePurpose> {
    match role {
        Role::Agent | Role::Operator => vec![ExtendedKeyUsagePurpose::ClientAuth],
        // managers of one cluster dial each other
        Role::Manager => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    }
}

fn alternative_names(
    identity: &Identity,
    names: &[ServerName<'static>],
) -> Result<Vec<SanType>, AuthorityError> {
    let mut all = vec![SanType::URI(identity.to_string().try_into()?)];
    for name in names {
        let wrong = || AuthorityError::Name { name: name.to_str().into_owned() };
        all.push(match name {
            ServerName::DnsName(dns) => {
                SanType::DnsName(dns.as_ref().to_owned().try_into().map_err(|_| wrong())?)
            }
            ServerName::IpAddress(address) => SanType::IpAddress((*address).into()),
            _ => return Err(wrong()),
        });
    }
    Ok(all)
}
