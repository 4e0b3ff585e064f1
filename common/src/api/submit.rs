//! `rp.jobs.submit`: what a job is asked to be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::trial::{Deprecated, Judge, Refusal, Verdict};
use crate::ids::MAX_NAME_LEN;
use crate::job::{Callback, JobSpec, Limits, Offline, Overflow, QueueKey, QueueSpec, spec};
use crate::wire::{DecodeError, Fields, MAX_METHOD_LEN, Raw, RawMap};

/// The longest URL of a webhook, in bytes.
pub const MAX_URL: usize = 2048;
/// What stands for all agents that the manager knows.
pub const ALL_AGENTS: &str = "*";
/// Bytes a word out of a fixed list may have.
const MAX_WORD: usize = 32;

/// The arguments of `rp.jobs.submit`. `args` and `kwargs` are passed on byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitArguments {
    /// The agents it runs on: names, or [`ALL_AGENTS`] alone. Doubles count once.
    pub agents: Vec<String>,
    /// What to run, and how.
    pub spec: JobSpec,
}

impl SubmitArguments {
    /// A job of this procedure on these agents, with the defaults of everything else: no queue, no limits, one attempt,
    /// agents that are away are waited for.
    pub fn new(agents: Vec<String>, procedure: impl Into<String>) -> Self {
        let spec = JobSpec {
            procedure: procedure.into(),
            args: Raw::empty_array(),
            kwargs: Raw::empty_map(),
            queue: None,
            offline: Offline::default(),
            limits: Limits::default(),
            max_attempts: 1,
            idempotent: None,
            key: None,
            info: Raw::nil(),
            callback: None,
            held: false,
        };
        Self { agents, spec }
    }

    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        let agents = fields.texts("agents", spec::MAX_AGENTS, MAX_NAME_LEN)?;
        let mut submit = Self::new(agents, fields.text("procedure", MAX_METHOD_LEN)?);
        let job = &mut submit.spec;
        job.args = fields.opt_array("args")?.unwrap_or_else(Raw::empty_array);
        job.kwargs = fields.opt_map("kwargs")?.unwrap_or_else(Raw::empty_map);
        job.queue = fields.opt_fields("queue")?.map(|queue| read_queue(&queue)).transpose()?;
        job.offline = read_word(&fields, "offline", "wait, skip or require", OFFLINE)?.unwrap_or_default();
        job.limits = read_limits(&fields)?;
        let attempts = fields.opt_u64("max_attempts")?.unwrap_or(1);
        let attempts = u16::try_from(attempts).ok().filter(|n| (1..=spec::MAX_ATTEMPTS).contains(n));
        job.max_attempts = attempts
            .ok_or(DecodeError::WrongType { field: "max_attempts", wanted: "a number from 1 to 100" })?;
        job.idempotent = fields.opt_bool("idempotent")?;
        job.key = fields.opt_text("key", spec::MAX_KEY)?.map(str::to_owned);
        if job.key.as_deref() == Some("") {
            return Err(DecodeError::WrongType { field: "key", wanted: "a text that is not empty" });
        }
        job.info = fields.opt_raw("info")?.unwrap_or_else(Raw::nil);
        if job.info.len() > spec::MAX_INFO {
            let (len, max) = (job.info.len(), spec::MAX_INFO);
            return Err(DecodeError::TooLong { field: "info", len, max });
        }
        job.callback = read_callback(&fields)?;
        job.held = fields.opt_bool("held")?.unwrap_or(false);
        Ok(submit)
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        self.write_map().finish()
    }

    /// The same, for whoever adds more.
    pub(super) fn write_map(&self) -> RawMap {
        let Self { agents, spec } = self;
        let names: usize = agents.iter().map(|agent| agent.len() + 2).sum();
        let room = spec.args.len() + spec.kwargs.len() + spec.info.len() + names + 256;
        let map = RawMap::with_capacity(room).texts("agents", agents).text("procedure", &spec.procedure);
        let map = map.raw("args", &spec.args).raw("kwargs", &spec.kwargs);
        let map = match &spec.queue {
            Some(queue) => map.map("queue", |map| {
                map.raw("name", &queue.name.to_raw()).uint("concurrency", queue.concurrency.into())
            }),
            None => map,
        };
        let map = write_limits(map, &spec.limits)
            .opt_text("offline", word_of(OFFLINE, spec.offline))
            .uint("max_attempts", spec.max_attempts.into());
        let map = match spec.idempotent {
            Some(idempotent) => map.bool("idempotent", idempotent),
            None => map,
        };
        let map = map
            .opt_text("key", spec.key.as_deref())
            .opt_raw("info", Some(&spec.info).filter(|info| !info.is_nil()))
            .bool("held", spec.held);
        match &spec.callback {
            Some(Callback::Webhook(url)) => map.text("webhook", url),
            Some(Callback::Procedure(name)) => map.text("callback", name),
            None => map,
        }
    }
}

