//! Lines whose content no message can carry.

use redpoll_common::procedure::{Event, LineMachine, Violation};

fn say(machine: &mut LineMachine, line: &str) -> Result<Event, Violation> {
    machine.handle_bytes(format!("{line}\n").as_bytes());
    let mut said: Vec<_> = std::iter::from_fn(|| machine.poll_event()).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    said.remove(0)
}

/// In call 2.
fn worker() -> LineMachine {
    let mut machine = LineMachine::worker(1 << 20);
    assert_eq!(say(&mut machine, r#"{"ready":true}"#), Ok(Event::Ready));
    assert!(machine.begin(2));
    machine
}

#[test]
fn content_that_no_message_carries_is_told_and_its_line_counts_as_what_it_is() {
    let many = format!(r#"{{"call":2,"result":[{}0]}}"#, "0,".repeat(70_000));
    let deep = format!(r#"{{"call":2,"value":{}{}}}"#, "[".repeat(33), "]".repeat(33));
    for (line, words, is_end) in [
        (many.as_str(), "result does not fit a message", true),
        (deep.as_str(), "value does not fit a message", false),
        (r#"{"call":2,"exception":{"data":{"$b64":"x"}}}"#, "exception has something", true),
        (r#"{"call":2,"emit":{"type":"a","data":{"$b64":"x"}}}"#, "emit has something", false),
        (r#"{"call":2,"progress":{"completed":1,"details":{"a":1,"a":1}}}"#, "repeats", false),
    ] {
        let mut machine = worker();
        let said = say(&mut machine, line);
        assert!(matches!(&said, Ok(Event::Unfit(what)) if what.to_string().contains(words)), "{said:?}");
        assert_eq!(machine.is_free(), is_end, "{words}");
        let next = say(&mut machine, r#"{"call":2,"result":1}"#);
        assert_eq!(next.is_err(), is_end, "{words}: {next:?}");
    }
    let of_another = say(&mut worker(), r#"{"call":7,"value":{"$b64":"x"}}"#);
    assert!(matches!(of_another, Err(Violation::StrangeCall { call: 7, .. })), "{of_another:?}");
    let ask = r#"{"ask":{"id":"a","procedure":"p","kwargs":{"$b64":"x"}}}"#;
    let mut once = LineMachine::once(200);
    assert!(once.begin(2));
    assert!(matches!(say(&mut once, ask), Err(Violation::Base64 { .. })));
}

#[test]
fn a_zero_below_zero_is_a_zero() {
    let said = say(&mut worker(), r#"{"call":2,"progress":{"completed":-0.0,"total":-0}}"#);
    assert!(matches!(&said, Ok(Event::Progress(p)) if p.completed == 0 && p.total == Some(0)), "{said:?}");
}
