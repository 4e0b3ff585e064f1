//! Secrets in the forms that programs write them in.

use proptest::prelude::*;

use crate::words::{Stream, Words};

const SECRET: &str = "k\"ey\\ 1+2 ü🐦\n~end";

fn words(secret: &[u8]) -> Words {
    let mut words = Words::default();
    words.add(secret);
    words
}

fn masked(secret: &str, text: &str) -> String {
    words(secret.as_bytes()).text(text)
}

/// Base64 as a program would write it.
fn encoded(data: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::new();
    for three in data.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            out.push(char::from(alphabet[(bits >> (18 - 6 * place) & 63) as usize]));
        }
    }
    out
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Texts with the secret in a form, each with what is to be seen of it.
fn forms() -> Vec<(String, String)> {
    let percent = |keep: &str, lower: bool| {
        let byte = |byte: u8| match char::from(byte) {
            char if char.is_ascii_alphanumeric() || keep.contains(char) => char.to_string(),
            _ if lower => format!("%{byte:02x}"),
            _ => format!("%{byte:02X}"),
        };
        SECRET.bytes().map(byte).collect::<String>()
    };
    let json = serde_json::to_string(SECRET).unwrap();
    let ascii = |c: char| match c {
        ' '..='~' if c != '"' && c != '\\' => c.to_string(),
        c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    let forms = [
        SECRET.to_owned(),
        json.trim_matches('"').to_owned(),
        SECRET.chars().map(ascii).collect(),
        percent("-_.~", false),
        percent("-_.~", true),
        percent("", false),
        percent("-_.~", false).replace("%20", "+"),
        SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect(),
    ];
    forms.map(|form| (format!("got x={form}&y; end"), "got x=***&y; end".to_owned())).into()
}

#[test]
fn a_word_is_found_escaped_as_in_json_and_encoded_as_in_a_url() {
    for (text, wanted) in forms() {
        assert_eq!(masked(SECRET, &text), wanted, "{text}");
    }
    assert_eq!(masked("hunter2", "%hunter2% hunter%32 \\hunter2 \\x68unter2"), "%***% *** \\*** ***");
    assert_eq!(masked("hunter2", "100% of hunter3, a\\b, %zz, \\u12"), "100% of hunter3, a\\b, %zz, \\u12");
}

#[test]
fn a_word_is_found_in_base64_of_either_alphabet_wherever_it_stands_in_what_was_encoded() {
    for secret in ["hunter2", "s3cr", "\u{fb}\u{ff}~~??>>", SECRET] {
        for alphabet in [STANDARD, URL] {
            for before in ["", "u", "us", "user:", "ann@example.org:"] {
                for after in ["", "!", "!!", ", and more of it"] {
                    let data = format!("{before}{secret}{after}");
                    let text = encoded(data.as_bytes(), alphabet);
                    let (said, plain) =
                        (masked(secret, &format!("Basic {text}== .")), encoded(before.as_bytes(), alphabet));
                    assert!(said.contains("***") && said.len() < text.len() + 12, "{data}: {text}: {said}");
                    // a character in which the word begins is masked too
                    let kept = plain.get(..before.len() * 8 / 6).unwrap();
                    assert!(said.starts_with(&format!("Basic {kept}***")), "{data}: {said}");
                    assert!(
                        said.len() <= "Basic ***== .".len() + kept.len() + (after.len() * 8).div_ceil(6),
                        "{said}"
                    );
                }
            }
        }
    }
    let lines: Vec<u8> = encoded(b"user and me, hunter2 and more", STANDARD).into_bytes();
    let text: Vec<String> = lines.chunks(20).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    let said = masked("hunter2", &text.join("\n"));
    assert!(said.contains("***") && said.len() < text.join("\n").len(), "in lines: {said}");
    let harmless = encoded(&[7; 4000], STANDARD);
    assert_eq!(masked("hunter2", &harmless), harmless);
}

#[test]
fn a_form_that_comes_in_pieces_is_found_however_it_is_cut() {
    let words = words(SECRET.as_bytes());
    let mut texts: Vec<String> = forms().into_iter().map(|(text, _)| text).collect();
    texts.push(format!("Basic {} .", encoded(format!("ann:{SECRET}").as_bytes(), STANDARD)));
    for text in texts {
        let whole = words.mask(text.as_bytes());
        for size in 1..text.len() {
            let (mut stream, mut out) = (Stream::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                out.extend(stream.push(&words, piece));
            }
            out.extend(stream.finish(&words));
            assert_eq!(
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(&whole),
                "{text} in pieces of {size}"
            );
        }
    }
}

#[test]
fn where_a_text_was_cut_what_is_left_of_a_form_is_masked_too() {
    let form = "%6b%22ey%5c%201%2b2%20%c3%bc%f0%9f%90%a6%0a~end";
    for cut in 1..form.len() - 2 {
        let (before, after) = form.split_at(cut);
        assert_eq!(masked(SECRET, &format!("…{after}; and more")), "…***; and more", "{after}");
        assert_eq!(masked(SECRET, &format!("it is {before}…")), "it is ***…", "{before}");
    }
    let text = encoded(b"of hunter2!", STANDARD);
    let said = masked("hunter2", &format!("…{}", text.get(6..).unwrap()));
    assert!(said.starts_with("…***"), "{said}");
}

/// What a stream gives in pieces; in each the held bytes are fewer than they may ever be.
fn in_pieces<'a>(words: &Words, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut stream, mut out) = (Stream::default(), Vec::new());
    for piece in pieces {
        out.extend(stream.push(words, piece));
        assert!(stream.held.len() < words.most_held(), "{stream:?}");
    }
    out.extend(stream.finish(words));
    out
}

