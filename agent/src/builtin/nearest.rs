//! Finds the name that was probably meant.

/// The candidate with the fewest differences, if they are few enough for a slip.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tolerated = (wrong.chars().count() / 3).clamp(2, 3); // two swapped characters are two differences
    candidates
        .into_iter()
        .map(|candidate| (differences(wrong, candidate), candidate))
        .filter(|(differences, _)| *differences <= tolerated)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters one has to insert, remove or replace.
fn differences(from: &str, to: &str) -> usize {
    // `row[i]`: the differences between what was read of `from` and the first i characters of `to`
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (read, a) in from.chars().enumerate() {
        let mut left = read + 1;
        let mut next = vec![left];
        for (b, above) in to.chars().zip(row.windows(2)) {
            if let &[diagonal, up] = above {
                left = (diagonal + usize::from(a != b)).min(up + 1).min(left + 1);
                next.push(left);
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = ["argv", "env", "grace_ms", "run_timeout_ms"];
        assert_eq!(nearest("arg", names), Some("argv"));
        assert_eq!(nearest("evn", names), Some("env"));
        assert_eq!(nearest("timeout_ms", names), None);
        assert_eq!(nearest("run_timeot_ms", names), Some("run_timeout_ms"));
        assert_eq!(nearest("frobnicate", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(differences("kitten", "sitting"), 3);
    }
}
