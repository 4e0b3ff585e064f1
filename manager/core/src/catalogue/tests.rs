//! The catalogue as steps and what follows, and against a reference too simple to be wrong.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: ListDigest = [1; 32];
const B: ListDigest = [2; 32];
const C: ListDigest = [3; 32];

/// What happens to a catalogue, by the number of the agent and of its connection.
enum Step {
    Arrive(u32, u64),
    Learn(u32, u64, ListDigest, Result<(), NotEntered>),
    Bind(u32, u64, ListDigest, Result<(), NotEntered>),
    Leave(u32, u64),
    /// The agent holds this, in this way.
    Holds(u32, Option<(ListDigest, Standing)>),
    /// Lists and bytes.
    Size(usize, usize),
}
use NotEntered::{Full, Superseded, Unknown};
use Standing::{Current, LastKnown};
use Step::{Arrive, Bind, Holds, Learn, Leave, Size};

fn agent(number: u32) -> PeerId {
    PeerId::parse(&format!("a-{number}")).unwrap()
}

fn run(bounds: Bounds, steps: &[Step]) {
    let mut catalogue: Catalogue<ListDigest> = Catalogue::new(bounds);
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Arrive(n, at) => catalogue.arrive(&agent(n), ConnectionId(at)),
            Leave(n, at) => catalogue.leave(&agent(n), ConnectionId(at)),
            Bind(n, at, digest, expected) => {
                let held = catalogue.holds(&agent(n), ConnectionId(at), digest);
                let bound = catalogue.bind(&agent(n), ConnectionId(at), digest);
                assert_eq!(bound, expected.map(|()| !held), "step {number}");
            }
            Learn(n, at, digest, expected) => {
                let learned =
                    catalogue.learn((&agent(n), ConnectionId(at)), digest, &Arc::new(digest), 10).map(drop);
                assert_eq!(learned, expected, "step {number}");
            }
            Holds(n, expected) => {
                let held = catalogue.of(&agent(n)).map(|(list, standing)| (**list, standing));
                assert_eq!(held, expected, "step {number}");
            }
            Size(lists, bytes) => assert_eq!(catalogue.size(), (lists, bytes), "step {number}"),
        }
    }
}

#[test]
fn agents_with_the_same_procedures_share_one_list() {
    run(
        Bounds::default(),
        &[
            Bind(1, 1, A, Err(Unknown)),
            Learn(1, 1, A, Ok(())),
            Bind(2, 2, A, Ok(())),
            Learn(3, 3, A, Ok(())),
            Size(1, 10),
            Holds(2, Some((A, Current))),
            Learn(2, 2, B, Ok(())),
            Size(2, 20),
            Holds(1, Some((A, Current))),
            Holds(4, None),
        ],
    );
}

#[test]
fn a_list_that_nobody_holds_any_more_is_gone() {
    run(
        Bounds::default(),
        &[
            Learn(1, 1, A, Ok(())),
            Bind(1, 1, A, Ok(())),
            Learn(1, 1, B, Ok(())),
            Size(1, 10),
            Bind(1, 1, A, Err(Unknown)),
            Holds(1, Some((B, Current))),
        ],
    );
}

#[test]
fn what_was_said_in_an_earlier_session_is_only_the_last_that_is_known() {
    run(
        Bounds::default(),
        &[
            Learn(1, 1, A, Ok(())),
            Leave(1, 1),
            Holds(1, Some((A, LastKnown))),
            Bind(1, 1, A, Err(Superseded)),
            Arrive(1, 2),
            Holds(1, Some((A, LastKnown))),
            // the goodbye of the old connection comes late
            Bind(1, 2, A, Ok(())),
            Leave(1, 1),
            Holds(1, Some((A, Current))),
            Bind(1, 1, A, Err(Superseded)),
            Learn(1, 1, B, Err(Superseded)),
            Size(1, 10),
        ],
    );
}

#[test]
fn a_full_catalogue_forgets_who_is_away_longest_and_nobody_who_is_here() {
    let bounds = Bounds { lists: 2, ..Bounds::default() };
    run(
        bounds,
        &[
            Learn(1, 1, A, Ok(())),
            Learn(2, 2, B, Ok(())),
            Learn(3, 3, C, Err(Full)),
            Holds(3, None),
            Leave(1, 1),
            Learn(3, 3, C, Ok(())),
            Holds(1, None),
            Size(2, 20),
        ],
    );
    let bounds = Bounds { bytes: 25, ..Bounds::default() };
    run(bounds, &[Learn(1, 1, A, Ok(())), Learn(2, 2, B, Ok(())), Learn(3, 3, C, Err(Full)), Size(2, 20)]);
    let bounds = Bounds { away: 1, ..Bounds::default() };
    run(
        bounds,
        &[
            Learn(1, 1, A, Ok(())),
            Learn(2, 2, A, Ok(())),
            Leave(1, 1),
            Leave(2, 2),
            Holds(1, None),
            Holds(2, Some((A, LastKnown))),
            Size(1, 10),
        ],
    );
}

