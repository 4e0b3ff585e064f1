//! What `rpctl run` submits: options and arguments, read and checked before anybody is asked.

use redpoll_common::api::submit::{MAX_URL, SubmitArguments};
use redpoll_common::job::{Callback, JobSpec, Limits, Offline, Overflow, QueueKey, QueueSpec, spec};
use redpoll_common::wire::{MAX_METHOD_LEN, Raw};
use redpoll_net::random;
use rmpv::Value;

use super::call::argument_report;
use super::{json_argument, queue_name};
use crate::Stop;
use crate::arguments::{self, is_exec_run};
use crate::cli::{JobOptions, OfflineChoice, OverflowChoice, RunArgs};
use crate::report::Report;
use crate::value::encode;

/// Reads what a job is to be; on which agents is not known yet.
///
/// # Errors
/// [`Stop`] with exit code 2.
pub(super) fn read(args: &RunArgs) -> Result<SubmitArguments, Stop> {
    let procedure = &args.procedure;
    if procedure.is_empty() || procedure.len() > MAX_METHOD_LEN {
        return Err(Report::usage(
            format!("{procedure:?} is not the name of a procedure"),
            format!("a name has 1 to {MAX_METHOD_LEN} bytes"),
            "see what an agent offers: rpctl agents procedures AGENT",
        )
        .into());
    }
    let read = arguments::read(procedure, &args.arguments, &mut std::io::stdin())
        .map_err(|error| argument_report(&error))?;
    let mut submit = SubmitArguments::new(Vec::new(), procedure);
    submit.spec = JobSpec {
        args: encode(&Value::Array(read.args)).map_err(|error| argument_report(&error))?,
        kwargs: encode(&Value::Map(read.kwargs)).map_err(|error| argument_report(&error))?,
        ..options(&args.job, submit.spec)?
    };
    Ok(submit)
}

/// The program that exec.run starts, for messages.
pub(super) fn program(args: &RunArgs) -> Option<String> {
    let first = args.arguments.argv.first().filter(|_| is_exec_run(&args.procedure));
    first.map(|word| word.to_string_lossy().into_owned())
}

fn options(options: &JobOptions, base: JobSpec) -> Result<JobSpec, Stop> {
    let queue = match &options.queue {
        Some(name) => Some(QueueSpec { name: queue(name)?, concurrency: options.concurrency.unwrap_or(1) }),
        None => None,
    };
    Ok(JobSpec {
        queue,
        offline: match options.offline {
            OfflineChoice::Wait => Offline::Wait,
            OfflineChoice::Skip => Offline::Skip,
            OfflineChoice::Require => Offline::Require,
        },
        limits: Limits {
            start_within: options.start_within,
            run_timeout: options.run_timeout,
            idle_timeout: options.idle_timeout,
            grace: options.grace,
            output: options.output_limit,
            overflow: match options.overflow {
                OverflowChoice::Truncate => Overflow::Truncate,
                OverflowChoice::Block => Overflow::Block,
                OverflowChoice::Kill => Overflow::Kill,
            },
        },
        max_attempts: options.retry.saturating_add(1),
        idempotent: options.idempotent,
        key: Some(key(options.key.as_deref())?),
        info: info(options.info.as_deref())?,
        callback: options.callback.as_deref().map(callback).transpose()?,
        held: options.hold,
        ..base
    })
}

fn queue(name: &str) -> Result<QueueKey, Stop> {
    let raw = queue_name(name)?;
    QueueKey::parse(&raw).map_err(|error| {
        Report::usage(
            format!("{name:?} does not name a queue"),
            error.to_string(),
            "name it by a text, or by a JSON map such as '{\"site\": \"berlin\"}'",
        )
        .into()
    })
}

/// The key that was given, or one that is made now: before anything is sent, so that a submit whose answer is lost can be
/// repeated and still is one job.
fn key(given: Option<&str>) -> Result<String, Stop> {
    let Some(key) = given else {
        return Ok(format!("rpctl-{:032x}", u128::from_be_bytes(random::bytes16())));
    };
    if key.is_empty() || key.len() > spec::MAX_KEY {
        let why = format!("it has {} bytes, and a key has 1 to {}", key.len(), spec::MAX_KEY);
        return Err(Report::usage("the idempotency key cannot be used", why, "give another --key").into());
    }
    Ok(key.to_owned())
}

