//! The roster as a table of states and events, and against a reference too simple to be wrong.

use super::*;
use proptest::prelude::*;

#[expect(clippy::disallowed_methods, reason = "some moment to count from; no rule reads it")]
fn start() -> Instant {
    Instant::now()
}

fn agent(name: &str) -> PeerId {
    PeerId::parse(name).unwrap()
}

fn entry(version: &str) -> Entry {
    Entry::new(version, 1, "192.0.2.7:40000", Some([7; 16]))
}

/// The handle of connection `n` is `n` itself.
fn connect(
    roster: &mut Roster<u64>,
    name: &str,
    n: u64,
    now: Instant,
) -> Result<Connected<u64>, Superseded<u64>> {
    roster.connect(agent(name), ConnectionId(n), entry("1.0"), n, now)
}

/// What can be seen of one agent: state, connection, handle.
fn seen(roster: &Roster<u64>, name: &str) -> (&'static str, u64) {
    let Some(row) = roster.row(&agent(name)) else {
        assert_eq!(roster.get(&agent(name)), Lookup::Unknown);
        return ("unknown", 0);
    };
    match roster.get(&agent(name)) {
        Lookup::Connected { connection, handle, draining } => {
            assert_eq!((connection, connection.0), (row.connection, *handle));
            assert_eq!(row.state.as_str(), if draining { "draining" } else { "connected" });
        }
        Lookup::Away { .. } => assert_eq!(row.state.as_str(), "away"),
        Lookup::Unknown => panic!("{name} has a row and is unknown"),
    }
    (row.state.as_str(), row.connection.0)
}

/// Connection 2 of agent `a` brought into a state.
fn in_state(state: &str, now: Instant) -> Roster<u64> {
    let mut roster = Roster::new(8);
    if state != "unknown" {
        let _ = connect(&mut roster, "a", 2, now).unwrap();
    }
    match state {
        "draining" => assert!(roster.drain(&agent("a"), ConnectionId(2))),
        "away" => assert_eq!(roster.disconnect(&agent("a"), ConnectionId(2), "gone", now), Some(2)),
        _ => {}
    }
    roster
}

#[test]
fn every_event_in_every_state_does_what_this_table_says() {
    // Connection 2 is the one in place (or the last); 1 is older, 3 is newer.
    // state before, event, its connection => what it returned, state after
    let table = [
        ("unknown", "connect", 1, "new", ("connected", 1)),
        ("unknown", "drain", 1, "nothing", ("unknown", 0)),
        ("unknown", "disconnect", 1, "nothing", ("unknown", 0)),
        ("connected", "connect", 1, "superseded by 2", ("connected", 2)),
        ("connected", "connect", 2, "superseded by 2", ("connected", 2)),
        ("connected", "connect", 3, "replaced 2", ("connected", 3)),
        ("connected", "drain", 1, "nothing", ("connected", 2)),
        ("connected", "drain", 2, "drains", ("draining", 2)),
        ("connected", "drain", 3, "nothing", ("connected", 2)),
        ("connected", "disconnect", 1, "nothing", ("connected", 2)),
        ("connected", "disconnect", 2, "left 2", ("away", 2)),
        ("connected", "disconnect", 3, "nothing", ("connected", 2)),
        ("draining", "connect", 1, "superseded by 2", ("draining", 2)),
        ("draining", "connect", 2, "superseded by 2", ("draining", 2)),
        ("draining", "connect", 3, "replaced 2", ("connected", 3)),
        ("draining", "drain", 1, "nothing", ("draining", 2)),
        ("draining", "drain", 2, "nothing", ("draining", 2)),
        ("draining", "drain", 3, "nothing", ("draining", 2)),
        ("draining", "disconnect", 1, "nothing", ("draining", 2)),
        ("draining", "disconnect", 2, "left 2", ("away", 2)),
        ("draining", "disconnect", 3, "nothing", ("draining", 2)),
        ("away", "connect", 1, "superseded by 2", ("away", 2)),
        ("away", "connect", 2, "superseded by 2", ("away", 2)),
        ("away", "connect", 3, "new", ("connected", 3)),
        ("away", "drain", 1, "nothing", ("away", 2)),
        ("away", "drain", 2, "nothing", ("away", 2)),
        ("away", "drain", 3, "nothing", ("away", 2)),
        ("away", "disconnect", 1, "nothing", ("away", 2)),
        ("away", "disconnect", 2, "nothing", ("away", 2)),
        ("away", "disconnect", 3, "nothing", ("away", 2)),
    ];
    let now = start();
    for (state, event, n, expected, after) in table {
        let mut roster = in_state(state, now);
        let returned = match event {
            "connect" => match connect(&mut roster, "a", n, now) {
                Ok(Connected { replaced: Some(older), .. }) => format!("replaced {older}"),
                Ok(Connected { replaced: None, .. }) => "new".to_owned(),
                Err(superseded) => {
                    assert_eq!(superseded.handle, n);
                    format!("superseded by {}", superseded.by)
                }
            },
            "drain" if roster.drain(&agent("a"), ConnectionId(n)) => "drains".to_owned(),
            "disconnect" => match roster.disconnect(&agent("a"), ConnectionId(n), "later", now) {
                Some(handle) => format!("left {handle}"),
                None => "nothing".to_owned(),
            },
            _ => "nothing".to_owned(),
        };
        let case = format!("{state}, {event} {n}");
        assert_eq!(returned, expected, "{case}");
        assert_eq!(seen(&roster, "a"), after, "{case}");
        let there = usize::from(after.0 == "connected" || after.0 == "draining");
        let counts = Counts {
            connected: there,
            draining: usize::from(after.0 == "draining"),
            away: usize::from(after.0 == "away"),
        };
        assert_eq!(roster.counts(), counts, "{case}");
        assert_eq!(roster.handles().count(), there, "{case}");
    }
}

