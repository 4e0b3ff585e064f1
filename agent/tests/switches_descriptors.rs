//! A procedure that is switched in a process that has as many files open as it may. A test of its own, as the limit is that of the whole
//! process.

use std::fs::File;

use redpoll_agent::offered::Switches;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn what_is_said_not_to_be_switched_is_not_after_the_next_start_either() {
    let folder = tempfile::tempdir().unwrap();
    let mut switches = Switches::open(folder.path()).unwrap();
    assert!(switches.switch("a", None, false).unwrap());
    let was = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..was }).unwrap();
    let mut taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for left in 0..=1 {
        // one is enough to write the file
        taken.truncate(taken.len() - left);
        assert!(switches.switch("b", None, false).is_err());
        assert!(switches.is_off("a", 1) && !switches.is_off("b", 1), "now, with {left}");
    }
    drop(taken);
    let again = Switches::open(folder.path()).unwrap();
    assert!(again.is_off("a", 1) && !again.is_off("b", 1), "and at the next start");
    assert!(switches.switch("b", None, false).unwrap() && switches.is_off("b", 1));
}