#[test]
fn what_is_held_back_does_not_grow_with_line_ends() {
    let words = words(b"hunter2");
    for begin in ["aH", "xxxxxxxxxxxxxxxxxxaH", "it is xxxxxxxxxxxxxxxxxxaH", "aHVudGVy\n"] {
        for ends in ["\n", "\r", "\r\n", "\n\r\r"] {
            let size = if begin == "aH" && ends.len() == 1 { 8 << 20 } else { 256 << 10 };
            let text = format!("{begin}{}", ends.repeat(size / ends.len())).into_bytes();
            assert!(in_pieces(&words, text.chunks(16 << 10)) == text, "{begin:?}, {ends:?}");
        }
    }
    let line = "xxxxxxxxxxxxxxxxxxaH\n\n".repeat(1 << 14).into_bytes();
    assert!(in_pieces(&words, line.chunks(16 << 10)) == line);
}

#[test]
fn base64_in_lines_of_any_width_is_found_however_it_is_cut() {
    let secret = b"hunter2";
    let words = words(secret);
    for (width, end) in (61..=80).flat_map(|width| [(width, "\n"), (width, "\r\n")]) {
        // from wholly in the first line to wholly in the second
        for begin in width * 6 / 8 - secret.len() - 1..=width * 6 / 8 + 1 {
            let data = [&vec![7; begin][..], secret, &[7; 99]].concat();
            let (from, to) = (begin * 8 / 6, ((begin + secret.len()) * 8).div_ceil(6));
            let (mut text, mut wanted) = (String::new(), String::new());
            for (at, char) in encoded(&data, STANDARD).chars().enumerate() {
                let ends = if at > 0 && at % width == 0 { end } else { "" };
                text.push_str(ends);
                text.push(char);
                wanted.push_str(if at <= from || at >= to { ends } else { "" });
                match at {
                    at if at == from => wanted.push_str("***"),
                    at if at < from || at >= to => wanted.push(char),
                    _ => {}
                }
            }
            let check = |said: Vec<u8>, how: &str| {
                let said = String::from_utf8(said).unwrap();
                assert_eq!(said, wanted, "from {begin} in lines of {width} with {end:?}, {how}");
            };
            let text = text.as_bytes();
            for cut in width - 14..width + 16 {
                let (first, second) = text.split_at(cut);
                check(in_pieces(&words, [first, second]), &format!("cut at {cut}"));
            }
            for size in [1, 2, 3, width, width + end.len(), text.len()] {
                check(in_pieces(&words, text.chunks(size)), &format!("in pieces of {size}"));
            }
        }
    }
}

#[test]
fn two_line_ends_in_a_row_end_no_base64_and_three_do() {
    assert_eq!(masked("hunter2", "aHVu\r\ndGVyMg=="), "***==");
    assert_eq!(masked("hunter2", "aHVu\n\ndGVyMg=="), "***==");
    assert_eq!(masked("hunter2", "aHVu\r\n\rdGVyMg=="), "aHVu\r\n\rdGVyMg==");
    assert_eq!(masked("hunter2", "aHVu\n\ndGVy\n\nMg=="), "***==", "it is counted in a row");
}

proptest! {
    #[test]
    fn what_is_held_back_is_bounded_whatever_comes(
        pieces in prop::collection::vec("[aHVudGyMgx5c6%\\\\+\r\n]{0,60}", 1..60),
        ends in prop::collection::vec(0_usize..5, 60),
    ) {
        let mut words = words(b"hunter2");
        words.add(b"\\n%+x");
        let pieces: Vec<String> =
            pieces.iter().zip(ends).map(|(piece, ends)| format!("{piece}{}", "\n".repeat(ends))).collect();
        in_pieces(&words, pieces.iter().map(String::as_bytes));
    }
}
