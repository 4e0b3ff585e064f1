//! What an agent asks the manager, what the manager has it do, and all answers are lost once, with and without the connection:
//! whoever asked is told in time, nothing is done or recorded twice, and life goes on.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod asker;

use std::sync::Arc;
use std::time::Duration;

use redpoll_common::api::events::EventList;
use redpoll_common::api::method;
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::{Call, CallError};
use redpoll_tests::middle::Plan;
use redpoll_tests::middle::known::{ASKED_BY_AGENTS, BESIDE_QUESTIONS, ORDERS, RECORDED, questions};
use redpoll_tests::work::numbers;
use redpoll_tests::{eventually, within};
use serde_json::{Value, json};

use self::asker::{Asker, Stage};

/// How many agents lose something at the same time.
const AT_ONCE: usize = 5;
/// How long an operator waits for what an agent is to do.
const ORDER: Duration = Duration::from_millis(1500);
/// How long an agent waits for an answer, in milliseconds, and how often it asks.
const TWICE: (u64, u64) = (800, 2);
/// Prints more than a window holds, so that credit has to be given.
const MUCH: &str = "head -c 600000 /dev/zero";

/// Loses one message after the other.
struct Loser {
    asker: Asker,
    plan: Plan,
    /// A word that belongs to nothing else.
    word: String,
    /// How many sessions the agent has had before.
    sessions: usize,
}

impl Loser {
    async fn lose(&self) {
        let name = self.plan.name.as_str();
        let method = name.rsplit(' ').next().unwrap();
        match name.contains(" of ") || !(ASKED_BY_AGENTS.contains(&method) || ORDERS.contains(&method)) {
            true => self.beside(name).await,
            false if ASKED_BY_AGENTS.contains(&method) => self.question(method).await,
            false => self.order(method).await,
        }
        self.back().await;
    }

    /// Waits until it was lost, and the agent is there again.
    async fn back(&self) {
        self.asker.middle.lost().await;
        let anew = || !self.plan.cut || self.asker.middle.sessions() > self.sessions;
        eventually("a new session", async || anew().then_some(())).await;
        self.asker.connected().await;
    }

    fn begin(&self) {
        self.asker.middle.lose(self.plan.clone());
    }

    fn answer_lost(&self) -> bool {
        self.plan.name.contains(": answer to ")
    }

