//! What a helper is given for the program that it becomes: variables and the working directory.
//!
//! The helper begins as the daemon's own user, which may be root, and the program's variables come from a caller. Under their own
//! names they would have a meaning for the helper too: `LD_PRELOAD` and its kind make the loader run the caller's code before the first
//! line of this program does. So each is handed over under a name that means nothing to anybody. For the same reason the helper
//! enters the working directory itself, as the user that the program runs as.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use super::RUN_VARIABLE;

/// What begins the name of a variable that is meant for the program.
const PREFIX: &[u8] = b"program.";
/// The variable that names the working directory.
const FOLDER: &str = "helper.cwd";
/// By these a run's processes are found again, from its first moment on. They mean nothing to the helper.
const MARKS: [&str; 6] =
    [RUN_VARIABLE, "REDPOLL_AGENT", "REDPOLL_JOB", "REDPOLL_ATTEMPT", "REDPOLL_DNO", "REDPOLL_PROCEDURE"];

/// The variables of the helper.
pub(super) fn over(
    environment: BTreeMap<&OsStr, OsString>,
    cwd: Option<&Path>,
) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<OsString, OsString> = MARKS
        .iter()
        .filter_map(|name| Some((name.into(), environment.get(OsStr::new(name))?.clone())))
        .collect();
    all.extend(
        environment
            .into_iter()
            .map(|(name, value)| (OsString::from_vec([PREFIX, name.as_bytes()].concat()), value)),
    );
    all.extend(cwd.map(|cwd| (FOLDER.into(), cwd.into())));
    all
}

/// What was handed over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Handed {
    /// The program's variables.
    pub(super) environment: BTreeMap<OsString, OsString>,
    /// Its working directory; `None`: the one that this process has.
    pub(super) cwd: Option<OsString>,
}

impl Handed {
    /// Reads it from the helper's own variables.
    pub(super) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut handed = Self::default();
        for (name, value) in variables {
            if name == FOLDER {
                handed.cwd = Some(value);
            } else if let Some(name) = name.as_bytes().strip_prefix(PREFIX) {
                handed.environment.insert(OsString::from_vec(name.to_vec()), value);
            }
        }
        handed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_arrives_and_nothing_under_its_own_name_but_the_marks_of_a_run() {
        let given = [
            ("LD_PRELOAD", "/tmp/x.so"),
            ("REDPOLL_RUN", "1.2.3"),
            ("REDPOLL_AGENT_LINK", "x"),
            ("helper.cwd", "/root"),
            ("program.X", "twice"),
            ("EMPTY", ""),
        ];
        let environment: BTreeMap<&OsStr, OsString> =
            given.iter().map(|(name, value)| (OsStr::new(name), value.into())).collect();
        let all = over(environment, Some(Path::new("/srv")));
        let plain: Vec<&OsString> = all.keys().filter(|name| !name.as_bytes().starts_with(PREFIX)).collect();
        assert_eq!(plain, ["REDPOLL_RUN", "helper.cwd"]);
        let handed = Handed::read(all);
        assert_eq!(handed.cwd, Some("/srv".into()), "what the caller calls so is the program's");
        let expected = given.iter().map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(handed.environment, expected);
        assert_eq!(Handed::read(over(BTreeMap::new(), None)), Handed::default());
    }
}
