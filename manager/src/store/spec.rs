//! How the parts of a job are written down that nobody filters by: one MessagePack map each, fields added and never changed.

use std::time::Duration;

use redpoll_common::ids::PeerId;
use redpoll_common::job::{Callback, JobSpec, Limits, Offline, Overflow, QueueKey, QueueSpec, secret};
use redpoll_common::wire::{DecodeError, Fault, FaultCode, Fields, Raw, RawMap};
use redpoll_manager_core::jobs::record::Progress;
use redpoll_schema::ArgumentRedaction;
use tracing::error;

/// The parts of a spec that have a place of their own in a store.
#[derive(Debug)]
pub struct Parts {
    /// [`JobSpec::procedure`].
    pub procedure: String,
    /// [`JobSpec::args`].
    pub args: Raw,
    /// [`JobSpec::kwargs`].
    pub kwargs: Raw,
    /// The name of the queue.
    pub queue: Option<QueueKey>,
    /// [`JobSpec::key`].
    pub key: Option<String>,
    /// [`JobSpec::info`].
    pub info: Raw,
    /// What [`rest`] wrote.
    pub rest: Raw,
}

/// Everything else of a spec, what of its arguments nobody may see, and where its runs look after the machine. It can be read back: of
/// too many paths it has those to all arguments.
pub fn rest(spec: &JobSpec, redact: &[String], admin: &[PeerId]) -> Raw {
    let redact = secret::bounded(redact.to_vec());
    written(spec, &redact, admin).checked().unwrap_or_else(|error| {
        error!(%error, "the parts of a job cannot be read back; it is kept without what others say of it");
        written(spec, &secret::everything(), &[]).finish()
    })
}

fn written(spec: &JobSpec, redact: &[String], admin: &[PeerId]) -> RawMap {
    let limits = &spec.limits;
    let map = RawMap::new()
        .opt_uint("concurrency", spec.queue.as_ref().map(|queue| queue.concurrency.into()))
        .text("offline", offline_word(spec.offline))
        .opt_uint("start_within_ms", limits.start_within.map(millis))
        .opt_uint("run_ms", limits.run_timeout.map(millis))
        .opt_uint("idle_ms", limits.idle_timeout.map(millis))
        .opt_uint("grace_ms", limits.grace.map(millis))
        .opt_uint("output", limits.output)
        .text("overflow", overflow_word(limits.overflow))
        .uint("max_attempts", spec.max_attempts.into())
        // what was decided stands beside it, in the row: this is what was asked for
        .bool("idempotent", spec.idempotent == Some(true))
        .bool("held", spec.held);
    // older versions have the first of the two alone, and take it for both
    let map = if spec.idempotent == Some(false) { map.bool("never_repeated", true) } else { map };
    let map = if redact.is_empty() { map } else { map.texts("redact", redact) };
    // one text, as the column of the agents: a list of all of them may have more values than is read back
    let names: Vec<&str> = admin.iter().map(PeerId::as_str).collect();
    let map = if names.is_empty() { map } else { map.text("admin", &names.join(" ")) };
    match &spec.callback {
        Some(Callback::Webhook(url)) => map.text("webhook", url),
        Some(Callback::Procedure(name)) => map.text("callback", name),
        None => map,
    }
}

/// The spec again.
///
/// # Errors
/// [`DecodeError`] when a field is missing or is something else.
pub fn spec(parts: Parts) -> Result<JobSpec, DecodeError> {
    let fields = Fields::of(&parts.rest)?;
    let queue = match parts.queue {
        Some(name) => Some(QueueSpec {
            name,
            concurrency: fields.opt_u32("concurrency")?.ok_or_else(|| missing("concurrency"))?,
        }),
        None => None,
    };
    let webhook = fields.opt_text("webhook", usize::MAX)?.map(|url| Callback::Webhook(url.to_owned()));
    let callback = fields.opt_text("callback", usize::MAX)?.map(|name| Callback::Procedure(name.to_owned()));
    let limits = Limits {
        start_within: fields.opt_u64("start_within_ms")?.map(Duration::from_millis),
        run_timeout: fields.opt_u64("run_ms")?.map(Duration::from_millis),
        idle_timeout: fields.opt_u64("idle_ms")?.map(Duration::from_millis),
        grace: fields.opt_u64("grace_ms")?.map(Duration::from_millis),
        output: fields.opt_u64("output")?,
        overflow: word(
            &fields,
            "overflow",
            [Overflow::Block, Overflow::Truncate, Overflow::Kill],
            overflow_word,
        )?,
    };
    let attempts = u16::try_from(fields.u64("max_attempts")?);
    Ok(JobSpec {
        limits,
        offline: word(&fields, "offline", [Offline::Wait, Offline::Skip, Offline::Require], offline_word)?,
        max_attempts: attempts.map_err(|_large| wrong("max_attempts", "a number of attempts"))?,
        idempotent: match fields.bool("idempotent")? {
            true => Some(true),
            false => fields.opt_bool("never_repeated")?.map(|never| !never),
        },
        held: fields.bool("held")?,
        callback: webhook.or(callback),
        procedure: parts.procedure,
        args: parts.args,
        kwargs: parts.kwargs,
        key: parts.key,
        info: parts.info,
        queue,
    })
}

/// The paths of [`rest`] that nobody may see.
///
/// # Errors
/// [`DecodeError`] when they are something else.
pub fn redact(rest: &Raw) -> Result<Vec<String>, DecodeError> {
    match Fields::of(rest)?.opt_array("redact")? {
        None => Ok(Vec::new()),
        Some(paths) => paths.decode().map_err(|_error| wrong("redact", "a list of paths")),
    }
}

