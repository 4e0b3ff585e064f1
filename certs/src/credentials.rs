//! Loads what one end of a TLS connection needs, checked so far that the first handshake holds no surprise.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::expect::{Expect, check, check_chain};
use crate::files::{read_private_key, read_public};
use crate::identity::{self, CertificateInfo};
use crate::{CertificateError, FileError};

/// Where the files of one TLS end lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the authorities that are trusted.
    pub ca: PathBuf,
    /// Our certificate, followed by intermediate ones if there are any.
    pub cert: PathBuf,
    /// Our private key.
    pub key: PathBuf,
}

/// What one TLS end needs. `Debug` shows no part of the key.
#[derive(Debug)]
pub struct Credentials {
    /// Our certificate, followed by intermediate ones.
    pub chain: Vec<CertificateDer<'static>>,
    /// Our private key.
    pub key: PrivateKeyDer<'static>,
    /// The certificates of the authorities that are trusted.
    pub roots: Vec<CertificateDer<'static>>,
    /// Who we are, by our certificate.
    pub info: CertificateInfo,
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            roots: self.roots.clone(),
            info: self.info.clone(),
        }
    }
}

/// Loads and checks all three files.
///
/// The key file is private, the key belongs to the certificate, the certificate is what `want` says at `now`, and one of the
/// authorities in the ca file signed it. What can still go wrong later is the other end, and time.
///
/// # Errors
/// [`FileError`] names the file, why, and by `help()` the remedy.
pub fn load_identity_files(
    files: &TlsFiles,
    want: &Expect,
    now: SystemTime,
) -> Result<Credentials, FileError> {
    let roots = load_roots(&files.ca)?;
    let chain = load_chain(&files.cert)?;
    let refused = |source| FileError::Certificate { path: files.cert.clone(), source };
    let own = chain.first().ok_or(CertificateError::Unreadable { reason: "there is none" });
    let own = own.map_err(refused)?;
    let info = identity::read(own).map_err(refused)?;
    check(&info, want, now).map_err(refused)?;
    check_chain(&chain, &roots, info.identity.role, now).map_err(refused)?;
    let key = load_key(&files.key)?;
    match key_matches(&key, own) {
        Some(true) => Ok(Credentials { chain, key, roots, info }),
        Some(false) => {
            Err(FileError::KeyMismatch { key: files.key.clone(), certificate: files.cert.clone() })
        }
        None => Err(FileError::UnusableKey { path: files.key.clone() }),
    }
}

/// Loads every certificate of a PEM file, in order; at least one.
///
/// # Errors
/// `NoCertificate`, `Kind`, `TooLarge` or `Io`.
pub fn load_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read_public(path)?;
    certificates(&bytes).map_err(|reason| FileError::NoCertificate { path: path.to_path_buf(), reason })
}

/// Loads the certificates of the authorities that are to be trusted; at least one.
///
/// # Errors
/// As [`load_chain`], and `Certificate` when one of them is not an authority's.
pub fn load_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let roots = load_chain(path)?;
    for root in &roots {
        identity::read_authority(root)
            .map_err(|source| FileError::Certificate { path: path.to_path_buf(), source })?;
    }
    Ok(roots)
}

/// Loads a private key from a file that nobody else can read, see [`read_private_key`].
///
/// # Errors
/// `NoKey`, and those of [`read_private_key`].
pub fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    read_private_key(path)?.key().ok_or_else(|| FileError::NoKey { path: path.to_path_buf() })
}

/// Whether a private key belongs to a certificate; `None` when the key or the certificate cannot be used at all.
pub fn key_matches(key: &PrivateKeyDer<'_>, certificate: &CertificateDer<'_>) -> Option<bool> {
    let key = any_supported_type(key).ok()?;
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    Some(key.public_key()? == certificate.subject_public_key_info())
}

/// The certificates in PEM text; at least one. The reason never quotes the text, which may be a key given by mistake.
pub(crate) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::Io(_) | pem::Error::NoItemsFound | pem::Error::SectionTooLarge | _ => "it is not PEM",
    })?;
    if found.is_empty() { Err("there is none in it") } else { Ok(found) }
}
