//! The folder `procedures.d/`: every manifest that is good, and everything that is wrong with the others.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Manifest;
use super::files::{self, MAX_MANIFEST_FILE, Unread, is_passing};
use super::name::Taken;
use super::problem::ManifestProblem;
use super::read;

/// How many manifests a folder may hold.
pub const MAX_MANIFESTS: usize = 1000;

/// Who offers what a folder describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// An agent: its machine's policy says who may call.
    Agent,
    /// The manager: the manifests say who may call.
    Manager,
}

/// What a folder of manifests holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Procedures {
    /// The good ones, those that are not enabled included, in the order of their files' names.
    pub manifests: Vec<Manifest>,
    /// What is wrong; each file named here gave no manifest.
    pub problems: Vec<ManifestProblem>,
}

/// The same as [`load_folder_of`] for an agent.
pub fn load_folder(folder: &Path) -> Procedures {
    load_folder_of(folder, Side::Agent)
}

/// Reads every `*.toml` of a folder; names that begin with a dot are passed over. A folder that is not there is empty.
///
/// A bad file leaves the others working. Two files with the same name and version, or with names that differ by case alone: the first by
/// the name of its file stays. If the folder itself can be changed by others, nothing in it is used.
pub fn load_folder_of(folder: &Path, side: Side) -> Procedures {
    let mut procedures = Procedures::default();
    let files = match list(folder, &mut procedures.problems) {
        Ok(files) => files,
        Err(unread) => {
            procedures.problems.push(ManifestProblem::unread(folder, unread));
            return procedures;
        }
    };
    let mut taken = Taken::default();
    for file in files {
        let read = files::read(&file, MAX_MANIFEST_FILE)
            .map_err(|unread| vec![ManifestProblem::unread(&file, unread)])
            .and_then(|text| read::manifest(&file, &text, side));
        match read {
            Err(problems) => procedures.problems.extend(problems),
            Ok(manifest) => match taken.take(&manifest) {
                Ok(()) => procedures.manifests.push(manifest),
                Err(what) => {
                    let field = "name".to_owned();
                    procedures
                        .problems
                        .push(ManifestProblem { field, ..ManifestProblem::whole(&file, what) });
                }
            },
        }
    }
    procedures
}

/// The manifests by their names. Those with a name that cannot be one are problems.
fn list(folder: &Path, problems: &mut Vec<ManifestProblem>) -> Result<Vec<PathBuf>, Unread> {
    let cannot = |error: io::Error| Unread {
        passes: is_passing(&error),
        what: format!("cannot read the folder: {error}"),
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot(error)),
    };
    files::refuse_replaceable_folder(folder)?;
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.map_err(cannot)?.file_name();
        let bytes = name.as_bytes();
        if !bytes.ends_with(b".toml") || bytes.starts_with(b".") {
            continue;
        }
        if name.to_str().is_some_and(|name| !name.contains(char::is_control)) {
            files.push(folder.join(name));
        } else {
            let what = format!("the name of the file {name:?} is not plain text; rename it");
            problems.push(ManifestProblem::whole(folder, what));
        }
        if files.len() + problems.len() > MAX_MANIFESTS {
            problems.clear();
            return Err(format!("more than {MAX_MANIFESTS} manifests; nothing in it is used").into());
        }
    }
    files.sort();
    Ok(files)
}
