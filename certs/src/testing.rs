//! Fresh authorities, good certificates and wrong ones. For tests and benchmarks alone: it reads the clock and panics
//! when something cannot be made.
//!
//! ```
//! use redpoll_certs::testing::{TestAuthority, Wrong};
//! use redpoll_common::identity::Role;
//!
//! let authority = TestAuthority::new("home");
//! let agent = authority.agent("web-1");
//! assert_eq!(agent.chain.len(), 1);
//! for wrong in Wrong::ALL {
//!     let refused = authority.wrong(Role::Agent, "web-1", wrong);
//!     assert!(!refused.chain.is_empty(), "{wrong:?}");
//! }
//! ```
#![expect(clippy::expect_used, reason = "test code: whoever calls it wants to fail at once")]

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ClusterName, PeerId};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::OffsetDateTime;

use crate::PrivatePem;
use crate::authority::{AUTHORITY_LIFETIME, Authority};
use crate::credentials::TlsFiles;
use crate::files;
use crate::issue::IssueOptions;
use crate::store;

const DAY: Duration = Duration::from_secs(24 * 3600);
const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];

/// A fresh authority. Two of them have nothing in common, even for the same cluster.
#[derive(Debug)]
pub struct TestAuthority {
    authority: Authority,
    now: SystemTime,
}

/// A certificate, its key, and the certificate of its authority.
#[derive(Debug, Clone)]
pub struct TestCertificate {
    /// The chain to send.
    pub chain: Vec<CertificateDer<'static>>,
    /// The chain in PEM.
    pub certificate_pem: String,
    /// The private key in PEM.
    pub key_pem: PrivatePem,
    /// The certificate of the authority that signed it.
    pub root: CertificateDer<'static>,
    /// The same in PEM.
    pub root_pem: String,
}

/// Ways in which [`TestAuthority::wrong`] makes a certificate wrong. Certificates of another authority come from another
/// [`TestAuthority`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Its time ended a day ago.
    Expired,
    /// Its time begins in a day.
    NotYetValid,
    /// It has no alternative name at all.
    NoNames,
    /// It has a DNS name but no URI.
    NoUri,
    /// It has two URIs, the right one first.
    TwoUris,
    /// It has the extension of alternative names twice, the right one first.
    TwoExtensions,
    /// Its URI has a role that does not exist.
    UnknownRole,
    /// Its URI has an encoded slash in the id.
    EncodedSlash,
    /// Its URI ends in a slash.
    TrailingSlash,
    /// Its URI names another cluster than the authority's.
    OtherCluster,
    /// It has the extended usage of the other side: serverAuth for those who dial, clientAuth for the manager.
    OtherSideUsage,
    /// It has clientAuth and serverAuth where clientAuth alone is right; codeSigning besides for the manager.
    TooManyUsages,
    /// It has no extended usage.
    NoUsage,
    /// Its key usage leaves out digitalSignature.
    NoDigitalSignature,
    /// It is marked as an authority.
    Authority,
}

impl Wrong {
    /// Every way, for tables.
    pub const ALL: [Self; 15] = [
        Self::Expired,
        Self::NotYetValid,
        Self::NoNames,
        Self::NoUri,
        Self::TwoUris,
        Self::TwoExtensions,
        Self::UnknownRole,
        Self::EncodedSlash,
        Self::TrailingSlash,
        Self::OtherCluster,
        Self::OtherSideUsage,
        Self::TooManyUsages,
        Self::NoUsage,
        Self::NoDigitalSignature,
        Self::Authority,
    ];
}

impl TestAuthority {
    /// An authority for `cluster`, made now.
    ///
    /// # Panics
    /// If `cluster` is not a name.
    pub fn new(cluster: &str) -> Self {
        let now = SystemTime::now();
        let cluster = ClusterName::parse(cluster).expect("the name of a cluster");
        let authority = Authority::create(&cluster, AUTHORITY_LIFETIME, now).expect("an authority");
        Self { authority, now }
    }