#[test]
fn an_agent_that_left_is_away_since_then_and_why_until_it_returns() {
    let (mut roster, now) = (in_state("connected", start()), start());
    let later = now + Duration::from_secs(5);
    roster.disconnect(&agent("a"), ConnectionId(2), "the wire was cut", later);
    let away = Lookup::Away { last_seen: later, reason: "the wire was cut" };
    assert_eq!(roster.get(&agent("a")), away);
    // The late goodbye of the same connection does not change the story.
    assert_eq!(roster.disconnect(&agent("a"), ConnectionId(2), "another reason", now), None);
    assert_eq!(roster.get(&agent("a")), away);
    let returned = later + Duration::from_secs(1);
    let _ = roster.connect(agent("a"), ConnectionId(3), entry("1.1"), 3, returned).unwrap();
    let row = roster.row(&agent("a")).unwrap();
    assert_eq!(row.state, State::Connected { since: returned });
    assert_eq!((row.entry.version(), row.entry.address()), ("1.1", "192.0.2.7:40000"));
    assert_eq!((row.entry.protocol(), row.entry.instance()), (1, Some([7; 16])));
}

#[test]
fn the_longest_away_is_forgotten_first() {
    let (mut roster, now) = (Roster::new(2), start());
    for (name, n) in [("a", 1), ("b", 2), ("c", 3)] {
        let _ = connect(&mut roster, name, n, now).unwrap();
    }
    // `a` leaves first, returns, and leaves again last: only its last departure counts.
    assert!(roster.disconnect(&agent("a"), ConnectionId(1), "", now).is_some());
    let _ = connect(&mut roster, "a", 4, now).unwrap();
    for (name, n) in [("b", 2), ("c", 3), ("a", 4)] {
        assert!(roster.disconnect(&agent(name), ConnectionId(n), "", now).is_some());
    }
    assert_eq!(["a", "b", "c"].map(|name| seen(&roster, name).0), ["away", "unknown", "away"]);
    assert_eq!(roster.counts(), Counts { connected: 0, draining: 0, away: 2 });
}

