//! The same for programs that speak the protocol themselves: what they ask, and what they submit with and without a key.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redpoll_common::api::jobs::JobList;
use redpoll_common::api::method;
use redpoll_common::api::submit::SubmitAnswer;
use redpoll_common::wire::Raw;
use redpoll_net::{Call, CallError};
use redpoll_tests::middle::known::{ASKED_BY_PROGRAMS, questions};
use redpoll_tests::middle::{Middle, Plan};
use redpoll_tests::operator::Operator;
use redpoll_tests::work::{Oracle, numbers};
use redpoll_tests::world::{HONEST, World};
use serde_json::json;

use super::AT_ONCE;
use super::case::Stage;

/// How long a program waits for an answer.
const ANSWER: Duration = Duration::from_secs(1);

/// A program with a certificate of its own, and somebody who loses something of it.
struct Program {
    stage: Arc<Stage>,
    id: String,
    plan: Plan,
    middle: Middle,
}

impl Program {
    async fn new(stage: Arc<Stage>, number: usize, plan: Plan) -> Self {
        let (world, id) = (&stage.world, format!("program-{number}"));
        let (manager, own) = (world.authority.manager("m-1"), world.authority.operator(&id));
        let middle = Middle::of_operator(&manager, own, world.address, Some(plan.clone())).await;
        Self { stage, id, plan, middle }
    }

    fn world(&self) -> &World {
        &self.stage.world
    }

    /// Asks in a session of its own.
    async fn ask(&self, method: &str, kwargs: Raw) -> Result<Raw, CallError> {
        let own = self.world().authority.operator(&self.id);
        let program = Operator::dial(self.middle.address(), &own).await;
        program.peer().call(Call::new(method, ANSWER).with_kwargs(kwargs)).await
    }

    /// Asks, and is told that nobody knows: it was sent.
    async fn unanswered(&self, method: &str, kwargs: Raw) {
        let told = self.ask(method, kwargs).await;
        self.middle.lost().await;
        match &told {
            Err(CallError::Closed(_)) if self.plan.cut => {}
            Err(CallError::TimedOut(_)) if !self.plan.cut => {}
            told => panic!("{:?}: {told:?}", self.plan),
        }
    }

    async fn question(&self) {
        let method = self.plan.name.rsplit(' ').next().unwrap();
        self.unanswered(method, Raw::empty_map()).await;
        assert!(self.ask(method, Raw::empty_map()).await.is_ok(), "{:?}: asked again", self.plan);
    }

    /// The jobs that it has.
    async fn jobs(&self) -> Vec<String> {
        let answer = self.world().operator.ask(method::JOBS_LIST, &json!({ "submitter": self.id })).await;
        let list: JobList = answer.unwrap().decode().unwrap();
        list.jobs.into_iter().map(|job| job.job).collect()
    }

    /// Submits. With a key it may ask again; without one it is told no more than that the job may be stored.
    async fn submits(&self, key: Option<&str>) {
        let (operator, plan) = (&self.world().operator, &self.plan);
        let oracle = Oracle::new(self.world().directory(), &self.id);
        let mut submit = oracle.job(HONEST, "seq 3");
        submit.spec.key = key.map(str::to_owned);
        self.unanswered(method::JOBS_SUBMIT, submit.write()).await;
        let answer_lost = plan.name.contains("answer");
        assert_eq!(self.jobs().await.len(), usize::from(answer_lost), "{plan:?}");
        if key.is_some() {
            let again = self.ask(method::JOBS_SUBMIT, submit.write()).await.unwrap();
            let again: SubmitAnswer = again.decode().unwrap();
            assert_eq!(again.existing, answer_lost, "{plan:?}");
            assert_eq!(self.jobs().await, [again.job], "{plan:?}");
        }
        for job in self.jobs().await {
            oracle.succeeded_once(operator, &job, &numbers(3)).await;
        }
    }
}

fn plans(names: Vec<String>) -> impl Iterator<Item = Plan> {
    names.into_iter().flat_map(|name| [false, true].map(|cut| Plan { name: name.clone(), cut }))
}

#[tokio::test]
async fn what_programs_ask_and_submit_may_be_lost() {
    let stage = Stage::new().await;
    let asked = plans(questions("operator", "manager", ASKED_BY_PROGRAMS)).map(|plan| (plan, None));
    let submits = [None, Some("a key")].map(|key| {
        plans(questions("operator", "manager", &[method::JOBS_SUBMIT])).map(move |plan| (plan, Some(key)))
    });
    let all: Vec<_> = asked.chain(submits.into_iter().flatten()).enumerate().collect();
    futures_util::stream::iter(all)
        .for_each_concurrent(AT_ONCE, async |(number, (plan, submit))| {
            let program = Program::new(stage.clone(), number, plan).await;
            match submit {
                None => Box::pin(program.question()).await,
                Some(key) => Box::pin(program.submits(key)).await,
            }
        })
        .await;
    stage.end().await;
}
