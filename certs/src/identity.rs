//! Reads what a certificate says about its owner. Whether to believe it is for [`crate::expect`].

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::SystemTime;

use redpoll_common::identity::Identity;
use redpoll_common::ids::ClusterName;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::CertificateError;
use crate::moment;

/// The longest piece of a certificate's text that an error repeats, in characters.
const SHOWN: usize = 200;

/// What the certificate of an agent, an operator or a manager says. The common name has no meaning and is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Who it belongs to: the one URI, taken as bytes.
    pub identity: Identity,
    /// The serial number: lower-case hexadecimal without leading zero bytes.
    pub serial: String,
    /// The first second in which it is valid.
    pub not_before: SystemTime,
    /// The last second in which it is valid.
    pub not_after: SystemTime,
    /// The usages.
    pub usages: Usages,
    /// The DNS names, in the certificate's order.
    pub dns_names: Vec<String>,
    /// The addresses, in the certificate's order.
    pub addresses: Vec<IpAddr>,
}

/// What the key of a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usages {
    /// Extended usage clientAuth: may dial.
    pub client_auth: bool,
    /// Extended usage serverAuth: may be dialled.
    pub server_auth: bool,
    /// Some other extended usage, `anyExtendedKeyUsage` among them.
    pub other_extended: bool,
    /// Key usage digitalSignature, or no key usage extension at all, which allows everything.
    pub digital_signature: bool,
}

/// What the certificate of an authority says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityInfo {
    /// The cluster it signs for, from its URI `spiffe://<cluster>`; `None` for an authority that was not made by us.
    pub cluster: Option<ClusterName>,
    /// Its distinguished name, for people.
    pub name: String,
    /// The serial number: lower-case hexadecimal without leading zero bytes.
    pub serial: String,
    /// The first second in which it is valid.
    pub not_before: SystemTime,
    /// The last second in which it is valid.
    pub not_after: SystemTime,
}

/// Reads the certificate of an agent, an operator or a manager from its DER form.
///
/// It has exactly one URI, which is an [`Identity`] byte for byte, and is not an authority's. Signature, time, role and
/// usages are not looked at: see [`crate::expect::check`].
///
/// # Errors
/// `Unreadable`, `DuplicateExtension`, `IsAuthority`, `NoUri`, `SeveralUris` or `BadUri`.
pub fn read(der: &[u8]) -> Result<CertificateInfo, CertificateError> {
    let certificate = parse(der)?;
    if is_authority(&certificate)? {
        return Err(CertificateError::IsAuthority);
    }
    let names = alternative_names(&certificate)?;
    let identity = match names.uris.as_slice() {
        [] => return Err(CertificateError::NoUri),
        [uri] => Identity::parse(uri).map_err(|source| CertificateError::BadUri { source })?,
        several => return Err(CertificateError::SeveralUris { count: several.len() }),
    };
    Ok(CertificateInfo {
        identity,
        serial: serial(&certificate),
        not_before: moment::from_unix_seconds(certificate.validity().not_before.timestamp()),
        not_after: moment::from_unix_seconds(certificate.validity().not_after.timestamp()),
        usages: usages(&certificate)?,
        dns_names: names.dns,
        addresses: names.addresses,
    })
}

/// Reads the certificate of an authority from its DER form.
///
/// # Errors
/// `Unreadable`, `DuplicateExtension`, `NotAuthority`, `SeveralUris` or `BadAuthorityUri`.
pub fn read_authority(der: &[u8]) -> Result<AuthorityInfo, CertificateError> {
    let certificate = parse(der)?;
    if !is_authority(&certificate)? {
        return Err(CertificateError::NotAuthority);
    }
    let cluster = match alternative_names(&certificate)?.uris.as_slice() {
        [] => None,
        [uri] => Some(cluster_of(uri)?),
        several => return Err(CertificateError::SeveralUris { count: several.len() }),
    };
    Ok(AuthorityInfo {
        cluster,
        name: certificate.subject().to_string(),
        serial: serial(&certificate),
        not_before: moment::from_unix_seconds(certificate.validity().not_before.timestamp()),
        not_after: moment::from_unix_seconds(certificate.validity().not_after.timestamp()),
    })
}

/// The distinguished name of whoever signed the certificate, for people.
///
/// # Errors
/// `Unreadable` or `DuplicateExtension`.
pub fn issuer_name(der: &[u8]) -> Result<String, CertificateError> {
    Ok(parse(der)?.issuer().to_string())
}