#[test]
fn two_machines_that_fight_for_one_name_are_noticed() {
    let (mut roster, now) = (Roster::new(8), start());
    let _ = connect(&mut roster, "a", 0, now).unwrap();
    let mut flaps = |n: u64, seconds: u64| {
        connect(&mut roster, "a", n, now + Duration::from_secs(seconds)).unwrap().flapping
    };
    // Three replacements within a minute may be bad luck, the fourth is not.
    assert_eq!(
        [flaps(1, 0), flaps(2, 1), flaps(3, 2), flaps(4, 3), flaps(5, 4)],
        [false, false, false, true, true]
    );
    // After a quiet minute it starts anew.
    assert_eq!([flaps(6, 64), flaps(7, 64), flaps(8, 64), flaps(9, 64)], [false, false, false, true]);
    // Slower than three a minute never is.
    assert!((10..50).all(|n| !flaps(n, 200 + n * 20)));
}

#[test]
fn pages_list_every_agent_once_in_order_of_name() {
    let (mut roster, now) = (Roster::new(8), start());
    for n in [4, 2, 0, 3, 1] {
        let _ = connect(&mut roster, &format!("web-{n}"), n, now).unwrap();
    }
    let (mut paged, mut after) = (Vec::new(), None);
    // Two, two, one, none: a page that does not go on would show as a repetition, not as an endless test.
    for _ in 0..4 {
        let page = roster.page(after.as_ref(), 2);
        after = page.last().map(|row| row.agent.clone()).or(after);
        paged.extend(page);
    }
    assert_eq!(paged, roster.page(None, usize::MAX));
    assert_eq!(paged.iter().map(|row| row.connection.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn what_peers_say_about_themselves_is_shortened() {
    let (mut roster, now) = (Roster::new(8), start());
    let long = "v\n".repeat(10_000);
    let _ = roster.connect(agent("a"), ConnectionId(1), Entry::new(&long, 0, &long, None), 1, now).unwrap();
    roster.disconnect(&agent("a"), ConnectionId(1), &long, now);
    let row = roster.row(&agent("a")).unwrap();
    assert_eq!((row.entry.version().len(), row.entry.address().len()), (MAX_VERSION_LEN, MAX_ADDRESS_LEN));
    let Lookup::Away { reason, .. } = roster.get(&agent("a")) else { panic!("not away") };
    assert!(reason.len() == MAX_REASON_LEN && reason.starts_with("v?v?"));
}

#[derive(Debug, Clone)]
enum Event {
    Connect(u8, u64),
    Drain(u8, u64),
    Disconnect(u8, u64),
}

fn event() -> impl Strategy<Value = Event> {
    let (name, connection) = (0_u8..6, 0_u64..40);
    prop_oneof![
        (name.clone(), connection.clone()).prop_map(|(name, n)| Event::Connect(name, n)),
        (name.clone(), connection.clone()).prop_map(|(name, n)| Event::Drain(name, n)),
        (name, connection).prop_map(|(name, n)| Event::Disconnect(name, n)),
    ]
}

/// The reference: one line per agent and the order of departures, everything found by searching.
#[derive(Default)]
struct Reference {
    here: BTreeMap<u8, (u64, bool)>,
    /// With the number of the last connection.
    away: Vec<(u8, u64)>,
}

impl Reference {
    /// Returns whether something changed, and the connection that was let go.
    fn apply(&mut self, event: &Event, max_away: usize) -> (bool, Option<u64>) {
        match *event {
            Event::Connect(name, n) => match self.here.get(&name) {
                Some((current, _)) if *current >= n => (false, None),
                None if self.away.iter().any(|(other, last)| *other == name && *last >= n) => (false, None),
                _ => {
                    self.away.retain(|(other, _)| *other != name);
                    (true, self.here.insert(name, (n, false)).map(|(older, _)| older))
                }
            },
            Event::Drain(name, n) => match self.here.get_mut(&name) {
                Some(line) if line.0 == n => (!mem::replace(&mut line.1, true), None),
                _ => (false, None),
            },
            Event::Disconnect(name, n) if self.here.get(&name).is_some_and(|line| line.0 == n) => {
                self.here.remove(&name);
                self.away.push((name, n));
                if self.away.len() > max_away {
                    self.away.remove(0);
                }
                (true, Some(n))
            }
            Event::Disconnect(..) => (false, None),
        }
    }
}

proptest! {
    #[test]
    fn the_roster_says_what_the_reference_says(
        max_away in 0_usize..5,
        events in prop::collection::vec(event(), 1..200),
    ) {
        let (mut roster, mut reference, now) = (Roster::new(max_away), Reference::default(), start());
        for event in &events {
            let expected = reference.apply(event, max_away);
            let happened = match *event {
                Event::Connect(name, n) => match connect(&mut roster, &name.to_string(), n, now) {
                    Ok(connected) => (true, connected.replaced),
                    Err(_) => (false, None),
                },
                Event::Drain(name, n) => (roster.drain(&agent(&name.to_string()), ConnectionId(n)), None),
                Event::Disconnect(name, n) => {
                    let left = roster.disconnect(&agent(&name.to_string()), ConnectionId(n), "", now);
                    (left.is_some(), left)
                }
            };
            prop_assert_eq!(happened, expected, "{:?}", event);
            for name in 0_u8..6 {
                let expected = match reference.here.get(&name) {
                    Some((n, true)) => ("draining", Some(*n)),
                    Some((n, false)) => ("connected", Some(*n)),
                    None if reference.away.iter().any(|(other, _)| *other == name) => ("away", None),
                    None => ("unknown", None),
                };
                let (state, connection) = seen(&roster, &name.to_string());
                prop_assert_eq!((state, expected.1.map(|_| connection)), expected);
            }
            let counts = roster.counts();
            prop_assert_eq!((counts.connected, counts.away), (reference.here.len(), reference.away.len()));
            prop_assert_eq!(counts.draining, reference.here.values().filter(|line| line.1).count());
            prop_assert_eq!(roster.page(None, usize::MAX).len(), counts.connected + counts.away);
        }
    }
}

#[test]
fn an_agent_of_before_is_remembered_as_away_until_it_comes() {
    let mut roster: Roster<u8> = Roster::new(2);
    let (now, name) = (start(), agent);
    for agent in ["a", "b", "c"] {
        roster.remember(name(agent), "before", now);
    }
    assert!(matches!(roster.get(&name("a")), Lookup::Away { reason: "before", .. }));
    assert_eq!(roster.get(&name("c")), Lookup::Unknown, "more than it remembers");
    let entry = Entry::new("1", 1, "x", None);
    assert!(roster.connect(name("a"), ConnectionId(1), entry, 7, now).is_ok());
    roster.remember(name("a"), "again", now);
    assert!(matches!(roster.get(&name("a")), Lookup::Connected { .. }));
    assert_eq!(roster.counts(), Counts { connected: 1, draining: 0, away: 1 });
}

#[test]
fn another_policy_shows_from_then_on_unless_an_older_connection_says_so() {
    let mut roster: Roster<u8> = Roster::default();
    let (now, a) = (start(), agent("a"));
    let shown = |roster: &Roster<u8>| roster.row(&a).unwrap().entry.policy().map(str::to_owned);
    assert!(!roster.policy(&a, ConnectionId(1), "one"), "nobody is there");
    let entry = Entry::new("1", 1, "x", Some([7; 16])).with_policy(Some("one"));
    assert!(roster.connect(a.clone(), ConnectionId(2), entry, 7, now).is_ok());
    assert!(!roster.policy(&a, ConnectionId(1), "two"), "that connection is over");
    assert!(!roster.policy(&a, ConnectionId(2), "one"), "that is what it said");
    assert_eq!(shown(&roster).as_deref(), Some("one"));
    assert!(roster.policy(&a, ConnectionId(2), &format!("two\n{}", "x".repeat(100))));
    let row = roster.row(&a).unwrap();
    let policy = row.entry.policy().unwrap();
    assert!(policy.len() == MAX_POLICY_LEN && policy.starts_with("two?"), "{policy}");
    assert_eq!((row.entry.version(), row.entry.instance()), ("1", Some([7; 16])), "the rest stays");
    assert!(roster.disconnect(&a, ConnectionId(2), "gone", now).is_some());
    assert!(!roster.policy(&a, ConnectionId(2), "three"), "it is gone");
}
