//! `rp.jobs.submit`: checks what a job is asked to be, and answers once it is on disk.

use std::sync::Arc;

use redpoll_common::api::submit::{SubmitAnswer, SubmitArguments};
use redpoll_common::api::trial::Deprecated;
use redpoll_common::job::{Callback, JobSpec, QueueSpec, Submitter};
use redpoll_common::wire::{Fault, FaultCode, MAX_METHOD_LEN, MAX_NODES, Raw};
use redpoll_config::{CallbacksConfig, ManagerConfig};
use redpoll_manager_core::access::RESERVED_PREFIX;
use redpoll_net::CallContext;

use super::arguments::{bad, unread};
use super::jobs_rows::count;
use super::submit_agents::Choice;
use super::{asks, depth, write};
use crate::catalogue::{self, Checked};
use crate::engine::{Engine, NewJob, Stored, digest};
use crate::state::Manager;

/// Bytes of a frame kept for what stands around a job's arguments and info where it is offered or shown.
const AROUND_BYTES: usize = 16 * 1024;
/// Values kept for the same.
const AROUND_NODES: usize = 4096;

/// A job that may be stored.
struct Prepared {
    job: NewJob,
    runs: u64,
    deprecated: Vec<Deprecated>,
}

/// Answers `rp.jobs.submit`.
pub(super) async fn submit(manager: &Manager, engine: &Engine, call: &CallContext) -> Result<Raw, Fault> {
    let (stored, runs, deprecated) = match prepare(manager, call).await {
        Ok(Prepared { job, runs, deprecated }) => (engine.submit(job).await?, runs, deprecated),
        Err(refused) => (repeated(manager, engine, call, refused).await?, 0, Vec::new()),
    };
    let mut answer =
        SubmitAnswer { job: stored.job.to_string(), existing: stored.existing, runs, deprecated };
    if stored.existing {
        // `*` may have stood for others then
        let job = engine.store().job(stored.job).await.map_err(unread)?;
        answer.runs = job.map_or(runs, |job| count(job.agents.len()));
    }
    write(&answer)
}

/// What would be refused now may be the repetition of a submit that was taken: what it asks for has changed since, and to say that
/// nothing was stored would be wrong. Without an agent the machine stores nothing, but answers for the key.
async fn repeated(
    manager: &Manager,
    engine: &Engine,
    call: &CallContext,
    refused: Fault,
) -> Result<Stored, Fault> {
    let Ok(asked) = SubmitArguments::read(&call.kwargs) else { return Err(refused) };
    // whoever is too fast comes again, and is answered then
    if asked.spec.key.is_none() || refused.code == FaultCode::Overloaded {
        return Err(refused);
    }
    if refused.code == FaultCode::Forbidden {
        // it was refused before its pace was looked at, and what follows asks the engine and the store
        asks::keep_pace(manager, call)?;
    }
    let submitter = Submitter::of(&call.caller.identity);
    let (digest, redact) = (digest::of(&asked), Arc::default());
    let (spec, agents) = (Arc::new(asked.spec), Vec::new());
    let job = NewJob { submitter, spec, digest, agents, idempotent: false, admin: Arc::default(), redact };
    match engine.submit(job).await {
        Err(fault) if !is_about_key(&fault.code) => Err(refused),
        found => found,
    }
}

/// Whether the key is in use for another job, or nobody could look.
fn is_about_key(code: &FaultCode) -> bool {
    matches!(code, FaultCode::IdemConflict | FaultCode::Internal | FaultCode::ShuttingDown)
}

/// Apart from the waiting, so that what is only looked at is not kept while the disk is waited for.
async fn prepare(manager: &Manager, call: &CallContext) -> Result<Prepared, Fault> {
    let asked =
        SubmitArguments::read(&call.kwargs).map_err(|error| bad(format!("rp.jobs.submit: {error}")))?;
    // before anything is said of the callbacks and hosts that the configuration names
    asks::check_submit(manager, call, &asked)?;
    check(&asked.spec, manager)?;
    let submitter = Submitter::of(&call.caller.identity);
    let digest = digest::of(&asked);
    let SubmitArguments { agents, mut spec } = asked;
    spec.queue = spec.queue.map(|queue| queue_of(queue, &submitter)).transpose()?;
    let agents = Choice::parse(&agents)?.resolve_some(manager)?;
    let Checked { redact, deprecated, idempotent, admin } =
        catalogue::check_job(manager, &agents, &spec).await?;
    let agents: Vec<_> = agents.into_iter().map(|(agent, _)| agent).collect();
    let runs = count(agents.len());
    // it is kept for as long as the job is open, and its weight is what is counted
    let (spec, admin, redact) = (Arc::new(spec.detached()), admin.into(), redact.into());
    let job = NewJob { submitter, spec, digest, agents, admin, idempotent, redact };
    Ok(Prepared { job, runs, deprecated })
}

/// The queue that is meant: an agent's own, never one of operators.
fn queue_of(queue: QueueSpec, submitter: &Submitter) -> Result<QueueSpec, Fault> {
    let name = queue.name.of(submitter).map_err(|error| bad(format!("queue: {error}")))?;
    // an agent's stands in a map
    depth::check("queue", &name.to_raw())?;
    Ok(QueueSpec { name, ..queue })
}

