//! Compiled schemas of what agents offer. They come from other machines: one takes milliseconds to compile, and megabytes, so none is
//! compiled where requests are answered, and no more are kept than have room together. What is not compiled is left to the agent, which
//! checks it in any case.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redpoll_schema::Schema;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::Procedures;

/// Bytes that all of them may take, by [`Schema::weight`].
const MAX_WEIGHT: usize = 256 * 1024 * 1024;
/// Bytes that one counts as that cannot be used.
const NOTHING: usize = 4096;
/// Different lists whose schema of a procedure is compiled for one request.
const MAX_AT_ONCE: usize = 100;
/// How long a request waits for all of them: one is compiled at a time, in turn with those of other requests.
const WAIT: Duration = Duration::from_secs(5);

/// What a schema is known by: the hash of what the agent says of the procedure.
pub(super) type Key = [u8; 32];
/// `None`: it cannot be used.
pub(super) type Usable = Arc<Option<Schema>>;

/// Those of this process.
pub(super) static COMPILED: Compiled = Compiled::new(MAX_WEIGHT);

static TURN: Semaphore = Semaphore::const_new(1);

/// Has the schemas of a procedure compiled that are not there, as far as there is time and room.
pub(super) async fn compile(lists: Vec<Arc<Procedures>>, procedure: &str) {
    let deadline = Instant::now() + WAIT;
    for list in lists.into_iter().take(MAX_AT_ONCE) {
        let Ok(Ok(turn)) = timeout_at(deadline, TURN.acquire()).await else { return };
        let procedure = procedure.to_owned();
        let compiling = spawn_blocking(move || {
            let _turn = turn;
            list.compile(&procedure);
        });
        // a panic is told by the runtime; what is not there is left to the agent
        let _ended = compiling.await;
    }
}

/// Compiled schemas, those used last as far as they have room.
#[derive(Debug)]
pub(super) struct Compiled {
    max_weight: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kept: BTreeMap<Key, Kept>,
    weight: usize,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    schema: Usable,
    weight: usize,
    /// The number of its last use.
    used: u64,
}

impl Compiled {
    const fn new(max_weight: usize) -> Self {
        Self { max_weight, state: Mutex::new(State { kept: BTreeMap::new(), weight: 0, uses: 0 }) }
    }

    /// The schema, if it is there.
    pub(super) fn get(&self, key: &Key) -> Option<Usable> {
        let mut state = self.state();
        state.uses = state.uses.saturating_add(1);
        let used = state.uses;
        let kept = state.kept.get_mut(key)?;
        kept.used = used;
        Some(kept.schema.clone())
    }

    /// Keeps it, and lets others go for it.
    pub(super) fn put(&self, key: Key, schema: Option<Schema>) {
        // one that cannot be used is an entry all the same, or it would be tried again and again
        let weight = schema.as_ref().map_or(NOTHING, Schema::weight);
        let mut state = self.state();
        state.uses = state.uses.saturating_add(1);
        let kept = Kept { schema: Arc::new(schema), weight, used: state.uses };
        let before = state.kept.insert(key, kept).map_or(0, |before| before.weight);
        state.weight = state.weight.saturating_add(weight).saturating_sub(before);
        while state.weight > self.max_weight
            && let Some(oldest) = state.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key)
        {
            let freed = state.kept.remove(&oldest).map_or(0, |kept| kept.weight);
            state.weight = state.weight.saturating_sub(freed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // nothing panics while it holds the lock
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn those_used_last_are_kept_as_far_as_there_is_room() {
        let schema = || Some(Schema::compile(&json!({"type": "object"})).unwrap());
        let weight = schema().unwrap().weight();
        let compiled = Compiled::new(3 * weight);
        let there = |compiled: &Compiled| {
            let state = compiled.state();
            (state.kept.keys().map(|key| key[0]).collect::<Vec<u8>>(), state.weight)
        };
        (1..=3).for_each(|n| compiled.put([n; 32], schema()));
        assert!(compiled.get(&[1; 32]).is_some() && compiled.get(&[9; 32]).is_none());
        compiled.put([4; 32], schema());
        assert_eq!(there(&compiled), (vec![1, 3, 4], 3 * weight), "the second was used longest ago");
        compiled.put([4; 32], schema());
        assert_eq!(there(&compiled), (vec![1, 3, 4], 3 * weight), "the same twice counts once");
        compiled.put([5; 32], None);
        assert!(compiled.get(&[5; 32]).is_some_and(|schema| schema.is_none()));
        let large = json!({"properties": {"a": {"pattern": "a"}, "b": {"pattern": "b"}}});
        let small = Compiled::new(weight);
        small.put([1; 32], Some(Schema::compile(&large).unwrap()));
        assert_eq!(there(&small), (vec![], 0), "what has no room at all is not kept");
    }
}
