//! A job in the words of people, as executables ask for it, in the words of the wire.
//!
//! The names are those of the options in `docs/jobs.md`; durations are texts such as `"90s"` or numbers of seconds. What they mean, and
//! what is too much, is [`SubmitArguments`]' own.

use redpoll_common::api::submit::SubmitArguments;
use redpoll_common::nearest::nearest;
use redpoll_common::wire::{DecodeError, Fields, Raw, RawMap};
use redpoll_config::{parse_duration, parse_size};

/// What is passed on as it is.
const SAME: [&str; 11] = [
    "procedure",
    "args",
    "kwargs",
    "offline",
    "overflow",
    "max_attempts",
    "idempotent",
    "key",
    "info",
    "held",
    "queue",
];
/// Durations, and their names on the wire.
const DURATIONS: [(&str, &str); 4] = [
    ("start_within", "start_within_ms"),
    ("run_timeout", "run_timeout_ms"),
    ("idle_timeout", "idle_timeout_ms"),
    ("grace", "grace_ms"),
];
/// What is read in a way of its own.
const OTHERS: [&str; 4] = ["agents", "concurrency", "output_limit", "callback"];

/// Reads it. Without `agents` the job runs on `own`, the agent that asks.
///
/// # Errors
/// What is wrong with the first field that is wrong, for a person.
pub(super) fn submission(job: &Raw, own: &str) -> Result<SubmitArguments, String> {
    let words = |error: DecodeError| error.to_string();
    let fields = Fields::of(job).map_err(words)?;
    let mut map = RawMap::with_capacity(job.len() + 64);
    let (mut queue, mut concurrency, mut agents) = (None, None, None);
    for (name, bytes) in fields.iter() {
        let value = raw(bytes)?;
        // as if it had been left out
        if value.is_nil() {
            continue;
        }
        map = match name {
            "agents" => {
                agents = Some(value);
                map
            }
            "queue" => {
                queue = Some(value);
                map
            }
            "concurrency" => {
                concurrency = Some(value);
                map
            }
            "callback" => match value.as_text() {
                Some(url) if url.contains("://") => map.text("webhook", url),
                _ => map.raw("callback", &value),
            },
            "output_limit" => map.uint("output_limit", size(&value)?),
            same if SAME.contains(&same) => map.raw(same, &value),
            other => match DURATIONS.iter().find(|(name, _)| *name == other) {
                Some((name, wire)) => map.uint(wire, milliseconds(name, &value)?),
                None => return Err(unknown(other)),
            },
        };
    }
    map = match agents {
        None => map.texts("agents", &[own.to_owned()]),
        Some(one) => match one.as_text() {
            Some(name) => map.texts("agents", &[name.to_owned()]),
            None => map.raw("agents", &one),
        },
    };
    map = match (queue, concurrency) {
        (None, None) => map,
        (None, Some(_)) => return Err("concurrency is one of a queue; name the queue".to_owned()),
        (Some(name), concurrency) => map.map("queue", |queue| {
            let queue = queue.raw("name", &name);
            concurrency.iter().fold(queue, |queue, concurrency| queue.raw("concurrency", concurrency))
        }),
    };
    SubmitArguments::read(&map.finish()).map_err(words)
}

fn raw(bytes: &[u8]) -> Result<Raw, String> {
    Raw::parse(bytes::Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string())
}

