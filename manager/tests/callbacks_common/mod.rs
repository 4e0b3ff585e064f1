//! What the tests of callbacks share: an ended job to tell of, and a server by hand.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redpoll_common::job::{Callback, JobId, JobSpec, Outcome, RunState};
use redpoll_config::CallbacksConfig;
use redpoll_manager::callbacks::Deliverer;
use redpoll_manager::store::Store;
use redpoll_manager_core::jobs::record::{Change, JobRecord, RunRecord, Summary};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::store_common::{NOON, changed, id, job, run, submitted};

/// The name of the cluster in all these tests.
pub(crate) const CLUSTER: &str = "home";

/// The answer of a server that takes everything.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Stores a job whose runs ended so.
pub(crate) async fn ended_job(store: &dyn Store, spec: JobSpec, runs: Vec<(&str, RunState)>) -> JobId {
    let names: Vec<_> = runs.iter().map(|(agent, _)| *agent).collect();
    let record = JobRecord { released_ms: Some(NOON + 2), ..job(1, &names, spec) };
    store.commit(submitted(record)).await.unwrap();
    let mut summary = Summary::default();
    let mut changes = Vec::new();
    for (agent, state) in runs {
        if let RunState::Ended(ending) = &state {
            let place = Outcome::ALL.iter().position(|other| *other == ending.outcome).unwrap();
            *summary.ended.get_mut(place).unwrap() += 1;
        }
        changes.push(changed(RunRecord { ended_ms: Some(NOON + 3), ..run(1, agent, state) }));
    }
    changes.push(Change::JobEnded { job: id(1), ended_ms: NOON + 3, summary });
    store.commit(changes).await.unwrap();
    id(1)
}

/// A configuration whose tries may take so long.
pub(crate) fn within(timeout: Duration) -> CallbacksConfig {
    CallbacksConfig { timeout, ..CallbacksConfig::default() }
}

/// A configuration with enough time for everything.
pub(crate) fn patient() -> CallbacksConfig {
    within(Duration::from_secs(20))
}

pub(crate) fn deliverer(config: &CallbacksConfig, store: &Arc<dyn Store>) -> Deliverer {
    Deliverer::new(config, CLUSTER, Arc::clone(store)).unwrap()
}

/// A place to listen, and a URL that leads there.
pub(crate) async fn listen(scheme: &str) -> (TcpListener, Callback) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Callback::Webhook(format!("{scheme}://127.0.0.1:{port}/hook?token=hunter2")))
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Reads one request.
pub(crate) async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Request {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers.get("content-length").unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    Request { line, headers, body }
}

/// Reads until the other side is gone, however it went.
pub(crate) async fn until_cut(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// Takes one request on a stream and answers it.
pub(crate) async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Request {
    let request = receive(&mut stream).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    until_cut(&mut stream).await;
    request
}

/// Delivers to a server that gives this answer.
pub(crate) async fn told(
    config: &CallbacksConfig,
    store: &Arc<dyn Store>,
    serial: u32,
    text: &str,
) -> (Result<(), String>, Request) {
    let (listener, target) = listen("http").await;
    let deliverer = deliverer(config, store);
    let (told, request) = tokio::join!(deliverer.deliver(id(1), serial, &target), async {
        answer(listener.accept().await.unwrap().0, text).await
    });
    (told.map_err(|error| error.to_string()), request)
}
