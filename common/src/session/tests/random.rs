//! Random lives of two honest sessions: whatever happens, everybody is told once and nobody is blamed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::session::StopReason;
use crate::wire::flight::Progress;
use crate::wire::{Bye, ByeCode, Fault, FaultCode};

#[derive(Debug, Clone)]
enum Op {
    Call { size: usize, timeout: u64 },
    Cancel(usize),
    Abandon(usize),
    Respond(usize, usize),
    Value(usize, usize),
    Progress(usize),
    Notify(usize),
    Ping,
    Take(usize),
    Pass(u64),
    Step(usize),
    Close,
    Cut,
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 0usize..300, 2 => 300usize..20_000, 1 => 60_000usize..70_000];
    prop_oneof![
        8 => (size.clone(), 0u64..3000).prop_map(|(size, timeout)| Op::Call { size, timeout }),
        2 => any::<usize>().prop_map(Op::Cancel),
        2 => any::<usize>().prop_map(Op::Abandon),
        8 => (any::<usize>(), size.clone()).prop_map(|(n, size)| Op::Respond(n, size)),
        8 => (any::<usize>(), size.clone()).prop_map(|(n, size)| Op::Value(n, size)),
        2 => any::<usize>().prop_map(Op::Progress),
        1 => size.prop_map(Op::Notify),
        1 => Just(Op::Ping),
        6 => (0usize..20).prop_map(Op::Take),
        2 => (1u64..20_000).prop_map(Op::Pass),
        8 => (1usize..10).prop_map(Op::Step),
        1 => Just(Op::Close),
        1 => Just(Op::Cut),
    ]
}

/// What somebody outside can know of one end.
#[derive(Default)]
struct Outside {
    /// Calls that were sent, and whether their waiter came back.
    calls: Vec<(CallId, u32, bool)>,
    /// Requests that came, until they are answered or cut off.
    owed: Vec<RequestId>,
    /// Values that arrived and were not taken.
    values: Vec<(CallId, usize)>,
    /// How many values came of each call.
    came: BTreeMap<CallId, usize>,
    closed: bool,
}

impl Outside {
    fn back(&mut self, token: u32) {
        let call = self.calls.iter_mut().find(|(_, t, _)| *t == token).expect("a call of ours");
        assert!(!std::mem::replace(&mut call.2, true), "token {token} came back twice");
    }

    fn hear(&mut self, event: Event<u32>) {
        assert!(!self.closed, "{event:?} after the end");
        match event {
            Event::Request(incoming) => {
                assert!(!self.owed.contains(&incoming.id));
                self.owed.push(incoming.id);
            }
            Event::Stop(id, StopReason::Closed) => {
                let at = self.owed.iter().position(|owed| *owed == id).expect("owed");
                self.owed.remove(at);
            }
            Event::Stop(id, _) | Event::Credit(id, _) => assert!(self.owed.contains(&id)),
            Event::Value(call, data) => {
                self.values.push((call, data.len()));
                *self.came.entry(call).or_default() += 1;
            }
            Event::Answered(token, _) | Event::Expired(token) => self.back(token),
            Event::Closed(reason, waiters) => {
                assert!(!matches!(reason, CloseReason::Violation(_)), "an honest peer was blamed: {reason}");
                waiters.into_iter().for_each(|token| self.back(token));
                self.closed = true;
            }
            Event::Progress(..) | Event::Notification(_) | Event::Pong(..) => {}
        }
    }
}

struct World {
    pair: Pair,
    outside: [Outside; 2],
    tokens: u32,
}

impl World {
    fn hear(&mut self) {
        for end in 0..2 {
            for event in self.pair.take(end) {
                self.outside[end].hear(event);
            }
        }
    }

    fn call_of(&self, end: usize, n: usize) -> Option<CallId> {
        let calls = &self.outside[end].calls;
        calls.get(n.checked_rem(calls.len())?).map(|(call, ..)| *call)
    }

