//! Texts of peers that are kept or shown: made short and free of control characters.

/// The text without control characters, cut to `max` bytes at most.
///
/// What a peer says about itself is kept for every agent and printed on terminals, so neither its length nor an
/// escape sequence in it may be the peer's choice. A control character becomes `?`.
pub(crate) fn tidy(text: &str, max: usize) -> String {
    let mut tidied = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if tidied.len() + c.len_utf8() > max {
            break;
        }
        tidied.push(if c.is_control() { '?' } else { c });
    }
    tidied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters_and_control_characters_are_replaced() {
        assert_eq!(tidy("1.2.3", 64), "1.2.3");
        assert_eq!(tidy("a\u{1b}[31m\r\nb", 64), "a?[31m??b");
        assert_eq!(tidy("ää", 3), "ä");
        assert_eq!(tidy("abc", 0), "");
    }
}
