//! How deep what names and describes a job may nest, so that every answer can tell it.

use redpoll_common::job::QueueKey;
use redpoll_common::wire::{Fault, MAX_DEPTH, Raw, scan};

use super::arguments::bad;

/// Levels that stand around a job's info, or the name of its queue, in the deepest answer that has it.
const AROUND: usize = 4;

/// The levels that are left.
const MAX: usize = MAX_DEPTH - AROUND;

/// Refuses what no answer could tell.
pub(super) fn check(what: &str, value: &Raw) -> Result<(), Fault> {
    match levels(value) {
        ..=MAX => Ok(()),
        levels => Err(bad(format!("{what} nests {levels} levels deep; the limit is {MAX}"))),
    }
}

/// The name of a queue as answers tell it. One that is too deep, from an older build, is told as the text that it is shown as: with it
/// nobody could read the rows beside it.
pub(super) fn queue_name(key: &QueueKey) -> Raw {
    let name = key.to_raw();
    if levels(&name) > MAX { Raw::text(&key.to_string()) } else { name }
}

fn levels(value: &Raw) -> usize {
    match value.len() {
        // a level has a byte at least: what is small need not be looked at
        few if few <= MAX => few,
        _ => scan::measure(value.as_bytes()).map_or(MAX_DEPTH, |cost| cost.depth),
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::job::Submitter;
    use redpoll_common::wire::RawMap;

    use super::*;

    fn nested(levels: usize) -> Raw {
        (1..levels)
            .fold(RawMap::new().uint("n", 1).finish(), |inner, _| RawMap::new().raw("n", &inner).finish())
    }

    #[test]
    fn a_name_that_no_answer_holds_is_refused_and_one_that_is_stored_is_told_as_a_text() {
        assert_eq!(check("queue", &nested(28)), Ok(()));
        let refused = check("queue", &nested(29)).unwrap_err();
        assert!(refused.message.contains("queue nests 29 levels deep; the limit is 28"), "{refused}");
        let key = |levels| QueueKey::parse(&nested(levels)).unwrap();
        assert_eq!(queue_name(&key(28)), nested(28));
        let told = queue_name(&key(29));
        assert_eq!(told.as_text(), Some(key(29).to_string().as_str()));
        let agent = Submitter::parse("agent:a1").unwrap();
        assert!(queue_name(&key(28).of(&agent).unwrap()).as_text().is_some(), "a level more");
    }
}
