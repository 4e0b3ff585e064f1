//! Whether standard output was closed when the program was started (`rpctl … >&-`).
//!
//! The standard library opens `/dev/null` in its place before `main`, and what is printed would be lost without an error. A
//! `/dev/null` that somebody chose cannot be told from that one later, so the look is taken before the standard library runs.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

/// Written once, before `main`.
static CLOSED: AtomicBool = AtomicBool::new(false);

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[expect(unsafe_code, reason = "nothing safe runs before the standard library replaces what is closed")]
// SAFETY: the section holds pointers to functions that the C runtime calls one after the other before `main`, while there is one
// thread; arguments that it hands over are ignored. `look` makes one system call and stores a bool: it neither allocates nor panics.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static LOOK: extern "C" fn() = look;

#[cfg(any(target_os = "linux", target_os = "macos"))]
extern "C" fn look() {
    let looked = rustix::io::fcntl_getfd(rustix::stdio::stdout());
    CLOSED.store(looked == Err(Errno::BADF), Ordering::Relaxed);
}

/// Whether standard output was closed from the beginning. Where that cannot be seen, `false`.
pub(crate) fn is_stdout_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// What to do about an output that cannot be written.
pub(crate) fn help() -> &'static str {
    if is_stdout_closed() {
        "standard output is closed; write >/dev/null where nothing is to be read"
    } else {
        "is the disk full, or the device gone?"
    }
}

/// What is written to a standard output that is closed.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(Errno::BADF.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
