//! The throw-away authority of a measurement.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use redpoll_certs::authority::{AUTHORITY_LIFETIME, Authority};
use redpoll_certs::credentials::{Credentials, load_identity_files};
use redpoll_certs::expect::Expect;
use redpoll_certs::issue::IssueOptions;
use redpoll_certs::store;
use redpoll_common::identity::Role;
use redpoll_common::ids::{ClusterName, PeerId};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The cluster's name.
const CLUSTER: &str = "bench";
/// The names that take part, beside the fleet's.
pub(crate) const MANAGER: &str = "m1";
pub(crate) const AGENT: &str = "a1";
pub(crate) const OPERATOR: &str = "o1";

/// Makes an authority in `folder` and certificates for a manager, an agent and an operator.
pub(crate) fn init(folder: &Path) -> anyhow::Result<()> {
    let now = SystemTime::now();
    store::init(folder, &ClusterName::parse(CLUSTER)?, AUTHORITY_LIFETIME, now)?;
    for (role, name) in [(Role::Manager, MANAGER), (Role::Agent, AGENT), (Role::Operator, OPERATOR)] {
        store::issue(folder, role, &PeerId::parse(name)?, &IssueOptions::default(), now)?;
    }
    Ok(())
}

/// Makes certificates for further agents.
pub(crate) fn agents(folder: &Path, names: &[PeerId]) -> anyhow::Result<()> {
    let now = SystemTime::now();
    for name in names {
        store::issue(folder, Role::Agent, name, &IssueOptions::default(), now)?;
    }
    Ok(())
}

/// The credentials of one of those three.
pub(crate) fn credentials(folder: &Path, role: Role, name: &str) -> anyhow::Result<Credentials> {
    let files = store::paths(folder, role, &PeerId::parse(name)?);
    Ok(load_identity_files(&files, &Expect { roles: &Role::ALL, cluster: None }, SystemTime::now())?)
}

/// A certificate with its key.
pub(crate) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The authority, for a fleet that issues its own.
#[derive(Debug)]
pub(crate) struct Issuer(Arc<Authority>);

impl Issuer {
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(store::open(folder)?)))
    }

    /// A fresh certificate for an agent.
    pub(crate) fn agent(&self, name: &str) -> anyhow::Result<Pair> {
        let issued =
            self.0.issue(Role::Agent, &PeerId::parse(name)?, &IssueOptions::default(), SystemTime::now())?;
        let key = issued.key_pem.key().context("an issued key that cannot be read")?;
        Ok((issued.chain, key))
    }
}
