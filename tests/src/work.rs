//! Jobs as tests submit them, and a file outside of everything that knows how often each was started.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use redpoll_common::api::items::{ItemPage, ReadArguments};
use redpoll_common::api::jobs::{
    CancelArguments, JobDetail, JobResult, JobShowArguments, ResultArguments, RunResult,
};
use redpoll_common::api::method;
use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::job::{Item, ItemKind, QueueKey, QueueSpec};
use redpoll_common::wire::{Fault, Raw};
use redpoll_net::{Call, CallError};
use serde::Serialize;

use crate::operator::Operator;
use crate::{PATIENCE, eventually};

/// A file that the programs of jobs write to.
#[derive(Debug, Clone)]
pub struct Oracle {
    path: PathBuf,
}

impl Oracle {
    /// A file of this name in `directory`.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { path: directory.join(format!("{name}.oracle")) }
    }

    /// A job on `agent` that notes its start before anything else, and then is the shell script `rest`.
    ///
    /// # Panics
    /// Never: a script can be encoded.
    pub fn job(&self, agent: &str, rest: &str) -> SubmitArguments {
        let note = format!("echo \"$REDPOLL_JOB $REDPOLL_ATTEMPT\" >> {}", self.path.display());
        let script = format!("{note} && {{ {rest}; }}");
        let mut submit = SubmitArguments::new(vec![agent.to_owned()], "exec.run");
        submit.spec.args = Raw::encode(&["sh", "-c", &script]).expect("arguments");
        submit
    }

    /// The same in the queue of this name, one at a time.
    ///
    /// # Panics
    /// When that is no name of a queue.
    pub fn queued(&self, agent: &str, queue: &str, rest: &str) -> SubmitArguments {
        let mut submit = self.job(agent, rest);
        let name = QueueKey::parse(&Raw::text(queue)).expect("the name of a queue");
        submit.spec.queue = Some(QueueSpec { name, concurrency: 1 });
        submit
    }

    /// How often a job was started, whatever anybody says.
    pub fn starts(&self, job: &str) -> usize {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().filter(|line| line.split_once(' ').is_some_and(|(name, _)| name == job)).count()
    }

    /// Waits until a job was started.
    pub async fn started(&self, job: &str) {
        eventually(&format!("job {job} starts"), async || (self.starts(job) > 0).then_some(())).await;
    }

    /// Checks that a run ended by itself after one start, gave what it should, and that all of that is recorded.
    ///
    /// # Panics
    /// When it is not so.
    pub async fn succeeded_once(&self, operator: &Operator, job: &str, output: &str) {
        let run = operator.job_ended(job).await;
        let end = run.end.expect("an end");
        assert_eq!((end.outcome.as_str(), end.started), ("succeeded", Some(true)), "{job}: {:?}", end.fault);
        assert_eq!(self.starts(job), 1, "how often {job} was started");
        let (items, found) = operator.job_output(job).await;
        assert_eq!(found, output, "the output of {job}");
        assert_eq!(end.items, items, "the items of {job}");
    }

    /// Checks that what is said of the start of a run is true.
    ///
    /// # Panics
    /// When it is not.
    pub fn agrees(&self, job: &str, run: &RunResult) {
        let (starts, end) = (self.starts(job), run.end.as_ref().expect("an end"));
        let possible = match (end.outcome.as_str(), end.started) {
            ("succeeded" | "failed" | "timed_out", Some(true)) | ("cancelled", Some(true)) => 1..=1,
            (_, Some(false)) => 0..=0,
            ("unknown", None | Some(true)) => 0..=1,
            other => panic!("{job} ended as {other:?}"),
        };
        assert!(possible.contains(&starts), "{job} was started {starts} times, and it is said: {end:?}");
    }

    /// Checks that no job was started more than once or that the manager does not know.
    ///
    /// # Panics
    /// When one was.
    pub async fn knows_only_jobs_of(&self, operator: &Operator) {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        for (job, _attempt) in text.lines().filter_map(|line| line.split_once(' ')) {
            assert_eq!(self.starts(job), 1, "how often {job} was started");
            assert!(operator.show(job).await.is_ok(), "{job} was started, and nobody knows it");
        }
    }
}

