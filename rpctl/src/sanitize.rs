//! Takes out of what a procedure prints what acts instead of being seen: terminal control sequences first of all.
//!
//! What a procedure writes is chosen by a machine that may be hostile or merely careless: escape sequences can
//! rewrite what was shown before, retitle the window, or make a terminal answer on the keyboard's behalf. The
//! [`Sanitizer`] lets text, `\n` and `\t` through and nothing else that a terminal would act on:
//!
//! - C0 controls (0x00 to 0x1f) other than `\n` and `\t`, and DEL, are removed. `\r` is one of them.
//! - C1 controls are removed, as U+0080 to U+009F and as the single bytes 0x80 to 0x9f of older encodings.
//! - Escape sequences are removed whole: `ESC [ … m`, `ESC ] … BEL`, `ESC P … ESC \`, `ESC ( B`, and the same begun
//!   by a C1 control. A control string that does not end is given up at the end of its line, so that it cannot
//!   hide more than that.
//! - Characters that turn the direction of a line or are not seen are removed: all that [`acts`].
//! - Bytes that are not UTF-8 become U+FFFD.
//!
//! It keeps its state between chunks, so that a sequence or a character cut in two is still recognised.

use redpoll_common::text::acts;

/// Removes control sequences from a stream that comes in chunks.
#[derive(Debug, Clone, Default)]
pub struct Sanitizer {
    /// The beginning of a character whose end has not come: at most 3 bytes.
    pending: Vec<u8>,
    state: State,
}

/// Where in a control sequence the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// In ordinary text.
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate such as `(`: one final character follows.
    Intermediate,
    /// After CSI: parameters, then a final character.
    Csi,
    /// In a control string (OSC, DCS, SOS, PM, APC) that ends with BEL, ST or the end of the line.
    ControlString,
    /// After an ESC in a control string.
    StringEscape,
}

impl Sanitizer {
    /// The text of a chunk, as far as it is complete.
    pub fn chunk(&mut self, bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        let joined;
        let mut rest = if self.pending.is_empty() {
            bytes
        } else {
            let mut held = std::mem::take(&mut self.pending);
            held.extend_from_slice(bytes);
            joined = held;
            joined.as_slice()
        };
        for piece in rest.utf8_chunks() {
            for c in piece.valid().chars() {
                self.character(c, &mut out);
            }
            rest = rest.get(piece.valid().len()..).unwrap_or_default();
            let invalid = piece.invalid();
            if invalid.is_empty() {
                continue;
            }
            if rest.len() == invalid.len() && may_continue(invalid) {
                self.pending = invalid.to_vec();
                break;
            }
            rest = rest.get(invalid.len()..).unwrap_or_default();
            match invalid {
                [byte @ 0x80..=0x9f] => self.character(char::from(*byte), &mut out),
                _ => self.character(char::REPLACEMENT_CHARACTER, &mut out),
            }
        }
        out
    }

    /// What is left when the stream ends: a replacement for a character that was cut off.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if !std::mem::take(&mut self.pending).is_empty() {
            self.character(char::REPLACEMENT_CHARACTER, &mut out);
        }
        self.state = State::Text;
        out
    }

    fn character(&mut self, c: char, out: &mut String) {
        self.state = match (self.state, c) {
            // CAN and SUB end any sequence, everywhere.
            (_, '\u{18}' | '\u{1a}') => State::Text,
            (State::ControlString, '\u{1b}') => State::StringEscape,
            (_, '\u{1b}') => State::Escape,

            (State::ControlString, '\u{07}' | '\u{9c}') => State::Text,
            (State::ControlString, '\n') => ground(c, out),
            (State::ControlString, _) => State::ControlString,
            (State::StringEscape, '\\') => State::Text,

            (State::Escape | State::StringEscape, '[') => State::Csi,
            (State::Escape | State::StringEscape, ']' | 'P' | 'X' | '^' | '_') => State::ControlString,
            (State::Escape | State::StringEscape | State::Intermediate, ' '..='/') => State::Intermediate,
            (State::Escape | State::StringEscape | State::Intermediate, '0'..='~') => State::Text,

            (State::Csi, ' '..='?') => State::Csi,
            (State::Csi, '@'..='~') => State::Text,

            // Text, or a character that has no place in the sequence: the sequence is over.
            (State::Text | State::Escape | State::Intermediate | State::Csi | State::StringEscape, _) => {
                ground(c, out)
            }
        };
    }
}

