//! Where an offline authority and what it issued lie on disk: one private directory.
//!
//! ```text
//! DIR/                   0700
//!   ca.crt               0644  the authority's certificate: goes to every machine
//!   ca.key               0600  the authority's key: goes nowhere
//!   agent-web-1.crt      0644
//!   agent-web-1.key      0600
//!   manager-m1.crt …
//! ```
//! Nothing is ever overwritten. A key is made before its certificate, exclusively, so that of two who ask for the same name at the
//! same time one wins; the other leaves nothing behind.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use redpoll_common::identity::{Identity, Role};
use redpoll_common::ids::{ClusterName, PeerId};

use crate::authority::{Authority, AuthorityError};
use crate::credentials::TlsFiles;
use crate::files::{self, FileError, Unfinished};
use crate::issue::IssueOptions;

/// The authority's certificate.
pub const CA_CERT: &str = "ca.crt";
/// The authority's private key.
pub const CA_KEY: &str = "ca.key";

/// Why an authority was not made, or nothing issued, in a directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory is the reason.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory has an authority already.
    #[error("{} has an authority already", directory.display())]
    HasAuthority {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory has one of the two files of an authority: whoever made it was ended in between, or the other was taken away.
    #[error("{} has a {has} and no {lacks}", directory.display())]
    HalfAuthority {
        /// The directory.
        directory: PathBuf,
        /// The file that is there.
        has: &'static str,
        /// The one that is not.
        lacks: &'static str,
    },
    /// The directory has no authority.
    #[error("{} has no authority", directory.display())]
    NoAuthority {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory has a certificate or key of this name already.
    #[error("{identity} has a certificate or key in this directory already: {}", path.display())]
    Issued {
        /// Who was to get one.
        identity: Identity,
        /// The file that is there.
        path: PathBuf,
    },
    /// The authority in the directory cannot be used, or did not issue.
    #[error("the authority in {} did not do it", directory.display())]
    Authority {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: AuthorityError,
    },
}

impl StoreError {
    /// What a person can do about it: one sentence for a `help:` line.
    pub fn help(&self) -> String {
        match self {
            Self::File(error) => error.help(),
            Self::HasAuthority { directory } => format!(
                "issue from it with `rpctl certs issue agent|operator|manager ID --dir {}`, or choose another directory",
                directory.display()
            ),
            Self::HalfAuthority { directory, has, lacks } => format!(
                "wait, if another `rpctl certs init` runs just now; put {lacks} back, if there was one; else move {} away, and `rpctl certs init {} --cluster NAME` makes an authority",
                directory.join(has).display(),
                directory.display()
            ),
            Self::NoAuthority { directory } => {
                format!("`rpctl certs init {} --cluster NAME` makes one", directory.display())
            }
            Self::Issued { path, .. } => {
                format!("use it, or move {} and the file beside it away to issue a new one", path.display())
            }
            Self::Authority { source, .. } => source.help().to_owned(),
        }
    }
}

/// Makes the directory if need be, and an authority in it.
///
/// # Errors
/// [`StoreError`]; then nothing is left behind but perhaps the empty directory.
pub fn init(
    directory: &Path,
    cluster: &ClusterName,
    lifetime: Duration,
    now: SystemTime,
) -> Result<Authority, StoreError> {
    files::create_private_directory(directory)?;
    let (certificate, key) = (directory.join(CA_CERT), directory.join(CA_KEY));
    let taken = || StoreError::HasAuthority { directory: directory.to_path_buf() };
    if is_there(directory)? {
        return Err(taken());
    }
    let authority = Authority::create(cluster, lifetime, now).map_err(|source| blame(directory, source))?;
    write_pair((&key, authority.key_pem().expose()), (&certificate, authority.certificate_pem().as_bytes()))
        .map_err(|error| already(error, |_| taken()))?;
    Ok(authority)
}

/// Takes up the authority of a directory.
///
/// # Errors
/// [`StoreError`], `NoAuthority` among them.
pub fn open(directory: &Path) -> Result<Authority, StoreError> {
    let (certificate, key) = (directory.join(CA_CERT), directory.join(CA_KEY));
    if !is_there(directory)? {
        return Err(StoreError::NoAuthority { directory: directory.to_path_buf() });
    }
    files::check_private_directory(directory)?;
    let certificate = files::read_public(&certificate)?;
    let key = files::read_private_key(&key)?;
    Authority::load(&certificate, &key).map_err(|source| blame(directory, source))
}

/// Whether a directory has both files of an authority; half of one is refused.
fn is_there(directory: &Path) -> Result<bool, StoreError> {
    let half = |has, lacks| StoreError::HalfAuthority { directory: directory.to_path_buf(), has, lacks };
    match (present(&directory.join(CA_CERT)), present(&directory.join(CA_KEY))) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(half(CA_CERT, CA_KEY)),
        (false, true) => Err(half(CA_KEY, CA_CERT)),
    }
}

