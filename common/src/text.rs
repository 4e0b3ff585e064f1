//! Which characters do something to the text around them. What other machines chose is shown without them, and short.

/// Whether a character acts instead of being seen: the categories Cc, Cf, Zl and Zp of Unicode 16. A terminal obeys some of them; others
/// turn the direction in which the rest of a line is written, or are not seen at all.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The text without control characters, cut to `max` bytes at most.
///
/// What a peer says about itself is kept, logged and printed on terminals, so neither its length nor an escape sequence in it may be the
/// peer's choice, nor the direction in which the rest of the line is written. A character that [`acts`] becomes `?`.
pub fn tidy(text: &str, max: usize) -> String {
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

    #[test]
    fn what_turns_or_hides_text_acts_and_letters_do_not() {
        let acting = "\u{1b}\n\t\u{9b}\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{2028}\u{feff}\u{e0041}";
        assert!(acting.chars().all(acts));
        assert!(!"größe שלום 日本 – ok\u{a0}".chars().any(acts));
    }
}
