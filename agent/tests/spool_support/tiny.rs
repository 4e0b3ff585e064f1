//! A disk that is soon full.

use std::path::Path;
use std::process::{Command, Stdio};

/// A file system of so many bytes, unmounted at the end; `None` where that is not permitted.
pub(crate) struct Tiny<'a>(&'a Path);

impl<'a> Tiny<'a> {
    pub(crate) fn mount(folder: &'a Path, bytes: u64) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tmpfs"]).arg(folder);
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Tiny<'_> {
    fn drop(&mut self) {
        // it is temporary either way
        let _unmounted = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
