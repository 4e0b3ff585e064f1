//! Files with keys or state belong to their daemon alone, and a daemon refuses to start otherwise.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::exit_class::ExitClass;
#[cfg(feature = "daemon")]
use crate::manifest::files::refuse_replaceable;

/// Permission bits of a mode, without the file's type.
const PERMISSIONS: u32 = 0o7777;
/// Any access by group or others.
const OTHERS: u32 = 0o077;
/// Write access by group or others.
const OTHERS_WRITE: u32 = 0o022;

/// Why a file or folder must not be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum PermissionError {
    /// Group or others have access to a private file or folder.
    #[error("{} is open to others (mode {mode:04o}); run: chmod {wanted:o} {}", path.display(), path.display())]
    Loose {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// Group or others may write a file that decides what this program does.
    #[error("{} can be changed by others (mode {mode:04o}); run: chmod go-w {}", path.display(), path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The state folder belongs to another user, who could replace anything in it.
    #[error("{} belongs to user {owner}, not to user {us}; run: chown {us} {}", path.display(), path.display())]
    Owner {
        /// The folder.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// The user id this program runs as.
        us: u32,
    },
    /// The state folder belongs to a user, and root wants to use it: given to root, it would keep that user out.
    #[error(
        "{} belongs to user {owner}, and this is run by root; run it as that user: sudo -u '#{owner}' …",
        path.display()
    )]
    ForRoot {
        /// The folder.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// A folder on the way to a file that decides what this program does belongs to another user.
    #[error(
        "{} belongs to user {owner}, who can put another file in the place of {}; run: chown {us} {}, or keep the file \
         where only root{} can",
        folder.display(), path.display(), folder.display(), or_user(*us)
    )]
    Above {
        /// The folder.
        folder: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// The user id this program runs as.
        us: u32,
        /// What can be replaced.
        path: PathBuf,
    },
    /// The configuration of a daemon that root runs belongs to a user, who would say what root does.
    #[error(
        "{} belongs to user {owner}, who would say by it what root runs; run: chown 0 {}, or run this as that user: \
         sudo -u '#{owner}' …",
        path.display(), path.display()
    )]
    Configuration {
        /// The file.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// The path of a state folder names something else.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The path of a key file names something else.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file or folder cannot be looked at or created.
    #[error("cannot use {}", path.display())]
    Access {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl PermissionError {
    /// Which exit code a daemon ends with: a path that leads nowhere is a wrong configuration, the rest is permissions.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Self::NotAFolder { .. } | Self::NotAFile { .. } => ExitClass::Configuration,
            Self::Access { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ExitClass::Configuration
            }
            Self::Loose { .. }
            | Self::Writable { .. }
            | Self::Owner { .. }
            | Self::ForRoot { .. }
            | Self::Above { .. }
            | Self::Configuration { .. }
            | Self::Access { .. } => ExitClass::Permissions,
        }
    }
}

fn or_user(us: u32) -> String {
    if us == 0 { String::new() } else { format!(" and user {us}") }
}

