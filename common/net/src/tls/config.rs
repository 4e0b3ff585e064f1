//! What one end of TLS needs, made from key files and exchanged while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use redpoll_certs::CertificateError;
use redpoll_certs::credentials::Credentials;
use redpoll_certs::expect::{Expect, expect_role};
use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::ClusterName;
use redpoll_common::leg;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;

use super::verify::{AgentsVerifier, DiallersVerifier, ManagersVerifier};

/// The application protocol. Who offers none speaks protocol 0; who offers only others is refused.
pub const ALPN: &[u8] = b"rp/1";

/// Bytes that TLS holds for a peer that does not read, in each direction.
pub(super) const BUFFER_LIMIT: usize = 64 * 1024;

/// The roles that dial a manager.
const DIALLERS: &[Role] = &[Role::Agent, Role::Operator];

/// Why credentials cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsSetupError {
    /// Our own certificate is not one for this end.
    #[error("our certificate cannot be used here")]
    Certificate(#[source] CertificateError),
    /// Our certificate is of another cluster than before: that is another fleet, not a renewal.
    #[error("the new certificate is of the cluster {found}, but this process serves {running}")]
    ClusterChanged {
        /// The cluster so far.
        running: ClusterName,
        /// The cluster of the new certificate.
        found: ClusterName,
    },
    /// The TLS library does not take the certificate, its key or the authorities.
    #[error("the certificate, its key or its authorities cannot be used")]
    Unusable(#[source] rustls::Error),
    /// There is no authority to verify peers with.
    #[error("no authority is trusted")]
    NoAuthority,
}

/// One setting of TLS, and who we are by it.
struct Setting<C> {
    config: Arc<C>,
    own: Identity,
    not_after: SystemTime,
}

/// The manager's end. Cheap to share; connections that exist are untouched by [`Self::reload`].
pub struct TlsServer {
    setting: ArcSwap<Setting<ServerConfig>>,
}

impl TlsServer {
    /// Serves as the manager of `credentials`, for agents and operators of its cluster.
    ///
    /// # Errors
    /// [`TlsSetupError`] when the credentials are not a manager's, or unusable.
    pub fn new(credentials: Credentials) -> Result<Self, TlsSetupError> {
        Ok(Self { setting: ArcSwap::from_pointee(server_setting(credentials)?) })
    }

    /// Uses `credentials` from the next handshake on.
    ///
    /// # Errors
    /// As [`Self::new`], and when the cluster is another one. The old credentials stay in use then.
    pub fn reload(&self, credentials: Credentials) -> Result<(), TlsSetupError> {
        let setting = server_setting(credentials)?;
        same_cluster(&self.setting.load().own, &setting.own)?;
        self.setting.store(Arc::new(setting));
        Ok(())
    }

    /// Who we are.
    pub fn own_identity(&self) -> Identity {
        self.setting.load().own.clone()
    }

    /// When our certificate ends.
    pub fn own_not_after(&self) -> SystemTime {
        self.setting.load().not_after
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.setting.load().config)
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").field("own", &self.setting.load().own).finish_non_exhaustive()
    }
}

/// What a dialler needs for its session, for its legs, and for what it says to whoever is at the other end of a leg.
pub(super) struct DiallerConfigs {
    pub(super) session: Arc<ClientConfig>,
    pub(super) leg: Arc<ClientConfig>,
    pub(super) data: DataConfig,
}

/// On a leg an operator is the client and an agent the server, each with the certificate that it has.
pub(super) enum DataConfig {
    Operator(Arc<ClientConfig>),
    Agent(Arc<ServerConfig>),
}

/// The dialler's end. Cheap to share; connections that exist are untouched by [`Self::reload`].
pub struct TlsClient {
    setting: ArcSwap<Setting<DiallerConfigs>>,
}

impl TlsClient {
    /// Dials as the agent or operator of `credentials`, managers of its cluster alone.
    ///
    /// # Errors
    /// [`TlsSetupError`] when the credentials are a manager's, or unusable.
    pub fn new(credentials: Credentials) -> Result<Self, TlsSetupError> {
        Ok(Self { setting: ArcSwap::from_pointee(client_setting(credentials)?) })
    }