#[test]
fn one_that_comes_and_goes_has_no_other_forgotten() {
    let mut catalogue: Catalogue<ListDigest> = Catalogue::new(Bounds { away: 2, ..Bounds::default() });
    catalogue.learn((&agent(1), ConnectionId(1)), A, &Arc::new(A), 10).unwrap();
    catalogue.leave(&agent(1), ConnectionId(1));
    catalogue.learn((&agent(2), ConnectionId(2)), B, &Arc::new(B), 10).unwrap();
    for connection in 3..1000 {
        catalogue.leave(&agent(2), ConnectionId(connection - 1));
        catalogue.arrive(&agent(2), ConnectionId(connection));
    }
    for number in [1, 2] {
        assert!(catalogue.of(&agent(number)).is_some(), "agent {number} is forgotten");
    }
}

#[derive(Debug, Clone)]
enum Happens {
    Arrive(u32),
    Bind(u32, u8),
    Learn(u32, u8),
    Leave(u32),
    /// What an older connection of the agent says.
    Late(u32, u8),
}

fn happens() -> impl Strategy<Value = Happens> {
    let (who, what) = (0_u32..5, 0_u8..4);
    prop_oneof![
        3 => who.clone().prop_map(Happens::Arrive),
        2 => (who.clone(), what.clone()).prop_map(|(who, what)| Happens::Bind(who, what)),
        3 => (who.clone(), what.clone()).prop_map(|(who, what)| Happens::Learn(who, what)),
        3 => who.clone().prop_map(Happens::Leave),
        1 => (who, what).prop_map(|(who, what)| Happens::Late(who, what)),
    ]
}

proptest! {
    /// Nobody who is here is forgotten, nor anybody who is away while not more are than may be; beyond, it is who left first.
    #[test]
    fn who_is_forgotten_is_away_longest(steps in prop::collection::vec(happens(), 1..300), away in 1_usize..4) {
        let mut catalogue: Catalogue<u8> = Catalogue::new(Bounds { away, ..Bounds::default() });
        // who has said anything: what, and the number of the step in which it left
        let mut said: BTreeMap<u32, (u8, Option<usize>)> = BTreeMap::new();
        let mut connections: BTreeMap<u32, u64> = BTreeMap::new();
        for (step, happens) in steps.into_iter().enumerate() {
            let now = step as u64 + 10;
            let is_gone = |said: &BTreeMap<u32, (u8, Option<usize>)>, who| said.get(&who).is_some_and(|it| it.1.is_some());
            match happens {
                Happens::Arrive(who) => {
                    connections.insert(who, now);
                    catalogue.arrive(&agent(who), ConnectionId(now));
                    if let Some((_, gone)) = said.get_mut(&who) {
                        *gone = None;
                    }
                }
                Happens::Bind(who, what) => {
                    let Some(at) = connections.get(&who) else { continue };
                    let known = said.values().any(|(list, _)| *list == what);
                    let bound = catalogue.bind(&agent(who), ConnectionId(*at), [what; 32]);
                    prop_assert_eq!(bound.is_ok(), known && !is_gone(&said, who));
                    if bound.is_ok() {
                        said.insert(who, (what, None));
                    }
                }
                Happens::Learn(who, what) => {
                    let Some(at) = connections.get(&who) else { continue };
                    let learned = catalogue.learn((&agent(who), ConnectionId(*at)), [what; 32], &Arc::new(what), 10);
                    prop_assert_eq!(learned.is_ok(), !is_gone(&said, who));
                    if learned.is_ok() {
                        said.insert(who, (what, None));
                    }
                }
                Happens::Leave(who) => {
                    let Some(at) = connections.get(&who) else { continue };
                    // told twice: of no effect
                    for _ in 0..2 {
                        catalogue.leave(&agent(who), ConnectionId(*at));
                    }
                    if let Some((_, gone)) = said.get_mut(&who) {
                        gone.get_or_insert(step);
                    }
                }
                Happens::Late(who, what) => {
                    let late = (&agent(who), ConnectionId(1));
                    catalogue.leave(late.0, late.1);
                    if said.contains_key(&who) {
                        prop_assert_eq!(catalogue.learn(late, [what; 32], &Arc::new(what), 10), Err(Superseded));
                    }
                }
            }
            let mut left: Vec<(usize, u32)> =
                said.iter().filter_map(|(who, (_, gone))| Some(((*gone)?, *who))).collect();
            left.sort_unstable();
            for (_, who) in left.iter().take(left.len().saturating_sub(away)) {
                said.remove(who);
                connections.remove(who);
            }
            for who in 0..5 {
                prop_assert_eq!(catalogue.of(&agent(who)).map(|(list, _)| **list), said.get(&who).map(|it| it.0), "agent {}", who);
            }
            let lists: BTreeSet<u8> = said.values().map(|(list, _)| *list).collect();
            prop_assert_eq!(catalogue.size(), (lists.len(), lists.len() * 10));
            prop_assert_eq!(catalogue.gone.len(), left.len().min(away));
        }
    }
}