fn info(given: Option<&str>) -> Result<Raw, Stop> {
    let Some(text) = given else { return Ok(Raw::nil()) };
    let info = json_argument("--info", text, r#"'{"ticket": 4711}'"#)?;
    if info.len() > spec::MAX_INFO {
        let why = format!("it has {} bytes, and {} may be stored with a job", info.len(), spec::MAX_INFO);
        return Err(
            Report::usage("--info is too large", why, "store it elsewhere, and its place here").into()
        );
    }
    Ok(info)
}

fn callback(text: &str) -> Result<Callback, Stop> {
    let wrong = |why: String| {
        let what = format!("nobody can be called back at {text:?}");
        Report::usage(what, why, "give an http:// or https:// URL, or the name of a procedure on the manager")
    };
    let is_url = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    if is_url {
        return if text.len() <= MAX_URL {
            Ok(Callback::Webhook(text.to_owned()))
        } else {
            Err(wrong(format!("a URL has at most {MAX_URL} bytes")).into())
        };
    }
    if text.contains("://") {
        return Err(wrong("it is a URL of another scheme".to_owned()).into());
    }
    if text.is_empty() || text.len() > MAX_METHOD_LEN {
        return Err(wrong(format!("the name of a procedure has 1 to {MAX_METHOD_LEN} bytes")).into());
    }
    Ok(Callback::Procedure(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use redpoll_common::wire::RawMap;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn submit(words: &[&str]) -> Result<SubmitArguments, Stop> {
        let words = [&["rpctl", "run", "web-1"], words].concat();
        let Some(Verb::Run(args)) = Cli::try_parse_from(words).unwrap().verb else { panic!("not a run") };
        read(&args)
    }

    #[test]
    fn without_options_everything_has_its_default_but_the_key() {
        let mut one = submit(&["sys.echo"]).unwrap();
        let other = submit(&["sys.echo"]).unwrap();
        assert_ne!(one.spec.key, other.spec.key);
        assert!(one.spec.key.take().unwrap().starts_with("rpctl-"));
        assert_eq!(one, SubmitArguments::new(vec![], "sys.echo"));
    }

    #[test]
    fn every_option_has_its_place() {
        let words = [
            "p@2",
            "x",
            "n:=5",
            "--queue",
            "{\"site\": 7}",
            "--concurrency",
            "3",
            "--offline",
            "skip",
            "--start-within",
            "1h",
            "--run-timeout",
            "2m",
            "--idle-timeout",
            "3s",
            "--grace",
            "4ms",
            "--output-limit",
            "1MiB",
            "--overflow",
            "kill",
            "--retry",
            "5",
            "--idempotent",
            "--key",
            "k",
            "--info",
            "[1]",
            "--callback",
            "https://example.org/x",
            "--hold",
        ];
        let job = submit(&words).unwrap().spec;
        let expected = JobSpec {
            procedure: "p@2".into(),
            args: Raw::encode(&["x"]).unwrap(),
            kwargs: RawMap::new().uint("n", 5).finish(),
            queue: Some(QueueSpec {
                name: QueueKey::parse(&RawMap::new().uint("site", 7).finish()).unwrap(),
                concurrency: 3,
            }),
            offline: Offline::Skip,
            limits: Limits {
                start_within: Some(Duration::from_secs(3600)),
                run_timeout: Some(Duration::from_secs(120)),
                idle_timeout: Some(Duration::from_secs(3)),
                grace: Some(Duration::from_millis(4)),
                output: Some(1 << 20),
                overflow: Overflow::Kill,
            },
            max_attempts: 6,
            idempotent: Some(true),
            key: Some("k".into()),
            info: Raw::encode(&[1]).unwrap(),
            callback: Some(Callback::Webhook("https://example.org/x".into())),
            held: true,
        };
        assert_eq!(job, expected);
        let procedure = submit(&["p", "--callback", "on.end", "--queue", "text"]).unwrap().spec;
        assert_eq!(procedure.callback, Some(Callback::Procedure("on.end".into())));
        assert_eq!(procedure.queue.unwrap().name, QueueKey::text("text").unwrap());
    }
}
