//! Names that are near to one another: which was probably meant, for errors that help.

/// The candidate with the smallest edit distance, if that is near enough to be what was meant. One that differs by case alone is the
/// nearest.
pub fn nearest<'a>(unknown: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = unknown.chars().count();
    let enough = (length / 3).max(2);
    let distance = |candidate: &str| match candidate.chars().count().abs_diff(length) {
        _ if candidate.eq_ignore_ascii_case(unknown) => Some(0),
        // each of these has to be inserted or removed
        least if least > enough => None,
        _ => Some(edit_distance(unknown, candidate)).filter(|distance| *distance <= enough),
    };
    let near = candidates.into_iter().filter_map(|candidate| Some((distance(candidate)?, candidate)));
    near.min().map(|(_, candidate)| candidate)
}

/// Whether two names differ, and by the case of letters alone.
pub fn differ_by_case(one: &str, other: &str) -> bool {
    one != other && one.eq_ignore_ascii_case(other)
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

    #[test]
    fn what_differs_by_case_alone_is_the_nearest() {
        let names = ["Cog.bark", "Dog.bark", "dog.park"];
        assert_eq!(nearest("dog.bark", names), Some("Dog.bark"));
        assert_eq!(nearest("DOG.BARK", names), Some("Dog.bark"));
        assert!(differ_by_case("DOG.bark", "Dog.bark"));
        assert!(!differ_by_case("Dog.bark", "Dog.bark") && !differ_by_case("Dog.park", "Dog.bark"));
    }
}
