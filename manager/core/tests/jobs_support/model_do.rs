//! The steps of the model test.

use proptest::prelude::*;

/// What happens next. Numbers choose among what is there.
#[derive(Debug, Clone)]
pub(crate) enum Do {
    Submit {
        agents: u8,
        queue: u8,
        flags: u8,
        key: Option<u8>,
        within: Option<u16>,
        attempts: u8,
    },
    KeyFound {
        readable: bool,
        late: bool,
    },
    Cancel {
        scope: u8,
        which: u8,
        preview: bool,
    },
    Release(u8),
    Delete(u8),
    Up {
        agent: u8,
        old: bool,
    },
    Down {
        agent: u8,
        old: bool,
    },
    Page {
        agent: u8,
        connection: u8,
        spool: u8,
        max_dno: u8,
        rows: Vec<(u8, u8, bool)>,
        last: bool,
    },
    Answer {
        which: u8,
        answer: u8,
    },
    CancelAnswer {
        which: u8,
        state: u8,
    },
    Report {
        which: u8,
        other: u8,
        begun: bool,
        items: (u8, u8),
        done: Option<(u8, u8, u8)>,
    },
    Callback {
        which: u8,
        taken: bool,
    },
    Oldest,
    Full(bool),
    Settings(u8),
    Pass(u16),
    /// An agent tells of a run that it made by itself.
    Record {
        agents: u8,
        key: Option<u8>,
        outcome: u8,
        items: u8,
    },
    Emit(u8),
    Switched(u8),
    Redact {
        which: u8,
        path: u8,
    },
    Clock {
        base: i16,
        set_by: i8,
    },
    Revoke(u8),
    Restore(u8),
    Cut {
        which: u8,
        connection: u8,
    },
    /// The history does not fit its hashes.
    Broken(u8),
    /// The manager stood still.
    Still,
    /// The process dies, and this step with it.
    Crash(Box<Self>),
}

pub(crate) fn steps() -> impl Strategy<Value = Do> {
    prop_oneof![60 => living(), 1 => living().prop_map(|lost| Do::Crash(Box::new(lost)))]
}

fn living() -> impl Strategy<Value = Do> {
    let byte = any::<u8>;
    prop_oneof![
        16 => (byte(), byte(), byte(), prop::option::weighted(0.3, 0..3_u8), prop::option::weighted(0.3, 1..4_000_u16), byte())
            .prop_map(|(agents, queue, flags, key, within, attempts)| Do::Submit { agents, queue, flags, key, within, attempts }),
        5 => (prop::bool::weighted(0.9), prop::bool::weighted(0.1)).prop_map(|(readable, late)| Do::KeyFound { readable, late }),
        4 => (byte(), byte(), any::<bool>()).prop_map(|(scope, which, preview)| Do::Cancel { scope, which, preview }),
        2 => byte().prop_map(Do::Release),
        2 => byte().prop_map(Do::Delete),
        2 => (byte(), prop::bool::weighted(0.1)).prop_map(|(agent, old)| Do::Up { agent, old }),
        4 => (byte(), prop::bool::weighted(0.1)).prop_map(|(agent, old)| Do::Down { agent, old }),
        12 => (byte(), byte(), byte(), byte(), prop::collection::vec((byte(), byte(), any::<bool>()), 0..5), prop::bool::weighted(0.8))
            .prop_map(|(agent, connection, spool, max_dno, rows, last)| Do::Page { agent, connection, spool, max_dno, rows, last }),
        20 => (byte(), byte()).prop_map(|(which, answer)| Do::Answer { which, answer }),
        3 => (byte(), byte()).prop_map(|(which, state)| Do::CancelAnswer { which, state }),
        20 => (byte(), byte(), any::<bool>(), (0..3_u8, 0..3_u8), prop::option::of((byte(), byte(), byte())))
            .prop_map(|(which, other, begun, items, done)| Do::Report { which, other, begun, items, done }),
        3 => (byte(), any::<bool>()).prop_map(|(which, taken)| Do::Callback { which, taken }),
        3 => Just(Do::Oldest),
        1 => prop::bool::weighted(0.15).prop_map(Do::Full),
        2 => byte().prop_map(Do::Settings),
        2 => (byte(), prop::option::weighted(0.7, 0..3_u8), byte(), 0..3_u8)
            .prop_map(|(agents, key, outcome, items)| Do::Record { agents, key, outcome, items }),
        1 => byte().prop_map(Do::Emit),
        1 => byte().prop_map(Do::Switched),
        3 => (byte(), byte()).prop_map(|(which, path)| Do::Redact { which, path }),
        1 => (any::<i16>(), any::<i8>()).prop_map(|(base, set_by)| Do::Clock { base, set_by }),
        1 => byte().prop_map(Do::Revoke),
        2 => byte().prop_map(Do::Restore),
        1 => (byte(), byte()).prop_map(|(which, connection)| Do::Cut { which, connection }),
        1 => byte().prop_map(Do::Broken),
        1 => Just(Do::Still),
        12 => prop_oneof![4 => 0..1_500_u16, 1 => 0..10_000_u16].prop_map(Do::Pass),
    ]
}
