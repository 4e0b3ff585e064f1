use redpoll_common::wire::{Fault, FaultCode, Raw};

use super::*;
use crate::output::{Look, capture};

fn raw(json: &str) -> Raw {
    crate::value::encode(&crate::value::from_json(json).unwrap()).unwrap()
}

fn plan(runs: u64, procedure: &str) -> Plan {
    let program = Some("sh".to_owned());
    Plan { job: "j".into(), procedure: procedure.into(), program, runs, raw: false, verbose: false }
}

fn items(agent: &str, attempt: u16, first: u64, content: &[(ItemKind, &str)]) -> FollowEvent {
    let items = content.iter().zip(first..).map(|((kind, json), n)| Item { n, kind: *kind, data: raw(json) });
    FollowEvent { items: items.collect(), ..FollowEvent::of(agent, attempt) }
}

fn ended(agent: &str, outcome: &str, result: Option<&str>, fault: Option<Fault>) -> FollowEvent {
    let end = EndSummary {
        outcome: outcome.into(),
        started: Some(true),
        result: result.map(raw),
        fault,
        items: 0,
        duration_ms: Some(1500),
    };
    FollowEvent { end: Some(end), ..FollowEvent::of(agent, 1) }
}

fn job(runs: u64, outcomes: &[(&str, u64)]) -> JobSummary {
    JobSummary {
        job: "j".into(),
        procedure: "p".into(),
        submitter: "ada".into(),
        state: "ended".into(),
        outcome: None,
        runs,
        open: 0,
        outcomes: outcomes.iter().map(|(outcome, n)| ((*outcome).to_owned(), *n)).collect(),
        queue: None,
        key: None,
        info: Raw::nil(),
        submitted_ms: 0,
        released_ms: None,
        ended_ms: None,
    }
}

fn shown(plan: Plan, look: Look, events: &[FollowEvent], job: &JobSummary) -> (String, String) {
    let (mut output, out, err) = capture::output(look);
    let mut screen = Screen::new(plan);
    for event in events {
        screen.event(event, &mut output).unwrap();
    }
    screen.ended(job, &mut output).unwrap();
    drop(output);
    (out.text(), err.text())
}

#[test]
fn one_run_is_printed_like_a_call() {
    let events = [
        items(
            "a",
            1,
            0,
            &[
                (ItemKind::Stdout, "{\"$bin\":\"b3V0\"}"),
                (ItemKind::Stderr, "{\"$bin\":\"ZXJyCg==\"}"),
                (ItemKind::Stdout, "{\"$bin\":\"G1szMW0hCg==\"}"),
                (ItemKind::Value, "{\"a\":1}"),
                (ItemKind::Truncated, "{\"stream\":\"stdout\",\"bytes\":5}"),
            ],
        ),
        ended("a", "succeeded", Some("\"done\""), None),
    ];
    let (out, err) = shown(plan(1, "p"), Look::default(), &events, &job(1, &[("succeeded", 1)]));
    assert_eq!(out, "out!\na: 1\ndone\n");
    assert_eq!(err, "err\na: 5 bytes of stdout were cut by the output limit\n");
}

