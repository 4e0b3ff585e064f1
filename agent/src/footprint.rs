//! What an agent keeps in memory while nothing is asked of it: the code that only its start needed is given back.
//!
//! The kernel maps code in pieces of 64 KiB as it is run. Reading a configuration, arguments and certificates runs through most of
//! the program, which then counts as resident for as long as the agent lives, although it is never run again. Once the agent
//! serves, everything is unmapped; what is run again comes back from the page cache, piece by piece.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use redpoll_net::Peer;
use rustix::mm::{Advice, madvise};
use tokio::sync::watch;
use tracing::debug;

/// What a session begins with has happened after this time.
const BEGUN: Duration = Duration::from_secs(5);

/// Waits for the first session to have begun, then gives back what the start needed.
pub(crate) async fn settle(mut sessions: watch::Receiver<Option<Peer>>) {
    if sessions.wait_for(Option::is_some).await.is_err() {
        return; // the agent ends
    }
    tokio::time::sleep(BEGUN).await;
    match tokio::task::spawn_blocking(unmap_code).await {
        Ok(Ok(bytes)) => debug!(bytes, "the code that is not in use is unmapped"),
        // it is nothing but a larger figure
        Ok(Err(error)) => debug!(%error, "the code that is not in use stays mapped"),
        Err(_) => {} // the runtime is going down
    }
}

/// Unmaps the pages of the program's own code, and says of how many bytes of code.
///
/// # Errors
/// What the operating system says.
fn unmap_code() -> io::Result<usize> {
    let own = fs::metadata("/proc/self/exe")?.ino().to_string();
    let mut bytes = 0;
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        if let Some((start, len)) = code(line, &own) {
            drop_pages(start, len)?;
            bytes += len;
        }
    }
    Ok(bytes)
}

/// The place and the bytes of a mapping, if it is code of the program's file: private, and not for writing. What was once written to, as
/// tables of addresses are before they are protected, is not executable. Libraries may come and go; the program stays where it is.
fn code(line: &str, own: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, protection) = (fields.next()?, fields.next()?);
    let (_offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?);
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    (protection == "r-xp" && inode == own).then(|| (start, end.saturating_sub(start)))
}

#[expect(unsafe_code, reason = "no safe way gives pages back")]
fn drop_pages(start: usize, len: usize) -> io::Result<()> {
    let at = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the range is the code of the program itself, which the kernel mapped at its start, private and never for writing, and which
    // stays mapped as long as the process lives. The program is position-independent, so nothing was put right in its code: each
    // page reads the same from the file the next time it is run, as after its loss under memory pressure. Nothing in it is
    // borrowed mutably, and no other thread can see it missing.
    unsafe { madvise(at, len, Advice::LinuxDontNeed) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_the_program_is_given_back() {
        let line = |protection: &str, inode: &str, path: &str| {
            code(&format!("7f00-7f10 {protection} 00001000 fe:00 {inode}    {path}"), "42")
        };
        assert_eq!(line("r-xp", "42", "/usr/bin/redpoll-agent"), Some((0x7f00, 0x10)));
        assert_eq!(line("r--p", "42", "/usr/bin/redpoll-agent"), None, "addresses are put right there");
        assert_eq!(line("rwxp", "42", "/usr/bin/redpoll-agent"), None);
        assert_eq!(line("r-xs", "42", "/usr/bin/redpoll-agent"), None);
        assert_eq!(line("r-xp", "0", "[vdso]"), None);
        assert_eq!(line("r-xp", "43", "/lib/libc.so.6"), None);
        assert_eq!(code("nonsense", "42"), None);
    }

    #[test]
    fn the_program_goes_on_with_less_in_memory() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        // code that is run once
        let schema = redpoll_schema::Schema::compile(&serde_json::json!({
            "properties": {"a": {"type": "string", "pattern": "^[a-z]{1,9}$"}, "b": {"items": {"enum": [1, 2.5, "x"]}}}
        }));
        assert!(schema.unwrap().check_json(&serde_json::json!({"a": "A", "b": [3]})).is_err());
        let before = resident();
        assert!(unmap_code().unwrap() > 1 << 20);
        let after = resident();
        assert!(after < before, "{after} KiB after, {before} KiB before");
        // code that was unmapped runs as before
        assert_eq!(format!("{:?}", code("1-2 r-xp 0 0 7 x", "7")), "Some((1, 1))");
    }
}
