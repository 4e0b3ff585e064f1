//! Settings of the system's allocator for programs through which large messages go.
//!
//! The GNU allocator gives memory back to the system as soon as a little more than 128 KiB at the end of its heap is free, and takes
//! what is larger than that from the system each time. Messages of 256 KiB that come and go were then paid for in page faults: a
//! sixth of what `rpctl cp` did. Other allocators are left as they are.

/// What is larger is taken from the system, and goes back to it at once. In bytes; a frame of the default size fits twice.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FROM_SYSTEM: std::ffi::c_int = 2 * 1024 * 1024;
/// Free bytes at the end of the heap that are kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEEP: std::ffi::c_int = 8 * 1024 * 1024;

/// Keeps some freed memory for the next message. For the beginning of `main`, while there is one thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe wrapper sets what the allocator keeps")]
pub fn keep_freed_memory() {
    // SAFETY: `mallopt` sets numbers inside the allocator and takes no pointers. It must not run beside another thread that allocates
    // for the first time, and runs before there is one. A number that it refuses stays what it was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, FROM_SYSTEM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEEP);
    }
}

/// Keeps some freed memory for the next message: nothing to be done with this allocator.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
