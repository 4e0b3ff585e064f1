//! `rpctl`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    redpoll_net::allocator::keep_freed_memory();
    rpctl::run(std::env::args_os().collect())
}
