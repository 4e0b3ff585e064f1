//! How many files may be open at a time: as many as can be for this process, as many as before for the programs that it starts.
//!
//! Each run of a program needs three or four descriptors here, each session one, and the limit that processes are usually started
//! with is 1024. Programs get that one: some of them (`select`, loops that close everything) are made for no other.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use tracing::{debug, warn};

/// What this process was started with, once it was raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit of this process as far as whoever started it allows. For the start of a daemon; later calls do nothing.
pub fn raise() {
    let was = getrlimit(Resource::Nofile);
    if was.current == was.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: was.maximum, ..was }) {
        Ok(()) => {
            // one that was raised before is at its maximum, and does not come here
            BEFORE.get_or_init(|| was);
            debug!(from = was.current, to = was.maximum, "more files may be open at a time");
        }
        Err(error) => warn!(%error, limit = was.current, "the limit of open files cannot be raised"),
    }
}

/// How many files a program may have open, if that is another number than for this process.
pub(super) fn of_programs() -> Option<u64> {
    BEFORE.get().and_then(|before| before.current)
}

/// Gives a program that was just started the limit of before. It may have begun a moment ago: what is set between `fork` and `exec`
/// would have to be set by code that must not run there. One that has set a limit of its own meanwhile keeps that.
pub fn give_back(program: Pid) {
    if let Some(before) = BEFORE.get() {
        give(program, *before);
    }
}

fn give(program: Pid, before: Rlimit) {
    // one that has changed its user already keeps the higher limit, and one that has ended needs none
    let Ok(was) = prlimit(Some(program), Resource::Nofile, before) else { return };
    // only the kernel knows what it replaces, and tells it in the same step: to look first would be late as well
    if was != getrlimit(Resource::Nofile) {
        let _kept = prlimit(Some(program), Resource::Nofile, was);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_program_gets_the_limit_of_before_unless_it_has_set_one_of_its_own() {
        let ours = getrlimit(Resource::Nofile);
        let before = Rlimit { current: Some(50), ..ours };
        for (script, expected) in [
            ("", before),
            ("ulimit -S -n 77;", Rlimit { current: Some(77), ..ours }),
            ("ulimit -n 77;", Rlimit { current: Some(77), maximum: Some(77) }),
        ] {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &format!("{script} echo; read wait")]);
            let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut begun = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut begun).unwrap();
            let pid = Pid::from_child(&child);
            give(pid, before);
            assert_eq!(prlimit(Some(pid), Resource::Nofile, expected), Ok(expected), "{script}");
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}
