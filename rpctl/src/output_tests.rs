use super::*;

fn look(format: Format) -> Look {
    Look { format, ..Look::default() }
}

#[test]
fn a_list_has_a_form_in_every_format() {
    for (format, expected) in [
        (Format::Table, "NAME  SIZE\na     1\nlong  2\n"),
        (Format::Json, "[\n  [\n    \"a\",\n    1\n  ],\n  [\n    \"long\",\n    2\n  ]\n]\n"),
        (Format::Jsonl, "[\"a\",1]\n[\"long\",2]\n"),
        (Format::Yaml, "- - a\n  - 1\n- - long\n  - 2\n"),
    ] {
        let (mut output, out, err) = capture::output(look(format));
        let items = [("a", 1), ("long", 2)];
        output.list(&["NAME", "SIZE"], &items, |(n, s)| vec![(*n).into(), s.to_string()]).unwrap();
        assert_eq!(out.text(), expected, "{format:?}");
        assert_eq!(err.text(), "");
    }
}

#[test]
fn json_and_yaml_lose_nothing_and_hold_no_control_characters() {
    let control = "a\u{1b}[2J\u{7f}\u{9b}31m\u{85}\r\u{0}ä\n\tz";
    for nasty in [control, "\u{202e}gpj\u{e0041}.exe", "two\nlines\u{2028}\u{feff}", "a\u{85}b"] {
        let text = json(&[nasty], true).unwrap();
        assert!(text.chars().all(|c| !acts(c) || c == '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [nasty]);
        let text = yaml(&[nasty]).unwrap();
        assert!(text.chars().all(|c| !acts(c) || c == '\n'), "{text:?}");
        assert_eq!(yaml_serde::from_str::<[String; 1]>(&text).unwrap(), [nasty]);
        // what is printed part by part is one document
        let entry = |key: &str| yaml(&std::collections::BTreeMap::from([(key, [nasty])])).unwrap();
        let whole = format!("list:\n{text}{}{}", entry("result"), entry(nasty));
        let read: std::collections::BTreeMap<String, Vec<String>> = yaml_serde::from_str(&whole).unwrap();
        assert_eq!(
            read.keys().collect::<std::collections::BTreeSet<_>>(),
            [nasty, "list", "result"].map(str::to_owned).iter().collect()
        );
        assert!(read.values().all(|list| *list == [nasty]), "{whole:?}");
    }
}

#[test]
fn cells_are_safe_and_one_line() {
    let (mut output, out, _) = capture::output(Look::default());
    output.table(&["A"], vec![vec!["x\n\u{1b}[31my".into()]]).unwrap();
    assert_eq!(out.text(), "A\nx y\n");
}

#[test]
fn a_report_has_three_lines() {
    let (mut output, out, err) = capture::output(Look::default());
    output.report(&Report::usage("bad\nthing", "because\u{1b}c", "do this"));
    assert_eq!(err.text(), "error: bad thing\nwhy: because\nhelp: do this\n");
    assert_eq!(out.text(), "");
}

#[test]
fn progress_is_cleared_before_anything_else_is_printed() {
    let (mut output, out, err) = capture::output(Look { live: true, ..Look::default() });
    output.progress("1 of 2");
    output.progress("2 of 2");
    output.bytes(b"done\n").unwrap();
    assert_eq!(out.text(), "done\n");
    assert_eq!(err.text(), "\r\u{1b}[K1 of 2\r\u{1b}[K2 of 2\r\u{1b}[K");
}

#[test]
fn a_reader_that_went_away_is_told_from_a_failure() {
    assert!(matches!(OutputError::from(io::Error::from(ErrorKind::BrokenPipe)), OutputError::Closed));
    assert!(matches!(OutputError::from(io::Error::from(ErrorKind::StorageFull)), OutputError::Failed(_)));
}