    fn owed_of(&self, end: usize, n: usize) -> Option<RequestId> {
        let owed = &self.outside[end].owed;
        owed.get(n.checked_rem(owed.len())?).cloned()
    }

    fn apply(&mut self, end: usize, op: &Op) {
        let now = self.pair.now;
        match *op {
            Op::Call { size, timeout } => {
                self.tokens += 1;
                let call = large(size, Duration::from_millis(timeout));
                match self.pair.ends[end].call(call, self.tokens, now) {
                    Ok(call) => self.outside[end].calls.push((call, self.tokens, false)),
                    Err((token, _)) => assert_eq!(token, self.tokens),
                }
            }
            Op::Cancel(n) => {
                if let Some(call) = self.call_of(end, n) {
                    self.pair.ends[end].cancel(call);
                }
            }
            Op::Abandon(n) => {
                if let Some(call) = self.call_of(end, n)
                    && let Some(token) = self.pair.ends[end].abandon(call)
                {
                    self.outside[end].back(token);
                }
            }
            Op::Respond(n, size) => {
                if let Some(id) = self.owed_of(end, n) {
                    let fault = Fault::new(FaultCode::Failed, "x".repeat(size));
                    let result = if n % 3 == 0 { Err(fault) } else { Ok(text(size)) };
                    assert!(self.pair.ends[end].respond(&id, result));
                    self.outside[end].owed.retain(|owed| *owed != id);
                }
            }
            Op::Value(n, size) => {
                if let Some(id) = self.owed_of(end, n) {
                    // with or without credit
                    let _sent = self.pair.ends[end].value(&id, text(size));
                }
            }
            Op::Progress(n) => {
                if let Some(id) = self.owed_of(end, n) {
                    self.pair.ends[end]
                        .progress(&id, Progress { completed: 1, total: None, details: text(n % 500) });
                }
            }
            Op::Notify(size) => {
                let _sent = self.pair.ends[end].notify("note".into(), text(size));
            }
            Op::Ping => {
                self.pair.ends[end].ping(now);
            }
            Op::Take(n) => {
                let n = n.min(self.outside[end].values.len());
                for (call, len) in self.outside[end].values.drain(..n) {
                    self.pair.ends[end].consumed(call, len);
                }
            }
            Op::Pass(ms) => self.pair.run(Duration::from_millis(ms)),
            Op::Step(n) => {
                for _ in 0..n {
                    self.pair.step(now + SECOND);
                }
            }
            Op::Close => self.pair.ends[end].close(Bye::new(ByeCode::Idle, "enough")),
            Op::Cut => self.pair.cut(),
        }
        self.hear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_waiter_comes_back_once_and_nothing_is_left(
        ops in proptest::collection::vec((0usize..2, op()), 1..150),
        rare in 0usize..3,
    ) {
        let mut world = World { pair: Pair::new(&terms()), outside: Default::default(), tokens: 0 };
        for (end, op) in &ops {
            // two of three lives go on to the last operation
            if rare != 0 && matches!(op, Op::Close | Op::Cut) {
                continue;
            }
            world.apply(*end, op);
            for (end, outside) in world.outside.iter().enumerate() {
                let waiting = outside.calls.iter().filter(|(_, _, back)| !back).count();
                prop_assert_eq!(world.pair.ends[end].in_flight(), (waiting, outside.owed.len()));
            }
        }
        world.pair.cut();
        world.pair.run(60 * SECOND);
        world.hear();
        for (session, outside) in world.pair.ends.iter_mut().zip(&world.outside) {
            prop_assert!(outside.closed && outside.owed.is_empty());
            prop_assert!(outside.calls.iter().all(|(_, _, back)| *back));
            prop_assert_eq!((session.in_flight(), session.poll_timeout()), ((0, 0), None));
            prop_assert!(session.poll_event().is_none());
        }
    }
}