/// What was issued, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedFiles {
    /// Who it belongs to.
    pub identity: Identity,
    /// The files, as a daemon's `[tls]` section wants them.
    pub files: TlsFiles,
}

/// Issues a certificate from the authority of the directory and stores it there, with its new key.
///
/// # Errors
/// [`StoreError`]; then no new file is left behind.
pub fn issue(
    directory: &Path,
    role: Role,
    id: &PeerId,
    options: &IssueOptions,
    now: SystemTime,
) -> Result<IssuedFiles, StoreError> {
    let authority = open(directory)?;
    let identity = Identity { cluster: authority.cluster().clone(), role, id: id.clone() };
    let files = paths(directory, role, id);
    let taken = |path| StoreError::Issued { identity: identity.clone(), path };
    if let Some(path) = [&files.cert, &files.key].into_iter().find(|path| present(path)) {
        return Err(taken(path.clone()));
    }
    let issued = authority.issue(role, id, options, now).map_err(|source| blame(directory, source))?;
    write_pair((&files.key, issued.key_pem.expose()), (&files.cert, issued.certificate_pem.as_bytes()))
        .map_err(|error| already(error, taken))?;
    Ok(IssuedFiles { identity, files })
}

/// Where the files of a peer lie in the directory of its authority.
pub fn paths(directory: &Path, role: Role, id: &PeerId) -> TlsFiles {
    TlsFiles {
        ca: directory.join(CA_CERT),
        cert: directory.join(format!("{role}-{id}.crt")),
        key: directory.join(format!("{role}-{id}.key")),
    }
}

/// Also for links that lead nowhere: an exclusive creation fails on them too.
fn present(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Both files, or none.
fn write_pair(key: (&Path, &[u8]), certificate: (&Path, &[u8])) -> Result<(), FileError> {
    files::create_private(key.0, key.1)?;
    let unfinished = Unfinished::new(key.0);
    files::create_public(certificate.0, certificate.1)?;
    unfinished.keep();
    Ok(())
}

fn already(error: FileError, taken: impl FnOnce(PathBuf) -> StoreError) -> StoreError {
    if let FileError::Exists { path } = error { taken(path) } else { StoreError::File(error) }
}

fn blame(directory: &Path, source: AuthorityError) -> StoreError {
    StoreError::Authority { directory: directory.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_whose_certificate_cannot_be_written_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let (key, certificate) = (directory.path().join("a.key"), directory.path().join("a.crt"));
        std::fs::write(&certificate, "theirs").unwrap();
        let error = write_pair((&key, b"key"), (&certificate, b"ours")).unwrap_err();
        assert!(matches!(error, FileError::Exists { path } if path == certificate));
        assert!(!present(&key));
        assert_eq!(std::fs::read(&certificate).unwrap(), b"theirs");
    }

    #[test]
    fn a_key_that_was_there_is_not_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let (key, certificate) = (directory.path().join("a.key"), directory.path().join("a.crt"));
        files::create_private(&key, b"theirs").unwrap();
        assert!(write_pair((&key, b"key"), (&certificate, b"ours")).is_err());
        assert!(present(&key) && !present(&certificate));
    }
}
