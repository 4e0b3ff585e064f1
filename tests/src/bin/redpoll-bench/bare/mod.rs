//! The baselines: tokio-rustls with the same versions, provider and certificates, and nothing above it but a length
//! before each frame. No session, no correlation, no limits.

pub(crate) mod echo;
pub(crate) mod frames;
pub(crate) mod hold;
pub(crate) mod relay;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a bare process finds its certificates, and listens or dials.
#[derive(Debug, clap::Args)]
pub(crate) struct Spot {
    /// The folder of the authority.
    #[arg(long)]
    pub(crate) pki: PathBuf,
    /// Where to listen, or whom to dial.
    #[arg(long)]
    pub(crate) address: SocketAddr,
}
