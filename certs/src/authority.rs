//! A certificate authority: one per cluster, made offline, kept in two files.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use redpoll_common::ids::ClusterName;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::credentials::{certificates, key_matches};
use crate::{CertificateError, PrivatePem, identity, moment};

/// How long an authority is valid unless told otherwise: ten years.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * DAY);
/// The longest time for which an authority is made: a hundred years.
pub const MAX_AUTHORITY_LIFETIME: Duration = Duration::from_secs(36_500 * DAY);
/// How far the beginning of a certificate lies in the past, for machines whose clocks are slow.
pub const CLOCK_SKEW: Duration = Duration::from_secs(3600);

const DAY: u64 = 24 * 3600;
/// The shortest time that a certificate is valid: it has whole seconds.
pub(crate) const SHORTEST_LIFETIME: Duration = Duration::from_secs(1);
/// The longest common name that X.509 allows, in characters.
const MAX_COMMON_NAME: usize = 64;
/// Bytes of a serial number, all random.
const SERIAL_BYTES: usize = 16;

/// Why an authority could not be made or loaded, or did not issue.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The time of validity asked for is zero, too long, or beyond the calendar.
    #[error("a certificate cannot be valid for {}", told(*lifetime))]
    Lifetime {
        /// What was asked for.
        lifetime: Duration,
    },
    /// The authority's own time is over, or has not begun.
    #[error("the authority is valid from {} until {}, not now", moment::text(*from), moment::text(*until))]
    OutsideItsTime {
        /// When it begins.
        from: SystemTime,
        /// When it ends.
        until: SystemTime,
    },
    /// DNS names or addresses were asked for somebody who is not dialled.
    #[error("only managers have DNS names and addresses in their certificates")]
    NamesOnlyForManagers,
    /// A DNS name has characters that certificates cannot carry.
    #[error("{name:?} cannot stand in a certificate")]
    Name {
        /// The name.
        name: String,
    },
    /// The authority's certificate is not accepted.
    #[error("the authority's certificate is not accepted")]
    Certificate {
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// The authority's certificate does not name its cluster.
    #[error("the authority's certificate does not name its cluster")]
    NoCluster,
    /// The authority's key cannot be read.
    #[error("the authority's private key cannot be read")]
    Key,
    /// The key is not the authority's.
    #[error("the private key does not belong to the authority's certificate")]
    KeyMismatch,
    /// The operating system gave no random numbers.
    #[error("no random numbers for a serial number")]
    Random,
    /// The certificate could not be made.
    #[error("the certificate cannot be made")]
    Make {
        /// What the library says.
        #[source]
        source: rcgen::Error,
    },
}

impl AuthorityError {
    /// What a person can do about it: one sentence for a `help:` line.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Lifetime { .. } => "give a time between one second and 3650 days",
            Self::OutsideItsTime { .. } => {
                "compare this machine's clock; make a new authority in another directory with `rpctl certs init` if its time is over"
            }
            Self::NamesOnlyForManagers => "leave the names away",
            Self::Name { .. } => {
                "give DNS names in ASCII (international ones in their xn-- form) or addresses"
            }
            Self::Certificate { source } => source.help(),
            Self::NoCluster => {
                "only authorities made by `rpctl certs init` can issue here; sign with the tools of your own one"
            }
            Self::Key | Self::KeyMismatch => "restore ca.key from the backup made together with ca.crt",
            Self::Random => "try again; if it stays, this machine has no source of random numbers",
            Self::Make { .. } => "try again with other names",
        }
    }
}

impl From<rcgen::Error> for AuthorityError {
    fn from(source: rcgen::Error) -> Self {
        Self::Make { source }
    }
}

