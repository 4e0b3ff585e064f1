//! How much of each run was told: what comes twice is left out, what goes on later begins exactly there.

use std::collections::BTreeMap;

use redpoll_common::api::items::{FollowEvent, FollowFrom, Missing};
use redpoll_common::api::jobs::ProgressSummary;
use redpoll_common::job::Outcome;

/// Items are missing between two that were told, and the manager did not say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("of attempt {attempt} on {agent} item {expected} was to come, and {found} came")]
pub struct Gap {
    /// The agent.
    pub agent: String,
    /// The attempt.
    pub attempt: u16,
    /// The number that was to come.
    pub expected: u64,
    /// The number that came.
    pub found: u64,
}

/// What was told of all runs of a job.
#[derive(Debug, Clone, Default)]
pub struct Cursors {
    runs: BTreeMap<String, Cursor>,
    /// Reading began at the first item, so that the first number of every run is known.
    from_first: bool,
}

#[derive(Debug, Clone, Default)]
struct Cursor {
    attempt: u16,
    /// The first item that was not told; `None` before the first one where that may have any number.
    next: Option<u64>,
    end: Option<String>,
    state: Option<String>,
    progress: Option<ProgressSummary>,
}

impl Cursors {
    /// Nothing was told. `from_first`: the first item of each run is number 0.
    pub fn new(from_first: bool) -> Self {
        Self { runs: BTreeMap::new(), from_first }
    }

    /// Of the run on `agent` all before this item of this attempt is known.
    pub fn known_before(agent: &str, attempt: u16, next: u64) -> Self {
        let cursor = Cursor { attempt, next: Some(next), ..Cursor::default() };
        Self { runs: BTreeMap::from([(agent.to_owned(), cursor)]), from_first: false }
    }

    /// Takes what came and gives what of it is new.
    ///
    /// # Errors
    /// [`Gap`] when items are missing that the manager does not tell as missing.
    pub fn take(&mut self, event: FollowEvent) -> Result<FollowEvent, Gap> {
        let first = self.from_first.then_some(0);
        let FollowEvent { agent, attempt, state, items, missing, progress, end } = event;
        let mut missing = missing.into_iter().peekable();
        let mut news = FollowEvent::of(agent.clone(), attempt);
        let cursor = self.runs.entry(agent.clone()).or_insert_with(|| Cursor {
            attempt,
            next: first,
            ..Cursor::default()
        });
        if attempt < cursor.attempt {
            return Ok(news);
        }
        if attempt > cursor.attempt {
            // attempt 0 is the time before the first offer; each one after the first is told from its beginning
            let next = if cursor.attempt == 0 { first } else { Some(0) };
            *cursor = Cursor { attempt, next, end: cursor.end.take(), ..Cursor::default() };
        }
        for item in items {
            while let Some(gap) = missing.next_if(|gap| gap.until <= item.n) {
                news.missing.extend(cursor.pass(gap));
            }
            match cursor.next {
                Some(next) if item.n < next => continue,
                Some(expected) if item.n > expected => {
                    return Err(Gap { agent, attempt, expected, found: item.n });
                }
                Some(_) | None => {}
            }
            cursor.next = Some(item.n.saturating_add(1));
            news.items.push(item);
        }
        news.missing.extend(missing.filter_map(|gap| cursor.pass(gap)));
        news.state = state.filter(|state| cursor.state.replace(state.clone()).as_ref() != Some(state));
        news.progress =
            progress.filter(|progress| cursor.progress.replace(progress.clone()).as_ref() != Some(progress));
        news.end = end.filter(|end| {
            // what may have run is told again when it becomes known how it ended; nothing else ever changes
            let open = match cursor.end.as_deref() {
                None => true,
                Some(told) => told == Outcome::Unknown.as_str() && told != end.outcome,
            };
            if open {
                cursor.end = Some(end.outcome.clone());
            }
            open
        });
        Ok(news)
    }

