//! The built-ins that look and tell, and change nothing.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use redpoll_common::bucket::TokenBucket;
use redpoll_common::wire::{Fault, FaultCode, MAX_DEPTH, PROTOCOL, Raw, scan};
use redpoll_net::transport::PeerInfo;
use redpoll_net::{CallContext, ProcedureInfo, clock};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::arguments::{BadArguments, answer, no_arguments};
use crate::facts;

/// The most bytes of a `sys.log` notification that are written.
pub(super) const MAX_LOG_TEXT: usize = 4096;
/// How many texts of `sys.log` are written at once, and after which time one more.
const LOG_AT_ONCE: u32 = 20;
const LOG_EVERY: Duration = Duration::from_secs(1);
/// How long collecting facts may take; only a disk that does not answer needs so long.
const FACTS_PATIENCE: Duration = Duration::from_secs(10);

fn without_arguments(name: &str, description: &str) -> ProcedureInfo {
    ProcedureInfo::new(
        name,
        description,
        json!({"type": "object", "properties": {}, "additionalProperties": false}),
    )
}

pub(super) fn echo_info() -> ProcedureInfo {
    let anything = json!({"type": "object", "x-positional": true, "additionalProperties": true});
    ProcedureInfo::new("sys.echo", "Returns its arguments exactly as they were given.", anything)
}

/// Returns `{args, kwargs}`. The bytes are copied and never decoded, so whatever can be sent comes back unchanged.
pub(super) async fn echo(call: CallContext) -> Result<Raw, Fault> {
    let mut out = BytesMut::with_capacity(13 + call.args.len() + call.kwargs.len());
    out.put_u8(0x82); // a map of two pairs; 0xa4 and 0xa6 begin texts of four and six bytes
    out.put_slice(b"\xa4args");
    out.put_slice(call.args.as_bytes());
    out.put_slice(b"\xa6kwargs");
    out.put_slice(call.kwargs.as_bytes());
    let out = out.freeze();
    // the answer nests one level deeper than the request, and once more in its message
    let fits = scan::measure(&out).is_ok_and(|cost| cost.depth < MAX_DEPTH);
    let raw = Raw::parse(out).ok().filter(|_| fits);
    raw.ok_or_else(|| {
        BadArguments("the arguments nest too deep, or are too many, to come back".to_owned()).into()
    })
}

pub(super) fn ping_info() -> ProcedureInfo {
    without_arguments("sys.ping", "Answers at once, with the agent's clock (UTC, in milliseconds).")
}

pub(super) async fn ping(call: CallContext) -> Result<Raw, Fault> {
    #[derive(Serialize)]
    struct Pong {
        pong: bool,
        wall_ms: u64,
    }
    no_arguments(&call)?;
    Ok(answer(&Pong { pong: true, wall_ms: clock::wall_ms() })?)
}

pub(super) fn version_info() -> ProcedureInfo {
    without_arguments("sys.version", "Tells the agent's version and the newest protocol it speaks.")
}

pub(super) async fn version(call: CallContext) -> Result<Raw, Fault> {
    #[derive(Serialize)]
    struct Version {
        agent: &'static str,
        protocol: u32,
        target: &'static str,
    }
    no_arguments(&call)?;
    Ok(answer(&Version {
        agent: env!("CARGO_PKG_VERSION"),
        protocol: PROTOCOL,
        target: std::env::consts::ARCH,
    })?)
}

pub(super) fn facts_info() -> ProcedureInfo {
    without_arguments(
        "sys.facts",
        "Tells about the machine: system, kernel, names, addresses, processors, memory, disks, uptime, confinement.",
    )
}

/// Lets one collection run at a time: should a disk hang, callers are told, and threads do not pile up.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    turn: Arc<Semaphore>,
    confinement: Option<facts::Confinement>,
}

impl Collector {
    /// What is the same each time is given.
    pub(super) fn new(confinement: Option<facts::Confinement>) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), confinement }
    }
}

