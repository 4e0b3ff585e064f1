//! Texts of peers that are kept or shown: made short and free of characters that act instead of being seen.

use redpoll_common::text::acts;

/// The text without control characters, cut to `max` bytes at most.
///
/// What a peer says about itself is kept for every agent and printed on terminals, so neither its length nor an
/// escape sequence in it may be the peer's choice, nor the direction in which the rest of the line is written. A
/// character that [`acts`] becomes `?`.
pub(crate) fn tidy(text: &str, max: usize) -> String {
    let mut tidied = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if tidied.len() + c.len_utf8() > max {
            break;
        }
        tidied.push(if acts(c) { '?' } else { c });
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

    #[test]
    fn characters_that_turn_or_hide_text_are_replaced() {
        for c in
            ['\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}', '\u{200b}', '\u{2028}', '\u{feff}', '\u{e0041}']
        {
            assert_eq!(tidy(&format!("1.0{c}gnp"), 64), "1.0?gnp", "{c:?}");
        }
        assert_eq!(tidy("größe שלום 日本 – ok", 64), "größe שלום 日本 – ok");
    }
}
