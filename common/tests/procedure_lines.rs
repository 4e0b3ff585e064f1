//! The conversation with an executable: every state with every line, and any cutting of the bytes.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use proptest::prelude::*;
use redpoll_common::procedure::{Ask, Event, Kind, LineMachine, MAX_ASK_TIMEOUT, Violation, Want};
use redpoll_common::wire::{Raw, RawMap};

const LIMIT: usize = 200;

fn all(machine: &mut LineMachine) -> Vec<Result<Event, Violation>> {
    std::iter::from_fn(|| machine.poll_event()).collect()
}

fn say(machine: &mut LineMachine, line: &str) -> Result<Event, Violation> {
    machine.handle_bytes(format!("{line}\n").as_bytes());
    let mut said = all(machine);
    assert_eq!(said.len(), 1, "{said:?}");
    said.remove(0)
}

/// What is seen of the state of a machine before the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    OnceBusy,
    OnceOver,
    Starting,
    Free,
    FreeAgain,
    Busy,
}

/// A machine in this state; calls are numbered 1, 2, … and the last lines were two at most.
fn machine(state: State) -> LineMachine {
    let mut machine = match state {
        State::OnceBusy | State::OnceOver => LineMachine::once(LIMIT),
        State::Starting | State::Free | State::FreeAgain | State::Busy => LineMachine::worker(LIMIT),
    };
    let good = |said: Result<Event, Violation>| assert!(said.is_ok(), "{said:?}");
    match state {
        State::Starting => assert!(!machine.begin(1), "it is not ready"),
        State::OnceBusy => assert!(machine.begin(1)),
        State::OnceOver => {
            assert!(machine.begin(1));
            good(say(&mut machine, r#"{"result":1}"#));
            assert!(!machine.begin(2), "one process, one call");
        }
        State::Free => good(say(&mut machine, r#"{"ready":true}"#)),
        State::FreeAgain => {
            good(say(&mut machine, r#"{"ready":true}"#));
            assert!(machine.begin(1));
            good(say(&mut machine, r#"{"call":1,"result":1}"#));
        }
        State::Busy => {
            good(say(&mut machine, r#"{"ready":true}"#));
            assert!(machine.begin(1));
            good(say(&mut machine, r#"{"call":1,"result":1}"#));
            assert!(machine.begin(2));
        }
    }
    machine
}

#[test]
fn every_line_in_every_state_is_an_event_or_a_violation_that_names_it() {
    use State::{Busy, Free, FreeAgain, OnceBusy, OnceOver, Starting};
    let kinds = [Kind::Value, Kind::Progress, Kind::Emit, Kind::Ask, Kind::Result, Kind::Exception];
    let body = |kind| match kind {
        Kind::Value => r#""value":1"#,
        Kind::Progress => r#""progress":{"completed":1}"#,
        Kind::Result => r#""result":1"#,
        Kind::Exception => r#""exception":{}"#,
        Kind::Ready => r#""ready":true"#,
        Kind::Emit => r#""emit":{"type":"disk.full"}"#,
        Kind::Ask => r#""ask":{"id":"1","submit":{}}"#,
        Kind::Pong => r#""pong":1"#,
    };
    // the words that tell how a line is taken: without a call, for call 1, for call 2, for call 9
    let table: [(State, [&str; 4]); 6] = [
        (OnceBusy, ["taken", "taken", "not given", "not given"]),
        (OnceOver, ["end", "end", "not given", "not given"]),
        (Starting, ["before", "before", "before", "before"]),
        (Free, ["without", "not given", "not given", "not given"]),
        (FreeAgain, ["without", "end", "not given", "not given"]),
        (Busy, ["without", "end", "taken", "not given"]),
    ];
    for (state, expected) in table {
        for (call, expected) in [None, Some(1), Some(2), Some(9)].into_iter().zip(expected) {
            for kind in kinds {
                let mut machine = machine(state);
                let named = call.map(|call| format!("\"call\":{call},")).unwrap_or_default();
                let said = say(&mut machine, &format!("{{{named}{}}}", body(kind)));
                let context = format!("{state:?}, call {call:?}, {kind}: {said:?}");
                match (&said, expected) {
                    (Ok(_), "taken") => {}
                    (Err(violation), words) => {
                        let text = violation.to_string();
                        assert!(text.contains(words) && text.contains(kind.as_str()), "{context}: {text}");
                        assert!(
                            !matches!(violation, Violation::SecondEnd { .. }) || kind.is_end(),
                            "{context}"
                        );
                        machine.handle_bytes(b"{\"value\":1}\n");
                        assert!(
                            all(&mut machine).is_empty() && !machine.begin(7),
                            "broken for good: {context}"
                        );
                    }
                    (Ok(_), _) => unreachable_in_test(&context),
                }
            }
        }
    }
    for (state, good) in [
        (OnceBusy, false),
        (OnceOver, false),
        (Starting, true),
        (Free, false),
        (FreeAgain, false),
        (Busy, false),
    ] {
        let said = say(&mut machine(state), r#"{"ready":true}"#);
        assert_eq!(said.is_ok(), good, "{state:?}: {said:?}");
    }
}

#[expect(clippy::panic, reason = "test code")]
fn unreachable_in_test(context: &str) {
    panic!("{context}");
}

fn flaw(line: &str) -> String {
    match say(&mut machine(State::OnceBusy), line) {
        Err(violation) | Ok(Event::Unfit(violation)) => violation.to_string(),
        Ok(said) => unreachable_in_test_as(&format!("{line}: {said:?}")),
    }
}

#[test]
fn a_line_that_is_none_is_refused_without_showing_what_it_holds() {
    for (line, words) in [
        ("hunter2", "not JSON (byte 1)"),
        (r#"{"value": "hunter2"#, "not JSON"),
        (r#"{"value": 1} hunter2"#, "not JSON (byte 14)"),
        (r#""hunter2""#, "no object"),
        (r#"["hunter2"]"#, "no object"),
        ("{}", "neither"),
        (r#"{"call":1}"#, "neither"),
        (r#"{"hunter2":1}"#, "unknown"),
        (r#"{"value":1,"result":2}"#, "more than one thing"),
        (r#"{"value":1,"value":2}"#, "more than one thing"),
        (r#"{"value":1,"call":"hunter2"}"#, "no number"),
        (r#"{"value":1,"call":-1}"#, "no number"),
        (r#"{"call":1,"value":1,"call":1}"#, "twice"),
        (r#"{"value_b64":"hunter2"}"#, "base64"),
        (r#"{"value_b64":5}"#, "is a text"),
        (r#"{"result":{"$b64":"hunter2"}}"#, "base64"),
        (r#"{"ready":false}"#, "only be true"),
        (r#"{"pong":"hunter2"}"#, "no number of a ping"),
        (r#"{"pong":1}"#, "answers ping 1, which it was not sent"),
        (r#"{"progress":7}"#, "is an object"),
        (r#"{"progress":{}}"#, "no \"completed\""),
        (r#"{"progress":{"completed":-1}}"#, "numbers from 0"),
        (r#"{"progress":{"completed":1e30}}"#, "numbers from 0"),
        (r#"{"progress":{"completed":1,"hunter2":1}}"#, "none of"),
        (r#"{"exception":"hunter2"}"#, "is an object"),
        (r#"{"exception":{"class":7}}"#, "are texts"),
        (r#"{"exception":{"hunter2":7}}"#, "unknown"),
        (r#"{"value":{"a":1,"a":"hunter2"}}"#, "repeats"),
        ("{\"value\":\"\u{1}\"}", "not JSON"),
    ] {
        let said = flaw(line);
        assert!(said.contains(words) && said.starts_with("line 1 of"), "{line}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let mut machine = machine(State::OnceBusy);
    machine.handle_bytes(b"{\"value\":\"\xff\"}\n");
    assert!(matches!(all(&mut machine).as_slice(), [Err(Violation::NotJson { line: 1, .. })]));
}

#[test]
fn a_line_over_the_limit_is_refused_before_its_end_has_come() {
    let mut machine = machine(State::OnceBusy);
    machine.handle_bytes(b"{\"value\":1}\n");
    machine.handle_bytes(&[b'x'; LIMIT + 1]);
    let said = all(&mut machine);
    assert!(
        matches!(said.as_slice(), [Ok(_), Err(Violation::TooLong { line: 2, limit: LIMIT })]),
        "{said:?}"
    );
}

#[test]
fn everything_an_executable_can_say_is_understood() {
    let mut machine = machine(State::OnceBusy);
    assert_eq!(say(&mut machine, r#"{"value":{"a":[1,-2,1.5,null,true]}}"#).unwrap().kind_text(), "value");
    assert_eq!(say(&mut machine, "{\"value_b64\":\"AP8=\"}\r").unwrap(), Event::Value(Raw::bin(&[0, 255])));
    machine.handle_bytes(b"\n  \n"); // empty lines say nothing
    assert!(all(&mut machine).is_empty());
    let progress = say(&mut machine, r#"{"progress":{"completed":1,"total":2,"details":"x"}}"#).unwrap();
    let Event::Progress(progress) = progress else { return unreachable_in_test("progress") };
    assert_eq!((progress.completed, progress.total, progress.details), (1, Some(2), Raw::text("x")));
    let progress = say(&mut machine, r#"{"progress":{"completed":2.9,"total":1e3}}"#).unwrap();
    let Event::Progress(progress) = progress else { return unreachable_in_test("progress") };
    assert_eq!((progress.completed, progress.total), (2, Some(1000)), "without the fraction");
    let emitted = say(&mut machine, r#"{"emit":{"type":"disk.full","data":{"$b64":"AP8="}}}"#).unwrap();
    assert_eq!(emitted, Event::Emit { kind: "disk.full".into(), data: Raw::bin(&[0, 255]) });
    let bare = say(&mut machine, r#"{"emit":{"type":"a"}}"#).unwrap();
    assert_eq!(bare, Event::Emit { kind: "a".into(), data: Raw::nil() });
    machine.handle_bytes(br#"{"result_b64":"AQ=="}"#);
    assert!(all(&mut machine).is_empty(), "its end may still come");
    machine.handle_end();
    assert_eq!(all(&mut machine), [Ok(Event::Result(Raw::bin(&[1])))], "the last line needs no end");

    let mut machine = self::machine(State::OnceBusy);
    let line = r#"{"exception":{"class":"E","module":"m","message":"x","trace":null,"args":[1],"state":{},"data":null}}"#;
    let Event::Exception(exception) = say(&mut machine, line).unwrap() else {
        return unreachable_in_test("exception");
    };
    assert_eq!((exception.class.as_deref(), exception.trace), (Some("E"), None));
    assert!(exception.args.is_some() && exception.state.is_some() && exception.data.is_none());
}

trait KindText {
    fn kind_text(&self) -> &'static str;
}

impl KindText for Event {
    fn kind_text(&self) -> &'static str {
        match self {
            Self::Value(_) => "value",
            Self::Progress(_) => "progress",
            Self::Result(_) => "result",
            Self::Exception(_) => "exception",
            Self::Ready => "ready",
            Self::Emit { .. } => "emit",
            Self::Ask(_) => "ask",
            Self::Unfit(_) => "unfit",
            Self::Pong(_) => "pong",
        }
    }
}

/// Lines as a good or bad worker might write them.
fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(br#"{"call":1,"value":"a\nb"}"#.to_vec()),
        Just(br#"{"call":1,"progress":{"completed":1}}"#.to_vec()),
        Just(r#"{"call":1,"value":"ä"}"#.as_bytes().to_vec()),
        Just(Vec::new()),
        Just(b"\r".to_vec()),
        Just(br#"{"call":1,"result":1}"#.to_vec()),
        Just(br#"{"call":2,"value":1}"#.to_vec()),
        Just(br#"{"ready":true}"#.to_vec()),
        (0..LIMIT * 2).prop_map(|len| vec![b' '; len]),
        proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn the_events_do_not_depend_on_how_the_bytes_are_cut(
        lines in proptest::collection::vec(line(), 0..12),
        cuts in proptest::collection::vec(1..60_usize, 0..200),
        last_has_an_end in any::<bool>(),
    ) {
        let mut bytes = b"{\"ready\":true}\n".to_vec();
        bytes.extend(lines.join(&b'\n'));
        if last_has_an_end {
            bytes.push(b'\n');
        }
        let run = |cuts: &[usize]| {
            let mut machine = LineMachine::worker(LIMIT);
            let (mut events, mut rest, mut cuts) = (Vec::new(), bytes.as_slice(), cuts.iter());
            while !rest.is_empty() {
                let at = cuts.next().map_or(rest.len(), |cut| (*cut).min(rest.len()));
                let (piece, tail) = rest.split_at(at);
                rest = tail;
                machine.handle_bytes(piece);
                while let Some(event) = machine.poll_event() {
                    events.push(event);
                    let _busy_already = machine.begin(1);
                }
            }
            machine.handle_end();
            while let Some(event) = machine.poll_event() {
                events.push(event);
            }
            events
        };
        let whole = run(&[]);
        prop_assert_eq!(&run(&cuts), &whole);
        prop_assert_eq!(&run(&vec![1; bytes.len()]), &whole, "byte by byte");
        prop_assert!(whole.iter().rev().skip(1).all(Result::is_ok), "nothing follows a violation");
    }
}

#[test]
fn an_event_without_a_type_or_with_another_key_is_a_violation() {
    for line in
        [r#"{"emit":1}"#, r#"{"emit":{}}"#, r#"{"emit":{"type":1}}"#, r#"{"emit":{"type":"a","x":1}}"#]
    {
        let said = say(&mut machine(State::OnceBusy), line);
        assert!(matches!(said, Err(Violation::Shape { line: 1, .. })), "{line}: {said:?}");
    }
}

fn ask(line: &str) -> Ask {
    let mut machine = LineMachine::once(2000);
    assert!(machine.begin(1));
    let Event::Ask(ask) = say(&mut machine, line).unwrap() else {
        return unreachable_in_test_as(line);
    };
    *ask
}

#[expect(clippy::panic, reason = "test code")]
fn unreachable_in_test_as<T>(context: &str) -> T {
    panic!("{context}");
}

#[test]
fn what_is_asked_is_a_job_or_a_procedure_and_how_long_to_wait() {
    let submit =
        ask(r#"{"ask":{"id":"a","submit":{"procedure":"p","args":[{"$b64":"AQ=="}]},"timeout":0.5}}"#);
    assert_eq!((submit.id.as_str(), submit.timeout), ("a", Some(Duration::from_millis(500))));
    let Want::Submit(job) = submit.want else { return unreachable_in_test("submit") };
    let args = RawMap::new().text("procedure", "p").raw("args", &Raw::encode(&[Bin]).unwrap()).finish();
    assert_eq!(job, args);
    let call = ask(r#"{"ask":{"procedure":"site.note@2","id":"ä","kwargs":{"n":1}}}"#);
    let Want::Call { procedure, args, kwargs } = call.want else { return unreachable_in_test("call") };
    assert_eq!((procedure.as_str(), args, call.timeout), ("site.note@2", Raw::empty_array(), None));
    assert_eq!(kwargs, RawMap::new().uint("n", 1).finish());
    for (timeout, seconds) in [("null", None), ("7", Some(7)), ("1e300", Some(86_400)), ("1e9", Some(86_400))]
    {
        let asked = ask(&format!(r#"{{"ask":{{"id":"a","procedure":"p","timeout":{timeout}}}}}"#));
        assert_eq!(asked.timeout, seconds.map(Duration::from_secs), "{timeout}");
        assert!(asked.timeout <= Some(MAX_ASK_TIMEOUT));
    }
    let longest = "x".repeat(64);
    assert_eq!(ask(&format!(r#"{{"ask":{{"id":"{longest}","procedure":"p"}}}}"#)).id, longest);
}

/// One byte, as MessagePack has it.
struct Bin;

impl serde::Serialize for Bin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&[1])
    }
}

#[test]
fn a_malformed_ask_is_a_violation_that_shows_nothing_of_it() {
    let long = format!(r#"{{"ask":{{"id":"{}","procedure":"p"}}}}"#, "x".repeat(65));
    for (line, words) in [
        (r#"{"ask":"hunter2"}"#, "is an object"),
        (r#"{"ask":{}}"#, "no \"id\""),
        (r#"{"ask":{"id":"a"}}"#, "one of"),
        (r#"{"ask":{"id":"a","submit":{},"procedure":"hunter2"}}"#, "one of"),
        (r#"{"ask":{"id":"a","submit":{},"args":["hunter2"]}}"#, "within"),
        (r#"{"ask":{"id":"a","submit":["hunter2"]}}"#, "is an object"),
        (r#"{"ask":{"id":"","procedure":"p"}}"#, "1 to 64"),
        (r#"{"ask":{"id":7,"procedure":"p"}}"#, "1 to 64"),
        (long.as_str(), "1 to 64"),
        (r#"{"ask":{"id":"a","procedure":""}}"#, "1 to 128"),
        (r#"{"ask":{"id":"a","procedure":"p","args":{}}}"#, "is a list"),
        (r#"{"ask":{"id":"a","procedure":"p","kwargs":[]}}"#, "is an object"),
        (r#"{"ask":{"id":"a","procedure":"p","timeout":0}}"#, "seconds"),
        (r#"{"ask":{"id":"a","procedure":"p","timeout":-1}}"#, "seconds"),
        (r#"{"ask":{"id":"a","procedure":"p","timeout":"hunter2"}}"#, "seconds"),
        (r#"{"ask":{"id":"a","procedure":"p","hunter2":1}}"#, "none of"),
        (r#"{"ask":{"id":"a","id":"a","procedure":"p"}}"#, "twice"),
        (r#"{"ask":{"id":"a","procedure":"p"},"emit":{"type":"a"}}"#, "more than one thing"),
        (r#"{"ask":{"id":"a","submit":{"a":1,"a":"hunter2"}}}"#, "repeats"),
        (r#"{"ask":{"id":"a","procedure":"p","kwargs":{"a":{"$b64":"hunter2"}}}}"#, "base64"),
    ] {
        let said = flaw(line);
        assert!(said.contains(words) && !said.contains("hunter2"), "{line}: {said}");
    }
}
