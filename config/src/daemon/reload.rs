//! The certificates of a daemon, read at its start, and again with the log level at SIGHUP.

use std::error::Error;
use std::io;
use std::time::SystemTime;

use redpoll_certs::FileError;
use redpoll_certs::credentials::{Credentials, TlsFiles, load_identity_files};
use redpoll_certs::expect::Expect;
use redpoll_common::identity::{Identity, Role};
use tracing::{info, warn};

use super::failure::Failure;
use super::load_own;
use super::logging::LogControl;
use crate::{Config, Effective, ExitClass, Sources, TlsConfig};

/// Loads the certificate, key and authorities of a daemon of this role.
///
/// # Errors
/// A [`Failure`] that names the file, why and the remedy.
pub fn credentials(tls: &TlsConfig, role: Role) -> Result<Credentials, Failure> {
    let files = TlsFiles { ca: tls.ca.clone(), cert: tls.cert.clone(), key: tls.key.clone() };
    load_identity_files(&files, &Expect::role(role), SystemTime::now()).map_err(|error| {
        let help = error.help();
        Failure::new(class(&error), format!("the {role}'s certificate cannot be used"))
            .caused_by(error)
            .help(help)
    })
}

/// SIGHUP: reads the configuration anew, and uses its log level and certificates, without touching a session.
///
/// `own` is who this process is; `take` uses the certificates from the next handshake on. What cannot be used is
/// logged at ERROR, and what was in use stays in use. Gives the configuration, for whatever else the daemon takes from it; `None`
/// when it cannot be used.
pub fn reload<C: Config, E: Error + Send + Sync + 'static>(
    sources: &Sources,
    running: &[Effective],
    log: &LogControl,
    own: &Identity,
    take: impl FnOnce(Credentials) -> Result<(), E>,
) -> Option<C> {
    let loaded = match load_own::<C>(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            Failure::from(error).log("nothing was reloaded");
            return None;
        }
    };
    if let Err(error) = log.set_level(&loaded.config.shared().log.level) {
        Failure::from(error).log("the log level was not reloaded");
    }
    let taken = credentials(loaded.config.shared().tls, own.role).and_then(|credentials| {
        same_identity(own, &credentials.info.identity)?;
        take(credentials).map_err(|error| {
            Failure::new(ExitClass::Configuration, "the certificate does not fit").caused_by(error)
        })
    });
    match taken {
        Ok(()) => info!("reloaded; new handshakes use the certificates as they are now"),
        Err(failure) => failure.log("the certificates were not reloaded"),
    }
    for key in needing_restart(running, &loaded.effective) {
        warn!(key, "changed in the configuration; it takes effect after a restart");
    }
    Some(loaded.config)
}

/// A file that others could reach, or that we cannot, is a matter of permissions; the rest is a wrong configuration.
fn class(error: &FileError) -> ExitClass {
    match error {
        FileError::Loose { .. } | FileError::Owner { .. } => ExitClass::Permissions,
        FileError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            ExitClass::Permissions
        }
        FileError::Io { .. }
        | FileError::Exists { .. }
        | FileError::Kind { .. }
        | FileError::TooLarge { .. }
        | FileError::NoCertificate { .. }
        | FileError::NoKey { .. }
        | FileError::UnusableKey { .. }
        | FileError::KeyMismatch { .. }
        | FileError::Certificate { .. } => ExitClass::Configuration,
    }
}

/// Refuses, at a reload, a certificate that names somebody else than the one this process began with: its hello, its
/// state and its peers know it by the first name.
fn same_identity(running: &Identity, found: &Identity) -> Result<(), Failure> {
    if running == found {
        return Ok(());
    }
    let text = format!("the new certificate is that of {found}, this process is {running}");
    Err(Failure::new(ExitClass::Configuration, text)
        .help("renew the certificate under its name, or restart to take the other name"))
}

/// The keys that SIGHUP makes a daemon read anew, by their beginning.
const RELOADED: &[&str] = &["log.level", "tls.", "access.roles"];

/// The keys whose values differ from those that a daemon runs with although SIGHUP does not change them: they take
/// effect after a restart.
fn needing_restart<'a>(running: &[Effective], found: &'a [Effective]) -> Vec<&'a str> {
    let same = |row: &&Effective| running.iter().any(|old| old.key == row.key && old.value == row.value);
    let reloaded = |row: &&Effective| RELOADED.iter().any(|beginning| row.key.starts_with(beginning));
    found.iter().filter(|row| !same(row) && !reloaded(row)).map(|row| row.key.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_names_the_keys_that_it_does_not_change() {
        let row = |key: &str, value: &str| Effective {
            key: key.to_owned(),
            value: value.to_owned(),
            origin: crate::Origin::Default,
        };
        let running =
            [row("log.level", "a"), row("log.format", "a"), row("tls.key", "a"), row("listen.backlog", "a")];
        let found =
            [row("log.level", "b"), row("log.format", "b"), row("tls.key", "b"), row("listen.backlog", "a")];
        assert_eq!(needing_restart(&running, &found), ["log.format"]);
        assert!(needing_restart(&running, &running).is_empty());
    }

    #[test]
    fn a_reload_does_not_change_who_a_process_is() {
        let identity = |uri| Identity::parse(uri).unwrap();
        let running = identity("spiffe://home/agent/web-1");
        assert!(same_identity(&running, &identity("spiffe://home/agent/web-1")).is_ok());
        for other in
            ["spiffe://home/agent/web-2", "spiffe://home/operator/web-1", "spiffe://office/agent/web-1"]
        {
            assert!(same_identity(&running, &identity(other)).is_err(), "{other}");
        }
    }
}