/// The agents of [`rest`] on which its runs look after the machine.
///
/// # Errors
/// [`DecodeError`] when they are something else.
pub fn admin(rest: &Raw) -> Result<Vec<PeerId>, DecodeError> {
    let Some(names) = Fields::of(rest)?.opt_text("admin", usize::MAX)? else { return Ok(Vec::new()) };
    let names = names.split(' ').map(PeerId::parse).collect::<Result<Vec<_>, _>>();
    names.map_err(|_not_a_name| wrong("admin", "a list of agents"))
}

/// The arguments of a job with what nobody may see masked; `None` when nothing is.
pub fn masked(args: &Raw, kwargs: &Raw, redact: &[String]) -> Option<(Raw, Raw)> {
    let redaction = ArgumentRedaction::new(redact);
    (!redaction.is_empty()).then(|| redaction.mask(args, kwargs))
}

/// A fault as one value.
pub fn put_fault(fault: &Fault) -> Raw {
    RawMap::new()
        .text("code", fault.code.as_str())
        .text("message", &fault.message)
        .opt_text("class", fault.class.as_deref())
        .opt_text("module", fault.module.as_deref())
        .opt_text("trace", fault.trace.as_deref())
        .opt_raw("args", fault.args.as_ref())
        .opt_raw("state", fault.state.as_ref())
        .opt_raw("data", fault.data.as_ref())
        .opt_uint("retry_after_ms", fault.retry_after_ms)
        .finish()
}

/// The fault again.
///
/// # Errors
/// [`DecodeError`] when a field is missing or is something else.
pub fn fault(value: &Raw) -> Result<Fault, DecodeError> {
    let fields = Fields::of(value)?;
    let text = |field| Ok::<_, DecodeError>(fields.opt_text(field, usize::MAX)?.map(str::to_owned));
    Ok(Fault {
        code: FaultCode::from_wire(fields.text("code", usize::MAX)?),
        message: fields.text("message", usize::MAX)?.to_owned(),
        class: text("class")?,
        module: text("module")?,
        trace: text("trace")?,
        args: fields.opt_raw("args")?,
        state: fields.opt_raw("state")?,
        data: fields.opt_raw("data")?,
        retry_after_ms: fields.opt_u64("retry_after_ms")?,
    })
}

/// Progress as one value.
pub fn put_progress(progress: &Progress) -> Raw {
    RawMap::new()
        .opt_uint("completed", progress.completed)
        .opt_uint("total", progress.total)
        .opt_raw("details", progress.details.as_ref())
        .finish()
}

/// The progress again.
///
/// # Errors
/// [`DecodeError`] when a field is something else.
pub fn progress(value: &Raw) -> Result<Progress, DecodeError> {
    let fields = Fields::of(value)?;
    Ok(Progress {
        completed: fields.opt_u64("completed")?,
        total: fields.opt_u64("total")?,
        details: fields.opt_raw("details")?,
    })
}

fn offline_word(offline: Offline) -> &'static str {
    match offline {
        Offline::Wait => "wait",
        Offline::Skip => "skip",
        Offline::Require => "require",
    }
}

fn overflow_word(overflow: Overflow) -> &'static str {
    match overflow {
        Overflow::Block => "block",
        Overflow::Truncate => "truncate",
        Overflow::Kill => "kill",
    }
}

fn word<T: Copy, const N: usize>(
    fields: &Fields<'_>,
    field: &'static str,
    all: [T; N],
    write: fn(T) -> &'static str,
) -> Result<T, DecodeError> {
    let found = fields.text(field, usize::MAX)?;
    all.into_iter().find(|value| write(*value) == found).ok_or_else(|| wrong(field, "a word that is known"))
}

fn missing(field: &'static str) -> DecodeError {
    DecodeError::Missing { field }
}

fn wrong(field: &'static str, wanted: &'static str) -> DecodeError {
    DecodeError::WrongType { field, wanted }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use redpoll_common::api::submit::SubmitArguments;

    use super::*;

    #[test]
    fn whether_it_may_be_repeated_reads_back_as_it_was_said() {
        for said in [None, Some(false), Some(true)] {
            let mut asked = SubmitArguments::new(Vec::new(), "p").spec;
            asked.idempotent = said;
            let JobSpec { procedure, args, kwargs, info, .. } = asked.clone();
            let parts =
                Parts { procedure, args, kwargs, queue: None, key: None, info, rest: rest(&asked, &[], &[]) };
            assert_eq!(spec(parts).unwrap(), asked);
        }
    }

    #[test]
    fn more_paths_than_can_be_read_back_are_written_as_everything() {
        let asked = SubmitArguments::new(Vec::new(), "p").spec;
        let paths: Vec<String> = (0..70_000).map(|n| format!("kwargs.p{n}")).collect();
        for redact in [paths, vec!["kwargs.".to_owned() + &"p".repeat(20 << 20)]] {
            let stored = rest(&asked, &redact, &[]).as_bytes().to_vec();
            assert_eq!(super::redact(&Raw::parse(stored.into()).unwrap()).unwrap(), secret::everything());
        }
    }

    #[test]
    fn as_many_agents_as_there_may_be_are_read_back() {
        let asked = SubmitArguments::new(Vec::new(), "p").spec;
        let agents: Vec<PeerId> =
            (0..100_000).map(|n| PeerId::parse(&format!("agent-{n}")).unwrap()).collect();
        let stored = rest(&asked, &[], &agents).as_bytes().to_vec();
        // as the store does
        let stored = Raw::parse(stored.into()).unwrap();
        assert!(admin(&stored).unwrap() == agents);
    }
}
