//! What lies beside the place of a copy until it is whole: how it is called, and what becomes of those that nobody goes on with.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat};
use rustix::process::geteuid;

use super::local::{Folder, id_of};
use super::remote::{AGAIN, Looks};

/// What their names begin with.
const PREFIX: &str = ".rpctl-";
/// Digits of an id that stand for agent, path and name; the others stand for the version of the source.
const PLACE: usize = 16;

/// The name of what is written under an id.
pub fn name(id: &str) -> OsString {
    format!("{PREFIX}{id}").into()
}

/// An id for a source as it looks now, and the place that it goes to.
pub fn id(agent: &str, source: &Path, looks: &Looks, to: &OsStr) -> String {
    let found = format!("{} {} {}", looks.size, looks.mtime_ns, looks.inode);
    let place = id_of(&[agent.as_bytes(), source.as_os_str().as_bytes(), to.as_bytes()]);
    let version = id_of(&[found.as_bytes()]);
    [place, version].map(|digits| digits.get(..PLACE).unwrap_or_default().to_owned()).concat()
}

/// What to do after a copy that broke off, with what lies there meanwhile.
pub fn again(id: &str) -> String {
    format!("{AGAIN}; until then {} lies beside its place", name(id).display())
}

impl Folder {
    /// Removes what earlier copies to the same place left of other versions of the source: nobody goes on with it. What somebody writes
    /// just now stays, and what may be somebody else's.
    pub fn remove_older(&self, id: &str) {
        let Some(place) = id.get(..PLACE) else { return };
        let (begins, current) = (format!("{PREFIX}{place}"), name(id));
        let older = |name: &&OsString| {
            name.as_bytes().starts_with(begins.as_bytes()) && name.len() == current.len() && **name != current
        };
        let all = self.parts.get_or_init(|| self.listed());
        all.iter().filter(older).for_each(|name| self.remove_if_ours(name));
    }

    fn listed(&self) -> Vec<OsString> {
        // without a list nothing is removed
        let entries = Dir::read_from(&self.fd).into_iter().flatten().flatten();
        let names = entries.map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()));
        names.filter(|name| name.as_bytes().starts_with(PREFIX.as_bytes())).collect()
    }

    fn remove_if_ours(&self, name: &OsStr) {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.fd, name, flags, Mode::empty()) else { return };
        let is_free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let is_ours = fstat(&file).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && (stat.st_nlink, stat.st_uid) == (1, geteuid().as_raw())
                && self.is_named(name, &stat)
        });
        if is_free && is_ours {
            let _left = unlinkat(&self.fd, name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(size: u64) -> Looks {
        Looks { r#type: "file".to_owned(), size, mode: 0o644, mtime_ns: 1, inode: 2 }
    }

    #[test]
    fn what_is_left_of_other_versions_goes_and_nothing_else() {
        let at = tempfile::tempdir().unwrap();
        let folder = Folder::open(at.path()).unwrap();
        let of = |agent: &str, size, to: &str| id(agent, Path::new("/a"), &looks(size), to.as_ref());
        let now = of("web-1", 3, "x");
        let kept = [now.clone(), of("web-2", 1, "x"), of("web-1", 1, "y"), "0123456789abcdef".repeat(2)];
        for id in kept.iter().chain(&[of("web-1", 1, "x")]) {
            drop(folder.begin("x".as_ref(), id, true).unwrap());
        }
        let under_way = folder.begin("x".as_ref(), &of("web-1", 2, "x"), true).unwrap();
        folder.remove_older(&now);
        let is_there = |id: &String| at.path().join(name(id)).exists();
        assert!(kept.iter().all(is_there), "{kept:?}");
        assert!(is_there(&of("web-1", 2, "x")), "somebody writes it");
        assert!(!is_there(&of("web-1", 1, "x")));
        drop(under_way);
        folder.remove_older(&now);
        assert!(!is_there(&of("web-1", 2, "x")));
        assert!(again(&now).contains(".rpctl-"));
    }
}
