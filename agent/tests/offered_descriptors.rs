//! A reload in a process that has as many files open as it may. A test of its own, as the limit is that of the whole process.

#![expect(clippy::unwrap_used, reason = "test code")]

mod gate_support;
mod procedures_support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use gate_support::open_gate;
use procedures_support::setting;
use redpoll_agent::offered::{Described, Offered};
use redpoll_net::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes all descriptors that this process may have.
fn take_all() -> Vec<File> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..getrlimit(Resource::Nofile) }).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn a_reload_for_which_no_file_can_be_opened_takes_no_procedure_away() {
    let folder = tempfile::tempdir().unwrap();
    let (described, state) = (folder.path().join("d"), folder.path().join("state"));
    for folder in [&described, &state] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    }
    let write = |name: &str, fields: &str| {
        let file = described.join(format!("{name}.toml"));
        fs::write(&file, format!("name = \"{name}\"\ncommand = [\"true\"]\n{fields}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    };
    write("a", "");
    // whom it runs as is looked up in another file
    write("b", &format!("user = \"{}\"", rustix::process::geteuid().as_raw()));
    // what the source takes after it has read the files
    let (held, takes) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
    let source = {
        let (described, held, takes) = (described.clone(), held.clone(), takes.clone());
        move || {
            let described = Described::by(&described);
            if *takes.lock().unwrap() {
                *held.lock().unwrap() = take_all();
            }
            described
        }
    };
    let offered =
        Offered::new(Registry::new(), (false, false), setting().0, Box::new(source), &state, open_gate())
            .unwrap();
    let answer = offered.reload();
    assert_eq!((answer.problems, answer.offered), (vec![], 2));

    let all = take_all();
    let answer = offered.reload();
    drop(all);
    assert_eq!((answer.removed, answer.offered), (0, 2), "{:?}", answer.problems);
    assert!(answer.problems[0].contains("cannot read the folder"), "{:?}", answer.problems);

    *takes.lock().unwrap() = true;
    let answer = offered.reload();
    held.lock().unwrap().clear();
    assert_eq!((answer.removed, answer.offered), (0, 2), "{:?}", answer.problems);
    assert!(answer.problems[0].contains("/etc/passwd cannot be read"), "{:?}", answer.problems);

    *takes.lock().unwrap() = false;
    fs::remove_file(described.join("b.toml")).unwrap();
    let answer = offered.reload();
    assert_eq!((answer.problems, answer.removed, answer.offered), (vec![], 1, 1));
}