    /// Uses `credentials` from the next handshake on: a renewed certificate, another authority.
    ///
    /// # Errors
    /// As [`Self::new`], and when the cluster is another one. The old credentials stay in use then.
    pub fn reload(&self, credentials: Credentials) -> Result<(), TlsSetupError> {
        let setting = client_setting(credentials)?;
        same_cluster(&self.setting.load().own, &setting.own)?;
        self.setting.store(Arc::new(setting));
        Ok(())
    }

    /// Who we are.
    pub fn own_identity(&self) -> Identity {
        self.setting.load().own.clone()
    }

    /// When our certificate ends.
    pub fn own_not_after(&self) -> SystemTime {
        self.setting.load().not_after
    }

    pub(super) fn configs(&self) -> Arc<DiallerConfigs> {
        Arc::clone(&self.setting.load().config)
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("own", &self.setting.load().own).finish_non_exhaustive()
    }
}

fn server_setting(credentials: Credentials) -> Result<Setting<ServerConfig>, TlsSetupError> {
    expect_role(&credentials.info, &[Role::Manager]).map_err(TlsSetupError::Certificate)?;
    let (own, not_after) = (credentials.info.identity.clone(), credentials.info.not_after);
    let want = Expect::CLIENTS.in_cluster(own.cluster.clone());
    let alpn = vec![ALPN.to_vec(), leg::ALPN.to_vec()];
    Ok(Setting { config: Arc::new(server_config(&credentials, want, alpn)?), own, not_after })
}

fn client_setting(credentials: Credentials) -> Result<Setting<DiallerConfigs>, TlsSetupError> {
    expect_role(&credentials.info, DIALLERS).map_err(TlsSetupError::Certificate)?;
    let (own, not_after) = (credentials.info.identity.clone(), credentials.info.not_after);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let want = Expect::role(Role::Manager).in_cluster(own.cluster.clone());
    let managers = Arc::new(ManagersVerifier::new(authorities(&credentials.roots)?, &provider, want));
    let session = client_config(&credentials, managers, ALPN)?;
    let mut leg = session.clone();
    leg.alpn_protocols = vec![leg::ALPN.to_vec()];
    let data = match own.role {
        Role::Agent => {
            let want = Expect::role(Role::Operator).in_cluster(own.cluster.clone());
            let alpn = vec![leg::DATA_ALPN.to_vec()];
            DataConfig::Agent(Arc::new(server_config(&credentials, want, alpn)?))
        }
        Role::Operator | Role::Manager => {
            let want = Expect::role(Role::Agent).in_cluster(own.cluster.clone());
            let agents = AgentsVerifier::new(authorities(&credentials.roots)?, &provider, want)?;
            DataConfig::Operator(Arc::new(client_config(&credentials, Arc::new(agents), leg::DATA_ALPN)?))
        }
    };
    let configs = DiallerConfigs { session: Arc::new(session), leg: Arc::new(leg), data };
    Ok(Setting { config: Arc::new(configs), own, not_after })
}

/// An end that is dialled, by those that `want` says.
fn server_config(
    credentials: &Credentials,
    want: Expect,
    alpn: Vec<Vec<u8>>,
) -> Result<ServerConfig, TlsSetupError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = DiallersVerifier::new(authorities(&credentials.roots)?, &provider, want)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(Arc::new(verifier))
                .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
        })
        .map_err(TlsSetupError::Unusable)?;
    config.alpn_protocols = alpn;
    // A resumed session is not verified: a revoked or expired certificate would come back with its ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// An end that dials those whom `verifier` believes.
fn client_config(
    credentials: &Credentials,
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[u8],
) -> Result<ClientConfig, TlsSetupError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| {
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        })
        .map_err(TlsSetupError::Unusable)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

fn authorities(roots: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, TlsSetupError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(TlsSetupError::Unusable)?;
    }
    if store.is_empty() {
        return Err(TlsSetupError::NoAuthority);
    }
    Ok(Arc::new(store))
}

fn same_cluster(running: &Identity, found: &Identity) -> Result<(), TlsSetupError> {
    if running.cluster == found.cluster {
        return Ok(());
    }
    Err(TlsSetupError::ClusterChanged { running: running.cluster.clone(), found: found.cluster.clone() })
}

/// The one provider of this program, for its signature algorithms.
pub(super) type Provider = Arc<CryptoProvider>;
