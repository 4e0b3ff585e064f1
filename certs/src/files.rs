//! Writes key files that nobody else can ever read, and refuses to read those that somebody else could.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::{CertificateError, PrivatePem};

/// The largest file of certificates or of a key that is read, in bytes.
pub const MAX_FILE: u64 = 64 * 1024;

/// The mode of files with private keys.
const PRIVATE: u32 = 0o600;
/// The mode of files with certificates.
const PUBLIC: u32 = 0o644;
/// The permissions that private files and directories must not give.
const OTHERS: u32 = 0o077;

/// Why a file or directory of certificates or keys could not be made or is not used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Something is there already, and nothing is ever overwritten.
    #[error("{} is already there and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner have access.
    #[error("{} is open to others (mode {mode:04o})", path.display())]
    Loose {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// It belongs to somebody else than root or the user of this process.
    #[error("{} belongs to user {owner}, not to root or to the user of this process ({user})", path.display())]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// It is a directory, a pipe or something else.
    #[error("{} is not a {wanted}", path.display())]
    Kind {
        /// What is there.
        path: PathBuf,
        /// What was wanted: `regular file` or `directory`.
        wanted: &'static str,
    },
    /// It is larger than any file of certificates.
    #[error("{} is larger than {MAX_FILE} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It has no certificate in PEM, or a broken one.
    #[error("no certificates can be read from {}: {reason}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with the PEM.
        reason: &'static str,
    },
    /// It has no private key in PEM that can be read without a passphrase.
    #[error("no private key can be read from {}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Its private key is of a kind that TLS cannot use here.
    #[error("the private key in {} is damaged or of an unknown kind", path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key belongs to another certificate.
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// The certificate in it is not accepted.
    #[error("the certificate in {} is not accepted", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CertificateError,
    },
}

impl FileError {
    /// What a person can do about it: one sentence for a `help:` line. Commands stand in backquotes.
    pub fn help(&self) -> String {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path in the configuration; `rpctl certs init` and `rpctl certs issue` make such files".to_owned()
            }
            Self::Io { path, .. } => format!("check the permissions of {} and of the directories above", path.display()),
            Self::Exists { path } => format!("choose another name, or move {} away first", path.display()),
            Self::Loose { path, wanted, .. } => format!("`chmod {wanted:o} {}`", path.display()),
            Self::Owner { path, user, .. } => format!("`chown {user} {}`", path.display()),
            Self::Kind { wanted, .. } => format!("give the path of a {wanted}"),
            Self::TooLarge { .. } | Self::NoCertificate { .. } => {
                "give a PEM file with `-----BEGIN CERTIFICATE-----` in it".to_owned()
            }
            Self::NoKey { .. } => {
                "give a PEM file with `-----BEGIN PRIVATE KEY-----` in it; encrypted keys cannot be used".to_owned()
            }
            Self::UnusableKey { .. } => "use an ECDSA P-256 key, as `rpctl certs issue` makes them".to_owned(),
            Self::KeyMismatch { .. } => "give the key and the certificate of one and the same issue".to_owned(),
            Self::Certificate { source, .. } => source.help().to_owned(),
        }
    }

    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                Self::Exists { path }
            } else {
                Self::Io { doing, path, source }
            }
        }
    }
}

/// Makes a file that its owner alone can read, writes `bytes` to it, and returns when they are on disk.
///
/// The mode is 0600 from the first moment, whatever the umask; at no time could somebody else have opened it. A file that is
/// there already is left alone, and after a failure no file is left behind.
///
/// # Errors
/// `Exists`; `Loose` where the file system cannot hide a file; else `Io`.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    create(path, bytes, PRIVATE, |file| {
        let mode = mode_of(file).map_err(FileError::io("examine", path))?;
        // a file system without modes gives everybody everything: better no key than such a key
        if mode & OTHERS == 0 { Ok(()) } else { Err(loose(path, mode, PRIVATE)) }
    })
}

/// Makes a file that everybody can read (mode 0644, whatever the umask), writes `bytes` to it, and returns when they are on disk.
///
/// # Errors
/// `Exists` or `Io`; then no new file is left behind.
pub fn create_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    create(path, bytes, PUBLIC, |file| {
        file.set_permissions(Permissions::from_mode(PUBLIC)).map_err(FileError::io("open to all", path))
    })
}