    /// Where to go on. Runs of which no item was told, and whose first one may have any number, are left out: they begin as
    /// at first.
    pub fn from(&self) -> Vec<FollowFrom> {
        let known = self.runs.iter().filter_map(|(agent, cursor)| {
            let ended = cursor.end.is_some();
            let next = if ended { Some(cursor.next.unwrap_or(0)) } else { cursor.next };
            Some(FollowFrom { agent: agent.clone(), attempt: cursor.attempt, next: next?, ended })
        });
        known.collect()
    }

    /// The attempt and the number to go on with, when all that was told is of one run.
    pub fn next_of_one(&self) -> Option<(u16, u64)> {
        let mut runs = self.runs.values();
        match (runs.next(), runs.next()) {
            (Some(cursor), None) => Some((cursor.attempt, cursor.next?)),
            (_, _) => None,
        }
    }

    /// How the run on this agent ended.
    pub fn end_of(&self, agent: &str) -> Option<&str> {
        self.runs.get(agent)?.end.as_deref()
    }
}

impl Cursor {
    /// Passes over items that are not there, and gives what of them was not told before. Nothing of a gap that begins later: what
    /// stands before it has still to come.
    fn pass(&mut self, gap: Missing) -> Option<Missing> {
        let from = self.next.unwrap_or(gap.from);
        if gap.from > from || gap.until <= from {
            return None;
        }
        self.next = Some(gap.until);
        Some(Missing { from, ..gap })
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::api::jobs::EndSummary;
    use redpoll_common::job::{Item, ItemKind};
    use redpoll_common::wire::Raw;

    use super::*;

    fn event(agent: &str, attempt: u16, numbers: std::ops::Range<u64>) -> FollowEvent {
        let items = numbers.map(|n| Item { n, kind: ItemKind::Value, data: Raw::nil() }).collect();
        FollowEvent { items, ..FollowEvent::of(agent, attempt) }
    }

    fn end(outcome: &str) -> Option<EndSummary> {
        let outcome = outcome.to_owned();
        Some(EndSummary { outcome, started: None, result: None, fault: None, items: 0, duration_ms: None })
    }

    fn told(cursors: &mut Cursors, event: FollowEvent) -> Vec<u64> {
        cursors.take(event).unwrap().items.iter().map(|item| item.n).collect()
    }

    #[test]
    fn what_comes_twice_is_told_once() {
        let mut cursors = Cursors::new(true);
        assert_eq!(told(&mut cursors, event("a", 1, 0..3)), [0, 1, 2]);
        assert_eq!(told(&mut cursors, event("a", 1, 1..5)), [3, 4]);
        assert_eq!(told(&mut cursors, event("b", 1, 0..1)), [0]);
        assert_eq!(told(&mut cursors, event("a", 1, 0..5)), [0_u64; 0]);
        let from = |agent: &str, next| FollowFrom { agent: agent.into(), attempt: 1, next, ended: false };
        assert_eq!(cursors.from(), [from("a", 5), from("b", 1)]);
    }

    #[test]
    fn a_gap_is_noticed() {
        let mut cursors = Cursors::new(true);
        assert!(cursors.take(event("a", 1, 1..2)).is_err());
        let mut cursors = Cursors::new(true);
        told(&mut cursors, event("a", 1, 0..1));
        let gap = cursors.take(event("a", 1, 2..3)).unwrap_err();
        assert_eq!((gap.expected, gap.found), (1, 2));
    }

    #[test]
    fn a_gap_that_the_manager_tells_of_is_passed_over_once() {
        let mut cursors = Cursors::new(true);
        let gap = |from, until| vec![Missing { from, until }];
        let torn = |missing, numbers| FollowEvent { missing, ..event("a", 1, numbers) };
        let news = cursors.take(torn(gap(0, 2), 2..4)).unwrap();
        assert_eq!((news.missing, news.items.len(), cursors.from()[0].next), (gap(0, 2), 2, 4));
        // alone, again, and with what of it is new
        for (told, new, next) in
            [(gap(4, 6), gap(4, 6), 6), (gap(0, 2), vec![], 6), (gap(4, 9), gap(6, 9), 9)]
        {
            let news = cursors.take(torn(told, 0..0)).unwrap();
            assert_eq!((news.missing, cursors.from()[0].next), (new, next));
        }
        assert!(cursors.take(torn(gap(10, 12), 12..13)).is_err(), "9 is missing, too");
        let mut cursors = Cursors::new(false);
        assert_eq!(cursors.take(torn(gap(5, 9), 9..10)).unwrap().missing, gap(5, 9));
        assert_eq!(cursors.from()[0].next, 10);
    }

    #[test]
    fn another_attempt_begins_anew_and_an_older_one_is_over() {
        let mut cursors = Cursors::new(true);
        told(&mut cursors, event("a", 0, 0..0));
        assert_eq!(told(&mut cursors, event("a", 1, 0..2)), [0, 1]);
        assert_eq!(told(&mut cursors, event("a", 2, 0..1)), [0]);
        assert_eq!(told(&mut cursors, event("a", 1, 2..3)), [0_u64; 0]);
        assert_eq!(cursors.from()[0], FollowFrom { agent: "a".into(), attempt: 2, next: 1, ended: false });
    }

    #[test]
    fn whoever_joins_in_the_middle_begins_where_the_first_item_is() {
        let mut cursors = Cursors::new(false);
        told(&mut cursors, event("a", 0, 0..0));
        assert_eq!(cursors.from(), []);
        assert_eq!(told(&mut cursors, event("a", 1, 7..9)), [7, 8]);
        assert_eq!(cursors.from()[0].next, 9);
        assert!(cursors.take(event("a", 1, 10..11)).is_err());
        assert!(cursors.take(event("a", 2, 5..6)).is_err(), "a second attempt is told from its beginning");
    }

    #[test]
    fn whoever_comes_back_goes_on_there_and_with_a_later_attempt_from_its_beginning() {
        let mut cursors = Cursors::known_before("a", 1, 500);
        assert_eq!(cursors.from(), [FollowFrom { agent: "a".into(), attempt: 1, next: 500, ended: false }]);
        assert_eq!(cursors.next_of_one(), Some((1, 500)));
        assert_eq!(told(&mut cursors, event("a", 1, 499..501)), [500]);
        assert_eq!(told(&mut cursors, event("a", 2, 0..2)), [0, 1]);
        assert_eq!(cursors.next_of_one(), Some((2, 2)));
    }

    #[test]
    fn an_end_is_told_once_and_only_unknown_is_corrected() {
        let mut cursors = Cursors::new(true);
        let ended = |outcome| FollowEvent { end: end(outcome), ..FollowEvent::of("a", 1) };
        let mut new = |outcome| cursors.take(ended(outcome)).unwrap().end.map(|end| end.outcome);
        assert_eq!(new("unknown").as_deref(), Some("unknown"));
        assert_eq!(new("unknown"), None);
        assert_eq!(new("failed").as_deref(), Some("failed"));
        assert_eq!(new("succeeded"), None);
        assert_eq!(cursors.end_of("a"), Some("failed"));
        assert!(cursors.from()[0].ended);
    }

    #[test]
    fn state_and_progress_are_told_when_they_are_news() {
        let mut cursors = Cursors::new(true);
        let mut event = FollowEvent::of("a", 1);
        event.state = Some("running".into());
        event.progress = Some(ProgressSummary { completed: Some(1), total: None, details: None });
        assert!(cursors.take(event.clone()).unwrap().is_news());
        assert!(!cursors.take(event.clone()).unwrap().is_news());
        event.attempt = 2;
        assert!(cursors.take(event).unwrap().is_news());
    }
}
