//! Room on the disk: a reserve, allocated ahead, out of which endings can be written when nothing else can.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use super::OpenOptions;

/// Bytes reserved for what ends one run: its ending and the records around it.
const PER_RUN: u64 = 8 * 1024;

/// What is known of the room on the disk.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Up to where the active file has blocks of the disk.
    allocated: u64,
    full: bool,
}

impl Space {
    /// Whether the reserve could not be kept whole.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// The active file is another one now.
    pub(super) fn moved(&mut self) {
        self.allocated = 0;
    }

    /// Keeps the reserve after byte `len` of the active file, growing with the runs that may have to be ended.
    pub(super) fn check(&mut self, file: &File, len: u64, runs: u64, options: &OpenOptions) {
        let wanted = len.saturating_add(options.reserve).saturating_add(runs.saturating_mul(PER_RUN));
        if self.allocated >= wanted {
            self.full = false;
            return;
        }
        // half as much again, so that this is not done for each commit
        let from = self.allocated.max(len);
        let more = (wanted - from).saturating_add(options.reserve / 2);
        match (options.allocate)(file, from, more) {
            Ok(()) => {
                self.allocated = from.saturating_add(more);
                self.full = false;
            }
            Err(error) => self.full = error.kind() == io::ErrorKind::StorageFull || !has_room(file, more),
        }
    }
}

/// Whether an error says that the disk, or the share of it that we may have, is used up: unlike any other it passes.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error says that this process, or the machine, has too many files open: it passes, and says nothing of the disk.
pub(super) fn is_no_descriptor(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Gives a file blocks of the disk beyond its end, without changing its length.
///
/// # Errors
/// `StorageFull` when there is no room or no quota; something else where the file system cannot do it.
pub fn allocate(file: &File, from: u64, len: u64) -> io::Result<()> {
    fallocate(file, FallocateFlags::KEEP_SIZE, from, len).map_err(|errno| match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => io::Error::new(io::ErrorKind::StorageFull, errno),
        errno => errno.into(),
    })
}

/// For file systems that cannot allocate ahead: whether there is room now. Others may take it before we need it.
fn has_room(file: &File, bytes: u64) -> bool {
    fstatvfs(file).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) > bytes)
}
