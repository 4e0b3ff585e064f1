//! Whether a file has a form that this machine executes, for programs that another process will become.
//!
//! That process replaces itself with the C library's `execvp`, which gives a file without any form to a shell. Nobody asked for a
//! shell, and a program that is not confined is refused then.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::ExecError;

/// What the kernel looks at, at most.
const HEAD: u64 = 256;
/// Where the kernel lists further forms that it was taught.
const TAUGHT: &str = "/proc/sys/fs/binfmt_misc";

/// Refuses what the kernel would not execute. What cannot be read is left to the kernel.
pub(super) fn check(path: &Path, program: &str) -> Result<(), ExecError> {
    let mut head = Vec::new();
    let read = open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    if read.is_err() {
        return Ok(());
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let interpreter = line.split_whitespace().next().map(Path::new);
        return match interpreter {
            Some(path) if path.is_relative() || path.exists() => Ok(()),
            Some(_) => Err(ExecError::Interpreter { program: program.to_owned() }),
            None => Err(ExecError::Format { program: program.to_owned() }),
        };
    }
    let is_elf = head.starts_with(b"\x7fELF") && matches!(head.get(4), Some(1 | 2));
    if is_elf || is_taught_more() {
        return Ok(());
    }
    Err(ExecError::Format { program: program.to_owned() })
}

/// Opens a regular file, and does not wait for one: by now the path may lead to a pipe that nobody ever writes to, or to a
/// device that does something when it is opened.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Whether the kernel knows more forms than its own.
fn is_taught_more() -> bool {
    let own = |name: &std::ffi::OsStr| name == "register" || name == "status";
    let entries = std::fs::read_dir(TAUGHT).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| !own(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_programs_are_told_from_what_a_shell_would_guess_at() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            let path = folder.path().join("program");
            std::fs::write(&path, bytes).unwrap();
            check(&path, "program").map_err(|error| error.to_string())
        };
        for good in [&b"#!/bin/sh\necho"[..], b"#! /bin/sh -e\n", b"#!/bin/sh", b"\x7fELF\x02\x01\x01"] {
            assert_eq!(check(good), Ok(()));
        }
        assert!(check(b"#!/no/such/interpreter -x\n").unwrap_err().contains("interpreter"));
        if !is_taught_more() {
            for bad in [&b"echo hello\n"[..], b"", b"\x7fELF nonsense", b"PK\x03\x04"] {
                assert!(check(bad).unwrap_err().contains("no format"), "{bad:?}");
            }
        }
        assert_eq!(
            super::check(&folder.path().join("missing"), "x").map_err(|error| error.to_string()),
            Ok(())
        );
    }

    #[test]
    fn what_is_no_file_is_neither_waited_for_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let (done, told) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || done.send(check(&pipe, "x").is_ok()));
        let told = told.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(told, Ok(true), "the pipe was waited for, or judged");
    }
}