const OFFLINE: &[(&str, Offline)] =
    &[("wait", Offline::Wait), ("skip", Offline::Skip), ("require", Offline::Require)];
const OVERFLOW: &[(&str, Overflow)] =
    &[("truncate", Overflow::Truncate), ("block", Overflow::Block), ("kill", Overflow::Kill)];

fn word_of<T: PartialEq>(words: &'static [(&'static str, T)], value: T) -> Option<&'static str> {
    words.iter().find(|(_, other)| *other == value).map(|(word, _)| *word)
}

fn read_word<T: Copy>(
    fields: &Fields<'_>,
    field: &'static str,
    wanted: &'static str,
    words: &[(&str, T)],
) -> Result<Option<T>, DecodeError> {
    let Some(found) = fields.opt_text(field, MAX_WORD)? else { return Ok(None) };
    let value = words.iter().find(|(word, _)| *word == found).map(|(_, value)| *value);
    value.map(Some).ok_or(DecodeError::WrongType { field, wanted })
}

fn read_queue(fields: &Fields<'_>) -> Result<QueueSpec, DecodeError> {
    let name = QueueKey::parse(&fields.raw("name")?).map_err(|_| DecodeError::WrongType {
        field: "queue",
        wanted: "a name of 1 to 1024 bytes, or a map",
    })?;
    let concurrency = fields.opt_u32("concurrency")?.unwrap_or(1);
    if concurrency == 0 {
        return Err(DecodeError::WrongType { field: "concurrency", wanted: "a number from one on" });
    }
    Ok(QueueSpec { name, concurrency })
}

fn read_limits(fields: &Fields<'_>) -> Result<Limits, DecodeError> {
    let ms = |field| fields.opt_u64(field).map(|ms| ms.map(Duration::from_millis));
    Ok(Limits {
        start_within: ms("start_within_ms")?,
        run_timeout: ms("run_timeout_ms")?,
        idle_timeout: ms("idle_timeout_ms")?,
        grace: ms("grace_ms")?,
        output: fields.opt_u64("output_limit")?,
        overflow: read_word(fields, "overflow", "truncate, block or kill", OVERFLOW)?.unwrap_or_default(),
    })
}

fn write_limits(map: RawMap, limits: &Limits) -> RawMap {
    let ms = |limit: Option<Duration>| limit.map(crate::job::wire::offer::whole_ms);
    map.opt_uint("start_within_ms", ms(limits.start_within))
        .opt_uint("run_timeout_ms", ms(limits.run_timeout))
        .opt_uint("idle_timeout_ms", ms(limits.idle_timeout))
        .opt_uint("grace_ms", ms(limits.grace))
        .opt_uint("output_limit", limits.output)
        .opt_text("overflow", word_of(OVERFLOW, limits.overflow))
}

fn read_callback(fields: &Fields<'_>) -> Result<Option<Callback>, DecodeError> {
    let url = fields.opt_text("webhook", MAX_URL)?;
    let name = fields.opt_text("callback", MAX_METHOD_LEN)?;
    match (url, name) {
        (Some(_), Some(_)) => {
            Err(DecodeError::WrongType { field: "callback", wanted: "a webhook or a procedure, not both" })
        }
        (Some(url), None) => Ok(Some(Callback::Webhook(url.to_owned()))),
        (None, Some(name)) => Ok(Some(Callback::Procedure(name.to_owned()))),
        (None, None) => Ok(None),
    }
}

