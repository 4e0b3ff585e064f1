//! Policies of agents that tests start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What lets everything pass. Tests may run as root, and their procedures with them.
pub fn open_rules() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "[[rule]]\nname = \"everything\"\nallow = [\"*\"]\nusers = [\"root\", \"nobody\"]\n"
    } else {
        "[[rule]]\nname = \"everything\"\nallow = [\"*\"]\n"
    }
}

/// Writes a policy for nobody else to change.
///
/// # Panics
/// When the file cannot be written.
pub fn write_policy(file: &Path, text: &str) {
    fs::write(file, text).expect("a file");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// The section that names `policy.toml` of a folder. One that lets everything pass is written when there is none.
///
/// # Panics
/// When the file cannot be written.
pub fn policy_section(folder: &Path) -> String {
    let file = folder.join("policy.toml");
    if !file.exists() {
        write_policy(&file, open_rules());
    }
    format!("[policy]\nfile = \"{}\"\n", file.display())
}
