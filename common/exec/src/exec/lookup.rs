//! Finds a program as a start does, for those who cannot ask the operating system by starting it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{ExecError, form};

/// Where programs are looked up without a `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Finds a program as a start does: by its path, from `cwd` on, or in `path`, which is this process's `PATH` unless given.
///
/// # Errors
/// [`ExecError`]: it is not there, or cannot be executed.
pub fn find_program(program: &OsStr, cwd: Option<&Path>, path: Option<&OsStr>) -> Result<(), ExecError> {
    let path =
        path.map_or_else(|| std::env::var_os("PATH").map(Cow::Owned), |path| Some(Cow::Borrowed(path)));
    locate(program, cwd.unwrap_or_else(|| Path::new(".")), path.as_deref(), |_path| true).map(drop)
}

/// The same, of what this very process would become, in its own folder and as its own user; gives the path.
pub(super) fn find_own(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, ExecError> {
    locate(program, Path::new(""), path, |path| access(path, Access::EXEC_OK).is_ok())
}

fn locate(
    program: &OsStr,
    cwd: &Path,
    path: Option<&OsStr>,
    may: impl Fn(&Path) -> bool,
) -> Result<PathBuf, ExecError> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = || program.to_string_lossy().into_owned();
    let is_good = |path: &Path, found: &Metadata| is_executable(found) && may(path);
    let checked = |path: PathBuf| form::check(&path, &program.to_string_lossy()).map(|()| path);
    if program.as_bytes().contains(&b'/') {
        let path = cwd.join(program);
        return match std::fs::metadata(&path) {
            Ok(found) if is_good(&path, &found) => checked(path),
            Ok(_) => Err(ExecError::Denied { program: name() }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ExecError::Denied { program: name() })
            }
            Err(_) => Err(ExecError::NotFound { program: name() }),
        };
    }
    let mut denied = false;
    let path = path.unwrap_or_else(|| OsStr::new(DEFAULT_PATH));
    for folder in std::env::split_paths(path) {
        // an empty one is the working directory, and a path without a slash would be looked up again
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let path = folder.join(program);
        match std::fs::metadata(&path) {
            Ok(found) if is_good(&path, &found) => return checked(path),
            Ok(found) => denied |= found.is_file(),
            Err(_) => {}
        }
    }
    Err(if denied { ExecError::Denied { program: name() } } else { ExecError::NotFound { program: name() } })
}

/// Whether anybody could execute it.
fn is_executable(found: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    found.is_file() && found.permissions().mode() & 0o111 != 0
}
