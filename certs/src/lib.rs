//! Identities in certificates, the files that hold certificates and keys, and the certificate authority.
//!
//! - [`identity`]: what a certificate says: exactly one URI, its usages, its days. Nothing is believed yet.
//! - [`expect`]: whether that is what we want now, from this authority; [`CertificateError`] names every way it can be wrong.
//! - [`files`] and [`credentials`]: key files nobody else can read, and loading what a TLS end needs.
//! - [`describe`]: the same for people, with everything that is wrong about a file.
//! - `authority`, `issue`, `store` (feature `issue`): a certificate authority, what it issues, and where that lies on disk.
//! - `testing` (feature `issue`): fresh authorities, good certificates and wrong ones, for tests and benchmarks.
//!
//! Time is an argument everywhere (only `testing` reads the clock). The handshake itself, and which
//! errors a peer is told, belong to `redpoll-net`. Errors have a `help()` besides their text: the next thing
//! for a person to do, for the edge to print as its `help:` line.
//!
//! Start reading at [`identity::read`] and [`expect::check`].

pub mod credentials;
pub mod describe;
mod error;
pub mod expect;
pub mod files;
pub mod identity;
mod moment;
mod private_pem;

#[cfg(feature = "issue")]
pub mod authority;
#[cfg(feature = "issue")]
pub mod issue;
#[cfg(feature = "issue")]
pub mod store;
#[cfg(feature = "issue")]
pub mod testing;

pub use error::CertificateError;
pub use files::FileError;
pub use private_pem::PrivatePem;
