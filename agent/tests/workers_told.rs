//! `sys.workers`, of real workers.

#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../../common/exec/tests/exec_support/mod.rs"]
mod exec_support;
mod procedures_support;

use std::sync::Arc;
use std::time::Duration;

use procedures_support::{answering, caller, json_shell, setting};
use redpoll_agent::builtin::workers;
use redpoll_agent::procedures::{add, make};
use redpoll_common::wire::{Fault, Raw};
use redpoll_config::Manifest;
use redpoll_net::Registry;
use redpoll_net::service::detached_call;
use serde_json::{Value, json};

async fn call(registry: &Registry, method: &str, kwargs: Value) -> Result<Value, Fault> {
    let kwargs = Raw::encode(&kwargs).unwrap();
    let (call, _output, _stop) = detached_call(caller(), method, Raw::empty_array(), kwargs);
    registry.start(call).answer.await.map(|raw| raw.decode().unwrap())
}

/// The rows, once there are as many workers.
async fn rows(registry: &Registry, workers: u64) -> Value {
    let told = async {
        loop {
            let told = call(registry, "sys.workers", json!({})).await.unwrap();
            let rows = told.get("workers").cloned().unwrap();
            if rows.as_array().unwrap().iter().all(|row| row.get("workers") == Some(&json!(workers))) {
                return rows;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.unwrap()
}

#[tokio::test]
async fn workers_are_told_while_they_live_and_how_they_died_until_one_is_of_use_again() {
    let setting = Arc::new(setting().0);
    let worker = answering("if call['kwargs'].get('die'): sys.exit(7)", "os.getpid()");
    let once = Manifest { name: "once".to_owned(), ..json_shell("echo '{\"result\": 1}'") };
    let procedures = [worker, once].map(|manifest| make(manifest, &setting, None).unwrap());
    let mut registry = Registry::new();
    for procedure in &procedures {
        registry = add(registry, procedure).unwrap();
    }
    let registry = workers::install(registry, &procedures).unwrap();
    assert_eq!(rows(&registry, 0).await, json!([]));
    call(&registry, "once", json!({})).await.unwrap();
    call(&registry, "p", json!({})).await.unwrap();
    let well = json!([{"procedure": "p@1", "workers": 1, "free": 1}]);
    assert_eq!(rows(&registry, 1).await, well);
    call(&registry, "p", json!({"die": true})).await.unwrap_err();
    let mut dead = rows(&registry, 0).await;
    let wait = dead[0]["next_in_ms"].take();
    assert!(wait.as_u64().is_some_and(|wait| wait <= 1_000), "{wait}");
    let last = dead[0]["last"].take();
    assert!(last.as_str().unwrap().starts_with("exited with 7"), "{last}");
    let row =
        json!({"procedure": "p@1", "workers": 0, "free": 0, "deaths": 1, "last": null, "next_in_ms": null});
    assert_eq!(dead, json!([row]));
    call(&registry, "p", json!({})).await.unwrap();
    assert_eq!(rows(&registry, 1).await, well);
}
