//! Each kind of message between an agent and its manager is lost once, with and without the connection: every job ends, was
//! started once, and what is said of it is true.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redpoll_common::api::AgentState;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_net::CallError;
use redpoll_tests::middle::known::{SESSION_OF_AGENTS as OF_AGENTS, SESSION_OF_MANAGERS as OF_MANAGERS};
use redpoll_tests::middle::{Middle, Plan};
use redpoll_tests::operator::Operator;
use redpoll_tests::process::Sleeper;
use redpoll_tests::work::{Oracle, numbers};
use redpoll_tests::world::{World, start_agent};
use redpoll_tests::{eventually, in_time, within};
use rustix::process::Signal;
use serde_json::json;

/// How many agents lose something at the same time.
const AT_ONCE: usize = 6;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(6);
/// The window of a call.
const WINDOW: &str = "session.window=256KiB";
/// Prints more than a window holds, so that credit has to be given.
const MUCH: &str = "head -c 600000 /dev/zero";

/// Nobody waits long for what was lost.
const MANAGER: &[&str] =
    &["jobs.offer_timeout=700ms", "admission.hello_timeout=700ms", "session.ping_interval=250ms", WINDOW];
const AGENT: &[&str] = &[
    "manager.hello_timeout=700ms",
    "manager.answer_timeout=700ms",
    "manager.stable_after=0s",
    "session.ping_interval=250ms",
    WINDOW,
];

/// A real agent behind somebody who reads everything.
struct Watched {
    world: Arc<World>,
    id: String,
    middle: Middle,
    oracle: Oracle,
    operator: Operator,
}

impl Watched {
    async fn new(world: Arc<World>, id: String, plan: Option<Plan>) -> Self {
        let own = world.certificate(&id);
        own.write(world.directory(), &format!("agent-{id}"));
        let middle = Middle::listen(&world.authority.manager("m-1"), own, world.address, plan).await;
        let oracle = Oracle::new(world.directory(), &id);
        let operator = world.operator("bea").await;
        Self { world, id, middle, oracle, operator }
    }

    async fn start(&self) -> redpoll_tests::process::Daemon {
        let setting = self.middle.setting();
        let settings = [AGENT, &[&setting]].concat();
        let daemon =
            start_agent(self.world.directory(), &self.id, &self.world.address.to_string(), &settings);
        self.operator.until(&self.id, AgentState::Connected).await;
        daemon
    }

    async fn submit(&self, rest: &str) -> String {
        self.operator.submit(&self.oracle.job(&self.id, rest)).await.unwrap()
    }

    async fn succeeded(&self, job: &str, output: &str) {
        self.oracle.succeeded_once(&self.operator, job, output).await;
    }

    /// Jobs of all sorts: with output, in a queue, one that fails, one that is cancelled while it runs.
    async fn jobs(&self) {
        let plain = self.submit("true").await;
        let printing = self.submit("seq 300").await;
        let failing = self.submit("exit 3").await;
        let queued: Vec<String> = futures_util::stream::iter(0..2)
            .then(async |_| {
                let job = self.oracle.queued(&self.id, &format!("queue of {}", self.id), "seq 3");
                self.operator.submit(&job).await.unwrap()
            })
            .collect()
            .await;
        let endless = self.submit("exec sleep 300").await;
        self.oracle.started(&endless).await;
        self.operator.cancel(&endless).await;
        let cancelled = self.operator.job_ended(&endless).await.end.unwrap();
        assert_eq!((cancelled.outcome.as_str(), cancelled.started), ("cancelled", Some(true)));
        assert_eq!(self.oracle.starts(&endless), 1);
        self.succeeded(&plain, "").await;
        self.succeeded(&printing, &numbers(300)).await;
        for job in queued {
            self.succeeded(&job, &numbers(3)).await;
        }
        let failed = self.operator.job_ended(&failing).await.end.unwrap();
        assert_eq!((failed.outcome.as_str(), failed.started), ("failed", Some(true)));
        assert_eq!(self.oracle.starts(&failing), 1);
    }

    /// Calls beside them: one that gives much, and one whose caller goes away. When something of a call is lost, the call is
    /// lost, and its caller is told in time.
    async fn calls(&self, something_is_lost: bool) {
        let call = Operator::call_of(&self.id, "exec.run", &json!(["sh", "-c", MUCH]), &json!({}), CALL);
        let mut much = self.operator.peer().start(call).await.unwrap();
        let answer = Operator::end_of(&mut much).await;
        assert!(answer.is_ok() || something_is_lost, "{answer:?}");
        let (sleeper, argv) = Sleeper::new(self.world.directory(), &format!("sleeper-{}", self.id));
        let call = Operator::call_of(&self.id, "exec.run", &json!(argv), &json!({}), CALL);
        let endless = self.operator.peer().start(call).await.unwrap();
        let runs = tokio::time::timeout(CALL, sleeper.running()).await;
        drop(endless);
        if runs.is_ok() {
            sleeper.ended().await;
        }
    }
}

