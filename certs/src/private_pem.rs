//! A private key as text that does not print itself.

use std::fmt;

use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

/// A private key in PEM. Neither `Debug` nor any error shows it; there is no `Display`.
#[derive(Clone)]
pub struct PrivatePem(Vec<u8>);

impl PrivatePem {
    /// Takes the bytes of a PEM file. They are not looked at before [`Self::key`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The PEM itself, for writing it to a file made by [`crate::files::create_private`].
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The first private key in it, or `None` if there is none that can be read without a passphrase.
    ///
    /// Why it cannot be read is not told: such errors quote lines of the file.
    pub fn key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.0).ok()
    }
}

impl fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivatePem(***)")
    }
}
