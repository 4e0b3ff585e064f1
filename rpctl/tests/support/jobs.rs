//! The script's jobs: what a job does follows from the name of its procedure.
//!
//! | procedure | does |
//! |---|---|
//! | `end.OUTCOME` | each run ends so; `end.internal` fails because of the system around it |
//! | `lost_answer` | is stored, and the connection is cut before its first answer |
//! | `stopping` | is refused the first time, as by a manager that is stopping |
//! | `lost_revoked`, `lost_forbidden` | the same, and then nobody is let in, or the submit is refused |
//! | `revoked`, `hidden`, `deleted` | one line, and when the test lets it: nobody is let in, following is refused, it is gone |
//! | `taken` | its key is in use for another job |
//! | `large` | has more than a job may have |
//! | `again` | a line, then another attempt that has given nothing, and following is refused |
//! | `secret` | may not be followed |
//! | `silent` | is stored and never acknowledged |
//! | `cut` | three lines in six items; each follow tells three, the last one known among them, and is cut when the test lets it go on |
//! | `two` | beginnings and ends of lines of all agents in turn |
//! | `drains` | refuses to be followed three times, as a manager that is stopping does |
//! | `gap` | leaves an item out |
//! | `open` | never has a result |
//! | `hang` | gives one line and goes on until something is cancelled |
//! | all others | an item of each kind, progress, and a result |

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redpoll_common::api::events::EventListArguments;
use redpoll_common::api::items::{FollowArguments, FollowEvent, Missing};
use redpoll_common::api::jobs::{
    CancelAnswer, CancelArguments, EndSummary, JobSummary, ProgressSummary, ReachedRun, ResultArguments,
};
use redpoll_common::api::method;
use redpoll_common::api::queues::{QueueDetail, QueueRun};
use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::job::{Item, ItemKind};
use redpoll_common::wire::{Fault, FaultCode, Raw};
use redpoll_net::CallContext;
use tokio::sync::Semaphore;

use super::lists::{
    NEWER, deprecated, detail, event, events, is_newer, list, preview, queue, queues, result, verified,
};
use super::{Script, pages, raw};

/// What is stored, over all connections.
#[derive(Debug)]
pub(super) struct Book {
    jobs: Mutex<Vec<SubmitArguments>>,
    cancelled: Semaphore,
    /// Something was cancelled: what hangs has ended.
    ended: AtomicBool,
    /// How often `drains` was followed.
    follows: AtomicUsize,
    /// Nobody is let in any more.
    pub(super) shut: AtomicBool,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            jobs: Mutex::default(),
            cancelled: Semaphore::new(0),
            ended: AtomicBool::default(),
            follows: AtomicUsize::default(),
            shut: AtomicBool::default(),
        }
    }
}

impl Book {
    /// Stores a job, once for each key: its id, and whether it was there.
    fn store(&self, submit: &SubmitArguments) -> (String, bool) {
        let mut jobs = self.jobs.lock().unwrap();
        let found = jobs.iter().position(|job| job.spec.key == submit.spec.key);
        let n = found.unwrap_or_else(|| {
            jobs.push(submit.clone());
            jobs.len() - 1
        });
        (format!("{n:032x}"), found.is_some())
    }

    /// Whether it refuses to be followed, as it does three times.
    fn is_stopping(&self) -> bool {
        self.follows.fetch_add(1, Ordering::SeqCst) < 3
    }

    fn job(&self, id: &str) -> Result<SubmitArguments, Fault> {
        let n = usize::from_str_radix(id, 16).unwrap();
        let job = self.jobs.lock().unwrap().get(n).cloned();
        job.ok_or_else(|| Fault::new(FaultCode::UnknownJob, "as the script says"))
    }
}

pub(super) fn agents(submit: &SubmitArguments) -> Vec<String> {
    let all = ["db-1", "web-1", "web-2"].map(str::to_owned);
    if submit.agents == ["*"] { all.to_vec() } else { submit.agents.clone() }
}

