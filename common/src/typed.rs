//! What an argument on a command line means, before a file is read that it names. `rpctl` and `redpoll-agent policy test` read alike.
//!
//! A key begins with a letter or `_` and goes on with letters, digits, `_`, `.`, `-`; what has no such key before its first `=` is
//! positional, such as `http://host/?a=b`. One backslash before the leading `@` or before the first `=` takes its meaning away and is
//! removed.

/// An argument, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token<'t> {
    /// `TEXT`, the next by place.
    Positional(String),
    /// `KEY=TEXT`
    Named {
        /// Its name.
        key: &'t str,
        /// See [`Written`].
        text: &'t str,
    },
    /// `KEY:=JSON`
    Typed {
        /// Its name.
        key: &'t str,
        /// JSON, or the name of a file that holds it after `@`.
        json: &'t str,
    },
}

impl<'t> Token<'t> {
    /// Takes it apart.
    pub fn of(token: &'t str) -> Self {
        let Some((before, after)) = token.split_once('=') else {
            return Self::Positional(token.to_owned());
        };
        if let Some(key) = before.strip_suffix(':').filter(|key| is_key(key)) {
            return Self::Typed { key, json: after };
        }
        if is_key(before) {
            return Self::Named { key: before, text: after };
        }
        // `a\=b` and `a:\=b`: without the backslash it would have a key
        let unescaped = before.trim_end_matches('\\');
        let key = unescaped.strip_suffix(':').unwrap_or(unescaped);
        match before.strip_suffix('\\') {
            Some(shorter) if is_key(key) => Self::Positional(format!("{shorter}={after}")),
            _ => Self::Positional(token.to_owned()),
        }
    }
}

/// What a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written<'t> {
    /// Itself.
    Text(&'t str),
    /// `@FILE`: the content of this file; `-` is standard input.
    File(&'t str),
}

impl<'t> Written<'t> {
    /// Looks for the `@`.
    pub fn of(text: &'t str) -> Self {
        match (text.strip_prefix('@'), text.strip_prefix('\\')) {
            (Some(file), _) => Self::File(file),
            (None, Some(rest)) if !stands_for_itself(text) => Self::Text(rest),
            (None, _) => Self::Text(text),
        }
    }
}

/// Whether a text can stand before the `=`.
pub fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Whether a text behind `=` is what is sent: not the name of a file, and no backslash is taken from it.
pub fn stands_for_itself(text: &str) -> bool {
    !text.trim_start_matches('\\').starts_with('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_key_or_a_place_and_a_backslash_takes_the_meaning_away() {
        let place = |text: &str| Token::Positional(text.to_owned());
        for (token, meant) in [
            ("x", place("x")),
            ("http://host/?a=b", place("http://host/?a=b")),
            ("a\\=b", place("a=b")),
            ("a:\\=b", place("a:=b")),
            ("5=x", place("5=x")),
            ("a=b=c", Token::Named { key: "a", text: "b=c" }),
            ("a.b-c_9=", Token::Named { key: "a.b-c_9", text: "" }),
            ("n:=-5", Token::Typed { key: "n", json: "-5" }),
        ] {
            assert_eq!(Token::of(token), meant, "{token}");
        }
        for (text, meant) in [
            ("x", Written::Text("x")),
            ("@x", Written::File("x")),
            ("\\@x", Written::Text("@x")),
            ("\\\\@x", Written::Text("\\@x")),
            ("\\x", Written::Text("\\x")),
        ] {
            assert_eq!(Written::of(text), meant, "{text}");
        }
    }
}
