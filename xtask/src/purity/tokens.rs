//! Splits Rust source into words and signs, leaving out comments, texts and numbers.
//!
//! Good enough to find names in code that compiles; it checks nothing.

use std::iter::Peekable;
use std::str::Chars;

/// A word (`std`) or a sign (`{`, `::`), and the line it stands in, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// The tokens of a source file in order.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source.chars().peekable(), line: 1, tokens: Vec::new() };
    while reader.step() {}
    reader.tokens
}

struct Reader<'s> {
    rest: Peekable<Chars<'s>>,
    line: usize,
    tokens: Vec<Token>,
}

impl Reader<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.next() else { return false };
        match (first, self.rest.peek().copied()) {
            ('/', Some('/')) => while self.rest.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) => self.skip_comment(),
            ('"', _) => self.skip_text(),
            ('\'', _) => self.skip_letter_or_lifetime(),
            (':', Some(':')) => {
                self.next();
                self.push("::".to_owned());
            }
            (first, _) if is_word(first) => self.word(first),
            (first, _) if first.is_whitespace() => {}
            (sign, _) => self.push(sign.to_string()),
        }
        true
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    fn push(&mut self, text: String) {
        self.tokens.push(Token { text, line: self.line });
    }

    /// Comments nest: `/* /* */ */`.
    fn skip_comment(&mut self) {
        self.next();
        let mut depth = 1;
        while depth > 0 {
            match (self.next(), self.rest.peek()) {
                (Some('*'), Some('/')) => {
                    self.next();
                    depth -= 1;
                }
                (Some('/'), Some('*')) => {
                    self.next();
                    depth += 1;
                }
                (Some(_), _) => {}
                (None, _) => return,
            }
        }
    }

    /// To the closing quote; the opening one is behind us.
    fn skip_text(&mut self) {
        while let Some(next) = self.next() {
            match next {
                '"' => return,
                '\\' => drop(self.next()),
                _ => {}
            }
        }
    }

    /// To `"` and as many `#` as stood before the opening quote.
    fn skip_raw_text(&mut self, hashes: usize) {
        while let Some(next) = self.next() {
            if next == '"' {
                let mut seen = 0;
                while seen < hashes && self.rest.next_if_eq(&'#').is_some() {
                    seen += 1;
                }
                if seen == hashes {
                    return;
                }
            }
        }
    }

    /// `'a'` and `'\n'` are letters, `'a` is a lifetime.
    fn skip_letter_or_lifetime(&mut self) {
        match self.next() {
            Some('\\') => {
                self.next();
                while self.next().is_some_and(|c| c != '\'') {}
            }
            Some(first) if self.rest.next_if_eq(&'\'').is_none() && is_word(first) => {
                while self.rest.next_if(|c| is_word(*c)).is_some() {}
            }
            Some(_) | None => {}
        }
    }

    fn word(&mut self, first: char) {
        let mut word = first.to_string();
        while let Some(next) = self.rest.next_if(|c| is_word(*c)) {
            word.push(next);
        }
        match (word.as_str(), self.rest.peek()) {
            ("r" | "br" | "cr", Some('"' | '#')) => {
                let mut hashes = 0;
                while self.rest.next_if_eq(&'#').is_some() {
                    hashes += 1;
                }
                // without a quote it is a raw name, `r#type`, whose word comes next
                if self.rest.next_if_eq(&'"').is_some() {
                    self.skip_raw_text(hashes);
                }
            }
            // the prefix belongs to the text or letter that the next step skips
            ("b" | "c", Some('"' | '\'')) => {}
            _ if first.is_ascii_digit() => {}
            _ => self.push(word),
        }
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_texts_letters_and_numbers_are_left_out() {
        for source in [
            "a // std::fs\nb",
            "a /* std /* fs */ \" */ b",
            "a \"std \\\" fs\" b",
            "a r#\"std \" fs\"# b",
            "a br\"std\" b",
            "a b\"std\" b",
            "a '\"' b",
            "a '\\'' b",
            "a '\\u{7f}' b",
            "a b'x' b",
            "a 'std b",
            "a 1_000u64 0xff b",
        ] {
            assert_eq!(texts(source), ["a", "b"], "{source}");
        }
    }

    #[test]
    fn names_and_signs_stay_with_their_lines() {
        let found = tokens("use\n std::{fs};");
        let found: Vec<_> = found.iter().map(|token| (token.text.as_str(), token.line)).collect();
        assert_eq!(found, [("use", 1), ("std", 2), ("::", 2), ("{", 2), ("fs", 2), ("}", 2), (";", 2)]);
        assert_eq!(texts("r#type 'a: x"), ["type", ":", "x"]);
    }

    #[test]
    fn unfinished_source_ends_too() {
        for source in ["\"a", "/* a", "'", "'\\", "r#\"a\"", "r##"] {
            texts(source);
        }
    }
}