/// Parses, and refuses what two readers could read differently.
fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    let (rest, certificate) = X509Certificate::from_der(der)
        .map_err(|_| CertificateError::Unreadable { reason: "its structure is not X.509" })?;
    if !rest.is_empty() {
        return Err(CertificateError::Unreadable { reason: "bytes follow after its end" });
    }
    certificate.extensions_map().map_err(|_| CertificateError::DuplicateExtension)?;
    let malformed = |parsed: &ParsedExtension<'_>| matches!(parsed, ParsedExtension::ParseError { .. });
    if certificate.extensions().iter().any(|extension| malformed(extension.parsed_extension())) {
        return Err(CertificateError::Unreadable { reason: "an extension is malformed" });
    }
    Ok(certificate)
}

/// A certificate that may sign others, by either of the two extensions that can say so.
fn is_authority(certificate: &X509Certificate<'_>) -> Result<bool, CertificateError> {
    let usage = certificate.key_usage().map_err(|_| CertificateError::DuplicateExtension)?;
    let signs = usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    Ok(signs || certificate.is_ca())
}

struct AlternativeNames {
    uris: Vec<String>,
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Result<AlternativeNames, CertificateError> {
    let mut names = AlternativeNames { uris: Vec::new(), dns: Vec::new(), addresses: Vec::new() };
    let extension =
        certificate.subject_alternative_name().map_err(|_| CertificateError::DuplicateExtension)?;
    let found = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    for name in found {
        match name {
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
            GeneralName::Invalid(..) => {
                return Err(CertificateError::Unreadable { reason: "an alternative name is malformed" });
            }
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_) => {}
        }
    }
    Ok(names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    four.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

fn usages(certificate: &X509Certificate<'_>) -> Result<Usages, CertificateError> {
    let key_usage = certificate.key_usage().map_err(|_| CertificateError::DuplicateExtension)?;
    let extended = certificate.extended_key_usage().map_err(|_| CertificateError::DuplicateExtension)?;
    let extended = extended.map(|extension| extension.value);
    Ok(Usages {
        client_auth: extended.is_some_and(|usage| usage.client_auth),
        server_auth: extended.is_some_and(|usage| usage.server_auth),
        other_extended: extended.is_some_and(|usage| {
            usage.any
                || usage.code_signing
                || usage.email_protection
                || usage.time_stamping
                || usage.ocsp_signing
                || !usage.other.is_empty()
        }),
        digital_signature: key_usage.is_none_or(|usage| usage.value.digital_signature()),
    })
}

/// The one spelling of a serial number that everything else compares.
fn serial(certificate: &X509Certificate<'_>) -> String {
    certificate.raw_serial().iter().skip_while(|byte| **byte == 0).fold(String::new(), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn cluster_of(uri: &str) -> Result<ClusterName, CertificateError> {
    let wrong = |source| CertificateError::BadAuthorityUri { uri: uri.chars().take(SHOWN).collect(), source };
    let name = uri.strip_prefix("spiffe://").ok_or_else(|| wrong(None))?;
    ClusterName::parse(name).map_err(|source| wrong(Some(source)))
}

#[cfg(all(test, feature = "issue"))]
#[expect(clippy::unwrap_used, reason = "test code")]
mod tests {
    use rcgen::CustomExtension;
    use redpoll_common::identity::Role;

    use super::*;
    use crate::testing::TestAuthority;

    const UNKNOWN: [u64; 4] = [1, 2, 3, 4];
    const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];

    fn with(extensions: &[(&[u64], &[u8])]) -> Result<CertificateInfo, CertificateError> {
        let authority = TestAuthority::new("home");
        let certificate = authority.customized(Role::Agent, "a", |params, _| {
            params.key_usages.clear();
            for (oid, content) in extensions {
                params.custom_extensions.push(CustomExtension::from_oid_content(oid, content.to_vec()));
            }
        });
        read(certificate.chain.first().unwrap())
    }

    #[test]
    fn unknown_extensions_are_ignored_but_not_twice() {
        let null: (&[u64], &[u8]) = (&UNKNOWN, &[5, 0]);
        assert!(with(&[null]).is_ok());
        assert_eq!(with(&[null, null]), Err(CertificateError::DuplicateExtension));
    }

    #[test]
    fn an_extension_that_cannot_be_read_is_not_taken_for_absent() {
        assert!(with(&[]).is_ok_and(|info| info.usages.digital_signature));
        let refused = with(&[(&KEY_USAGE, &[4, 1, 0])]);
        assert_eq!(refused, Err(CertificateError::Unreadable { reason: "an extension is malformed" }));
    }

    #[test]
    fn an_authority_names_its_cluster_and_nothing_else() {
        for good in ["spiffe://home", "spiffe://a.b-c_1"] {
            assert!(cluster_of(good).is_ok(), "{good}");
        }
        for bad in ["spiffe://", "spiffe://home/", "spiffe://home/agent/a", "https://home", "home", ""] {
            assert!(matches!(cluster_of(bad), Err(CertificateError::BadAuthorityUri { .. })), "{bad}");
        }
    }
}