#[test]
fn an_agent_that_came_back_is_not_forgotten_for_having_been_away() {
    let bounds = Bounds { lists: 1, ..Bounds::default() };
    run(
        bounds,
        &[
            Learn(1, 1, A, Ok(())),
            Leave(1, 1),
            Arrive(1, 2),
            Bind(1, 2, A, Ok(())),
            Learn(2, 3, B, Err(Full)),
            Holds(1, Some((A, Current))),
        ],
    );
}

#[test]
fn one_that_says_something_before_its_arrival_is_told_is_not_away() {
    let bounds = Bounds { away: 1, ..Bounds::default() };
    run(
        bounds,
        &[
            Learn(1, 1, A, Ok(())),
            Leave(1, 1),
            Bind(1, 2, A, Ok(())),
            Learn(2, 3, B, Ok(())),
            Leave(2, 3),
            Holds(1, Some((A, Current))),
            Holds(2, Some((B, LastKnown))),
        ],
    );
}

#[test]
fn what_is_said_again_changes_nothing_and_what_nobody_holds_is_handed_out_once() {
    let mut catalogue: Catalogue<ListDigest> = Catalogue::new(Bounds::default());
    let (web, at) = (agent(1), ConnectionId(1));
    assert_eq!(catalogue.learn((&web, at), A, &Arc::new(A), 10), Ok(true));
    assert_eq!(catalogue.learn((&web, at), A, &Arc::new(A), 10), Ok(false));
    assert_eq!(catalogue.bind(&web, at, A), Ok(false));
    assert!(catalogue.holds(&web, at, A) && !catalogue.holds(&web, at, B));
    assert!(!catalogue.holds(&web, ConnectionId(2), A) && !catalogue.holds(&agent(2), at, A));
    catalogue.arrive(&web, ConnectionId(2));
    assert!(!catalogue.holds(&web, ConnectionId(2), A), "it has not said so in this session");
    assert_eq!(catalogue.bind(&web, ConnectionId(2), A), Ok(true));
    assert!(catalogue.take_dropped().is_empty());
    assert_eq!(catalogue.learn((&web, ConnectionId(2)), B, &Arc::new(B), 10), Ok(true));
    assert_eq!(catalogue.take_dropped(), [Arc::new(A)]);
    assert!(catalogue.take_dropped().is_empty());
    catalogue.leave(&web, ConnectionId(2));
    assert!(!catalogue.holds(&web, ConnectionId(2), B), "it is away");
}

#[test]
fn what_an_agent_said_before_its_session_is_the_last_that_is_known() {
    run(
        Bounds { away: 1, ..Bounds::default() },
        &[
            Learn(1, 1, A, Ok(())),
            Holds(1, Some((A, Current))),
            // neither the same session nor an older one changes that
            Arrive(1, 1),
            Arrive(1, 0),
            Holds(1, Some((A, Current))),
            Arrive(1, 2),
            Holds(1, Some((A, LastKnown))),
            Learn(1, 1, B, Err(Superseded)),
            // it is here, and not forgotten for those that are away
            Leave(1, 2),
            Arrive(1, 3),
            Learn(2, 1, A, Ok(())),
            Leave(2, 1),
            Holds(1, Some((A, LastKnown))),
            Holds(2, Some((A, LastKnown))),
        ],
    );
}