pub(super) async fn answer(call: CallContext, script: Script) -> Result<Raw, Fault> {
    let book = &script.book;
    let kwargs = &call.kwargs;
    let encoded = Ok(match call.method.as_str() {
        method::JOBS_SUBMIT => return submit(&call, &script).await,
        method::JOBS_FOLLOW => return follow(&call, &script).await,
        method::EVENTS_FOLLOW => return follow_events(&call, &script).await,
        method::JOBS_PREVIEW if is_newer(kwargs) => Ok(raw(NEWER)),
        method::JOBS_PREVIEW => Raw::encode(&preview(kwargs)),
        method::JOBS_RELEASE | method::JOBS_DELETE => Ok(Raw::nil()),
        method::JOBS_LIST => Raw::encode(&list(&kwargs.decode().unwrap())),
        method::JOBS_SHOW => {
            let job = kwargs.decode::<BTreeMap<String, Raw>>().unwrap()["job"].as_text().unwrap().to_owned();
            let submit = book.job(&job)?;
            let mut detail = detail(&job, &submit);
            if submit.spec.procedure == "hang" && !book.ended.load(Ordering::SeqCst) {
                detail.job = summary(&job, &submit, None);
            }
            Raw::encode(&detail)
        }
        method::JOBS_RESULT => {
            let asked: ResultArguments = kwargs.decode().unwrap();
            let submit = book.job(&asked.job)?;
            // who waits is answered too soon once: it has to ask again
            let early = asked.wait_ms.is_some() && script.go.try_acquire().is_err();
            let hangs = submit.spec.procedure == "hang" && !book.ended.load(Ordering::SeqCst);
            let open = early || hangs || submit.spec.procedure == "open";
            if early {
                script.go.add_permits(1);
            }
            Raw::encode(&result(&asked, &submit, open))
        }
        method::JOBS_READ => return pages::read(&kwargs.decode().unwrap()).await.map(|page| page.write()),
        method::JOBS_CANCEL | method::QUEUES_CANCEL => {
            let asked: CancelArguments = kwargs.decode().unwrap();
            if !asked.preview {
                book.ended.store(true, Ordering::SeqCst);
                book.cancelled.add_permits(1);
            }
            let jobs = vec!["a".repeat(32), "b".repeat(32)];
            let run = |job: &String, agent: &str, state: &str, attempt| ReachedRun {
                job: job.clone(),
                agent: agent.to_owned(),
                state: state.to_owned(),
                attempt,
            };
            let runs = vec![
                run(&jobs[0], "web-1", "queued", 0),
                run(&jobs[0], "web-2", "running", 1),
                run(&jobs[1], "web-1", "in_doubt", 2),
            ];
            Raw::encode(&CancelAnswer { jobs, total: 2, ended: 1, asked: 2, runs })
        }
        method::QUEUES_LIST => Raw::encode(&queues(&kwargs.decode().unwrap())),
        method::QUEUES_SHOW => {
            let run = QueueRun { job: "a".repeat(32), agent: "web-1".into(), state: "running".into() };
            Raw::encode(&QueueDetail { queue: queue("deploys"), runs: vec![run] })
        }
        method::EVENTS_LIST => Raw::encode(&events(&kwargs.decode().unwrap())),
        method::EVENTS_VERIFY => Raw::encode(&verified(&kwargs.decode().unwrap())),
        _ => return Err(Fault::new(FaultCode::UnknownMethod, "as the script says")),
    });
    encoded.map(Result::unwrap)
}

async fn submit(call: &CallContext, script: &Script) -> Result<Raw, Fault> {
    let submit = SubmitArguments::read(&call.kwargs).unwrap();
    let (job, existing) = script.book.store(&submit);
    match submit.spec.procedure.as_str() {
        "lost_answer" if !existing => {
            script.cut.cancel();
            pending::<()>().await;
        }
        "taken" => {
            let text = format!("the key was used for job {:032x}, which is a different one", 0xabc);
            return Err(Fault::new(FaultCode::IdemConflict, text));
        }
        "large" => return Err(Fault::new(FaultCode::TooLarge, "the job has 7 runs, and 5 are the limit")),
        "lost_revoked" => script.shut_out().await,
        "lost_forbidden" if existing => return Err(Fault::new(FaultCode::Forbidden, "as the script says")),
        "lost_forbidden" => {
            script.cut.cancel();
            pending::<()>().await;
        }
        "silent" => pending::<()>().await,
        "stopping" if !existing => return Err(stopping()),
        _ => {}
    }
    let runs = agents(&submit).len() as u64;
    let is_old = submit.spec.procedure == "try.deprecated";
    let deprecated = if is_old { deprecated() } else { Vec::new() };
    Ok(Raw::encode(&SubmitAnswer { job, existing, runs, deprecated }).unwrap())
}