/// Makes the directory with mode 0700 if it is not there, with those above it, or checks the one that is there.
///
/// # Errors
/// `Kind`, `Owner`, `Loose` or `Io`.
pub fn create_private_directory(path: &Path) -> Result<(), FileError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(FileError::io("make the directory", path)(error)),
    }
    check_private_directory(path)
}

/// Checks that a directory belongs to root or to us and that nobody else has access.
///
/// # Errors
/// `Kind`, `Owner`, `Loose` or `Io`.
pub fn check_private_directory(path: &Path) -> Result<(), FileError> {
    let metadata = open(path)?.metadata().map_err(FileError::io("examine", path))?;
    if !metadata.is_dir() {
        return Err(FileError::Kind { path: path.to_path_buf(), wanted: "directory" });
    }
    check_owner(path, metadata.uid())?;
    if metadata.mode() & OTHERS == 0 { Ok(()) } else { Err(loose(path, metadata.mode(), 0o700)) }
}

/// Reads a file with a private key.
///
/// Symbolic links are followed; what counts is the file that was opened: a regular one, of root or of the user of this
/// process, without any permission for others, of at most [`MAX_FILE`] bytes.
///
/// # Errors
/// `Kind`, `Owner`, `Loose`, `TooLarge` or `Io`.
pub fn read_private_key(path: &Path) -> Result<PrivatePem, FileError> {
    let file = open_regular(path)?;
    let metadata = file.metadata().map_err(FileError::io("examine", path))?;
    check_owner(path, metadata.uid())?;
    if metadata.mode() & OTHERS != 0 {
        return Err(loose(path, metadata.mode(), PRIVATE));
    }
    Ok(PrivatePem::new(read_limited(file, path)?))
}

/// Reads a file with certificates, of at most [`MAX_FILE`] bytes; anybody may own and read it.
///
/// # Errors
/// `Kind`, `TooLarge` or `Io`.
pub fn read_public(path: &Path) -> Result<Vec<u8>, FileError> {
    read_limited(open_regular(path)?, path)
}

/// Without waiting, even when the path leads to a pipe.
fn open(path: &Path) -> Result<File, FileError> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(FileError::io("open", path))
}

fn open_regular(path: &Path) -> Result<File, FileError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(FileError::io("examine", path))?;
    if metadata.is_file() {
        Ok(file)
    } else {
        Err(FileError::Kind { path: path.to_path_buf(), wanted: "regular file" })
    }
}

fn read_limited(file: File, path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(FileError::io("read", path))?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_FILE) {
        Ok(bytes)
    } else {
        Err(FileError::TooLarge { path: path.to_path_buf() })
    }
}

fn check_owner(path: &Path, owner: u32) -> Result<(), FileError> {
    let user = rustix::process::geteuid().as_raw();
    if owner == 0 || owner == user {
        return Ok(());
    }
    Err(FileError::Owner { path: path.to_path_buf(), owner, user })
}

fn loose(path: &Path, mode: u32, wanted: u32) -> FileError {
    FileError::Loose { path: path.to_path_buf(), mode: mode & 0o7777, wanted }
}

fn mode_of(file: &File) -> io::Result<u32> {
    Ok(file.metadata()?.mode())
}

fn create(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    prepare: impl FnOnce(&File) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(FileError::io("create", path))?;
    let unfinished = Unfinished::new(path);
    prepare(&file)?;
    file.write_all(bytes).map_err(FileError::io("write", path))?;
    file.sync_all().map_err(FileError::io("write", path))?;
    sync_parent(path)?;
    unfinished.keep();
    Ok(())
}

/// Without this the file's name can be lost in a crash although its bytes are on disk.
fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let directory = File::open(parent).map_err(FileError::io("open", parent))?;
    directory.sync_all().map_err(FileError::io("write", parent))
}

/// Removes a file that was just created, unless told to keep it.
#[derive(Debug)]
pub(crate) struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// Takes charge of a file that this process created itself, exclusively.
    pub(crate) fn new(path: &Path) -> Self {
        Self(Some(path.to_path_buf()))
    }

    /// Everything that belongs to the file is there too.
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // nothing more can be done about a file that cannot be removed
            let _ = std::fs::remove_file(path);
        }
    }
}
