//! Globs over names, in filters and rules.

use std::borrow::Cow;

/// The same glob with one `*` for each run of them: what is left costs no more than a name is long, however long it was.
pub fn collapsed(glob: &str) -> Cow<'_, str> {
    if !glob.contains("**") {
        return Cow::Borrowed(glob);
    }
    let mut one = String::with_capacity(glob.len());
    one.extend(
        glob.chars()
            .scan(' ', |before, c| Some((std::mem::replace(before, c), c)))
            .filter_map(|pair| (pair != ('*', '*')).then_some(pair.1)),
    );
    Cow::Owned(one)
}

/// Whether a name matches a glob of `*` (any characters) and `?` (one). Linear in the name for each `*`.
pub fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(b'?') => (g, n) = (g + 1, n + 1),
            Some(c) if name.get(n) == Some(c) => (g, n) = (g + 1, n + 1),
            Some(_) | None => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (g, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    glob.iter().skip(g).all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::{collapsed, matches};

    #[test]
    fn globs_match_whole_names() {
        for (glob, name, expected) in [
            ("*", "web-1", true),
            ("web-*", "web-1", true),
            ("web-?", "web-1", true),
            ("web-?", "web-12", false),
            ("*-1", "web-1", true),
            ("*b*1", "web-1", true),
            ("web", "web-1", false),
            ("", "web-1", false),
            ("", "", true),
            ("**", "x", true),
            ("a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} {name}");
            assert_eq!(matches(&collapsed(glob), name), expected, "{glob} {name}, collapsed");
        }
    }

    #[test]
    fn runs_of_stars_are_one() {
        for (glob, expected) in
            [("", ""), ("*", "*"), ("**", "*"), ("a***b**?*", "a*b*?*"), ("*a*", "*a*"), ("ä**", "ä*")]
        {
            assert_eq!(collapsed(glob), expected, "{glob}");
        }
    }
}