    /// What the first try of a question is told.
    fn first(&self) -> &'static str {
        if self.plan.cut { "lost" } else { "late" }
    }

    /// Has the agent ask twice; the first try is in vain.
    async fn twice(&self, method: &str, kwargs: &Value) -> Value {
        self.begin();
        let (told, answer) = self.asker.ask(method, kwargs, TWICE).await;
        assert_eq!(told, [self.first(), "answered"], "{:?}", self.plan);
        answer
    }

    async fn question(&self, method: &str) {
        let (asker, word, plan) = (&self.asker, &self.word, &self.plan);
        let times = 1 + usize::from(self.answer_lost());
        let operator = &asker.world().operator;
        match method {
            method::EVENTS_EMIT => {
                self.twice(method, &json!({ "type": word, "data": 1 })).await;
                let asked = json!({ "type": format!("custom.{word}") });
                let events = operator.ask(method::EVENTS_LIST, &asked).await.unwrap();
                let events = events.decode::<EventList>().unwrap().events;
                assert_eq!(events.len(), times, "{plan:?}: nobody but the procedure emits again");
            }
            method::JOBS_SUBMIT => {
                let answer = self.twice(method, &asker.submission("seq 3", word)).await;
                assert_eq!(answer["existing"], json!(self.answer_lost()), "{plan:?}");
                asker.oracle.succeeded_once(operator, answer["job"].as_str().unwrap(), &numbers(3)).await;
                let jobs = asker.own_jobs().await;
                let same = jobs.iter().filter(|job| job.key.as_deref() == Some(word)).count();
                assert_eq!(same, 1, "{plan:?}");
            }
            method::JOBS_CANCEL => {
                let job = asker.own_job("exec sleep 300", word).await;
                asker.oracle.started(&job).await;
                self.begin();
                let (told, _) = asker.ask(method, &json!({ "job": job }), TWICE).await;
                assert_eq!((told.len(), told[0].as_str()), (2, self.first()), "{plan:?}");
                // it may have ended meanwhile
                assert!(told[1] == "answered" || told[1].contains("wrong_state"), "{plan:?}: {told:?}");
                let end = operator.job_ended(&job).await.end.unwrap();
                assert_eq!((end.outcome.as_str(), end.started), ("cancelled", Some(true)), "{plan:?}");
                assert_eq!(asker.oracle.starts(&job), 1, "{plan:?}");
            }
            "site.ask" => {
                self.twice(method, &json!({ "word": word })).await;
                assert_eq!(asker.stage.asked(word), times, "{plan:?}: nobody but the procedure asks again");
            }
            method::MANAGER_ECHO => {
                let answer = self.twice(method, &json!({ "word": word })).await;
                assert_eq!(answer["kwargs"], json!({ "word": word }));
            }
            method::MANAGER_TIME => drop(self.twice(method, &json!({})).await),
            method::JOBS_FOLLOW | method::JOBS_READ | method::JOBS_RESULT | method::JOBS_SHOW => {
                let job = asker.own_job("seq 3", word).await;
                asker.oracle.succeeded_once(operator, &job, &numbers(3)).await;
                self.twice(method, &json!({ "job": job })).await;
            }
            other => panic!("how does an agent ask for {other}?"),
        }
    }

    /// An operator asks for something that the manager has the agent do.
    async fn ordered(&self, method: &str, kwargs: &Value) -> Result<Value, Fault> {
        let call = Call::new(method, ORDER).with_kwargs(Raw::encode(kwargs).unwrap());
        let answer = self.asker.world().operator.peer().call(call).await.map_err(CallError::into_fault);
        answer.map(|answer| answer.decode().unwrap())
    }

    /// Gives an order that is lost, or its answer, and then again.
    async fn order_twice(&self, method: &str, kwargs: &Value) -> Value {
        self.begin();
        let fault = self.ordered(method, kwargs).await.unwrap_err();
        let code = if self.plan.cut { FaultCode::AgentGone } else { FaultCode::TimedOut };
        assert_eq!(fault.code, code, "{:?}: {fault}", self.plan);
        self.back().await;
        self.ordered(method, kwargs).await.unwrap()
    }

    async fn order(&self, method: &str) {
        let (asker, plan) = (&self.asker, &self.plan);
        let (id, procedure) = (&asker.id, format!("web.{}", self.word));
        asker.manifests.shell(&procedure, "", "echo '{\"result\":1}'");
        let (agent, switch) = (json!({ "agent": id }), json!({ "agent": id, "procedure": procedure }));
        if method != "rp.agent.reload" && method != "rp.agent.procedures" {
            self.ordered(method::AGENTS_RELOAD, &agent).await.unwrap();
        }
        match method {
            "rp.agent.reload" => {
                let answer = self.order_twice(method::AGENTS_RELOAD, &agent).await;
                assert_eq!(answer["added"], json!(u8::from(!self.answer_lost())), "{plan:?}");
            }
            "rp.agent.procedures" => {
                self.begin();
                // the list may be asked for, and the connection be gone, before this is answered
                let answer = self.ordered(method::AGENTS_RELOAD, &agent).await;
                assert!(answer.is_ok() || plan.cut, "{plan:?}: {answer:?}");
                asker.middle.lost().await;
                // whoever asked waits longer than a test; who comes anew is asked anew
                asker.middle.cut();
            }
            method::PROCEDURES_DISABLE | method::PROCEDURES_ENABLE => {
                let on = method == method::PROCEDURES_ENABLE;
                if on {
                    self.ordered(method::PROCEDURES_DISABLE, &switch).await.unwrap();
                }
                let answer = self.order_twice(method, &switch).await;
                let done = json!({ "procedure": procedure, "enabled": on, "changed": !self.answer_lost() });
                assert_eq!(answer, done, "{plan:?}");
            }
            "rp.policy.test" => {
                let asked = json!({ "agents": [id], "procedure": procedure });
                self.begin();
                let answer = self.ordered(method::JOBS_PREVIEW, &asked).await.unwrap();
                let verdict = &answer["agents"][0]["verdict"];
                assert!(["unknown", "away"].map(Value::from).contains(verdict), "{plan:?}: {answer}");
                self.back().await;
                let answer = self.ordered(method::JOBS_PREVIEW, &asked).await.unwrap();
                assert_eq!(answer["agents"][0]["verdict"], "would_run", "{plan:?}: {answer}");
            }
            other => panic!("how does a manager come to ask for {other}?"),
        }
        self.known(&procedure, method != method::PROCEDURES_DISABLE).await;
    }

    /// Waits until the manager knows whether the agent offers this.
    async fn known(&self, procedure: &str, offered: bool) {
        let asked = json!({ "agent": self.asker.id, "procedure": procedure });
        eventually(&format!("{procedure} is known after {:?}", self.plan), async || {
            let answer = self.ordered(method::AGENTS_PROCEDURES, &asked).await.ok()?;
            let is_off = answer["procedures"][0].as_object()?.contains_key("disabled");
            (answer["known"] == true && is_off != offered).then_some(())
        })
        .await;
    }

    async fn beside(&self, name: &str) {
        let (asker, plan, word) = (&self.asker, &self.plan, &self.word);
        let operator = &asker.world().operator;
        match name {
            "agent: rp.cancel of site.slow" => {
                self.begin();
                let (told, _) = asker.ask("site.slow", &json!({}), (300, 1)).await;
                assert_eq!(told, ["late"], "{plan:?}");
                asker.stage.slow.ended().await;
            }
            "agent: rp.credit of rp.jobs.follow" => {
                let job = asker.own_job(MUCH, word).await;
                operator.job_ended(&job).await;
                self.begin();
                let (told, _) = asker.ask(method::JOBS_FOLLOW, &json!({ "job": job }), (1500, 2)).await;
                assert_eq!(told.last().unwrap(), "answered", "{plan:?}: {told:?}");
                assert!(!plan.cut || told[0] == "lost", "{plan:?}: {told:?}");
            }
            "agent: rp.job.report with progress" => self.begin(),
            "agent: rp.progress of test.steps" => {
                self.begin();
                let answer = operator.call(&asker.id, "test.steps", &json!({})).await;
                match answer {
                    Ok(_) => assert!(!plan.cut, "{plan:?}"),
                    Err(fault) => {
                        assert!(plan.cut && fault.code == FaultCode::AgentGone, "{plan:?}: {fault}")
                    }
                }
            }
            "manager: rp.progress of site.ask" => {
                self.begin();
                let (told, _) = asker.ask("site.ask", &json!({ "word": word }), TWICE).await;
                let expected: &[&str] = if plan.cut { &["lost", "answered"] } else { &["answered"] };
                assert_eq!(told, expected, "{plan:?}");
            }
            // a gap is a broken connection
            "manager: rp.value of site.ask" | "manager: rp.value of rp.jobs.follow" => {
                let job = asker.own_job("seq 3; sleep 0.3; seq 3", word).await;
                let method = name.rsplit(' ').next().unwrap();
                self.begin();
                let (told, _) = asker.ask(method, &json!({ "job": job }), (5_000, 2)).await;
                assert_eq!(told, ["lost", "answered"], "{plan:?}");
            }
            "manager: sys.log" => {
                self.begin();
                let told = json!({ "agent": asker.id, "type": "sys.log", "data": word });
                self.ordered(method::NOTIFY, &told).await.unwrap();
                self.back().await;
                assert!(!asker.log().contains(word), "{plan:?}");
                self.ordered(method::NOTIFY, &told).await.unwrap();
                eventually("the next one comes", async || asker.log().contains(word).then_some(())).await;
            }
            other => panic!("how does {other} come about?"),
        }
        self.steps().await;
    }

    /// A job that says how far it is.
    async fn steps(&self) {
        let submit =
            redpoll_common::api::submit::SubmitArguments::new(vec![self.asker.id.clone()], "test.steps");
        let operator = &self.asker.world().operator;
        let end = operator.job_ended(&operator.submit(&submit).await.unwrap()).await.end.unwrap();
        assert_eq!(
            (end.outcome.as_str(), end.started, end.items),
            ("succeeded", Some(true), 5),
            "{:?}",
            self.plan
        );
    }
}