#[test]
fn a_value_that_looks_like_output_is_a_value() {
    let given = [
        (ItemKind::Value, r#"{"stream":"stdout","data":{"$bin":"b25l"}}"#),
        (ItemKind::Value, r#"{"stream":"stderr","truncated":true,"dropped":5}"#),
    ];
    let events = [items("a", 1, 0, &given), ended("a", "succeeded", None, None)];
    let (out, err) = shown(plan(1, "p"), Look::default(), &events, &job(1, &[]));
    let expected = "stream: stdout\ndata:\n  $bin: b25l\nstream: stderr\ntruncated: true\ndropped: 5\n";
    assert_eq!((out.as_str(), err.as_str()), (expected, ""));
}

#[test]
fn an_item_of_a_kind_that_only_newer_versions_have_is_no_output_that_was_cut() {
    let marks = [
        (ItemKind::Truncated, "{\"stream\":\"value\",\"bytes\":5}"),
        (ItemKind::Truncated, "{\"stream\":\"picture\",\"bytes\":7}"),
    ];
    let events = [items("a", 1, 0, &marks), ended("a", "succeeded", Some("1"), None)];
    let (out, err) = shown(plan(1, "p"), Look::default(), &events, &job(1, &[("succeeded", 1)]));
    assert_eq!(out, "1\n");
    let expected = "a: 5 bytes of value were cut by the output limit\n\
        a: an item of kind picture is left out (7 bytes): only newer versions know that kind\n";
    assert_eq!(err, expected);
}

#[test]
fn several_runs_are_marked_and_counted_at_the_end() {
    let events = [
        items("a", 1, 0, &[(ItemKind::Stdout, "{\"$bin\":\"b25l\"}")]),
        items("b", 1, 0, &[(ItemKind::Stdout, "{\"$bin\":\"dW4K\"}"), (ItemKind::Value, "[1,2]")]),
        ended("a", "succeeded", Some("5"), None),
        ended("b", "failed", None, Some(Fault::new(FaultCode::Failed, "it broke"))),
    ];
    let summary = job(2, &[("succeeded", 1), ("failed", 1)]);
    let (out, err) = shown(plan(2, "p"), Look::default(), &events, &summary);
    assert_eq!(out, "b: un\nb: - 1\nb: - 2\na: one\na: 5\n");
    let expected = "b: failed: it broke (failed)\n\
        AGENT  OUTCOME    TOOK  WHY\n\
        a      succeeded  1s\n\
        b      failed     1s    it broke (failed)\n\
        job j: 2 runs, 1 failed, 1 succeeded\n";
    assert_eq!(err, expected);
}

#[test]
fn a_program_of_a_job_fails_in_one_line_and_other_ends_in_three() {
    let fault = Fault::new(FaultCode::Failed, "x").with_data(raw("{\"exit\":3}"));
    let events = [ended("a", "failed", None, Some(fault))];
    let (out, err) = shown(plan(1, "exec.run"), Look::default(), &events, &job(1, &[]));
    assert_eq!((out.as_str(), err.as_str()), ("", "a: sh exited with 3\n"));
    let events = [ended("a", "expired", None, None)];
    let (_, err) = shown(plan(1, "exec.run"), Look::default(), &events, &job(1, &[]));
    assert!(err.starts_with("error: a: exec.run expired\nwhy: ") && err.contains("\nhelp: "), "{err}");
}

#[test]
fn another_attempt_and_a_correction_are_told() {
    let mut first = items("a", 1, 0, &[(ItemKind::Stdout, "{\"$bin\":\"b25l\"}")]);
    first.state = Some("in_doubt".into());
    let events = [
        first,
        items("a", 2, 0, &[(ItemKind::Stdout, "{\"$bin\":\"dHdv\"}")]),
        ended("b", "unknown", None, None),
        ended("b", "succeeded", None, None),
    ];
    let (out, err) = shown(plan(2, "p"), Look::default(), &events, &job(2, &[]));
    assert_eq!(out, "a: one\na: two\n", "what was held of the first attempt is not lost");
    assert!(err.contains("a: it is tried again, attempt 2\n"), "{err}");
    assert!(err.contains("a: in doubt"), "{err}");
    assert!(err.contains("b: it is known now how it ended: succeeded\n"), "{err}");
}

#[test]
fn progress_and_states_are_for_terminals() {
    let mut event = FollowEvent::of("a", 1);
    event.state = Some("running".into());
    event.progress =
        Some(ProgressSummary { completed: Some(1), total: Some(2), details: Some(raw("\"x\"")) });
    let (out, err) = shown(plan(1, "p"), Look::default(), std::slice::from_ref(&event), &job(1, &[]));
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
    let look = Look { live: true, ..Look::default() };
    let (_, err) = shown(plan(1, "p"), look, &[event], &job(1, &[]));
    assert!(err.contains("a: running") && err.contains("a: 1 of 2 (x)"), "{err:?}");
}
