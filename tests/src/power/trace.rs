//! Lines of `strace -ttt -T -y -xx`, one call each: `TIME name(arguments) = result <DURATION>`.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::{Call, What, is_told};

/// The call of a line, if it was done and is about a file of the folder, or starts a program.
pub(super) fn call(line: &str, folder: &Path) -> Option<Call> {
    let (time, rest) = line.split_once(' ')?;
    let (name, rest) = rest.trim_start().split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") = ")?;
    let (result, took) = result.rsplit_once(" <")?;
    let done: i64 = result.split(['<', ' ']).next()?.parse().ok()?;
    if done < 0 {
        return None;
    }
    let at_us = micros(time)?;
    let done_us = at_us + micros(took.strip_suffix('>')?)?;
    let what = what(name, arguments, usize::try_from(done).ok()?, folder)?;
    Some(Call { at_us, done_us, what, safe_us: None })
}

fn micros(seconds: &str) -> Option<u64> {
    let (whole, part) = seconds.split_once('.')?;
    Some(whole.parse::<u64>().ok()? * 1_000_000 + part.parse::<u64>().ok()?)
}

fn what(name: &str, arguments: &str, done: usize, folder: &Path) -> Option<What> {
    // of a descriptor
    let path = || {
        let (_, rest) = arguments.split_once('<')?;
        told(bytes(rest.split_once('>')?.0), folder)
    };
    let texts = || arguments.split('"').skip(1).step_by(2).map(bytes);
    let numbers: Vec<&str> = arguments.rsplit(", ").collect();
    let last = || numbers.first()?.parse::<usize>().ok();
    Some(match name {
        "execve" => What::Started(PathBuf::from(std::ffi::OsString::from_vec(texts().next()?))),
        "openat" if arguments.contains("O_CREAT") => {
            What::Made(told(texts().next()?, folder)?, arguments.contains("O_TRUNC"))
        }
        "pwrite64" => {
            let (path, data) = (path()?, texts().next()?);
            assert!(data.len() >= done, "the record of a write is cut off");
            What::Wrote(path, last()?, data.get(..done)?.to_vec())
        }
        "write" | "writev" | "pwritev" => {
            let path = path()?;
            panic!("{} is written in a way that is not recorded: {name}", path.display())
        }
        "ftruncate" => What::Cut(path()?, last()?),
        // room without a change of the length
        "fallocate" if arguments.contains("KEEP_SIZE") => return None,
        "fallocate" => {
            let from: usize = numbers.get(1)?.parse().ok()?;
            What::Grown(path()?, from + last()?)
        }
        "fsync" | "fdatasync" => What::Synced(path()?),
        "rename" => {
            let mut texts = texts();
            What::Renamed(told(texts.next()?, folder)?, told(texts.next()?, folder)?)
        }
        "unlink" | "unlinkat" => What::Removed(told(texts().next()?, folder)?),
        _ => return None,
    })
}

/// A path that is one of the folder, and counts.
fn told(path: Vec<u8>, folder: &Path) -> Option<PathBuf> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    (path.parent() == Some(folder) && is_told(&path)).then_some(path)
}

/// `\x41\x42` as bytes.
fn bytes(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits.filter_map(|two| u8::from_str_radix(two.get(..2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_as_strace_writes_them() {
        let folder = Path::new("/d");
        let of = |line| call(line, folder).map(|call| (call.at_us, call.done_us, call.what));
        let f = PathBuf::from("/d/f");
        let line =
            "1795994084.503500 pwrite64(12<\\x2f\\x64\\x2f\\x66>, \"\\x00\\xff\", 2, 32) = 2 <0.000016>";
        let wrote = What::Wrote(f.clone(), 32, vec![0, 255]);
        assert_eq!(of(line), Some((1_795_994_084_503_500, 1_795_994_084_503_516, wrote)));
        let line = "1.000001 fdatasync(12<\\x2f\\x64\\x2f\\x66>) = 0 <0.000734>";
        assert_eq!(of(line), Some((1_000_001, 1_000_735, What::Synced(f.clone()))));
        assert_eq!(of("1.000001 fdatasync(12<\\x2f\\x65\\x2f\\x66>) = 0 <0.000734>"), None);
        let line = "1.000001 fallocate(12<\\x2f\\x64\\x2f\\x66>, 0, 16, 32) = 0 <0.000001>";
        assert_eq!(of(line), Some((1_000_001, 1_000_002, What::Grown(f.clone(), 48))));
        let line = "1.000001 unlink(\"\\x2f\\x64\\x2f\\x66\") = 0 <0.000001>";
        assert_eq!(of(line), Some((1_000_001, 1_000_002, What::Removed(f))));
        let line =
            "1.000001 unlink(\"\\x2f\\x64\\x2f\\x66\") = -1 ENOENT (No such file or directory) <0.000001>";
        assert_eq!(of(line), None);
    }
}
