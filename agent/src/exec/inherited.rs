//! Descriptors that this process inherited from whoever started it.
//!
//! Everything that is opened here closes itself when a program is started. What was open before `main` does not, and would be
//! handed down to every program.

use std::fs;
use std::os::fd::RawFd;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Lets all inherited descriptors but the three standard streams close themselves when a program is started. For the beginning
/// of `main`, while there is one thread.
pub(super) fn close_on_exec() {
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<RawFd> = open
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    numbers.into_iter().for_each(mark);
}

/// Does nothing when it is not open (any more): the folder that was read is among them.
#[expect(
    unsafe_code,
    reason = "no safe wrapper takes the number of a descriptor that nobody here has opened"
)]
fn mark(fd: RawFd) {
    // SAFETY: the number is only passed to two `fcntl` calls, which fail when it is not open. It is borrowed for these alone, is
    // never closed here, and no other thread runs that could close it meanwhile or rely on its flags.
    let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    if let Ok(flags) = fcntl_getfd(descriptor) {
        // what cannot be marked is handed down, as it would be without this
        let _marked = fcntl_setfd(descriptor, flags | FdFlags::CLOEXEC);
    }
}
