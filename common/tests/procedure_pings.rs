//! Pings of a worker, and what it answers.

#![expect(clippy::unwrap_used, reason = "test code")]

use redpoll_common::procedure::{Event, LineMachine, Violation};

fn say(machine: &mut LineMachine, line: &str) -> Result<Event, Violation> {
    machine.handle_bytes(format!("{line}\n").as_bytes());
    machine.poll_event().unwrap()
}

/// A worker that was sent three pings: before its first call, after it, and in the second.
fn pinged() -> [LineMachine; 3] {
    [0, 1, 2].map(|calls| {
        let mut machine = LineMachine::worker(200);
        assert_eq!(say(&mut machine, r#"{"ready":true}"#), Ok(Event::Ready));
        for call in 1..=calls {
            assert!(machine.begin(call));
            if call == 1 {
                assert!(say(&mut machine, r#"{"call":1,"result":1}"#).is_ok());
            }
        }
        assert_eq!([machine.ping(), machine.ping(), machine.ping()], [1, 2, 3]);
        machine
    })
}

#[test]
fn each_ping_is_answered_once_in_any_state_and_no_other_is() {
    let pong = |ping: u64| format!("{{\"pong\":{ping}}}");
    for state in 0..3 {
        for (answers, then) in [(&[1, 2, 3][..], 3), (&[2], 1), (&[2], 2), (&[], 4), (&[], 0)] {
            let [free, again, busy] = pinged();
            let mut machine =
                [Some(free), Some(again), Some(busy)].map(Option::unwrap).into_iter().nth(state).unwrap();
            for ping in answers {
                assert_eq!(say(&mut machine, &pong(*ping)), Ok(Event::Pong(*ping)), "{state}");
            }
            let said = say(&mut machine, &pong(then));
            assert!(
                matches!(said, Err(Violation::StrangePong { ping, .. }) if ping == then),
                "{state}: {said:?}"
            );
            assert!(!machine.is_free() && machine.poll_event().is_none(), "it is broken");
        }
    }
}
