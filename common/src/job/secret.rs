//! Which of a job's arguments nobody may see: paths, each below `args.` or `kwargs.`, and how many of them there may be.
//!
//! Peers say them, and they are kept with the job: without a bound a single agent could make them more than a store reads back. What
//! is too much for a bound is not cut, which would show something, but becomes [`everything`].

use std::collections::BTreeSet;

/// Paths that a job, or a run, may have. Beyond, all of its arguments are masked.
pub const MAX_SECRET_PATHS: usize = 1000;
/// Bytes that these paths may have together. They must fit a frame beside a result.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// The paths to all arguments.
const EVERYTHING: [&str; 2] = ["args.*", "kwargs.*"];

/// The paths to all arguments.
pub fn everything() -> Vec<String> {
    EVERYTHING.map(str::to_owned).into()
}

/// Whether these are the paths to all arguments.
pub fn is_everything(paths: &[String]) -> bool {
    paths == EVERYTHING
}

/// The paths, or those to all arguments when these are too many.
pub fn bounded(paths: Vec<String>) -> Vec<String> {
    let bytes = paths.iter().map(String::len).sum::<usize>();
    if paths.len() > MAX_SECRET_PATHS || bytes > MAX_SECRET_BYTES { everything() } else { paths }
}

/// The paths that are known together with others, within bounds; `None` when the others say nothing new.
pub fn joined(known: &[String], others: Vec<String>) -> Option<Vec<String>> {
    if is_everything(known) {
        return None;
    }
    let mut seen: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    let new: Vec<&String> = others.iter().filter(|path| seen.insert(path)).collect();
    (!new.is_empty()).then(|| bounded(known.iter().chain(new).cloned().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(from: usize, count: usize) -> Vec<String> {
        (from..from + count).map(|n| format!("kwargs.p{n}")).collect()
    }

    #[test]
    fn paths_are_joined_once_each_in_their_order() {
        let known = paths(0, 3);
        assert_eq!(joined(&known, paths(1, 2)), None);
        let others = [paths(4, 1), paths(1, 1), paths(3, 1), paths(4, 1)].concat();
        assert_eq!(joined(&known, others).unwrap(), [paths(0, 3), paths(4, 1), paths(3, 1)].concat());
    }

    #[test]
    fn what_is_too_much_is_everything_and_grows_no_more() {
        assert_eq!(bounded(paths(0, MAX_SECRET_PATHS)).len(), MAX_SECRET_PATHS);
        assert!(is_everything(&bounded(paths(0, MAX_SECRET_PATHS + 1))));
        let long = vec!["kwargs.".to_owned() + &"p".repeat(MAX_SECRET_BYTES)];
        assert!(is_everything(&bounded(long)));
        let full = joined(&paths(0, MAX_SECRET_PATHS), paths(MAX_SECRET_PATHS, 1)).unwrap();
        assert!(is_everything(&full));
        assert_eq!(joined(&full, paths(0, 3)), None);
    }
}