fn milliseconds(name: &str, value: &Raw) -> Result<u64, String> {
    let wanted = || format!("{name} is a duration such as \"90s\", or a number of seconds");
    let duration = match value.as_text() {
        Some(text) => parse_duration(text).map_err(|error| format!("{name}: {error}"))?,
        None => {
            let seconds = value.decode::<f64>().map_err(|_error| wanted())?;
            std::time::Duration::try_from_secs_f64(seconds).map_err(|_error| wanted())?
        }
    };
    Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn size(value: &Raw) -> Result<u64, String> {
    match value.as_text() {
        Some(text) => parse_size(text).map_err(|error| format!("output_limit: {error}")),
        None => value
            .decode()
            .map_err(|_error| "output_limit is a size such as \"1MiB\", or a number of bytes".to_owned()),
    }
}

fn unknown(name: &str) -> String {
    let known = SAME.into_iter().chain(OTHERS).chain(DURATIONS.map(|(name, _)| name));
    match nearest(name, known) {
        Some(meant) => format!("a job has no such option; did you mean {meant}?"),
        None => "a job has no such option; they are those of docs/jobs.md".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use redpoll_common::job::{Callback, Offline, Overflow, QueueKey};

    use super::*;

    fn base() -> RawMap {
        RawMap::new().text("procedure", "web.deploy@2")
    }

    #[test]
    fn a_job_is_asked_for_in_the_words_of_people() {
        let asked = base()
            .text("agents", "web-2")
            .raw("args", &Raw::encode(&["a"]).unwrap())
            .map("kwargs", |map| map.uint("n", 1))
            .text("queue", "q")
            .uint("concurrency", 3)
            .text("start_within", "90s")
            .raw("run_timeout", &Raw::encode(&1.5).unwrap())
            .uint("idle_timeout", 7)
            .text("grace", "250ms")
            .text("output_limit", "1KiB")
            .text("overflow", "kill")
            .text("offline", "require")
            .uint("max_attempts", 4)
            .bool("idempotent", true)
            .bool("held", true)
            .text("key", "k")
            .text("info", "mine")
            .text("callback", "https://example.org/")
            .finish();
        let job = submission(&asked, "web-1").unwrap();
        assert_eq!(job.agents, ["web-2"]);
        let spec = job.spec;
        assert_eq!((spec.procedure.as_str(), spec.max_attempts), ("web.deploy@2", 4));
        assert_eq!(
            (spec.args, spec.kwargs),
            (Raw::encode(&["a"]).unwrap(), RawMap::new().uint("n", 1).finish())
        );
        let queue = spec.queue.unwrap();
        assert_eq!((queue.name, queue.concurrency), (QueueKey::parse(&Raw::text("q")).unwrap(), 3));
        let ms = |ms| Some(Duration::from_millis(ms));
        let limits = spec.limits;
        assert_eq!((limits.start_within, limits.run_timeout), (ms(90_000), ms(1500)));
        assert_eq!((limits.idle_timeout, limits.grace, limits.output), (ms(7000), ms(250), Some(1024)));
        assert_eq!((limits.overflow, spec.offline), (Overflow::Kill, Offline::Require));
        assert!(spec.idempotent == Some(true) && spec.held);
        assert_eq!((spec.key.as_deref(), spec.info), (Some("k"), Raw::text("mine")));
        assert_eq!(spec.callback, Some(Callback::Webhook("https://example.org/".into())));
    }

    #[test]
    fn what_is_left_out_or_null_has_its_default_and_the_agent_is_the_one_that_asks() {
        let asked = base().raw("agents", &Raw::nil()).raw("grace", &Raw::nil()).raw("info", &Raw::nil());
        let job = submission(&asked.finish(), "web-1").unwrap();
        assert_eq!(job, SubmitArguments::new(vec!["web-1".to_owned()], "web.deploy@2"));
        let callback = submission(&base().text("callback", "site.told").finish(), "a").unwrap();
        assert_eq!(callback.spec.callback, Some(Callback::Procedure("site.told".into())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (asked, words) in [
            (RawMap::new(), "procedure"),
            (base().text("quue", "q"), "did you mean queue?"),
            (base().text("something.else.entirely", "q"), "docs/jobs.md"),
            (base().uint("concurrency", 2), "name the queue"),
            (base().text("start_within", "soon"), "start_within"),
            (base().bool("grace", true), "grace"),
            (base().raw("grace", &Raw::encode(&-1.0).unwrap()), "grace"),
            (base().raw("grace", &Raw::encode(&f64::NAN).unwrap()), "grace"),
            (base().text("output_limit", "much"), "output_limit"),
            (base().text("offline", "maybe"), "offline"),
            (base().uint("agents", 1), "agents"),
            (base().text("key", ""), "key"),
            (base().uint("webhook", 1), "no such option"),
        ] {
            let error = submission(&asked.finish(), "web-1").unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
