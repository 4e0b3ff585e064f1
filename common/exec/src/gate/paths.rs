//! Paths of `file.*`: a rule is about a path, whatever form it is sent in. Looks at texts alone, never at a disk.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use redpoll_common::wire::{Fields, Raw};
use redpoll_schema::policy::{Constraint, Rule};
use serde_json::Value;

/// What takes such a path, as `path`.
const FILES: [&str; 6] = ["file.hash", "file.list", "file.read", "file.remove", "file.stat", "file.write"];

/// The path that a call of `file.*` names, as it is walked: what a policy has to judge. `None`: it names none that is ever walked.
pub(super) fn plain_path(procedure: &str, kwargs: &Raw) -> Option<String> {
    FILES.contains(&procedure).then_some(())?;
    let named = Fields::of(kwargs).ok()?.opt_raw("path").ok()??.octets()?;
    plain(Path::new(OsStr::from_bytes(&named)))
}

/// That a rule about `file.*` compares the path with what no path that is judged looks like.
pub(super) fn never_a_path(rule: &Rule) -> Option<String> {
    let mut patterns = rule.procedures.iter().filter(|pattern| !pattern.is_everything());
    let about_files = patterns.any(|pattern| FILES.iter().any(|name| pattern.fits(name, 1)));
    let constraint = rule.args.get("path").filter(|_| about_files)?;
    let (text, plain) = match constraint {
        Constraint::OneOf(values) => {
            values.iter().filter_map(Value::as_str).find_map(|text| Some((text, other_form(text)?)))?
        }
        Constraint::Glob(glob) => (glob.as_str(), other_form(glob)?),
        Constraint::Range { .. } | Constraint::Regex(_) | Constraint::Only(_) => return None,
    };
    Some(format!(
        "rule {:?} compares a path with {text:?}, and no path is judged in this form; write {plain:?}",
        rule.name
    ))
}

/// A path of a rule as it is walked, if it is another; none of a call looks like it then.
fn other_form(path: &str) -> Option<String> {
    plain(Path::new(path)).filter(|plain| plain != path)
}

/// A path as the rules of a policy see it: as it is walked, without what changes nothing in it. Bytes that are no text are replaced, which no
/// rule can name. `None`: none that is ever walked; whoever asks for it is refused as for something else.
fn plain(path: &Path) -> Option<String> {
    let names = path.components().map(|part| match part {
        Component::RootDir | Component::Normal(_) => Some(part),
        Component::CurDir | Component::ParentDir | Component::Prefix(_) => None,
    });
    let plain: PathBuf = names.collect::<Option<_>>()?;
    plain.is_absolute().then(|| plain.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_form_of_a_path_is_that_which_is_walked() {
        for path in ["/data/in/x", "//data/in/x", "/data//in/x/", "/data/./in/x/.", "/./data/in//./x"] {
            assert_eq!(plain(Path::new(path)).as_deref(), Some("/data/in/x"), "{path}");
        }
        assert_eq!(plain(Path::new("/")).as_deref(), Some("/"));
        for path in ["", "data", "./data", "/data/..", "/data/../x"] {
            assert_eq!(plain(Path::new(path)), None, "{path}");
        }
        let odd = OsStr::from_bytes(b"/data/\xff");
        assert_eq!(plain(Path::new(odd)).as_deref(), Some("/data/\u{fffd}"));
    }
}