pub(super) fn output(kind: ItemKind, n: u64, text: &str) -> Item {
    let data = rpctl::value::encode(&rmpv::Value::Binary(text.as_bytes().to_vec())).unwrap();
    Item { n, kind, data }
}

fn with_items(agent: &str, items: Vec<Item>) -> FollowEvent {
    FollowEvent { items, ..FollowEvent::of(agent, 1) }
}

pub(super) fn end(outcome: &str) -> EndSummary {
    let fault = match outcome {
        "succeeded" => None,
        "internal" => Some(Fault::new(FaultCode::Internal, "as the script says")),
        _ => Some(Fault::new(FaultCode::Failed, "as the script says")),
    };
    EndSummary {
        outcome: if outcome == "internal" { "failed" } else { outcome }.to_owned(),
        started: Some(true),
        result: fault.is_none().then(|| Raw::text("the result")),
        fault,
        items: 0,
        duration_ms: Some(1500),
    }
}

fn with_end(agent: &str, outcome: &str) -> FollowEvent {
    FollowEvent { end: Some(end(outcome)), ..FollowEvent::of(agent, 1) }
}

pub(super) fn outcome_of(submit: &SubmitArguments) -> &str {
    submit.spec.procedure.strip_prefix("end.").unwrap_or("succeeded")
}

pub(super) fn summary(id: &str, submit: &SubmitArguments, outcome: Option<&str>) -> JobSummary {
    let runs = agents(submit).len() as u64;
    let outcome = outcome.map(|outcome| end(outcome).outcome);
    JobSummary {
        job: id.to_owned(),
        procedure: submit.spec.procedure.clone(),
        submitter: "ada".into(),
        state: if outcome.is_some() { "ended" } else { "open" }.into(),
        runs,
        open: if outcome.is_some() { 0 } else { runs },
        outcomes: outcome.iter().map(|outcome| (outcome.clone(), runs)).collect(),
        outcome,
        queue: submit.spec.queue.as_ref().map(|queue| queue.name.to_raw()),
        key: submit.spec.key.clone(),
        info: submit.spec.info.clone(),
        submitted_ms: 1_764_340_000_000,
        released_ms: None,
        ended_ms: None,
    }
}

async fn follow(call: &CallContext, script: &Script) -> Result<Raw, Fault> {
    let asked: FollowArguments = call.kwargs.decode().unwrap();
    let submit = script.book.job(&asked.job)?;
    let mut agents = agents(&submit);
    agents.retain(|id| asked.agent.as_ref().is_none_or(|agent| agent == id));
    let tell = async |event: FollowEvent| call.output.value(event.write()).await.unwrap();
    let mut outcome = outcome_of(&submit);
    match submit.spec.procedure.as_str() {
        "cut" => {
            for agent in &agents {
                let known = asked.from.iter().find(|from| from.agent == *agent);
                if known.is_some_and(|from| from.ended) {
                    continue;
                }
                let first = known.map_or(0, |from| from.next.saturating_sub(1));
                let pieces = first..(first + 3).min(6);
                let last = pieces.end == 6;
                tell(with_items(agent, pieces.map(pages::piece).collect())).await;
                if last {
                    tell(with_end(agent, "succeeded")).await;
                } else if *agent == agents[agents.len() - 1] {
                    script.cut_when_told().await;
                }
            }
        }
        "two" => {
            for (n, text) in [(0, "be"), (1, "gin\nnext"), (2, " line\nrest")] {
                for agent in &agents {
                    tell(with_items(agent, vec![output(ItemKind::Stdout, n, text)])).await;
                }
            }
            for agent in &agents {
                tell(with_end(agent, "succeeded")).await;
            }
        }
        "drains" if script.book.is_stopping() => return Err(stopping()),
        "gap" => {
            tell(with_items(&agents[0], vec![output(ItemKind::Stdout, 0, "x\n")])).await;
            tell(with_items(&agents[0], vec![output(ItemKind::Stdout, 2, "y\n")])).await;
            pending::<()>().await;
        }
        "missing" => {
            for event in incomplete(&agents[0]) {
                tell(event).await;
            }
        }
        "revoked" | "hidden" | "deleted" => {
            let no = |code| Err(Fault::new(code, "as the script says"));
            if !asked.from.is_empty() {
                return no(FaultCode::Forbidden);
            }
            tell(with_items(&agents[0], vec![output(ItemKind::Stdout, 0, "begun\n")])).await;
            match submit.spec.procedure.as_str() {
                "revoked" => {
                    script.go.acquire().await.unwrap().forget();
                    script.shut_out().await;
                }
                "hidden" => script.cut_when_told().await,
                _ => return no(FaultCode::UnknownJob),
            }
        }
        "again" => return again(call, &agents[0]).await,
        "secret" => return Err(Fault::new(FaultCode::Forbidden, "as the script says")),
        "hang" => {
            if asked.from.is_empty() && asked.since.is_none() {
                tell(with_items(&agents[0], vec![output(ItemKind::Stdout, 0, "begun\n")])).await;
            }
            script.book.cancelled.acquire().await.unwrap().forget();
            outcome = "cancelled";
            tell(with_end(&agents[0], outcome)).await;
        }
        name => {
            for agent in &agents {
                let is_end = name.starts_with("end.");
                tell(if is_end { with_end(agent, outcome) } else { whole(agent) }).await;
            }
        }
    }
    Ok(Raw::encode(&summary(&asked.job, &submit, Some(outcome))).unwrap())
}

