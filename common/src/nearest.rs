//! Finds the name that was probably meant, for errors that help.

/// The candidate with the smallest edit distance, if that is near enough to be what was meant.
pub fn nearest<'a>(unknown: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let enough = (unknown.chars().count() / 3).max(2);
    let distances = candidates.into_iter().map(|candidate| (edit_distance(unknown, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= enough).min().map(|(_, candidate)| candidate)
}

/// How many characters have to be inserted, removed or replaced to turn one text into the other.
pub fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (start, a) in from.chars().enumerate() {
        // `row` holds the distances of the shorter `from`; `diagonal` its entry one to the left.
        let (mut diagonal, mut left) = (start, start + 1);
        let mut next = vec![left];
        for (b, &above) in to.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edit_distance_counts_insertions_removals_and_replacements() {
        for (from, to, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("dead_afer", "dead_after", 1),
            ("same", "same", 0),
        ] {
            assert_eq!(edit_distance(from, to), distance, "{from} {to}");
        }
    }

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = ["argv", "env", "grace_ms", "run_timeout_ms"];
        assert_eq!(nearest("arg", names), Some("argv"));
        assert_eq!(nearest("evn", names), Some("env"));
        assert_eq!(nearest("timeout_ms", names), None);
        assert_eq!(nearest("run_timeot_ms", names), Some("run_timeout_ms"));
        assert_eq!(nearest("frobnicate", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
