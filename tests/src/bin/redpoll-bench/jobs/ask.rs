//! What is asked of a manager about jobs.

use std::time::Duration;

use redpoll_common::api::jobs::{JobList, JobListArguments, JobResult, ResultArguments};
use redpoll_common::api::method;
use redpoll_common::api::submit::{Preview, PreviewArguments, SubmitAnswer, SubmitArguments};
use redpoll_common::wire::Raw;
use redpoll_net::{Call, Peer};

/// The longest that an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A job that an agent answers at once.
pub(super) fn echo(agent: &str) -> anyhow::Result<SubmitArguments> {
    let mut asked = SubmitArguments::new(vec![agent.to_owned()], "sys.echo");
    asked.spec.args = Raw::encode(&["0123456789abcdef0123456789abcdef"])?;
    Ok(asked)
}

/// Submits a job: it is on disk when this returns.
pub(super) async fn submit(operator: &Peer, asked: &Raw) -> anyhow::Result<String> {
    let call = Call::new(method::JOBS_SUBMIT, PATIENCE).with_kwargs(asked.clone());
    Ok(operator.call(call).await?.decode::<SubmitAnswer>()?.job)
}

/// Whether a job has not ended.
pub(super) async fn any_open(operator: &Peer) -> anyhow::Result<bool> {
    let open =
        JobListArguments { state: Some("open".to_owned()), limit: Some(1), ..JobListArguments::default() };
    let call = Call::new(method::JOBS_LIST, PATIENCE).with_kwargs(Raw::encode(&open)?);
    Ok(!operator.call(call).await?.decode::<JobList>()?.jobs.is_empty())
}

/// How many agents are connected.
pub(super) async fn connected(operator: &Peer) -> anyhow::Result<u64> {
    let all =
        PreviewArguments { agents: vec!["*".to_owned()], limit: Some(1), ..PreviewArguments::default() };
    let call = Call::new(method::JOBS_PREVIEW, PATIENCE).with_kwargs(Raw::encode(&all)?);
    Ok(operator.call(call).await?.decode::<Preview>()?.connected)
}

/// What came of a job, once it has ended.
pub(super) async fn result(operator: &Peer, job: &str) -> anyhow::Result<JobResult> {
    let wait_ms = u64::try_from(PATIENCE.as_millis()).ok();
    let arguments = ResultArguments { job: job.to_owned(), wait_ms, ..ResultArguments::default() };
    let call = Call::new(method::JOBS_RESULT, PATIENCE * 2).with_kwargs(Raw::encode(&arguments)?);
    Ok(operator.call(call).await?.decode()?)
}
