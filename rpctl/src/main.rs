//! `rpctl`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    rpctl::run(std::env::args_os().collect())
}
