//! SIGHUP: reads the configuration and the certificates again, without touching a session.

use std::sync::Arc;
use std::time::SystemTime;

use redpoll_certs::credentials::{Credentials, TlsFiles, load_identity_files};
use redpoll_certs::expect::Expect;
use redpoll_common::identity::Role;
use redpoll_config::daemon::logging::LogControl;
use redpoll_config::daemon::{Failure, needing_restart, same_identity};
use redpoll_config::{Effective, ExitClass, ManagerConfig, Sources, TlsConfig, load};
use redpoll_net::dial::chain;
use redpoll_net::tls::TlsServer;
use tracing::{error, info, warn};

/// Loads the manager's certificate, key and authorities.
///
/// # Errors
/// A [`Failure`] that names the file, why and the remedy.
pub fn credentials(tls: &TlsConfig) -> Result<Credentials, Failure> {
    let files = TlsFiles { ca: tls.ca.clone(), cert: tls.cert.clone(), key: tls.key.clone() };
    tls.check_key()?;
    load_identity_files(&files, &Expect::role(Role::Manager), SystemTime::now()).map_err(|error| {
        let help = error.help();
        Failure::new(ExitClass::Configuration, "the manager's certificate cannot be used")
            .caused_by(error)
            .help(help)
    })
}

/// Reads again. What cannot be used is logged as an error, and what was in use stays in use.
pub fn reload(sources: &Sources, running: &[Effective], server: &Arc<TlsServer>, log: &LogControl) {
    let loaded = match load::<ManagerConfig>(sources) {
        Ok(loaded) => loaded,
        Err(error) => return error!(error = %chain(&error), "nothing was reloaded"),
    };
    if let Err(error) = log.set_level(&loaded.config.log.level) {
        error!(error = %chain(&error), "the log level was not reloaded");
    }
    let taken = credentials(&loaded.config.tls).and_then(|credentials| {
        same_identity(&server.own_identity(), &credentials.info.identity)?;
        server.reload(credentials).map_err(|error| {
            Failure::new(ExitClass::Configuration, "the certificate does not fit").caused_by(error)
        })
    });
    match taken {
        Ok(()) => info!("reloaded; new handshakes use the certificates as they are now"),
        Err(failure) => error!(error = %chain(&failure), "the certificates were not reloaded"),
    }
    for key in needing_restart(running, &loaded.effective) {
        warn!(key, "changed in the configuration; it takes effect after a restart");
    }
}
