//! A call printed in every format.

use super::*;
use crate::output::Look;
use crate::output::capture::{Written, output};
use crate::value::{encode, from_json};

fn raw(json: &str) -> Raw {
    encode(&from_json(json).unwrap()).unwrap()
}

fn plan(procedure: &str) -> Plan {
    Plan {
        agent: "web-1".into(),
        procedure: procedure.into(),
        program: Some("sh".into()),
        raw: false,
        verbose: false,
    }
}

/// Prints what `call` does, and gives back what came out on both streams.
fn printed(format: Format, plan: Plan, call: impl FnOnce(Printer<'_>)) -> (Written, Written) {
    let (mut output, out, err) = output(Look { format, ..Look::default() });
    call(Printer::new(&mut output, plan));
    (out, err)
}

fn whole_call(mut printer: Printer<'_>) {
    printer.value(&raw("1")).unwrap();
    printer.progress(&Progress { completed: 1, total: Some(2), details: Raw::nil() }).unwrap();
    printer.value(&raw("{\"a\":[true]}")).unwrap();
    assert_eq!(printer.result(&raw("{\"b\":\"x\"}")).unwrap(), Exit::Good);
}

#[test]
fn a_whole_call_in_every_format() {
    let jsonl = concat!(
        "{\"value\":1}\n",
        "{\"progress\":{\"completed\":1,\"total\":2}}\n",
        "{\"value\":{\"a\":[true]}}\n",
        "{\"result\":{\"b\":\"x\"}}\n"
    );
    let json =
        "{\n  \"values\": [\n    1,\n    {\"a\":[true]}\n  ],\n  \"result\": {\n    \"b\": \"x\"\n  }\n}\n";
    for (format, expected) in [
        (Format::Table, "1\na:\n- true\nb: x\n"),
        (Format::Jsonl, jsonl),
        (Format::Json, json),
        (Format::Yaml, "values:\n- 1\n- a:\n  - true\nresult:\n  b: x\n"),
    ] {
        let (out, _) = printed(format, plan("p"), whole_call);
        assert_eq!(out.text(), expected, "{format:?}");
    }
    serde_json::from_str::<serde_json::Value>(json).unwrap();
}

#[test]
fn a_call_without_values_has_an_empty_list_of_them() {
    for (format, expected) in [
        (Format::Json, "{\n  \"values\": [],\n  \"result\": 5\n}\n"),
        (Format::Yaml, "values: []\nresult: 5\n"),
        (Format::Table, "5\n"),
    ] {
        let (out, _) = printed(format, plan("p"), |printer| {
            printer.result(&raw("5")).unwrap();
        });
        assert_eq!(out.text(), expected, "{format:?}");
    }
}

#[test]
fn a_document_is_whole_although_the_connection_broke() {
    let report = Report::new(Exit::Unknown, "lost", "gone", "look");
    for format in [Format::Json, Format::Yaml, Format::Jsonl] {
        let (out, err) = printed(format, plan("p"), |mut printer| {
            printer.value(&raw("1")).unwrap();
            assert_eq!(printer.broken("manager_gone", &report).unwrap(), Exit::Unknown);
        });
        let document: serde_json::Value = match format {
            Format::Yaml => yaml_serde::from_str(&out.text()).unwrap(),
            Format::Jsonl => serde_json::from_str(out.text().lines().last().unwrap()).unwrap(),
            Format::Json | Format::Table => serde_json::from_str(&out.text()).unwrap(),
        };
        assert_eq!(document["fault"]["code"], "manager_gone", "{format:?}");
        assert_eq!(err.text(), "error: lost\nwhy: gone\nhelp: look\n");
    }
}

#[test]
fn a_value_that_only_looks_like_output_is_a_value() {
    for (value, shown) in [
        (r#"{"stream":"stdout","data":"one","time":5}"#, "stream: stdout\ndata: one\ntime: 5\n"),
        (r#"{"stream":"stdout","data":"one"}"#, "stream: stdout\ndata: one\n"),
        (
            r#"{"stream":"stdout","data":{"$bin":"b25l"},"n":1}"#,
            "stream: stdout\ndata:\n  $bin: b25l\nn: 1\n",
        ),
        (r#"{"stream":"log","truncated":true,"dropped":5}"#, "stream: log\ntruncated: true\ndropped: 5\n"),
    ] {
        let (out, err) = printed(Format::Table, plan("site.log"), |mut printer| {
            printer.value(&raw(value)).unwrap();
            assert_eq!(printer.result(&Raw::nil()).unwrap(), Exit::Good);
        });
        assert_eq!((out.text().as_str(), err.text().as_str()), (shown, ""), "{value}");
    }
}

#[test]
fn chunks_go_to_the_stream_they_came_from() {
    let (out, err) = printed(Format::Table, plan("exec.run"), |mut printer| {
        // "o\x1b[31" and "mk" cut a sequence in two
        printer.value(&raw("{\"stream\":\"stdout\",\"data\":{\"$bin\":\"bxtbMzE=\"}}")).unwrap();
        printer.value(&raw("{\"stream\":\"stderr\",\"data\":{\"$bin\":\"b29wcwo=\"}}")).unwrap();
        printer.value(&raw("{\"stream\":\"stdout\",\"data\":{\"$bin\":\"bWs=\"}}")).unwrap();
        printer.result(&raw("{\"exit\":0,\"signal\":null}")).unwrap();
    });
    assert_eq!(out.text(), "ok");
    assert_eq!(err.text(), "oops\n");
}

#[test]
fn raw_output_is_not_touched() {
    let bytes = raw("{\"stream\":\"stdout\",\"data\":{\"$bin\":\"G1szMW3/AA==\"}}");
    let (out, _) = printed(Format::Table, Plan { raw: true, ..plan("exec.run") }, |mut printer| {
        printer.value(&bytes).unwrap();
        printer.result(&raw("{\"exit\":0}")).unwrap();
    });
    assert_eq!(out.bytes(), b"\x1b[31m\xff\x00");
    let (out, _) = printed(Format::Table, Plan { raw: true, ..plan("p") }, |printer| {
        printer.result(&raw("{\"$bin\":\"/wA=\"}")).unwrap();
    });
    assert_eq!(out.bytes(), b"\xff\x00");
}

#[test]
fn output_that_was_cut_is_told() {
    let (out, err) = printed(Format::Table, plan("exec.run"), |mut printer| {
        printer.value(&raw("{\"stream\":\"stdout\",\"truncated\":true,\"dropped\":5}")).unwrap();
        printer.result(&raw("{\"exit\":0,\"dropped\":5}")).unwrap();
    });
    assert_eq!(out.text(), "");
    assert_eq!(err.text(), "web-1: 5 bytes of stdout were cut by the output limit\n");
}

#[test]
fn a_program_that_failed_is_told_in_one_line() {
    for (data, expected) in [
        ("{\"exit\":3,\"signal\":null}", "web-1: sh exited with 3\n"),
        ("{\"exit\":null,\"signal\":9}", "web-1: sh was ended by signal 9\n"),
    ] {
        let fault = Fault::new(FaultCode::Failed, "it failed").with_data(raw(data));
        let (out, err) = printed(Format::Table, plan("exec.run"), |printer| {
            assert_eq!(printer.fault(&fault).unwrap(), Exit::Failed);
        });
        assert_eq!((out.text().as_str(), err.text().as_str()), ("", expected));
    }
}

#[test]
fn a_fault_is_a_report_for_people_and_an_object_for_scripts() {
    let mut fault = Fault::new(FaultCode::BadArguments, "n is missing");
    fault.data = Some(raw("{\"path\":\"/n\"}"));
    let (out, err) = printed(Format::Jsonl, plan("p"), |printer| {
        assert_eq!(printer.fault(&fault).unwrap(), Exit::Refused);
    });
    let expected =
        "{\"fault\":{\"code\":\"bad_arguments\",\"message\":\"n is missing\",\"data\":{\"path\":\"/n\"}}}\n";
    assert_eq!(out.text(), expected);
    assert_eq!(err.text().lines().count(), 3);
    let (out, err) = printed(Format::Table, plan("p"), |printer| {
        printer.fault(&fault).unwrap();
    });
    assert_eq!(out.text(), "");
    assert!(err.text().starts_with("error: the arguments do not fit p\nwhy: n is missing"), "{}", err.text());
}

#[test]
fn plain_values_read_well() {
    for (json, expected) in [
        ("null", ""),
        ("\"text\"", "text\n"),
        ("\"line\\n\"", "line\n"),
        ("\"\\u001b[2Jclean\"", "clean\n"),
        ("true", "true\n"),
        ("-1.5", "-1.5\n"),
        ("{\"$bin\":\"aGk=\"}", "hi\n"),
        ("{\"$bin\":\"/w==\"}", "(1 bytes of binary data; --raw prints them as they are)\n"),
        ("[1,\"\\u001b[2J\"]", "- 1\n- \"\\e[2J\"\n"),
    ] {
        let (out, _) = printed(Format::Table, plan("p"), |printer| {
            printer.result(&raw(json)).unwrap();
        });
        assert_eq!(out.text(), expected, "{json}");
    }
}