/// Refuses a file with a key or other secret that group or others can reach in any way.
///
/// Symbolic links are followed: the file that will be read is the one that counts.
///
/// # Errors
/// [`PermissionError::Loose`] with the remedy, `NotAFile`, or `Access` when there is no such file.
pub fn check_private(path: &Path) -> Result<(), PermissionError> {
    let metadata =
        fs::metadata(path).map_err(|source| PermissionError::Access { path: path.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(PermissionError::NotAFile { path: path.to_owned() });
    }
    refuse_loose(path, &metadata, 0o600)
}

/// The same as [`check_state_dir`] for a folder that is there, and nothing for one that is not.
///
/// # Errors
/// [`PermissionError`] with the remedy.
pub fn look_at_state_dir(path: &Path) -> Result<(), PermissionError> {
    match fs::metadata(path) {
        Ok(metadata) => refuse_foreign_folder(path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(PermissionError::Access { path: path.to_owned(), source }),
    }
}

/// Makes sure that a state folder exists and is ours alone.
///
/// A missing folder is created with mode 0700; missing parents get the usual mode. The folder has to belong to
/// the user this program runs as: one of root's, as a start as root leaves it, is of no use to anybody else.
///
/// # Errors
/// [`PermissionError`] with the remedy.
pub fn check_state_dir(path: &Path) -> Result<(), PermissionError> {
    let access = |source| PermissionError::Access { path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_private(path).map_err(access)?;
            fs::metadata(path).map_err(access)?
        }
        Err(error) => return Err(access(error)),
    };
    refuse_foreign_folder(path, &metadata)
}

fn refuse_foreign_folder(path: &Path, metadata: &Metadata) -> Result<(), PermissionError> {
    if !metadata.is_dir() {
        return Err(PermissionError::NotAFolder { path: path.to_owned() });
    }
    refuse_loose(path, metadata, 0o700)?;
    refuse_owner(path, metadata.uid(), rustix::process::geteuid().as_raw())
}

/// Refuses a private folder of anybody but this program's user.
fn refuse_owner(path: &Path, owner: u32, us: u32) -> Result<(), PermissionError> {
    let path = || path.to_owned();
    match us {
        _ if owner == us => Ok(()),
        0 => Err(PermissionError::ForRoot { path: path(), owner }),
        us => Err(PermissionError::Owner { path: path(), owner, us }),
    }
}

/// Refuses a file that group or others may write.
pub(crate) fn refuse_writable(path: &Path, metadata: &Metadata) -> Result<(), PermissionError> {
    // A pipe or a device has no contents at rest that somebody could change.
    if metadata.is_file() && metadata.mode() & OTHERS_WRITE != 0 {
        return Err(PermissionError::Writable { path: path.to_owned(), mode: metadata.mode() & PERMISSIONS });
    }
    Ok(())
}

/// Refuses the configuration of a daemon that root runs where somebody else could change or replace it: it names the policy, the
/// procedures and the keys.
#[cfg(feature = "daemon")]
pub(crate) fn refuse_configuration(path: &Path) -> Result<(), PermissionError> {
    let metadata =
        fs::metadata(path).map_err(|source| PermissionError::Access { path: path.to_owned(), source })?;
    // a pipe or a device is whoever's who starts this
    if !metadata.is_file() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match metadata.uid() {
        0 => refuse_replaceable(path),
        owner => Err(PermissionError::Configuration { path: path.to_owned(), owner }),
    }
}

/// Refuses a file or folder that anybody but root and this program's user may change.
pub(crate) fn refuse_foreign_metadata(path: &Path, mode: u32, owner: u32) -> Result<(), PermissionError> {
    let us = rustix::process::geteuid().as_raw();
    if owner != us && owner != 0 {
        return Err(PermissionError::Owner { path: path.to_owned(), owner, us });
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(PermissionError::Writable { path: path.to_owned(), mode: mode & PERMISSIONS });
    }
    Ok(())
}

/// Refuses a file or folder that group or others can reach; `wanted` is the mode to recommend.
pub(crate) fn refuse_loose(path: &Path, metadata: &Metadata, wanted: u32) -> Result<(), PermissionError> {
    let mode = metadata.mode() & PERMISSIONS;
    if mode & OTHERS != 0 {
        return Err(PermissionError::Loose { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn create_private(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Somebody was faster; what they made is checked like any other folder.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_of_root_is_refused_to_others_with_what_to_do() {
        assert!(refuse_owner(Path::new("/state"), 998, 998).is_ok());
        let refused = refuse_owner(Path::new("/state"), 0, 998).map_err(|error| error.to_string());
        let said = "/state belongs to user 0, not to user 998; run: chown 998 /state";
        assert_eq!(refused, Err(said.to_owned()));
    }

    #[test]
    fn root_is_not_told_to_keep_the_user_of_a_folder_out() {
        assert!(refuse_owner(Path::new("/state"), 0, 0).is_ok());
        let refused = refuse_owner(Path::new("/state"), 998, 0).map_err(|error| error.to_string());
        let said =
            "/state belongs to user 998, and this is run by root; run it as that user: sudo -u '#998' …";
        assert_eq!(refused, Err(said.to_owned()));
    }
}