/// Everything a script prints that prints the numbers from 1 to `last`.
pub fn numbers(last: u32) -> String {
    (1..=last).fold(String::new(), |mut text, n| {
        let _infallible = writeln!(text, "{n}");
        text
    })
}

/// The content of a byte string.
fn octets(data: &Raw) -> &[u8] {
    let head = match data.as_bytes().first() {
        Some(0xc4) => 2,
        Some(0xc5) => 3,
        Some(0xc6) => 5,
        Some(_) | None => panic!("output is not bytes: {data:?}"),
    };
    data.as_bytes().get(head..).expect("a whole value")
}

impl Operator {
    async fn ask_with<T: Serialize>(&self, method: &str, arguments: &T) -> Result<Raw, Fault> {
        let kwargs = Raw::encode(arguments).expect("arguments");
        self.peer().call(Call::new(method, PATIENCE).with_kwargs(kwargs)).await.map_err(CallError::into_fault)
    }

    /// Submits a job, and gives its id.
    ///
    /// # Errors
    /// The manager's fault, or the one that stands for a lost session.
    ///
    /// # Panics
    /// When the answer cannot be read.
    pub async fn submit(&self, submit: &SubmitArguments) -> Result<String, Fault> {
        let call = Call::new(method::JOBS_SUBMIT, PATIENCE).with_kwargs(submit.write());
        let answer = self.peer().call(call).await.map_err(CallError::into_fault)?;
        Ok(answer.decode::<SubmitAnswer>().expect("an answer to a submit").job)
    }

    /// A job with its runs.
    ///
    /// # Errors
    /// The manager's fault, or the one that stands for a lost session.
    ///
    /// # Panics
    /// When the answer cannot be read.
    pub async fn show(&self, job: &str) -> Result<JobDetail, Fault> {
        let arguments = JobShowArguments { job: job.to_owned(), ..JobShowArguments::default() };
        let answer = self.ask_with(method::JOBS_SHOW, &arguments).await?;
        Ok(answer.decode().expect("a job"))
    }

    /// The state of a job's one run, as the manager sees it.
    ///
    /// # Panics
    /// When there is no such job.
    pub async fn state_of(&self, job: &str) -> String {
        let detail = self.show(job).await.expect("a job");
        detail.runs.first().expect("a run").state.clone()
    }

    /// Waits until a job's one run has ended, and gives what came of it.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn job_ended(&self, job: &str) -> RunResult {
        let wait_ms = u64::try_from(PATIENCE.as_millis() * 3 / 4).ok();
        let arguments = ResultArguments { job: job.to_owned(), wait_ms, ..ResultArguments::default() };
        let answer = self.ask_with(method::JOBS_RESULT, &arguments).await.expect("a result");
        let mut result: JobResult = answer.decode().expect("a result");
        let run = result.runs.pop().expect("a run");
        assert!(run.end.is_some(), "{job} does not end: {run:?}");
        run
    }

    /// The output of a job's one run: how many items, and the text of all of them. They are numbered without gaps from 0.
    ///
    /// # Panics
    /// When they are not.
    pub async fn job_output(&self, job: &str) -> (u64, String) {
        let (mut next, mut bytes) = (0, Vec::new());
        loop {
            let arguments =
                ReadArguments { job: job.to_owned(), since: Some(next), ..ReadArguments::default() };
            let answer = self.ask_with(method::JOBS_READ, &arguments).await.expect("items");
            let page = ItemPage::read(&answer).expect("items");
            for Item { n, kind, data } in page.items {
                assert_eq!((n, kind), (next, ItemKind::Stdout), "of {job}");
                next += 1;
                bytes.extend_from_slice(octets(&data));
            }
            assert_eq!(page.next, next, "where to go on with {job}");
            if !page.more {
                return (next, String::from_utf8(bytes).expect("text"));
            }
        }
    }

    /// Cancels a job, and gives when the manager has promised it.
    ///
    /// # Panics
    /// When the manager refuses.
    pub async fn cancel(&self, job: &str) {
        let arguments = CancelArguments { job: Some(job.to_owned()), ..CancelArguments::default() };
        let _answer = self.ask_with(method::JOBS_CANCEL, &arguments).await.expect("a cancel");
    }
}