/// Takes a character in ordinary text and says what follows it.
fn ground(c: char, out: &mut String) -> State {
    match c {
        '\u{9b}' => return State::Csi,
        '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => return State::ControlString,
        '\n' | '\t' => out.push(c),
        _ if acts(c) => {}
        _ => out.push(c),
    }
    State::Text
}

/// Whether invalid bytes at the end of a chunk may be the beginning of a character.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The safe text of a value that is complete.
pub fn text(bytes: &[u8]) -> String {
    let mut sanitizer = Sanitizer::default();
    let mut out = sanitizer.chunk(bytes);
    out.push_str(&sanitizer.finish());
    out
}

/// The safe text of something that must stay on one line: line breaks and tabs become spaces.
pub fn line(content: &str) -> String {
    let safe = text(content.as_bytes());
    safe.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_are_removed_whole() {
        for (dirty, clean) in [
            (&b"plain \xc3\xa4\n\ttext"[..], "plain \u{e4}\n\ttext"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"\x1b[38;5;196mred", "red"),
            (b"a\rb\x08c\x07d\x7fe\x00f", "abcdef"),
            (b"\x1b]0;title\x07after", "after"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1bP1$r0m\x1b\\after", "after"),
            (b"\x1b(Bafter", "after"),
            (b"\x1b#8after", "after"),
            (b"\x1bcafter", "after"),
            (b"\x9b31mraw", "raw"),
            (b"\xc2\x9b31mutf8", "utf8"),
            (b"\x9d0;title\x9cafter", "after"),
            (b"\xc2\x9d0;title\xc2\x9cafter", "after"),
            (b"\xc2\x85nel", "nel"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"\xe2\x82", "\u{fffd}"),
            (b"\x1b[3\x18after", "after"),
            (b"\x1b[3\xc3\xa4after", "\u{e4}after"),
            (b"\x1b\x1b[1mafter", "after"),
            ("\u{202e}gpj\u{2066}.exe\u{e0041}\u{200b}\u{2028}\u{feff}!".as_bytes(), "gpj.exe!"),
            ("שלום größe 日本 – ok".as_bytes(), "שלום größe 日本 – ok"),
        ] {
            assert_eq!(text(dirty), clean, "{dirty:?}");
        }
    }

    #[test]
    fn a_string_without_an_end_hides_only_its_line() {
        assert_eq!(text(b"a\x1b]0;hidden\nshown"), "a\nshown");
        assert_eq!(text(b"a\x1bPhidden\x1b[mshown"), "ashown");
    }

    #[test]
    fn a_character_cut_in_two_survives() {
        let mut sanitizer = Sanitizer::default();
        let mut out = sanitizer.chunk(b"\xe2\x82");
        out.push_str(&sanitizer.chunk(b"\xac!"));
        out.push_str(&sanitizer.finish());
        assert_eq!(out, "\u{20ac}!");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(line("a\nb\t c\x1b[2J"), "a b c");
    }

    fn nasty() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|b| vec![b]),
            prop::sample::select(vec![
                "\x1b[",
                "\x1b]",
                "\x1bP",
                "\u{9b}",
                "\u{9d}",
                "\x07",
                "\x1b\\",
                "31m",
                "\u{20ac}",
                "text",
                "\n",
                "\u{202e}",
                "\u{e0041}",
            ])
            .prop_map(|s| s.as_bytes().to_vec()),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_a_terminal_acts_on_comes_through(bytes in nasty()) {
            let out = text(&bytes);
            prop_assert!(out.chars().all(|c| c == '\n' || c == '\t' || !acts(c)), "{out:?}");
        }

        #[test]
        fn clean_text_is_not_touched(clean in "[a-zA-Z0-9 äöü€\\n\\t\\[\\];]{0,80}") {
            prop_assert_eq!(text(clean.as_bytes()), clean);
        }

        #[test]
        fn cleaning_twice_is_cleaning_once(bytes in nasty()) {
            let once = text(&bytes);
            prop_assert_eq!(text(once.as_bytes()), once);
        }

        #[test]
        fn chunks_do_not_matter(bytes in nasty(), cut in any::<prop::sample::Index>()) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut sanitizer = Sanitizer::default();
            let mut out = sanitizer.chunk(head);
            out.push_str(&sanitizer.chunk(tail));
            out.push_str(&sanitizer.finish());
            prop_assert_eq!(out, text(&bytes));
        }

        #[test]
        fn line_breaks_are_kept(bytes in nasty()) {
            let plain = bytes.iter().filter(|b| **b == b'\n').count();
            let kept = text(&bytes).chars().filter(|c| *c == '\n').count();
            prop_assert_eq!(plain, kept);
        }
    }
}
