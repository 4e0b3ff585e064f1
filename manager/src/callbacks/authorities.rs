//! Whom webhooks believe over https: the authorities of the system, and those of the configuration.

use std::path::Path;
use std::sync::Arc;

use redpoll_certs::credentials::load_chain;
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::DelivererError;

/// TLS 1.3, as everywhere else in this program.
pub(super) fn connector(ca: Option<&Path>) -> Result<TlsConnector, DelivererError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // A system has certificates here and there that nobody can use; the others are good all the same.
    let (known, _unusable) = roots.add_parsable_certificates(system.certs);
    if known == 0 {
        let errors: Vec<_> = system.errors.iter().map(ToString::to_string).collect();
        tracing::info!(
            errors = errors.join("; "),
            "this system names no authorities: webhooks over https need jobs.callbacks.ca"
        );
    }
    if let Some(path) = ca {
        for certificate in load_chain(path)? {
            roots.add(certificate)?;
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
