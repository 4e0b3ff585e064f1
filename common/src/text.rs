//! Which characters do something to the text around them. What other machines chose is shown without them.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_text_acts_and_letters_do_not() {
        let acting = "\u{1b}\n\t\u{9b}\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{2028}\u{feff}\u{e0041}";
        assert!(acting.chars().all(acts));
        assert!(!"größe שלום 日本 – ok\u{a0}".chars().any(acts));
    }
}