/// The first attempt with its line, and the second one without any.
async fn again(call: &CallContext, agent: &str) -> Result<Raw, Fault> {
    let first = with_items(agent, vec![output(ItemKind::Stdout, 0, "begun\n")]);
    let second = FollowEvent { state: Some("running".into()), ..FollowEvent::of(agent, 2) };
    for event in [first, second] {
        call.output.value(event.write()).await.unwrap();
    }
    Err(Fault::new(FaultCode::Forbidden, "as the script says"))
}

/// Items of a run of which the store lacks some, and its end.
fn incomplete(agent: &str) -> [FollowEvent; 3] {
    let missing = |from, until| vec![Missing { from, until }];
    let one = |n, text| with_items(agent, vec![output(ItemKind::Stdout, n, text)]);
    [
        one(0, "x\n"),
        FollowEvent { missing: missing(1, 5), ..one(5, "y\n") },
        FollowEvent { missing: missing(6, 7), ..with_end(agent, "succeeded") },
    ]
}

fn stopping() -> Fault {
    Fault::new(FaultCode::ShuttingDown, "as the script says")
}

/// All that a run can give in one event.
fn whole(agent: &str) -> FollowEvent {
    FollowEvent {
        state: Some("running".into()),
        items: vec![
            output(ItemKind::Stdout, 0, "\u{1b}[31mout\n"),
            output(ItemKind::Stderr, 1, "err\n"),
            Item { n: 2, kind: ItemKind::Value, data: raw("{\"a\":1}") },
        ],
        progress: Some(ProgressSummary { completed: Some(1), total: Some(2), details: None }),
        end: Some(end("succeeded")),
        ..FollowEvent::of(agent, 1)
    }
}

/// Two events at a time, the last one known among them, and then the connection is cut.
async fn follow_events(call: &CallContext, script: &Script) -> Result<Raw, Fault> {
    let asked: EventListArguments = call.kwargs.decode().unwrap();
    if asked.kind.as_deref() == Some("rare.*") {
        pending::<()>().await;
    }
    let first = asked.since.unwrap_or(4);
    for n in first..first + 3 {
        call.output.value(Raw::encode(&event(n)).unwrap()).await.unwrap();
    }
    script.cut_when_told().await;
    Ok(Raw::nil())
}

impl Script {
    /// Cuts the connection, and lets nobody in again.
    async fn shut_out(&self) {
        self.book.shut.store(true, Ordering::SeqCst);
        self.cut.cancel();
        pending::<()>().await;
    }

    /// Cuts the connection when the test has seen what was told.
    async fn cut_when_told(&self) {
        self.go.acquire().await.unwrap().forget();
        self.cut.cancel();
        pending::<()>().await;
    }
}