/// Loses each of these, of a few agents, one after the other.
async fn lose_each(cut: bool) {
    let mut names = questions("agent", "manager", ASKED_BY_AGENTS);
    names.extend(questions("manager", "agent", ORDERS));
    names.extend(BESIDE_QUESTIONS.iter().map(|&name| name.to_owned()));
    let stage = Stage::new().await;
    let agents = (0..AT_ONCE).map(async |agent| {
        let mut asker = Asker::new(stage.clone(), format!("asker-{agent}"), false, None).await;
        for (number, name) in names.iter().enumerate().skip(agent).step_by(AT_ONCE) {
            let plan = Plan { name: name.clone(), cut };
            let (word, sessions) = (format!("word{number}"), asker.middle.sessions());
            let loser = Loser { asker, plan: plan.clone(), word, sessions };
            within(Duration::from_secs(30), &format!("{plan:?}"), Box::pin(loser.lose())).await;
            asker = loser.asker;
        }
        asker.middle.drained().await;
    });
    futures_util::future::join_all(agents).await;
    end(stage).await;
}

async fn end(stage: Arc<Stage>) {
    let mut world = Arc::into_inner(stage).unwrap().world;
    world.nobody_else_noticed().await;
}

#[tokio::test]
async fn questions_orders_and_answers_may_be_lost_on_a_connection_that_stays() {
    lose_each(false).await;
}

#[tokio::test]
async fn questions_orders_and_answers_may_be_lost_with_their_connection() {
    lose_each(true).await;
}

#[tokio::test]
async fn a_run_of_an_agents_own_is_recorded_once_whatever_is_lost_of_telling_it() {
    let stage = Stage::new().await;
    let names = questions("agent", "manager", RECORDED);
    let plans = names.iter().flat_map(|name| [false, true].map(|cut| Plan { name: name.clone(), cut }));
    let agents = plans.enumerate().map(async |(number, plan)| {
        let asker = Asker::new(stage.clone(), format!("clock-{number}"), true, Some(plan.clone())).await;
        asker.middle.lost().await;
        eventually(&format!("it is told after {plan:?}"), async || (asker.untold() == 0).then_some(())).await;
        let jobs = asker.own_jobs().await;
        let outcomes: Vec<_> = jobs.iter().map(|job| (&*job.procedure, job.outcome.as_deref())).collect();
        assert_eq!(outcomes, [("test.wait", Some("succeeded"))], "{plan:?}");
        let events = stage.world.operator.ask(method::EVENTS_LIST, &json!({ "type": "job.recorded" })).await;
        let events = events.unwrap().decode::<EventList>().unwrap().events;
        let mine = events.iter().filter(|event| event.agent.as_deref() == Some(&asker.id)).count();
        assert_eq!(mine, 1, "{plan:?}");
    });
    futures_util::future::join_all(agents).await;
    end(stage).await;
}