pub(super) fn check(spec: &JobSpec, manager: &Manager) -> Result<(), Fault> {
    check_procedure("procedure", &spec.procedure)?;
    for (field, limit) in
        [("run_timeout_ms", spec.limits.run_timeout), ("idle_timeout_ms", spec.limits.idle_timeout)]
    {
        if limit.is_some_and(|limit| limit.is_zero()) {
            return Err(bad(format!(
                "{field} is 0, which would end it at once; leave it out for the procedure's or the agent's limit"
            )));
        }
    }
    let config = &manager.config;
    check_size(spec, config)?;
    match &spec.callback {
        Some(Callback::Webhook(url)) => check_url(url, &config.jobs.callbacks),
        Some(Callback::Procedure(name)) => {
            let offered = &config.jobs.callbacks.procedures;
            if offered.contains_key(name) || manager.procedures.takes_callbacks(name) {
                return Ok(());
            }
            let names: Vec<String> = offered.keys().cloned().chain(manager.procedures.callbacks()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(bad(format!(
                "callback {name:?} is none of jobs.callbacks.procedures of the manager, and no procedure of it with callback = true ({names})"
            )))
        }
        None => Ok(()),
    }
}

/// `name` or `name@version`: visible ASCII, the version a number from 1 without leading zeros.
pub(super) fn check_procedure(field: &str, procedure: &str) -> Result<(), Fault> {
    let wrong = |why: &str| {
        let shown: String = procedure.chars().take(MAX_METHOD_LEN).collect();
        Err(bad(format!("{field} {shown:?} {why}; it has the form name or name@version")))
    };
    let (name, version) = match procedure.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (procedure, None),
    };
    if name.is_empty() {
        return wrong("has no name");
    }
    if name.starts_with(RESERVED_PREFIX) {
        return wrong("is not a procedure: names with rp. are reserved");
    }
    if let Some(odd) = name.chars().find(|c| !c.is_ascii_graphic()) {
        return wrong(&format!("has the character {odd:?}"));
    }
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n > 0 && n.to_string() == text);
    match version {
        Some(version) if number(version).is_none() => wrong("has no version after its @"),
        Some(_) | None => Ok(()),
    }
}

/// What is taken in must fit the frames in which it is offered and shown.
pub(super) fn check_size(spec: &JobSpec, config: &ManagerConfig) -> Result<(), Fault> {
    let too_large =
        |text: String| Err(Fault::new(FaultCode::TooLarge, format!("{text}; nothing was stored")));
    let max =
        usize::try_from(config.session.limits().frame).unwrap_or(usize::MAX).saturating_sub(AROUND_BYTES);
    let parts = [&spec.args, &spec.kwargs, &spec.info];
    let bytes = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    if bytes > max {
        return too_large(format!("args, kwargs and info have {bytes} bytes together; the limit is {max}"));
    }
    let max = MAX_NODES - AROUND_NODES;
    // a value has a byte at least, and so has a level: what is small need not be looked at
    let nodes = match bytes {
        few if few <= max => few,
        _ => parts.iter().fold(0_usize, |sum, part| sum.saturating_add(super::room::nodes(part))),
    };
    if nodes > max {
        return too_large(format!("args, kwargs and info have {nodes} values together; the limit is {max}"));
    }
    depth::check("info", &spec.info)?;
    spec.queue.as_ref().map_or(Ok(()), |queue| depth::check("queue", &queue.name.to_raw()))
}

/// An HTTP address without a password in it: it is shown to whoever may see the job.
fn check_url(url: &str, callbacks: &CallbacksConfig) -> Result<(), Fault> {
    let wrong =
        |why: &str| Err(bad(format!("webhook {why}; it is an address such as https://example.org/hook")));
    let Some((scheme, rest)) = url.split_once("://") else { return wrong("has no scheme") };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return wrong("is neither http nor https");
    }
    if !url.chars().all(|c| c.is_ascii_graphic()) {
        return wrong("has characters that must be written as %XX");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return wrong("has a user's name or password in it, which everybody who may see the job would see");
    }
    let (host, port) = match authority.rsplit_once(':') {
        // the colons of an IPv6 address stand in brackets
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    if host.is_empty() {
        return wrong("has no host");
    }
    let usual = if scheme.eq_ignore_ascii_case("https") { Ok(443) } else { Ok(80) };
    let Ok(port) = port.map_or(usual, str::parse::<u16>) else {
        return wrong("has a port that is no number up to 65535");
    };
    if !callbacks.allows(host.trim_start_matches('[').trim_end_matches(']'), port) {
        return Err(bad("webhook goes to a host that is none of jobs.callbacks.allow of the manager"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procedure_is_a_name_or_a_name_and_a_version() {
        for good in ["sys.echo", "a@1", "x-y_z/k:1@4294967295"] {
            assert_eq!(check_procedure("procedure", good), Ok(()), "{good}");
        }
        for wrong in ["", "@1", "a@", "a@0", "a@01", "a@1@2", "a b", "a\n", "ä", "a@4294967296"] {
            let fault = check_procedure("procedure", wrong).unwrap_err();
            assert!(fault.code == FaultCode::BadArguments && fault.message.contains("procedure"), "{fault}");
        }
    }

    #[test]
    fn a_webhook_is_an_http_address_without_a_password() {
        let any = CallbacksConfig::default();
        for good in ["http://a", "HTTPS://a.example:8443/x?y=@z", "http://[::1]/", "https://[::1]:80/hook#a"]
        {
            assert_eq!(check_url(good, &any), Ok(()), "{good}");
        }
        for wrong in [
            "",
            "a",
            "ftp://a",
            "http://",
            "http:///x",
            "http://:80",
            "http://a:b",
            "http://u:p@a/",
            "http://a b",
        ] {
            let fault = check_url(wrong, &any).unwrap_err();
            assert!(!fault.message.contains("u:p") && fault.message.contains("such as https://"), "{fault}");
        }
        let allow = vec!["b.example".parse().unwrap()];
        let none = CallbacksConfig { allow, ..CallbacksConfig::default() };
        let fault = check_url("https://a.example", &none).unwrap_err();
        assert!(fault.message.ends_with("none of jobs.callbacks.allow of the manager"), "{fault}");
    }
}
