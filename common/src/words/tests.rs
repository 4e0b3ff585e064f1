//! Words in texts, and in streams however they are cut.

use super::*;

fn words(texts: &[&str]) -> Words {
    let mut words = Words::default();
    texts.iter().for_each(|text| words.add(text.as_bytes()));
    words
}

fn masked(texts: &[&str], text: &str) -> String {
    String::from_utf8(words(texts).mask(text.as_bytes())).unwrap()
}

#[test]
fn every_word_is_masked_wherever_it_stands_also_where_words_overlap() {
    assert_eq!(masked(&["hunter2"], "bad password 'hunter2': hunter2"), "bad password '***': ***");
    assert_eq!(masked(&["hunter2"], "hunter, hunter3, hunte"), "hunter, hunter3, hunte");
    assert_eq!(masked(&["abcd", "cdef"], "xabcdefx"), "x***x", "nothing of either is left");
    assert_eq!(masked(&["abcd", "abcdef"], "abcdef abcde"), "*** ***e");
    assert_eq!(masked(&["aaaa"], "baaaaaab"), "b***b");
    assert_eq!(
        masked(&["aabaac"], "aabaabaac"),
        "aab***",
        "what went wrong late may have begun again before"
    );
    assert_eq!(masked(&["  s3cr3t\n"], "[s3cr3t]"), "[***]", "without white space around it");
    assert_eq!(masked(&["pässwort"], "das pässwort"), "das ***");
    assert_eq!(masked(&[], "anything"), "anything");
}

#[test]
fn too_short_a_word_is_none_and_too_much_to_look_for_hides_everything() {
    assert!(words(&["abc", " abc ", ""]).is_empty());
    assert_eq!(masked(&["abcd"], "abcd"), "***");
    let long = "x".repeat(MAX_WORD);
    assert!(!words(&[&long]).is_everything());
    assert!(words(&[&format!("{long}x")]).is_everything());
    let many: Vec<String> = (0..=MAX_WORDS).map(|n| format!("word-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(!words(&many[1..]).is_everything());
    assert_eq!(masked(&many, "anything"), "***");
    assert_eq!(words(&many).text("anything"), "***");
    let mut stream = Stream::default();
    assert_eq!(stream.push(&words(&many), b"anything"), b"***");
}

#[test]
fn bytes_are_found_where_a_text_was_made_of_them() {
    let mut words = Words::default();
    words.add(b"\xff\x00key\xc3and\x80");
    let text = String::from_utf8_lossy(b"it is \xff\x00key\xc3and\x80\xbf.").into_owned();
    assert_eq!(words.text(&text), "it is \u{fffd}***\u{fffd}\u{fffd}.");
    assert_eq!(words.mask(b"it is \xff\x00key\xc3and\x80."), b"it is ***.");
}

#[test]
fn numbers_of_four_digits_count_and_shorter_ones_do_not() {
    let mut numbers = Words::default();
    for number in ["-123456", "12.34", "999", "1.5"] {
        numbers.add_number(number);
    }
    assert_eq!(numbers.text("-123456 12.34 999 1.5"), "-*** *** 999 1.5");
}

#[test]
fn where_a_text_was_cut_what_is_left_of_a_word_is_masked_too() {
    let words = words(&["hunter2"]);
    assert_eq!(words.text("…nter2' is bad"), "…***' is bad");
    assert_eq!(words.text("bad is 'hunt…"), "bad is '***…");
    assert_eq!(words.text("…hunter2…"), "…***…");
    assert_eq!(words.text("nter2 hunt"), "nter2 hunt", "nothing was cut");
    assert_eq!(words.text("…"), "…");
}

#[test]
fn a_stream_gives_the_same_however_it_is_cut_and_holds_back_less_than_a_word() {
    let words = words(&["hunter2", "ter2xy", "aabaab"]);
    let text = b"hunt hunter2 hunter2xy aabaabaab hunhunter2 ter2x end hunte";
    let whole = words.mask(text);
    for size in 1..text.len() {
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        for piece in text.chunks(size) {
            out.extend(stream.push(&words, piece));
            assert!(stream.held.len() < 7, "{stream:?}");
        }
        out.extend(stream.finish(&words));
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&whole), "pieces of {size}");
    }
}

#[test]
fn where_a_stream_is_cut_off_what_may_begin_a_word_is_masked() {
    let words = words(&["hunter2"]);
    let mut stream = Stream::default();
    assert_eq!(stream.push(&words, b"it is hunter"), b"it is ");
    assert_eq!(stream.cut(), b"***");
    assert_eq!(stream.push(&words, b"done"), b"done");
    assert!(stream.cut().is_empty() && stream.finish(&words).is_empty());
}