/// A certificate authority that can issue. `Debug` shows no part of the key.
pub struct Authority {
    cluster: ClusterName,
    not_before: SystemTime,
    not_after: SystemTime,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority for `cluster` with a new ECDSA P-256 key, valid from [`CLOCK_SKEW`] before `now` until
    /// `lifetime` after it.
    ///
    /// It may sign certificates of peers but of no further authority, and revocation lists. The cluster stands in its one
    /// URI, `spiffe://<cluster>`, and comes back from there in [`Self::load`].
    ///
    /// # Errors
    /// `Lifetime`, `Random` or `Make`.
    pub fn create(
        cluster: &ClusterName,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        if lifetime < SHORTEST_LIFETIME || lifetime > MAX_AUTHORITY_LIFETIME {
            return Err(AuthorityError::Lifetime { lifetime });
        }
        let serial = random_serial()?;
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = validity(now, lifetime)?;
        params.distinguished_name = common_name(&format!("Redpoll CA {cluster}"));
        // two authorities of one cluster must not share a name: verifiers would take the one for the other and
        // report a forged signature where the authority is just another one
        let part: String = serial.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::OrganizationalUnitName, part);
        params.serial_number = Some(SerialNumber::from(serial));
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{cluster}").try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Self::assemble(certificate.pem(), certificate.der().clone(), key)
    }

    /// Takes up an authority that [`Self::create`] made.
    ///
    /// # Errors
    /// `Certificate`, `NoCluster`, `Key`, `KeyMismatch` or `Make`.
    pub fn load(certificate_pem: &[u8], key: &PrivatePem) -> Result<Self, AuthorityError> {
        let wrong = |source| AuthorityError::Certificate { source };
        let found =
            certificates(certificate_pem).map_err(|reason| wrong(CertificateError::Unreadable { reason }))?;
        let certificate = found
            .into_iter()
            .next()
            .ok_or_else(|| wrong(CertificateError::Unreadable { reason: "there is none" }))?;
        let key = key.key().ok_or(AuthorityError::Key)?;
        if !key_matches(&key, &certificate).ok_or(AuthorityError::Key)? {
            return Err(AuthorityError::KeyMismatch);
        }
        let key = KeyPair::try_from(key.secret_der()).map_err(|_| AuthorityError::Key)?;
        let pem = String::from_utf8_lossy(certificate_pem).into_owned();
        Self::assemble(pem, certificate, key)
    }

    fn assemble(
        certificate_pem: String,
        certificate: CertificateDer<'static>,
        key: KeyPair,
    ) -> Result<Self, AuthorityError> {
        let info = identity::read_authority(&certificate)
            .map_err(|source| AuthorityError::Certificate { source })?;
        Ok(Self {
            cluster: info.cluster.ok_or(AuthorityError::NoCluster)?,
            not_before: info.not_before,
            not_after: info.not_after,
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
            certificate_pem,
        })
    }

    /// The cluster it signs for.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The last second in which it is valid; nothing it issues is valid longer.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate in PEM, for `ca.crt`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key in PEM, for `ca.key`.
    pub fn key_pem(&self) -> PrivatePem {
        PrivatePem::new(self.issuer.key().serialize_pem())
    }

    /// Refuses to issue what nobody would accept.
    pub(crate) fn check_time(&self, now: SystemTime) -> Result<(), AuthorityError> {
        if now < self.not_before || now > self.not_after {
            return Err(AuthorityError::OutsideItsTime { from: self.not_before, until: self.not_after });
        }
        Ok(())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("cluster", &self.cluster)
            .field("not_before", &moment::text(self.not_before))
            .field("not_after", &moment::text(self.not_after))
            .finish_non_exhaustive()
    }
}

/// From a little before now until `lifetime` after it.
pub(crate) fn validity(
    now: SystemTime,
    lifetime: Duration,
) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
    let date = |moment: SystemTime| OffsetDateTime::from_unix_timestamp(moment::unix_seconds(moment)).ok();
    let from = now.checked_sub(CLOCK_SKEW).and_then(date);
    let until = now.checked_add(lifetime).and_then(date);
    from.zip(until).ok_or(AuthorityError::Lifetime { lifetime })
}

/// A time for people: in days where it has some.
fn told(lifetime: Duration) -> String {
    match lifetime.as_secs() / DAY {
        0 => format!("{} s", lifetime.as_secs_f64()),
        days => format!("{days} days"),
    }
}

/// A name for people; no rule reads it.
pub(crate) fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text.chars().take(MAX_COMMON_NAME).collect::<String>());
    name
}

pub(crate) fn random_serial() -> Result<Vec<u8>, AuthorityError> {
    let mut serial = vec![0; SERIAL_BYTES];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut serial).map_err(|_| AuthorityError::Random)?;
    Ok(serial)
}
