//! Tells a person everything about certificate files: whose, until when, and all that is wrong with them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use redpoll_common::identity::Identity;
use redpoll_common::ids::ClusterName;
use rustls_pki_types::CertificateDer;

use crate::credentials::{key_matches, load_chain, load_key, load_roots};
use crate::expect::{Expect, check, check_chain};
use crate::identity::{self, Usages};
use crate::{CertificateError, FileError, moment};

const DAY: i64 = 24 * 3600;

/// One certificate of a file, for people and tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The file.
    pub path: PathBuf,
    /// Who it belongs to.
    pub subject: Subject,
    /// The distinguished name of who signed it; empty when it cannot be read.
    pub issuer: String,
    /// The serial number in hexadecimal; empty when it cannot be read.
    pub serial: String,
    /// When it is valid; `None` when it cannot be read.
    pub validity: Option<Validity>,
    /// Its extended usages, or `sign` for an authority.
    pub usages: Vec<&'static str>,
    /// Its DNS names and addresses.
    pub names: Vec<String>,
    /// The key file beside it: the same name, ending in `.key`.
    pub key: KeyState,
    /// All that is wrong with it or with its key file; empty when it can be used.
    pub problems: Vec<Problem>,
}

/// Who a certificate belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An agent, an operator or a manager.
    Peer(Identity),
    /// An authority, with its cluster if it names one.
    Authority(Option<ClusterName>),
    /// It cannot be told.
    Unknown,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: SystemTime,
    /// The last second.
    pub until: SystemTime,
    /// Whole days that are left; negative when it has expired.
    pub days_left: i64,
}

impl Validity {
    fn new(from: SystemTime, until: SystemTime, now: SystemTime) -> Self {
        let left = moment::unix_seconds(until).saturating_sub(moment::unix_seconds(now));
        Self { from, until, days_left: left.div_euclid(DAY) }
    }

    /// The first second, as `2026-01-31T12:00:00Z`.
    pub fn from_text(&self) -> String {
        moment::text(self.from)
    }

    /// The last second, as `2026-01-31T12:00:00Z`.
    pub fn until_text(&self) -> String {
        moment::text(self.until)
    }
}

/// What the key file beside a certificate is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// There is none.
    Absent,
    /// Private, readable, and the certificate's.
    Good,
    /// It cannot be used; the problems say why.
    Bad,
}

/// Something that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, with its causes.
    pub what: String,
    /// What to do: one sentence for a `help:` line.
    pub help: String,
}

/// Describes every certificate of a file, or of the `*.crt` files of a directory in the order of their names.
///
/// Wrong certificates are described too, with their problems. If there is a `ca.crt` in the same directory, each
/// certificate of a peer is checked against it.
///
/// # Errors
/// [`FileError`] when the file or directory itself cannot be read or the file has no PEM certificate. Within a
/// directory such a file becomes a description with a problem.
pub fn describe(path: &Path, now: SystemTime) -> Result<Vec<Description>, FileError> {
    if !path.is_dir() {
        return describe_file(path, now);
    }
    let refused = |source| FileError::Io { doing: "list", path: path.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(refused)? {
        let file = entry.map_err(refused)?.path();
        if file.extension().is_some_and(|extension| extension == "crt") {
            files.push(file);
        }
    }
    files.sort();
    let described = files.iter().flat_map(|file| match describe_file(file, now) {
        Ok(descriptions) => descriptions,
        Err(error) => {
            let mut unknown = Description::unknown(file);
            unknown.problem(&error, error.help());
            vec![unknown]
        }
    });
    Ok(described.collect())
}

fn describe_file(path: &Path, now: SystemTime) -> Result<Vec<Description>, FileError> {
    let chain = load_chain(path)?;
    let mut descriptions: Vec<Description> = chain.iter().map(|der| describe_one(path, der, now)).collect();
    if let (Some(description), Some(own)) = (descriptions.first_mut(), chain.first()) {
        check_key(description, own);
        check_signature(description, &chain, now);
    }
    Ok(descriptions)
}

fn describe_one(path: &Path, der: &CertificateDer<'_>, now: SystemTime) -> Description {
    let mut description = Description::unknown(path);
    description.issuer = identity::issuer_name(der).unwrap_or_default();
    match identity::read(der) {
        Ok(info) => {
            if let Err(error) = check(&info, &Expect::ANY, now) {
                description.refuse(&error);
            }
            description.subject = Subject::Peer(info.identity);
            description.serial = info.serial;
            description.validity = Some(Validity::new(info.not_before, info.not_after, now));
            description.usages = usage_names(info.usages);
            description.names = info.dns_names;
            description.names.extend(info.addresses.iter().map(ToString::to_string));
        }
        Err(CertificateError::IsAuthority) => match identity::read_authority(der) {
            Ok(info) => {
                let validity = Validity::new(info.not_before, info.not_after, now);
                if now < info.not_before || now > info.not_after {
                    description.refuse(&CertificateError::AuthorityTime);
                }
                description.subject = Subject::Authority(info.cluster);
                description.serial = info.serial;
                description.validity = Some(validity);
                description.usages = vec!["sign"];
            }
            Err(error) => description.refuse(&error),
        },
        Err(error) => description.refuse(&error),
    }
    description
}

fn usage_names(usages: Usages) -> Vec<&'static str> {
    let all = [
        (usages.client_auth, "clientAuth"),
        (usages.server_auth, "serverAuth"),
        (usages.other_extended, "other"),
    ];
    all.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect()
}

fn check_key(description: &mut Description, own: &CertificateDer<'_>) {
    let path = description.path.with_extension("key");
    if path == description.path || path.symlink_metadata().is_err() {
        return;
    }
    let error = match load_key(&path).map(|key| key_matches(&key, own)) {
        Ok(Some(true)) => {
            description.key = KeyState::Good;
            return;
        }
        Ok(Some(false)) => FileError::KeyMismatch { key: path, certificate: description.path.clone() },
        Ok(None) => FileError::UnusableKey { path },
        Err(error) => error,
    };
    description.key = KeyState::Bad;
    description.problem(&error, error.help());
}

/// Against the authority in the same directory, if there is one.
fn check_signature(description: &mut Description, chain: &[CertificateDer<'_>], now: SystemTime) {
    let Subject::Peer(identity) = &description.subject else {
        return;
    };
    let ca = description.path.with_file_name("ca.crt");
    // what is wrong with ca.crt stands in its own description
    let Ok(roots) = load_roots(&ca) else {
        return;
    };
    let role = identity.role;
    match check_chain(chain, &roots, role, now) {
        // its own time has been reported already
        Err(CertificateError::AuthorityTime) if !description.problems.is_empty() => {}
        Err(error) => description.refuse(&error),
        Ok(()) => {}
    }
}

impl Description {
    fn unknown(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            subject: Subject::Unknown,
            issuer: String::new(),
            serial: String::new(),
            validity: None,
            usages: Vec::new(),
            names: Vec::new(),
            key: KeyState::Absent,
            problems: Vec::new(),
        }
    }

    fn refuse(&mut self, error: &CertificateError) {
        self.problem(error, error.help().to_owned());
    }

    fn problem(&mut self, error: &dyn Error, help: String) {
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            what.push_str(": ");
            what.push_str(&source.to_string());
            cause = source.source();
        }
        self.problems.push(Problem { what, help });
    }
}