/// A session with jobs and calls, and all the ways a session ends.
async fn session(watched: &Watched, plan: Option<&Plan>) {
    let mut agent = watched.start().await;
    tokio::join!(watched.jobs(), watched.calls(plan.is_some()));
    // it says goodbye
    agent.signal(Signal::TERM);
    agent.ended().await;
    let waiting = watched.submit("seq 2").await;
    let _agent = watched.start().await;
    watched.succeeded(&waiting, &numbers(2)).await;
    // a busy machine may have let the calls above end at their deadlines, which are not answered
    let answer = eventually("a call that reaches the agent", async || {
        let call = Operator::call_of(&watched.id, "exec.run", &json!(["true"]), &json!({}), CALL);
        let answer = watched.operator.peer().call(call).await.map_err(CallError::into_fault);
        let lost = |fault: &Fault| matches!(fault.code, FaultCode::AgentAway | FaultCode::AgentGone);
        (!answer.as_ref().is_err_and(lost)).then_some(answer)
    })
    .await;
    assert!(answer.is_ok() || plan.is_some(), "{answer:?}");
    // the manager does: a newer connection of the agent is there, for a moment
    drop(watched.world.line(&watched.id).await);
    watched.operator.until(&watched.id, AgentState::Connected).await;
    match plan {
        Some(_) => watched.middle.lost().await,
        None => watched.middle.saw(&[OF_AGENTS, OF_MANAGERS].concat()).await,
    }
    // life goes on
    let last = watched.submit("seq 4").await;
    watched.succeeded(&last, &numbers(4)).await;
    watched.middle.drained().await;
}

/// Loses each of `names` once, of an agent of its own.
async fn lose_each(names: &[&str], cut: bool) {
    let world = Arc::new(World::start(MANAGER).await);
    let plans = names.iter().map(|name| Plan { name: (*name).to_owned(), cut });
    futures_util::stream::iter(plans.enumerate())
        .for_each_concurrent(AT_ONCE, async |(number, plan)| {
            let watched = Watched::new(world.clone(), format!("watched-{number}"), Some(plan.clone())).await;
            within(Duration::from_secs(60), &format!("{plan:?}"), Box::pin(session(&watched, Some(&plan))))
                .await;
        })
        .await;
    let mut world = Arc::into_inner(world).unwrap();
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn every_message_of_a_session_is_one_that_is_lost_below() {
    let world = Arc::new(World::start(MANAGER).await);
    let watched = Watched::new(world.clone(), "watched-1".to_owned(), None).await;
    in_time("a session in which nothing is lost", Box::pin(session(&watched, None))).await;
    let known: BTreeSet<String> = [OF_AGENTS, OF_MANAGERS].concat().into_iter().map(str::to_owned).collect();
    // the list of procedures is asked for by whoever does not have it yet from an agent that offers the same
    let asked = ["manager: rp.agent.procedures", "agent: answer to rp.agent.procedures"];
    let mut seen = watched.middle.seen();
    // and what a value belongs to is another test's concern
    seen.retain(|name| !asked.contains(&name.as_str()) && !name.contains(" of "));
    assert_eq!(seen, known);
    drop(watched);
    Arc::into_inner(world).unwrap().nobody_else_noticed().await;
}

#[tokio::test]
async fn of_much_output_no_item_is_sent_twice_as_long_as_nothing_is_lost() {
    let world = Arc::new(World::start(&[]).await);
    let watched = Watched::new(world.clone(), "watched-1".to_owned(), None).await;
    let _agent = watched.start().await;
    // several reports are on their way at a time
    let talking = watched.submit("seq 300000").await;
    watched.succeeded(&talking, &numbers(300_000)).await;
    let (items, repeated) = watched.middle.items();
    assert!(items > 30, "{items} items are not much");
    assert_eq!(repeated, 0, "of {items} items");
    drop(watched);
    Arc::into_inner(world).unwrap().nobody_else_noticed().await;
}

#[tokio::test]
async fn what_an_agent_says_may_be_lost_on_a_connection_that_stays() {
    lose_each(OF_AGENTS, false).await;
}

#[tokio::test]
async fn what_an_agent_says_may_be_lost_with_its_connection() {
    lose_each(OF_AGENTS, true).await;
}

#[tokio::test]
async fn what_a_manager_says_may_be_lost_on_a_connection_that_stays() {
    lose_each(OF_MANAGERS, false).await;
}

#[tokio::test]
async fn what_a_manager_says_may_be_lost_with_its_connection() {
    lose_each(OF_MANAGERS, true).await;
}