/// The answer of `rp.jobs.submit`: the job is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitAnswer {
    /// Its id.
    pub job: String,
    /// It was there before, under the same key.
    #[serde(default)]
    pub existing: bool,
    /// On how many agents it runs.
    pub runs: u64,
    /// What of it is deprecated on some of them, as far as the manager knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deprecated: Vec<Deprecated>,
}

/// The arguments of `rp.jobs.preview`: which agents a job would reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewArguments {
    /// As in [`SubmitArguments::agents`].
    pub agents: Vec<String>,
    /// Only names after this one.
    #[serde(default)]
    pub after: Option<String>,
    /// At most so many; 1 to 1,000, 500 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// The answer of `rp.jobs.preview`, in the order of the names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The agents of this page.
    pub agents: Vec<PreviewAgent>,
    /// How many there are in all.
    pub total: u64,
    /// How many of them are connected.
    pub connected: u64,
    /// The name to continue after.
    #[serde(default)]
    pub next: Option<String>,
    /// With a procedure: why the job as a whole would not be stored, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// With a procedure: what of it is deprecated on some of all the agents, as far as the manager knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deprecated: Vec<Deprecated>,
}

/// An agent that a job would reach. All but the first two is said when a procedure was named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewAgent {
    /// Its name.
    pub id: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// What would become of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What is meant, `name@version`, if the agent said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub procedure: Option<String>,
    /// The rule of the agent's policy that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// As which user it would run; absent: within the agent, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The code of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it would not run, or why that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who would refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Judge>,
    /// When to try again, in milliseconds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> SubmitArguments {
        let ms = |ms| Some(Duration::from_millis(ms));
        let mut submit = SubmitArguments::new(vec!["web-1".into(), "web-2".into()], "exec.run@2");
        submit.spec = JobSpec {
            args: Raw::encode(&["ls"]).unwrap(),
            kwargs: RawMap::new().text("cwd", "/").finish(),
            queue: Some(QueueSpec {
                name: QueueKey::parse(&RawMap::new().uint("customer", 7).finish()).unwrap(),
                concurrency: 3,
            }),
            offline: Offline::Require,
            limits: Limits {
                start_within: ms(1),
                run_timeout: ms(2),
                idle_timeout: ms(3),
                grace: ms(4),
                output: Some(5),
                overflow: Overflow::Block,
            },
            max_attempts: 6,
            idempotent: Some(true),
            key: Some("k".into()),
            info: Raw::text("mine"),
            callback: Some(Callback::Webhook("https://example.org/".into())),
            held: true,
            ..submit.spec
        };
        submit
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(SubmitArguments::read(&full().write()).unwrap(), full());
        let plain = SubmitArguments::new(vec!["*".into()], "sys.ping");
        assert_eq!(SubmitArguments::read(&plain.write()).unwrap(), plain);
        let mut never = plain;
        never.spec.idempotent = Some(false);
        assert_eq!(SubmitArguments::read(&never.write()).unwrap(), never, "no is not nothing");
    }

    #[test]
    fn a_wrong_field_is_named() {
        let base = || RawMap::new().texts("agents", &["a".to_owned()]).text("procedure", "p");
        for (map, field) in [
            (base().text("offline", "maybe"), "offline"),
            (base().uint("max_attempts", 0), "max_attempts"),
            (base().uint("max_attempts", 101), "max_attempts"),
            (base().text("key", ""), "key"),
            (base().text("overflow", "explode"), "overflow"),
            (base().text("webhook", "http://a").text("callback", "b"), "callback"),
            (base().map("queue", |map| map.text("name", "")), "queue"),
            (base().map("queue", |map| map.text("name", "q").uint("concurrency", 0)), "concurrency"),
            (base().raw("info", &Raw::text(&"x".repeat(70_000))), "info"),
        ] {
            let error = SubmitArguments::read(&map.finish()).unwrap_err().to_string();
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