    /// The authority itself.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Its certificate, for the other side to trust.
    pub fn root(&self) -> CertificateDer<'static> {
        self.authority.certificate().clone()
    }

    /// When it was made; certificates are issued at this moment.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// A good certificate of an agent.
    ///
    /// # Panics
    /// If `id` is not a name.
    pub fn agent(&self, id: &str) -> TestCertificate {
        self.issue(Role::Agent, id, &IssueOptions::default())
    }

    /// A good certificate of an operator.
    ///
    /// # Panics
    /// If `id` is not a name.
    pub fn operator(&self, id: &str) -> TestCertificate {
        self.issue(Role::Operator, id, &IssueOptions::default())
    }

    /// A good certificate of a manager, for `localhost` and `127.0.0.1` too.
    ///
    /// # Panics
    /// If `id` is not a name.
    pub fn manager(&self, id: &str) -> TestCertificate {
        let names =
            ["localhost", "127.0.0.1"].map(|name| ServerName::try_from(name).expect("a name of a server"));
        self.issue(Role::Manager, id, &IssueOptions { names: names.to_vec(), ..IssueOptions::default() })
    }

    /// A good certificate with other options.
    ///
    /// # Panics
    /// If `id` is not a name, or the options do not fit the role.
    pub fn issue(&self, role: Role, id: &str, options: &IssueOptions) -> TestCertificate {
        let id = PeerId::parse(id).expect("the id of a peer");
        let issued = self.authority.issue(role, &id, options, self.now).expect("a certificate");
        self.certificate(issued.chain, issued.certificate_pem, issued.key_pem)
    }

    /// A certificate of this authority that is wrong in exactly one way.
    ///
    /// # Panics
    /// If `id` is not a name of at most 60 bytes together with the cluster's.
    pub fn wrong(&self, role: Role, id: &str, wrong: Wrong) -> TestCertificate {
        self.customized(role, id, |params, identity| spoil(params, identity, wrong, self.now))
    }

    /// A certificate of this authority whose parameters `change` has had its way with.
    pub(crate) fn customized(
        &self,
        role: Role,
        id: &str,
        change: impl FnOnce(&mut CertificateParams, &Identity),
    ) -> TestCertificate {
        let id = PeerId::parse(id).expect("the id of a peer");
        let identity = Identity { cluster: self.authority.cluster().clone(), role, id };
        let options = IssueOptions::default();
        let mut params = self.authority.leaf_params(&identity, &options, self.now).expect("parameters");
        change(&mut params, &identity);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority.issuer).expect("a certificate");
        let pem = certificate.pem();
        self.certificate(vec![certificate.into()], pem, PrivatePem::new(key.serialize_pem()))
    }

    fn certificate(
        &self,
        chain: Vec<CertificateDer<'static>>,
        pem: String,
        key_pem: PrivatePem,
    ) -> TestCertificate {
        TestCertificate {
            chain,
            certificate_pem: pem,
            key_pem,
            root: self.root(),
            root_pem: self.authority.certificate_pem().to_owned(),
        }
    }
}

impl TestCertificate {
    /// The private key.
    ///
    /// # Panics
    /// Never for those made here.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key_pem.key().expect("the key made with the certificate")
    }

    /// Writes certificate and key to `<name>.crt` and `<name>.key` in `directory`, and the authority's certificate to `ca.crt`
    /// unless there is one.
    ///
    /// # Panics
    /// If a file cannot be written, or the certificate or key is there already.
    pub fn write(&self, directory: &Path, name: &str) -> TlsFiles {
        let paths = TlsFiles {
            ca: directory.join(store::CA_CERT),
            cert: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        };
        if !paths.ca.exists() {
            files::create_public(&paths.ca, self.root_pem.as_bytes()).expect("ca.crt");
        }
        files::create_public(&paths.cert, self.certificate_pem.as_bytes()).expect("the certificate's file");
        files::create_private(&paths.key, self.key_pem.expose()).expect("the key's file");
        paths
    }
}

fn spoil(params: &mut CertificateParams, identity: &Identity, wrong: Wrong, now: SystemTime) {
    let uri = |text: String| SanType::URI(text.try_into().expect("ASCII"));
    let dials = identity.role != Role::Manager;
    match wrong {
        Wrong::Expired => {
            params.not_before = date(now - 2 * DAY);
            params.not_after = date(now - DAY);
        }
        Wrong::NotYetValid => params.not_before = date(now + DAY),
        Wrong::NoNames => params.subject_alt_names.clear(),
        Wrong::NoUri => {
            let name = "localhost".to_owned().try_into().expect("ASCII");
            params.subject_alt_names = vec![SanType::DnsName(name)];
        }
        Wrong::TwoUris => params.subject_alt_names.push(uri(format!("{identity}-too"))),
        Wrong::TwoExtensions => {
            let content = one_uri(&format!("{identity}-too"));
            params.custom_extensions.push(CustomExtension::from_oid_content(&SUBJECT_ALT_NAME, content));
        }
        Wrong::UnknownRole => {
            params.subject_alt_names =
                vec![uri(format!("spiffe://{}/minion/{}", identity.cluster, identity.id))];
        }
        Wrong::EncodedSlash => params.subject_alt_names = vec![uri(format!("{identity}%2Fb"))],
        Wrong::TrailingSlash => params.subject_alt_names = vec![uri(format!("{identity}/"))],
        Wrong::OtherCluster => {
            let (role, id) = (identity.role, &identity.id);
            params.subject_alt_names = vec![uri(format!("spiffe://{}-not/{role}/{id}", identity.cluster))];
        }
        Wrong::OtherSideUsage if dials => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
        }
        Wrong::OtherSideUsage => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        Wrong::TooManyUsages if dials => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth),
        Wrong::TooManyUsages => params.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning),
        Wrong::NoUsage => params.extended_key_usages.clear(),
        Wrong::NoDigitalSignature => params.key_usages = vec![KeyUsagePurpose::KeyAgreement],
        Wrong::Authority => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
    }
}

fn date(moment: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from(moment)
}

/// `GeneralNames` with one URI, in DER: short enough for lengths of one byte.
fn one_uri(uri: &str) -> Vec<u8> {
    let short = |len: usize| u8::try_from(len).ok().filter(|len| *len < 128).expect("a short name");
    let mut der = vec![0x30, short(uri.len() + 2), 0x86, short(uri.len())];
    der.extend_from_slice(uri.as_bytes());
    der
}
