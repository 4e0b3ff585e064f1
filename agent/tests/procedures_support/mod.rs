//! What the tests of executables as procedures share.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redpoll_agent::builtin::ExecLimits;
use redpoll_agent::procedures::{Setting, add, make};
use redpoll_common::identity::Identity;
use redpoll_common::wire::{Fault, Raw};
use redpoll_config::{Manifest, ProcedureLimits, ProcedureMode, ProcedureOutput};
use redpoll_exec::{Asker, Emitter};
use redpoll_net::Registry;
use redpoll_net::service::{DetachedOutput, StopHandle, detached_call, detached_call_within};
use redpoll_net::transport::PeerInfo;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A procedure `p` that runs this program.
pub(crate) fn manifest(mode: ProcedureMode, output: ProcedureOutput, command: &[&str]) -> Manifest {
    Manifest {
        file: PathBuf::from("p.toml"),
        name: "p".to_owned(),
        version: 1,
        description: "A test.".to_owned(),
        deprecated: None,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        mode,
        output,
        args: json!({"type": "object", "x-positional": true}),
        user: None,
        group: None,
        cwd: None,
        env: BTreeMap::new(),
        run_timeout: None,
        idle_timeout: None,
        grace: None,
        concurrency: None,
        idempotent: false,
        limits: ProcedureLimits::default(),
        redact: Vec::new(),
        enabled: true,
        admin: false,
        callers: redpoll_config::Callers::default(),
        callback: false,
        manager: None,
        schedule: None,
        ready_timeout: Duration::from_secs(20),
        idle_shutdown: Duration::ZERO,
        health_interval: None,
        cancel_line: false,
    }
}

/// A shell script that speaks JSON.
pub(crate) fn json_shell(script: &str) -> Manifest {
    manifest(ProcedureMode::Once, ProcedureOutput::Json, &["/bin/sh", "-c", script])
}

/// A shell script whose output is recorded.
pub(crate) fn text_shell(script: &str) -> Manifest {
    manifest(ProcedureMode::Once, ProcedureOutput::Text, &["/bin/sh", "-c", script])
}

/// A worker in Python: `body` has `say(**line)`, `lines` with what comes in, and `os`, `sys`, `time`.
pub(crate) fn python_worker(body: &str) -> Manifest {
    let script = format!(
        "import sys, json, os, time\ndef say(**line):\n    print(json.dumps(line), flush=True)\nlines = (json.loads(line) for line in sys.stdin)\n{body}"
    );
    manifest(ProcedureMode::Worker, ProcedureOutput::Json, &["python3", "-c", &script])
}

/// A worker that answers each call with what `answer`, an expression of `call`, gives; `do` comes before.
pub(crate) fn answering(before: &str, answer: &str) -> Manifest {
    python_worker(&format!(
        "say(ready=True)\nfor call in lines:\n    if 'call' not in call: continue\n    {before}\n    say(call=call['call'], result={answer})\n"
    ))
}

pub(crate) fn limits() -> ExecLimits {
    ExecLimits { output: 1024 * 1024, run_timeout: None, grace: Duration::from_secs(20) }
}

/// A procedure that is offered.
pub(crate) struct Offer {
    pub(crate) registry: Registry,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn offer(manifest: Manifest) -> Offer {
    offer_within(manifest, limits())
}

/// What all of them share, with its tracker and its stop.
pub(crate) fn setting() -> (Setting, TaskTracker, CancellationToken) {
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let setting = Setting {
        agent: "web-1".parse().unwrap(),
        limits: limits(),
        helper: Some(PathBuf::from(env!("CARGO_BIN_EXE_redpoll-agent"))),
        cgroups: None,
        tracker: tracker.clone(),
        stop: stop.clone(),
        emitter: Emitter::default(),
        asker: Asker::default(),
        notes: None,
    };
    (setting, tracker, stop)
}

pub(crate) fn offer_within(manifest: Manifest, limits: ExecLimits) -> Offer {
    let (setting, tracker, stop) = setting();
    let setting = Setting { limits, ..setting };
    let procedure = make(manifest, &Arc::new(setting), None).unwrap();
    Offer { registry: add(Registry::new(), &procedure).unwrap(), tracker, stop }
}

/// A call in progress.
pub(crate) struct Started {
    pub(crate) task: JoinSet<Result<Raw, Fault>>,
    pub(crate) output: DetachedOutput,
    pub(crate) stop: StopHandle,
}

impl Offer {
    pub(crate) fn start(&self, args: &Value, kwargs: &Value) -> Started {
        self.start_raw(&Raw::encode(args).unwrap(), &Raw::encode(kwargs).unwrap())
    }

    pub(crate) fn start_raw(&self, args: &Raw, kwargs: &Raw) -> Started {
        let (call, output, stop) = detached_call(caller(), "p", args.clone(), kwargs.clone());
        let mut task = JoinSet::new();
        task.spawn(self.registry.start(call).answer);
        Started { task, output, stop }
    }

    /// A call of somebody who takes two values at a time.
    pub(crate) fn start_narrow(&self) -> Started {
        let (args, kwargs) = (Raw::empty_array(), Raw::empty_map());
        let (call, output, stop) = detached_call_within(256, caller(), "p", args, kwargs);
        let mut task = JoinSet::new();
        task.spawn(self.registry.start(call).answer);
        Started { task, output, stop }
    }

    pub(crate) async fn call(&self, kwargs: Value) -> Result<Value, Fault> {
        self.start(&json!([]), &kwargs).answer().await
    }

    /// All values, and the answer.
    pub(crate) async fn run(&self, kwargs: Value) -> (Vec<Value>, Result<Value, Fault>) {
        let mut started = self.start(&json!([]), &kwargs);
        let mut values = Vec::new();
        while let Some(value) = started.value().await {
            values.push(value);
        }
        let answer = started.answer().await;
        (values, answer)
    }
}

impl Started {
    pub(crate) async fn answer(&mut self) -> Result<Value, Fault> {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.task.join_next()).await.unwrap();
        ended.unwrap().unwrap().map(|raw| raw.decode().unwrap())
    }

    pub(crate) async fn value(&mut self) -> Option<Value> {
        let next = tokio::time::timeout(Duration::from_secs(60), self.output.next()).await.unwrap()?;
        Some(match next {
            Ok(raw) => shown(&raw),
            Err(progress) => json!({"completed": progress.completed, "total": progress.total}),
        })
    }
}

/// A value as JSON; byte strings as texts.
fn shown(raw: &Raw) -> Value {
    #[derive(serde::Deserialize)]
    struct Piece {
        stream: String,
        #[serde(default, with = "serde_bytes")]
        data: Vec<u8>,
        #[serde(default)]
        dropped: u64,
    }
    match raw.decode::<Piece>() {
        Ok(piece) if piece.dropped > 0 => json!({"stream": piece.stream, "dropped": piece.dropped}),
        Ok(piece) => json!({"stream": piece.stream, "text": String::from_utf8_lossy(&piece.data)}),
        Err(_) => raw.decode().unwrap(),
    }
}

pub(crate) fn caller() -> PeerInfo {
    PeerInfo {
        identity: Identity::parse("spiffe://home/manager/m").unwrap(),
        address: "test".into(),
        ip: None,
        speaks_rp1: true,
        certificate: None,
    }
}
