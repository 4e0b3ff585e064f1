//! Folders of manifests for real agents, and the interpreters that their programs need.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that a real agent takes: nobody else may change it or what is in it.
#[derive(Debug, Clone)]
pub struct Manifests {
    folder: PathBuf,
}

impl Manifests {
    /// An empty one, `procedures.d` in `directory`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(directory: &Path) -> Self {
        let folder = directory.join("procedures.d");
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("its mode");
        Self { folder }
    }

    /// What is shipped in `config/samples/procedures.d`, file by file, as a package would put it in its place: a checkout may be
    /// writable by a group.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn samples(directory: &Path) -> Self {
        let own = Self::new(directory);
        copy(&checkout("config/samples/procedures.d"), &own.folder);
        own
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The setting of an agent that names it.
    pub fn setting(&self) -> String {
        format!("procedures.dir={}", self.folder.display())
    }

    /// Writes a manifest `NAME.toml`, in one step: the agent may read at any time.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let (new, file) =
            (self.folder.join(format!(".{name}.new")), self.folder.join(format!("{name}.toml")));
        fs::write(&new, text).expect("a manifest");
        fs::set_permissions(&new, Permissions::from_mode(0o644)).expect("its mode");
        fs::rename(&new, file).expect("its place");
    }

    /// Writes a manifest of a shell script, and fields of it.
    pub fn shell(&self, name: &str, fields: &str, script: &str) {
        let text = format!("name = \"{name}\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n{fields}\n");
        self.write(name, &text);
    }

    /// Writes a program into the folder `bin` beside the manifests, and gives its path from the manifests on.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn program(&self, name: &str, text: &str) -> String {
        let bin = self.folder.join("bin");
        fs::create_dir_all(&bin).expect("a folder");
        fs::set_permissions(&bin, Permissions::from_mode(0o755)).expect("its mode");
        let file = bin.join(name);
        fs::write(&file, text).expect("a program");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("its mode");
        format!("./bin/{name}")
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder of samples") {
        let entry = entry.expect("an entry");
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            fs::create_dir(&to).expect("a folder");
            fs::set_permissions(&to, Permissions::from_mode(0o755)).expect("its mode");
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("a copy");
            let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o755;
            fs::set_permissions(&to, Permissions::from_mode(mode)).expect("its mode");
        }
    }
}

/// A file or folder of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A `PATH` whose `python3` is [`python_with_sdk`], and that finds everything else where it was.
///
/// # Panics
/// When there is no Python.
pub fn path_with_sdk(directory: &Path) -> String {
    let python = python_with_sdk(directory);
    let bin = python.parent().expect("a folder");
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default())
}

/// A `python3` that knows the SDK of this checkout, as after `pip install ./sdk/python`. The interpreter itself, not what chooses
/// one: an agent's programs have no environment for that.
///
/// # Panics
/// When there is no Python.
pub fn python_with_sdk(directory: &Path) -> PathBuf {
    let bin = directory.join("python-bin");
    fs::create_dir_all(&bin).expect("a folder");
    let python = bin.join("python3");
    let sdk = checkout("sdk/python/src").canonicalize().expect("the Python SDK");
    let text = format!(
        "#!/bin/sh\nPYTHONPATH={} PYTHONDONTWRITEBYTECODE=1 exec {} \"$@\"\n",
        sdk.display(),
        real_python().display()
    );
    fs::write(&python, text).expect("a file");
    fs::set_permissions(&python, Permissions::from_mode(0o755)).expect("its mode");
    python
}

/// The interpreter behind `python3`.
fn real_python() -> PathBuf {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let output = output.expect("there is no python3: install it; `cargo xtask test` says how");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// Fails loudly when a program is not there that a test needs.
///
/// # Panics
/// When it is not there.
pub fn needs(program: &str, help: &str) {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found, "there is no {program}, and this test proves nothing without it; {help}");
}