pub(super) async fn facts(call: CallContext, collector: Collector) -> Result<Raw, Fault> {
    no_arguments(&call)?;
    let collected = tokio::time::timeout(FACTS_PATIENCE, async {
        let Collector { turn, confinement } = collector;
        let turn = turn.acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _turn = turn; // kept until the thread is done, also when nobody waits for it any more
            facts::Facts { confinement, ..facts::collect() }
        })
        .await
    });
    match collected.await {
        Ok(Ok(facts)) => Ok(answer(&facts)?),
        Ok(Err(_)) => Err(Fault::new(FaultCode::Internal, "collecting facts ended unexpectedly")),
        Err(_) => {
            let text = "collecting facts takes too long; does a disk of this machine hang?";
            Err(Fault::new(FaultCode::Internal, text))
        }
    }
}

pub(super) fn procedures_info() -> ProcedureInfo {
    without_arguments(
        "sys.procedures",
        "Lists what this agent offers: name, version, description and the JSON Schema of the arguments.",
    )
}

pub(super) fn procedures(call: &CallContext, list: Raw) -> impl Future<Output = Result<Raw, Fault>> + use<> {
    let answer = no_arguments(call).map(|()| list);
    std::future::ready(answer.map_err(Fault::from))
}

/// Lets as many texts into the agent's log as people read, and counts the others: no operator fills a disk with them.
#[derive(Debug)]
pub(super) struct Log {
    pace: Mutex<(TokenBucket, u64)>,
}

impl Log {
    /// A pace that nobody has used.
    pub(super) fn new() -> Self {
        Self { pace: Mutex::new((TokenBucket::every(LOG_EVERY, LOG_AT_ONCE), 0)) }
    }

    /// Writes the text of a notification into the agent's log.
    pub(super) fn write(&self, from: &PeerInfo, data: &Raw) {
        let Some(left_out) = self.due(Instant::now().into_std()) else { return };
        let from = &from.identity;
        match data.as_text() {
            Some(text) if text.len() <= MAX_LOG_TEXT => {
                tracing::info!(%from, text = %printable(text), left_out, "sys.log");
            }
            Some(text) => {
                tracing::warn!(%from, len = text.len(), max = MAX_LOG_TEXT, left_out, "sys.log: the text is too long");
            }
            None => tracing::warn!(%from, left_out, "sys.log: its data is not a text"),
        }
    }

    /// How many were left out since the last line, if another may be written.
    fn due(&self, now: std::time::Instant) -> Option<u64> {
        // nothing panics while it holds the lock
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let (bucket, left_out) = &mut *pace;
        if bucket.take(now).is_err() {
            *left_out = left_out.saturating_add(1);
            return None;
        }
        Some(std::mem::take(left_out))
    }
}

/// The text in one line, without anything that would act on a terminal or pass for another line of the log.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' => out.push(character),
            other => {
                // writing to a String cannot fail
                let _always = write!(out, "{}", other.escape_debug());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_into_the_log_no_faster_than_people_read_and_the_others_are_counted() {
        let (log, now) = (Log::new(), Instant::now().into_std());
        let at = |ms: u64| now + Duration::from_millis(ms);
        let written = (0..2000).filter(|_| log.due(at(0)) == Some(0)).count();
        assert_eq!(written, 20);
        assert_eq!([log.due(at(999)), log.due(at(1000)), log.due(at(1001))], [None, Some(1981), None]);
        assert_eq!(log.due(at(60_000)), Some(1));
    }

    #[test]
    fn a_logged_text_stays_in_its_line_and_moves_no_cursor() {
        assert_eq!(printable("it's \"fine\" – ä"), "it's \"fine\" – ä");
        assert_eq!(printable("a\nERROR b\r\t"), "a\\nERROR b\\r\\t");
        assert_eq!(printable("\u{1b}[2J\u{9b}x\u{202e}\0"), "\\u{1b}[2J\\u{9b}x\\u{202e}\\0");
        assert_eq!(printable("\\n"), "\\\\n");
    }
}
